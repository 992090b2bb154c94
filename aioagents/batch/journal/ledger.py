"""What claims and changes make of the rows they name. Pure: it is told what stands in the journal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from ...codec import decode_json, encode_deep, encode_json
from ...contract import BatchRow
from ...errors import JournalError
from ...model import RunRef
from ..record import BY_HAND, MOVES, Change, Record, RowState

# States as they are stored. A row changes thrice: making an enum's member of a word, or a word of it, would take
# longer than the change.
_STATES: Final = {state.value: state for state in RowState}
_MOVES: Final = {state.value: frozenset(move.value for move in moves) for state, moves in MOVES.items()}
_BY_HAND: Final = {state.value: frozenset(move.value for move in moves) for state, moves in BY_HAND.items()}
_SETTLED: Final = frozenset(state.value for state in RowState if state.is_settled)
_PLANNED: Final = RowState.PLANNED.value
_SENDING: Final = RowState.SENDING.value
_STARTED: Final = RowState.STARTED.value
_UNKNOWN: Final = RowState.UNKNOWN.value

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: One less than can be read: a line of results has the output one deeper.
_DEEPEST: Final = 1023


class Line(NamedTuple):
    """A row as it is stored; a tuple, since that is what statements take.

    Moments are microseconds of Unix time, the output is JSON text, `claimed_in` and `changed_in` are numbers of
    openings (a run of a batch is one as well), `settled` is the row's place in the order in which rows were settled.
    """

    key: str
    target: str
    digest: bytes
    state: str
    claimed_in: int
    changed_in: int
    ref: str | None = None
    sent_at: int | None = None
    ended_at: int | None = None
    status: str = ""
    kind: str = ""
    error: str = ""
    output: str | None = None
    settled: int | None = None
    is_emitted: int = 0

    @property
    def is_settled(self) -> bool:
        """Say whether the row will most likely not change any more."""
        return self.state in _SETTLED

    @property
    def is_blank(self) -> bool:
        """Say whether nothing is known of an attempt."""
        return not (self.ref or self.status or self.kind or self.error) and self.output is None


class Entry(NamedTuple):
    """A row that is claimed, without its content."""

    key: str
    target: str
    digest: bytes


class Step(NamedTuple):
    """A change as it will be stored."""

    key: str
    state: str
    ref: str | None
    at: int
    status: str
    kind: str
    error: str
    output: str | None
    ended_at: int | None
    is_by_hand: bool


def digest_of(row: BatchRow) -> bytes:
    """Give 16 bytes that differ when the row's target, message or input does; the order of members is no matter.

    Raises TypeError for an input that JSON cannot hold.
    """
    content = encode_json([row.target, row.message, dict(row.input)], is_sorted=True)
    return blake2b(content, digest_size=16).digest()


def entry_of(row: BatchRow) -> Entry:
    """Take of a row what the journal keeps. Raises TypeError and ValueError for what cannot be written down."""
    return Entry(written(row.key), written(row.target), digest_of(row))


def written(text: str) -> str:
    """Give a text that names something back. Raises ValueError for one that no file can hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{text!r} holds half a character (a lone surrogate)") from None
    return text


def step_of(change: Change) -> Step:
    """Make a change ready to be stored. Raises TypeError for `at` without a zone."""
    return Step(
        written(change.key),
        _STATES[change.state].value,
        None if change.ref is None else str(change.ref),
        (change.at - _EPOCH) // _MICROSECOND,
        _legible(change.status),
        _legible(change.kind),
        _legible(change.error),
        None if change.output is None else _kept(change.output),
        None if change.ended_at is None else micros_of(change.ended_at),
        change.is_by_hand,
    )


def _kept(output: Any) -> str:
    """Write an output down, or that it cannot be: a run that ended has to be recorded."""
    try:
        return encode_deep(output, deepest=_DEEPEST).decode()
    except TypeError as exc:
        return encode_json({"aioagents": f"the output could not be kept: {exc}"}).decode()


def _legible(text: str) -> str:
    """Words are for people: half a character in them must not keep a row from being recorded."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def micros_of(moment: datetime) -> int:
    """Give a moment as it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(micros: int | None) -> datetime | None:
    """Read a stored moment."""
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def record_of(
    line: Line, owners: Mapping[int, str], *, is_repeated: bool = False, is_changed: bool = False
) -> Record:
    """Read a stored row. Raises ValueError where it is not what was once written."""
    return Record(
        key=line.key,
        target=line.target,
        digest=line.digest,
        state=RowState(line.state),
        owner=owners.get(line.changed_in, ""),
        ref=None if line.ref is None else RunRef.parse(line.ref),
        sent_at=moment_of(line.sent_at),
        ended_at=moment_of(line.ended_at),
        status=line.status,
        kind=line.kind,
        error=line.error,
        output=None if line.output is None else decode_json(line.output.encode()),
        is_repeated=is_repeated,
        is_changed=is_changed,
    )


