"""Decides whether a journal is whole: whether its file and its log have all that was ever acknowledged. Pure.

Each write has a number, and the sum of the checksums of all rows as they are after it. Both are in the rows that it
wrote, and in the file `-lock` beside the journal (`Extent`), which is written before a commit is acknowledged. So a
log that is gone, cut or damaged, an older copy of the journal, and files of different moments are all detected: the
journal has fewer writes than its extent, or another sum than its rows. A journal that is not closed also names the
inode of its file: a copy of it may be as it was long ago, while the batch went on.
"""

from typing import Final, NamedTuple


class Extent(NamedTuple):
    """How far a journal had come: its identity, the number of its writes, and the sum of all checksums."""

    journal: bytes
    writes: int
    total: int


#: What is found in a file that is damaged, or not a journal's lock.
NOBODYS: Final = Extent(b"", 0, 0)


class Header(NamedTuple):
    """What a journal says of itself; `copied_at` is set in a copy that was made while it was in use."""

    journal: bytes
    writes: int
    total: int
    inode: int
    copied_at: int | None
    is_open: int

    @property
    def extent(self) -> Extent:
        """Return how far it has come."""
        return Extent(self.journal, self.writes, self.total)


#: What to do, for a journal that is not whole.
ADVICE: Final = (
    "Rows that it has as not started may have been started since, and would be started again. Put all files back as "
    "they were: the journal, and its -wal and -lock. If they are lost, list the rows with `aioagents batch check "
    "JOURNAL`, and go on with --accept-loss (accepts_loss=True)"
)


def loss_of(path: str, header: Header, extent: Extent | None, *, inode: int) -> str:
    """Return what shows that the journal at `path` is not whole, or an empty string if nothing does."""
    if header.copied_at is not None:
        return "it is a copy that was made while its batch was running"
    if header.is_open and header.inode != inode:
        return "it is a copy of a journal that was in use"
    if extent is None:
        return f"{path}-lock is gone, which says how far it had come" if header.is_open else ""
    return _loss_by(path, header.extent, extent)


def _loss_by(path: str, own: Extent, extent: Extent) -> str:
    if extent.journal != own.journal:
        return f"{path}-lock is damaged, or of another journal"
    if extent.writes > own.writes:
        return (
            f"it has {own.writes:,} of {extent.writes:,} writes, so its log ({path}-wal) is gone, damaged or an "
            "older one, or it is an older copy"
        )
    if extent.writes == own.writes and extent.total != own.total:
        return f"{path}-lock is of another copy of it, which went on by itself"
    return ""


#: What shows that rows are of another commit than the last one.
MIXED: Final = "its files are of different moments: the sum of its rows is not that of its last write"
