"""The checksum of a row: the sum of those of its parts, modulo 2 to the power of 32. Pure.

The journal keeps the sum of all rows' checksums. The numbers of openings and what is recorded of the output are not
covered.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias
from zlib import crc32

from ..record import RowState
from .encoding import FACTS, PLANNED, REF, StoredRow

#: The checksums of a row's facts, in the order of `FACTS`; 0 for one that it does not have.
FactSums: TypeAlias = tuple[int, ...]
NO_FACTS: Final[FactSums] = (0,) * len(FACTS)

_MOST: Final = 0xFFFFFFFF
_IS_GIVEN: Final = 1 << 32  # for a fact whose own checksum is 0
#: The factors of times. Odd, so that no bit of a time is lost.
_SENT, _ENDED = 0x9E3779B1, 0x85EBCA77
_STATES: Final[Mapping[str, int]] = MappingProxyType(
    {state.value: crc32(state.value.encode()) for state in RowState}
)
_TIME: Final = (int, type(None))
#: By which facts are given: their positions.
_POSITIONS: Final = tuple(
    tuple(bit for bit in range(len(FACTS)) if given >> bit & 1) for given in range(1 << len(FACTS))
)


def content_checksum(number: int, key: str, target: str, digest: bytes) -> int:
    """Return the checksum of what never changes of a row, and of its number."""
    return crc32(digest, crc32(f"{number}\0{key}\0{target}".encode()))


def with_facts(sums: FactSums, given: int, facts: Sequence[str]) -> FactSums:
    """Return the checksums of a row's facts after a change that gives some."""
    if sums is NO_FACTS and given == REF:  # nearly all starts
        return (crc32(facts[0].encode()) | _IS_GIVEN, 0, 0, 0, 0)
    merged = [*sums]
    for position, fact in zip(_POSITIONS[given], facts):  # noqa: B905 - they are as many, and checking takes long
        merged[position] = crc32(fact.encode(), position) | _IS_GIVEN
    return tuple(merged)


def planned_checksum(content: int) -> int:
    """Return the checksum of a row that is new."""
    return content + _STATES[PLANNED] & _MOST


def checksum_of(content: int, state: str, sent_at: int | None, ended_at: int | None, sums: FactSums) -> int:
    """Return the checksum of a row, which binds its state and its reference to its key and its content."""
    times = (sent_at or 0) * _SENT + (ended_at or 0) * _ENDED
    return content + _STATES[state] + times + sum(sums) & _MOST


def sums_of(row: StoredRow) -> FactSums:
    """Return the checksums of the facts of a stored row."""
    facts = (row.ref, row.status, row.kind, row.error, row.output)
    given = sum(1 << bit for bit, fact in enumerate(facts) if fact)
    return with_facts(NO_FACTS, given, [fact for fact in facts if fact]) if given else NO_FACTS


def is_intact(row: StoredRow) -> bool:
    """Return whether a stored row is as it was written. Raise TypeError or AttributeError for odd values."""
    if row.state not in _STATES or type(row.sent_at) not in _TIME or type(row.ended_at) not in _TIME:
        return False
    content = content_checksum(row.id, row.key, row.target, row.digest)
    return row.checksum == checksum_of(content, row.state, row.sent_at, row.ended_at, sums_of(row))
