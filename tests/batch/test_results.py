"""The results file: one line for each settled row, wherever writing was interrupted."""

import asyncio
import csv
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest

from aioagents import JournalError, RunRef
from aioagents.batch import BatchRow, Change, Journal, Record, ResultFile, RowState
from aioagents.batch.lines import COLUMNS, line_format
from tests.fakes import EPOCH

PART = ".aioagents-part"
LOCK = ".aioagents-lock"


async def settle_rows(journal: Journal, keys: Sequence[str], state: RowState = RowState.COMPLETED) -> None:
    """Bring rows to an end state."""
    await journal.claim([BatchRow(key, "tea") for key in keys])
    await journal.record([Change(key=key, state=RowState.SENDING, at=EPOCH) for key in keys])
    if state in (RowState.COMPLETED, RowState.FAILED):
        refs = {key: RunRef("leap", "", f"run-{key}") for key in keys}
        started = [Change(key=key, state=RowState.STARTED, ref=refs[key], at=EPOCH) for key in keys]
        await journal.record(started)
    if state is RowState.COMPLETED:
        ends = [Change(key=k, state=state, at=EPOCH, status="done", output={"says": f"{k},\n"}) for k in keys]
    else:
        ends = [Change(key=key, state=state, at=EPOCH, kind="Odd", error='so "it" is') for key in keys]
    await journal.record(ends)


def keys_in(path: Path) -> list[str]:
    """Return the keys of a results file, in order; every line must be complete."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [row["key"] for row in csv.DictReader(file, strict=True)]
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line)["key"] for line in text.splitlines()]


@asynccontextmanager
async def journal_in(folder: Path) -> AsyncIterator[Journal]:
    """Open the journal of a folder."""
    async with Journal(folder / "batch.db") as journal:
        yield journal


class Killed(BaseException):
    """Stands for the end of the process: no code catches it."""


class Failing:
    """A journal in whose n-th call the process is killed, before or after the call is made."""

    def __init__(self, journal: Journal, *, at: int, is_done: bool) -> None:
        self._journal = journal
        self._left = at
        self._is_done = is_done

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._is_done:
            raise Killed
        result = await method(*arguments)
        if self._left == 0:
            raise Killed
        return result

    async def unemitted(self, limit: int) -> Sequence[Record]:
        """Call the journal."""
        result: Sequence[Record] = await self._call(self._journal.unemitted, min(limit, 3))
        return result

    async def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Call the journal."""
        await self._call(self._journal.record_emitted, keys, size)

    async def emitted_size(self) -> int:
        """Call the journal."""
        size: int = await self._call(self._journal.emitted_size)
        return size

    async def is_output_stale(self) -> bool:
        """Call the journal."""
        is_stale: bool = await self._call(self._journal.is_output_stale)
        return is_stale

    async def reset_emission(self) -> None:
        """Call the journal."""
        await self._call(self._journal.reset_emission)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("depth", [254, 1023])
async def test_deep_outputs(tmp_path: Path, form: Literal["jsonl", "csv"], depth: int) -> None:
    """An output that is nested as deep as can be read is written."""
    path = tmp_path / "results"
    deep: Any = None
    for _ in range(depth):
        deep = [deep]
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1"])
        await journal.claim([BatchRow("2", "tea")])
        await journal.record([Change(key="2", state=RowState.SENDING, at=EPOCH)])
        await journal.record([Change(key="2", state=RowState.STARTED, ref=RunRef("leap", "", "2"), at=EPOCH)])
        await journal.record([Change(key="2", state=RowState.COMPLETED, at=EPOCH, output=deep)])
        async with ResultFile(journal, path, form=form) as results:
            assert await results.write() == 2
    text = "[" * depth + "null" + "]" * depth
    assert path.read_bytes().endswith(f"{text}\r\n".encode() if form == "csv" else f"{text}}}\n".encode())


