"""The journal of a killed batch whose files were lost, damaged, copied or mixed up."""
# ruff: noqa: ASYNC240 - the files are the subject

import asyncio
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from aioagents.batch import BatchRow, Journal, RowState
from aioagents.batch.journal import JournalCheck
from aioagents.errors import JournalError
from benchmarks.damage import run_damages
from tests.batch.journal_rig import (
    change,
    claim,
    contents,
    find,
    freeze,
    journal_at,
    ref_of,
    states_of,
    thaw,
    walk,
)

_ENDS = ("", "-wal", "-lock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal that does not exist yet."""
    return tmp_path / "batch.db"


def test_damage_starts_no_row_twice(tmp_path: Path) -> None:
    """After 260 random damages no row that was sent is seen as not started without an error; some do no harm."""
    report = run_damages(tmp_path, count=260, seed=14, rows=300)
    assert report.breaches == []
    assert report.refused > 100
    assert report.opened > 0


async def _killed(path: Path) -> dict[str, bytes]:
    """Leave the files of a batch that was killed with one row started, one sent and one planned; return them."""
    async with journal_at(path) as journal:
        await walk(journal, "started", RowState.STARTED)
        await walk(journal, "sent", RowState.SENDING)
        await claim(journal, "planned")
        files = freeze(path)
    thaw(path, files)
    return files


async def _refused(path: Path, match: str) -> None:
    """Check that opening the journal is refused with advice, and that its files stay as they are."""
    before = contents(path.parent.iterdir())
    with pytest.raises(JournalError, match=match) as caught:
        await journal_at(path).__aenter__()
    assert not caught.value.is_passing
    after = contents(path.parent.iterdir())
    assert {name: after.get(name) for name in before} == before


async def test_a_killed_batch_goes_on(path: Path) -> None:
    """With all its files in place the journal of a killed batch has all that was acknowledged."""
    await _killed(path)
    assert Journal.check(path) == JournalCheck(rows=3, writes=7, is_in_use=False, loss="")
    async with journal_at(path):
        pass
    assert states_of(path) == {"started": "started", "sent": "sending", "planned": "planned"}


async def test_a_log_that_is_gone_is_refused(path: Path) -> None:
    """Without its log the journal says how much of it is missing, to readers too, and what to do."""
    await _killed(path)
    path.with_name("batch.db-wal").unlink()
    await _refused(path, r"not whole.* it has 1 of 7 writes.*Put all files back.*--accept-loss")
    with pytest.raises(JournalError, match="1 of 7 writes"), Journal.read_only(path):
        pass


async def test_a_lock_that_is_gone_is_refused(path: Path) -> None:
    """Without its lock file nothing says how far a journal that was not closed had come; a closed one is whole."""
    files = await _killed(path)
    path.with_name("batch.db-lock").unlink()
    await _refused(path, r"batch\.db-lock is gone")
    path.with_name("batch.db-lock").unlink()
    thaw(path, files)
    async with journal_at(path):
        pass
    path.with_name("batch.db-lock").unlink()
    async with journal_at(path):
        pass


@pytest.mark.parametrize(
    "ends", [_ENDS, ("", "-wal"), ("", "-lock"), ("",)], ids=["all", "log", "lock", "alone"]
)
async def test_copies_of_a_journal_in_use_are_refused(path: Path, ends: tuple[str, ...]) -> None:
    """A copy that was made while the batch ran is refused, whatever files it has: the batch went on without it."""
    copy = path.with_name("copy.db")
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.SENDING)
        for end in ends:
            shutil.copy(f"{path}{end}", f"{copy}{end}")
        await walk(journal, "b", RowState.SENDING)
    await _refused(copy, "a copy of a journal that was in use|is gone|writes")


