"""A process that asks for draws until it has them all, or is killed."""

import asyncio
import importlib
import os
import signal

from live_server import KEY

from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Ledger
from sim.adapters.paid.sampler import Sampler, Want, cell_of
from sim.adapters.run_file.settings import Caps, Concurrency, Endpoint, Prices, Prompt
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.retry import real_clock

LATE = ("openai.resources.batches", "openai.resources.files", "httpcore2", "h11", "anyio._backends._asyncio")
for name in LATE:  # which takes a second of every child
    importlib.import_module(name)

PROMPT = Prompt("p", "{query}?", "", "m", 30, 1.0, None, None)
PULLS = [(query, scale) for query in "abcdefghijklmnopqrst" for scale in (3, 5)]


def main(url: str, path: str, cap: int, moment: str, count: int) -> None:
    """All pulls at once, under a cap of completions; see `die_at`."""
    die_at(moment, count)
    asyncio.run(everything(url, path, cap))


def die_at(moment: str, count: int) -> None:
    """Let the process end itself by SIGKILL "before" or "after" the commit of this number; at no moment if it is ""."""
    real, left = Journal._commit, count

    def commit(journal: Journal, batch: list) -> list:
        nonlocal left
        left -= 1
        if left == 0 and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(journal, batch)
        if left == 0 and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    Journal._commit = commit


async def everything(url: str, path: str, cap: int) -> None:
    """All pulls."""
    endpoint = Endpoint(url, "", 600.0, 3600.0, 4, "max_tokens", True, 64, Concurrency(8, 1, 8))
    journal, client = Journal(path), OpenAIClient(endpoint, KEY)
    clock = real_clock(asyncio.get_running_loop(), 0)
    ledger = Ledger(Caps(cap, None, None), journal.charged())
    sampler = Sampler(client, endpoint, {"m": Prices(1, 1)}, journal, ledger, clock)
    wants, used, seed = [], dict.fromkeys("abcdefghijklmnopqrst", 0), 1000
    for query, scale in PULLS:
        wants.append(Want(PROMPT, cell_of("tune", endpoint, PROMPT, query), used[query], scale, seed))
        used[query] += scale
        seed += scale
    try:
        await asyncio.gather(*map(sampler.draws, wants))
    finally:
        await client.close()
        journal.close()
