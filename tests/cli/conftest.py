"""Fixtures of the command line's tests: a simulator with scripted runs, and three ways to run a command."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from attrs import frozen

from aioagents.cli import main
from aioagents.contract.fake import FakeServer, RunPlan, Step
from aioagents.providers.agent_platform.fake import AgentPlatformRules, FakeAgentPlatform
from aioagents.providers.agh import fake as agh_fake
from aioagents.providers.agh.fake import DEPLOY_SECRET, FakeAgh
from aioagents.providers.leap.fake import FakeLeap
from aioagents.providers.leena.fake.server import REPORT_SCOPE, FakeLeena, LeenaAccount
from aioagents.simulator import FaultPlan, Simulator

SECRETS = (
    *("demo-secret", "demo-password", "narrow-secret", "Bearer ", ".sig", DEPLOY_SECRET),
    *("demo-app-key", "demo-tools-key"),
)
BAD_SIGNS = ("Traceback", "Warning", "Exception ignored", "was never", "was destroyed")
LIMIT = 30.0

SCRIPTS: Mapping[str, Sequence[Step]] = {
    "good": [Step("in_progress", 60), Step("completed")],
    "bad": [Step("in_progress", 60), Step("failed")],
    "stopped": [Step("in_progress", 60), Step("aborted")],
    "endless": [Step("in_progress")],
}

LEAP_SCRIPTS: Mapping[str, Sequence[Step]] = {
    "good": [Step("running", 60), Step("completed")],
    "bad": [Step("running", 60), Step("failed")],
}


#: What AGH Runtime's jobs of these names do, and its webhook triggers.
AGH_SCRIPTS: Mapping[str, Sequence[Step]] = {
    "good": [Step("running", 60), Step("completed")],
    "bad": [Step("running", 60), Step("failed")],
    "quick": [Step("running", 0.1), Step("completed")],
    "endless": [Step("running")],
    "task": [Step("queued", 60), Step("running", 60), Step("completed")],
    "stuck": [Step("queued", 60), Step("needs_attention")],
}

#: What Kore Agent Platform's app does with these texts, and what its dock jobs of these names do.
PLATFORM_SCRIPTS: Mapping[str, Sequence[Step]] = {
    "good": [Step("running", 60), Step("success")],
    "bad": [Step("running", 60), Step("failed")],
    "endless": [Step("running")],
    **{
        f"{action}:{name}": [Step("IN_PROGRESS", 60), Step(end)]
        for action in ("deploy", "undeploy", "import", "export")
        for name, end in (("good", "SUCCESS"), ("bad", "FAILED"), ("toxicity", "SUCCESS"))
    },
    "export:endless": [Step("IN_PROGRESS")],
}


@frozen
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """Read stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def checked(code: int, out: str, err: str) -> Result:
    """Return the result, after checking that the output has no secret and no sign of a leak."""
    for text in SECRETS:
        assert text not in out + err
    for text in BAD_SIGNS:
        assert text not in out + err, err
    # asyncio's debug mode reports slow callbacks on a busy machine: not output of the command.
    lines = [line for line in err.splitlines(keepends=True) if not line.startswith("Executing <")]
    return Result(code, out, "".join(lines))


def make_fake(**options: Any) -> FakeLeena:
    """Return a fake server whose second account may only read the report."""
    plan = RunPlan(scripts=SCRIPTS, history=options.pop("history", 0))
    narrow = LeenaAccount(client_id="narrow", client_secret="narrow-secret", scopes=frozenset({REPORT_SCOPE}))
    return FakeLeena(plan, accounts=(LeenaAccount(), narrow), **options)


def make_fake_agh() -> FakeAgh:
    """Return a fake server with a job and a webhook trigger for each script, and a history of 30 runs."""
    fake = agh_fake.make_fake(RunPlan(scripts=AGH_SCRIPTS, history=30))
    for name in AGH_SCRIPTS:
        members = {"scope": "global", "name": name, "agent_name": "writer", "prompt": "Do it."}
        hook = {"event": "webhook", "endpoint_slug": name, "webhook_secret_value": DEPLOY_SECRET}
        fake.install_trigger({**members, **hook}, trigger_id=agh_fake.trigger_id(name))
    return fake