async def test_json_lines(tmp_path: Path) -> None:
    """Each line is an object with the same members; missing values are null."""
    path = tmp_path / "results.jsonl"
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1"])
        await settle_rows(journal, ["2"], RowState.UNKNOWN)
        async with ResultFile(journal, path) as results:
            assert await results.write() == 2
            assert await results.write() == 0
    first, second = map(json.loads, path.read_text().splitlines())
    assert list(first) == list(second) == list(COLUMNS)
    assert first == {
        "key": "1",
        "target": "tea",
        "state": "completed",
        "ref": "leap:/run-1",
        "status": "done",
        "error_kind": None,
        "error": None,
        "sent_at": "2026-01-05T09:00:00+00:00",
        "ended_at": "2026-01-05T09:00:00+00:00",
        "output": {"says": "1,\n"},
    }
    assert (second["state"], second["error_kind"], second["error"]) == ("unknown", "Odd", 'so "it" is')
    assert (second["ref"], second["output"]) == (None, None)


async def test_csv(tmp_path: Path) -> None:
    """A name that ends in .csv means CSV with a header; the output is JSON text in a quoted cell."""
    path = tmp_path / "results.CSV"
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1"])
        await settle_rows(journal, ["2"], RowState.REFUSED)
        async with ResultFile(journal, path) as results:
            await results.finish()
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert list(rows[0]) == list(COLUMNS)
    assert (rows[0]["key"], rows[0]["error"], json.loads(rows[0]["output"])) == ("1", "", {"says": "1,\n"})
    assert (rows[0]["sent_at"], rows[0]["ref"]) == ("2026-01-05T09:00:00+00:00", "leap:/run-1")
    assert (rows[1]["state"], rows[1]["error"], rows[1]["output"]) == ("refused", 'so "it" is', "")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_no_rows(tmp_path: Path, form: Any) -> None:
    """A batch without settled rows has a file too, which can be continued."""
    path = tmp_path / "results"
    async with journal_in(tmp_path) as journal:
        for _ in range(2):
            async with ResultFile(journal, path, form=form) as results:
                await results.finish()
        assert path.read_text() == ("" if form == "jsonl" else f"{','.join(COLUMNS)}\n")
        await settle_rows(journal, ["1"])
        async with ResultFile(journal, path, form=form) as results:
            await results.finish()
    assert len(path.read_text().splitlines()) == 1 + (form == "csv")
    assert not path.with_name(path.name + PART).exists()