async def test_an_older_copy_is_refused(path: Path) -> None:
    """A copy of a closed journal can be used elsewhere, and not in the place of the journal that went on."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
    older = path.with_name("older.db")
    shutil.copy(path, older)
    async with journal_at(path) as journal:
        await journal.record([change("a", RowState.SENDING)])
    shutil.copy(older, path)
    await _refused(path, "it has 3 of 6 writes")
    async with journal_at(older) as journal:
        assert [record.state for record in await claim(journal, "a")] == [RowState.PLANNED]


async def test_another_journals_lock_is_refused(path: Path) -> None:
    """A journal in the place of another one is refused, as is one that went on by itself from the same state."""
    other = path.with_name("other.db")
    for each in (path, other):
        async with journal_at(each) as journal:
            await claim(journal, "a")
    shutil.copy(other, path)
    await _refused(path, r"batch\.db-lock is damaged, or of another journal")
    path.with_name("batch.db-lock").unlink()
    files = freeze(path)
    async with journal_at(path) as journal:
        await claim(journal, "b")
    went_on = freeze(path)
    thaw(path, files)
    async with journal_at(path) as journal:
        await claim(journal, "c")
    thaw(path, {**freeze(path), "batch.db-lock": went_on["batch.db-lock"]})
    await _refused(path, "of another copy of it")


@pytest.mark.parametrize("is_there", [True, False], ids=["empty", "gone"])
async def test_a_journal_that_is_gone_is_refused(path: Path, is_there: bool) -> None:
    """An empty file, or none, beside the lock of a journal does not begin anew."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.SENDING)
    if is_there:
        path.write_bytes(b"")
    else:
        path.unlink()
    await _refused(path, r"batch\.db-lock is.*put it back")
    path.unlink(missing_ok=True)
    path.with_name("batch.db-lock").unlink()
    async with journal_at(path) as journal:
        assert [record.state for record in await claim(journal, "a")] == [RowState.PLANNED]


async def test_loss_is_accepted_on_request(path: Path) -> None:
    """With `accepts_loss` the journal is used as it is; it is whole from then on, and no kill takes that back."""
    await _killed(path)
    path.with_name("batch.db-wal").unlink()
    found = Journal.check(path)
    assert (found.rows, found.is_whole) == (0, False)
    with Journal.read_only(path, accepts_loss=True) as reader:
        assert list(reader.records()) == []
    async with journal_at(path, accepts_loss=True) as journal:
        assert [record.state for record in await claim(journal, "sent")] == [RowState.PLANNED]
        files = freeze(path)
    thaw(path, files)
    assert Journal.check(path).is_whole
    async with journal_at(path):
        pass


async def test_rows_of_other_moments_are_refused(path: Path) -> None:
    """If a page of the file is of an earlier moment, the sum of all rows shows that; the loss can be accepted."""
    keys = [f"row-{number}" for number in range(60)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        await journal.record([change(key, RowState.SENDING) for key in keys])
    older = path.read_bytes()
    async with journal_at(path) as journal:
        await journal.record([change(key, RowState.PLANNED) for key in keys])
        await journal.record([change(key, RowState.SENDING, seconds=1) for key in keys])  # as long as before
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'row'").fetchone()
        leaves = len(path.read_bytes()) // 4096
    newer = path.read_bytes()
    seen = 0
    for page in range(root, leaves):
        start = page * 4096
        path.write_bytes(newer[:start] + older[start : start + 4096] + newer[start + 4096 :])
        if newer == path.read_bytes():
            continue
        with pytest.raises(JournalError, match=r"different moments|damaged") as caught:
            await journal_at(path).__aenter__()
        if "different moments" in str(caught.value):
            seen += 1
            async with journal_at(path, accepts_loss=True) as journal:
                await claim(journal, *keys)
            async with journal_at(path):
                pass
    assert seen > 0


async def test_a_flipped_state_is_refused(path: Path) -> None:
    """A row that is not as it was written is refused, whatever was changed: its state, run, time or target."""
    await _killed(path)
    async with journal_at(path):
        pass
    whole = path.read_bytes()
    for statement in (
        "UPDATE row SET state = 'planned' WHERE key = 'sent'",
        "UPDATE row SET ref = 'leena:us-east-1/run-2' WHERE key = 'started'",
        "UPDATE row SET sent_at = sent_at + 1 WHERE key = 'sent'",
        "UPDATE row SET sent_at = 'soon' WHERE key = 'sent'",
        "UPDATE row SET target = 'other' WHERE key = 'sent'",
        "UPDATE row SET digest = 'text' WHERE key = 'sent'",
        "UPDATE row SET state = 'sendinf' WHERE key = 'sent'",
        "UPDATE row SET error = 'none' WHERE key = 'sent'",
    ):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)
        with pytest.raises(JournalError, match="is not as it was written"):
            await journal_at(path).__aenter__()
        with pytest.raises(JournalError, match="is not as it was written"):
            Journal.check(path)
        path.write_bytes(whole)


