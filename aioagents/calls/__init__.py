"""Calls: one request is signed, held within the account's limits, sent, retried, and its reply read."""

from .account import Account
from .caller import Caller
from .pending import PendingStart, Start, StartRequest
from .reply_errors import note_reply
from .streams import StreamingCall

__all__ = ["Account", "Caller", "PendingStart", "Start", "StartRequest", "StreamingCall", "note_reply"]
