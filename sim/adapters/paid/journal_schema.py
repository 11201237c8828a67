"""Tables of a journal, and whether a file has them as a journal has."""

import sqlite3
from functools import cache

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE spans (name TEXT PRIMARY KEY, first INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE cells (
    cell BLOB PRIMARY KEY, stream TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, decoding TEXT NOT NULL,
    messages BLOB NOT NULL, prompt TEXT NOT NULL, query BLOB NOT NULL
);
CREATE TABLE draws (
    cell BLOB NOT NULL, draw INTEGER NOT NULL, seed INTEGER, attempt INTEGER NOT NULL, finish TEXT NOT NULL,
    text BLOB NOT NULL, PRIMARY KEY (cell, draw)
);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, cell BLOB NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL, seed INTEGER,
    state TEXT NOT NULL, completions INTEGER NOT NULL, tokens INTEGER NOT NULL, money INTEGER NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER, note TEXT NOT NULL
);
CREATE TABLE scores (
    cell BLOB NOT NULL, draw INTEGER NOT NULL, scorer BLOB NOT NULL, status TEXT NOT NULL, label BLOB, value REAL,
    PRIMARY KEY (cell, draw, scorer)
);
"""
LATER_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, state TEXT NOT NULL, file TEXT, remote TEXT, note TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batched (attempt INTEGER PRIMARY KEY, batch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rounds (attempt INTEGER PRIMARY KEY, round INTEGER NOT NULL);
"""


def check(base: sqlite3.Connection) -> None:
    """Look at the pages, the tables and the types of all values of an open journal.

    SQLite itself notices broken pages, but takes any value in any column, and a table may be a view that computes
    without end. What was altered into other values of the right type cannot be noticed.

    Raises:
        ValueError, sqlite3.Error: it is damaged, or no journal.
    """
    odd = base.execute("SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')").fetchone()
    if odd is not None:
        raise ValueError(f"holds the {odd[0]} {odd[1]!r}, which no journal has")
    for table, columns in _columns().items():
        found = _table(base, table)
        if found != columns:
            raise ValueError(f"has no table {table!r} as a journal has it")
    said = base.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise ValueError(" ".join(str(said).split())[:120])
    for table, columns in _columns().items():
        kinds = [(name, f"'{kind.lower()}'" + ("" if needed else ", 'null'")) for name, kind, needed in columns]
        wrong = " OR ".join(f"typeof({name}) NOT IN ({allowed})" for name, allowed in kinds)
        if base.execute(f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1").fetchone():
            raise ValueError(f"a row of {table!r} holds values of other types than were written")


@cache
def _columns() -> dict[str, list[tuple[str, str, bool]]]:
    """Name, type and whether it is needed, of every column of every table."""
    base = sqlite3.connect(":memory:")
    try:
        base.executescript(SCHEMA + LATER_SCHEMA)
        tables = base.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {table: _table(base, table) for (table,) in tables}
    finally:
        base.close()


def _table(base: sqlite3.Connection, table: str) -> list[tuple[str, str, bool]]:
    rows = base.execute(f"PRAGMA table_xinfo({table})").fetchall()
    return [(name, kind, bool(needed)) for _, name, kind, needed, *_ in rows]
