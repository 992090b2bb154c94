"""Each benchmark runs, in a tiny size, and its last line has the ratio."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_NUMBER = r"\d+\.\d+"
_TINY = {
    "batch": (["--rows=50", "--rounds=1", "--at-once=4"], rf"batch: {_NUMBER} times bare \(aim 1\.5\)"),
    "cadence": (
        ["--runs=10", "--nodes=20", "--taught=12"],
        rf"cadence: after 12 runs at most ({_NUMBER}|nan) times the best possible delay, .*",
    ),
    "damage": (
        ["--damages=12", "--rows=60"],
        r"damage: 0 breaches in 12 damages, \d+ refused and \d+ opened, \d+ s \(aim 0\)",
    ),
    "imports": (["--rounds=1", "--top=1"], rf"imports: {_NUMBER} times aiohttp \(aim 1\.3\)"),
    "journal": (["--rows=300", "--rounds=1"], rf"journal: {_NUMBER} \(.*\) times the rows a second of .*"),
    "kills": (
        ["--kills=2", "--rows=60"],
        r"kills: 0 breaches in \d+ kills of a batch of \d+ rows, \d+ s \(aim 0\)",
    ),
    "overhead": (
        ["--polls=50", "--rounds=1", "--at-once=2", "--runs=20"],
        rf"overhead: {_NUMBER} times bare \(aim 0\.6\)",
    ),
    "polling": (
        ["--runs=20", "--polls=2", "--rounds=1"],
        rf"polling: {_NUMBER} times a task for each run, {_NUMBER} times with done callbacks",
    ),
    "report": (
        ["--rows=30", "--page-size=10", "--rounds=1"],
        rf"report: {_NUMBER} times bare rows a second .*",
    ),
    "stampede": (["--calls=50", "--rounds=1"], rf"stampede: 1 token request \(aim 1\), {_NUMBER} times warm"),
    "start": (["--starts=20", "--rounds=1", "--at-once=2"], rf"start: {_NUMBER} times bare \(aim 0\.9\)"),
    "starts": (
        ["--starts=20", "--rounds=1"],
        rf"starts: {_NUMBER} times with find_start \(aim 1\), {_NUMBER} with find_early",
    ),
    "tls": (
        ["--polls=50", "--rounds=1", "--at-once=2", "--runs=20"],
        rf"tls: {_NUMBER} times bare \(aim 0\.75\)",
    ),
    "waiting": (["--runs=50", "--rounds=1", "--seconds=0.1"], rf"waiting: -?{_NUMBER} times 700 bytes .*"),
    "worlds": (
        ["--seeds=4"],
        rf"worlds: \d+ a second, {_NUMBER} lives and \d+ steps each; 0 failures \(aim 0\)",
    ),
}


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, check=False, text=True, timeout=120)


@pytest.mark.parametrize("name", _TINY)
def test_last_line_has_the_ratio(name: str) -> None:
    """The last line has the ratio in a fixed form, and a missed aim is not a failure."""
    options, last = _TINY[name]
    done = _run(name, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(last, done.stdout.splitlines()[-1])


def test_lists_all() -> None:
    """Without a name, each benchmark is listed in one line."""
    lines = _run().stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(_TINY)


def test_refuses_an_unknown_name() -> None:
    """For an unknown name the exit code is 2, and the known names are printed."""
    done = _run("speed")
    assert done.returncode == 2
    assert "overhead" in done.stdout
