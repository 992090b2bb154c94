"""Time of `import aioagents` over `import aiohttp`, in fresh interpreters."""

import argparse
import os
import re
import subprocess
import sys
import time
from functools import cache
from tempfile import TemporaryDirectory
from typing import Final

import orjson
from attrs import frozen

from .figures import Series, say, whole

_SCRIPT: Final = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import {module}
print("[%r,%r]" % (time.perf_counter() - wall, time.process_time() - cpu))
"""
_LISTINGS: Final = 5
_LINE: Final = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s*(\S+)")


@frozen
class _Import:
    """Milliseconds of one import: of the statement, and of the whole interpreter process."""

    wall: float
    cpu: float
    whole: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=whole, default=21)
    parser.add_argument("--top", type=whole, default=10, help="the number of modules to list")


def run(options: argparse.Namespace) -> None:
    """Measure round by round, both sides in each, after one that writes the bytecode."""
    with _bytecode():
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    _import("aioagents")
    ours: list[_Import] = []
    bare: list[_Import] = []
    for _ in range(options.rounds):
        bare.append(_import("aiohttp"))
        ours.append(_import("aioagents"))
    _print_modules(options.top)
    for name, found in (("aiohttp", bare), ("aioagents", ours)):
        walls, cpus = Series([each.wall for each in found]), Series([each.cpu for each in found])
        wholes = Series([each.whole for each in found])
        say(f"import {name}: wall {walls.show('ms')}, CPU {cpus.show('ms')}; process {wholes.show('ms')}")
    cpu = Series.ratio([each.cpu for each in ours], [each.cpu for each in bare])
    process = Series.ratio([each.whole for each in ours], [each.whole for each in bare])
    wall = Series.ratio([each.wall for each in ours], [each.wall for each in bare])
    say(f"ratio of CPU {cpu.show(digits=2)}, of whole processes' wall {process.show(digits=2)}")
    say(f"imports: {wall.middle:.2f} times aiohttp (aim 1.3)")


@cache
def _bytecode() -> "TemporaryDirectory[str]":
    """Return the folder for the bytecode of both sides: installed packages have theirs, a work tree may not."""
    return TemporaryDirectory(prefix="benchmark-")


def _python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    # Without the measuring of coverage in child processes: it would count as well.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environment, "PYTHONPYCACHEPREFIX": _bytecode().name},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )


def _import(module: str) -> _Import:
    began_at = time.perf_counter()
    done = _python("-c", _SCRIPT.format(module=module))
    spent = time.perf_counter() - began_at
    wall, cpu = orjson.loads(done.stdout)
    return _Import(wall * 1e3, cpu * 1e3, spent * 1e3)


def _modules(module: str) -> dict[str, int]:
    """Return the microseconds that each imported module took by itself, the minimum of several listings."""
    least: dict[str, int] = {}
    for _ in range(_LISTINGS):
        lines = _python("-X", "importtime", "-c", f"import {module}").stderr.splitlines()
        for found in filter(None, map(_LINE.match, lines)):
            micros = int(found[1])
            least[found[3]] = min(micros, least.get(found[3], micros))
    return least


def _print_modules(top: int) -> None:
    ours, bare = _modules("aioagents"), _modules("aiohttp")
    beyond = {name: micros for name, micros in ours.items() if name not in bare}
    say(f"{len(beyond)} modules beyond aiohttp's, {sum(beyond.values()) / 1e3:.1f} ms by themselves:")
    for name, micros in sorted(beyond.items(), key=lambda pair: -pair[1])[:top]:
        say(f"  {micros / 1e3:6.2f} ms  {name}")
