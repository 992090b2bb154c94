"""The journal of a batch: the state of every row, in one SQLite file that survives any crash."""

from .copying import JournalCheck
from .encoding import digest_of
from .journal import Journal
from .keys import Keys
from .reader import Durations, JournalReader, Summary
from .writer import JournalStatistics

__all__ = [
    "Durations",
    "Journal",
    "JournalCheck",
    "JournalReader",
    "JournalStatistics",
    "Keys",
    "Summary",
    "digest_of",
]
