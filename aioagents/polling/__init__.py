"""Waiting for runs: when to look again, and who waits for what."""

from .cadence import Cadence, Growing, Steady
from .due_queue import DueQueue
from .handle import RunHandle
from .reader import ListReader, Reader
from .runs import Push
from .scheduler import PollStatistics, ScheduledSource, Scheduler

__all__ = [
    "Cadence",
    "DueQueue",
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
