"""Eps on new queries at one budget: all prompts on as many queries, or more queries for those that keep eps up.

Queries are drawn from a world of one vote, 32 completions of a prompt on each. The equal design spends the budget on so
many queries of every prompt, at one look. A balanced one has sizes fixed beforehand: after each look the prompts
whose bounds are largest, and the leader, meet more queries, up to the next size, as far as the budget goes. It pays for
as many looks as it has sizes. Printed, as means over draws and contexts: eps of each context by itself and of all at
once, of the asymptotic grade and at any time, and the loss of the arm chosen.

    python benchmarks/balanced_looks.py MATH_final.pkl --design 252 --design 180,360 --design 90,140,200,290,410,560
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sim.certify import Confidence, QueryEvidence, certify, evidence_of
from sim.envs import files
from sim.envs.dataset import Dataset
from theory import exact

COMPLETIONS = 32
CRITICAL = {1: 2.95, 2: 3.18, 3: 3.34, 4: 3.45, 5: 3.54, 6: 3.62}
"""About the bootstrap's critical values on MATH by the number of looks: to choose who goes on, in no statement."""


def drawn(data: Dataset, queries: int, seed: int, noise: bool = False) -> QueryEvidence:
    """Evidence of all prompts on so many queries drawn independently; `noise` as in `evidence_of`."""
    world, (probs, _), rng = data.environment(), data.gold_first(), np.random.default_rng(seed)
    below = np.cumsum(probs[:, rng.integers(0, data.num_queries, queries)], axis=2)[:, :, None, :-1]
    labels = (rng.random((data.num_prompts, queries, COMPLETIONS, 1)) > below).sum(axis=3)
    return evidence_of(
        world.strategy,
        world.spec,
        labels[..., None].astype(np.float32),
        np.full(labels.shape[:2], COMPLETIONS),
        data.costs,
        data.cost_weights,
        data.context_names,
        noise=noise,
        bounds=np.array([[0.0, 1.0]]),
    )


class Walk:
    """One draw, and how many of its queries each prompt has met."""

    def __init__(self, evidence: QueryEvidence, sizes: list[int], budget: int):
        self.utilities = [evidence.utilities(context) for context in range(len(evidence.contexts))]
        self.sizes, self.critical = sizes, CRITICAL[len(sizes)]
        self.met = np.full(evidence.num_prompts, sizes[0])
        self.left = budget // COMPLETIONS - int(self.met.sum())

    def leader(self, context: int) -> tuple[int, int]:
        """Prompt and scale index of the best estimate among prompts that have met most queries."""
        most = np.flatnonzero(self.met == self.met.max())
        means = self.utilities[context][most, : self.met.max()].mean(axis=1)
        place, scale = np.unravel_index(means.argmax(), means.shape)
        return int(most[place]), int(scale)

    def leads(self, context: int) -> tuple[int, np.ndarray, np.ndarray]:
        """The leader's prompt, and every arm's lead over it with its spread over queries, shape (prompt, scale)."""
        prompt, scale = self.leader(context)
        values, parts = self.utilities[context], []
        for other, common in enumerate(np.minimum(self.met, self.met[prompt])):
            off = values[other, :common] - values[prompt, :common, scale, None]
            parts.append((off.mean(axis=0), off.std(axis=0, ddof=1)))
        mean, spread = map(np.array, zip(*parts, strict=True))
        return prompt, mean, spread

    def go_on(self, size: int) -> None:
        """Give what is left of the budget to whoever keeps eps up, as it looks now; they meet `size` at most."""
        leads, met, left = [self.leads(context) for context in range(len(self.utilities))], self.met.copy(), self.left
        following = dict(zip(self.sizes, self.sizes[1:], strict=False))
        while True:
            common = [np.minimum(met, met[prompt])[:, None] for prompt, _, _ in leads]
            bounds = [
                (mean + self.critical * spread / np.sqrt(number)).max(axis=1)
                for (_, mean, spread), number in zip(leads, common, strict=True)
            ]
            context, other = np.unravel_index(np.argmax(bounds), np.shape(bounds))
            pair = {int(other), leads[context][0]}
            behind = [one for one in pair if met[one] == min(met[own] for own in pair)]
            cost = sum(following.get(int(met[one]), np.inf) - met[one] for one in behind)
            if cost > left:
                break
            left -= int(cost)
            for one in behind:
                met[one] = following[int(met[one])]
        met = np.maximum(np.minimum(met, size), self.met)
        self.left -= int((met - self.met).sum())
        self.met = met


def cut(evidence: QueryEvidence, met: np.ndarray) -> QueryEvidence:
    """Evidence of prompts that have met so many queries."""
    there = np.arange(evidence.num_queries) < met[:, None]
    rewards = np.where(there[None, :, :, None], evidence.rewards, np.nan)
    return replace(evidence, rewards=rewards, completions=np.where(there, evidence.completions, 0))


def ended(data: Dataset, values: np.ndarray, sizes: list[int], budget: int, seed: int) -> list[list[float]]:
    """Eps of one draw by grade, alone and together, and the loss; a number for each context."""
    evidence = drawn(data, sizes[-1], seed)
    walk = Walk(evidence, sizes, budget)
    for size in sizes[1:]:
        walk.go_on(size)
    own, contexts = cut(evidence, walk.met), range(len(evidence.contexts))
    arms = [walk.leader(context) for context in contexts]
    planned = budget // COMPLETIONS // data.num_prompts
    terms = Confidence(looks=len(sizes)), Confidence(grade="anytime", planned=planned)
    found = [
        [certify(own, c, arms[c][0], arms[c][1] + 1, one._replace(together=together)).eps for c in contexts]
        for one in terms
        for together in (1, len(contexts))
    ]
    return [*found, [float(values[c].max() - values[c][arms[c]]) for c in contexts]]


def sizes_of(text: str, most: int) -> list[int]:
    """Sizes of a design: one to six growing numbers, the first at most `most`."""
    sizes = [int(part) for part in text.split(",")] if re.fullmatch(r"\d+(,\d+)*", text) else []
    if len(sizes) not in CRITICAL or sorted({*sizes}) != sizes or not 0 < sizes[0] <= most:
        raise typer.BadParameter(
            f"is {text}; it must be one to {max(CRITICAL)} growing numbers, such as 180,360, the first in 1..{most}, "
            "which the budget pays for all prompts",
            param_hint="--design",
        )
    return sizes


def main(
    world: Annotated[Path, typer.Argument(exists=True, help="Environment of one vote, such as MATH_final.pkl.")],
    design: Annotated[list[str], typer.Option(help="Queries of a prompt at each look, in order.")],
    queries: Annotated[int, typer.Option(help="Of all prompts alike, what the budget pays.")] = 252,
    draws: Annotated[int, typer.Option(help="Independent draws of queries and completions.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the first draw.")] = 100,
) -> None:
    """Print a row for every design."""
    designs = [sizes_of(one, queries) for one in design]
    data = files.read(world)
    values, budget = exact.values(data), queries * COMPLETIONS * data.num_prompts
    print("| sizes | eps alone | together | at any time, alone | together | loss |")
    print("| --- | --- | --- | --- | --- | --- |")
    for sizes in designs:
        found = np.array([ended(data, values, sizes, budget, seed + k) for k in range(draws)])
        mean, spread = found.mean(axis=(0, 2)), found.mean(axis=2).std(axis=0, ddof=1) / np.sqrt(draws)
        cells = [", ".join(map(str, sizes)), *(f"{m:.4f} ({s:.4f})" for m, s in zip(mean, spread, strict=True))]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
