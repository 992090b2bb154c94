"""`batch FILE` on a disk that is full, or that cannot be written."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aioagents.batch import Journal
from aioagents.providers.leena.fake.server import FakeLeena
from aioagents.simulator import Simulator
from tests.cli.test_cli_batch import rows_of, states_in, write_rows
from tests.rights import unprivileged

#: Limits the size of files while the command runs; measuring coverage needs room afterwards.
_LIMITED = """
import resource, sys
from aioagents.cli import commands, main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
code = main(sys.argv[2:])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sys.exit(code)
"""


def _run_limited(
    size: int, *arguments: str, environ: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _LIMITED, str(size), *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, check=False, text=True, timeout=60
    )


@pytest.mark.parametrize("size", [120_000, 300_000, 700_000])
def test_journal_on_a_full_disk(
    cli: Any, simulator: Simulator, fake: FakeLeena, tmp_path: Path, size: int
) -> None:
    """No start is sent that cannot be recorded; the code is 1, and the batch continues once there is room.

    Runs that could not be recorded are known then: their references were kept beside the journal.
    """
    path = write_rows(tmp_path, {str(n): "good" for n in range(400)})
    options = ["batch", str(path), "--vendor", "leena", "--in-flight", "40"]
    done = _run_limited(size, *options, environ=simulator.environment())
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "the disk is full" in done.stderr
    assert "to continue the batch:" in done.stdout
    states = states_in(Path(f"{path}.db"))
    assert 0 < fake.statistics()["starts"] < 400
    assert {states[str(key)] for key in fake.starts_by_key} <= {"sending", "started", "completed"}
    output = tmp_path / "out.jsonl"
    again = cli(*options, "--resume", "--output", str(output))
    assert again.code == 0
    assert set(fake.starts_by_key.values()) == {1}
    results = {row["key"]: row["state"] for row in rows_of(output)}
    assert len(results) == len(rows_of(output)) == 400
    assert set(results.values()) == {"completed"}


def test_no_room_for_a_journal(simulator: Simulator, fake: FakeLeena, tmp_path: Path) -> None:
    """If no journal can be created, nothing is started."""
    path = write_rows(tmp_path, {"a": "good"})
    done = _run_limited(1000, "batch", str(path), "--vendor", "leena", environ=simulator.environment())
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert fake.statistics()["starts"] == 0


@pytest.mark.parametrize("speed", [10.0])
def test_results_that_cannot_be_written(command: Any, cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """If the folder of the results is gone, the code is 1; once it is back, no line is lost or repeated."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(20)})
    folder, away = tmp_path / "results", tmp_path / "away"
    folder.mkdir()
    options = ["batch", str(path), "--vendor", "leena", "--output", str(folder / "out.jsonl"), "--json"]
    running = command(*options)
    before = running.line()
    folder.rename(away)
    done = running.finish(before)
    assert done.code == 1
    assert done.documents[-2]["error"]["type"] == "FileNotFoundError"
    assert done.documents[-1]["resume"].endswith(" --resume")
    assert "put that file back" in cli(*options, "--resume").err
    away.rename(folder)
    assert cli(*options, "--resume").code == 0
    assert sorted(int(row["key"]) for row in rows_of(folder / "out.jsonl")) == list(range(20))
    assert set(fake.starts_by_key.values()) == {1}


@pytest.mark.parametrize("output", ["pipe", "folder"])
def test_output_that_is_no_file(cli: Any, fake: FakeLeena, tmp_path: Path, output: str) -> None:
    """A pipe or a folder is refused as --output, and stays unchanged."""
    path = write_rows(tmp_path, {"a": "good"})
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    done = cli("batch", str(path), "--vendor", "leena", "--output", str(tmp_path / output))
    assert done.code == 2
    assert "is not a regular file" in done.err
    assert ((tmp_path / "pipe").is_fifo(), (tmp_path / "folder").is_dir()) == (True, True)
    assert fake.statistics()["starts"] == 0


def test_read_only_disk(cli: Any, fake: FakeLeena, tmp_path: Path, open_folder: Path) -> None:
    """If nothing can be written, nothing is started, with or without a journal; a journal can still be read."""
    path, journal = write_rows(open_folder, {"a": "good"}), open_folder / "batch.db"
    options = ["--vendor", "leena", "--resume=if-any", "--journal"]
    assert cli("batch", str(path), *options, str(journal)).code == 0
    for each in open_folder.iterdir():
        each.chmod(0o444)
    write_rows(tmp_path, {"a": "good", "b": "good"}).replace(path)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    before = journal.read_bytes()
    with unprivileged():
        for name in (journal, open_folder / "new.db"):
            done = cli("batch", str(path), *options, str(name), "--json")
            assert done.code == 1
            assert done.documents[-1]["error"]["type"] == "JournalError"
        assert cli("batch", "status", str(journal)).code == 0
    open_folder.chmod(0o755)
    assert fake.statistics()["starts"] == 1
    assert journal.read_bytes() == before
    with Journal.read_only(journal) as reader:
        assert reader.summary().openings == 1
