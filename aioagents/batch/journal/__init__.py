"""Keeps what a batch must not lose, in one SQLite file that survives any crash."""

from .journal import Journal
from .keys import Keys
from .ledger import digest_of
from .reader import Durations, JournalReader, Summary
from .writer import JournalStatistics

__all__ = ["Durations", "Journal", "JournalReader", "JournalStatistics", "Keys", "Summary", "digest_of"]
