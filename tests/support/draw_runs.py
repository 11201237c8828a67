"""Draws from a local server: prompts, pulls, prices, and what is right."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from live_server import KEY, Model, serving

from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.paid.sampler import Sampler, Want, cell_of
from sim.adapters.run_file.settings import Caps, Concurrency, Endpoint, Prices, Prompt
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.retry import Clock

PROMPT = Prompt("p", "{query}?", "", "m", 30, 1.0, None, None)


PRICES = {"m": Prices(3, 7)}


FREE = Caps(10**9, None, None)


def endpoint(url: str, max_n: int = 16, timeout: float = 600.0) -> Endpoint:
    return Endpoint(url, "", timeout, 1000.0, max_n, "max_tokens", True, 64, Concurrency(16, 1, 64))


def wants(url_endpoint: Endpoint, pulls: Sequence[tuple[str, int]], base: int = 1000) -> list[Want]:
    """Pulls (query, scale) as an algorithm plans them: seeds in one row, numbers within a cell one after the other."""
    used: Counter[str] = Counter()
    made, seed = [], base
    for query, scale in pulls:
        made.append(Want(PROMPT, cell_of("tune", url_endpoint, PROMPT, query), used[query], scale, seed))
        used[query] += scale
        seed += scale
    return made


class Outcome:
    """What a run of some pulls left behind."""

    def __init__(self, draws: list, spent: Amount, limit: int):
        self.draws, self.spent, self.limit = draws, spent, limit

    @property
    def texts(self) -> list[list[str]]:
        return [[draw.text for draw in pull] for pull in self.draws]


def sample(
    model: Model,
    pulls: Sequence[tuple[str, int]],
    path: Path | str = ":memory:",
    caps: Caps = FREE,
    max_n: int = 16,
    timeout: float = 600.0,
    key: str = KEY,
    check: Callable[[Sampler], None] = lambda sampler: None,
    most: int = 64,
) -> Outcome:
    """All pulls at once, with waits that take no time."""

    async def quick(seconds: float) -> None:
        now[0] += seconds
        await asyncio.sleep(0)

    now = [0.0]

    async def everything(url: str) -> Outcome:
        where = replace(endpoint(url, max_n, timeout), concurrency=Concurrency(min(16, most), 1, most))
        journal, client = Journal(path), OpenAIClient(where, key)
        ledger = Ledger(caps, journal.charged())
        clock = Clock(lambda: now[0], quick, random.Random(0))
        sampler = Sampler(client, where, PRICES, journal, ledger, clock)
        try:
            found = await asyncio.gather(*map(sampler.draws, wants(where, pulls)), return_exceptions=True)
            for one in found:
                if isinstance(one, BaseException):
                    raise one
            check(sampler)
            assert ledger.held == Amount()
            assert journal.charged() == ledger.spent
            return Outcome(found, ledger.spent, sampler.most_choices("m"))
        finally:
            await client.close()
            journal.close()

    with serving(model) as url:
        return asyncio.run(everything(url))


PULLS = [("a", 5), ("b", 20), ("a", 3), ("c", 1)]


def right(model: Model, pulls: Sequence[tuple[str, int]] = PULLS) -> list[list[str]]:
    """What a server with sub-seeds answers when every draw has its own seed."""
    texts, seed = [], 1000
    for query, scale in pulls:
        texts.append([model.answer(f"{query}?", seed + j) for j in range(scale)])
        seed += scale
    return texts


HOSTILE = ["\x00", "\ud800", "\x1b[31m", "'; DROP TABLE draws; --", "=1+1", "a\r\nb", "\u202e", "", "x" * 10**6]


UNBILLED = ("429", "503")


BILLED = (
    "billed-408",
    "billed-500",
    "billed-502",
    "billed-reset",
    "half",
    "billed-html",
    "billed-null",
    "billed-empty",
)
