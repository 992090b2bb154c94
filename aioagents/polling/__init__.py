"""Waiting for runs: when each is polled, by whom, and who learns what was seen."""

from .cadence import Cadence, Growing, Steady
from .handle import RunHandle
from .reader import ListReader, Reader
from .runs import Push
from .scheduler import PollStatistics, ScheduledSource, Scheduler

__all__ = [
    "Cadence",
    "Growing",
    "ListReader",
    "PollStatistics",
    "Push",
    "Reader",
    "RunHandle",
    "ScheduledSource",
    "Scheduler",
    "Steady",
]
