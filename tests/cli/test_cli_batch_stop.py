"""`batch FILE` stopped by signals, run on a terminal, or with a journal that is in use."""

import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioagents.batch import Journal, RowState
from aioagents.providers.leena.fake.server import FakeLeena
from aioagents.simulator import FaultPlan, Simulator
from tests.cli.test_cli_batch import events, rows_of, states_in, write_rows


def wait_for(is_true: Callable[[], object]) -> None:
    """Wait until a condition is true that depends on another process."""
    for _ in range(600):
        if is_true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not become true within 30 s")


@pytest.mark.parametrize("ending", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal(
    command: Any, cli: Any, fake: FakeLeena, tmp_path: Path, ending: tuple[signal.Signals, int]
) -> None:
    """The first Ctrl-C, or SIGTERM, ends it with runs going on, and the printed command continues with them."""
    number, code = ending
    path = write_rows(tmp_path, {"long": "endless"} | {str(n): "good" for n in range(200)})
    output = tmp_path / "out.jsonl"
    options = ["--vendor", "leena", "--output", str(output), "--in-flight", "20", "--timeout", "100"]
    running = command("batch", str(path), *options, "--json")
    wait_for(lambda: fake.statistics()["polls"] > 5)
    running.signal(number)
    done = running.finish()
    assert done.code == code
    assert done.err.startswith("aioagents: stopping: ")
    assert len(events(done.documents, "stopping")) == 1
    last = done.documents[-1]
    assert (last["exit_code"], last["unknown"], "sending" in last["rows"]) == (code, 0, False)
    assert last["rows"]["started"] >= 1
    assert last["unread"] == 201 - sum(last["rows"].values())
    states = states_in(Path(f"{path}.db"))
    started = {key for key, state in states.items() if state != "planned"}
    assert set(fake.starts_by_key) == started
    settled = {key for key, state in states.items() if RowState(state).is_settled}
    assert {row["key"] for row in rows_of(output)} == settled
    again = shlex.split(last["resume"])
    again[again.index("--timeout") + 1] = "4"
    assert cli(*again[1:]).code == 3
    assert set(fake.starts_by_key.values()) == {1}
    assert sorted(row["key"] for row in rows_of(output)) == sorted(str(n) for n in range(200))


@pytest.mark.parametrize("faults", [FaultPlan.parse("latency=1,delay=3600,only=start")])
def test_two_signals_while_starts_are_pending(
    command: Any, cli: Any, simulator: Simulator, fake: FakeLeena, tmp_path: Path
) -> None:
    """The first Ctrl-C waits for pending starts, the second does not: their rows are unknown from then on."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(9)})
    running = command("batch", str(path), "--vendor", "leena", "--in-flight", "3")
    wait_for(lambda: simulator.statistics().calls.get("aop.execute") == 3)
    running.signal(signal.SIGINT)
    lines = iter(running.process.stderr.readline, "")
    stopping = next(line for line in lines if line.startswith("aioagents: "))
    assert stopping.partition(": ")[2] == (
        "stopping: waiting for 3 pending starts; Ctrl-C again ends at once\n"
    )
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    assert "3 unknown: they were sent, and whether a run began cannot be known" in done.out
    assert "6 rows were not started" in done.out
    assert f"aioagents batch {path} --vendor leena --in-flight 3 --resume" in done.out
    listed = cli("batch", "unknown", f"{path}.db", "--json")
    assert [row["key"] for row in listed.documents] == ["0", "1", "2"]
    assert fake.statistics()["starts"] == 0


@pytest.mark.parametrize("faults", [FaultPlan.parse("latency=1,delay=1.5,only=start")])
def test_runs_that_begin_after_the_end(
    command: Any, cli: Any, simulator: Simulator, fake: FakeLeena, tmp_path: Path
) -> None:
    """Runs that begin while the batch ends are printed; their rows are unknown and can be settled with them."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(30)})
    running = command("batch", str(path), "--vendor", "leena", "--json")
    wait_for(lambda: simulator.statistics().calls.get("aop.execute", 0) >= 30)
    running.signal(signal.SIGINT)
    time.sleep(0.05)  # two signals of one kind at the same time count as one
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    printed = {each["ref"] for each in events(done.documents, "abandoned")}
    assert all(f"  {ref}  good, sent at " in done.err for ref in printed)
    with Journal.read_only(f"{path}.db") as reader:
        known = {str(record.ref) for record in reader.records() if record.ref is not None}
    assert not printed & known
    assert len(printed | known) <= fake.statistics()["starts"] <= 30
    unknown = [row["key"] for row in cli("batch", "unknown", f"{path}.db", "--json").documents]
    assert len(unknown) + len(known) == 30
    for key, ref in zip(unknown, printed, strict=False):
        assert cli("batch", "unknown", f"{path}.db", "--resolve", f"{key}={ref}").code == 0


@pytest.mark.parametrize("faults", [FaultPlan.parse("throttle=0.4,retry_after=0,only=poll")])
def test_vendor_that_throttles(cli: Any, tmp_path: Path) -> None:
    """The number of throttles is printed while the batch runs, and at the end."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(40)})
    done = cli("batch", str(path), "--vendor", "leena", "--json")
    assert done.code == 0
    throttled = events(done.documents, "throttled")
    assert done.documents[-1]["throttles"] == len(throttled) >= 1
    assert throttled[0]["per_second"] > 0


@pytest.mark.parametrize("faults", [FaultPlan.parse("latency=1,delay=3600,only=token")])
def test_signal_before_anything_is_started(command: Any, simulator: Simulator, tmp_path: Path) -> None:
    """Ctrl-C while the first token is waited for ends it; no journal was created."""
    path = write_rows(tmp_path, {"a": "good"})
    running = command("batch", str(path), "--vendor", "leena")
    wait_for(lambda: simulator.statistics().calls.get("oauth.token"))
    running.signal(signal.SIGINT)
    done = running.finish()
    assert (done.code, done.err) == (130, "aioagents: interrupted before anything was started\n")
    assert list(tmp_path.iterdir()) == [path]


def test_pipe_that_stays_open(command: Any, tmp_path: Path) -> None:
    """Ctrl-C ends a batch that waits for more rows of a pipe."""
    options = ["--format", "jsonl", "--journal", str(tmp_path / "batch.db"), "--json"]
    running = command("batch", "-", "--vendor", "leena", *options, stdin=subprocess.PIPE)
    before = running.line()
    running.signal(signal.SIGINT)
    running.process.wait(30)
    done = running.finish(before)
    assert done.code == 130
    assert (done.documents[-1]["unread"], done.documents[-1]["rows"]) == (None, {})


def test_reader_that_goes_away(command: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """When the reader of stdout is gone, the batch ends with 141; what was started is in the journal."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(50)})
    running = command("batch", str(path), "--vendor", "leena", "--json", "--in-flight", "10")
    running.line()
    running.process.stdout.close()
    running.process.stdout = None
    assert running.finish().code == 141
    states = states_in(Path(f"{path}.db"))
    assert {key for key, state in states.items() if state in ("started", "completed")} == set(
        fake.starts_by_key
    )


def test_journal_that_is_in_use(command: Any, cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """While a batch runs, its journal can be read, but neither settled nor used by a second run."""
    path = write_rows(tmp_path, {str(n): "endless" for n in range(5)})
    journal = f"{path}.db"
    running = command("batch", str(path), "--vendor", "leena")
    wait_for(lambda: "started" in states_in(Path(journal)).values() if Path(journal).exists() else False)
    shown = cli("batch", "status", journal)
    assert (shown.code, "in use by " in shown.out) == (0, True)
    for arguments in (
        [str(path), "--vendor", "leena", "--resume"],
        ["unknown", journal, "--resolve", "0=drop"],
    ):
        done = cli("batch", *arguments)
        assert done.code == 1
        assert "is in use by " in done.err
    running.signal(signal.SIGINT)
    assert running.finish().code == 130
    assert set(fake.starts_by_key.values()) == {1}


def test_on_a_terminal(on_terminal: Any, tmp_path: Path) -> None:
    """On a terminal progress is drawn below the printed lines, the cursor is restored, and the summary stays."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(30)} | {"x" * 200: "unknown_aop"})
    code, shown = on_terminal("batch", str(path), "--vendor", "leena").finish()
    assert code == 1
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "/31" in shown
    assert "starts/s" in shown
    assert "is refused: " in shown
    assert "31 rows settled: 30 completed, 1 refused" in shown
    with Journal.read_only(f"{path}.db") as reader:
        assert reader.summary().states[RowState.COMPLETED] == 30


@pytest.mark.parametrize("faults", [FaultPlan.parse("throttle=1,retry_after=40,only=start")])
def test_signal_while_starts_wait_for_another_try(
    command: Any, simulator: Simulator, fake: FakeLeena, tmp_path: Path
) -> None:
    """Ctrl-C while the vendor throttles every start waits for none, and the printed command starts each row once."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(12)})
    running = command("batch", str(path), "--vendor", "leena", "--json")
    wait_for(lambda: simulator.statistics().calls.get("aop.execute", 0) >= 6)
    running.signal(signal.SIGINT)
    signalled_at = time.monotonic()
    done = running.finish()
    # Some got a Retry-After of half a minute.
    assert time.monotonic() - signalled_at < 5.0
    assert done.code == 130
    last = done.documents[-1]
    assert (last["rows"], last["unknown"], last["starts"]) == ({"planned": 12}, 0, 0)
    assert set(states_in(Path(f"{path}.db")).values()) == {"planned"}
    assert fake.statistics()["starts"] == 0
    assert last["resume"] == f"aioagents batch {path} --vendor leena --json --resume"
    with Simulator(fakes=[fake], speed=600).in_thread() as healthy:
        again = command(*shlex.split(last["resume"])[1:], env=healthy.environment()).finish()
    assert again.code == 0
    assert again.documents[-1]["rows"] == {"completed": 12}
    assert dict(fake.starts_by_key) == {str(n): 1 for n in range(12)}
