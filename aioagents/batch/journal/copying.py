"""Checks a journal, and copies one that may be in use. Calls block for as long as the disk takes."""

import os
from contextlib import closing
from datetime import datetime
from pathlib import Path

from attrs import frozen

from ...errors import JournalError
from .checking import check_integrity, open_for_reading, read_header
from .encoding import to_micros
from .faults import journal_error
from .guard import is_locked, read_extent
from .opening import check_format, connect, exists, new_file, resolve


@frozen(kw_only=True)
class JournalCheck:
    """What a journal is found to be: `loss` says why it is not whole, and is empty if it is."""

    rows: int
    writes: int
    is_in_use: bool
    loss: str

    @property
    def is_whole(self) -> bool:
        """Return whether the journal has all that was acknowledged."""
        return not self.loss


def check_journal(path: str | os.PathLike[str]) -> JournalCheck:
    """Read all of a journal, which may be in use, and return whether it is whole.

    Raise JournalError for one that is damaged, or is none. If it is not whole, the rows that it has as PLANNED may
    have been started after its last write, and so may rows of the input that it does not have.
    """
    real = resolve(path)
    if not exists(real):
        raise JournalError(f"there is no journal {real}")
    check_format(real)
    try:
        extent = read_extent(real)  # before the journal, which goes on meanwhile
    except OSError as exc:
        raise journal_error(exc, real) from exc
    loss = check_integrity(real, extent)
    with closing(connect(real, "mode=ro")) as connection:
        rows = int(connection.execute("SELECT count(*) FROM row").fetchone()[0])
        writes = read_header(connection).writes
    return JournalCheck(rows=rows, writes=writes, is_in_use=is_locked(real), loss=loss)


def back_up(path: str | os.PathLike[str], to: str | os.PathLike[str], *, now: datetime) -> None:
    """Copy a journal, which may be in use, to the new file `to`, as it is at one moment.

    The copy can be read. If the batch was running, it is not whole: opening it for writing needs `accepts_loss`.
    Raise JournalError for a journal that is damaged or not whole, and for a file that exists.
    """
    real, target = resolve(path), resolve(to)
    if Path(target).exists():
        raise JournalError(f"{target} exists already: name another file for the copy")
    with new_file(target) as name, closing(open_for_reading(real)) as source:
        with closing(connect(name, "mode=rw")) as copy:
            source.backup(copy)  # all pages in one step, which is one moment
            if read_header(copy).is_open:
                copy.execute("UPDATE batch SET copied_at = ?", (to_micros(now),))
        check_integrity(name, None)
