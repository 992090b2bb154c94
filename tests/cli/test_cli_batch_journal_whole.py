"""`batch backup`, `batch check`, `--accept-loss` and `--resume`: a journal that is whole, and one that is not."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from aioagents.batch import RowState
from aioagents.providers.leena.fake.server import FakeLeena
from tests.cli.test_cli_batch import rows_of, states_in, write_rows
from tests.cli.test_cli_batch_journal import fill

S = RowState


def test_check_of_a_whole_journal(cli: Any, tmp_path: Path) -> None:
    """A whole journal is described in one line, and the code is 0."""
    path = tmp_path / "batch.db"
    fill(path, {"a": S.STARTED, "b": S.PLANNED})
    done = cli("batch", "check", str(path))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{path} is whole: 2 rows, 4 writes\n"
    [found] = cli("batch", "check", str(path), "--json").documents
    assert found == {
        "journal": str(path),
        "rows": 2,
        "writes": 4,
        "is_in_use": False,
        "is_whole": True,
        "loss": None,
    }


def test_loss_is_listed_and_accepted_on_request(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """An older copy is refused; `check` lists what may be doubled, and so does `--accept-loss`, which goes on."""
    path, journal = write_rows(tmp_path, {"a": "good", "b": "endless"}), tmp_path / "batch.db"
    options = [str(path), "--vendor", "leena", "--journal", str(journal), "--timeout", "0.3"]
    fill(journal, {})
    assert cli("batch", *options, "--resume").code == 3
    assert dict(fake.starts_by_key) == {"a": 1, "b": 1}
    older = tmp_path / "older.db"
    fill(older, {"a": S.PLANNED})
    shutil.copy(older, journal)
    for arguments in (
        [*options, "--resume"],
        ["status", str(journal)],
        ["unknown", str(journal)],
        ["backup", str(journal), str(tmp_path / "b.db")],
    ):
        refused = cli("batch", *arguments)
        assert refused.code == 1
        assert "is not whole" in refused.err
    checked = cli("batch", "check", str(journal))
    assert checked.code == 1
    assert checked.out == "  a  tea\n"
    assert "these rows may have been started already, and so may rows of the input" in checked.err
    listed = cli("batch", "check", str(journal), "--json").documents[-1]
    assert listed == {"event": "doubtful", "key": "a", "target": "tea"}
    assert dict(fake.starts_by_key) == {"a": 1, "b": 1}
    assert cli("batch", *options, "--accept-loss").code == 2
    other = write_rows(tmp_path, {"c": "good"}, "other.jsonl")
    options[0], options[-1] = str(other), "20"
    done = cli("batch", *options, "--resume", "--accept-loss", "--output", str(tmp_path / "out.jsonl"))
    assert "  a  tea" in done.out
    assert "--accept-loss" not in done.out
    assert [row["key"] for row in rows_of(tmp_path / "out.jsonl")] == ["c"]
    assert cli("batch", "check", str(journal)).code == 0


def test_backup(cli: Any, tmp_path: Path) -> None:
    """A copy has the same rows; an existing file, and a journal that is missing, are refused."""
    path, copy = tmp_path / "batch.db", tmp_path / "copy.db"
    fill(path, {"a": S.STARTED})
    done = cli("batch", "backup", str(path), str(copy))
    assert (done.code, done.out) == (0, f"{copy} has 1 rows\n")
    assert states_in(copy) == {"a": "started"}
    assert "exists already" in cli("batch", "backup", str(path), str(copy)).err
    assert "there is no journal" in cli("batch", "backup", str(tmp_path / "none"), str(tmp_path / "b")).err


def test_resume_needs_a_journal(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """`--resume` without a journal is an error that says how to begin; `--resume=if-any` begins, and continues."""
    path = write_rows(tmp_path, {"a": "good"})
    for each in ("gone", "empty"):
        if each == "empty":
            Path(f"{path}.db").touch()
        done = cli("batch", str(path), "--vendor", "leena", "--resume", "--json")
        assert done.code == 2
        assert done.documents[0]["error"]["resume"].endswith(" --vendor leena --json --resume=if-any")
        assert "there is no journal" in done.err
    Path(f"{path}.db").unlink()
    assert fake.statistics()["starts"] == 0
    for _ in range(2):
        assert cli("batch", "--resume=if-any", str(path), "--vendor", "leena").code == 0
    assert dict(fake.starts_by_key) == {"a": 1}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["u=leena:/run-d"], "leena:/run-d is the run of the row 'd'"),
        (["u=leena:/run-f"], "leena:/run-f is the run of the row 'f'"),
        (["u=leena:/new", "v=leena:/new"], "leena:/new is the run of the row 'u'"),
        (["u=leena:/run-d", "d=drop"], "leena:/run-d is the run of the row"),
    ],
)
def test_a_run_is_of_one_row(cli: Any, tmp_path: Path, answers: list[str], words: str) -> None:
    """A row cannot be settled with a run that another row has, or gets, or keeps."""
    path = tmp_path / "batch.db"
    fill(path, {"u": S.UNKNOWN, "v": S.UNKNOWN, "d": S.STARTED, "f": S.FAILED})
    before = states_in(path)
    done = cli("batch", "unknown", str(path), *(f"--resolve={each}" for each in answers))
    assert done.code == 2
    assert words in done.err
    assert states_in(path) == before


def test_runs_can_be_exchanged(cli: Any, tmp_path: Path) -> None:
    """A run that a row gives up in the same command may be another row's."""
    path = tmp_path / "batch.db"
    fill(path, {"u": S.UNKNOWN, "d": S.STARTED})
    done = cli("batch", "unknown", str(path), "--resolve=u=leena:/run-d", "--resolve=d=leena:/7")
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["u is started as leena:/run-d", "d is started as leena:/7"]


def test_results_of_the_command_line(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """Results are for their owner alone; with --guard-formulas no cell of a CSV is run as a formula."""
    path = write_rows(tmp_path, {"=1+1": "good"})
    for number, more in enumerate(([], ["--guard-formulas"])):
        output = tmp_path / f"{number}.csv"
        options = ["--vendor", "leena", "--journal", str(tmp_path / f"{number}.db"), "--output", str(output)]
        assert cli("batch", str(path), *options, *more).code == 0
        assert output.stat().st_mode & 0o777 == 0o600
        key = output.read_text().splitlines()[1].partition(",")[0]
        assert key == ("'=1+1" if more else "=1+1")
    assert dict(fake.starts_by_key) == {"=1+1": 2}
