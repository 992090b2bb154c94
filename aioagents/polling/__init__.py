"""Waiting for runs: when each is polled, by whom, and who learns what was seen."""

from .cadence import Cadence, Growing, Steady
from .explanation import Explanation
from .handle import RunHandle
from .learned import Learned
from .reader import Answerer, Canceller, Hinted, ListReader, Reader
from .runs import Push
from .scheduler import PollStatistics, ScheduledSource, Scheduler

__all__ = [
    "Answerer",
    "Cadence",
    "Canceller",
    "Explanation",
    "Growing",
    "Hinted",
    "Learned",
    "ListReader",
    "PollStatistics",
    "Push",
    "Reader",
    "RunHandle",
    "ScheduledSource",
    "Scheduler",
    "Steady",
]
