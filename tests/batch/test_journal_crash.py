"""The journal after SIGKILL, loss of power, a full disk, and with rival processes."""
# ruff: noqa: ASYNC240 - the files are the subject

import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator  # noqa: TC003 - as everywhere
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from aioagents.batch import MOVES, BatchRow, Journal, RowState
from aioagents.batch.journal.opening import open_for_writing
from aioagents.errors import JournalError
from tests.batch.journal_rig import change, claim, freeze, journal_at, states_of, thaw

_ROOT = Path(__file__).parents[2]


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.batch.journal_programs", *map(str, arguments)]


def _run(*arguments: object) -> list[str]:
    done = subprocess.run(
        _command(*arguments), cwd=_ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal that does not exist yet."""
    return tmp_path / "batch.db"


def test_sigkill_loses_nothing_and_starts_nothing_twice(path: Path) -> None:
    """Over forty kills at random times no acknowledged change is lost, no row is sent twice, and none is left.

    Each row is on disk in the state that was acknowledged last or requested next; a row whose start was lost is
    UNKNOWN; and each settled row has one line in the output.
    """
    rows, kills = 1500, 40
    lines = _run("killed", path, rows, kills, 20260105)
    possible: dict[str, set[RowState]] = defaultdict(lambda: {RowState.PLANNED})
    sent: Counter[str] = Counter()
    codes: list[str] = []
    for line in lines:
        match line.split():
            case ["asked", key, word]:
                # A change that was requested and not acknowledged before the kill was made as a whole, or not at all.
                state = RowState(word)
                assert any(state in MOVES[each] for each in possible[key]), (line, possible[key])
                possible[key].add(state)
            case ["made", key, word]:
                possible[key] = {RowState(word)}
                sent[key] += word == "sending"
            case ["ended", code]:
                codes.append(code)
    assert codes == [*["-9"] * kills, "0"]
    assert max(sent.values()) == 1
    states = states_of(path)
    assert len(states) == rows
    assert all(RowState(state) in possible[key] for key, state in states.items())
    assert set(states.values()) == {"completed", "unknown"}  # so some were killed while they were sent
    output = path.with_suffix(".out").read_text().splitlines()
    assert sorted(output) == sorted(f"{key} {state}" for key, state in states.items())


async def test_loss_of_power_keeps_what_was_acknowledged(path: Path) -> None:
    """Wherever the log is cut, the journal has all complete commits and no partial ones, or it is refused.

    A mark is written after its commit is on disk, so that a loss of power leaves none that is newer than the log.
    """
    log = path.with_name("batch.db-wal")
    pair = (RowState.SENDING, RowState.STARTED)
    states = []
    async with journal_at(path) as journal:
        for number in range(12):
            key = f"row-{number}"
            await claim(journal, key, f"{key}-twin")
            for state in pair:
                await journal.record([change(key, state), change(f"{key}-twin", state)])
            states.append((log.stat().st_size, freeze(path)))
    sizes = [size for size, _ in states]
    files = states[-1][1]
    cuts = range(sizes[0] - 9000, sizes[-1], 12011)
    assert len(cuts) > 10
    for cut in cuts:
        whole = [number for number, size in enumerate(sizes) if size <= cut]
        lock = states[max(whole)][1] if whole else {"batch.db-lock": b""}
        thaw(path, files | {"batch.db-wal": files["batch.db-wal"][:cut]})
        with pytest.raises(JournalError, match=r"not whole.*its log .* is gone, damaged or an"):
            await journal_at(path).__aenter__()
        if not whole:
            continue
        thaw(
            path,
            files | {"batch.db-wal": files["batch.db-wal"][:cut], "batch.db-lock": lock["batch.db-lock"]},
        )
        async with journal_at(path) as journal:
            found = {record.key: record.state async for record in journal.unfinished()}
        assert all(found[f"row-{number}"] is RowState.STARTED for number in whole)
        # Both rows of a call are in the same state, whether or not the call was acknowledged.
        kept = states_of(path)
        assert all(kept[key] == kept.get(f"{key}-twin") for key in kept if not key.endswith("twin"))
        assert len(whole) * 2 <= len(kept) <= (len(whole) + 1) * 2


async def test_a_half_applied_log_does_no_harm(path: Path) -> None:
    """Wherever a kill or a full disk stops the applying of the log to the file, nothing is lost and it opens."""
    keys = [f"row-{number}" for number in range(2000)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        files = freeze(path)
    before, after = files["batch.db"], path.read_bytes()
    assert len(after) > len(before) + 10 * 4096
    for pages in (1, 2, 3, 5, 8, len(after) // 4096 - 1):
        thaw(path, files | {"batch.db": after[: pages * 4096] + before[pages * 4096 :]})
        with Journal.read_only(path) as reader:
            assert reader.summary().rows == 2000
        async with journal_at(path) as journal:
            assert not any(record.is_repeated for record in await claim(journal, *keys))
        assert states_of(path) == dict.fromkeys(keys, "planned")


async def test_a_garbled_end_of_the_log_does_no_harm(path: Path) -> None:
    """From a log whose last pages were never written, or hold something else, the complete commits are read."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
        files = freeze(path)
        await claim(journal, "b")
    thaw(path, files | {"batch.db-wal": files["batch.db-wal"] + b"\xa5" * 10_000})
    async with journal_at(path) as journal:
        await claim(journal, "c")
    assert states_of(path) == {"a": "planned", "c": "planned"}


async def test_commits_wait_for_the_disk(path: Path) -> None:
    """Connections that write sync each commit, with a full sync where the system has it, and write the log first."""
    async with journal_at(path):
        pass
    with closing(open_for_writing(str(path), patience=5.0)) as connection:
        pragmas = ("synchronous", "fullfsync", "checkpoint_fullfsync", "journal_mode")
        assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == [2, 1, 1, "wal"]


def test_calls_fail_on_a_full_disk(path: Path) -> None:
    """When files cannot grow, calls fail and change nothing; they succeed again once there is room."""
    lines = _run("starved", path)
    refusals = [line for line in lines if line.startswith("refused")]
    assert len(refusals) == 3
    assert all("refused True" in line and "the disk is full" in line for line in refusals)
    assert "not sent" in lines
    made = [line.split()[1] for line in lines if line.startswith("made")]
    assert {key.partition("-")[0] for key in made} == {"first", "again"}
    assert set(states_of(path).values()) == {"planned"}
    assert set(states_of(path)) == {"before", "after", *made}


async def test_after_a_full_disk_the_journal_is_intact(path: Path) -> None:
    """A journal that was closed on a full disk opens again, and takes changes."""
    _run("starved", path)
    async with journal_at(path) as journal:
        await journal.record([change("before", RowState.SENDING)])
        assert [record.key async for record in journal.unfinished()] == ["before"]


def test_on_a_full_disk_no_journal_is_created(path: Path) -> None:
    """If there is no room for an empty journal, opening raises JournalError and leaves no partial file."""
    (line,) = _run("starved_from_the_start", path)
    assert line.startswith("refused True")
    assert "the disk is full" in line
    assert {each.name for each in path.parent.iterdir()} <= {"batch.db-lock"}


async def test_on_a_full_disk_a_journal_stays_unchanged(path: Path) -> None:
    """If the opening cannot be recorded, the journal is refused and its rows stay."""
    async with journal_at(path) as journal:
        await journal.claim([BatchRow("a", "target")])
    before = path.read_bytes()
    (line,) = _run("starved_from_the_start", path)
    assert line.startswith("refused True")
    assert path.read_bytes() == before


@contextmanager
def _rivals(count: int) -> "Iterator[list[subprocess.Popen[str]]]":
    """Return processes that are ready to open journals."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            process = subprocess.Popen(
                _command("rival", f"rival-{number}"),
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            found.append(process)
        assert [_line(process) for process in found] == ["ready"] * count
        yield found


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _write_line(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")


def test_only_one_of_several_processes_opens_it(path: Path) -> None:
    """Whether the journal is new or not, and by whatever name, one process opens it, and the others name that one."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    owners = set()
    with _rivals(4) as rivals:
        for attempt in range(5):
            for number, process in enumerate(rivals):
                _write_line(process, str(link if number % 2 else path))
            answers = [_line(process) for process in rivals]
            assert answers.count("in") == 1, (attempt, answers)
            owners.add(f"rival-{answers.index('in')}")
            assert all("in use by" in answer for answer in answers if answer != "in")
            assert set(states_of(path)) == owners
            for process in rivals:
                _write_line(process, "leave")
            assert [_line(process) for process in rivals] == ["out"] * len(rivals)


def test_sigkill_releases_the_lock(path: Path) -> None:
    """While the owner lives, others are refused and it is named; once it is killed, they can open the journal."""
    with _rivals(2) as (first, second):
        _write_line(first, str(path))
        assert _line(first) == "in"
        _write_line(second, str(path))
        assert "in use by rival-0 since" in _line(second)
        first.kill()
        first.wait()
        _write_line(second, "leave")
        assert _line(second) == "out"
        _write_line(second, str(path))
        assert _line(second) == "in"
        assert states_of(path) == {"rival-0": "planned", "rival-1": "planned"}


async def test_a_reader_in_another_process_does_no_harm(path: Path) -> None:
    """A process that reads and leaves removes neither the log nor the lock of the one that writes."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
        before = path.with_name("batch.db-wal").stat().st_ino
        program = (
            "import sys\n"
            "from aioagents.batch import Journal\n"
            "with Journal.read_only(sys.argv[1]) as reader: seen = reader.summary()\n"
            "print(seen.rows, seen.is_in_use)\n"
        )
        command = [sys.executable, "-c", program, str(path)]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True)  # noqa: ASYNC221
        assert done.stdout == "1 True\n"
        await claim(journal, "b")
        assert path.with_name("batch.db-wal").stat().st_ino == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
