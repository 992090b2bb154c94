"""The journal's file: created as a whole, private, and unchanged if it cannot be used."""
# ruff: noqa: ASYNC240 - the files are the subject

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from aioagents.batch import BatchRow, Journal, RowState
from aioagents.batch.journal.checking import lock
from aioagents.batch.journal.faults import journal_error
from aioagents.errors import JournalError
from tests.batch.journal_rig import ask, change, claim, contents, journal_at, states_of, walk
from tests.rights import unprivileged

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal that does not exist yet."""
    return tmp_path / "batch.db"


def _names(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def _fill(path: Path, count: int = 50) -> None:
    """Leave a journal with rows, closed."""
    async with journal_at(path) as journal:
        keys = [f"row-{number:04}" for number in range(count)]
        await claim(journal, *keys)
        await journal.record([change(key, RowState.SENDING) for key in keys])
        await journal.record([change(key, RowState.STARTED) for key in keys])


async def _refused(path: Path, match: str) -> None:
    """Check that opening the journal, to write or to read, is refused and changes nothing."""
    before = contents(path.parent.iterdir())
    with pytest.raises(JournalError, match=match):
        async with journal_at(path):
            pass
    with pytest.raises(JournalError), Journal.read_only(path):
        pass
    after = contents(path.parent.iterdir())
    assert {name: after.get(name) for name in before} == before


async def test_is_private(path: Path) -> None:
    """The journal and the files beside it are readable by their owner alone; when it is closed, two files stay.

    That of the lock has a fixed size: it is written in place.
    """
    async with journal_at(path) as journal:
        await claim(journal, "a")
        names = [path, *(path.with_name(f"batch.db-{end}") for end in ("lock", "wal", "shm"))]
        assert [_mode(name) for name in names] == [0o600] * 4
        assert _names(path) == {name.name for name in names}
    assert _names(path) == {"batch.db", "batch.db-lock"}
    assert path.with_name("batch.db-lock").stat().st_size == 64 * 1024


async def test_an_empty_file_is_replaced(path: Path) -> None:
    """An empty file counts as missing: a journal is created in its place."""
    path.touch()
    async with journal_at(path) as journal:
        await claim(journal, "a")
    assert states_of(path) == {"a": "planned"}
    assert _mode(path) == 0o600


async def test_relative_and_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be relative, and hold blanks, percent and question marks, hashes and letters of any script."""
    monkeypatch.chdir(tmp_path)
    for name in ("plain.db", "a b%20c.db", "what?mode=memory#x.db", "жур'нал.db"):
        async with journal_at(Path(name)) as journal:
            await claim(journal, name)
        assert states_of(tmp_path / name) == {name: "planned"}


