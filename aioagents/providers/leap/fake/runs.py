"""The runs of a fake Leap, each with the course it will take, and how they are told. Pure."""

import math
import random
import string
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from attrs import define, frozen

from ....contract.fake import RunPlan

ENDS: Final = frozenset({"completed", "failed", "cancelled"})
# With a newline, as in the vendor's sample of a failed run.
ERROR: Final = "Step 2: variable 'x' is missing\nThe step was not carried out."
_WORDS: Final = MappingProxyType({"aborted": "cancelled"})  # the plan's plain names that are not the vendor's
_NOT_BEGUN: Final = frozenset({"queued", "failed", "cancelled"})
_ALPHABET: Final = string.ascii_letters + string.digits
_QUEUED_SHARE: Final = 0.02

# The vendor's words, each with the seconds after the start from which it holds.
Course = tuple[tuple[float, str], ...]


@frozen
class _Names:
    workflow: str
    webhook: str
    inputs: str
    version: str


class Dialect(Enum):
    """How a start is written and its run told: `POST /v1/workflows`, or `POST /v1/runs`."""

    WORKFLOWS = _Names("workflowId", "webhookUrl", "inputs", "versionId")
    RUNS = _Names("workflow_id", "webhook_url", "input", "version_id")


@define(eq=False, kw_only=True)
class Item:
    """What a run and a bulk run have in common. Moments are the world's seconds."""

    index: int
    id: str
    version: str
    workflow: str
    dialect: Dialect
    webhook_url: str
    created_at: float
    begun_at: float | None
    course: Course

    @property
    def end(self) -> tuple[float, str] | None:
        """Return when and how it ends, also before that has come; None when it never does."""
        since, status = self.at(math.inf)
        return (since, status) if status in ENDS else None

    def at(self, now: float) -> tuple[float, str]:
        """Return since when, and as what, it stands at `now`."""
        begin, status = self.course[0]
        for later, word in self.course[1:]:
            if status in ENDS or self.created_at + later > now:
                break
            begin, status = later, word
        return self.created_at + begin, status

    def hasten(self) -> float:
        """Let it be over from its very start on, with the end it would have had; gives that moment."""
        self.course = ((0.0, self.at(math.inf)[1]),)
        if self.begun_at is not None:
            self.begun_at = self.created_at
        return self.created_at

    def body(self, now: float, told: "Telling") -> dict[str, Any]:
        """Return the JSON object that tells of it."""
        raise NotImplementedError


