"""`batch status` and `batch unknown`: reading a journal, and settling unknown rows."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aioagents import JournalError, RunRef
from aioagents.batch import BatchRow, Change, Journal, RowState
from aioagents.providers.leena.fake.server import FakeLeena
from aioagents.simulator import FaultPlan
from tests.cli.test_cli_batch import rows_of, states_in, write_rows

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
S = RowState


def fill(path: Path, ways: Mapping[str, RowState], *, seconds: float = 3.0) -> None:
    """Create a journal with rows in these states; each run took `seconds` longer than the one before."""
    asyncio.run(_fill(path, ways, seconds))


async def _fill(path: Path, ways: Mapping[str, RowState], seconds: float) -> None:
    async with Journal(path) as journal:
        await journal.claim([BatchRow(key, "tea") for key in ways])
        for number, (key, state) in enumerate(ways.items()):
            ref = RunRef("leena", "", f"run-{key}")
            steps = [Change(key=key, state=S.SENDING, at=NOW)]
            if state in (S.STARTED, S.COMPLETED, S.FAILED):
                steps.append(Change(key=key, state=S.STARTED, at=NOW, ref=ref))
            if state not in (S.SENDING, S.STARTED):
                kind = {S.FAILED: "RunFailed", S.UNKNOWN: "StartUnknown"}.get(state, "")
                at = NOW + timedelta(seconds=seconds * (number + 1))
                steps.append(Change(key=key, state=state, at=at, kind=kind, error=kind and f"no\nluck {key}"))
            if state is not S.PLANNED:
                await journal.record(steps)


def test_status(cli: Any, tmp_path: Path) -> None:
    """Totals, durations, errors and unknown rows are printed, and nothing is changed."""
    path = tmp_path / "batch.db"
    ways = {"a": S.COMPLETED, "b": S.COMPLETED, "c": S.COMPLETED, "d": S.FAILED, "e": S.UNKNOWN}
    fill(path, {**ways, "f": S.SENDING, "g": S.PLANNED})
    before = path.read_bytes()
    done = cli("batch", "status", str(path))
    assert (done.code, done.err) == (0, "")
    head, *lines = done.out.splitlines()
    assert head.startswith(f"{path}, last used by ")
    assert head.endswith(", 1 times in all")
    assert lines == [
        "7 rows",
        "  1   14.3%  planned",
        "  1   14.3%  sending",
        "  3   42.9%  completed",
        "  1   14.3%  failed",
        "  1   14.3%  unknown",
        "sent   2026-01-05 09:00:00+00:00 to 2026-01-05 09:00:00+00:00",
        "ended  2026-01-05 09:00:15+00:00 was the last",
        "errors",
        "  1  RunFailed",
        "  1  StartUnknown",
        "3 completed, in 3.0 to 9.0 s, 6.0 s on average",
        f"   < 5 s  {'#' * 20:<40}  1",
        f"  < 10 s  {'#' * 40}  2",
        "1 failed, in 12.0 to 12.0 s, 12.0 s on average",
        f"  < 20 s  {'#' * 40}  1",
        "2 unknown: they were sent, and whether a run began cannot be known",
        "  e  tea  sent at 2026-01-05 09:00:00+00:00",
        "  f  tea  sent at 2026-01-05 09:00:00+00:00",
        f"  list and settle them: aioagents batch unknown {path}",
    ]
    assert path.read_bytes() == before


def test_status_as_json(cli: Any, tmp_path: Path) -> None:
    """With --json the same is printed as one object."""
    path = tmp_path / "batch.db"
    fill(path, {"a": S.COMPLETED, "b": S.UNKNOWN}, seconds=200_000)
    [shown] = cli("batch", "status", str(path), "--json").documents
    assert (shown["rows"], shown["unknown"], shown["first_unknown"]) == (2, 1, ["b"])
    assert {state: count for state, count in shown["states"].items() if count} == {
        "completed": 1,
        "unknown": 1,
    }
    assert shown["errors"] == {"StartUnknown": 1}
    assert shown["durations"]["completed"]["buckets"] == [{"below": None, "count": 1}]
    assert (shown["is_in_use"], shown["written_bytes"]) == (False, 0)


def test_many_unknown_rows(cli: Any, tmp_path: Path) -> None:
    """Status names the first unknown rows; the list has all, one on each line, without control characters."""
    path = tmp_path / "batch.db"
    fill(path, {str(n): S.UNKNOWN for n in range(13)})
    assert "  and 3 more" in cli("batch", "status", str(path)).out.splitlines()
    lines = cli("batch", "unknown", str(path)).out.splitlines()
    assert len(lines) == 13
    assert lines[0] == "0  tea  sent at 2026-01-05 09:00:00+00:00  no luck 0"


def test_unknown_as_json(cli: Any, tmp_path: Path) -> None:
    """Each unknown row is one object: also a row whose process ended while its start was pending."""
    path = tmp_path / "batch.db"
    fill(path, {"a": S.UNKNOWN, "b": S.SENDING, "c": S.STARTED})
    assert cli("batch", "unknown", str(path), "--json").documents == [
        {
            "key": "a",
            "target": "tea",
            "sent_at": "2026-01-05T09:00:00+00:00",
            "kind": "StartUnknown",
            "error": "no luck a",
        },
        {
            "key": "b",
            "target": "tea",
            "sent_at": "2026-01-05T09:00:00+00:00",
            "kind": None,
            "error": "the batch ended while its start was pending",
        },
    ]
    fill(tmp_path / "other.db", {"c": S.STARTED})
    done = cli("batch", "unknown", str(tmp_path / "other.db"))
    assert (done.code, done.out, done.err) == (0, "", "no row is unknown\n")


def test_settling(cli: Any, tmp_path: Path) -> None:
    """Unknown rows become started, planned or dropped, also if their start was pending; keys may hold any letter."""
    path = tmp_path / "batch.db"
    keys = ["a=b", "c", "d=", "e", "f"]
    fill(path, dict.fromkeys(keys, S.UNKNOWN) | {"out": S.SENDING, "started": S.STARTED})
    ref = "leena:/id=7"
    answers = [f"a=b={ref}", "c=resend", "d==drop", "out=drop"]
    done = cli("batch", "unknown", str(path), *(f"--resolve={each}" for each in answers))
    assert (done.code, done.err.partition(" ")[0]) == (0, "2")
    assert done.out.splitlines() == [
        "a=b is started as leena:/id%3D7",
        "c is planned",
        "d= is dropped",
        "out is dropped",
    ]
    assert states_in(path) == {
        "a=b": "started",
        "c": "planned",
        "d=": "dropped",
        "e": "unknown",
        "f": "unknown",
        "out": "dropped",
        "started": "started",
    }
    [resolved] = cli("batch", "unknown", str(path), "--resolve", "e=drop", "--json").documents
    assert resolved == {"event": "resolved", "key": "e", "state": "dropped", "ref": None}


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("b=drop", 1, "the row 'b' is not unknown, nor started or refused"),
        ("none=resend", 1, "the row 'none' is not unknown"),
        ("a", 2, "not of the form KEY=REF|resend|drop"),
        ("a=", 2, "not of the form KEY=REF|resend|drop"),
        ("a=forget", 2, "not a run reference: 'forget'"),
        ("a=nobody:/1", 2, "no vendor is called 'nobody'"),
        ("a=leap:/1", 2, "leap:/1 is not a run of leena:, as those of this batch"),
        ("a=leena:us/1", 2, "leena:us/1 is not a run of leena:"),
        ("c=resend", 2, "'c' is given twice"),
        ("d=leena:/run-d", 2, "the row 'd' is started as leena:/run-d already"),
    ],
)
def test_settling_that_is_not_possible(cli: Any, tmp_path: Path, answer: str, code: int, words: str) -> None:
    """If one decision is wrong, all are refused, and no row is changed."""
    path = tmp_path / "batch.db"
    fill(path, {"a": S.UNKNOWN, "b": S.COMPLETED, "c": S.UNKNOWN, "d": S.STARTED})
    before = states_in(path)
    done = cli("batch", "unknown", str(path), "--resolve", "c=drop", "--resolve", answer)
    assert done.code == code
    assert words in done.err
    assert "nothing was changed" in done.err
    assert states_in(path) == before


def test_settling_started_and_refused_rows(cli: Any, tmp_path: Path) -> None:
    """Started and refused rows can be settled too; the run that is given up is printed, and a drop keeps it."""
    path = tmp_path / "batch.db"
    ways = {"new": S.STARTED, "again": S.STARTED, "left": S.STARTED, "no": S.REFUSED, "never": S.REFUSED}
    fill(path, ways | {"lost": S.UNKNOWN})
    answers = ["new=leena:/7", "again=resend", "left=drop", "no=resend", "never=drop"]
    done = cli("batch", "unknown", str(path), *(f"--resolve={each}" for each in answers))
    assert done.code == 0
    assert done.out.splitlines() == [
        "new is started as leena:/7",
        "again is planned",
        "left is dropped",
        "no is planned",
        "never is dropped",
    ]
    *warnings, left = done.err.splitlines()
    assert warnings == [
        f"aioagents: {key} was started as leena:/run-{key}, which is not followed any more"
        for key in ("new", "again", "left")
    ]
    assert left.startswith("1 unknown rows are left;")
    with Journal.read_only(path) as reader:
        refs = {record.key: str(record.ref) for record in reader.records() if record.ref is not None}
    assert refs == {"new": "leena:/7", "left": "leena:/run-left"}


@pytest.mark.parametrize("ref", ["leena:us/1", "leena:/nosuchrun"], ids=["scope", "id"])
@pytest.mark.parametrize("faults", [FaultPlan.parse("lost=1,only=start")])
def test_reference_that_was_wrong(cli: Any, fake: FakeLeena, tmp_path: Path, ref: str) -> None:
    """A row settled with a wrong reference is reported in each run, until it is settled otherwise."""
    path, output = write_rows(tmp_path, {"a": "good"}), tmp_path / "out.jsonl"
    options = [str(path), "--vendor", "leena", "--output", str(output)]
    assert cli("batch", *options).code == 4
    assert cli("batch", "unknown", f"{path}.db", "--resolve", f"a={ref}").code == 0
    for _ in range(2):
        done = cli("batch", *options, "--resume")
        assert done.code == 3
        assert done.err.startswith("aioagents: row 'a' is started: ")
        assert "left: 1 runs cannot be followed; to continue" in done.out
        assert f"settle one:  aioagents batch unknown {path}.db --resolve KEY=REF" in done.out
        assert rows_of(output) == []
    assert cli("batch", "unknown", f"{path}.db", "--resolve", "a=drop").code == 0
    assert cli("batch", *options, "--resume").code == 0
    assert [row["state"] for row in rows_of(output)] == ["dropped"]
    assert dict(fake.starts_by_key) == {"a": 1}


def test_refusal_that_is_taken_back(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """The new result of a refused row that is resent replaces the old one."""
    path, output = write_rows(tmp_path, {"a": "unknown_aop", "b": "good"}), tmp_path / "out.jsonl"
    options = [str(path), "--vendor", "leena", "--output", str(output)]
    for _ in range(2):
        assert cli("batch", *options, "--resume=if-any").code == 1
        assert sorted(row["state"] for row in rows_of(output)) == ["completed", "refused"]
        assert cli("batch", "unknown", f"{path}.db", "--resolve", "a=resend").code == 0
    assert cli("batch", "unknown", f"{path}.db", "--resolve", "a=drop").code == 1
    assert dict(fake.starts_by_key)["b"] == 1


@pytest.mark.parametrize("arguments", [["status"], ["unknown"], ["unknown", "--resolve", "a=drop"]])
def test_files_that_are_not_journals(cli: Any, tmp_path: Path, arguments: list[str]) -> None:
    """A file that is foreign or missing is refused with 1, and nothing is created or changed."""
    path, none = tmp_path / "batch.db", tmp_path / "none.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    name, *more = arguments
    for each in (path, none):
        done = cli("batch", name, str(each), *more, "--json")
        assert done.code == 1
        assert done.documents[-1]["error"]["type"] == JournalError.__name__
    assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [("batch.db", 4112)]


def test_damaged_journal(cli: Any, tmp_path: Path) -> None:
    """A damaged journal is reported as such, with 1."""
    path = tmp_path / "batch.db"
    fill(path, {str(n): S.COMPLETED for n in range(300)})
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    done = cli("batch", "status", str(path))
    assert done.code == 1
    assert "damaged" in done.err


@pytest.mark.parametrize("faults", [FaultPlan.parse("lost=1,only=start")])
def test_settling_takes_effect(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """The new results of rows that were settled by hand replace the old ones when the batch is run again."""
    path, output = write_rows(tmp_path, {"a": "good", "b": "good", "c": "good"}), tmp_path / "out.jsonl"
    options = [str(path), "--vendor", "leena", "--output", str(output)]
    assert cli("batch", *options).code == 4
    assert {row["state"] for row in rows_of(output)} == {"unknown"}
    answers = ["--resolve", "a=drop", "--resolve", "b=resend"]
    assert cli("batch", "unknown", f"{path}.db", *answers).code == 0
    assert cli("batch", *options, "--resume").code == 4
    assert {row["key"]: row["state"] for row in rows_of(output)} == {
        "a": "dropped",
        "b": "unknown",
        "c": "unknown",
    }
    assert len(rows_of(output)) == 3
    assert dict(fake.starts_by_key) == {"a": 1, "b": 2, "c": 1}


def test_group_without_a_file(cli: Any) -> None:
    """Without arguments the group prints its usage; its help has the options of a run, and the other commands."""
    assert cli("batch").code == 2
    shown = cli("batch", "--help")
    assert shown.code == 0
    assert shown.out.startswith("Usage: aioagents batch FILE --vendor NAME [OPTIONS]")
    for words in (
        "--in-flight",
        "--resume",
        "  status ",
        "  unknown ",
        "The worst row decides the exit code",
    ):
        assert words in shown.out
    assert cli("batch", "--vendor", "leena").code == 2


def test_file_named_like_a_command(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named like a command of the group is run by its path, also in the printed command to continue."""
    write_rows(tmp_path, {"a": "endless"}, "status")
    monkeypatch.chdir(tmp_path)
    done = cli("batch", "./status", "--vendor", "leena", "--format", "jsonl", "--timeout", "0.1")
    assert done.code == 3
    assert "  aioagents batch ./status --vendor leena" in done.out
    done = cli(
        "batch", "run", "status", "--vendor", "leena", "--format", "jsonl", "--timeout", "0.1", "--resume"
    )
    assert done.code == 3
    assert "  aioagents batch ./status --vendor leena" in done.out
