"""`batch FILE`: rows in, results out, what is refused, and the exit codes."""

import csv
import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from aioagents.batch import Journal, RowState
from aioagents.providers.leena.fake.server import FakeLeena
from aioagents.simulator import FaultPlan, Simulator

ODD = b'{"key": "odd"}\nnot JSON\n{"key": "7", "target": "good"}\n'

ROW = '{"key": "a", "target": "good"}\n'


def write_rows(folder: Path, targets: Mapping[str, str], name: str = "rows.jsonl") -> Path:
    """Write rows whose input has their key, by which the fake server counts starts."""
    path = folder / name
    rows = [{"key": key, "target": target, "input": {"key": key}} for key, target in targets.items()]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a results file."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file, strict=True))
    return [json.loads(line) for line in path.read_text().splitlines()]


def events(documents: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Return the JSON lines of one event."""
    return [each for each in documents if each.get("event") == name]


def states_in(journal: Path) -> dict[str, str]:
    """Return the states of all rows in a journal."""
    with Journal.read_only(journal) as reader:
        return {record.key: record.state.value for record in reader.records()}


def test_to_the_end(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """Each row is started once, all that end are in the file of results, and one that fails makes it a 1."""
    path = write_rows(tmp_path, {"a": "good", "b": "bad", "c": "stopped", "d": "good"})
    output = tmp_path / "results.jsonl"
    done = cli("batch", str(path), "--vendor", "leena", "--output", str(output), "--json")
    assert (done.code, done.err) == (1, "")
    assert set(fake.starts_by_key.values()) == {1}
    results = {row["key"]: row for row in rows_of(output)}
    assert {key: row["state"] for key, row in results.items()} == {
        "a": "completed",
        "b": "failed",
        "c": "aborted",
        "d": "completed",
    }
    assert done.documents[0] == {
        "event": "begun",
        "file": str(path),
        "vendor": "leena",
        "journal": f"{path}.db",
        "output": str(output),
    }
    printed = {row["key"]: row for row in events(done.documents, "row")}
    assert {key: row["state"] for key, row in printed.items()} == {
        key: row["state"] for key, row in results.items()
    }
    assert printed["a"]["ref"] == results["a"]["ref"]
    assert (printed["a"]["error"], printed["b"]["error"]["type"]) == (None, "RunFailed")
    last = done.documents[-1]
    assert (last["event"], last["exit_code"], last["resume"]) == ("ended", 1, None)
    assert last["rows"] == {"completed": 2, "failed": 1, "aborted": 1}
    assert (last["starts"], last["unread"], last["unknown"]) == (4, 0, 0)
    assert last["polls"] >= 4


def test_csv_in_and_out(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """CSV is known by the name's end, rows without a target have the one that is given, results may be CSV."""
    path, output, journal = (tmp_path / name for name in ("rows.csv", "out.csv", "batch.db"))
    path.write_text("key,message,input.key\na,hello,a\nb,,b\n")
    options = ["--target", "good", "--journal", str(journal), "--output", str(output), "--rate", "500"]
    done = cli("batch", str(path), "--vendor", "leena", *options)
    assert (done.code, done.err) == (0, "")
    assert sorted(row["key"] for row in rows_of(output)) == ["a", "b"]
    assert dict(fake.starts_by_key) == {"a": 1, "b": 1}
    first, settled, *more = done.out.splitlines()
    assert first == f"{path} at leena, journal {journal}"
    assert settled == "2 rows settled: 2 completed"
    assert more[-1] == f"results in {output}"


def test_lines_that_are_not_rows(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """Lines that are not rows, or repeat a key, are reported and counted; the others run, and the code is 1."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ODD + b'{"key": "7", "target": "good"}\n')
    done = cli("batch", str(path), "--vendor", "leena", "--json")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"aioagents: {path}, line 1: target has to be a string that is not empty",
        f"aioagents: {path}, line 2: not JSON at character 0",
        f"aioagents: {path}, line 4: the key '7' stands twice in the input",
    ]
    faulty = events(done.documents, "faulty")
    assert [(each["line"], each["key"]) for each in faulty] == [(1, "odd"), (2, ""), (4, "7")]
    last = done.documents[-1]
    assert (last["faulty"], last["rows"], last["exit_code"]) == (3, {"completed": 1}, 1)
    assert fake.statistics()["starts"] == 1


def test_strict(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """With --strict a file with a line that is not a row is refused before anything is started or created."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(600)})
    path.write_bytes(path.read_bytes() + ODD)
    done = cli("batch", str(path), "--vendor", "leena", "--strict")
    assert done.code == 2
    assert done.err.startswith(f"aioagents: {path}, line 601: target has to be")
    assert "nothing was started" in done.err
    assert fake.statistics()["starts"] == 0
    assert list(tmp_path.iterdir()) == [path]


def test_strict_finds_repeated_keys(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """With --strict a file that repeats a key is refused before anything is started or created."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(600)})
    path.write_text(path.read_text() + '{"key": 7, "target": "bad"}\n')
    done = cli("batch", str(path), "--vendor", "leena", "--strict")
    assert done.code == 2
    message = f"{path}, line 601: the key '7' is in line 8 already; nothing was started"
    assert done.err.startswith(f"aioagents: {message}")
    assert fake.statistics()["starts"] == 0
    assert list(tmp_path.iterdir()) == [path]


def test_header_that_cannot_be_read(cli: Any, tmp_path: Path) -> None:
    """A CSV whose first line names no key is refused, and no journal is made."""
    path = tmp_path / "rows.csv"
    path.write_text("name\na\n")
    done = cli("batch", str(path), "--vendor", "leena")
    assert done.code == 2
    assert "columns are key, target" in done.err
    assert list(tmp_path.iterdir()) == [path]


def test_journal_with_rows_needs_resume(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """A journal that has rows is left unchanged, and the command to continue is printed, which works repeatedly."""
    path = write_rows(tmp_path, {"a": "good", "b": "good"})
    output = tmp_path / "my results.jsonl"
    options = ["--vendor", "leena", "--output", str(output), "--in-flight", "5"]
    assert cli("batch", str(path), *options).code == 0
    before = {each: each.read_bytes() for each in (path, output, tmp_path / "rows.jsonl.db")}
    refused = cli("batch", str(path), *options, "--json")
    assert refused.code == 2
    command = f"aioagents batch {path} --vendor leena --output '{output}' --in-flight 5 --json --resume"
    assert refused.err.splitlines()[1] == f"  {command}"
    assert refused.documents[0]["error"]["resume"] == command
    assert {each: each.read_bytes() for each in before} == before
    path.write_text(path.read_text() + path.read_text().replace('"a"', '"c"').splitlines()[0] + "\n")
    for _ in range(2):
        again = cli("batch", str(path), *options, "--resume")
        assert (again.code, again.err) == (0, "")
    assert Counter(row["key"] for row in rows_of(output)) == {"a": 1, "b": 1, "c": 1}
    assert dict(fake.starts_by_key) == {"a": 1, "b": 1, "c": 1}


def test_runs_that_outlast_the_timeout(cli: Any, tmp_path: Path) -> None:
    """Rows whose run goes on at the timeout are left; the code is 3, and the command to continue is printed."""
    path = write_rows(tmp_path, {"a": "good", "b": "endless"})
    done = cli("batch", str(path), "--vendor", "leena", "--timeout", "4", "--json")
    assert done.code == 3
    last = done.documents[-1]
    assert last["rows"] == {"started": 1, "completed": 1}
    assert last["resume"] == f"aioagents batch {path} --vendor leena --timeout 4.0 --json --resume"
    [left] = [row for row in events(done.documents, "row") if row["key"] == "b"]
    assert (left["state"], left["error"]["type"]) == ("started", "WaitTimeout")
    progress = events(done.documents, "progress")
    assert progress[0]["total"] == 2
    assert all(sum(each["rows"].values()) == 2 for each in progress)
    plain = cli("batch", str(path), "--vendor", "leena", "--timeout", "0.1", "--resume")
    assert plain.code == 3
    assert "left: 1 runs go on; to continue the batch:" in plain.out


@pytest.mark.parametrize("faults", [FaultPlan.parse("lost=1,only=start")])
def test_unknown_rows(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """Rows whose reply is lost are unknown, and the code is 4 whatever the others did; the first few are printed."""
    path = write_rows(tmp_path, {str(n): "good" for n in range(5)})
    done = cli("batch", str(path), "--vendor", "leena")
    assert done.code == 4
    printed = [line for line in done.err.splitlines() if "is unknown: " in line]
    assert len(printed) == 3
    assert (
        done.err.splitlines()[-1]
        == "  further rows that are unknown: StartUnknown are counted, but not printed"
    )
    assert f"  list them:   aioagents batch unknown {path}.db" in done.out.splitlines()
    assert set(fake.starts_by_key.values()) == {1}
    again = cli("batch", str(path), "--vendor", "leena", "--resume")
    assert again.code == 4
    assert set(fake.starts_by_key.values()) == {1}
    resent = cli("batch", str(path), "--vendor", "leena", "--resume", "--on-unknown", "resend")
    assert resent.code == 4
    assert set(fake.starts_by_key.values()) == {2}


def test_credentials_that_are_refused(
    cli: Any, fake: FakeLeena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused credentials end the batch with 5; nothing is started, and the command to continue is printed."""
    path = write_rows(tmp_path, {"a": "good", "b": "good"})
    monkeypatch.setenv("LEENA_CLIENT_SECRET", "wrong-secret")
    done = cli("batch", str(path), "--vendor", "leena", "--json")
    assert done.code == 5
    assert fake.statistics()["starts"] == 0
    assert done.documents[-1]["rows"] == {"planned": 2}
    assert done.documents[-1]["resume"].endswith("--resume")
    monkeypatch.setenv("LEENA_CLIENT_SECRET", "demo-secret")
    assert cli("batch", str(path), "--vendor", "leena", "--resume").code == 0


def test_rights_that_are_lacking(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose start is refused for lack of rights lead to 5 as well, and are started once there are rights."""
    path = write_rows(tmp_path, {"a": "good"})
    monkeypatch.setenv("LEENA_CLIENT_ID", "narrow")
    monkeypatch.setenv("LEENA_CLIENT_SECRET", "narrow-secret")
    done = cli("batch", str(path), "--vendor", "leena", "--json")
    assert (done.code, done.documents[-1]["rows"]) == (5, {"planned": 1})
    monkeypatch.setenv("LEENA_CLIENT_ID", "demo-client")
    monkeypatch.setenv("LEENA_CLIENT_SECRET", "demo-secret")
    assert cli("batch", str(path), "--vendor", "leena", "--resume").code == 0


def test_rows_that_are_refused(cli: Any, tmp_path: Path) -> None:
    """Rows that the vendor refuses are printed, and the code is 1."""
    path = write_rows(tmp_path, {"a": "unknown_aop", "b": "good"})
    done = cli("batch", str(path), "--vendor", "leena")
    assert done.code == 1
    assert "row 'a' is refused: " in done.err
    assert "1 completed, 1 refused" in done.out


def test_settings_that_are_missing(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing settings are named before a journal is created."""
    path = write_rows(tmp_path, {"a": "good"})
    monkeypatch.delenv("LEENA_PASSWORD")
    done = cli("batch", str(path), "--vendor", "leena")
    assert done.code == 2
    assert "LEENA_PASSWORD" in done.err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "nan"], "--rate has to be a number"),
        (["--output", "-"], "--output has to be a file"),
        (["--output", "rows.jsonl"], "have to be different files"),
        (["--journal", "./rows.jsonl"], "have to be different files"),
        (["--rewrite-output"], "needs an --output"),
        (["--in-flight", "0"], "0 is not in the range"),
        (["--vendor", "nobody"], "'nobody' is not one of"),
    ],
)
def test_options_that_cannot_be(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    """Impossible options are refused with 2 before anything is created."""
    path = write_rows(tmp_path, {"a": "good"})
    monkeypatch.chdir(tmp_path)
    done = cli("batch", "rows.jsonl", "--vendor", "leena", *options)
    assert done.code == 2
    assert words in done.err
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_need_options(cli: Any, tmp_path: Path) -> None:
    """A file without a known suffix needs --format, and stdin needs --journal as well."""
    path = write_rows(tmp_path, {"a": "good"}, "rows")
    assert "give its format with --format" in cli("batch", str(path), "--vendor", "leena").err
    assert "give its format with --format" in cli("batch", "-", "--vendor", "leena").err
    assert "need a --journal" in cli("batch", "-", "--vendor", "leena", "--format", "csv").err
    assert cli("batch", str(tmp_path / "none.jsonl"), "--vendor", "leena").code == 2
    assert cli("batch", str(path), "--vendor", "leena", "--format", "jsonl").code == 0


def test_output_that_has_other_content(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """A file with other content is left unchanged; with --rewrite-output the results go into another file."""
    path = write_rows(tmp_path, {"a": "good"})
    other, output = tmp_path / "other.jsonl", tmp_path / "out.jsonl"
    other.write_text("mine\n")
    options = ["--vendor", "leena", "--output"]
    refused = cli("batch", str(path), *options, str(other))
    assert refused.code == 2
    assert "is not empty" in refused.err
    assert (other.read_text(), fake.statistics()["starts"]) == ("mine\n", 0)
    assert cli("batch", str(path), *options, str(output)).code == 0
    moved = tmp_path / "moved.jsonl"
    assert cli("batch", str(path), *options, str(moved), "--resume").code == 2
    assert cli("batch", str(path), *options, str(moved), "--resume", "--rewrite-output").code == 0
    assert moved.read_text() == output.read_text()


def test_results_that_are_asked_for_later(cli: Any, tmp_path: Path) -> None:
    """A batch that ran without --output gives all its results when it is run again with one."""
    path, output = write_rows(tmp_path, {"a": "good", "b": "good"}), tmp_path / "out.jsonl"
    assert cli("batch", str(path), "--vendor", "leena").code == 0
    assert cli("batch", str(path), "--vendor", "leena", "--resume", "--output", str(output)).code == 0
    assert sorted(row["key"] for row in rows_of(output)) == ["a", "b"]


def test_files_that_are_not_journals_stay_unchanged(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """A file that is not a journal is refused with 1, with --resume or without; nothing is started."""
    path, journal = write_rows(tmp_path, {"a": "good"}), tmp_path / "batch.db"
    journal.write_bytes(b"something else" * 100)
    for more in ([], ["--resume"]):
        done = cli("batch", str(path), "--vendor", "leena", "--journal", str(journal), *more, "--json")
        assert done.code == 1
        assert done.documents[-1]["error"]["type"] == "JournalError"
    assert journal.read_bytes() == b"something else" * 100
    assert fake.statistics()["starts"] == 0


def test_changed_row_ends_the_batch(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """A row whose content has changed ends the batch with 1, and rows read with it are not started."""
    path = write_rows(tmp_path, {"a": "good"})
    assert cli("batch", str(path), "--vendor", "leena").code == 0
    write_rows(tmp_path, {"a": "bad", "b": "good"})
    done = cli("batch", str(path), "--vendor", "leena", "--resume")
    assert done.code == 1
    assert "'a' is known with another content" in done.err
    assert fake.statistics()["starts"] == 1


def test_rows_from_a_pipe(command: Any, simulator: Simulator, tmp_path: Path) -> None:
    """Rows from stdin are started as they come, while it stays open; with --strict the first fault ends the batch."""
    journal = tmp_path / "batch.db"
    options = ["--vendor", "leena", "--format", "jsonl", "--journal", str(journal), "--json"]
    running = command("batch", "-", *options, stdin=subprocess.PIPE)
    pipe = running.process.stdin
    before = [running.line()]
    for key in ("a", "b"):
        pipe.write(json.dumps({"key": key, "target": "good"}) + "\n")
        pipe.flush()
        while not events([json.loads(line) for line in before], "row")[ord(key) - ord("a") :]:
            before.append(running.line())
    pipe.write("no row\n")
    done = running.finish(*before)
    assert done.code == 1
    assert "aioagents: -, line 3: not JSON" in done.err
    assert done.documents[-1]["rows"] == {"completed": 2}
    for text, words in {
        "no row\n": "line 1: not JSON",
        ROW * 2: "line 2: the key 'a' is in line 1",
    }.items():
        strict = command("batch", "-", *options, "--strict", "--resume", stdin=subprocess.PIPE)
        strict.process.stdin.write(text)
        found = strict.finish()
        assert found.code == 2
        assert f"aioagents: -, {words}" in found.err
    assert found.documents[-1]["resume"].startswith("aioagents batch - --vendor leena")


def test_states_are_those_of_the_journal(cli: Any, tmp_path: Path) -> None:
    """The states in the summary are those of the journal."""
    path = write_rows(tmp_path, {"a": "good", "b": "endless", "c": "unknown_aop"})
    done = cli("batch", str(path), "--vendor", "leena", "--timeout", "4", "--json")
    printed = done.documents[-1]["rows"]
    assert printed == Counter(states_in(tmp_path / "rows.jsonl.db").values())
    assert printed == {RowState.STARTED: 1, RowState.COMPLETED: 1, RowState.REFUSED: 1}
    assert done.code == 1
