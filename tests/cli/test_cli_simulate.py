"""`simulate`: serves other commands."""

import json
import shlex
import signal
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aioagents.cli import main


def test_export_lines_point_at_it(command: Any) -> None:
    """The export lines make other commands use the simulator, which serves until Ctrl-C and then exits with 0."""
    options = "--speed 600 --seed 5 --fault latency=0.1 --history 3 --start 2026-01-05T09:00:00Z"
    serving = command("simulate", *options.split())
    words = [shlex.split(serving.line())]
    while not words[-1][1].startswith("LEENA_REPORT_URL="):  # a line that is missing ends in an IndexError
        words.append(shlex.split(serving.line()))
    assert {word[0] for word in words} == {"export"}
    environment = dict(word[1].split("=", 1) for word in words)
    report = command(
        "report", "leena", "--from", "2026-01-01", "--to", "2026-01-06", "--json", env=environment
    )
    assert len(report.finish().documents) == 3
    serving.signal(signal.SIGINT)
    _, printed = serving.process.communicate(timeout=30)
    assert serving.process.returncode == 0
    assert "aioagents: simulating at http://127.0.0.1:" in printed
    assert "aioagents: served 2 requests, 0 starts\n" in printed


def test_time_begins_now(command: Any) -> None:
    """Without --start the simulated runs are those of the last hours."""
    serving = command("simulate", "--history", "3", "--json")
    environment = json.loads(serving.line())
    now = datetime.now(UTC)
    first, last = (str((now + timedelta(days=days)).date()) for days in (-1, 1))
    report = command("report", "leena", "--from", first, "--to", last, "--json", env=environment)
    moments = [datetime.fromisoformat(each["initiatedOn"]) for each in report.finish().documents]
    assert len(moments) == 3
    assert all(timedelta() < now - each < timedelta(hours=2) for each in moments)
    serving.signal(signal.SIGTERM)
    assert serving.process.wait(timeout=30) == 0


def test_json_is_the_environment(command: Any) -> None:
    """With --json the environment is one object; SIGTERM ends it like Ctrl-C."""
    serving = command("simulate", "--json")
    environment = json.loads(serving.line())
    assert environment["LEENA_AOP_URL"].startswith("http://127.0.0.1:")
    assert environment["LEENA_REGION"] == ""
    serving.signal(signal.SIGTERM)
    assert serving.process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fault", "nonsense=1"),
        ("--fault", "reset=2"),
        ("--host", "192.0.2.1"),
        ("--speed", "0"),
        ("--median", "0"),
        ("--port", "70000"),
    ],
)
def test_bad_arguments_are_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Invalid arguments exit with 2, and print one line."""
    assert main(["simulate", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_port_in_use_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken exits with 1, in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["simulate", "--port", str(taken.getsockname()[1])]) == 1
    assert "in use" in capsys.readouterr().err
