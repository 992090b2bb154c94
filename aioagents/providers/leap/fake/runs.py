"""The runs of a fake Leap: their status words, and their JSON. Pure."""

import random
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from attrs import define, field, frozen

from ....contract.fake import FakeRun, RunPlan, StatusWords, Timeline, Timelines, seeded

ENDS: Final = frozenset({"completed", "failed", "cancelled"})
# With a newline, as in the vendor's sample of a failed run.
ERROR: Final = "Step 2: variable 'x' is missing\nThe step was not carried out."
_NOT_STARTED: Final = frozenset({"queued", "failed", "cancelled"})
_ALPHABET: Final = string.ascii_letters + string.digits
_OUTPUTS: Final[Sequence[Any]] = (
    {"answer": "tea", "steps": {"step1": {"score": 0.5}}},
    "tea",
    ["tea", 1],
    None,
    {},
    7,
    True,
)


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


# The vendor's text on the first dialect has no `queued`: a run that has not started is `running` there.
_QUEUED: Final = {Dialect.WORKFLOWS: "running", Dialect.RUNS: "queued"}


@frozen(kw_only=True)
class LeapRules:
    """Choices that the vendor's facts leave open.

    `unknown` workflows are answered with `unknown_status`; `unauthorized` is the JSON body of a 401, None an
    empty one. `webhook_ends` are the final statuses for which webhooks are sent. Completed runs get their outputs
    from `outputs` in turn, in the member `payload` (`output` or `result`). `without_ended_at` is the share of failed
    runs whose `ended_at` stays null. A bulk run has at most `rows` rows. A new run is not found for `hidden_for`
    seconds.
    """

    unknown: frozenset[str] = frozenset({"unknown_workflow"})
    unknown_status: int = 404
    unauthorized: Any = None
    webhook_ends: frozenset[str] = frozenset({"completed", "failed"})
    outputs: Sequence[Any] = field(default=_OUTPUTS)
    payload: str = "output"
    without_ended_at: float = 0.5
    rows: int = 20
    hidden_for: float = 0.0


@define(eq=False, kw_only=True)
class Item(FakeRun, ABC):
    """What a run and a bulk run have in common."""

    index: int
    version: str
    workflow: str
    dialect: Dialect
    started_at: float | None

    def end_at_start(self) -> None:
        """Move the end to the moment of the start."""
        super().end_at_start()
        if self.started_at is not None:
            self.started_at = self.created_at

    @abstractmethod
    def body(self, now: float, plan: RunPlan) -> dict[str, Any]:
        """Return its JSON object as of `now`, with dates from the plan's epoch on."""


@define(eq=False, kw_only=True)
class LeapRun(Item):
    """One workflow run."""

    input: Mapping[str, Any] | None
    output: Any
    payload: str
    has_ended_at: bool

    def body(self, now: float, plan: RunPlan) -> dict[str, Any]:
        """Return all ten members, in the dialect in which the run was started."""
        since, status = self.status_at(now)
        has_started = self.started_at is not None and self.started_at <= now
        shows_end = self.is_over(now) and (self.has_ended_at or status != "failed")
        # While a run goes on, callers have seen both null and an empty object.
        so_far: Any = {} if has_started and not self.is_over(now) and self.index % 2 else None
        return {
            "id": self.id,
            self.dialect.value.version: self.version,
            "status": status,
            "created_at": _date(plan, self.created_at),
            "started_at": _date(plan, self.started_at) if has_started else None,
            "ended_at": _date(plan, since) if shows_end else None,
            self.dialect.value.workflow: self.workflow,
            "error": ERROR if status == "failed" else None,
            "input": self.input,
            self.payload: self.output if status == "completed" else so_far,
        }


@define(eq=False, kw_only=True)
class BulkRun(Item):
    """One bulk run; its single runs, one for each row of a CSV file, are not visible."""

    input_csv_url: str
    rows: int

    def body(self, now: float, plan: RunPlan) -> dict[str, Any]:
        """Return the members of the vendor's specification, and the `ended_at` of its schemas."""
        since, status = self.status_at(now)
        return {
            "id": self.id,
            self.dialect.value.version: self.version,
            "status": status,
            "created_at": _date(plan, self.created_at),
            "ended_at": _date(plan, since) if self.is_over(now) else None,
            self.dialect.value.workflow: self.workflow,
            "input_csv_url": self.input_csv_url,
            "output_csv_url": f"https://files.example.com/{self.id}.csv" if status == "completed" else None,
            "error": ERROR if status == "failed" else None,
            "row_count": self.rows,
        }


class RunFactory:
    """Makes new runs: draws ids, timelines and outputs from the plan's seed."""

    def __init__(self, plan: RunPlan, rules: LeapRules) -> None:
        self._plan = plan
        self._rules = rules
        self._chance = seeded("leap", plan.seed)
        self._timelines = {
            dialect: Timelines(plan, StatusWords(queued=word, running="running", aborted="cancelled"))
            for dialect, word in _QUEUED.items()
        }
        self._versions: dict[str, str] = {}
        self._count = 0

    def run(self, workflow: str, dialect: Dialect, given: Mapping[str, Any] | None, now: float) -> LeapRun:
        """Make a run that starts now."""
        common, rules = self._common("rnp_", workflow, dialect, now), self._rules
        return LeapRun(
            **common,
            input=given,
            output=rules.outputs[common["index"] % len(rules.outputs)],
            payload=rules.payload,
            has_ended_at=self._chance.random() >= rules.without_ended_at,
        )

    def bulk(self, workflow: str, input_csv_url: str, now: float) -> BulkRun:
        """Make a bulk run that starts now."""
        common = self._common("bulk_", workflow, Dialect.RUNS, now)
        return BulkRun(**common, input_csv_url=input_csv_url, rows=self._chance.randint(1, self._rules.rows))

    def _common(self, prefix: str, workflow: str, dialect: Dialect, now: float) -> dict[str, Any]:
        index, self._count = self._count, self._count + 1
        if workflow not in self._versions:
            self._versions[workflow] = "vsp_" + _word(seeded("leap", self._plan.seed, workflow), 18)
        run_id = prefix + _word(self._chance, self._chance.choice((15, 18)))
        timelines = self._timelines[dialect]
        timeline = timelines.scripted([workflow])
        if timeline is None:
            timeline = timelines.drawn(self._chance)
            starts_after: float | None = timeline.steps[1][0]
        else:
            starts_after = self._starts_after(timeline)
        return {
            "id": run_id,
            "created_at": now,
            "timeline": timeline,
            "index": index,
            "version": self._versions[workflow],
            "workflow": workflow,
            "dialect": dialect,
            "started_at": None if starts_after is None else now + starts_after,
        }

    def _starts_after(self, script: Timeline) -> float | None:
        """Return after how many seconds a scripted run begins; None if it ends before."""
        begins = (since for since, word in script.steps if word not in _NOT_STARTED)
        return next((max(since, self._plan.delay) for since in begins), None)


def _word(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(_ALPHABET, k=length))


def _date(plan: RunPlan, seconds: float | None) -> str | None:
    return None if seconds is None else plan.date(seconds).isoformat(timespec="microseconds")
