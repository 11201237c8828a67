"""Mathematical answers, by math-verify (extra `[math]`) in processes that are killed when they take too long.

Votes are cast for canonical strings, never by comparing pairs: equality as math-verify sees it is not transitive. The
score of a completion is whether it equals the right answer by math-verify's own comparison.
"""

import asyncio
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

from sim.adapters.run_file.kinds import number, whole
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import maths_worker
from sim.adapters.scorers.processes import Pool
from sim.adapters.scoring import OK, TIMEOUT, UNREADABLE, Item, Scored, Scorer

_NAME = "math-verify (does `python -c 'import math_verify'` work?)"


@dataclass(frozen=True)
class Math(Scorer):
    """Reads the last mathematical expression.

    Attributes:
        timeout: seconds for one completion; then its process is killed.
        max_chars: of a longer completion only the end is read.
        processes: how many read at a time.
        version: of how right answers are read, so that scores kept under an earlier one are not used.
    """

    timeout: Annotated[float, number(0, 600, above=True)] = 5.0
    max_chars: Annotated[int, whole()] = 4000
    processes: Annotated[int, whole(high=64)] = field(default=2, repr=False)
    version: int = field(default=2, init=False)
    _pool: list[Pool] = field(default_factory=list, init=False, repr=False, compare=False)
    kept = True

    @classmethod
    def read(cls, table: TomlTable) -> "Math":
        """From a table of the configuration."""
        if importlib.util.find_spec("math_verify") is None:
            raise table.wrong("scorer", "is 'math', which needs the package math-verify; install iapo-testbed[math]")
        return table.options(cls)

    def right(self, gold: str) -> str:
        """The canonical string of the right answer."""
        found = _right(gold)
        if found is None:
            raise ValueError(
                f"the right answer {gold[:80]!r} is no mathematics that math-verify reads as a whole; write it in "
                r"LaTeX between dollar signs, as in $\frac{\pi}{2}$ or $\text{yes}$"
            )
        return found

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """Labels and scores; a completion that takes too long costs its time and nothing else."""
        if not self._pool:
            self._pool.append(
                Pool(self.processes, lambda: str(maths_worker.__file__), {"gold": "1", "text": "$1$"}, _NAME)
            )
        return list(await asyncio.gather(*(self._one(item.gold, text[-self.max_chars :]) for text in texts)))

    async def _one(self, gold: str | None, text: str) -> Scored:
        found = await self._pool[0].ask({"gold": gold, "text": text}, self.timeout)
        if found is None:
            return Scored(TIMEOUT)
        if found["label"] is None:
            return Scored(UNREADABLE)
        return Scored(OK, found["label"], None if found["right"] is None else float(found["right"]))

    async def close(self) -> None:
        """End all processes."""
        while self._pool:
            await self._pool.pop().close()


@lru_cache(maxsize=2**16)
def _right(gold: str) -> str | None:
    return maths_worker.canonical(maths_worker.parse_gold(gold))
