"""Reads a journal while a batch uses it, or afterwards. Calls block for as long as the disk takes."""

import math
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType, TracebackType
from typing import Any, Final, NamedTuple, Self

from attrs import frozen

from ...errors import JournalError
from ...model import RunRef
from ..record import Record, RowState
from .checking import open_for_reading
from .encoding import StoredRow, decode_row, from_micros
from .faults import journal_error
from .guard import is_locked
from .opening import resolve
from .schema import DURATIONS, EDGES, OPENINGS, TOTALS, having_refs, page_of

_PAGE: Final = 256
_ENDS: Final = (RowState.COMPLETED, RowState.FAILED, RowState.ABORTED)


class _Total(NamedTuple):
    state: str
    kind: str
    changed_in: int
    rows: int
    sent: int
    first_sent: int | None
    last_sent: int | None
    last_ended: int | None
    unemitted: int


@frozen(kw_only=True)
class Summary:
    """The contents of a journal at one moment, in numbers.

    `errors` counts rows by `kind`, of those that have one and did not complete. `starts` counts rows that were sent,
    by the owner that changed them last. `owner` opened the journal last; `openings` counts all openings, and each
    further run of a batch over an open journal is one. `is_in_use` says whether a process has it open now.
    `unemitted` counts results that are not in the output yet.
    """

    states: Mapping[RowState, int]
    errors: Mapping[str, int]
    starts: Mapping[str, int]
    created_at: datetime | None
    opened_at: datetime | None
    closed_at: datetime | None
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    last_ended_at: datetime | None
    openings: int
    owner: str
    is_in_use: bool
    unemitted: int
    emitted_bytes: int
    is_output_stale: bool

    @property
    def rows(self) -> int:
        """Return the number of all rows."""
        return sum(self.states.values())


@frozen(kw_only=True)
class Durations:
    """How long the runs of one end state took from start to end, in seconds.

    `buckets` are pairs of an upper bound, which is excluded, and a count, from the first bucket that is not empty to
    the last. The bound of the longest runs may be infinite.
    """

    state: RowState
    count: int
    shortest: float
    mean: float
    longest: float
    buckets: Sequence[tuple[float, int]]


class JournalReader:
    """Reads a journal: `with Journal.read_only("batch.db") as reader`. Changes nothing.

    It may be used while a batch runs. Entering and all methods may raise `JournalError`; entering does for a journal
    that is not whole, unless `accepts_loss`: its rows may be at an earlier state.
    """

    def __init__(self, path: str | os.PathLike[str], *, accepts_loss: bool = False) -> None:
        self._accepts_loss = accepts_loss
        self._path = os.fspath(path)
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self.close()
        try:
            self._connection = open_for_reading(resolve(self._path), accepts_loss=self._accepts_loss)
        except (sqlite3.Error, OSError) as exc:
            raise journal_error(exc, self._path) from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def summary(self) -> Summary:
        """Return totals, all of the same moment. Reads every row."""
        with self._snapshot() as ask:
            created_at, size, is_stale = ask("SELECT created_at, emitted_bytes, is_output_stale FROM batch")[
                0
            ]
            openings = ask(OPENINGS)
            totals = [_Total(*row) for row in ask(TOTALS)]
        owners = {number: owner for number, owner, *_ in openings}
        number, owner, opened_at, closed_at = openings[-1] if openings else (0, "", created_at, created_at)
        states: Counter[RowState] = Counter(dict.fromkeys(RowState, 0))
        errors: Counter[str] = Counter()
        starts: Counter[str] = Counter()
        for total in totals:
            states[RowState(total.state)] += total.rows
            if total.kind and total.state != RowState.COMPLETED:
                errors[total.kind] += total.rows
            if total.sent:
                starts[owners.get(total.changed_in, "")] += total.sent
        return Summary(
            states=MappingProxyType(dict(states)),
            errors=MappingProxyType(dict(errors.most_common())),
            starts=MappingProxyType(dict(starts.most_common())),
            created_at=from_micros(created_at),
            opened_at=from_micros(opened_at),
            closed_at=from_micros(closed_at),
            first_sent_at=from_micros(
                min((t.first_sent for t in totals if t.first_sent is not None), default=None)
            ),
            last_sent_at=from_micros(
                max((t.last_sent for t in totals if t.last_sent is not None), default=None)
            ),
            last_ended_at=from_micros(
                max((t.last_ended for t in totals if t.last_ended is not None), default=None)
            ),
            openings=number,
            owner=owner,
            is_in_use=is_locked(resolve(self._path)),
            unemitted=sum(total.unemitted for total in totals),
            emitted_bytes=size,
            is_output_stale=bool(is_stale),
        )

    def records(self, *, state: RowState | None = None, kind: str | None = None) -> Iterator[Record]:
        """Return rows in the order of their claims, all or only those of one state or one kind of error.

        A row is as it was when its page was read. Memory is bounded.
        """
        wanted = {"state": None if state is None else RowState(state).value, "kind": kind}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        page = page_of(*wanted, size=_PAGE)
        after = 0
        while True:
            with self._snapshot() as ask:
                rows = ask(page, {**wanted, "after": after})
                owners = dict(ask("SELECT number, owner FROM opening"))
            for row in rows:
                yield self._record(row, owners)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def keys_of(self, refs: Sequence[RunRef]) -> Iterator[tuple[RunRef, str]]:
        """Return the rows that have one of these runs, as pairs of reference and key. Reads every row."""
        for start in range(0, len(refs), _PAGE):
            texts = {str(ref): ref for ref in refs[start : start + _PAGE]}
            with self._snapshot() as ask:
                found = ask(having_refs(len(texts)), [*texts])
            yield from ((texts[text], key) for text, key in found)

    def durations(self) -> Mapping[RowState, Durations]:
        """Return how long runs took, by the state they ended in; states without runs are missing. Reads every row."""
        with self._snapshot() as ask:
            rows = ask(DURATIONS)
        found = {state: [row[1:] for row in rows if row[0] == state] for state in _ENDS}
        return MappingProxyType({state: _durations(state, cut) for state, cut in found.items() if cut})

    def __repr__(self) -> str:
        return f"<JournalReader {self._path!r} {'open' if self._connection else 'closed'}>"

    @contextmanager
    def _snapshot(self) -> "Iterator[Callable[..., list[Any]]]":
        """Run all queries of the block in one transaction, so that they see the same moment."""
        connection = self._connection
        if connection is None:
            raise JournalError(f"the journal {self._path} is not open: use it within `with`")
        try:
            connection.execute("BEGIN")
            try:
                yield lambda *query: connection.execute(*query).fetchall()
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as exc:
            raise journal_error(exc, self._path) from exc

    def _record(self, values: Sequence[Any], owners: Mapping[int, str]) -> Record:
        try:
            return decode_row(StoredRow(*values), owners)
        except ValueError as exc:
            raise journal_error(exc, self._path) from exc


def _durations(state: RowState, cut: Sequence[Any]) -> Durations:
    counts = {bucket: count for bucket, count, *_ in cut}
    count = sum(counts.values())
    bounds = (*EDGES, math.inf)
    return Durations(
        state=state,
        count=count,
        shortest=min(shortest for _, _, shortest, _, _ in cut) / 1e6,
        mean=sum(total for *_, total in cut) / count / 1e6,
        longest=max(longest for _, _, _, longest, _ in cut) / 1e6,
        buckets=tuple((bounds[n], counts.get(n, 0)) for n in range(min(counts), max(counts) + 1)),
    )
