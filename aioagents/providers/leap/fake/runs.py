"""The runs of a fake Leap: the timeline of their status words, and their JSON. Pure."""

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
_NOT_STARTED: Final = frozenset({"queued", "failed", "cancelled"})
_ALPHABET: Final = string.ascii_letters + string.digits
_QUEUED_SHARE: Final = 0.02

#: The vendor's status words, each with the seconds after the start from which it holds.
Timeline = tuple[tuple[float, str], ...]


@frozen
class _Names:
    workflow: str
    webhook: str
    inputs: str
    version: str


class Dialect(Enum):
    """How a start and its run are written in JSON: as by `POST /v1/workflows`, or by `POST /v1/runs`."""

    WORKFLOWS = _Names("workflowId", "webhookUrl", "inputs", "versionId")
    RUNS = _Names("workflow_id", "webhook_url", "input", "version_id")


@define(eq=False, kw_only=True)
class Item:
    """What a run and a bulk run have in common. Times are the fake server's seconds."""

    index: int
    id: str
    version: str
    workflow: str
    dialect: Dialect
    webhook_url: str
    created_at: float
    started_at: float | None
    timeline: Timeline

    @property
    def end(self) -> tuple[float, str] | None:
        """Return when and with which status it ends, also before then; None if it never does."""
        since, status = self.status_at(math.inf)
        return (since, status) if status in ENDS else None

    def status_at(self, now: float) -> tuple[float, str]:
        """Return the status at `now`, and since when it holds: `(since, status)`."""
        begin, status = self.timeline[0]
        for later, word in self.timeline[1:]:
            if status in ENDS or self.created_at + later > now:
                break
            begin, status = later, word
        return self.created_at + begin, status

    def end_at_start(self) -> float:
        """Move the end to the moment of the start, with the final status unchanged, and return that moment."""
        self.timeline = ((0.0, self.status_at(math.inf)[1]),)
        if self.started_at is not None:
            self.started_at = self.created_at
        return self.created_at

    def body(self, now: float, form: "BodyFormat") -> dict[str, Any]:
        """Return its JSON object as of `now`."""
        raise NotImplementedError


@frozen(kw_only=True)
class BodyFormat:
    """How runs are written: the date of second 0, in UTC, and the name of the member that holds the output."""

    epoch: datetime
    payload: str

    def date(self, seconds: float | None) -> str | None:
        """Return a date as the vendor writes it."""
        if seconds is None:
            return None
        return (self.epoch + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


@define(eq=False, kw_only=True)
class LeapRun(Item):
    """One workflow run."""

    input: Mapping[str, Any] | None
    output: Any
    has_ended_at: bool

    def body(self, now: float, form: BodyFormat) -> dict[str, Any]:
        """Return all ten members, in the dialect in which the run was started."""
        since, status = self.status_at(now)
        has_started = self.started_at is not None and self.started_at <= now
        shows_end = status in ENDS and (self.has_ended_at or status != "failed")
        # While a run goes on, callers have seen both null and an empty object.
        so_far: Any = {} if has_started and status not in ENDS and self.index % 2 else None
        return {
            "id": self.id,
            self.dialect.value.version: self.version,
            "status": status,
            "created_at": form.date(self.created_at),
            "started_at": form.date(self.started_at) if has_started else None,
            "ended_at": form.date(since) if shows_end else None,
            self.dialect.value.workflow: self.workflow,
            "error": ERROR if status == "failed" else None,
            "input": self.input,
            form.payload: self.output if status == "completed" else so_far,
        }


@define(eq=False, kw_only=True)
class BulkRun(Item):
    """One bulk run; its single runs, one for each row of a CSV file, are not visible."""

    input_csv_url: str
    rows: int

    def body(self, now: float, form: BodyFormat) -> dict[str, Any]:
        """Return the members of the vendor's specification, and the `ended_at` of its schemas."""
        since, status = self.status_at(now)
        return {
            "id": self.id,
            self.dialect.value.version: self.version,
            "status": status,
            "created_at": form.date(self.created_at),
            "ended_at": form.date(since) if status in ENDS else None,
            self.dialect.value.workflow: self.workflow,
            "input_csv_url": self.input_csv_url,
            "output_csv_url": f"https://files.example.com/{self.id}.csv" if status == "completed" else None,
            "error": ERROR if status == "failed" else None,
            "row_count": self.rows,
        }


class RunFactory:
    """Makes new runs: draws ids, timelines and outputs from the plan's seed."""

    def __init__(self, plan: RunPlan, *, outputs: Sequence[Any], without_ended_at: float) -> None:
        self._plan = plan
        self._outputs = outputs
        self._without_ended_at = without_ended_at
        self._chance = random.Random(f"leap {plan.seed}")  # noqa: S311 - seeded on purpose
        self._timelines = {name: _scripted(name, plan) for name in plan.scripts}
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
            has_ended_at=self._chance.random() >= self._without_ended_at,
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
        run_id = prefix + self._random_word(self._chance.choice((15, 18)))
        starts_after, timeline = self._timelines.get(workflow) or self._draw_timeline(dialect)
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
            "started_at": None if starts_after is None else now + starts_after,
            "timeline": timeline,
        }

    def _random_word(self, length: int) -> str:
        return "".join(self._chance.choices(_ALPHABET, k=length))

    def _draw_timeline(self, dialect: Dialect) -> tuple[float, Timeline]:
        seconds, end = self._plan.draw(self._chance)
        begin, whole = self._plan.delay + seconds * _QUEUED_SHARE, self._plan.delay + seconds
        # The vendor's text on the first dialect has no `queued`: a run that has not started is `running` there.
        waiting = ((0.0, "queued"), (begin, "running")) if dialect is Dialect.RUNS else ((0.0, "running"),)
        return begin, (*waiting, (whole, _WORDS.get(end, end)))


def _scripted(workflow: str, plan: RunPlan) -> tuple[float | None, Timeline]:
    steps = plan.scripts[workflow]
    if not steps:
        raise ValueError(f"the script of {workflow!r} has no steps")
    timeline = [(0.0, steps[0].status)]
    begin = plan.delay + steps[0].seconds
    for step in steps[1:]:
        timeline.append((begin, step.status))
        begin += step.seconds
    started = next((max(since, plan.delay) for since, word in timeline if word not in _NOT_STARTED), None)
    return started, tuple(timeline)