async def test_more_rows_than_a_page(tmp_path: Path) -> None:
    """Rows are written in the order in which they were settled, over any number of pages."""
    path = tmp_path / "results.jsonl"
    keys = [str(n) for n in range(1300)]
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, keys)
        async with ResultFile(journal, path) as results:
            assert await results.write() == 1300
            await settle_rows(journal, ["more"])
            assert await results.write() == 1
        assert await journal.emitted_size() == path.stat().st_size
    assert keys_in(path) == [*keys, "more"]


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
@pytest.mark.parametrize("is_done", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("is_stale", [True, False], ids=["rewritten", "continued"])
async def test_killed_at_any_step(tmp_path: Path, name: str, *, is_done: bool, is_stale: bool) -> None:
    """Wherever it is killed, and however much of what was not recorded reached the disk, each row has one line."""
    chance = Random(5)
    for step in range(1, 40):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = folder / name
        async with journal_in(folder) as journal:
            await settle_rows(journal, ["0", "1"])
            await settle_rows(journal, ["lost"], RowState.UNKNOWN)
            if is_stale:
                async with ResultFile(journal, path) as results:
                    await results.finish()
                await journal.record([Change(key="lost", state=RowState.DROPPED, at=EPOCH)])
            await settle_rows(journal, [str(n) for n in range(2, 8)])
            try:
                async with ResultFile(Failing(journal, at=step, is_done=is_done), path) as results:
                    await results.write()
                    await settle_rows(journal, ["8", "9"], RowState.FAILED)
                    await results.finish()
                is_complete = True
            except Killed:
                is_complete = False
            size = await journal.emitted_size()
            for each in (path, path.with_name(path.name + PART)):
                if (
                    each.exists() and each.stat().st_size > size > 0
                ):  # bytes that were not recorded may be lost
                    with each.open("r+b") as file:
                        file.truncate(chance.randint(size, each.stat().st_size))
            async with ResultFile(journal, path) as results:
                await results.finish()
            settled = {"lost", *map(str, range(10 if "8" in keys_in(path) else 8))}
        keys = keys_in(path)
        assert sorted(keys) == sorted(settled), step
        assert not path.with_name(path.name + PART).exists()
        if is_complete:
            assert step > 5
            return
    raise AssertionError("never completed")


@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "written"])
@pytest.mark.parametrize("is_done", [True, False], ids=["after", "before"])
async def test_killed_at_the_first_lines(tmp_path: Path, *, is_done: bool, is_finished: bool) -> None:
    """After a write or finish without settled rows, a kill during the first lines leaves a usable file."""
    for step in range(1, 20):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = folder / "results.jsonl"
        is_complete = False
        async with journal_in(folder) as journal:
            with suppress(Killed):
                async with ResultFile(Failing(journal, at=step, is_done=is_done), path) as results:
                    await (results.finish() if is_finished else results.write())
                    await settle_rows(journal, ["0", "1"])
                    await results.write()
                is_complete = True
            async with ResultFile(journal, path) as results:
                await results.finish()
            settled = (await journal.claim([BatchRow("0", "tea")]))[0].state is RowState.COMPLETED
        assert keys_in(path) == (["0", "1"] if settled else []), step
        assert not path.with_name(path.name + PART).exists()
        if is_complete:
            assert step > 4
            return
    raise AssertionError("never completed")


async def test_a_changed_line_makes_the_file_rewritten(tmp_path: Path) -> None:
    """The line of an unknown row that was settled by hand is replaced when the file is opened again."""
    path = tmp_path / "results.jsonl"
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1", "2"], RowState.UNKNOWN)
        async with ResultFile(journal, path) as results:
            await results.finish()
        await journal.record([Change(key="1", state=RowState.DROPPED, at=EPOCH)])
        async with ResultFile(journal, path):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert {line["key"]: line["state"] for line in lines} == {"1": "dropped", "2": "unknown"}
            assert len(lines) == 2
        assert not await journal.is_output_stale()


async def test_line_that_changes_while_open(tmp_path: Path) -> None:
    """A row that was unknown and is sent again has one line after `finish`."""
    path = tmp_path / "results.jsonl"
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1", "2"], RowState.UNKNOWN)
        async with ResultFile(journal, path) as results:
            await results.write()
            await journal.record([Change(key="1", state=RowState.PLANNED, at=EPOCH)])
            await settle_rows(journal, ["1", "3"])
            assert await results.write() == 2
            await results.finish()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["key"]: line["state"] for line in lines} == {
        "1": "completed",
        "2": "unknown",
        "3": "completed",
    }
    assert len(lines) == 3


async def test_row_that_changes_between_reading_and_recording(tmp_path: Path) -> None:
    """A row that is sent again while its line is written gets its line when it is settled again."""
    path = tmp_path / "results.jsonl"

    class _Meanwhile(Failing):
        is_changed = False

        async def unemitted(self, limit: int) -> Sequence[Record]:
            found = await super().unemitted(limit)
            if not self.is_changed:
                self.is_changed = True
                await journal.record([Change(key="1", state=RowState.PLANNED, at=EPOCH)])
            return found

    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1", "2"], RowState.UNKNOWN)
        async with ResultFile(_Meanwhile(journal, at=-1, is_done=False), path) as results:
            assert await results.write() == 1
        assert keys_in(path) == ["2"]


