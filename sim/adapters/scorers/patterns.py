"""Regular expressions, matched in processes that are killed when they take too long.

Some patterns take time exponential in the length of a text, and nothing in Python's `re` can stop them.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from sim.adapters.scorers import regex_worker
from sim.adapters.scorers.processes import Pool

TIMEOUT = 5.0
"""Seconds for one text, where nothing else is said."""
_AT_ONCE = 1000
"""Texts that `matched` gives to a pattern at a time."""
_PROCESSES = 2
"""How many match at a time."""


class Patterns:
    """Matches patterns; its processes are started when they are needed."""

    def __init__(self):
        self._pool: Pool | None = None

    async def last(self, pattern: str, group: int, texts: Sequence[str], timeout: float) -> list[str | None]:
        """The last match of a group in every text, empty where nothing did; None where that took too long."""
        tasks = [{"pattern": pattern, "group": group, "text": text} for text in texts]
        return [None if one is None else one["found"] for one in await self._ready().each(tasks, timeout)]

    async def some(self, tasks: Sequence[dict[str, Any]], timeout: float) -> list[dict[str, Any] | None]:
        """Answers of `regex_worker` to tasks, up to the first that took too long, which is None."""
        return await self._ready().some(tasks, timeout)

    def _ready(self) -> Pool:
        if self._pool is None:
            nothing = {"pattern": "", "group": 0, "text": ""}
            self._pool = Pool(_PROCESSES, lambda: str(regex_worker.__file__), nothing, "a reader of patterns")
        return self._pool

    async def close(self) -> None:
        """End all processes."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()


def matched(option: str, task: dict[str, Any], texts: Sequence[str]) -> list[Any]:
    """Match a pattern in all texts of a log, as `regex_worker` answers to a task with each of them.

    Args:
        option: the option that names the pattern and what it says, as the sentence of an error begins.
        task: the pattern with its group or groups.
        texts: where it is looked for.

    Raises:
        ValueError: it takes too long for one of them.
    """
    return asyncio.run(_matched(option, task, texts))


async def _matched(option: str, task: dict[str, Any], texts: Sequence[str]) -> list[Any]:
    found, patterns = [], Patterns()
    try:
        while len(found) < len(texts):
            part = texts[len(found) : len(found) + _AT_ONCE]
            found += await patterns.some([task | {"text": text} for text in part], TIMEOUT)
            if found[-1] is None:
                text = texts[len(found) - 1][:60]
                raise ValueError(f"{option}, which takes more than {TIMEOUT:g} s on {text!r}; use a simpler pattern")
    finally:
        await patterns.close()
    return [one["found"] for one in found]
