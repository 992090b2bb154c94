"""Results of a process that is killed at any instant."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from aioagents.batch import Journal
from tests.batch.test_results import keys_in

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
async def test_each_row_has_one_line_though_its_writer_is_killed(tmp_path: Path, name: str) -> None:
    """After forty kills at random instants and one run to the end, each row has one line in the file."""
    command = [sys.executable, "-m", "tests.batch.killed_writer", str(tmp_path), name, "40"]
    done = subprocess.run(  # noqa: ASYNC221 - nothing else is to go on meanwhile
        command, cwd=_ROOT, capture_output=True, check=False, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    keys = Counter(keys_in(tmp_path / name))
    assert set(keys.values()) == {1}
    assert set(keys) == {str(n) for n in range(int(done.stdout))}
    async with Journal(tmp_path / "batch.db") as journal:
        assert await journal.emitted_size() == (tmp_path / name).stat().st_size
