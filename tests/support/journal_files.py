"""Journals with something in them, and questions to ask of one."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from sim.adapters.paid import journal as room
from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount
from sim.adapters.scoring import Scored

CELL = Asked("tune", "http://x/v1", "m", "{}", (("user", "hello"),), "p", "q")


WORST = Amount(2, 100, 5000)


def kept(path: Path) -> Path:
    """A journal with a cell, a draw, its score and an attempt that is still open."""

    async def fill() -> None:
        attempt = await journal.begin(CELL, 0, 2, 5, WORST)
        await journal.end(attempt, room.SETTLED, WORST, [Draw("seven", "stop"), None])
        await journal.keep_scores(CELL, 0, b"scorer", [Scored("ok", "7", 1.0)])
        await journal.begin_batch("there", [(CELL, 2, 1, None, WORST)])

    journal = Journal(path)
    asyncio.run(fill())
    journal.close()
    return path


UNDER_WAY = 8 * 4
"""Completions that may be under way at a kill: requests at a time, times choices of a request."""


def query(path: Path, sql: str) -> list[Any]:
    base = sqlite3.connect(path)
    try:
        return base.execute(sql).fetchall()
    finally:
        base.close()
