"""What claims and changes make of the rows they name. Pure: it is told what stands in the journal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

from attrs import evolve

from ...codec import decode_json, encode_deep, encode_json
from ...contract import BatchRow
from ...errors import JournalError
from ...model import RunRef
from ..record import BY_HAND, TRANSITIONS, Change, Record, RowState

# States as they are stored. A row changes thrice: making an enum's member of a word, or a word of it, would take
# longer than the change.
_WORDS: Final = {state: state.value for state in RowState}
_MOVES: Final = {state.value: frozenset(move.value for move in moves) for state, moves in TRANSITIONS.items()}
_BY_HAND: Final = {state.value: frozenset(move.value for move in moves) for state, moves in BY_HAND.items()}
SETTLED: Final = frozenset(state.value for state in RowState if state.is_settled)
PLANNED: Final = RowState.PLANNED.value
SENDING: Final = RowState.SENDING.value
_STARTED: Final = RowState.STARTED.value

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: One less than can be read: a line of results has the output one deeper.
_DEEPEST: Final = 1023

# What there is of for each row and each change is a plain tuple: that costs the least, and no collector looks at it.

#: A row that is claimed, without its content: key, target, digest.
Entry: TypeAlias = tuple[str, str, bytes]
#: A change as it will be stored: key, state, moment, that of the run's end, which of `FACTS` are given, as bits, and
#: these facts; and whether it is by hand.
Step: TypeAlias = tuple[str, str, int, int, int, tuple[str, ...], bool]
#: What has to be known of a row to change it: its number and state, whether any fact is known, whether its result was
#: given out.
Mark: TypeAlias = tuple[int, str, bool, bool]
#: Changes that set the same columns: the new state, whether what was known is forgotten, and which facts are given.
Shape: TypeAlias = tuple[str, bool, int]

FACTS: Final = ("ref", "status", "kind", "error", "output")
_REF, _STATUS, _KIND, _ERROR, _OUTPUT = (1 << bit for bit in range(len(FACTS)))


class Line(NamedTuple):
    """A row as it is stored.

    Moments are microseconds of Unix time, the output is JSON text, `claimed_in` and `changed_in` are numbers of
    openings (a run of a batch is one as well), `settled` is the row's place in the order in which rows were settled.
    """

    id: int
    key: str
    target: str
    digest: bytes
    state: str
    claimed_in: int
    changed_in: int
    ref: str | None
    sent_at: int | None
    ended_at: int | None
    status: str
    kind: str
    error: str
    output: str | None
    settled: int | None
    is_emitted: int


def digest_of(row: BatchRow) -> bytes:
    """Return 16 bytes that differ when the row's target, message or input does; the order of members is no matter.

    Raises TypeError for an input that JSON cannot hold.
    """
    content = encode_json([row.target, row.message, dict(row.input)], is_sorted=True)
    return blake2b(content, digest_size=16).digest()


def entry_of(row: BatchRow) -> Entry:
    """Take of a row what the journal keeps. Raises TypeError and ValueError for what cannot be written down."""
    return written(row.key), written(row.target), digest_of(row)


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
    given = 0
    facts: list[str] = []
    if change.ref is not None:
        given, facts = _REF, [str(change.ref)]
    if change.status:
        given |= _STATUS
        facts.append(_legible(change.status))
    if change.kind:
        given |= _KIND
        facts.append(_legible(change.kind))
    if change.error:
        given |= _ERROR
        facts.append(_legible(change.error))
    if change.output is not None:
        given |= _OUTPUT
        facts.append(_kept(change.output))
    moment = (change.at - _EPOCH) // _MICROSECOND
    ended = moment if change.ended_at is None else min(micros_of(change.ended_at), moment)
    return written(change.key), _WORDS[change.state], moment, ended, given, tuple(facts), change.is_by_hand


def _kept(output: Any) -> str:
    """Write an output down, or that it cannot be: a run that ended has to be recorded."""
    try:
        return encode_json(output).decode()
    except TypeError:
        pass
    try:
        return encode_deep(output, deepest=_DEEPEST).decode()
    except TypeError as exc:
        return encode_json({"aioagents": f"the output could not be kept: {exc}"}).decode()


def _legible(text: str) -> str:
    """Words are for people: half a character in them must not keep a row from being recorded."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def micros_of(moment: datetime) -> int:
    """Return a moment as it is stored."""
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


