"""Looks into a journal while a batch uses it, or afterwards. Blocks for as long as the disk takes."""

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
from ..record import Record, RowState
from . import opening
from .faults import fault
from .ledger import Line, moment_of, record_of
from .schema import DURATIONS, EDGES, OPENINGS, TOTALS, page_of

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
    """A journal at one moment.

    `errors` counts rows by `kind`, as far as they have one and did not complete; `starts` counts rows that were sent
    by who changed them last. `owner` opened the journal last, for the `openings`th time, of which a further run of a
    batch over an open journal is one; `is_in_use` says whether it has it open now. `unemitted` counts results that
    were not given out yet.
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
        """Count all rows."""
        return sum(self.states.values())


@frozen(kw_only=True)
class Durations:
    """How long the runs of one end state took from start to end, in seconds.

    `buckets` counts them by an upper bound that is not reached itself, from the first bucket that holds any to the
    last; the bound of the longest runs may be infinite.
    """

    state: RowState
    count: int
    shortest: float
    mean: float
    longest: float
    buckets: Sequence[tuple[float, int]]


class JournalReader:
    """Looks into a journal: `with Journal.read_only("batch.db") as view`. Changes nothing.

    It may be used while a batch runs. Entering and all methods raise `JournalError`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self.close()
        try:
            self._connection = opening.open_to_read(opening.find(self._path))
        except sqlite3.Error as exc:
            raise fault(exc, self._path) from exc
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
        """Return totals, all of one moment; reads every row."""
        with self._moment() as ask:
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
            created_at=moment_of(created_at),
            opened_at=moment_of(opened_at),
            closed_at=moment_of(closed_at),
            first_sent_at=moment_of(
                min((t.first_sent for t in totals if t.first_sent is not None), default=None)
            ),
            last_sent_at=moment_of(
                max((t.last_sent for t in totals if t.last_sent is not None), default=None)
            ),
            last_ended_at=moment_of(
                max((t.last_ended for t in totals if t.last_ended is not None), default=None)
            ),
            openings=number,
            owner=owner,
            is_in_use=opening.is_locked(opening.find(self._path)),
            unemitted=sum(total.unemitted for total in totals),
            emitted_bytes=size,
            is_output_stale=bool(is_stale),
        )

    def records(self, *, state: RowState | None = None, kind: str | None = None) -> Iterator[Record]:
        """Return rows in the order of their claims, or only those of one state or one kind of error.

        Each is as it is when its page is read; memory is bounded.
        """
        wanted = {"state": None if state is None else RowState(state).value, "kind": kind}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        page = page_of(*wanted, size=_PAGE)
        after = 0
        while True:
            with self._moment() as ask:
                rows = ask(page, {**wanted, "after": after})
                owners = dict(ask("SELECT number, owner FROM opening"))
            for row in rows:
                yield self._record(row, owners)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def durations(self) -> Mapping[RowState, Durations]:
        """Return how long runs took, by the state they ended in; states without any are left out. Reads every row."""
        with self._moment() as ask:
            rows = ask(DURATIONS)
        found = {state: [row[1:] for row in rows if row[0] == state] for state in _ENDS}
        return MappingProxyType({state: _durations(state, cut) for state, cut in found.items() if cut})

    def __repr__(self) -> str:
        return f"<JournalReader {self._path!r} {'open' if self._connection else 'closed'}>"

    @contextmanager
    def _moment(self) -> "Iterator[Callable[..., list[Any]]]":
        """Have all that is asked within answered as of one moment."""
        connection = self._connection
        if connection is None:
            raise JournalError(f"the journal {self._path} is not open: use it within `with`")
        try:
            connection.execute("BEGIN")
            try:
                yield lambda *question: connection.execute(*question).fetchall()
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as exc:
            raise fault(exc, self._path) from exc

    def _record(self, values: Sequence[Any], owners: Mapping[int, str]) -> Record:
        try:
            return record_of(Line(*values), owners)
        except ValueError as exc:
            raise fault(exc, self._path) from exc


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
