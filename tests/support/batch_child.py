"""A process that asks for rounds as batches until it has them all, or is killed."""

import asyncio
from pathlib import Path

from kill_child import PROMPT, PULLS, die_at
from live_server import KEY

from sim.adapters.paid.batches import Batches
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Ledger
from sim.adapters.paid.sampler import Sampler, Want, cell_of
from sim.adapters.run_file.settings import BatchOptions, Concurrency, Endpoint, Prices
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.retry import real_clock


def main(url: str, path: str, moment: str, count: int) -> None:
    """All rounds; see `kill_child.main`."""
    die_at(moment, count)
    asyncio.run(everything(url, path))


async def everything(url: str, path: str) -> None:
    """Ten rounds of four pulls, each as batches of at most three requests."""
    options = BatchOptions("24h", 0.001, False, 3, 10**8)
    endpoint = Endpoint(url, "", 600.0, 3600.0, 4, "max_tokens", True, 64, Concurrency(8, 1, 8), {}, options)
    journal, client = Journal(path), OpenAIClient(endpoint, KEY)
    sampler = Sampler(
        client,
        endpoint,
        {"m": Prices(1, 1)},
        journal,
        Ledger(None, journal.charged()),
        real_clock(asyncio.get_running_loop(), 0),
    )
    batches = Batches(sampler, client, options, Path(path).parent)
    used, seed = dict.fromkeys("abcdefghijklmnopqrst", 0), 1000
    for first in range(0, len(PULLS), 4):
        wants = []
        for query, scale in PULLS[first : first + 4]:
            wants.append(Want(PROMPT, cell_of("tune", endpoint, PROMPT, query), used[query], scale, seed))
            used[query] += scale
            seed += scale
        await batches.fetch(wants)
    await client.close()
    journal.close()
