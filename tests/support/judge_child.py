"""A process that probes, judges its probe, and has completions judged until it has them all, or is killed."""

import importlib
from pathlib import Path

from kill_child import die_at
from live_server import KEY

from sim.adapters import config, judge_probe, session, tune
from sim.adapters.live import in_parallel, jobs_of
from sim.adapters.paid.sampler import consecutive
from sim.adapters.wire.openai_client import OpenAIClient

importlib.import_module("pydantic")  # which takes a part of a second of every child
COUNT = 6
"""Completions of every prompt on every query."""


def main(file: str, moment: str, count: int) -> None:
    """All that a run file's prompts and judge are to say; see `kill_child.die_at`."""
    die_at(moment, count)
    run = config.load(Path(file))
    items = tune.load_items(run)
    with session.session(run, lambda endpoint: OpenAIClient(endpoint, KEY)) as live:
        tune.probe(live, items)
        judge_probe.measure(live, items)
        wants = consecutive("tune", run.endpoints, run.prompts, items, COUNT, 5000)
        each = [*items] * len(run.prompts)
        live.loop.run(live.reader.gather(live.sampler, wants, each))

        async def one(place: int) -> None:
            draws = await live.sampler.draws(wants[place])
            await live.reader.read(wants[place].cell, 0, each[place], "", draws)

        live.loop.run(in_parallel(jobs_of(wants, one), live.sampler))
