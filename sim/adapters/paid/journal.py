"""Everything that was paid for, on disk before it is used: SQLite, write-ahead log, synchronous=FULL.

A draw is a completion under its number in its cell. A cell is (stream, endpoint, model, decoding, messages): the whole
content of a request but for seed and number. An attempt is one request sent; it is written with its worst case as its
charge before it is sent, so that the sum of charges bounds the bill at any moment, and a killed run leaves attempts
"open" that the next one turns to "lost" at that charge.

One process at a time holds the file. Text is kept as bytes: any answer comes back as it was. In a server's other words
what UTF-8 cannot hold becomes an escape.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sim.adapters.paid.entries import (
    AMBIGUOUS,
    BATCHED,
    DONE,
    LOST,
    OPEN,
    PREPARED,
    SETTLED,
    VOID,
    Asked,
    Attempt,
    Batch,
    Draw,
    decode,
    encode,
    parsed,
)
from sim.adapters.paid.group_commit import GroupCommit
from sim.adapters.paid.journal_schema import LATER_SCHEMA, SCHEMA, check
from sim.adapters.paid.ledger import Amount
from sim.adapters.scoring import Scored
from sim.adapters.wire.protocol import Usage
from sim.adapters.wire.retry import Stopped
from sim.writing import escape

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""
VERSION = 1
KEPT = "LEFT JOIN (SELECT attempt, count(*) AS kept FROM draws GROUP BY attempt) ON attempt = attempts.id"
"""Joins attempts with the number of draws that came of each, NULL where none did: all its choices broke."""
MOST_KNOWN = 4096
"""Cells that are remembered to be in the file: a service meets new ones for ever. The file is asked about others."""
BROKEN = (sqlite3.Error, UnicodeDecodeError)
"""Exceptions of SQLite on a damaged file; the second where its own message would hold damaged text."""


class Journal:
    """The file. Writes of many tasks go to disk together; a write is awaited until it is there.

    Attributes:
        round: number of the round that requests are begun in, from 1; None outside rounds.
    """

    round: int | None = None

    def __init__(self, path: Path | str):
        self.path = path
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting = GroupCommit[Sequence[Statement]](self._thread, lambda group: self._commit(group), self._stopped)
        self._known: set[bytes] = set()
        try:
            self._base = self._open()
        except BROKEN as error:
            raise ValueError(f"{path}: cannot be opened as a journal ({_reason(error)})") from None
        self._next = 1 + (self._one("SELECT max(id) FROM attempts")[0] or 0)
        self._next_batch = 1 + (self._one("SELECT max(id) FROM batches")[0] or 0)

    def _open(self) -> sqlite3.Connection:
        if self.path != ":memory:":
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(self.path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(base)
        except BaseException:
            base.close()
            raise
        return base

    def _prepare(self, base: sqlite3.Connection) -> None:
        base.execute("PRAGMA locking_mode=EXCLUSIVE")
        mode = base.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode not in ("wal", "memory"):
            raise ValueError(
                f"{self.path}: lies where SQLite cannot keep a write-ahead log; use a folder on a local disk"
            )
        base.execute("PRAGMA synchronous=FULL")
        base.execute("BEGIN EXCLUSIVE")
        if not base.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in filter(str.strip, SCHEMA.split(";")):
                base.execute(statement)
            base.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
        for statement in filter(str.strip, LATER_SCHEMA.split(";")):
            base.execute(statement)
        found = base.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        if found is not None and found[0] != str(VERSION):
            said = str(found[0])[:20]
            raise ValueError(f"{self.path}: has version {said} of the journal; this program reads version {VERSION}")
        try:
            check(base)
            if found is None:
                raise ValueError("it names no version")
        except (sqlite3.Error, ValueError) as error:  # of which undecodable text is one
            raise ValueError(
                f"{self.path}: is damaged, or no journal ({error}); `sqlite3 FILE .recover` may save what is left of it"
            ) from None
        note = "the process ended before the reply; counted as billed"
        base.execute("UPDATE attempts SET state = ?, note = ? WHERE state = ?", (LOST, note, OPEN))
        base.execute("COMMIT")

    def close(self) -> None:
        """Wait for writes under way, write what an interrupted run left waiting, and let go of the file."""
        if left := self._waiting.take():
            with suppress(sqlite3.Error):  # what is not written stays charged at its worst case
                self._thread.submit(self._commit, left).result()
        self._thread.shutdown()
        self._base.close()

    def charged(self) -> Amount:
        """Sum of the charges of all attempts."""
        sums = self._one("SELECT total(completions), total(tokens) FROM attempts")
        money = self._one("SELECT coalesce(sum(money), 0) FROM attempts")[0]
        return Amount(int(sums[0]), int(sums[1]), money)

    def usage(self, cells: Sequence[bytes]) -> tuple[float, float] | None:
        """Mean prompt tokens of a request and completion tokens of a draw, over settled attempts in these cells.

        Means over the attempts with a usable report; None where no draw came of such. What broken choices took is part
        of what their draws cost.
        """
        marks = ", ".join("?" * len(cells))
        row = self._one(
            f"SELECT count(*), total(prompt_tokens), total(completion_tokens), total(kept) FROM attempts {KEPT} "
            f"WHERE state = '{SETTLED}' AND prompt_tokens IS NOT NULL AND cell IN ({marks})",
            *cells,
        )
        return (row[1] / row[0], row[2] / row[3]) if row[3] else None

    def reports(self, stream: str) -> list[tuple[bytes, int, int, int, int]]:
        """Cell, first draw, prompt tokens, number of draws and completion tokens of attempts with a usable report."""
        return self.rows(
            "SELECT cell, first, prompt_tokens, coalesce(kept, 0), completion_tokens FROM attempts JOIN cells "
            f"USING (cell) {KEPT} WHERE stream = ? AND state = ? AND prompt_tokens IS NOT NULL",
            stream,
            SETTLED,
        )

    def counts(self) -> dict[bytes, int]:
        """Number of draws in every cell that has some."""
        return dict(self.rows("SELECT cell, count(*) FROM draws GROUP BY cell"))

    def coming(self) -> list[tuple[bytes, int, int]]:
        """Cell, first draw and number of draws of every request of a batch that is not over."""
        return self.rows("SELECT cell, first, n FROM attempts WHERE state = ?", BATCHED)

    def num_draws(self, stream: str) -> int:
        """Draws of a stream that are here, or that a batch will bring."""
        kept = "SELECT count(*) FROM draws JOIN cells USING (cell) WHERE stream = ?"
        coming = "SELECT coalesce(sum(n), 0) FROM attempts JOIN cells USING (cell) WHERE stream = ? AND state = ?"
        return self._one(kept, stream)[0] + self._one(coming, stream, BATCHED)[0]

    def charges(self) -> list[Any]:
        """Stream, model, prompt, endpoint; requests, settled, ambiguous or lost, void; what they were charged."""
        states = "sum(state = ?), sum(state IN (?, ?)), sum(state = ?)"
        return self.rows(
            f"SELECT stream, model, prompt, endpoint, count(*), {states}, sum(completions), sum(tokens), sum(money) "
            "FROM attempts JOIN cells USING (cell) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            *(SETTLED, AMBIGUOUS, LOST, VOID),
        )

    def charges_by_round(self) -> list[Any]:
        """Stream, model, prompt and round; requests in all, ambiguous or lost; completions, tokens, money."""
        return self.rows(
            "SELECT stream, model, prompt, round, count(*), sum(state IN (?, ?)), sum(completions), sum(tokens), "
            "sum(money) FROM attempts JOIN cells USING (cell) LEFT JOIN rounds ON rounds.attempt = attempts.id "
            "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            *(AMBIGUOUS, LOST),
        )

    def copies(self) -> dict[tuple[str, str, str, str], Any]:
        """Draws by stream, model, prompt, endpoint, and how many have the text of another one of their cell."""
        rows = self.rows(
            "SELECT stream, model, prompt, endpoint, count(*), count(*) - count(DISTINCT hex(cell) || hex(text)) "
            "FROM draws JOIN cells USING (cell) GROUP BY 1, 2, 3, 4"
        )
        return {row[:4]: row[4:] for row in rows}

    def cells(self) -> list[tuple[Any, ...]]:
        """Stream, model, prompt, query, decoding, endpoint, name of all cells, in an order free of sending."""
        columns = "stream, model, prompt, query, decoding, endpoint, cell"
        rows = self.rows(f"SELECT {columns} FROM cells ORDER BY stream, prompt, query, cell")
        return [(*row[:3], decode(row[3], self.path), *row[4:]) for row in rows]

    def draws_of(self, cell: bytes) -> list[tuple[int, int | None, str, str]]:
        """Number, seed, reason of its end and text of all draws in the cell of this name."""
        rows = self.rows("SELECT draw, seed, finish, text FROM draws WHERE cell = ? ORDER BY draw", cell)
        return [(*told, decode(text, self.path)) for *told, text in rows]

    def compact(self) -> None:
        """Forget requests that cost nothing, and give room back."""
        self.rows("DELETE FROM attempts WHERE state = ? AND id NOT IN (SELECT attempt FROM draws)", VOID)
        self.rows("DELETE FROM rounds WHERE attempt NOT IN (SELECT id FROM attempts)")
        self.rows("VACUUM")
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    async def forget(self, cells: Iterable[Asked]) -> None:
        """Forget the draws and scores of cells, and their requests that are over."""
        writes: list[Statement] = []
        for digest in {cell.digest for cell in cells}:
            self._known.discard(digest)
            writes += [(f"DELETE FROM {table} WHERE cell = ?", (digest,)) for table in ("draws", "scores", "cells")]
            writes.append(("DELETE FROM attempts WHERE cell = ? AND state != ?", (digest, OPEN)))
        await self.write(writes)

    def span(self, name: str, size: int) -> int:
        """The first number of an interval of `size` that belongs to `name` alone, the same whenever asked.

        Raises:
            ValueError: the name has an interval already that is too small.
        """
        row = self._one("SELECT first, size FROM spans WHERE name = ?", name)
        if row is not None:
            if row[1] < size:
                raise ValueError(f"{self.path}: {name} has {row[1]} seeds here and needs {size}; use another folder")
            return row[0]
        first = self._one("SELECT coalesce(max(first + size), 0) FROM spans")[0]
        self._one("INSERT INTO spans VALUES (?, ?, ?)", name, first, size)
        return first

    def note(self, key: str, value: str | None = None) -> str | None:
        """Read what is noted under a key; or note a value."""
        if value is not None:
            self._one("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else row[0]

    async def draws(self, cell: Asked, first: int, count: int) -> dict[int, Draw]:
        """Those of draws first, .., first + count - 1 that are here."""
        query = "SELECT draw, text, finish FROM draws WHERE cell = ? AND draw >= ? AND draw < ?"
        rows = await self._ask(lambda: self._found(query, (cell.digest, first, first + count)))
        return {draw: Draw(decode(text, self.path), finish) for draw, text, finish in rows}

    async def begin(self, cell: Asked, first: int, n: int, seed: int | None, worst: Amount) -> Attempt:
        """Write that a request is about to be sent; its charge is its worst case until it is over."""
        attempt, writes = self._beginning(cell, first, n, seed, worst, OPEN)
        await self.write(writes)
        return attempt

    def _beginning(
        self, cell: Asked, first: int, n: int, seed: int | None, worst: Amount, state: str
    ) -> tuple[Attempt, list[Statement]]:
        attempt = Attempt(self._next, cell, first, n, seed)
        self._next += 1
        writes: list[Statement] = []
        if cell.digest not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known.add(cell.digest)
            row = (cell.digest, *cell[:4], encode(json.dumps(cell.messages)), cell.prompt, encode(cell.query))
            writes.append(("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row))
        row = (attempt.id, cell.digest, first, n, seed, state, *worst, "")
        writes.append(("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, ?)", row))
        if self.round is not None:
            writes.append(("INSERT INTO rounds VALUES (?, ?)", (attempt.id, self.round)))
        return attempt, writes

    async def begin_batch(self, endpoint: str, parts: Sequence[tuple[Asked, int, int, int | None, Amount]]) -> Batch:
        """Write that a batch of requests (cell, first, n, seed, worst case) is about to be sent."""
        batch = Batch(self._next_batch, PREPARED)
        self._next_batch += 1  # at once: several endpoints may begin batches side by side
        writes = [("INSERT INTO batches VALUES (?, ?, ?, NULL, NULL, '')", (batch.id, endpoint, PREPARED))]
        for part in parts:
            attempt, more = self._beginning(*part, BATCHED)
            writes += [*more, ("INSERT INTO batched VALUES (?, ?)", (attempt.id, batch.id))]
        await self.write(writes)
        return batch

    async def mark_batch(self, batch: Batch, note: str = "") -> Batch:
        """Write how far a batch is; gives it back."""
        row = (batch.state, batch.file, batch.remote, escape(note), batch.id)
        await self.write([("UPDATE batches SET state = ?, file = ?, remote = ?, note = ? WHERE id = ?", row)])
        return batch

    def unfinished(self, endpoint: str) -> list[Batch]:
        """Batches that this or an earlier process has begun and not ended, oldest first."""
        query = "SELECT id, state, file, remote FROM batches WHERE endpoint = ? AND state != ? ORDER BY id"
        return [Batch(*row) for row in self.rows(query, endpoint, DONE)]

    def batch_attempts(self, batch: Batch) -> list[tuple[Attempt, Amount]]:
        """The attempts of a batch that have not ended, in order, each with its worst case."""
        rows = self.rows(
            "SELECT a.id, a.first, a.n, a.seed, a.completions, a.tokens, a.money, c.stream, c.endpoint, c.model, "
            "c.decoding, c.messages, c.prompt, c.query FROM batched b JOIN attempts a ON a.id = b.attempt "
            "JOIN cells c ON c.cell = a.cell WHERE b.batch = ? AND a.state = ? ORDER BY a.id",
            batch.id,
            BATCHED,
        )
        found = []
        for id_, first, n, seed, completions, tokens, money, *cell, messages, prompt, query in rows:
            parts = parsed(decode(messages, self.path), self.path)
            said = tuple((role, content) for role, content in parts)
            stream, endpoint, model, decoding = cell
            whole = Asked(stream, endpoint, model, decoding, said, prompt, decode(query, self.path))
            found.append((Attempt(id_, whole, first, n, seed), Amount(completions, tokens, money)))
        return found

    async def end(
        self,
        attempt: Attempt,
        state: str,
        charged: Amount,
        draws: Sequence[Draw | None] = (),
        usage: Usage | None = None,
        note: str = "",
    ) -> None:
        """Write how a request ended, and the draws that it brought; None holds the place of one that it did not."""
        update = (
            "UPDATE attempts SET state = ?, completions = ?, tokens = ?, money = ?, prompt_tokens = ?, "
            "completion_tokens = ?, cached_tokens = ?, note = ? WHERE id = ?"
        )
        writes: list[Statement] = [(update, (state, *charged, *(usage or (None,) * 3), escape(note), attempt.id))]
        for place, draw in enumerate(draws):
            if draw is None:
                continue
            seed = None if attempt.seed is None else attempt.seed + place
            number, finish = attempt.first + place, escape(draw.finish)
            row = (attempt.cell.digest, number, seed, attempt.id, finish, encode(draw.text))
            writes.append(("INSERT INTO draws VALUES (?, ?, ?, ?, ?, ?)", row))
        await self.write(writes)

    async def scores(self, cell: Asked, first: int, count: int, scorer: bytes) -> dict[int, Scored]:
        """Findings of a scorer in draws first, .., first + count - 1, as far as they are here."""
        query = "SELECT draw, status, label, value FROM scores WHERE cell = ? AND scorer = ? AND draw >= ? AND draw < ?"
        key = (cell.digest, scorer, first, first + count)
        rows = await self._ask(lambda: self._found(query, key))
        labels = [None if row[2] is None else decode(row[2], self.path) for row in rows]
        return {row[0]: Scored(row[1], label, row[3]) for row, label in zip(rows, labels, strict=True)}

    async def keep_scores(self, cell: Asked, first: int, scorer: bytes, found: Iterable[Scored]) -> None:
        """Keep what a scorer found in draws first, first + 1, .."""
        rows = [
            (cell.digest, number, scorer, one.status, None if one.label is None else encode(one.label), one.value)
            for number, one in enumerate(found, start=first)
        ]
        await self.write([("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?)", row) for row in rows])

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        return self._thread.submit(self._found, query, values).result()

    async def write(self, statements: Sequence[Statement]) -> None:
        """Execute statements, all or none; returns when they are on disk."""
        await self._waiting.put(statements)

    def _stopped(self, problem: Exception) -> Stopped:
        return Stopped(f"{self.path}: cannot be written ({_reason(problem)}); nothing more is sent")

    def _commit(self, group: Sequence[Sequence[Statement]]) -> list[Exception | None]:
        """Write to disk together, each whole or not at all; what was wrong with each."""
        problems: list[Exception | None] = []
        self._base.execute("BEGIN IMMEDIATE")
        try:
            for statements in group:
                problems.append(self._execute(statements))
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise
        return problems

    def _execute(self, statements: Sequence[Statement]) -> Exception | None:
        """Execute statements, all or none, inside a transaction; what was wrong with them."""
        self._base.execute("SAVEPOINT one")
        try:
            for sql, values in statements:
                self._base.execute(sql, values)
        except Exception as error:
            if not self._base.in_transaction:  # SQLite gave up the transaction, of a full disk say
                raise
            self._base.execute("ROLLBACK TO one")
            self._base.execute("RELEASE one")
            return error
        self._base.execute("RELEASE one")
        return None

    async def _ask(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _one(self, query: str, *values: Any) -> Any:
        return next(iter(self._thread.submit(self._found, query, values).result()), None)

    def _found(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return self._base.execute(query, values).fetchall()
        except BROKEN as error:
            raise ValueError(f"{self.path}: cannot be read or written ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    text = str(error)
    return "another run holds it" if "locked" in text else text
