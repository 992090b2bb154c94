"""The layout of a journal's file, and all statements that are executed on it."""
# ruff: noqa: S608 - statements are composed of names that are defined in this file alone

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from .encoding import FACTS, PLANNED, SENDING, SETTLED, StoredRow
from .planning import Shape

#: What SQLite keeps in the file's header: the application and the version of its format.
APPLICATION: Final = 0x61696F4A
FORMAT: Final = 2

#: By name, as SQLite stores them: a file in which one of these is missing or differs is damaged. Rows are numbered
#: in the order of claims, in which neighbours share a page: rows that are in flight together are written together.
TABLES: Final = {
    "batch": """CREATE TABLE batch (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    created_at INTEGER NOT NULL,
    journal BLOB NOT NULL,
    inode INTEGER NOT NULL,
    copied_at INTEGER,
    serial INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
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
    is_emitted INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    total INTEGER NOT NULL
)""",
    "row_unemitted": (
        "CREATE INDEX row_unemitted ON row (settled) WHERE settled IS NOT NULL AND is_emitted = 0"
    ),
}

_NAMES: Final = StoredRow._fields
_COLUMNS: Final = ", ".join(f"row.{name}" for name in _NAMES)
#: A row as one JSON array, its digest in hexadecimal digits: JSON has no bytes.
_AS_JSON: Final = f"json_array({_COLUMNS.replace('row.digest', 'hex(row.digest)')})"
#: There is no index for this: it is queried once, and an index would cost more for each row than it saves.
_IS_OPEN: Final = "row.state IN ('sending', 'started')"
#: Exactly as the index declares it; otherwise SQLite does not use the index.
_IS_UNEMITTED: Final = "row.settled IS NOT NULL AND row.is_emitted = 0"

#: Statements are for 1, 2, 4 ... rows, up to this number.
MOST_ROWS: Final = 128
#: Statements have fewer values than this: the limit of older builds of SQLite, less two for numbers of openings.
MOST_VALUES: Final = 997
_SIZES: Final = tuple(1 << power for power in range(MOST_ROWS.bit_length()))


def _for_sizes(head: str, one: str, tail: str) -> Mapping[int, str]:
    return MappingProxyType({size: head + ", ".join([one] * size) + tail for size in _SIZES})


NEW: Final = _for_sizes(
    "WITH new (id, key, target, digest, checksum) AS (VALUES ",
    "(?, ?, ?, ?, ?)",
    ") INSERT INTO row (id, key, target, digest, state, claimed_in, changed_in, status, kind, error, is_emitted, "
    f"checksum, serial, total) SELECT id, key, target, digest, '{PLANNED}', ?, ?, '', '', '', 0, checksum, ?, ? "
    "FROM new WHERE id IS NOT NULL",
)
CLAIMED: Final = _for_sizes("UPDATE row SET claimed_in = ? WHERE id IN (", "?", ")")
LOAD: Final = _for_sizes(
    "WITH wanted (key) AS (VALUES ",
    "(?)",
    f") SELECT json_group_array({_AS_JSON}) FROM wanted CROSS JOIN row ON row.key = wanted.key",
)
COUNT_UNEMITTED: Final = _for_sizes("SELECT count(*) FROM row WHERE key IN (", "?", f") AND {_IS_UNEMITTED}")
SET_EMITTED: Final = _for_sizes("UPDATE row SET is_emitted = 1 WHERE key IN (", "?", ")")


#: The values of cleared facts, and of a row that is no longer settled.
_CLEARED: Final = {
    **{name: "''" if name in {"status", "kind", "error"} else "NULL" for name in FACTS},
    **dict.fromkeys(("ended_at", "settled"), "NULL"),
    "is_emitted": "0",
}


