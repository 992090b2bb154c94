"""The core of a batch, without a loop: what it decides, and what the worlds do not draw."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from aioagents import BadRequest, JournalError, PoolClosed, Run, RunRef, RunState, StartUnknown
from aioagents.batch import BatchRow, Record, RowState
from aioagents.batch import states as commands
from aioagents.batch.core import BatchCore
from aioagents.batch.plan import ENDS
from aioagents.batch.settings import BatchSettings
from aioagents.batch.states import IN_FLIGHT_PHASES, PHASE_MOVES, SENDING_PHASES, Phase, Row
from tests.simulation.cores.batch_world import Handle

UTC_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(key: str, state: RowState = RowState.PLANNED, **facts: Any) -> Record:
    """Return what a journal knows of a row."""
    return Record(key=key, target="t", digest=b"", state=state, owner="me", **facts)


class Table:
    """A core, and the commands that it has given since they were asked for last."""

    def __init__(self, *, reports_found: bool = False, **settings: Any) -> None:
        self.core = BatchCore(BatchSettings(**settings), reports_found=reports_found)
        self.core.intake.sending_ended()
        self.core.intake.open_ended()

    def given(self, kind: type) -> list[Any]:
        """Decide, and return the commands of one kind."""
        found = self.core.commands(0.0, UTC_NOW)
        self.core.check()
        return [command for command in found if isinstance(command, kind)]

    def ready(self, *keys: str) -> None:
        """Read and claim rows."""
        for key in keys:
            self.core.intake.read(BatchRow(key, "t"))
        self.given(commands.Claim)
        self.core.claimed([record(key) for key in keys], UTC_NOW)

    def sent(self, *keys: str) -> list[Row]:
        """Read, claim and send rows."""
        self.ready(*keys)
        self.given(commands.Save)
        self.core.recorded(0.0)
        return [command.row for command in self.given(commands.Start)]

    def start(self, row: Row) -> None:
        """Accept a start."""
        ref = RunRef("v", "", row.key)
        self.core.start_ended(row, Handle(ref, run_of(ref)), 0.0, UTC_NOW)  # type: ignore[arg-type]


def run_of(ref: RunRef, state: RunState = RunState.RUNNING) -> Any:
    """Return a run."""
    return Run(ref=ref, state=state, status=state.value, seen_at=UTC_NOW)


def test_phases_are_a_table() -> None:
    """Every phase has its moves, GONE is the end of all, and a row that is being sent is in flight."""
    assert set(PHASE_MOVES) == set(Phase)
    assert PHASE_MOVES[Phase.GONE] == frozenset()
    assert SENDING_PHASES < IN_FLIGHT_PHASES
    with pytest.raises(RuntimeError, match="cannot go from ready to sent"):
        Row("a", "t", Phase.READY).move(Phase.SENT)


def test_what_frees_a_slot_and_what_takes_it_are_recorded_together() -> None:
    """A row takes the slot of one that was started in the very call that records STARTED."""
    table = Table(sending=1)
    [row] = table.sent("a", "b")
    table.start(row)
    [save] = table.given(commands.Save)
    assert [(change.key, change.state) for change in save.changes] == [
        ("a", RowState.STARTED),
        ("b", RowState.SENDING),
    ]


@pytest.mark.parametrize("is_handle", [True, False])
@pytest.mark.parametrize("state", ENDS)
def test_start_that_is_answered_by_the_end(state: RunState, is_handle: bool) -> None:
    """A row whose start returns an ended run goes to its end in one change, counts as started, is not followed."""
    table = Table()
    [row] = table.sent("a")
    run = run_of(RunRef("v", "", "a"), state)
    table.core.start_ended(row, Handle(run.ref, run) if is_handle else run, 0.0, UTC_NOW)  # type: ignore[arg-type]
    [save] = table.given(commands.Save)
    [change] = save.changes
    assert (change.key, change.state, change.ref, change.status) == ("a", ENDS[state], run.ref, state.value)
    assert (table.core.statistics(UTC_NOW).in_flight, table.core.statistics(UTC_NOW).starts) == (1, 0)
    table.core.recorded(0.0)
    given = table.given(object)
    [emitted] = [each for each in given if isinstance(each, commands.Emit)]
    assert (emitted.outcome.state, emitted.outcome.run, emitted.row) == (ENDS[state], run, None)
    assert not any(isinstance(each, commands.Follow) for each in given)
    assert (table.core.statistics(UTC_NOW).in_flight, table.core.statistics(UTC_NOW).starts) == (0, 1)


@pytest.mark.parametrize("how", ["failed", "closed", "taken over"])
def test_end_in_the_answer_that_is_not_recorded(how: str) -> None:
    """Where the end that answered a start cannot be recorded, the run is reported all the same."""
    table = Table()
    [row] = table.sent("a")
    run = run_of(RunRef("v", "", "a"), RunState.COMPLETED)
    table.core.start_ended(row, run, 0.0, UTC_NOW)
    table.given(commands.Save)
    if how == "failed":
        table.core.record_failed(JournalError("full"), 0.0)
        [emitted] = table.given(commands.Emit)
        outcome = emitted.outcome
        assert (outcome.state, outcome.ref, outcome.run) == (RowState.SENDING, run.ref, run)
        return
    if how == "closed":
        table.core.left(())
        table.core.close()
    else:
        table.core.recorded(0.0, refused={"a": JournalError("somebody else has a")})
    [abandoned] = table.given(commands.Abandon)
    assert (abandoned.row.ref, abandoned.row.last) == (run.ref, run)


def test_run_that_goes_on_is_attached_to() -> None:
    """A client that returns a run which has not ended breaks its contract, and its row is followed by reference."""
    table = Table()
    [row] = table.sent("a")
    run = run_of(RunRef("v", "", "a"))
    table.core.start_ended(row, run, 0.0, UTC_NOW)
    [save] = table.given(commands.Save)
    assert [(change.state, change.ref) for change in save.changes] == [(RowState.STARTED, run.ref)]
    table.core.recorded(0.0)
    [follow] = table.given(commands.Follow)
    assert (follow.row.ref, follow.row.handle) == (run.ref, None)


def test_nothing_is_decided_twice() -> None:
    """Where nothing happened, there is nothing to do."""
    table = Table()
    table.ready("a")
    assert table.given(commands.Save)
    assert table.given(object) == []


def test_row_that_somebody_else_has() -> None:
    """A row that the journal refuses, since another owner has it, is gone; the batch goes on without it."""
    table = Table()
    table.ready("a", "b")
    table.given(commands.Save)
    table.core.recorded(0.0, refused={"a": JournalError("somebody else has a")})
    assert [start.row.key for start in table.given(commands.Start)] == ["b"]
    assert table.core.error is None


@pytest.mark.parametrize("result", ["started", "unknown", "refused"])
def test_start_of_a_row_that_somebody_else_has_is_reported(result: str) -> None:
    """A run that began for a row which was taken over meanwhile is reported, since nobody else knows of it."""
    table = Table()
    [row] = table.sent("a")
    lost = StartUnknown("lost")
    if result == "started":
        table.start(row)
    else:
        error = lost if result == "unknown" else BadRequest("no", status=400)
        table.core.start_ended(row, error, 0.0, UTC_NOW)
    table.given(commands.Save)
    table.core.recorded(0.0, refused={"a": JournalError("somebody else has a")})
    [abandoned] = table.given(commands.Abandon)
    assert (abandoned.row, abandoned.row.handle is None) == (row, result != "started")
    assert table.given(commands.Emit) == []


@pytest.mark.parametrize("on_unknown", ["report", "resend"])
def test_left_row_that_somebody_else_has(on_unknown: str) -> None:
    """A row left by an earlier run that another owner settles is not reported here."""
    table = Table(on_unknown=on_unknown)
    table.core.intake.found_open(record("a", RowState.SENDING), UTC_NOW)
    table.given(commands.Save)
    table.core.recorded(0.0, refused={"a": JournalError("somebody else has a")})
    assert table.given(commands.Emit) == []


def test_rows_that_are_released() -> None:
    """Rows that belong to somebody else from now on are not begun; those under way go on."""
    table = Table(sending=1)
    [row] = table.sent("a", "b", "c")
    table.core.released({"a", "b"})
    table.start(row)
    [save] = table.given(commands.Save)
    assert [change.key for change in save.changes] == ["a", "c"]


def test_rows_that_need_no_start_are_reported_where_asked_for() -> None:
    """An input without end hears of rows that the journal or this process has already."""
    table = Table(reports_found=True)
    table.sent("a")
    for key in "abcd":
        table.core.intake.read(BatchRow(key, "t"))
    table.given(commands.Claim)
    known = [
        record("a", RowState.SENDING, is_repeated=True),
        record("b", RowState.STARTED, is_changed=True),
        record("c", RowState.COMPLETED),
        record("d", RowState.PLANNED, is_held=True),
    ]
    table.core.claimed(known, UTC_NOW)
    assert [found.record.key for found in table.given(commands.Found)] == ["a", "b", "c", "d"]


def test_input_without_end_keeps_it_going() -> None:
    """A batch whose input never ends is not over when all its rows are."""
    table = Table()
    [row] = table.sent("a")
    table.core.start_ended(row, BadRequest("no", status=400), 0.0, UTC_NOW)
    table.given(commands.Save)
    table.core.recorded(0.0)
    assert len(table.given(commands.Emit)) == 1
    assert not table.core.is_over
    table.core.intake.input_ended()
    assert table.given(commands.End) == [commands.End(None)]


def test_waits_for_what_time_alone_unlocks() -> None:
    """The moment to be woken is that of the next start; without a row that waits there is none."""
    table = Table(starts_per_second=2)
    table.ready("a")
    assert table.given(commands.WakeAt) == []
    table.ready("b")
    assert table.given(commands.WakeAt) == [commands.WakeAt(0.5)]


def test_start_that_was_cut_off_after_the_end() -> None:
    """A start of a batch that is gone, and that its pool cuts off, is reported: it may have been sent."""
    table = Table()
    [row] = table.sent("a")
    table.core.left([])
    table.core.close()
    table.given(object)
    table.core.start_lost(row, PoolClosed("closed"))
    [abandoned] = table.given(commands.Abandon)
    assert isinstance(abandoned.error, PoolClosed)


def test_journal_that_gives_other_than_it_was_asked_for() -> None:
    """An answer of another length is a fault that is raised."""
    table = Table()
    table.core.intake.read(BatchRow("a", "t"))
    table.given(commands.Claim)
    with pytest.raises(ValueError, match="shorter"):
        table.core.claimed([], UTC_NOW)


def test_counting_anew_finds_a_wrong_count() -> None:
    """The check that worlds make after every step is no empty one."""
    table = Table()
    table.sent("a")
    table.core._in_flight += 1  # noqa: SLF001 - the fault that is to be found
    with pytest.raises(AssertionError):
        table.core.check()


def test_second_stop_shortens_alone() -> None:
    """A stop with more time than the first one leaves the first one's end."""
    table = Table()
    table.sent("a")
    table.core.stop(5.0, 0.0)
    table.core.stop(math.inf, 1.0)
    assert table.given(commands.WakeAt) == [commands.WakeAt(5.0)]


def test_start_that_was_cut_off_just_before_the_reader_left() -> None:
    """An outcome that was not handed over yet when the reader left is reported as an abandoned start."""
    table = Table()
    [row] = table.sent("a")
    table.core.start_lost(row, PoolClosed("the pool is closing"))
    table.core.left(())
    [abandoned] = table.given(commands.Abandon)
    assert abandoned.row is row
