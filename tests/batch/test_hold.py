"""Who may write a file."""

from pathlib import Path

import pytest

from aioagents.batch.hold import Hold


def test_one_at_a_time(tmp_path: Path) -> None:
    """Who takes it second is refused until the first one has left, who may do so twice; nothing stays behind."""
    first, second = Hold(tmp_path / "x"), Hold(tmp_path / "x")
    first.take()
    with pytest.raises(ValueError, match=r"another batch is writing to .*x: let it end"):
        second.take()
    second.leave()
    with pytest.raises(ValueError, match="another batch"):
        second.take()
    first.leave()
    first.leave()
    second.take()
    second.leave()
    assert list(tmp_path.iterdir()) == []


def test_lock_whose_file_was_removed(tmp_path: Path) -> None:
    """Who leaves removes its own file alone: where somebody removed it, another's may have its name."""
    first, second = Hold(tmp_path / "x"), Hold(tmp_path / "x")
    first.take()
    (tmp_path / "x.aioagents-lock").unlink()
    second.take()
    first.leave()
    with pytest.raises(ValueError, match="another batch"):
        first.take()
    (tmp_path / "x.aioagents-lock").unlink()
    second.leave()


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """Where there is no folder nobody is refused, and nothing is made."""
    hold = Hold(tmp_path / "none" / "x")
    hold.take()
    hold.leave()
    assert list(tmp_path.iterdir()) == []