@pytest.mark.parametrize("is_first", [True, False], ids=["nothing counted", "lines before"])
async def test_line_of_the_only_row_that_changes_is_taken_back(tmp_path: Path, *, is_first: bool) -> None:
    """A line that could not be recorded is not left in the file, which is taken up again as ours."""
    path = tmp_path / "results.jsonl"

    class _Meanwhile(Failing):
        async def record_emitted(self, keys: Sequence[str], size: int) -> None:
            if "1" in keys:
                await journal.record([Change(key="1", state=RowState.PLANNED, at=EPOCH)])
            await super().record_emitted(keys, size)

    async with journal_in(tmp_path) as journal:
        async with ResultFile(_Meanwhile(journal, at=-1, is_done=False), path) as results:
            if not is_first:
                await settle_rows(journal, ["0"])
                assert await results.write() == 1
            await settle_rows(journal, ["1"], RowState.UNKNOWN)
            await results.finish()
        assert keys_in(path) == ([] if is_first else ["0"])
        await journal.record([Change(key="1", state=RowState.SENDING, at=EPOCH)])
        await journal.record([Change(key="1", state=RowState.REFUSED, at=EPOCH, kind="Odd")])
        async with ResultFile(journal, path) as results:
            assert await results.write() == 1
    assert keys_in(path) == ["1"] if is_first else ["0", "1"]


