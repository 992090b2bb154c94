"""A disk that fills up, or becomes read-only, in the middle of a batch."""

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from aioagents import JournalError, RunHandle, SessionPool, Steady
from aioagents.batch import Batch, BatchRow, Change, Journal, Outcome, RowState
from tests.batch.batch_rig import StandIn, rows
from tests.batch.journal_rig import states_of

_COUNT = 200
_SENDING = 8
#: What this process has open, where the system lists it.
_FILES = Path("/proc/self/fd")

#: Has the disk that a journal is on ail until the block is left.
Ailment: TypeAlias = Callable[[Path], AbstractContextManager[None]]


def _log_of(path: Path) -> Path:
    """Return the file that a journal's commits are written to."""
    return Path(f"{path}-wal")


@contextmanager
def full(path: Path) -> Iterator[None]:
    """Let no file of this process grow: the next commit does not fit in, while what is there can be read."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_log_of(path).stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Put a descriptor that cannot be written in place of the journal's own; one that is opened anew can be.

    A disk cannot be remounted while files on it are open for writing, and the superuser heeds no rights. For SQLite
    it is the same as a disk that the kernel has made read-only: each write fails, whatever was opened before.
    """
    log = _log_of(path)
    [number] = [int(each.name) for each in _FILES.iterdir() if _is_link_to(each, log)]
    barred = os.open(log, os.O_RDONLY)
    os.dup2(barred, number, inheritable=False)
    os.close(barred)
    yield


def _is_link_to(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:  # it was the descriptor of the listing itself
        return False


class _Vendor(StandIn):
    """A vendor that goes on when its client's disk does not: it calls back before the start of one row."""

    def __init__(self, pool: SessionPool, *, at: int | None, then: Callable[[], object]) -> None:
        super().__init__(pool, lasts=0.005)
        self._at = at
        self._then = then

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Start as the stand-in does."""
        if len(self.started) == self._at:
            self._then()
        return await super().start_row(row)


class _Watched(Journal):
    """A journal that calls back when a change could not be recorded for the first time."""

    def __init__(self, path: Path, then: Callable[[], object]) -> None:
        super().__init__(path)
        self._then = then
        self._has_failed = False

    async def record(self, changes: Sequence[Change]) -> None:
        """Record as a journal does."""
        try:
            await super().record(changes)
        except JournalError:
            if not self._has_failed:
                self._has_failed = True
                self._then()
            raise


class _Story:
    """A batch on one disk, and what its vendor has seen of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: The starts of all runs of the batch, and how many there were when a change could not be recorded.
        self.started: list[str] = []
        self.known_at = -1

    async def run(self, *, at: int | None, ail: Callable[[], object]) -> list[Outcome]:
        """Run the batch; before its start number `at` the disk is to ail."""
        found: list[Outcome] = []
        async with SessionPool(cadence=Steady(0.01)) as pool:
            client = _Vendor(pool, at=at, then=ail)
            for key in self.started:
                client.begin(key)

            def note() -> None:
                self.known_at = len(client.started)

            try:
                async with _Watched(self.path, note) as journal:
                    batch = Batch(client, journal=journal, in_flight=40, sending=_SENDING)
                    async for outcome in batch.run(rows(_COUNT)):
                        found.append(outcome)  # noqa: PERF401 - those before the error count
            finally:
                self.started += client.started
        return found


@pytest.mark.parametrize("at", [0, 1, 57, 150])
@pytest.mark.parametrize(
    "ailment",
    [full, pytest.param(read_only, marks=pytest.mark.skipif(not _FILES.exists(), reason="no /proc"))],
)
async def test_disk_that_ails_half_way(tmp_path: Path, ailment: Ailment, at: int) -> None:
    """No start leaves once a change could not be recorded; when the disk is well no row is started again.

    The runs that could not be recorded are known nevertheless: no row becomes unknown.
    """
    story = _Story(tmp_path / "batch.db")
    with ExitStack() as stack, pytest.raises(JournalError, match="the disk is full") as caught:
        await story.run(at=at, ail=lambda: stack.enter_context(ailment(story.path)))
    assert caught.value.is_passing
    first = list(story.started)
    assert at < len(first) == story.known_at <= at + _SENDING
    states = states_of(story.path)
    assert {states[key] for key in first} <= {"sending", "started", "completed"}
    sending = {key for key, state in states.items() if state == "sending"}
    assert first[-1] in sending

    outcomes = await story.run(at=None, ail=lambda: None)
    assert Counter(outcome.key for outcome in outcomes) == Counter(str(n) for n in range(_COUNT))
    assert Counter(outcome.state for outcome in outcomes) == {RowState.COMPLETED: _COUNT}
    assert set(Counter(story.started).values()) == {1}
    assert not sending & set(story.started[len(first) :])
