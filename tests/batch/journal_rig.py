"""Rows and changes for the journal's tests, and queries of the file by other means."""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aioagents.batch import BatchRow, Change, Journal, Record, RowState
from aioagents.model import RunRef
from tests.fakes import EPOCH, FakeClock

#: The transitions from the claim of a row to each state.
PATHS = {
    RowState.PLANNED: (),
    RowState.SENDING: (RowState.SENDING,),
    RowState.STARTED: (RowState.SENDING, RowState.STARTED),
    RowState.COMPLETED: (RowState.SENDING, RowState.STARTED, RowState.COMPLETED),
    RowState.FAILED: (RowState.SENDING, RowState.STARTED, RowState.FAILED),
    RowState.ABORTED: (RowState.SENDING, RowState.STARTED, RowState.ABORTED),
    RowState.UNKNOWN: (RowState.SENDING, RowState.UNKNOWN),
    RowState.REFUSED: (RowState.REFUSED,),
    RowState.DROPPED: (RowState.SENDING, RowState.UNKNOWN, RowState.DROPPED),
}


def journal_at(path: Path, **options: Any) -> Journal:
    """Return a journal with a fake clock and a fixed owner."""
    options.setdefault("owner", "here:1")
    options.setdefault("clock", FakeClock())
    return Journal(path, **options)


def at(seconds: float) -> datetime:
    """Return the time that many seconds after the tests' epoch."""
    return EPOCH + timedelta(seconds=seconds)


def ref_of(key: str) -> RunRef:
    """Return the run that the row's start began."""
    return RunRef("leena", "us-east-1", f"run-{key}")


def change(key: str, state: RowState, *, seconds: float = 0.0, **members: Any) -> Change:
    """Return a change; STARTED has a reference by default."""
    if state is RowState.STARTED:
        members.setdefault("ref", ref_of(key))
    return Change(key=key, state=state, at=at(seconds), **members)


async def claim(journal: Journal, *keys: str) -> list[Record]:
    """Claim rows that have only a key."""
    return list(await journal.claim([BatchRow(key, "target") for key in keys]))


async def walk(journal: Journal, key: str, state: RowState, **members: Any) -> None:
    """Claim a row and change it to `state` step by step, one second apart, with `members` in the last step."""
    await claim(journal, key)
    steps = PATHS[state]
    for number, step in enumerate(steps):
        last = members if number == len(steps) - 1 else {}
        await journal.record([change(key, step, seconds=number, **last)])


async def find(journal: Journal, key: str) -> Record:
    """Return a row's record, from a claim of the same row."""
    (record,) = await claim(journal, key)
    return record


def ask(path: Path, query: str) -> list[Any]:
    """Query a journal's file directly, read-only."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def states_of(path: Path) -> dict[str, str]:
    """Return each row's state in the file."""
    return dict(ask(path, "SELECT key, state FROM row"))


def freeze(path: Path) -> dict[str, bytes]:
    """Return a journal's files as a killed process would leave them at this moment."""
    files = (path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "lock")))
    return {each.name: each.read_bytes() for each in files if each.exists()}


def thaw(path: Path, files: Mapping[str, bytes]) -> None:
    """Put files back in place; those that are not given are removed. A file that was there stays the same file."""
    for each in (path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "lock", "shm"))):
        if each.name in files:
            each.write_bytes(files[each.name])
        else:
            each.unlink(missing_ok=True)


def contents(paths: Iterable[Path]) -> dict[str, bytes]:
    """Return the contents of files, for comparing them before and after."""
    return {path.name: path.read_bytes() for path in paths if path.is_file()}
