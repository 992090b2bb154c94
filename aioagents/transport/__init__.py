"""Connections, quotas and the sending of one request."""

from .gate import Gate, GateStatistics
from .limits import PoolLimits, RateLimit, Timeouts
from .pace import Pace
from .send import HttpSend

__all__ = ["Gate", "GateStatistics", "HttpSend", "Pace", "PoolLimits", "RateLimit", "Timeouts"]
