"""HTTP over aiohttp: connections, limits, and the sending of one request."""

from .limiter import Limiter, LimiterStatistics, LongRequestPermit
from .limits import PoolLimits, RateLimit, Timeouts
from .rate_limiter import RateLimiter
from .send import HttpSend

__all__ = [
    "HttpSend",
    "Limiter",
    "LimiterStatistics",
    "LongRequestPermit",
    "PoolLimits",
    "RateLimit",
    "RateLimiter",
    "Timeouts",
]