async def test_journal_that_keeps_failing(tmp_path: Path) -> None:
    """If the journal keeps failing, writing raises; no line is recorded, and none is lost."""
    path = tmp_path / "results.jsonl"

    class _Full(Failing):
        async def record_emitted(self, keys: Sequence[str], size: int) -> None:
            raise JournalError("the disk is full")

    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1", "2"])
        async with ResultFile(_Full(journal, at=-1, is_done=False), path) as results:
            with pytest.raises(JournalError, match="full"):
                await results.write()
        async with ResultFile(journal, path) as results:
            assert await results.write() == 2
    assert keys_in(path) == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not there"),
        (b'{"key":"1"}\n', "is shorter"),
        (b"x" * 10_000, "does not hold"),
        (b'{"key":"' + b"x" * 10_000, "does not hold"),
    ],
    ids=["missing", "short", "foreign", "other lines"],
)
async def test_file_that_was_changed(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A file without the recorded content is refused and stays unchanged; it can be rewritten."""
    path = tmp_path / "results.jsonl"
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1", "2", "3"])
        async with ResultFile(journal, path) as results:
            await results.finish()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            await ResultFile(journal, path).__aenter__()
        assert (path.read_bytes() if path.exists() else None) == content
        assert not path.with_name(path.name + PART).exists()
        async with ResultFile(journal, path, is_rebuilt=True):
            assert keys_in(path) == ["1", "2", "3"]


async def test_file_with_other_content_is_refused(tmp_path: Path) -> None:
    """A file that had the name before the journal wrote any results is refused and stays unchanged."""
    path = tmp_path / "results.jsonl"
    path.write_text('{"key":"of another batch"}\n')
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1"])
        with pytest.raises(ValueError, match="is not empty"):
            await ResultFile(journal, path).__aenter__()
    assert path.read_text() == '{"key":"of another batch"}\n'


@pytest.mark.parametrize("is_rebuilt", [True, False])
async def test_one_batch_at_a_time_writes(tmp_path: Path, *, is_rebuilt: bool) -> None:
    """A file that another batch is writing is refused, with or without lines, until that has ended."""
    path = tmp_path / "results.jsonl"
    async with Journal(tmp_path / "a.db") as a, Journal(tmp_path / "b.db") as b:
        await settle_rows(b, ["b"])
        async with ResultFile(a, path) as results:
            for step in (results.write, results.finish):
                await step()
                with pytest.raises(ValueError, match=r"another batch is writing to .*: let it end first"):
                    await ResultFile(b, path, is_rebuilt=is_rebuilt).__aenter__()
            await settle_rows(a, ["a"])
            await results.finish()
            assert keys_in(path) == ["a"]
        path.unlink()
        async with ResultFile(b, path, is_rebuilt=is_rebuilt) as results:
            await results.finish()
    assert keys_in(path) == ["b"]
    assert not path.with_name(path.name + LOCK).exists()


async def test_lock_that_a_killed_batch_left(tmp_path: Path) -> None:
    """A lock file that a killed process left does no harm, and is removed."""
    path = tmp_path / "results.jsonl"
    left = path.with_name(path.name + LOCK)
    left.touch()
    async with journal_in(tmp_path) as journal, ResultFile(journal, path) as results:
        await results.finish()
    assert not left.exists()


async def test_folder_that_is_missing_for_a_while(tmp_path: Path) -> None:
    """While the file cannot be renamed, each call raises OSError; afterwards it has each line once."""
    folder, away = tmp_path / "results", tmp_path / "away"
    folder.mkdir()
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1"])
        async with ResultFile(journal, folder / "results.jsonl") as results:
            folder.rename(away)
            for _ in range(2):
                with pytest.raises(FileNotFoundError):
                    await results.write()
            await settle_rows(journal, ["2"])
            away.rename(folder)
            await results.finish()
    assert keys_in(folder / "results.jsonl") == ["1", "2"]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("is_rebuilt", [True, False])
async def test_only_regular_files_are_written(tmp_path: Path, *, is_rebuilt: bool) -> None:
    """A pipe is refused and stays a pipe; the target of a symbolic link is written, and the link stays."""
    pipe, link = tmp_path / "pipe", tmp_path / "link.jsonl"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "results.jsonl")
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1"])
        with pytest.raises(ValueError, match="not a regular file"):
            async with ResultFile(journal, pipe, is_rebuilt=is_rebuilt):
                pass
        async with ResultFile(journal, link, is_rebuilt=is_rebuilt) as results:
            await results.finish()
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert keys_in(tmp_path / "results.jsonl") == ["1"]


async def test_cancelled_writing_loses_no_line(tmp_path: Path) -> None:
    """After a write is cancelled, the next write completes the file, with each line once."""
    path = tmp_path / "results.jsonl"
    keys = [str(n) for n in range(600)]
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, keys)
        async with ResultFile(journal, path) as results:
            for steps in range(60):
                writing = asyncio.create_task(results.write())
                for _ in range(steps):
                    await asyncio.sleep(0)
                writing.cancel()
                await asyncio.wait([writing])
            await results.finish()
    assert keys_in(path) == keys


async def test_only_usable_within_its_block(tmp_path: Path) -> None:
    """A file that is not open raises RuntimeError, and an unknown form raises ValueError."""
    async with journal_in(tmp_path) as journal:
        await settle_rows(journal, ["1"])
        results = ResultFile(journal, tmp_path / "results.jsonl")
        assert repr(results).endswith("results.jsonl, closed>")
        with pytest.raises(RuntimeError, match="async with"):
            await results.write()
        with pytest.raises(ValueError, match="form has to be"):
            ResultFile(journal, tmp_path / "x", form="xml")  # type: ignore[arg-type]
        async with results:
            assert repr(results).endswith("results.jsonl, open>")


async def test_secrets_that_a_server_repeats_are_hidden(tmp_path: Path) -> None:
    """`hide` is applied to status, error and all texts of an output, however deep, and to nothing of the input's."""
    deep: Any = {"token s3cret": ["s3cret", 1, None]}
    for _ in range(1000):
        deep = [deep]
    record = Record(
        key="s3cret",
        target="s3cret",
        digest=b"",
        state=RowState.FAILED,
        owner="",
        status="is s3cret",
        error="the key s3cret is wrong",
        output=deep,
    )
    for name in ("jsonl", "csv"):
        form = line_format(name, guards_formulas=True, hide=lambda text: text.replace("s3cret", "***"))
        line = form.line(record).decode()
        assert line.count("s3cret") == 2
        assert line.count("***") == 4
    with pytest.raises(ValueError, match="'jsonl' or 'csv'"):
        line_format("xml", guards_formulas=False, hide=str)
