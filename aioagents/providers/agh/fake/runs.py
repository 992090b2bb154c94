"""The records of automation runs, and their history. Pure.

Times are nanoseconds since the start of 1970.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import define, frozen

from .times import omit_empty, write_moment, write_optional

ENDS: Final = frozenset({"completed", "failed", "canceled"})
STATUSES: Final = ENDS | {"scheduled", "running", "delegated"}
_LAST: Final = "\U0010ffff"


@define(eq=False, kw_only=True)
class Record:
    """One run in the history. Exactly one of `job_id` and `trigger_id` is set."""

    id: str
    started_at: int
    job_id: str = ""
    trigger_id: str = ""
    status: str = "scheduled"
    attempt: int = 1
    session_id: str = ""
    task_id: str = ""
    task_run_id: str = ""
    fire_id: str = ""
    scheduled_at: int | None = None
    ended_at: int | None = None
    error: str = ""
    delivery_error: str = ""
    delivery_error_at: int | None = None

    @property
    def owner(self) -> str:
        """Return the id of the job or trigger."""
        return self.job_id or self.trigger_id

    def reset(self, attempt: int) -> None:
        """Set it to the beginning of a new attempt."""
        self.status, self.attempt, self.session_id, self.ended_at, self.error = (
            "scheduled",
            attempt,
            "",
            None,
            "",
        )

    def body(self) -> dict[str, Any]:
        """Return its JSON object, without empty members."""
        body = {
            "id": self.id,
            "job_id": self.job_id,
            "trigger_id": self.trigger_id,
            "session_id": self.session_id,
            "task_id": self.task_id,
            "task_run_id": self.task_run_id,
            "fire_id": self.fire_id,
            "status": self.status,
            "attempt": self.attempt,
            "scheduled_at": write_optional(self.scheduled_at),
            "started_at": write_moment(self.started_at),
            "ended_at": write_optional(self.ended_at),
            "error": self.error,
            "delivery_error": self.delivery_error,
            "delivery_error_at": write_optional(self.delivery_error_at),
        }
        return omit_empty(body)


@frozen(kw_only=True)
class Query:
    """A query of the history: bounds are inclusive, a `limit` of 0 means no limit."""

    job_id: str = ""
    trigger_id: str = ""
    status: str = ""
    since: int | None = None
    until: int | None = None
    limit: int = 0


class History:
    """All records: by id, and by owner in the order of their starts, so that lists read only what they return."""

    def __init__(self) -> None:
        self._by_id: dict[str, Record] = {}
        self._all: list[Record] = []
        self._by_owner: dict[str, list[Record]] = {}

    def add(self, record: Record) -> None:
        """Add a record."""
        self._by_id[record.id] = record
        for records in (self._all, self._by_owner.setdefault(record.owner, [])):
            # A new record is almost always the latest; only installed ones are older.
            if not records or _sort_key(records[-1]) <= _sort_key(record):
                records.append(record)
            else:
                insort(records, record, key=_sort_key)

    def remove(self, record: Record) -> None:
        """Remove a record."""
        del self._by_id[record.id]
        for records in (self._all, self._by_owner[record.owner]):
            del records[bisect_left(records, _sort_key(record), key=_sort_key)]

    def find(self, run_id: str) -> Record | None:
        """Return a record by its id."""
        return self._by_id.get(run_id)

    def list(self, query: Query) -> Sequence[Record]:
        """Return the records that match, newest first."""
        if query.job_id and query.trigger_id:
            return []
        owner = query.job_id or query.trigger_id
        records = self._by_owner.get(owner, []) if owner else self._all
        found = []
        for record in _newest_first(records, query.since, query.until):
            if not query.status or record.status == query.status:
                found.append(record)
                if len(found) == query.limit:
                    break
        return found

    def count_since(self, owner: str, since: int) -> int:
        """Count an owner's records that started at `since` or later."""
        records = self._by_owner.get(owner, [])
        return len(records) - bisect_left(records, (since, ""), key=_sort_key)

    def started_since(self, owner: str, since: int) -> Sequence[Record]:
        """Return an owner's records that started at `since` or later, oldest first."""
        records = self._by_owner.get(owner, [])
        return records[bisect_left(records, (since, ""), key=_sort_key) :]


def _sort_key(record: Record) -> tuple[int, str]:
    return record.started_at, record.id


def _newest_first(records: Sequence[Record], since: int | None, until: int | None) -> Iterator[Record]:
    begin = 0 if since is None else bisect_left(records, (since, ""), key=_sort_key)
    end = len(records) if until is None else bisect_right(records, (until, _LAST), key=_sort_key)
    return (records[index] for index in range(end - 1, begin - 1, -1))
