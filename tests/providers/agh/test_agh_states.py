"""The states of runs by their records: status words, failures that are not final, and delegated runs."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import Run, RunRef, RunState
from aioagents.providers.agh import AutomationRun, Retry
from aioagents.providers.agh.finality import MARGIN, needs_policy, run_from_record, seconds_until_final
from aioagents.providers.agh.records import read_run
from aioagents.providers.agh.states import RUN_STATES, TASK_RUN_STATES, run_state_of, task_run_state_of

SAMPLES = Path(__file__).parents[2] / "samples" / "agh"
_AT = datetime(2026, 1, 5, 11, tzinfo=UTC)
_ENDED = datetime(2026, 1, 5, 10, tzinfo=UTC)
_REF = RunRef("agh", "", "run-0a1b2c3d4e5f6071")
_BACKOFF = Retry.backoff(3, "10s")


def _sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_bytes())


def _record(case: str) -> AutomationRun:
    return read_run(_sample(f"runs_get/200-{case}")["run"], call="runs.get")


def _task_run(status: str) -> Any:
    return _sample(f"task_runs_get/200-{status}")["run"]["run"]


def _run(case: str, **options: Any) -> Run:
    return run_from_record(_record(case), _REF, _AT, **options)


def _failed(**facts: Any) -> AutomationRun:
    members = {"id": "run_1", "status": "failed", "attempt": 1, "fire_id": "fire_1", "ended_at": _ENDED}
    return AutomationRun(**{**members, **facts})


# Words


@pytest.mark.parametrize(("word", "state"), RUN_STATES.items())
def test_each_word_of_a_run_has_a_sample(word: str, state: RunState) -> None:
    """Each word of the vendor's table of runs is read as the state it stands for."""
    run = _run(word)
    assert (run.status, run.state) == (word, state)
    assert run.raw == {"run": _sample(f"runs_get/200-{word}")["run"]}
    assert run.state.is_terminal == (word in {"completed", "failed", "canceled"})


@pytest.mark.parametrize(("word", "state"), TASK_RUN_STATES.items())
def test_each_word_of_a_task_run_has_a_sample(word: str, state: RunState) -> None:
    """Each word of the vendor's table of task runs is read as the state it stands for."""
    run = _run("delegated", task_run=_task_run(word))
    assert (run.status, run.state) == (word, state)
    assert run.state.is_terminal == (word in {"completed", "failed", "canceled"})


def test_tables_hold_the_vendors_words() -> None:
    """The vendor has six words for runs and eight for task runs, and those alone are known."""
    assert set(RUN_STATES) == {"scheduled", "running", "delegated", "completed", "failed", "canceled"}
    assert set(TASK_RUN_STATES) == {
        "queued",
        "claimed",
        "starting",
        "running",
        "completed",
        "failed",
        "canceled",
        "needs_attention",
    }
    for word in ("", "Completed", "cancelled", "failed ", "blocked"):
        assert run_state_of(word) is task_run_state_of(word) is RunState.UNKNOWN
    assert (_run("new-word").status, _run("new-word").state) == ("suspended", RunState.UNKNOWN)


# Records


def test_record_of_a_run_that_ended() -> None:
    """A run's moments are those of its record, which was made when the run was reserved."""
    run = _run("completed")
    started = datetime(2026, 1, 5, 10, 5, 0, 500000, tzinfo=UTC)
    assert (run.ref, run.seen_at) == (_REF, _AT)
    assert (run.created_at, run.started_at) == (started, started)
    assert run.ended_at == datetime(2026, 1, 5, 10, 5, 42, 250000, tzinfo=UTC)
    assert (run.output, run.error) == (None, None)


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("failed", "the agent stopped with exit code 1"),
        ("canceled", "vetoed by a hook"),
        ("running", None),
        ("every-member", None),
    ],
)
def test_errors_of_records(case: str, error: str | None) -> None:
    """What a record says of its failure or cancellation is the run's error; a blank one is none."""
    assert _run(case).error == error


def test_scheduled_fire_that_was_not_delivered() -> None:
    """A scheduled run with a delivery error has failed: it never runs."""
    run = _run("scheduled-undelivered")
    assert (run.state, run.status) == (RunState.FAILED, "scheduled")
    assert run.error == "no slot was free"
    assert run.ended_at == datetime(2026, 1, 5, 10, 5, 0, 600000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "error"), [("canceled", "late"), ("failed", "late"), ("running", None), ("completed", None)]
)
def test_delivery_errors_of_other_records(status: str, error: str | None) -> None:
    """A delivery error beside another word explains a failure, and changes no state."""
    record = AutomationRun(id="run_1", status=status, delivery_error="late", ended_at=_ENDED)
    run = run_from_record(record, _REF, _AT)
    assert (run.state, run.error) == (RUN_STATES[status], error)


def test_failed_record_whose_next_attempt_waits() -> None:
    """A failed record that is not final is a run that waits, with the last attempt's error and no end."""
    run = _run("failed-retrying", is_final=False)
    assert (run.state, run.status, run.ended_at) == (RunState.QUEUED, "failed", None)
    assert run.error == "the agent stopped with exit code 1"
    final = _run("failed-retrying")
    assert (final.state, final.ended_at) == (RunState.FAILED, _record("failed-retrying").ended_at)