@frozen(kw_only=True)
class Telling:
    """How runs are told: the moment of second 0, in UTC, and the member that holds the payload."""

    epoch: datetime
    payload: str

    def moment(self, seconds: float | None) -> str | None:
        """Return a date as the vendor writes it."""
        if seconds is None:
            return None
        return (self.epoch + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


@define(eq=False, kw_only=True)
class LeapRun(Item):
    """One workflow run."""

    input: Mapping[str, Any] | None
    output: Any
    is_stamped: bool

    def body(self, now: float, told: Telling) -> dict[str, Any]:
        """Return all ten members, in the dialect the run was started in."""
        since, status = self.at(now)
        is_begun = self.begun_at is not None and self.begun_at <= now
        is_told = status in ENDS and (self.is_stamped or status != "failed")
        # While a run goes on, callers have seen both null and an empty object.
        so_far: Any = {} if is_begun and status not in ENDS and self.index % 2 else None
        return {
            "id": self.id,
            self.dialect.value.version: self.version,
            "status": status,
            "created_at": told.moment(self.created_at),
            "started_at": told.moment(self.begun_at) if is_begun else None,
            "ended_at": told.moment(since) if is_told else None,
            self.dialect.value.workflow: self.workflow,
            "error": ERROR if status == "failed" else None,
            "input": self.input,
            told.payload: self.output if status == "completed" else so_far,
        }


@define(eq=False, kw_only=True)
class BulkRun(Item):
    """One bulk run: a row of a CSV file for each of its runs, which cannot be seen."""

    input_csv_url: str
    rows: int

    def body(self, now: float, told: Telling) -> dict[str, Any]:
        """Return the members of the vendor's specification, and the `ended_at` of its schemas."""
        since, status = self.at(now)
        return {
            "id": self.id,
            self.dialect.value.version: self.version,
            "status": status,
            "created_at": told.moment(self.created_at),
            "ended_at": told.moment(since) if status in ENDS else None,
            self.dialect.value.workflow: self.workflow,
            "input_csv_url": self.input_csv_url,
            "output_csv_url": f"https://files.example.com/{self.id}.csv" if status == "completed" else None,
            "error": ERROR if status == "failed" else None,
            "row_count": self.rows,
        }


class Draws:
    """Draws what the vendor makes up for a new run: ids, courses, outputs. All from the plan's seed."""

    def __init__(self, plan: RunPlan, *, outputs: Sequence[Any], unstamped: float) -> None:
        self._plan = plan
        self._outputs = outputs
        self._unstamped = unstamped
        self._chance = random.Random(f"leap {plan.seed}")  # noqa: S311 - seeded on purpose
        self._courses = {name: _scripted(name, plan) for name in plan.scripts}
        self._versions: dict[str, str] = {}
        self._count = 0

    def run(
        self,
        workflow: str,
        *,
        now: float,
        dialect: Dialect,
        webhook_url: str,
        given: Mapping[str, Any] | None,
    ) -> LeapRun:
        """Make a run that starts now."""
        common = self._common("rnp_", workflow, now, dialect)
        return LeapRun(
            **common,
            webhook_url=webhook_url,
            input=given,
            output=self._outputs[common["index"] % len(self._outputs)],
            is_stamped=self._chance.random() >= self._unstamped,
        )

    def bulk(self, workflow: str, *, now: float, webhook_url: str, input_csv_url: str, rows: int) -> BulkRun:
        """Make a bulk run of at most `rows` rows that starts now."""
        return BulkRun(
            **self._common("bulk_", workflow, now, Dialect.RUNS),
            webhook_url=webhook_url,
            input_csv_url=input_csv_url,
            rows=self._chance.randint(1, rows),
        )

    def _common(self, prefix: str, workflow: str, now: float, dialect: Dialect) -> dict[str, Any]:
        index, self._count = self._count, self._count + 1
        run_id = prefix + self._word(self._chance.choice((15, 18)))
        begins_after, course = self._courses.get(workflow) or self._drawn(dialect)
        if workflow not in self._versions:
            named = random.Random(f"leap {self._plan.seed} {workflow}")  # noqa: S311 - as above
            self._versions[workflow] = "vsp_" + "".join(named.choices(_ALPHABET, k=18))
        return {
            "index": index,
            "id": run_id,
            "version": self._versions[workflow],
            "workflow": workflow,
            "dialect": dialect,
            "created_at": now,
            "begun_at": None if begins_after is None else now + begins_after,
            "course": course,
        }

    def _word(self, length: int) -> str:
        return "".join(self._chance.choices(_ALPHABET, k=length))

    def _drawn(self, dialect: Dialect) -> tuple[float, Course]:
        seconds, end = self._plan.draw(self._chance)
        begin, whole = self._plan.delay + seconds * _QUEUED_SHARE, self._plan.delay + seconds
        # The first dialect's vendor text knows no queue: a run that has not begun is running there.
        waiting = ((0.0, "queued"), (begin, "running")) if dialect is Dialect.RUNS else ((0.0, "running"),)
        return begin, (*waiting, (whole, _WORDS.get(end, end)))


def _scripted(workflow: str, plan: RunPlan) -> tuple[float | None, Course]:
    steps = plan.scripts[workflow]
    if not steps:
        raise ValueError(f"the script of {workflow!r} has no steps")
    course = [(0.0, steps[0].status)]
    begin = plan.delay + steps[0].seconds
    for step in steps[1:]:
        course.append((begin, step.status))
        begin += step.seconds
    begun = next((max(since, plan.delay) for since, word in course if word not in _NOT_BEGUN), None)
    return begun, tuple(course)
