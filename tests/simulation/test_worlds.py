"""Worlds of the full stack, each drawn from a seed: whatever goes wrong in them, nothing is started twice or lost."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.simulation.faults import FAULTS
from tests.simulation.plan import draw
from tests.simulation.search import search
from tests.simulation.world import run, surroundings

_CHUNKS = 8
_SEEDS = 100
#: From which seed on, besides the first ones: others every day.
_FIRST = 1_000_000 + datetime.now(tz=UTC).date().toordinal() % 10_000 * _CHUNKS * _SEEDS


def _run(first: int, count: int = _SEEDS, journal: str | None = None) -> None:
    seeds = range(first, first + count)
    print(f"worlds {seeds.start} to {seeds.stop - 1}")  # noqa: T201 - shown beside a failure
    found = search(seeds, journal=journal, most_failures=1)
    if found.failures:
        pytest.fail("\n".join(found.failures[0].lines()), pytrace=False)
    assert found.worlds == count


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_worlds(chunk: int) -> None:
    """The first worlds hold, which are the same in each run."""
    _run(chunk * _SEEDS)


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_worlds_of_the_day(chunk: int) -> None:
    """So do others every day."""
    _run(_FIRST + chunk * _SEEDS)


@pytest.mark.parametrize("chunk", range(2))
def test_worlds_over_real_journals(chunk: int) -> None:
    """The first worlds hold also where the journal is SQLite's, and a kill leaves its files as they are."""
    _run(chunk * 40, 40, journal="sqlite")


def test_each_fault_befalls() -> None:
    """Every fault of the vocabulary befalls some of the first worlds."""
    found = search(range(400))
    assert FAULTS.keys() - {"timers.late"} <= found.befell.keys()


_DIGEST = """
import sys
from tests.simulation.plan import draw
from tests.simulation.world import run, surroundings
with surroundings():
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        for at, step, words in run(draw(seed)).trace:
            print(seed, at, step, words)
"""


def test_a_seed_is_a_world() -> None:
    """A seed stands for one world, step for step, in whichever process it is run, and after whichever others."""
    folder = Path(__file__).parents[2]
    outputs = []
    for number, first in (("1", "4"), ("2", "0")):
        environ = {**os.environ, "PYTHONHASHSEED": number}
        command = [sys.executable, "-c", _DIGEST, first, "12"]
        text = subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True).stdout
        outputs.append([line for line in text.splitlines() if int(line.split()[0]) >= 4])
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 100


def test_a_cut_world_is_smaller() -> None:
    """What is cut off is not there, and the rest is drawn as before."""
    plan = draw(3)
    with surroundings():
        whole, cut = (
            run(plan),
            run(plan.cut({"rows": 1, "lives": 1, "faults": [], "waiters": 0.0, "direct": 0})),
        )
    assert (cut.broken, cut.befell) == (None, {})
    assert cut.steps < whole.steps