async def test_another_programs_database_is_refused(path: Path) -> None:
    """An SQLite database that is not a journal is refused, also one with a log that would be applied."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    await _refused(path, "another program's database")
    assert _names(path) == {"batch.db"}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO theirs VALUES (1)")
        connection.commit()
        await _refused(path, "another program's database")


@pytest.mark.parametrize(
    "content",
    [b"key,target\na,b\n", b"x", b"\0" * 4096, b"SQLite format 3\0", b"SQLite format 3\0" + b"\xff" * 5000],
)
async def test_other_files_are_refused(path: Path, content: bytes) -> None:
    """A file of another kind, such as the input of the batch, is refused and no file is created."""
    path.write_bytes(content)
    await _refused(path, "left as it is")
    assert _names(path) == {"batch.db"}


async def test_newer_journals_are_refused(path: Path) -> None:
    """For a journal of a later format, the error asks for a newer version of the package."""
    await _fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
    await _refused(path, "format 3; this one knows 2.*upgrade aioagents")


async def test_older_journals_are_refused(path: Path) -> None:
    """For a journal of an earlier format, the error says how to end its batch."""
    await _fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    await _refused(path, "format 1; this one has 2.*let that version end its batch")


async def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    """A folder, a pipe, a missing folder and a file used as a folder raise JournalError that says what is wrong."""
    with pytest.raises(JournalError, match="is a folder: name the file"):
        async with journal_at(tmp_path):
            pass
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalError, match="not a regular file"):
        async with journal_at(tmp_path / "pipe"):
            pass
    with pytest.raises(JournalError, match=r"no folder .*missing: make it first"):
        async with journal_at(tmp_path / "missing" / "batch.db"):
            pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match="Not a directory"):
        async with journal_at(tmp_path / "file" / "batch.db"):
            pass
    with pytest.raises(JournalError, match="there is no journal"), Journal.read_only(tmp_path / "none"):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {"pipe", "file"}


async def test_read_only_folder(open_folder: Path) -> None:
    """In a read-only folder a journal can neither be created nor opened for writing, but it can be read."""
    path = open_folder / "batch.db"
    await _fill(path)
    path.chmod(0o644)
    path.with_name("batch.db-lock").chmod(0o644)
    before = contents(open_folder.iterdir())
    open_folder.chmod(0o555)
    with unprivileged():
        with pytest.raises(JournalError, match="Permission denied"):
            async with journal_at(open_folder / "new.db"):
                pass
        with pytest.raises(JournalError, match=r"read-only|rights"):
            async with journal_at(path):
                pass
        with Journal.read_only(path) as reader:
            assert reader.summary().states[RowState.STARTED] == 50
    open_folder.chmod(0o755)
    assert contents(open_folder.iterdir()) == before


async def test_read_only_file(open_folder: Path) -> None:
    """A journal whose file cannot be written is refused before anything is changed."""
    path = open_folder / "batch.db"
    await _fill(path)
    path.chmod(0o444)
    open_folder.chmod(0o777)
    path.with_name("batch.db-lock").chmod(0o666)
    before = contents([path])
    with unprivileged(), pytest.raises(JournalError, match=r"read-only|rights"):
        async with journal_at(path):
            pass
    assert contents([path]) == before


async def test_file_system_without_files() -> None:
    """On a file system where nobody can create files, the superuser gets JournalError too."""
    with pytest.raises(JournalError, match=r"the journal /proc/batch\.db failed"):
        async with journal_at(Path("/proc/batch.db")):
            pass


def _flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + 64] = bytes(byte ^ 0xFF for byte in content[offset : offset + 64])
    path.write_bytes(content)


def _middle(path: Path) -> int:
    """Return the offset of the page in the middle of the file: its header says what is on it."""
    return path.stat().st_size // 8192 * 4096


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9000])


def _blank(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\0" * 8192 + content[16384:])


def _alter(statement: str) -> Callable[[Path], None]:
    def alter(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(statement)

    return alter


def _hide_from_index(path: Path) -> None:
    """Insert a row that is missing in the index of keys: it would count as new, and be started again."""
    ((root, statement),) = ask(
        path,
        "SELECT i.rootpage, t.sql FROM sqlite_master i, sqlite_master t "
        "WHERE i.name = 'sqlite_autoindex_row_1' AND t.name = 'row'",
    )
    _alter(
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'sqlite_autoindex_row_1';"
        "UPDATE sqlite_master SET sql = replace(sql, ' UNIQUE', '') WHERE name = 'row'"
    )(path)
    _alter(
        "INSERT INTO row (key, target, digest, state, claimed_in, changed_in, status, kind, error, is_emitted, "
        "checksum, serial, total) VALUES ('hidden', 'target', x'00', 'planned', 1, 1, '', '', '', 0, 0, 0, 0)"
    )(path)
    _alter(
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_master (type, name, tbl_name, rootpage) "  # noqa: S608 - as it was
        f"VALUES ('index', 'sqlite_autoindex_row_1', 'row', {root});"
        f"UPDATE sqlite_master SET sql = '{statement}' WHERE name = 'row'"
    )(path)


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _blank,
        lambda path: _flip(path, 100),
        lambda path: _flip(path, _middle(path)),
        _alter("DROP INDEX row_unemitted"),
        _alter("DROP TABLE opening"),
        _alter("DELETE FROM batch"),
        _alter("ALTER TABLE row ADD COLUMN more"),
        _hide_from_index,
    ],
    ids=["cut", "blank", "head", "middle", "index", "table", "batch", "column", "keys"],
)
async def test_damaged_journals_are_refused(path: Path, damage: Callable[[Path], None]) -> None:
    """A journal that is truncated, overwritten or altered is refused with advice, and kept for recovery."""
    await _fill(path, 500)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"damaged.*Put a copy back") as caught:
        async with journal_at(path):
            pass
    assert path.read_bytes() == before
    assert not caught.value.is_passing


async def test_damage_while_it_is_open_is_raised(path: Path) -> None:
    """A row whose stored values are invalid fails the calls that read it, and no others."""
    await _fill(path, 3)
    async with journal_at(path) as journal:
        _alter("UPDATE row SET ref = 'none' WHERE key = 'row-0001'")(path)
        with pytest.raises(JournalError, match="BadReference") as caught:
            [record async for record in journal.unfinished()]
        assert not caught.value.is_passing
        with pytest.raises(JournalError, match="BadReference"):
            await claim(journal, "row-0000", "row-0001")
        assert [record.key for record in await claim(journal, "row-0000")] == ["row-0000"]


def test_other_errors_keep_their_message() -> None:
    """Without better advice the error has SQLite's message, and its cause."""
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute("no statement")
    error = journal_error(caught.value, "batch.db")
    assert str(error).endswith('near "no": syntax error (SQLITE_ERROR)')
    assert error.__cause__ is caught.value
    assert not error.is_passing


