"""Waiting for runs: when to look again, and who waits for what."""

from .cadence import Cadence, Growing, Steady
from .handle import RunHandle
from .heap import DueHeap
from .lane import Lane, ListSource, PollStatistics, RunSource
from .scheduler import Scheduler
from .watch import Push, Watch

__all__ = [
    "Cadence",
    "DueHeap",
    "Growing",
    "Lane",
    "ListSource",
    "PollStatistics",
    "Push",
    "RunHandle",
    "RunSource",
    "Scheduler",
    "Steady",
    "Watch",
]
