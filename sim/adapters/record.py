"""Live completions to an environment in the open format, so that everything the testbed does works on the user's task.

`record` asks for the same number of completions of every prompt on every query, as the paper built its environments
(Mahmud et al., arXiv 2508.10030, section 5: 128 each). `replay` takes what a tuning run happened to see.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sim.adapters.live import RunStep, in_parallel, jobs_of
from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.sampler import Want, cell_of, consecutive, runs
from sim.adapters.scoring import Item, Scored
from sim.adapters.session import Session
from sim.adapters.tune import completion_cost
from sim.envs.dataset import Dataset
from sim.envs.logs import Columns, Contexts, from_log

UNREAD = "(unreadable)"
"""The answer of completions that cannot be read; no query has it as its right answer."""


def wants_of(live: Session, items: Sequence[Item], count: int) -> list[Want]:
    """`count` completions of every prompt on every query, prompts in the outer loop."""
    config = live.config
    total = len(config.prompts) * len(items) * count
    seed = live.seeds("record", total, items)
    return consecutive("record", config.endpoints, config.prompts, items, count, seed)


def record(live: Session, items: Sequence[Item], wanted: Sequence[Want], report: Callable[[RunStep], None]) -> Dataset:
    """Ask for as many completions of every prompt on every query, and make an environment of them.

    Raises:
        Stopped: the run cannot go on; started again, it goes on where it stopped.
    """
    wants = list(zip(wanted, [*items] * len(live.config.prompts), strict=True))
    rows: list[list[dict[str, Any]]] = [[] for _ in wants]
    done = 0

    async def one(place: int) -> None:
        nonlocal done
        want, item = wants[place]
        rows[place] = await _rows(live, want.cell, item, await live.sampler.draws(want))
        done += 1
        report(RunStep(0, done, len(wants)))

    live.loop.run(live.reader.gather(live.sampler, wanted, [item for _, item in wants]))
    live.loop.run(in_parallel(jobs_of(wanted, one), live.sampler))
    return _environment(live, [row for part in rows for row in part], f"{wanted[0].count} completions each")


def replay(live: Session, items: Sequence[Item], stream: str = "tune") -> tuple[Dataset, str]:
    """An environment of the completions that the journal has of a stream, and what had to be left out.

    Every prompt needs completions of every query. Of the prompts, the most asked ones are kept, as many as make the
    largest table of (prompt, query) without a gap.

    Raises:
        ValueError: no two prompts share a query.
    """
    config = live.config
    cells = {
        (p, x): cell_of(stream, config.endpoint_of(prompt), prompt, item.text, item.fields)
        for p, prompt in enumerate(config.prompts)
        for x, item in enumerate(items)
    }
    have = live.journal.counts()
    counts = np.zeros((len(config.prompts), len(items)), int)
    for place, cell in cells.items():
        counts[place] = have.get(cell.digest, 0)
    order = np.argsort(-(counts > 0).sum(axis=1), kind="stable")
    sizes = [(m * int((counts[order[:m]] > 0).all(axis=0).sum()), m) for m in range(1, len(order) + 1)]
    best, kept = max((size for size in sizes if size[1] > 1), default=(0, 0))
    if best == 0:
        raise ValueError(f"{config.journal}: no two prompts have completions of the same query; record instead")
    prompts = sorted(map(int, order[:kept]))
    queries = np.flatnonzero((counts[prompts] > 0).all(axis=0)).tolist()

    async def read() -> list[dict[str, Any]]:
        rows = []
        for p in prompts:
            for x in queries:
                draws = await live.journal.draws(cells[p, x], 0, 2**31)
                for first, count in runs(sorted(draws), len(draws)):  # scores are kept by numbers, which have gaps
                    own = [draws[number] for number in range(first, first + count)]
                    rows += await _rows(live, cells[p, x], items[x], own, first)
        return rows

    dropped = [config.prompts[p].name for p in range(len(config.prompts)) if p not in prompts]
    left = f"{len(items) - len(queries)} of {len(items)} queries"
    if dropped:
        left += f" and the prompts {', '.join(dropped)}"
    made = _environment(live, live.loop.run(read()), f"replay of {stream}")
    return made, left


async def _rows(live: Session, cell: Asked, item: Item, draws: Sequence[Draw], first: int = 0) -> list[dict[str, Any]]:
    """A row per completion, draws first, first + 1, .., as `sim.envs.logs` takes them, without its cost."""
    found = await live.reader.read(cell, first, item, cell.prompt, draws)
    rows = []
    for place in range(len(draws)):
        row: dict[str, Any] = {"prompt": cell.prompt, "query": cell.query, "cell": cell.digest}
        for objective, scored in zip(live.config.objectives, found, strict=True):
            row[f"o {objective.name}"] = _entry(objective.aggregate, scored[place], objective.unreadable)
            if objective.aggregate == "mv":
                row["gold"] = objective.scorer.right(item.gold or "")
        rows.append(row)
    return rows


def _entry(aggregate: str, scored: Scored, unreadable: float) -> str | float:
    if aggregate == "mv":
        return UNREAD if scored.label is None else scored.label
    return unreadable if scored.value is None else scored.value


def _environment(live: Session, rows: list[dict[str, Any]], origin: str) -> Dataset:
    """Rows to a data set; a prompt's cost is configured, or the mean that the server reported."""
    config = live.config
    frame = pd.DataFrame(rows, dtype=object)  # text of answers may be such that Arrow, which is UTF-8, cannot hold
    costs = {}
    for prompt in config.prompts:
        own = frame.loc[frame["prompt"] == prompt.name, "cell"].unique()
        if len(own) == 0:
            continue
        usage = live.journal.usage([bytes(cell) for cell in own]) if prompt.cost is None else None
        if usage is None and prompt.cost is None:
            raise ValueError(
                f"the server reports no usable token counts for prompt {prompt.name!r}; what came is kept: give the "
                "prompt a cost in the configuration, and the same command asks for nothing twice"
            )
        costs[prompt.name] = prompt.cost if usage is None else completion_cost(config, prompt, *usage)
    frame["cost"] = [costs[name] for name in frame["prompt"]]
    how = tuple(one.aggregate for one in config.objectives)
    columns = Columns(
        tuple(f"o {one.name}" for one in config.objectives), how, "gold" if config.votes else None, "cost"
    )
    contexts = Contexts(
        np.array([context.weights for context in config.contexts], np.float64),
        np.array([context.cost_weight for context in config.contexts], np.float64),
        tuple(context.name for context in config.contexts),
    )
    data = from_log(frame, columns, contexts, max_scale=config.max_scale, name=config.name)
    probabilities = np.array([context.probability for context in config.contexts])
    source = {"source": f"live completions ({origin})", "models": sorted({prompt.model for prompt in config.prompts})}
    if len(config.endpoints) > 1:
        source["endpoints"] = sorted(one.base_url for one in config.endpoints.values())
    parts = {"tie": config.tie, "context_probs": probabilities, "provenance": data.provenance | source}
    return replace(data, pair_costs=None, **parts)  # those above are the prompts' own
