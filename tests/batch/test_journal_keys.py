"""Finding keys that occur twice in an input."""

import pytest

from aioagents.batch.journal import Keys


def test_repeated_keys() -> None:
    """A key is new once, whatever characters it has; after that its first line is returned."""
    keys = Keys()
    for number, key in enumerate(["a", "A", "a\0", "ключ", "1", "01", "1.0", ""], start=1):
        assert keys.add(key, number) is None
        assert keys.add(key, 99) == number
    assert keys.add("none", None) is None
    assert keys.add("none", None) == 0
    keys.close()


def test_disk_that_fails() -> None:
    """An error of SQLite is raised as an OSError that says what was tried."""
    keys = Keys()
    keys.close()
    with pytest.raises(OSError, match="cannot be compared"):
        keys.add("a", 1)