@lru_cache(maxsize=256)
def change_of(shape: Shape, size: int) -> tuple[str, int]:
    """Return the statement that makes `size` changes of one shape, and the number of values it takes for each.

    It finds rows by their numbers and writes only the columns that change, which is half the work of writing all
    columns of rows found by their keys. A row of nulls changes nothing.
    """
    state, is_cleared, given = shape
    columns = [name for bit, name in enumerate(FACTS) if given >> bit & 1]
    sets = _CLEARED.copy() if is_cleared else {}
    sets |= {"state": f"'{state}'", **({"sent_at": "NULL"} if state == PLANNED else {})}
    if state == SENDING:
        columns = ["sent_at", *columns]
    elif state in SETTLED:
        columns = ["ended_at", "settled", *columns]
    columns = ["checksum", *columns]
    sets |= {name: f"change.{name}" for name in columns}
    names = ["id", *columns]
    rows = ", ".join([f"({', '.join('?' * len(names))})"] * size)
    assigned = ", ".join(f"{name} = {value}" for name, value in sets.items())
    statement = (
        f"WITH change ({', '.join(names)}) AS (VALUES {rows}) "
        f"UPDATE row SET {assigned}, changed_in = ?, serial = ?, total = ? FROM change WHERE row.id = change.id"
    )
    return statement, len(names)


def _page(condition: str, order: str) -> str:
    rows = f"SELECT * FROM row WHERE {condition} AND row.{order} > ? ORDER BY row.{order} LIMIT ?"
    return f"SELECT max({order}), json_group_array({_AS_JSON}) FROM ({rows}) AS row"


OPEN_PAGE: Final = _page(_IS_OPEN, "id")
UNEMITTED_PAGE: Final = _page(_IS_UNEMITTED, "settled")


def page_of(*names: str, size: int) -> str:
    """Return the statement for a page of rows in the order of claims, filtered by the values of these columns."""
    conditions = "".join(f" AND row.{name} = :{name}" for name in names)
    return f"SELECT {_COLUMNS} FROM row WHERE id > :after{conditions} ORDER BY id LIMIT {size}"


def having_refs(count: int) -> str:
    """Return the statement for the rows that have one of so many references."""
    return f"SELECT ref, key FROM row WHERE ref IN ({', '.join('?' * count)})"


#: All that the checksums of rows are made of, in the order of the fields of a `StoredRow`.
ALL_ROWS: Final = f"SELECT {_COLUMNS} FROM row"
#: What the journal says of itself as a whole: see `wholeness.py`. The last write is of rows, or of an opening.
#: Reading all rows to find it costs less than one more page in each commit, for a number that changes each time.
HEADER: Final = """
SELECT journal, last.serial, last.total, inode, copied_at,
    ifnull((SELECT closed_at IS NULL FROM opening ORDER BY number DESC LIMIT 1), 0)
FROM batch, (SELECT max(serial) AS serial, total FROM (
    SELECT max(serial) AS serial, total FROM row UNION ALL SELECT serial, total FROM batch)) AS last
"""
NUMBERED: Final = "UPDATE batch SET serial = ?, total = ?"
#: What shows that another program has changed the journal.
STATE: Final = "SELECT ifnull(max(id), 0), ifnull(sum(checksum), 0) FROM row"
OPENINGS: Final = "SELECT number, owner, opened_at, closed_at FROM opening ORDER BY number"
TOTALS: Final = f"""
SELECT state, kind, changed_in, count(*), count(sent_at), min(sent_at), max(sent_at), max(ended_at),
    sum({_IS_UNEMITTED})
FROM row GROUP BY 1, 2, 3
"""
#: The upper bounds of the buckets of durations, in seconds: 0.1, 0.2, 0.5, 1 ... 100,000.
EDGES: Final = (*(float(f"{digit}e{power}") for power in range(-1, 5) for digit in (1, 2, 5)), 1e5)
_BUCKET: Final = " ".join(f"WHEN lasted < {edge * 1e6:.0f} THEN {n}" for n, edge in enumerate(EDGES))
DURATIONS: Final = f"""
SELECT state, CASE {_BUCKET} ELSE {len(EDGES)} END AS bucket, count(*), min(lasted), max(lasted), sum(lasted)
FROM (SELECT state, ended_at - sent_at AS lasted FROM row WHERE state IN ('completed', 'failed', 'aborted'))
WHERE lasted IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
