"""Integrity of a journal: a damaged one is refused before anything is sent or shown."""

import json
import sqlite3
from functools import cache
from typing import Any

BROKEN = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises on a damaged file; the second where its own message would hold damaged text."""


def check(base: sqlite3.Connection, schema: str) -> None:
    """Look at pages, tables and the types of all cells.

    SQLite itself notices broken pages, but takes any value in any column, and a table may be a view that computes
    without end. What was altered into other values of the right type cannot be noticed.

    Args:
        base: an open journal.
        schema: the SQL that makes its tables.

    Raises:
        ValueError, sqlite3.Error: it is damaged, or no journal.
    """
    odd = base.execute("SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')").fetchone()
    if odd is not None:
        raise ValueError(f"holds the {odd[0]} {odd[1]!r}, which no journal has")
    for table, columns in _columns(schema).items():
        found = _table(base, table)
        if found != columns:
            raise ValueError(f"has no table {table!r} as a journal has it")
    said = base.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise ValueError(" ".join(str(said).split())[:120])
    for table, columns in _columns(schema).items():
        wrong = " OR ".join(_wrong(name, kind, needed) for name, kind, needed in columns)
        if base.execute(f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1").fetchone():
            raise ValueError(f"a row of {table!r} holds values of other types than were written")


def text(content: bytes, path: Any) -> str:
    """Text that was written as bytes; a ValueError names the file where it was damaged since."""
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is damaged: a text in it is no UTF-8") from None


def parsed(content: str, path: Any) -> Any:
    """JSON that was written as text; a ValueError names the file where it was damaged since."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: is damaged: a request in it is no JSON") from None


def _wrong(name: str, kind: str, needed: bool) -> str:
    """SQL for a value that a column cannot have been given."""
    kinds = f"'{kind.lower()}'" if needed else f"'{kind.lower()}', 'null'"
    return f"typeof({name}) NOT IN ({kinds})"


@cache
def _columns(schema: str) -> dict[str, list[tuple[str, str, bool]]]:
    """Name, type and whether it is needed, of every column of every table."""
    base = sqlite3.connect(":memory:")
    try:
        base.executescript(schema)
        tables = base.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {table: _table(base, table) for (table,) in tables}
    finally:
        base.close()


def _table(base: sqlite3.Connection, table: str) -> list[tuple[str, str, bool]]:
    rows = base.execute(f"PRAGMA table_xinfo({table})").fetchall()
    return [(name, kind, bool(needed)) for _, name, kind, needed, *_ in rows]
