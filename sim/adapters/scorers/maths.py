"""Mathematical answers, by math-verify (extra `[math]`) in processes that are killed when they take too long.

Votes are cast for canonical strings, never by comparing pairs: equality as math-verify sees it is not transitive. The
score of a completion is whether it equals the right answer by math-verify's own comparison.
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from sim.adapters.fields import Table
from sim.adapters.scorers import maths_worker
from sim.adapters.scoring import OK, TIMEOUT, UNREADABLE, Item, Scored, Scorer

_START = 60.0
"""Seconds more that the first answer of a process may take: it imports what it needs."""
_LONGEST_LINE = 2**26


@dataclass(frozen=True)
class Math(Scorer):
    """Reads the last mathematical expression.

    Attributes:
        timeout: seconds for one completion; then its process is killed.
        max_chars: of a longer completion only the end is read.
        processes: how many read at a time.
    """

    timeout: float = 5.0
    max_chars: int = 4000
    processes: int = field(default=2, repr=False)
    _idle: "list[_Process]" = field(default_factory=list, init=False, repr=False, compare=False)
    _limit: list[asyncio.Semaphore] = field(default_factory=list, init=False, repr=False, compare=False)
    kept = True

    @classmethod
    def read(cls, table: Table) -> "Math":
        """From a table of the configuration."""
        if importlib.util.find_spec("math_verify") is None:
            raise table.wrong("scorer", "is 'math', which needs the package math-verify; install iapo-testbed[math]")
        timeout = table.number("timeout", cls.timeout, low=0, high=600, open_low=True)
        return cls(timeout, table.whole("max_chars", cls.max_chars), table.whole("processes", 2, high=64))

    def right(self, gold: str) -> str:
        """The canonical string of the right answer."""
        found = _right(gold)
        if found is None:
            raise ValueError(f"the right answer {gold[:80]!r} is no mathematics that math-verify can read")
        return found

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """Labels and scores; a completion that takes too long costs its time and nothing else."""
        if not self._limit:
            self._limit.append(asyncio.Semaphore(self.processes))
        return list(await asyncio.gather(*(self._one(item.gold, text[-self.max_chars :]) for text in texts)))

    async def _one(self, gold: str | None, text: str) -> Scored:
        async with self._limit[0]:
            process = self._idle.pop() if self._idle else await _Process.start()
            try:
                found = await process.ask(json.dumps({"gold": gold, "text": text}), self.timeout)
            except BaseException:
                await process.kill()
                raise
            if found is None:
                await process.kill()
                return Scored(TIMEOUT)
            self._idle.append(process)
        if found["label"] is None:
            return Scored(UNREADABLE)
        return Scored(OK, found["label"], None if found["right"] is None else float(found["right"]))

    async def close(self) -> None:
        """End all processes."""
        while self._idle:
            await self._idle.pop().kill()
        self._limit.clear()


class _Process:
    """A worker and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process):
        self._process, self._fresh = process, True

    @classmethod
    async def start(cls) -> "_Process":
        """A new worker; -P keeps its folder, whose names are those of standard modules, out of the path."""
        command = [sys.executable, "-P", str(Path(maths_worker.__file__))]
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        made = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=nowhere, limit=_LONGEST_LINE
        )
        return cls(made)

    async def ask(self, line: str, timeout: float) -> dict | None:
        """Its answer; None where it took too long or ended."""
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        if self._fresh:  # what it imports first is no part of reading
            self._fresh = False
            if await self.ask(json.dumps({"gold": "1", "text": "$1$"}), _START) is None:
                raise ValueError("math-verify does not start; does `python -c 'import math_verify'` work?")
        try:
            into.write(line.encode() + b"\n")
            await into.drain()
            answer = await asyncio.wait_for(out.readline(), timeout)
        except (TimeoutError, ConnectionError):
            return None
        return json.loads(answer) if answer else None

    async def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


@lru_cache(maxsize=2**16)
def _right(gold: str) -> str | None:
    return maths_worker.canonical(maths_worker.parse_gold(gold))
