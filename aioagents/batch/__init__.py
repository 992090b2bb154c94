"""Batches: a million starts whose process may be killed at any instant, and is simply run again."""

from ..contract import BatchRow
from .record import MOVES, BatchJournal, Change, Record, RowState

__all__ = ["MOVES", "BatchJournal", "BatchRow", "Change", "Record", "RowState"]
