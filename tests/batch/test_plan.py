"""What errors and ends mean for a row."""

from datetime import timedelta

import pytest

from aioagents import (
    AgentsError,
    AuthenticationError,
    AuthorizationRequired,
    BadRequest,
    Conflict,
    DecodeError,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyError,
    ReplyLost,
    Run,
    RunRef,
    RunState,
    ServerError,
    StartUnknown,
    Throttled,
    WaitTimeout,
)
from aioagents.batch import MOVES, RowState
from aioagents.batch.plan import ENDS, StartFailure, classify, ended, unstarted
from aioagents.errors import error_class
from tests.fakes import EPOCH

_TABLE = [
    (StartUnknown("x"), RowState.UNKNOWN, False),
    (AuthenticationError("x", status=401), RowState.PLANNED, True),
    (PoolClosed("x"), RowState.PLANNED, True),
    (BadRequest("x", status=400), RowState.REFUSED, False),
    (BadRequest("x", status=422), RowState.REFUSED, False),
    (PermissionDenied("x", status=403), RowState.PLANNED, False),
    (NotFound("x", status=404), RowState.REFUSED, False),
    (NotFound("x", status=404, is_passing=True), RowState.PLANNED, False),
    (Conflict("x", status=409), RowState.REFUSED, False),
    (ReplyError("x", status=405), RowState.REFUSED, False),
    (ReplyError("x", status=402), RowState.PLANNED, False),
    (ReplyError("x", status=408), RowState.PLANNED, False),
    (ReplyError("x", status=425), RowState.PLANNED, False),
    (ReplyError("x", status=301), RowState.PLANNED, False),
    (ReplyError("x"), RowState.PLANNED, False),
    (NotSent("x"), RowState.PLANNED, False),
    (ReplyLost("x"), RowState.PLANNED, False),
    (Throttled("x", status=429), RowState.PLANNED, False),
    (ServerError("x", status=503), RowState.PLANNED, False),
    (DecodeError("x"), RowState.PLANNED, False),
    (AuthorizationRequired("x"), RowState.PLANNED, False),
    (WaitTimeout("x"), RowState.PLANNED, False),
    (AgentsError("x"), RowState.PLANNED, False),
    (ValueError("x"), RowState.REFUSED, False),
    (TypeError("x"), RowState.REFUSED, False),
    (LookupError("x"), RowState.UNKNOWN, False),
    (RuntimeError("x"), RowState.UNKNOWN, False),
    (TimeoutError("x"), RowState.UNKNOWN, False),
]


@pytest.mark.parametrize(
    ("error", "state", "stops"),
    _TABLE,
    ids=[f"{type(error).__name__} {getattr(error, 'status', '')}" for error, _, _ in _TABLE],
)
def test_every_error_has_its_verdict(error: Exception, state: RowState, *, stops: bool) -> None:
    """The verdict is the table's, and is a move that a row which is SENDING may make; a plain no is no trouble."""
    is_no = state is RowState.REFUSED or getattr(error, "status", None) in {402, 403}
    assert classify(error) == StartFailure(state, stops, is_trouble=not is_no)
    assert state in MOVES[RowState.SENDING]


@pytest.mark.parametrize("status", range(400, 500))
def test_refusals_are_final_but_for_those_that_are_not(status: int) -> None:
    """Of all 4xx, a row is given back for those that a later try may cure."""
    given_back = {401, 402, 403, 408, 425, 429}
    verdict = classify(error_class(status)("x", status=status))
    assert verdict.state is (RowState.PLANNED if status in given_back else RowState.REFUSED)


def test_failed_start_is_written_down_in_words() -> None:
    """The journal keeps the kind of the error, its message, and the vendor's own words."""
    error = BadRequest("answered with 400", status=400, detail="no such tea")
    change = unstarted("k", RowState.REFUSED, error, at=EPOCH)
    assert (change.key, change.state, change.at, change.ref) == ("k", RowState.REFUSED, EPOCH, None)
    assert (change.kind, change.error) == ("BadRequest", "answered with 400 (no such tea)")
    assert unstarted("k", RowState.REFUSED, ValueError("odd"), at=EPOCH).error == "odd"


@pytest.mark.parametrize("state", ENDS)
def test_end_is_written_down_with_its_run(state: RunState) -> None:
    """An end keeps the run's word, output and error, when it was seen, and when the vendor says it was."""
    seen_at = EPOCH + timedelta(seconds=5)
    ref = RunRef("leap", "", "1")
    run = Run(ref=ref, state=state, status="word", output=[1], error="why", ended_at=EPOCH, seen_at=seen_at)
    change = ended("k", run)
    kind = {RunState.COMPLETED: "", RunState.FAILED: "RunFailed", RunState.ABORTED: "RunAborted"}[state]
    assert (change.state.value, change.kind, change.at) == (state.value, kind, seen_at)
    assert change.ended_at == EPOCH
    assert (change.status, change.output, change.error) == ("word", [1], "why")
    assert change.state in MOVES[RowState.STARTED]


def test_ends_are_the_runs_ends() -> None:
    """Each end of a run is one of a row, and nothing else is."""
    assert set(ENDS) == {state for state in RunState if state.is_terminal}