@pytest.mark.parametrize("word", sorted(set(RUN_STATES) - {"failed"}))
def test_finality_is_a_matter_of_failures(word: str) -> None:
    """What is not final is a failure: other words mean the same either way."""
    assert _run(word, is_final=False) == _run(word)


# Delegated runs


def test_delegated_record_alone() -> None:
    """A delegated run goes on, though its record has an end already."""
    run = _run("delegated")
    assert (run.state, run.status, run.ended_at) == (RunState.RUNNING, "delegated", None)
    assert _record("delegated").ended_at is not None
    assert set(run.raw) == {"run"}


def test_delegated_run_that_completed() -> None:
    """State, result and moments of a delegated run are its task run's; `raw` keeps both records."""
    run = _run("delegated", task_run=_task_run("completed"))
    assert (run.state, run.status, run.error) == (RunState.COMPLETED, "completed", None)
    assert run.output == {"digest": "three changes"}
    assert run.created_at == datetime(2026, 1, 5, 10, 5, 0, 500000, tzinfo=UTC)
    assert run.started_at == datetime(2026, 1, 5, 10, 6, 5, 125000, tzinfo=UTC)
    assert run.ended_at == datetime(2026, 1, 5, 10, 9, tzinfo=UTC)
    assert run.raw == {"run": _record("delegated").raw, "task_run": _task_run("completed")}


@pytest.mark.parametrize(
    ("word", "error"), [("failed", "the tool could not be reached"), ("canceled", "no longer wanted")]
)
def test_delegated_run_that_did_not_complete(word: str, error: str) -> None:
    """The error of a delegated run is its task run's, and there is no output."""
    run = _run("delegated", task_run=_task_run(word))
    assert (run.error, run.output) == (error, None)
    assert run.ended_at is not None


@pytest.mark.parametrize("word", ["queued", "claimed", "starting", "running", "needs_attention"])
def test_delegated_run_that_goes_on(word: str) -> None:
    """A task run that is not over has no end."""
    task_run = {**_task_run(word), "ended_at": "2026-01-05T10:09:00Z"}
    assert _run("delegated", task_run=task_run).ended_at is None


@pytest.mark.parametrize(
    "task_run", [{}, {"status": None}, {"status": 5, "error": 5}, {"status": "parked", "error": ""}]
)
def test_task_run_that_says_little(task_run: Any) -> None:
    """A task run with an unknown status is polled on, and its odd members raise nothing."""
    run = _run("delegated", task_run=task_run)
    assert (run.state, run.error, run.output) == (RunState.UNKNOWN, None, None)


# Whether a failure is the end


@pytest.mark.parametrize(
    ("record", "retry"),
    [
        (_failed(fire_id=""), _BACKOFF),
        (_failed(), Retry.none()),
        (_failed(), None),
        (_failed(attempt=4), _BACKOFF),
        (_failed(attempt=9), _BACKOFF),
        (_failed(status="completed"), _BACKOFF),
        (_failed(status="canceled"), _BACKOFF),
        (_failed(status="running", ended_at=None), _BACKOFF),
        (_failed(fire_id="", ended_at=None), _BACKOFF),
    ],
)
def test_records_that_are_final_at_once(record: AutomationRun, retry: Retry | None) -> None:
    """Without a fire id, a policy, or attempts left, a failure is the end at once."""
    assert seconds_until_final(record, retry, _ENDED) == 0


@pytest.mark.parametrize(("attempt", "delay"), [(0, 10), (1, 10), (2, 20), (3, 40)])
def test_failure_below_the_last_attempt(attempt: int, delay: int) -> None:
    """Below the last attempt a failure is final when the next one is overdue by a margin, and not before."""
    record = _failed(attempt=attempt)
    whole = delay + MARGIN
    assert seconds_until_final(record, _BACKOFF, _ENDED) == whole
    assert seconds_until_final(record, _BACKOFF, _ENDED + timedelta(seconds=whole - 1)) == 1
    assert seconds_until_final(record, _BACKOFF, _ENDED + timedelta(seconds=whole)) == 0
    assert seconds_until_final(record, _BACKOFF, _ENDED + timedelta(days=1)) == 0


def test_failure_without_an_end() -> None:
    """As long as a failed record does not say when it ended, it is not final."""
    assert seconds_until_final(_failed(ended_at=None), _BACKOFF, _AT) == math.inf


def test_policy_that_cannot_be_read() -> None:
    """A strategy of another name counts as one that tries again; a delay that cannot be read counts as none."""
    policy = Retry(strategy="jitter", max_retries=2, base_delay="a while")
    assert seconds_until_final(_failed(), policy, _ENDED) == MARGIN


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**8))
def test_every_failure_becomes_final(attempt: int, retries: int, later: int) -> None:
    """However many attempts there are, the wait is a number, and gets shorter by the time that passes."""
    policy = Retry.backoff(retries, "2s")
    record = _failed(attempt=attempt)
    at_first = seconds_until_final(record, policy, _ENDED)
    assert 0 <= at_first < math.inf
    left = seconds_until_final(record, policy, _ENDED + timedelta(seconds=later))
    assert left == max(at_first - later, 0)


def test_when_a_policy_is_needed() -> None:
    """Only failures that have a fire id need their owner's policy."""
    assert needs_policy(_failed())
    assert not needs_policy(_failed(fire_id=""))
    assert not needs_policy(_failed(status="running"))
