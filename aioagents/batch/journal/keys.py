"""Which keys an input has had. They are in a temporary file of SQLite's: memory does not grow with them."""

import sqlite3


class Keys:
    """Takes keys with their lines, and finds those that it has. For one thread; `close` removes the file.

    A million keys take some seconds, and about 50 bytes each on disk. Raises OSError where the disk fails.
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
        """Take a key that is new, and give None; else give the line with which it was taken, 0 if it had none."""
        try:
            ask = self._connection.execute
            if ask("INSERT OR IGNORE INTO key VALUES (?, ?)", (key, line or 0)).rowcount:
                return None
            return int(ask("SELECT line FROM key WHERE key = ?", (key,)).fetchone()[0])
        except sqlite3.Error as exc:
            raise OSError(f"the keys of the input cannot be compared: {exc}") from exc

    def close(self) -> None:
        """Forget all keys."""
        self._connection.close()
