"""Leap in memory: workflow runs and bulk runs in both dialects, and the webhooks that announce their end."""

from .runs import ENDS, Dialect
from .world import LeapRules, LeapWorld, make_world

__all__ = ["ENDS", "Dialect", "LeapRules", "LeapWorld", "make_world"]
