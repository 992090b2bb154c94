"""How a journal's file is laid out, and the statements that follow from it."""
# ruff: noqa: S608 - statements are put together from names that stand in this file alone

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .ledger import Line

#: What SQLite keeps in the file's head: whose file it is, and which of its formats.
APPLICATION: Final = 0x61696F4A
FORMAT: Final = 1

#: By name, as SQLite keeps them: a file without one of these, word for word, is damaged. The row's own number
#: keeps the order of claims, in which neighbours share a page: what is in flight together is written together.
TABLES: Final = {
    "batch": """CREATE TABLE batch (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    created_at INTEGER NOT NULL,
    emitted_bytes INTEGER NOT NULL DEFAULT 0,
    is_output_stale INTEGER NOT NULL DEFAULT 0
)""",
    "opening": """CREATE TABLE opening (
    number INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER
)""",
    "row": """CREATE TABLE row (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    target TEXT NOT NULL,
    digest BLOB NOT NULL,
    state TEXT NOT NULL,
    claimed_in INTEGER NOT NULL,
    changed_in INTEGER NOT NULL,
    ref TEXT,
    sent_at INTEGER,
    ended_at INTEGER,
    status TEXT NOT NULL,
    kind TEXT NOT NULL,
    error TEXT NOT NULL,
    output TEXT,
    settled INTEGER,
    is_emitted INTEGER NOT NULL
)""",
    "row_unemitted": (
        "CREATE INDEX row_unemitted ON row (settled) WHERE settled IS NOT NULL AND is_emitted = 0"
    ),
}

_NAMES: Final = Line._fields
_COLUMNS: Final = ", ".join(f"row.{name}" for name in _NAMES)
#: A row as one JSON array, the digest in hexadecimal digits: JSON has no bytes.
_AS_JSON: Final = f"json_array({_COLUMNS.replace('row.digest', 'hex(row.digest)')})"
_VALUES: Final = f"({', '.join('?' * len(_NAMES))})"
_SETS: Final = ", ".join(
    f"{name} = excluded.{name}" for name in _NAMES if name not in {"key", "target", "digest"}
)
#: No index serves this, since it is asked once: one would cost each row more than it saves all of them.
_IS_OPEN: Final = "row.state IN ('sending', 'started')"
#: Word for word as the index is declared, or it does not serve.
_IS_UNEMITTED: Final = "row.settled IS NOT NULL AND row.is_emitted = 0"

#: Statements for many rows are prepared once for each of these; 64 rows need fewer than 999 variables, which is what
#: older builds of SQLite allow.
SIZES: Final = (64, 32, 16, 8, 4, 2, 1)


def _for_sizes(head: str, one: str, tail: str) -> Mapping[int, str]:
    return MappingProxyType({size: head + ", ".join([one] * size) + tail for size in SIZES})


SAVE: Final = _for_sizes(
    f"INSERT INTO row ({', '.join(_NAMES)}) VALUES ", _VALUES, f" ON CONFLICT (key) DO UPDATE SET {_SETS}"
)
LOAD: Final = _for_sizes(
    "WITH want (key) AS (VALUES ",
    "(?)",
    f") SELECT json_group_array({_AS_JSON}) FROM want CROSS JOIN row ON row.key = want.key",
)
COUNT_UNEMITTED: Final = _for_sizes("SELECT count(*) FROM row WHERE key IN (", "?", f") AND {_IS_UNEMITTED}")
MARK_EMITTED: Final = _for_sizes("UPDATE row SET is_emitted = 1 WHERE key IN (", "?", ")")


def _page(condition: str, order: str) -> str:
    rows = f"SELECT * FROM row WHERE {condition} AND row.{order} > ? ORDER BY row.{order} LIMIT ?"
    return f"SELECT max({order}), json_group_array({_AS_JSON}) FROM ({rows}) AS row"


OPEN_PAGE: Final = _page(_IS_OPEN, "id")
UNEMITTED_PAGE: Final = _page(_IS_UNEMITTED, "settled")


def page_of(*names: str, size: int) -> str:
    """Give the statement for a page of rows, in the order of claims, in which these columns have given values."""
    conditions = "".join(f" AND row.{name} = :{name}" for name in names)
    return f"SELECT id, {_COLUMNS} FROM row WHERE id > :after{conditions} ORDER BY id LIMIT {size}"


OPENINGS: Final = "SELECT number, owner, opened_at, closed_at FROM opening ORDER BY number"
TOTALS: Final = f"""
SELECT state, kind, changed_in, count(*), count(sent_at), min(sent_at), max(sent_at), max(ended_at),
    sum({_IS_UNEMITTED})
FROM row GROUP BY 1, 2, 3
"""
#: Where durations are cut into buckets, in seconds: 0.1, 0.2, 0.5, 1 ... 100,000.
EDGES: Final = (*(float(f"{digit}e{power}") for power in range(-1, 5) for digit in (1, 2, 5)), 1e5)
_BUCKET: Final = " ".join(f"WHEN lasted < {edge * 1e6:.0f} THEN {n}" for n, edge in enumerate(EDGES))
DURATIONS: Final = f"""
SELECT state, CASE {_BUCKET} ELSE {len(EDGES)} END AS bucket, count(*), min(lasted), max(lasted), sum(lasted)
FROM (SELECT state, ended_at - sent_at AS lasted FROM row WHERE state IN ('completed', 'failed', 'aborted'))
WHERE lasted IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
