"""Output and exit codes, and what an interrupted command prints."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from aioagents import AgentsError, RunRef, RunState, StartUnknown
from aioagents.cli.exits import Exit, code_of, worst
from aioagents.cli.output import Output, one_line
from aioagents.cli.tally import Tally
from aioagents.cli.work import Work, perform
from aioagents.model import Run
from aioagents.observe import RunStarted, StartAbandoned, StatusUnknown

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REF = RunRef("leena", "", "1")


def _run(state: RunState, ref: RunRef = REF) -> Run:
    return Run(ref=ref, state=state, status=state.value, seen_at=NOW)


def test_control_characters_are_replaced() -> None:
    """Control characters, line ends and changes of the writing direction become spaces."""
    assert one_line("a\x1b[2Jb\r\nc\u202ed\x9be ") == "a [2Jb c d e"


def test_secrets_that_a_server_repeats_are_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret setting in a server's message is replaced, in text and in JSON."""
    monkeypatch.setenv("LEENA_PASSWORD", "hunter22")
    monkeypatch.setenv("LEENA_TOKEN_URL", "https://example.com")
    assert Output().hide("hunter22 at https://example.com") == "*** at https://example.com"
    Output(is_json=True).error(AgentsError("no", detail="wrong password hunter22"))
    found = capsys.readouterr()
    assert "hunter22" not in found.out + found.err
    assert json.loads(found.out)["error"]["detail"] == "wrong password ***"


def test_deep_output_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """An output that is nested deeper than orjson can write is printed whole."""
    output: object = "tea"
    for _ in range(300):
        output = [output]
    Output(is_json=True).document({"output": output})
    assert json.loads(capsys.readouterr().out) == {"output": output}


def test_order_of_exit_codes() -> None:
    """Of several codes the worst decides: 5, before 1, before 3, before 0."""
    assert worst([]) is Exit.OK
    assert worst([Exit.OK, Exit.TIMEOUT]) is Exit.TIMEOUT
    assert worst([Exit.TIMEOUT, Exit.FAILED, Exit.OK]) is Exit.FAILED
    assert worst([Exit.AUTH, Exit.FAILED]) is Exit.AUTH
    assert code_of(RuntimeError()) is Exit.FAILED


def test_tally_counts_each_run_once() -> None:
    """Each run counts in one state; anything after its end changes nothing."""
    tally = Tally(3, [REF])
    assert str(tally) == "0/3 ended, 1 not seen"
    tally.seen(_run(RunState.PAUSED))
    other = RunRef("leena", "", "2")
    tally.seen(_run(RunState.RUNNING, other))
    tally.begin(_run(RunState.QUEUED, other))
    tally.lose("error")
    assert dict(tally.counts()) == {"queued": 1, "paused": 1, "error": 1}
    tally.seen(_run(RunState.COMPLETED))
    tally.seen(_run(RunState.RUNNING))
    tally.close(REF, "error")
    assert str(tally) == "2/3 ended, 1 queued, 1 completed, 1 error"


def test_interruption_lists_runs_that_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Started runs are listed, also if the start was abandoned, and unknown starts with their advice."""
    work = Work(Output())
    unknown = StartUnknown("lost", target="x", advice="check there")
    for event in (
        RunStarted(vendor="leena", target="x", run=_run(RunState.QUEUED)),
        StartAbandoned(vendor="leena", target="x", sent_at=NOW, run=_run(RunState.QUEUED)),
        StartAbandoned(vendor="leena", target="x\x1b", sent_at=NOW, error=unknown),
    ):
        work.on_event(event)
    work.report_interrupted()
    assert capsys.readouterr().err.splitlines() == [
        "aioagents: interrupted; still running: 1",
        "  leena:/1",
        "  unknown: whether the start of x, sent at 2026-01-02 03:04:05+00:00, began a run",
        "    check there",
    ]


def test_runs_that_are_kept_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose runs are in a journal remembers none, and prints no number."""
    work = Work(Output(), keeps_runs=False)
    for _ in range(3):
        work.on_event(RunStarted(vendor="leena", run=_run(RunState.RUNNING), target="x"))
    assert work.running == {}
    work.report_interrupted()
    assert capsys.readouterr().err == "aioagents: interrupted; runs that were started go on\n"


def test_long_lists_are_cut_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """The list of runs that go on may be limited."""
    work = Work(Output())
    work.most_shown = 1
    for number in "12":
        work.running[RunRef("leena", "", number)] = None
    work.report_interrupted()
    assert capsys.readouterr().err.splitlines()[1:] == ["  leena:/1", "  and 1 more"]


def test_unknown_status_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown status is reported, and the run is polled on."""
    Work(Output()).on_event(StatusUnknown(vendor="leena", run=_run(RunState.UNKNOWN)))
    assert "is not known; polling goes on" in capsys.readouterr().err


def test_errors_of_tasks_are_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """An error in a task group is printed like a single error; a bug is raised."""

    async def fail(error: Exception) -> Exit:
        async def raise_it() -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(raise_it())
        return Exit.OK

    assert perform(Work(Output()), lambda: fail(OSError(28, "No space left", "rows"))) is Exit.FAILED
    assert capsys.readouterr().err == "aioagents: rows: No space left\n"
    with pytest.raises(ExceptionGroup):
        perform(Work(Output()), lambda: fail(RuntimeError("a bug")))
