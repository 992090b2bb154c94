"""One call: signed, let through the account's limits, sent, tried again, and read."""

from .account import Account
from .call import Caller
from .pending import PendingStart, Start, StartRequest
from .refusals import note_reply
from .streams import StreamingCall

__all__ = ["Account", "Caller", "PendingStart", "Start", "StartRequest", "StreamingCall", "note_reply"]
