"""The values that the packages share. Pure, and dependent on nothing else here."""

from .http import Purpose, Reply, Request, Send, StreamedReply, StreamSend, Upload
from .run import Run, RunRef
from .secret import Secret, SecretMapping
from .state import RunState
from .token import Token

__all__ = [
    "Purpose",
    "Reply",
    "Request",
    "Run",
    "RunRef",
    "RunState",
    "Secret",
    "SecretMapping",
    "Send",
    "StreamSend",
    "StreamedReply",
    "Token",
    "Upload",
]
