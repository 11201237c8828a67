"""Worlds drawn from a seed, for choosing algorithms on some and judging them on others of the same kinds.

How much prompts and queries differ is drawn too, so that what was tuned to one world need not fit the next. Sizes are
those of the kind: all its worlds run by the same programs. A world is a function of its kind, seed and number alone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

import numpy as np

from sim.envs.dataset import Dataset


class Sizes(NamedTuple):
    """Numbers of prompts and queries, the largest scale, and the number of answers or score levels."""

    prompts: int
    queries: int
    scales: int
    outcomes: int = 2


def two_answers(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Majority vote between two answers: logit of success = prompt + query + what the two have of their own."""
    return _votes(rng, sizes, _sigmoid(_logits(rng, sizes)), np.ones((sizes.queries, 1)))


def many_answers(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Majority vote between several answers; which wrong ones are popular depends on the query."""
    popular = rng.dirichlet(np.full(sizes.outcomes - 1, rng.uniform(0.3, 3)), sizes.queries)
    return _votes(rng, sizes, _sigmoid(_logits(rng, sizes) - rng.uniform(0, 1)), popular)


def clusters(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Majority vote between two answers on two to four kinds of queries, each prompt good at some of them."""
    kinds = int(rng.integers(2, 5))
    level = rng.normal(0.3, rng.uniform(0.5, 1.5), (sizes.prompts, kinds))
    logit = level[:, rng.integers(0, kinds, sizes.queries)] + rng.normal(0, 0.3, (sizes.prompts, sizes.queries))
    return _votes(rng, sizes, _sigmoid(logit), np.ones((sizes.queries, 1)))


def sure_answers(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Majority vote between two answers where completions of a query mostly say the same."""
    return _votes(rng, sizes, _sigmoid(rng.uniform(4, 8) * _logits(rng, sizes)), np.ones((sizes.queries, 1)))


def query_noise(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Majority vote between two answers where a prompt solves a query or does not, and completions all say which.

    As `sim.envs.hard.query_noise`: how many queries each prompt solves, how far prompts are apart, and how rare other
    completions are is drawn.
    """
    most = rng.uniform(0.55, 0.85)
    share = np.linspace(most - rng.uniform(0.1, 0.3), most, sizes.prompts)
    rank = rng.random((sizes.prompts, sizes.queries)).argsort(axis=1).argsort(axis=1)
    rare = np.exp(rng.uniform(np.log(0.003), np.log(0.03)))
    solved = rank < np.round(share * sizes.queries)[rng.permutation(sizes.prompts), None]
    return _votes(rng, sizes, np.where(solved, 1 - rare, rare), np.ones((sizes.queries, 1)))


def levels(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Best of N over several score levels, whose law moves with prompt and query."""
    above = _sigmoid(_logits(rng, sizes)[:, :, None] - np.sort(rng.normal(0.5, 1.5, sizes.outcomes - 1)))
    probs = -np.diff(np.concatenate([np.ones((*above.shape[:2], 1)), above, np.zeros((*above.shape[:2], 1))], axis=2))
    scores = np.sort(rng.uniform(0, 1, sizes.outcomes))
    return _scores(rng, sizes, probs, scores[:, None], np.ones((3, 1)))


def two_objectives(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Best of N over two objectives of three levels each, which prompts trade for one another, in nine contexts."""
    trade = rng.uniform(0, 1, (sizes.prompts, 1))
    both = []
    for part in (trade, 1 - trade):
        mean = np.clip(0.15 + 0.6 * np.sqrt(part) + rng.normal(0, 0.08, (sizes.prompts, sizes.queries)), 0.02, 0.98)
        both.append(np.stack([(1 - mean) ** 2, 2 * mean * (1 - mean), mean**2], axis=2))
    probs = (both[0][:, :, :, None] * both[1][:, :, None, :]).reshape(sizes.prompts, sizes.queries, 9)
    grid = np.stack(np.meshgrid([0.0, 0.5, 1.0], [0.0, 0.5, 1.0], indexing="ij"), axis=-1).reshape(9, 2)
    weight = np.repeat([0.2, 0.5, 0.8], 3)
    return _scores(rng, sizes, probs, grid, np.stack([weight, 1 - weight], axis=1))


def rare_scores(rng: np.random.Generator, sizes: Sizes) -> Dataset:
    """Best of N where a score of 2 to 20 times the ordinary ones comes once in 30 to 1,000 completions."""
    ordinary = _sigmoid(_logits(rng, sizes))
    rate = np.exp(rng.uniform(np.log(1e-3), np.log(1 / 30), (sizes.prompts, 1)))
    rate = rate * (rng.random((1, sizes.queries)) < rng.uniform(0.2, 1))
    probs = np.stack([(1 - rate) * (1 - ordinary), (1 - rate) * ordinary, rate], axis=2)
    return _scores(rng, sizes, probs, np.array([[0.0], [1.0], [rng.uniform(2, 20)]]), np.ones((3, 1)))


class DrawnKind(NamedTuple):
    """A kind of worlds: what draws one, its sizes, and the share of queries that are trained on.

    Others are held out. Of queries that have little in common a fifth says nothing of the rest: then all are trained
    on, and answers scored on them.
    """

    maker: Callable[[np.random.Generator, Sizes], Dataset]
    sizes: Sizes
    train_fraction: float = 0.8


KINDS = {
    "two-answers": DrawnKind(two_answers, Sizes(32, 200, 32)),
    "many-answers": DrawnKind(many_answers, Sizes(24, 150, 32, 5)),
    "clusters": DrawnKind(clusters, Sizes(16, 120, 16)),
    "sure-answers": DrawnKind(sure_answers, Sizes(20, 100, 16)),
    "query-noise": DrawnKind(query_noise, Sizes(20, 100, 16), train_fraction=1.0),
    "levels": DrawnKind(levels, Sizes(24, 120, 32, 6)),
    "two-objectives": DrawnKind(two_objectives, Sizes(12, 80, 16)),
    "rare-scores": DrawnKind(rare_scores, Sizes(20, 60, 32)),
}


def draw(kind: str, seed: int, number: int) -> Dataset:
    """The world of a kind with this number among those of a seed."""
    rng = np.random.default_rng([seed, number, crc32(kind.encode())])
    return replace(KINDS[kind].maker(rng, KINDS[kind].sizes), name=f"{kind}-{seed}-{number}")


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def _logits(rng: np.random.Generator, sizes: Sizes) -> np.ndarray:
    """Effects of prompts, of queries and of both together, each of a random size; shape (prompt, query)."""
    prompt, query, both = rng.uniform([0.1, 0.3, 0.1], [0.8, 2.0, 1.0])
    own = rng.normal(0, both, (sizes.prompts, sizes.queries))
    effects = rng.normal(0, prompt, (sizes.prompts, 1)) + rng.normal(0, query, (1, sizes.queries))
    return rng.normal(0, 0.5) + effects + own


def _costs(rng: np.random.Generator, sizes: Sizes, contexts: int) -> tuple[np.ndarray, np.ndarray]:
    """Cost weights from none up, and costs that differ up to threefold: at most a quarter of the range at N = Nmax."""
    weights = np.tile([0.0, 0.3, 1.0], contexts // 3)
    return weights, rng.uniform(1, 3, sizes.prompts) / 12 / sizes.scales


def _votes(rng: np.random.Generator, sizes: Sizes, success: np.ndarray, wrong: np.ndarray) -> Dataset:
    weights, costs = _costs(rng, sizes, 3)
    return Dataset(
        name="votes",
        aggregate=("mv",),
        probs=np.concatenate([success[:, :, None], (1 - success)[:, :, None] * wrong[None]], axis=2),
        answers=np.zeros(sizes.queries, int),
        objective_weights=np.ones((3, 1)),
        cost_weights=weights,
        costs=costs,
        max_scale=sizes.scales,
        provenance={"drawn": "benchmarks/drawn_worlds.py"},
    )


def _scores(
    rng: np.random.Generator, sizes: Sizes, probs: np.ndarray, values: np.ndarray, objective_weights: np.ndarray
) -> Dataset:
    weights, costs = _costs(rng, sizes, len(objective_weights))
    return Dataset(
        name="scores",
        aggregate=("bon",) * values.shape[1],
        probs=probs / probs.sum(axis=2, keepdims=True),
        values=np.broadcast_to(values, (*probs.shape, values.shape[1])).copy(),
        objective_weights=objective_weights,
        cost_weights=weights,
        costs=costs,
        max_scale=sizes.scales,
        provenance={"drawn": "benchmarks/drawn_worlds.py"},
    )
