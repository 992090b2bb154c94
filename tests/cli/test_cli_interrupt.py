"""Ctrl-C, SIGTERM, and a reader that goes away."""

import json
import signal
import time
from typing import Any

import pytest

from aioagents.providers.leena.fake.server import FakeLeena
from aioagents.simulator import FaultPlan, Simulator


def _wait_for(is_true: Any) -> None:
    for _ in range(600):
        if is_true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not become true within 30 s")


def test_ctrl_c_while_a_run_is_followed(command: Any) -> None:
    """Ctrl-C exits with 130 and names the run that goes on; nothing is left open or pending."""
    running = command("run", "leena", "endless")
    ref = running.line()
    running.line()  # the first poll: it is being followed
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    assert done.err == f"aioagents: interrupted; still running: 1\n  {ref}\n"


def test_sigterm_while_runs_are_followed(command: Any, cli: Any) -> None:
    """SIGTERM works like Ctrl-C, with 143, and names only the runs that have not ended."""
    good, endless = (cli("run", "leena", each, "--no-wait").out.strip() for each in ("good", "endless"))
    running = command("wait", good, endless, "--json")
    seen = {json.loads(running.line())["event"] for _ in range(2)}
    assert seen == {"ended", "changed"}
    running.signal(signal.SIGTERM)
    done = running.finish()
    assert done.code == 143
    assert done.documents[-1] == {"event": "interrupted", "running": [endless], "unknown": []}


def test_ctrl_c_in_the_demo(command: Any) -> None:
    """Ctrl-C in the demo exits with 130, names all running runs, and leaves nothing open."""
    running = command("demo", "--runs", "40")
    running.line()
    running.line()  # the first line of progress: runs are under way
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    first, *refs = done.err.splitlines()
    assert first == f"aioagents: interrupted; still running: {len(refs)}"
    assert refs
    assert all(ref.startswith("  leena:127.0.0.1:") for ref in refs)


@pytest.mark.parametrize("faults", [FaultPlan.parse("latency=1,delay=60,only=start")])
def test_ctrl_c_while_a_start_is_pending(command: Any, simulator: Simulator, fake: FakeLeena) -> None:
    """Ctrl-C before the reply to a start prints that its outcome is unknown."""
    running = command("run", "leena", "good", "--json")
    _wait_for(lambda: simulator.statistics().calls.get("aop.execute"))
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    assert "unknown: whether the start of good, sent at 20" in done.err
    [unknown] = done.documents[-1]["unknown"]
    assert (unknown["target"], unknown["ref"]) == ("good", None)
    assert unknown["advice"]


def test_reader_that_goes_away(command: Any) -> None:
    """When the reader of stdout is gone, the command ends with 141 and prints nothing."""
    running = command("report", "leena", "--from", "2026-01-01", "--to", "2026-01-06", "--json")
    running.process.stdout.close()
    running.process.stdout = None
    done = running.finish()
    assert done.code == 141
    assert "rows in" not in done.err
