"""Small worlds for tests."""

from typing import Any

import numpy as np

from sim.envs.dataset import Dataset


def world(aggregate: tuple[str, ...] = ("mv",), full: bool = True) -> Dataset:
    """A random world with 3 prompts, 5 queries, 4 outcomes, 2 contexts."""
    rng = np.random.default_rng(7)
    fields: dict[str, Any] = {}
    if aggregate != ("mv",):
        fields["values"] = rng.integers(4, size=(3, 5, 4, len(aggregate))).astype(np.float64)
    if "mv" in aggregate:
        fields["answers"] = rng.integers(4, size=5)
    if full:
        fields |= {
            "context_probs": np.array([0.25, 0.75]),
            "query_weights": rng.uniform(0.5, 1.5, 5),
            "test": np.arange(5) >= 3,
            "completions": rng.integers(1, 129, (3, 5)),
            "pair_costs": np.arange(15.0).reshape(3, 5),
            "tie": "half",
            "prompt_names": ("plain", "step by step", "Gedächtnis"),
            "context_names": ("cheap", "dear"),
            "provenance": {"source": "a test", "numbers": [1, 0.5, None]},
        }
    return Dataset(
        name="tiny world",
        aggregate=aggregate,
        probs=rng.dirichlet(np.ones(4), (3, 5)),
        objective_weights=rng.uniform(size=(2, len(aggregate))),
        cost_weights=rng.uniform(size=2),
        costs=rng.uniform(size=3),
        max_scale=6,
        **fields,
    )


def scored(success: np.ndarray, rewards: tuple[float, float] = (0.0, 1.0), **fields: object) -> Dataset:
    """One completion a pull, worth rewards[1] with probability success[p] or success[p, x]."""
    success = np.asarray(success, np.float64).reshape(len(success), -1)
    values = np.broadcast_to(np.array(rewards)[:, None], (*success.shape, 2, 1)).copy()
    given = {"cost_weights": np.zeros(1), "costs": np.zeros(len(success)), "max_scale": 1, "values": values}
    probs = np.stack([1 - success, success], axis=2)
    return Dataset("scored", ("bon",), probs, np.ones((1, 1)), **(given | fields))
