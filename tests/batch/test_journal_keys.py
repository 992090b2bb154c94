"""Which keys an input has had."""

import pytest

from aioagents.batch.journal import Keys


def test_keys_that_stood_before() -> None:
    """A key is new once, whatever letters it has; after that its first line is given."""
    keys = Keys()
    for number, key in enumerate(["a", "A", "a\0", "ключ", "1", "01", "1.0", ""], start=1):
        assert keys.add(key, number) is None
        assert keys.add(key, 99) == number
    assert keys.add("none", None) is None
    assert keys.add("none", None) == 0
    keys.close()


def test_disk_that_fails() -> None:
    """What SQLite raises is an OSError here, which says what was tried."""
    keys = Keys()
    keys.close()
    with pytest.raises(OSError, match="cannot be compared"):
        keys.add("a", 1)
