"""Simulated worlds a second, and what breaks in them: the full stack on virtual time, every choice drawn from a seed.

A seed that fails is printed with what broke, its shortest failing prefix, and how to run it alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

from tests.simulation.search import KNOWN, Found, search
from tests.simulation.world import Result

from .figures import say, whole

_CHUNK: Final = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seeds", type=whole, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=whole, default=1)
    parser.add_argument("--journal", choices=("model", "none", "sqlite"), help="for all worlds")
    parser.add_argument("--cut", type=json.loads, help="members of the plan, as a failure prints them")
    parser.add_argument("--all", action="store_true", help="also what is known to be broken")


def run(options: argparse.Namespace) -> None:
    """Run worlds and say what came of them. Exits with 1 where something broke."""
    found, began_at = Found(), time.perf_counter()
    for some in _chunks(options):
        found.add(some)
        seconds = time.perf_counter() - began_at
        say(f"{found.worlds} worlds in {seconds:.0f} s, {len(found.failures)} failures")
        for failure in some.failures:
            for line in failure.lines():
                say(line)
    seconds = time.perf_counter() - began_at
    for name, count in sorted(found.befell.items()):
        say(f"  {name:<20}{count:>8}")
    for kind, seeds in found.known.items():
        say(f"known to be broken: {kind}: {len(seeds)} seeds, the first {sorted(seeds)[:3]}")
    say(
        f"worlds: {found.worlds / seconds:.0f} a second, {found.lives / found.worlds:.1f} lives and "
        f"{found.steps / found.worlds:.0f} steps each; {len(found.failures)} failures (aim 0)"
    )
    if found.failures:
        sys.exit(1)


def _chunks(options: argparse.Namespace) -> Iterator[Found]:
    end = options.first + options.seeds
    ranges = [range(first, min(first + _CHUNK, end)) for first in range(options.first, end, _CHUNK)]
    known = frozenset[str]() if options.all else KNOWN
    if options.jobs == 1:
        for seeds in ranges:
            yield search(seeds, journal=options.journal, cuts=options.cut, known=known, emit=_progress)
        return
    with ProcessPoolExecutor(options.jobs) as pool:
        asked = [
            pool.submit(search, seeds, journal=options.journal, cuts=options.cut, known=known)
            for seeds in ranges
        ]
        for each in as_completed(asked):
            yield each.result()


def _progress(_: Result) -> None:
    """Say nothing: chunks are short."""
