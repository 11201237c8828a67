"""Worlds that hurt statements: prompts all alike, on opposite queries, one far ahead of others, a rare difference."""

from collections.abc import Callable

import numpy as np

from sim.envs.dataset import Dataset


def all_equal() -> Dataset:
    """Three prompts alike, N <= 3: right with chance .9 on half of the queries and .3 on the others."""
    return _votes("all equal", np.tile([0.9, 0.3], (3, 1)), 3)


def opposite() -> Dataset:
    """Two prompts, N = 1: right with chance .98 on their own queries, 11 of 20 and 9 of 20, and .02 on the others."""
    own = np.arange(20) < 11
    return _votes("opposite", np.where([own, ~own], 0.98, 0.02), 1)


def one_ahead() -> Dataset:
    """Three prompts, N = 1: one that is always right, and two, with chance .6, of which either may seem too good."""
    return _votes("one ahead", np.array([[1.0], [0.6], [0.6]]), 1)


def rare() -> Dataset:
    """Two prompts, N = 1, always right, but for one query in a hundred on which the second never is."""
    chances = np.ones((2, 100))
    chances[1, 0] = 0.0
    return _votes("rare", chances, 1)


def _votes(name: str, right: np.ndarray, max_scale: int) -> Dataset:
    prompts, queries = right.shape
    return Dataset(
        name=name,
        aggregate=("mv",),
        probs=np.stack([right, 1 - right], axis=2),
        answers=np.zeros(queries, int),
        objective_weights=np.ones((1, 1)),
        cost_weights=np.zeros(1),
        costs=np.ones(prompts),
        max_scale=max_scale,
    )


WORLDS: dict[str, Callable[[], Dataset]] = {
    "all equal": all_equal,
    "opposite": opposite,
    "one ahead": one_ahead,
    "rare": rare,
}
"""By name."""
