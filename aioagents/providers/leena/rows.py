"""Leena AI: rows of the total-runs report, typed. Pure.

A row keeps its JSON and reads a member when its property is used: most programs need a few of the two dozen, and
building all of them costs four times as much as decoding the JSON. A member that is missing, null or of another shape
than the vendor describes reads as None or empty; `raw` has it unchanged.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from ...codec import parse_moment
from ...errors import DecodeError
from .settings import VENDOR

CALL: Final = "report"
#: Values that mean "not finished": the API's, the dashboard's, and empty.
UNFINISHED: Final = frozenset({"NA", "N/A", ""})


@frozen(kw_only=True)
class Person:
    """A person named in a run. Members that the vendor leaves out are None."""

    id: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Participant:
    """A role in a run, and the people in it."""

    title: str | None = None
    sub_title: str | None = field(default=None, repr=False)
    users: tuple[Person, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class Violation:
    """How often one kind of guardrail was violated."""

    type: str | None = None
    count: int = 0


@frozen(kw_only=True)
class Guardrail:
    """The guardrails a run violated."""

    total_violations: int = 0
    violations: tuple[Violation, ...] = ()


@frozen(repr=False)
class ReportRow:
    """One run in the report; `raw` is the row as received, and holds names and e-mail addresses.

    Dates are available as the vendor wrote them (`initiated_on`) and parsed (`initiated_at`): without a zone they
    are UTC, and text that is no date, as `NA` while a run goes on, is None.
    """

    raw: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        """Return the id that is unique for each run."""
        return str(self.raw["runId"])

    @property
    def request_id(self) -> str | None:
        """Return the id that also is the `request_id` in execute's answer (`handle.accepted.raw`)."""
        return _text(self.raw, "requestId")

    @property
    def handled_by(self) -> tuple[str, ...]:
        """Return who handled the run: the main orchestrator, colleagues, or both."""
        return _texts(self.raw, "handledBy")

    @property
    def status(self) -> str | None:
        """Return the report's own word (`Handled`, `Failed`, ...): an open set, and not the AOP status."""
        return _text(self.raw, "status")

    @property
    def initiated_on(self) -> str | None:
        """Return when the run began, as written."""
        return _text(self.raw, "initiatedOn")

    @property
    def initiated_at(self) -> datetime | None:
        """Return when the run began."""
        return parse_moment(self.raw.get("initiatedOn"))

    @property
    def initiated_by(self) -> Person | None:
        """Return who started the run; None also where the vendor writes a text like N/A."""
        return _person(self.raw.get("initiatedBy"))

    @property
    def initiated_for(self) -> Person | None:
        """Return for whom the run was started."""
        return _person(self.raw.get("initiatedFor"))

    @property
    def trigger_type(self) -> str | None:
        """Return what started the run: `manual`, `workbench`, `api`, or a newer word."""
        return _text(self.raw, "triggerType")

    @property
    def completed_on(self) -> str | None:
        """Return when the run ended, as written; `NA` while it goes on."""
        return _text(self.raw, "completedOn")

    @property
    def completed_at(self) -> datetime | None:
        """Return when the run ended, None while it goes on."""
        return parse_moment(self.raw.get("completedOn"))

    @property
    def is_finished(self) -> bool:
        """Return whether the run is over."""
        written = self.completed_on
        return written is not None and written.strip().upper() not in UNFINISHED

    @property
    def schedule_name(self) -> str | None:
        """Return the schedule that started the run, if one did."""
        return _text(self.raw, "scheduleName") or None

    @property
    def escalation(self) -> str | None:
        """Return the vendor's "Yes" or "No"."""
        return _text(self.raw, "escalation")

    @property
    def associated_skills(self) -> tuple[str, ...]:
        """Return the skills that were used."""
        return _texts(self.raw, "associatedSkills")

    @property
    def associated_aops(self) -> tuple[str, ...]:
        """Return the AOPs that were used."""
        return _texts(self.raw, "associatedAops")

    @property
    def total_time_taken(self) -> str | None:
        """Return the run's duration as text for display; to calculate with it, subtract the dates."""
        return _text(self.raw, "totalTimeTaken")

    @property
    def unhandled_due_to(self) -> str | None:
        """Return the short reason why a run was not handled."""
        return _text(self.raw, "unhandledDueTo") or None

    @property
    def unhandled_reason_text(self) -> str | None:
        """Return the long reason why a run was not handled."""
        return _text(self.raw, "unhandledReasonText") or None

    @property
    def input_tokens(self) -> int | None:
        """Return the tokens read by all model calls of the run."""
        return _count(self.raw.get("inputTokens"))

    @property
    def output_tokens(self) -> int | None:
        """Return the tokens written by all model calls of the run."""
        return _count(self.raw.get("outputTokens"))

    @property
    def guardrail(self) -> Guardrail | None:
        """Return the guardrails that were violated, None where the vendor says nothing."""
        found = self.raw.get("guardrail")
        if not isinstance(found, dict):
            return None
        violations = tuple(
            Violation(type=_text(each, "type"), count=_count(each.get("count")) or 0)
            for each in _objects(found, "violations")
        )
        return Guardrail(total_violations=_count(found.get("totalViolations")) or 0, violations=violations)

    @property
    def participants(self) -> tuple[Participant, ...]:
        """Return who took part, role by role."""
        return tuple(
            Participant(
                title=_text(each, "title"),
                sub_title=_text(each, "sub_title"),
                users=tuple(_user(user) for user in _objects(each, "user_list")),
            )
            for each in _objects(self.raw, "participants")
        )

    @property
    def timestamp(self) -> str | None:
        """Return when the vendor last changed the row, as written. Not in the vendor's table; may be missing."""
        return _text(self.raw, "timestamp")

    @property
    def updated_at(self) -> datetime | None:
        """Return when the vendor last changed the row."""
        return parse_moment(self.raw.get("timestamp"))

    @property
    def key(self) -> tuple[str, str | None]:
        """Return what distinguishes this state of the run from others: an updated run has to come again."""
        return self.run_id, self.timestamp

    def __repr__(self) -> str:
        return f"<ReportRow {self.run_id} {self.status} updated {self.timestamp}>"


@frozen
class Page:
    """One page: its rows, and the vendor's total and limit, None where they are missing or unusable."""

    rows: list[ReportRow]
    total: int | None
    limit: int | None


def read_page(body: Any) -> Page:
    """Read a successful page. Raises DecodeError where it has no rows or a row has no id."""
    result = body.get("result") if isinstance(body, dict) else None
    if not isinstance(result, dict):
        raise _wrong("$.result")
    rows = result.get("rows")
    if not isinstance(rows, list):
        raise _wrong("$.result.rows")
    for index, row in enumerate(rows):
        if type(row) is not dict or type(row.get("runId")) is not str:
            raise _wrong(f"$.result.rows[{index}].runId")
    return Page([ReportRow(row) for row in rows], _count(result.get("total")), _count(result.get("limit")))


def _wrong(path: str) -> DecodeError:
    message = f"{VENDOR}: the answer to {CALL} has the wrong shape at {path}"
    return DecodeError(message, vendor=VENDOR, call=CALL, path=path)


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) else None


def _texts(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = raw.get(name)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _objects(raw: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = raw.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return None


def _person(value: Any) -> Person | None:
    if not isinstance(value, dict):
        return None
    return Person(id=_text(value, "id"), name=_text(value, "name"), email=_text(value, "email"))


def _user(value: dict[str, Any]) -> Person:
    return Person(id=_text(value, "userId"), name=_text(value, "displayName"), email=_text(value, "email"))
