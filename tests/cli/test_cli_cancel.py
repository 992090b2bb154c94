"""`cancel`: its output and exit codes."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aioagents.contract.fake import RunPlan, Step
from aioagents.providers.agh.fake import job_id, make_fake
from aioagents.providers.leena.fake import FakeLeena
from aioagents.simulator import FaultPlan, Simulator

_AGH = {"endless": [Step("running")], "waiting": [Step("queued")]}


@pytest.fixture
def simulator(fake: FakeLeena, faults: FaultPlan) -> Iterator[Simulator]:
    """Run the fake servers of a vendor that cannot cancel runs, and of one that can."""
    fakes = [fake, make_fake(RunPlan(scripts=_AGH))]
    with Simulator(fakes=fakes, speed=600.0, faults=faults).in_thread() as simulator:
        yield simulator


def _start(cli: Any, vendor: str, target: str) -> str:
    found = cli("run", vendor, target, "--no-wait")
    assert found.code == 0
    return str(found.out.strip())


def test_cancelled_runs_are_printed(cli: Any) -> None:
    """Each run is printed with the state that it has then, and the command exits with 0."""
    job, task = (_start(cli, "agh", job_id(name)) for name in ("endless", "waiting"))
    found = cli("cancel", job, task, task, "--reason", "not needed")
    assert (found.code, found.err) == (0, "")
    assert sorted(found.out.splitlines()) == sorted([f"completed  {job}", f"aborted    {task}"])
    assert cli("status", task).code == 1


def test_json_says_what_was_asked(cli: Any) -> None:
    """A line for each run says whether it was cancelled or had ended before, and how it stands."""
    task = _start(cli, "agh", job_id("waiting"))
    for is_requested in (True, False):
        (line,) = cli("cancel", task, "--json").documents
        assert line["event"] == "cancelled"
        assert (line["ref"], line["is_requested"], line["run"]["state"]) == (task, is_requested, "aborted")
    (text,) = cli("cancel", task).out.splitlines()
    assert text == f"aborted    {task}  (it had ended before)"


def test_vendor_that_cannot_cancel_is_1(cli: Any, simulator: Simulator) -> None:
    """A vendor without a call for it is an error of its own, and is sent nothing; other runs are cancelled."""
    leena, task = _start(cli, "leena", "endless"), _start(cli, "agh", job_id("waiting"))
    sent = simulator.statistics().requests
    found = cli("cancel", leena, "--json")
    assert (found.code, simulator.statistics().requests) == (1, sent)
    (line,) = found.documents
    assert (line["error"]["type"], line["error"]["ref"]) == ("Unsupported", leena)
    both = cli("cancel", leena, task)
    assert (both.code, both.out) == (1, f"aborted    {task}\n")
    assert leena in both.err


def test_unknown_run_is_1(cli: Any) -> None:
    """A run that the vendor does not know exits with 1 and is named."""
    nobody = f"{_start(cli, 'agh', job_id('waiting')).rpartition('/')[0]}/run-none"
    found = cli("cancel", nobody)
    assert found.code == 1
    assert nobody in found.err


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("nobody:/1",)])
def test_wrong_arguments_are_2(cli: Any, arguments: tuple[str, ...]) -> None:
    """A reference that names no run is a usage error."""
    assert cli("cancel", *arguments).code == 2


@pytest.mark.parametrize("faults", [FaultPlan(latency=1.0, delay=60.0, only=frozenset({"task-runs.cancel"}))])
def test_ctrl_c(command: Any, cli: Any, simulator: Simulator) -> None:
    """Ctrl-C while a vendor is being asked exits with 130 and names the run that may go on."""
    task = _start(cli, "agh", job_id("waiting"))
    running = command("cancel", task)
    for _ in range(600):
        if simulator.statistics().calls.get("task-runs.cancel"):
            break
        time.sleep(0.05)
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    assert done.err == f"aioagents: interrupted; still running: 1\n  {task}\n"
