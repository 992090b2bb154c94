"""Calls: one request is signed, held within the account's limits, sent, retried, and its reply read."""

from .account import Account
from .caller import Caller
from .pending import PendingStart, Start, StartRequest
from .reply_errors import (
    ReadRefusal,
    Refusal,
    read_any_refusal,
    read_json_refusal,
    refusal_object,
)
from .streams import StreamingCall

__all__ = [
    "Account",
    "Caller",
    "PendingStart",
    "ReadRefusal",
    "Refusal",
    "Start",
    "StartRequest",
    "StreamingCall",
    "read_any_refusal",
    "read_json_refusal",
    "refusal_object",
]
