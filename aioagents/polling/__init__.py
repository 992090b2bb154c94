"""Waiting for runs: when to look again, and who waits for what."""

from .cadence import Cadence, Growing, Steady
from .due_queue import DueQueue
from .handle import RunHandle
from .polled import PolledRun, Push
from .scheduler import Scheduler
from .source import ListReader, PollStatistics, Reader, Source

__all__ = [
    "Cadence",
    "DueQueue",
    "Growing",
    "ListReader",
    "PollStatistics",
    "PolledRun",
    "Push",
    "Reader",
    "RunHandle",
    "Scheduler",
    "Source",
    "Steady",
]
