"""Connections, quotas and the sending of one request."""

from .limiter import Limiter, LimiterStatistics
from .limits import PoolLimits, RateLimit, Timeouts
from .rate_limiter import RateLimiter
from .send import HttpSend

__all__ = ["HttpSend", "Limiter", "LimiterStatistics", "PoolLimits", "RateLimit", "RateLimiter", "Timeouts"]
