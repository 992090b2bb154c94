"""What is told of a batch while it runs, where nothing is drawn."""

import json
from typing import Any

import pytest

from aioagents import BadRequest, NotFound, RunRef, StartUnknown, WaitTimeout
from aioagents.batch import BatchStatistics, Outcome, RowFault, RowState
from aioagents.cli.batch.display import Display
from aioagents.cli.batch.figures import Progress, RateLimiter
from aioagents.cli.batch.job import BatchJob
from aioagents.cli.output import Output
from aioagents.observe import RateLowered


def make_job(*, is_json: bool = False) -> BatchJob:
    """Return a job as the command line would."""
    return BatchJob(
        file="rows.csv",
        form="csv",
        vendor="leena",
        journal="batch.db",
        output=None,
        in_flight=10,
        per_second=None,
        on_unknown="report",
        timeout=None,
        target="",
        is_resumed=False,
        is_strict=False,
        is_rewritten=False,
        is_json=is_json,
        options=["--vendor", "leena"],
    )


class PolledRun:
    """A display with a clock that is moved by hand."""

    def __init__(self, *, is_json: bool = False) -> None:
        self.now = 0.0
        self._pace = RateLimiter(now=0.0)
        job = make_job(is_json=is_json)
        self.display = Display(job, Output(is_json=is_json), self._poll, now=lambda: self.now)

    def _poll(self) -> Progress:
        batch = BatchStatistics(states={RowState.COMPLETED: 3}, starts=60)
        return self._pace.progress(batch, polls=0, retries=0, limit=1.0, now=self.now)

    def draw_until(self, end: int) -> None:
        """Let time pass, a draw every second."""
        while self.now < end:
            self.now += 1
            self.display.draw()


def test_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a line of progress is told every half minute, on stderr."""
    PolledRun().draw_until(65)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "3 rows; 3 completed; 2.0 starts/s, 0.0 polls/s"
    assert len(err.splitlines()) == 2


def test_json_lines_come_every_second(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json there is an object every second, and one whenever the vendor throttles."""
    watch = PolledRun(is_json=True)
    watch.draw_until(3)
    watch.display.hear(RateLowered(vendor="leena", per_second=2.5, hold=1.0))
    out, err = capsys.readouterr()
    *progress, throttled = map(json.loads, out.splitlines())
    assert err == ""
    assert [each["event"] for each in progress] == ["progress"] * 3
    assert progress[0]["rows"] == {"completed": 3}
    assert throttled == {"event": "throttled", "per_second": 2.5, "hold": 1.0}


def _told(capsys: pytest.CaptureFixture[str], *outcomes: Outcome) -> list[str]:
    watch = PolledRun()
    for outcome in outcomes:
        watch.display.tell(outcome)
    out, err = capsys.readouterr()
    assert out == ""
    return [line.removeprefix("aioagents: ") for line in err.splitlines()]


def _outcome(state: RowState, **more: Any) -> Outcome:
    return Outcome(key="k", state=state, target="tea", **more)


def test_start_that_could_not_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that began and could not be recorded is told each time: it is found nowhere else."""
    ref = RunRef("leena", "", "1")
    lines = _told(capsys, *[_outcome(RowState.SENDING, ref=ref)] * 5)
    assert lines == ["row 'k': it could not be recorded that it began leena:/1"] * 5


def test_each_kind_of_trouble_is_told_a_few_times(capsys: pytest.CaptureFixture[str]) -> None:
    """Of each kind of failed start the first three are told; what was settled before is not told again."""
    refused = _outcome(RowState.REFUSED, error=BadRequest("no such tea"))
    unknown = _outcome(RowState.UNKNOWN, error=StartUnknown("who knows"))
    replayed = _outcome(RowState.REFUSED, error=BadRequest("old"), is_replayed=True)
    assert _told(capsys, replayed, *[refused] * 5, unknown) == [
        *["row 'k' is refused: no such tea"] * 3,
        "  further rows that are refused: BadRequest are counted, and not told",
        "row 'k' is unknown: who knows",
    ]
    assert _told(capsys, _outcome(RowState.COMPLETED)) == []


def test_run_that_cannot_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """A started row is told with the words of what ended its wait, unless that was the time."""
    late = _outcome(RowState.STARTED, error=WaitTimeout("it goes on"))
    lost = _outcome(RowState.STARTED, error=NotFound("no such run"))
    assert _told(capsys, late, lost) == ["row 'k' is started: no such run"]


def test_every_line_that_is_no_row_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that are no rows are told with the file's name and their number, however many there are."""
    faults = [Outcome(key="", state=RowState.REFUSED, error=RowFault(n, "key is empty")) for n in range(1, 6)]
    assert _told(capsys, *faults) == [f"rows.csv, line {n}: key is empty" for n in range(1, 6)]