async def test_a_damaged_journal_keeps_its_log(path: Path) -> None:
    """A damaged journal that was not closed keeps its log too, which is not applied."""
    await _fill(path, 500)
    await asyncio.to_thread(_die_with_rows, path)
    for page in range(8, 14):  # some of which the log has no newer version of
        _flip(path, page * 4096)
    kept = [path, path.with_name("batch.db-wal")]
    before = contents(kept)
    assert len(before["batch.db-wal"]) > 0
    with pytest.raises(JournalError, match="damaged"):
        async with journal_at(path):
            pass
    assert contents(kept) == before


@pytest.mark.parametrize("statement", ["DROP INDEX row_unemitted", "DELETE FROM batch", "DROP TABLE opening"])
async def test_readers_refuse_altered_tables(path: Path, statement: str) -> None:
    """A reader refuses a journal whose tables are not as they were created."""
    await _fill(path)
    _alter(statement)(path)
    with pytest.raises(JournalError, match="damaged"), Journal.read_only(path):
        pass


def _die_with_rows(path: Path) -> None:
    """Run a process that claims rows and ends without closing the journal."""
    program = (
        "import asyncio, os, sys\n"
        "from aioagents.batch import BatchRow, Journal\n"
        "async def main():\n"
        "    async with Journal(sys.argv[1], owner='dying:1') as journal:\n"
        "        await journal.claim([BatchRow(f'last-{n}', 'target') for n in range(3)])\n"
        "        os._exit(7)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=_ROOT, check=False, timeout=60)
    assert done.returncode == 7


async def test_a_log_without_its_journal_is_refused(path: Path) -> None:
    """If the journal was removed but not its log, none is created: the log would be applied to the new one."""
    await asyncio.to_thread(_die_with_rows, path)
    path.unlink()
    path.with_name("batch.db-shm").unlink()
    log = path.with_name("batch.db-wal").read_bytes()
    for _ in range(2):
        with pytest.raises(JournalError, match=r"batch\.db-wal is, which belongs to it"):
            async with journal_at(path):
                pass
        path.touch()
    assert path.with_name("batch.db-wal").read_bytes() == log


async def test_links_to_a_journal(path: Path) -> None:
    """A symbolic link leads to the same journal and the same lock; a hard link is refused."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    async with journal_at(link) as journal:
        await claim(journal, "a")
        with pytest.raises(JournalError, match="in use by here:1"):
            async with journal_at(path):
                pass
    assert _names(path) == {"batch.db", "batch.db-lock", "link.db"}
    path.with_name("hard.db").hardlink_to(path)
    await _refused(path, "hard links")


async def test_a_journal_that_was_moved_refuses_changes(path: Path) -> None:
    """After the file was moved, calls are refused, since no restart would find it; once it is back, they work."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
        path.rename(path.with_name("moved.db"))
        for _ in range(2):
            with pytest.raises(JournalError, match="moved or removed while it was in use"):
                await claim(journal, "b")
            with pytest.raises(JournalError, match="moved or removed while it was in use"):
                await journal.record([change("a", RowState.SENDING)])
        path.with_name("moved.db").rename(path)
        await claim(journal, "c")
        await journal.record([change("a", RowState.SENDING)])  # the refused call has left no trace
    assert states_of(path) == {"a": "sending", "c": "planned"}


async def test_a_removed_lock_is_detected(path: Path) -> None:
    """If the lock file was removed, another process is refused; if it accepts the loss, the first one is."""
    async with journal_at(path) as first:
        await claim(first, "a")
        path.with_name("batch.db-lock").unlink()
        with pytest.raises(JournalError, match=r"batch\.db-lock is gone"):
            await journal_at(path, owner="there:2").__aenter__()
        async with journal_at(path, owner="there:2", accepts_loss=True) as second:
            with pytest.raises(JournalError, match=r"batch\.db-lock removed"):
                await first.record([change("a", RowState.SENDING)])
            await second.record([change("a", RowState.SENDING)])
    assert ask(path, "SELECT owner, closed_at IS NULL FROM opening ORDER BY number") == [
        ("here:1", 1),
        ("there:2", 0),
    ]


async def test_a_lock_without_a_known_owner(path: Path) -> None:
    """While another process creates the journal its name is not known yet; the lock holds nevertheless."""
    with closing(lock(str(path))), pytest.raises(JournalError, match="in use by another process"):
        async with journal_at(path):
            pass
    assert not path.exists()


async def test_a_file_that_is_not_a_lock(path: Path) -> None:
    """A file with the lock's name that is not a lock raises JournalError."""
    path.with_name("batch.db-lock").write_bytes(b"not a lock" * 100)
    with pytest.raises(JournalError):
        async with journal_at(path):
            pass
    assert not path.exists()


async def test_a_second_journal_in_the_same_process_is_refused(path: Path) -> None:
    """Two journals in one process exclude each other too, and the first one keeps its lock."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
        for _ in range(2):
            with pytest.raises(
                JournalError, match=r"in use by here:1 since 2026-01-05 09:00:00 UTC"
            ) as caught:
                async with journal_at(path, owner="there:2"):
                    pass
            assert caught.value.is_passing
        await claim(journal, "b")
    async with journal_at(path, owner="there:2"):
        pass


async def test_changes_wait_for_other_programs(path: Path) -> None:
    """While another program writes to the file, changes wait; none is lost."""
    async with journal_at(path) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            task = asyncio.ensure_future(claim(journal, "a"))
            await asyncio.sleep(0.05)
            assert not task.done()
            stranger.execute("ROLLBACK")
        assert (await task)[0].state is RowState.PLANNED


async def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Python's SQLite is too old to write journals, that is raised before any file is created."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 32, 3))
    with pytest.raises(JournalError, match=r"SQLite 3\.33\.0 or newer"):
        await journal_at(path).__aenter__()
    assert _names(path) == set()


async def test_rows_added_by_another_program(path: Path) -> None:
    """Rows can be claimed also after another program has added some, which the next opening refuses."""
    columns = "target, digest, state, claimed_in, changed_in, status, kind, error, is_emitted, serial, total"
    async with journal_at(path) as journal:
        await claim(journal, "a")
        _alter(f"INSERT INTO row (key, checksum, {columns}) SELECT 'b', 0, {columns} FROM row")(path)  # noqa: S608
        await claim(journal, "c")
    assert ask(path, "SELECT id, key FROM row") == [(1, "a"), (2, "b"), (3, "c")]
    with pytest.raises(JournalError, match="the row 'b' is not as it was written"):
        await journal_at(path).__aenter__()


async def test_rows_that_were_taken_from_elsewhere(path: Path) -> None:
    """If another program changes what the sum of all rows is made of, the next change is refused."""
    async with journal_at(path) as journal:
        await claim(journal, "a", "b")
        _alter("DELETE FROM row WHERE key = 'b'")(path)
        with pytest.raises(JournalError, match="another program has changed it"):
            await journal.record([change("a", RowState.SENDING)])


async def test_rows_changed_by_another_program(path: Path) -> None:
    """A row that was changed by other means has the state in the file, whatever was cached before."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
        _alter("UPDATE row SET state = 'unknown' WHERE key = 'a'")(path)
        with pytest.raises(JournalError, match="'a' is unknown"):
            await journal.record([change("a", RowState.COMPLETED)])
        await journal.record([change("a", RowState.DROPPED)])


async def test_a_disk_that_hangs(path: Path) -> None:
    """Closing gives up after its grace: it raises JournalError, and so do pending calls."""
    journal = journal_at(path, grace=0.05)
    await journal.__aenter__()
    (thread,) = [each for each in threading.enumerate() if "journal" in each.name]
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        task = asyncio.ensure_future(claim(journal, "a"))
        await asyncio.sleep(0)
        with pytest.raises(JournalError, match=r"did not finish writing within 0\.05 s"):
            await journal.aclose()
        with pytest.raises(JournalError, match="did not finish"):
            await task
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)  # the late result of the thread does no harm
    assert states_of(path) == {"a": "planned"}


async def test_the_log_stays_bounded(path: Path) -> None:
    """However much is recorded, the log stays at a few megabytes, and is removed when the journal is closed."""
    log = path.with_name("batch.db-wal")
    async with journal_at(path) as journal:
        sizes = []
        for number in range(40):
            keys = [f"{number}-{row}" for row in range(500)]
            await journal.claim([BatchRow(key, "target" * 20) for key in keys])
            await journal.record([change(key, RowState.SENDING) for key in keys])
            sizes.append(log.stat().st_size)
        await journal.reset_emission()
    assert max(sizes) < 8e6
    assert not log.exists()
    assert path.stat().st_size > 4e6


async def test_a_partial_journal_does_no_harm(path: Path) -> None:
    """Files left by a process that ended while it created the journal do no harm."""
    path.with_name(".batch.db.abc.new").write_bytes(b"half")
    path.with_name("batch.db-lock").touch()
    await walk_and_close(path)
    assert states_of(path) == {"a": "started"}


async def walk_and_close(path: Path) -> None:
    """Leave a journal with one started row."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
