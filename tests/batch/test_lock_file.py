"""The lock that lets one process at a time write a file."""

from pathlib import Path

import pytest

from aioagents.batch.lock_file import LockFile


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second owner is refused until the first has released it, which may be done twice; no file stays behind."""
    first, second = LockFile(tmp_path / "x"), LockFile(tmp_path / "x")
    first.acquire()
    with pytest.raises(ValueError, match=r"another batch is writing to .*x: let it end"):
        second.acquire()
    second.release()
    with pytest.raises(ValueError, match="another batch"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_lock_whose_file_was_removed(tmp_path: Path) -> None:
    """Releasing removes only the owner's own file: if that was removed, another's may have the name."""
    first, second = LockFile(tmp_path / "x"), LockFile(tmp_path / "x")
    first.acquire()
    (tmp_path / "x.aioagents-lock").unlink()
    second.acquire()
    first.release()
    with pytest.raises(ValueError, match="another batch"):
        first.acquire()
    (tmp_path / "x.aioagents-lock").unlink()
    second.release()


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """If the folder does not exist, nobody is refused and no file is made."""
    lock = LockFile(tmp_path / "none" / "x")
    lock.acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []
