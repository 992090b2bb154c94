"""What is printed of a batch while it runs, without a terminal."""

import json
from typing import Any

import pytest

from aioagents import BadRequest, NotFound, RunRef, StartUnknown, WaitTimeout
from aioagents.batch import BatchStatistics, Outcome, RowFault, RowState
from aioagents.cli.batch.display import Display
from aioagents.cli.batch.job import BatchJob
from aioagents.cli.batch.progress import Progress, ProgressMeter
from aioagents.cli.output import Output
from aioagents.observe import RateLowered


def make_job(*, is_json: bool = False) -> BatchJob:
    """Return a job as the command line makes it."""
    return BatchJob(
        file="rows.csv",
        form="csv",
        vendor="leena",
        endpoint="",
        journal="batch.db",
        output=None,
        in_flight=10,
        per_second=None,
        on_unknown="report",
        timeout=None,
        target="",
        resume="no",
        accepts_loss=False,
        is_strict=False,
        is_rewritten=False,
        guards_formulas=False,
        is_json=is_json,
        options=["--vendor", "leena"],
    )


class Rig:
    """A display with a clock that is moved by hand."""

    def __init__(self, *, is_json: bool = False) -> None:
        self.now = 0.0
        self._meter = ProgressMeter(now=0.0)
        job = make_job(is_json=is_json)
        self.display = Display(job, Output(is_json=is_json), self._progress, now=lambda: self.now)

    def _progress(self) -> Progress:
        batch = BatchStatistics(states={RowState.COMPLETED: 3}, starts=60)
        return self._meter.progress(batch, polls=0, retries=0, limit=1.0, now=self.now)

    def draw_until(self, end: int) -> None:
        """Move the clock, and draw every second."""
        while self.now < end:
            self.now += 1
            self.display.draw()


def test_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a line of progress is printed on stderr every half minute."""
    Rig().draw_until(65)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "3 rows; 3 completed; 2.0 starts/s, 0.0 polls/s"
    assert len(err.splitlines()) == 2


def test_json_lines_come_every_second(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json an object is printed every second, and one whenever the vendor throttles."""
    rig = Rig(is_json=True)
    rig.draw_until(3)
    rig.display.on_event(RateLowered(vendor="leena", per_second=2.5, hold=1.0))
    out, err = capsys.readouterr()
    *progress, throttled = map(json.loads, out.splitlines())
    assert err == ""
    assert [each["event"] for each in progress] == ["progress"] * 3
    assert progress[0]["rows"] == {"completed": 3}
    assert throttled == {"event": "throttled", "per_second": 2.5, "hold": 1.0}


def _printed(capsys: pytest.CaptureFixture[str], *outcomes: Outcome) -> list[str]:
    rig = Rig()
    for outcome in outcomes:
        rig.display.print_outcome(outcome)
    out, err = capsys.readouterr()
    assert out == ""
    return [line.removeprefix("aioagents: ") for line in err.splitlines()]


def _outcome(state: RowState, **more: Any) -> Outcome:
    return Outcome(key="k", state=state, target="tea", **more)


def test_start_that_could_not_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that could not be recorded is printed each time: its reference is nowhere else."""
    ref = RunRef("leena", "", "1")
    lines = _printed(capsys, *[_outcome(RowState.SENDING, ref=ref)] * 5)
    assert lines == ["row 'k': its run leena:/1 could not be recorded"] * 5


def test_each_kind_of_error_is_printed_a_few_times(capsys: pytest.CaptureFixture[str]) -> None:
    """Of each kind of failed start the first three are printed; rows settled in an earlier run are not."""
    refused = _outcome(RowState.REFUSED, error=BadRequest("no such tea"))
    unknown = _outcome(RowState.UNKNOWN, error=StartUnknown("who knows"))
    replayed = _outcome(RowState.REFUSED, error=BadRequest("old"), is_replayed=True)
    assert _printed(capsys, replayed, *[refused] * 5, unknown) == [
        *["row 'k' is refused: no such tea"] * 3,
        "  further rows that are refused: BadRequest are counted, but not printed",
        "row 'k' is unknown: who knows",
    ]
    assert _printed(capsys, _outcome(RowState.COMPLETED)) == []


def test_run_that_cannot_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """A started row is printed with the error that ended its wait, unless that was the timeout."""
    late = _outcome(RowState.STARTED, error=WaitTimeout("it goes on"))
    lost = _outcome(RowState.STARTED, error=NotFound("no such run"))
    assert _printed(capsys, late, lost) == ["row 'k' is started: no such run"]


def test_every_line_that_is_not_a_row_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that are not rows are printed with the file's name and their number, however many there are."""
    faults = [Outcome(key="", state=RowState.REFUSED, error=RowFault(n, "key is empty")) for n in range(1, 6)]
    assert _printed(capsys, *faults) == [f"rows.csv, line {n}: key is empty" for n in range(1, 6)]