async def test_a_backup_of_a_journal_in_use(path: Path) -> None:
    """A backup has all that was recorded when it was made; it can be read, and not be continued without a word."""
    copy = path.with_name("backup.db")
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
        await asyncio.to_thread(Journal.back_up, path, copy)
        await claim(journal, "b")
        with pytest.raises(JournalError, match="exists already"):
            Journal.back_up(path, copy)
        assert Journal.check(path).is_in_use
    assert {each.name for each in path.parent.iterdir()} == {"batch.db", "batch.db-lock", "backup.db"}
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not Journal.check(copy).is_whole
    with Journal.read_only(copy) as reader:
        assert [(record.key, record.state) for record in reader.records()] == [("a", RowState.STARTED)]
    await _refused(copy, "a copy that was made while its batch was running")
    async with journal_at(copy, accepts_loss=True) as journal:
        await claim(journal, "c")
    assert Journal.check(copy).is_whole


async def test_a_backup_of_a_closed_journal(path: Path) -> None:
    """A backup of a journal that nobody has open is whole."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
    copy = path.with_name("backup.db")
    Journal.back_up(path, copy)
    assert Journal.check(copy) == Journal.check(path)
    async with journal_at(copy) as journal:
        assert [record.key async for record in journal.unfinished()] == ["a"]
    for missing in (path.with_name("none.db"), path.with_name("none") / "batch.db"):
        with pytest.raises(JournalError):
            Journal.back_up(missing, path.with_name("more.db"))
        with pytest.raises(JournalError):
            Journal.check(missing)
    assert not path.with_name("more.db").exists()


async def test_other_programs_are_waited_for(path: Path) -> None:
    """A lock of another program is waited for as long as `lock_timeout` says, and then it is an error that passes."""
    async with journal_at(path, lock_timeout=0.05) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="another program has it locked") as caught:
                await journal.claim([BatchRow("a", "target")])
        assert caught.value.is_passing
        await claim(journal, "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN")
        stranger.execute("SELECT * FROM row").fetchone()
        with pytest.raises(JournalError, match="being read by another program for too long") as caught:
            await journal_at(
                path, lock_timeout=0.05
            ).__aenter__()  # that it is open has to be in the file itself
        assert caught.value.is_passing
    async with journal_at(path, lock_timeout=0.05):
        pass


# Runs that could not be recorded


@contextmanager
def _no_room(path: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the log, in which the next commit has no room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(path.with_name(f"{path.name}-wal").stat().st_size, 20_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "closed"])
async def test_runs_that_could_not_be_recorded_are_known(path: Path, is_killed: bool) -> None:
    """When the disk is full, the runs of 64 rows are kept beside the journal; the next opening takes them in."""
    keys = [f"row-{number}" for number in range(64)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        await journal.record([change(key, RowState.SENDING) for key in keys])
        with _no_room(path):
            for key in keys:
                state = RowState.COMPLETED if key == "row-0" else RowState.STARTED
                with pytest.raises(JournalError, match="the disk is full"):
                    await journal.record([change(key, state, ref=ref_of(key), seconds=5)])
        files = freeze(path)
    if is_killed:
        thaw(path, files)
        assert set(states_of(path).values()) == {"sending"}
    async with journal_at(path) as journal:
        found = {record.key: record async for record in journal.unfinished()}
        assert {record.state for record in found.values()} == {RowState.STARTED}
        assert {key: record.ref for key, record in found.items()} == {key: ref_of(key) for key in keys[1:]}
        assert not any(record.is_changed for record in found.values())
        assert (await find(journal, "row-0")).state is RowState.COMPLETED
    assert Journal.check(path).is_whole


async def test_a_run_is_not_taken_in_for_a_later_attempt(path: Path) -> None:
    """What could not be recorded counts only for a row that is as it was: not once it was sent again."""
    async with journal_at(path) as journal:
        await walk(journal, "again", RowState.SENDING)
        await walk(journal, "kept", RowState.SENDING)
        with _no_room(path), pytest.raises(JournalError, match="the disk is full"):
            await journal.record(
                [change(key, RowState.STARTED, output="x" * 5000) for key in ("again", "kept")]
            )
        await journal.record([change("again", RowState.PLANNED)])
        await journal.record([change("again", RowState.SENDING, seconds=9)])
    async with journal_at(path) as journal:
        found = {record.key: (record.state, record.output) async for record in journal.unfinished()}
    assert found == {"again": (RowState.SENDING, None), "kept": (RowState.STARTED, None)}
