"""Serves the vendors' fakes on one loopback port, with faults and a time scale of its own."""

from .faults import FaultPlan
from .server import Simulator, Statistics

__all__ = ["FaultPlan", "Simulator", "Statistics"]
