"""Batches: a million starts whose process may be killed at any instant, and is simply run again."""

from ..contract import BatchRow
from .journal import Journal
from .outcome import BatchStatistics, Outcome
from .record import BY_HAND, MOVES, BatchJournal, Change, Record, RowState
from .results import ResultFile, ResultJournal
from .rows import RowFault, read_csv, read_jsonl
from .runner import Batch

__all__ = [
    "BY_HAND",
    "MOVES",
    "Batch",
    "BatchJournal",
    "BatchRow",
    "BatchStatistics",
    "Change",
    "Journal",
    "Outcome",
    "Record",
    "ResultFile",
    "ResultJournal",
    "RowFault",
    "RowState",
    "read_csv",
    "read_jsonl",
]
