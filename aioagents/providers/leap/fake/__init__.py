"""A fake Leap in memory: workflow runs and bulk runs in both dialects, and webhooks at their end."""

from .runs import ENDS, Dialect, LeapRules
from .server import FakeLeap, make_fake

__all__ = ["ENDS", "Dialect", "FakeLeap", "LeapRules", "make_fake"]
