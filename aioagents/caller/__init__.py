"""One call: signed, let through the account's limits, sent, tried again, and read."""

from .account import Account
from .call import Caller
from .flight import Flight, Launch, Start
from .refusals import note_reply
from .streams import Streaming

__all__ = ["Account", "Caller", "Flight", "Launch", "Start", "Streaming", "note_reply"]