class Claims:
    """The rows that a group of claims names, as they were read, and what the group makes of them.

    Of no use any more once a claim was refused.
    """

    def __init__(
        self, lines: Mapping[str, Line], *, opening: int, owners: Mapping[int, str], last: int
    ) -> None:
        self._lines = lines
        self._opening = opening
        self._owners = owners
        self._taken: dict[str, Record] = {}
        #: The last number given to a row.
        self.last = last
        #: Rows to be stored: number, key, target and digest, one row after the other.
        self.new: list[Any] = []
        #: Numbers of rows that an earlier run knew.
        self.known: list[int] = []
        #: Of rows that are likely to be changed.
        self.marks: dict[str, Mark] = {}

    def claim(self, entries: Sequence[Entry]) -> list[Record]:
        """Take rows on and give their records.

        Raises JournalError for a key that an earlier run knew with another content.
        """
        return [self._claim(*entry) for entry in entries]

    def _claim(self, key: str, target: str, digest: bytes) -> Record:
        taken = self._taken.get(key)
        if taken is not None:  # whatever its content: the fault of this row alone
            return evolve(taken, is_repeated=True)
        line = self._lines.get(key)
        if line is None:
            owner = self._owners[self._opening]
            record = Record(key=key, target=target, digest=digest, state=RowState.PLANNED, owner=owner)
            self.last += 1
            self.new += (self.last, key, target, digest)
            self.marks[key] = (self.last, PLANNED, True, False)
        else:
            record = self._known(line, digest)
        self._taken[key] = record
        return record

    def _known(self, line: Line, digest: bytes) -> Record:
        is_repeated = line.claimed_in == self._opening
        if line.digest != digest and not is_repeated:
            raise JournalError(
                f"the row {line.key!r} is known with another content (target, message or input): restore its input "
                "as it was, or give it another key, or use another journal",
                key=line.key,
            )
        if not is_repeated:
            self.known.append(line.id)
        if line.state not in SETTLED:
            is_blank = not (line.ref or line.status or line.kind or line.error or line.output)
            self.marks[line.key] = (line.id, line.state, is_blank, False)
        is_changed = line.changed_in == self._opening
        return record_of(line, self._owners, is_repeated=is_repeated, is_changed=is_changed)


class Moves:
    """What a group of changes makes of the rows it names, one change after the other. `marks` is kept up.

    Of no use any more, nor are the marks, once a change was refused.
    """

    def __init__(self, marks: dict[str, Mark], *, settled: int) -> None:
        self._marks = marks
        self._moved: set[str] = set()
        self._wave: dict[Shape, list[Any]] = {}
        #: What is to be stored, one after the other, no row twice in one of these. For each shape, row by row, its
        #: number and what is set, in the order of the shape's statement.
        self.waves = [self._wave]
        #: How many changes these are.
        self.count = 0
        #: The last place given in the order of settling.
        self.settled = settled
        #: Keys of rows that were settled, though perhaps not for long.
        self.ended: list[str] = []
        #: Whether a row was settled by hand whose result was given out already.
        self.is_output_stale = False

    def change(self, steps: Sequence[Step]) -> None:
        """Make changes. Raises JournalError for a row that is not known and for a move that the tables lack."""
        marks, moved = self._marks, self._moved
        self.count += len(steps)
        for key, state, moment, run_ended, given, facts, is_asked_by_hand in steps:
            number, before, is_blank, is_emitted = marks.get(key) or _no_row(key)
            is_by_hand = is_asked_by_hand and state in _BY_HAND.get(before, ())
            if state not in _MOVES[before] and not is_by_hand:
                raise JournalError(
                    f"the row {key!r} is {before}, and cannot become {state} from there", key=key
                )
            if state == _STARTED and not given & _REF:
                raise JournalError(f"the row {key!r} cannot be started without its run's reference", key=key)
            # A new attempt, and a row that was settled by hand, leave behind what went wrong before.
            is_anew = before in SETTLED or is_by_hand or (state == SENDING and not is_blank)
            if is_emitted:
                self.is_output_stale = True
            if key in moved:
                moved.clear()
                self._wave = {}
                self.waves.append(self._wave)
            moved.add(key)
            values = self._wave.setdefault((state, is_anew, given), [])
            values.append(number)
            if state == SENDING:
                values += (moment, *facts)
            elif state not in SETTLED:
                values += facts
            else:
                self.settled += 1
                values += (run_ended, self.settled, *facts, moment)
                self.ended.append(key)
            marks[key] = (number, state, not given and (is_blank or is_anew), False)


def _no_row(key: str) -> Mark:
    raise JournalError(f"there is no row {key!r}: claim it first", key=key)