def make_fake_platform() -> FakeAgentPlatform:
    """Return a fake server at which ann has to sign in, and the answer to `break off` breaks off."""
    rules = AgentPlatformRules(
        quirks=False, signins=frozenset({"ann"}), signin_forms=["proceeds"], cut=frozenset({"break off"})
    )
    return FakeAgentPlatform(RunPlan(scripts=PLATFORM_SCRIPTS), rules=rules)


@pytest.fixture
def platform() -> FakeAgentPlatform:
    """Return the simulated Kore Agent Platform of this test."""
    return make_fake_platform()


@pytest.fixture
def fake() -> FakeLeena:
    """Return the simulated Leena AI of this test."""
    return make_fake(history=250)


@pytest.fixture
def faults() -> FaultPlan:
    """Return the faults of this test: none, unless it says otherwise."""
    return FaultPlan()


@pytest.fixture
def speed() -> float:
    """Return the simulated seconds per real second."""
    return 600.0


@pytest.fixture
def simulator(
    fake: FakeLeena, platform: FakeAgentPlatform, faults: FaultPlan, speed: float
) -> Iterator[Simulator]:
    """Run the fake servers of all vendors, 600 times as fast as real time unless the test says otherwise."""
    fakes: list[FakeServer] = [fake, FakeLeap(RunPlan(scripts=LEAP_SCRIPTS)), make_fake_agh(), platform]
    with Simulator(fakes=fakes, speed=speed, faults=faults).in_thread() as simulator:
        yield simulator


Cli = Callable[..., Result]


@pytest.fixture
def cli(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process, against the simulator."""
    for name, value in simulator.environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        code = main(arguments)
        return checked(code, *capsys.readouterr())

    return run


class Command:
    """A command in a process of its own, every warning an error; it is ended with the test at the latest."""

    def __init__(self, environment: Mapping[str, str], *arguments: str, **options: Any) -> None:
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        } | options
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "aioagents", *arguments],
            env={**os.environ, **environment, **options.pop("env", {})},
            text=True,
            **options,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def line(self) -> str:
        """Read the next line of stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def finish(self, *before: str) -> Result:
        """Wait for the end and return the result; `before` are lines of stdout that were read already."""
        out, err = self.process.communicate(timeout=LIMIT)
        return checked(self.process.returncode, "\n".join([*before, out or ""]), err or "")


@pytest.fixture
def command(simulator: Simulator) -> Iterator[Callable[..., Command]]:
    """Start a command in a process of its own, against the simulator."""
    started: list[Command] = []

    def begin(*arguments: str, **options: Any) -> Command:
        started.append(Command(simulator.environment(), *arguments, **options))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()
        for stream in (each.process.stdout, each.process.stderr):
            if stream is not None:
                stream.close()


class Terminal:
    """A command in a process of its own, on a terminal of 80 columns."""

    def __init__(self, environment: Mapping[str, str], *arguments: str, typed: str = "") -> None:
        self._master, slave = pty.openpty()
        os.write(self._master, typed.encode())
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "aioagents", *arguments],
            env={**os.environ, **environment, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
            stdin=slave if typed else subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def finish(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and everything that was drawn."""
        drawn = bytearray()
        end = time.monotonic() + LIMIT
        with suppress(OSError):  # reading from a terminal that was closed is an error
            while select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
                piece = os.read(self._master, 65536)
                if not piece:
                    break
                drawn += piece
        self.process.wait(timeout=LIMIT)
        return self.process.returncode, checked(0, drawn.decode(), "").out

    def close(self) -> None:
        """End the process, if it has not ended, and the terminal."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@pytest.fixture
def on_terminal(simulator: Simulator) -> Iterator[Callable[..., Terminal]]:
    """Start a command on a terminal, against the simulator."""
    with ExitStack() as stack:

        def begin(*arguments: str, **options: Any) -> Terminal:
            terminal = Terminal(simulator.environment(), *arguments, **options)
            stack.callback(terminal.close)
            return terminal

        yield begin