class Ledger:
    """The rows that a group names, as they were read, and what the group makes of them, one job after the other.

    A job is taken as a whole or, where it raises, not at all.
    """

    def __init__(
        self, lines: Mapping[str, Line], *, opening: int, owners: Mapping[int, str], settled: int
    ) -> None:
        self._lines = dict(lines)
        self._opening = opening
        self._owners = owners
        self._changed: dict[str, None] = {}
        #: The last place given in the order of settling; a job that raised may have left gaps.
        self.settled = settled
        #: Whether a row was settled by hand whose result was given out already.
        self.is_output_stale = False

    def changed(self) -> list[Line]:
        """Give the rows that are to be stored, new ones in the order of their claims."""
        return [self._lines[key] for key in self._changed]

    def claim(self, entries: Sequence[Entry]) -> list[Record]:
        """Take rows on and give their records.

        Raises JournalError for a key that an earlier run knew with another content.
        """
        fresh: dict[str, Line] = {}
        records: list[Record] = []
        for entry in entries:
            line = fresh.get(entry.key) or self._lines.get(entry.key)
            is_repeated = line is not None and line.claimed_in == self._opening
            is_changed = line is not None and line.changed_in == self._opening
            if line is None:
                line = Line(*entry, _PLANNED, self._opening, self._opening)
                fresh[entry.key] = line
            elif is_repeated:  # whatever its content: the fault of this row alone
                pass
            elif line.digest != entry.digest:
                raise JournalError(
                    f"the row {entry.key!r} is known with another content (target, message or input): restore "
                    "its input as it was, or give it another key, or use another journal",
                    key=entry.key,
                )
            else:
                line = fresh[entry.key] = line._replace(claimed_in=self._opening)
            records.append(record_of(line, self._owners, is_repeated=is_repeated, is_changed=is_changed))
        self._take(fresh)
        return records

    def change(self, steps: Sequence[Step]) -> None:
        """Make changes. Raises JournalError for a row that is not known and for a move that the tables lack."""
        fresh: dict[str, Line] = {}
        is_stale = False
        for step in steps:
            key = step.key
            line = fresh.get(key) or self._lines.get(key)
            if line is None:
                raise JournalError(f"there is no row {key!r}: claim it first", key=key)
            fresh[key] = self._moved(line, step)
            if line.is_emitted:
                is_stale = True
        self._take(fresh)
        self.is_output_stale |= is_stale

    def _take(self, fresh: Mapping[str, Line]) -> None:
        for key, line in fresh.items():
            self._lines[key] = line
            self._changed[key] = None

    def _moved(self, line: Line, step: Step) -> Line:
        before, state, key = line.state, step.state, line.key
        is_by_hand = step.is_by_hand and state in _BY_HAND.get(before, ())
        if state not in _MOVES[before] and not is_by_hand:
            raise JournalError(f"the row {key!r} is {before}, and cannot become {state} from there", key=key)
        if state == _STARTED and step.ref is None:
            raise JournalError(f"the row {key!r} cannot be started without its run's reference", key=key)
        # A new attempt, and a row that was settled by hand, leave behind what went wrong before.
        if before == _UNKNOWN or is_by_hand or (state == _SENDING and not line.is_blank):
            line = line._replace(ref=None, status="", kind="", error="", output=None)
        sent_at = line.sent_at
        if state == _SENDING:
            sent_at = step.at
        elif state == _PLANNED:
            sent_at = None
        ended_at = settled = None
        if state in _SETTLED:
            self.settled += 1
            ended_at, settled = step.at, self.settled
            if step.ended_at is not None and sent_at is not None and sent_at <= step.ended_at < step.at:
                ended_at = step.ended_at
        return Line(
            key,
            line.target,
            line.digest,
            state,
            line.claimed_in,
            self._opening,
            line.ref if step.ref is None else step.ref,
            sent_at,
            ended_at,
            step.status or line.status,
            step.kind or line.kind,
            step.error or line.error,
            line.output if step.output is None else step.output,
            settled,
            0,  # what was given out was settled by hand, and has to be given out anew
        )
