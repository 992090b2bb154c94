"""How rows and changes are stored: texts, microseconds, digests and JSON, and how stored rows are read back. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

from ...codec import decode_json, decode_tolerant, encode_deep, encode_json
from ...contract import BatchRow
from ...model import RunRef
from ..record import Change, Record, RowState

# States are handled as the texts that are stored. A row changes three times: converting between texts and enum
# members would take longer than the change.
_TEXTS: Final = {state: state.value for state in RowState}
SETTLED: Final = frozenset(state.value for state in RowState if state.is_settled)
ENDED: Final = frozenset(state.value for state in (RowState.COMPLETED, RowState.FAILED, RowState.ABORTED))
PLANNED: Final = RowState.PLANNED.value
SENDING: Final = RowState.SENDING.value
STARTED: Final = RowState.STARTED.value

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: One level less than can be read back: in a line of results the output is one level deeper.
_DEEPEST: Final = 1023

#: In bytes; 100 of them have room.
_LARGEST_SPILLED: Final = 512

# What exists for each row and each change is a plain tuple: it costs the least, and the garbage collector skips it.

#: A row to be claimed, without its content: key, target, digest.
EncodedRow: TypeAlias = tuple[str, str, bytes]
#: A change as it will be stored: key, state, time, end time of the run, which of `FACTS` are given (as bits), these
#: facts, and whether the change is made by hand.
EncodedChange: TypeAlias = tuple[str, str, int, int, int, tuple[str, ...], bool]

#: The columns that a change may set and may leave as they are.
FACTS: Final = ("ref", "status", "kind", "error", "output")
REF, _STATUS, _KIND, _ERROR, _OUTPUT = (1 << bit for bit in range(len(FACTS)))


class StoredRow(NamedTuple):
    """A row as it is stored.

    Times are microseconds since the Unix epoch, the output is JSON text, `claimed_in` and `changed_in` are numbers of
    openings (each run of a batch is one), `settled` is the row's position in the order in which rows were settled.
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
    checksum: int


def digest_of(row: BatchRow) -> bytes:
    """Return 16 bytes that differ if the row's target, message or input does; the order of members does not matter.

    Raise TypeError for an input that JSON cannot hold.
    """
    content = encode_json([row.target, row.message, dict(row.input)], is_sorted=True)
    return blake2b(content, digest_size=16).digest()


def encode_row(row: BatchRow) -> EncodedRow:
    """Return what the journal keeps of a row. Raise TypeError or ValueError for a row that cannot be stored."""
    return encodable(row.key), encodable(row.target), digest_of(row)


def encodable(text: str) -> str:
    """Return `text`, which names something. Raise ValueError if it cannot be encoded as UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{text!r} holds half a character (a lone surrogate)") from None
    return text


def encode_change(change: Change) -> EncodedChange:
    """Return a change in the form in which it is stored. Raise TypeError if `at` has no time zone."""
    given = 0
    facts: list[str] = []
    if change.ref is not None:
        given, facts = REF, [str(change.ref)]
    if change.status:
        given |= _STATUS
        facts.append(_without_surrogates(change.status))
    if change.kind:
        given |= _KIND
        facts.append(_without_surrogates(change.kind))
    if change.error:
        given |= _ERROR
        facts.append(_without_surrogates(change.error))
    if change.output is not None:
        given |= _OUTPUT
        facts.append(_encode_output(change.output))
    at = (change.at - _EPOCH) // _MICROSECOND
    ended = at if change.ended_at is None else min(to_micros(change.ended_at), at)
    return encodable(change.key), _TEXTS[change.state], at, ended, given, tuple(facts), change.is_by_hand


def encode_spilled(checksum: int, change: EncodedChange) -> bytes:
    """Return a change by which a run began, of a row with this checksum, for the room that is kept for a full disk.

    A large one is reduced to the reference.
    """
    content = encode_json([checksum, *change])
    if len(content) <= _LARGEST_SPILLED:
        return content
    key, _, at, _, _, facts, _ = change
    return encode_json([checksum, key, STARTED, at, at, REF, facts[:1], False])


def decode_spilled(content: bytes) -> tuple[int, EncodedChange]:
    """Return the checksum and the change that `encode_spilled` was given."""
    checksum, key, state, at, ended, given, facts, is_by_hand = decode_json(content)
    return checksum, (key, state, at, ended, given, tuple(facts), is_by_hand)


def _encode_output(output: Any) -> str:
    """Return an output as JSON, or a note that it cannot be: the end of a run has to be recorded in any case."""
    try:
        return encode_json(output).decode()
    except TypeError:
        pass
    try:
        return encode_deep(output, max_depth=_DEEPEST).decode()
    except TypeError as exc:
        return encode_json({"aioagents": f"the output could not be kept: {exc}"}).decode()


def _without_surrogates(text: str) -> str:
    """Replace lone surrogates: in a text for people they must not prevent a row from being recorded."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def to_micros(time: datetime) -> int:
    """Return a time as it is stored."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(micros: int | None) -> datetime | None:
    """Return a stored time."""
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def decode_row(
    row: StoredRow, owners: Mapping[int, str], *, is_repeated: bool = False, is_changed: bool = False
) -> Record:
    """Return the record of a stored row. Raise ValueError if the stored values are not valid."""
    return Record(
        key=row.key,
        target=row.target,
        digest=row.digest,
        state=RowState(row.state),
        owner=owners.get(row.changed_in, ""),
        ref=None if row.ref is None else RunRef.parse(row.ref),
        sent_at=from_micros(row.sent_at),
        ended_at=from_micros(row.ended_at),
        status=row.status,
        kind=row.kind,
        error=row.error,
        output=None if row.output is None else decode_tolerant(row.output.encode()),
        is_repeated=is_repeated,
        is_changed=is_changed,
    )
