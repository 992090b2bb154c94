"""The keys that an input has had so far, in a temporary SQLite file: memory does not grow with them."""

import sqlite3


class Keys:
    """Finds keys that occur twice, and where they occurred first. For one thread; `close` removes the file.

    A million keys take some seconds, and about 50 bytes each on disk. Methods raise OSError if the disk fails.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE key (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID",
            "BEGIN",
        ):
            self._connection.execute(statement)

    def add(self, key: str, line: int | None) -> int | None:
        """Add a new key and return None; for a known key return the line it was added with, 0 if there was none."""
        try:
            execute = self._connection.execute
            if execute("INSERT OR IGNORE INTO key VALUES (?, ?)", (key, line or 0)).rowcount:
                return None
            return int(execute("SELECT line FROM key WHERE key = ?", (key,)).fetchone()[0])
        except sqlite3.Error as exc:
            raise OSError(f"the keys of the input cannot be compared: {exc}") from exc

    def close(self) -> None:
        """Remove all keys, and the file."""
        self._connection.close()
