"""The tiny worlds of the checks, and their exact values by every tape of completions."""

import itertools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sim import instances
from sim.core import Algorithm, Environment, Key, Queries, Spec
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.envs.sources import FixedSource, fixed
from sim.kernels import counter

LANES = 64
"""Trials in progress at a time: few, so that some lanes are taken over by other trials."""


def arena(kind: str = "drawn", seed: int = 0) -> Dataset:
    """One shape for every algorithm, so that each compiles once: 4 prompts, 3 queries of different weight, N <= 4.

    A vote and a best-of objective in three contexts of two tasks. Kinds: "drawn" at random; "easy", where prompt 1 is
    nearly always right and the others nearly never; "symmetric", where nothing tells the prompts apart.
    """
    rng = np.random.default_rng(seed)
    probs, scores, costs = rng.dirichlet(np.ones(4), (4, 3)), rng.uniform(-1, 1, (4, 3, 4)), rng.uniform(0.01, 0.1, 4)
    if kind != "drawn":
        scores, costs = np.tile([1.0, 0.0, 0.0, 0.0], (4, 3, 1)), np.full(4, 0.01)
        rows = {"easy": [[0.04, 0.32, 0.32, 0.32], [0.94, 0.02, 0.02, 0.02]], "symmetric": [[0.4, 0.2, 0.2, 0.2]] * 2}
        probs = np.tile(np.array(rows[kind])[[0, 1, 0, 0], None], (1, 3, 1))
    return Dataset(
        name=f"arena-{kind}",
        aggregate=("mv", "bon"),
        probs=probs,
        values=np.stack([np.broadcast_to([0.0, 1.0, 2.0, 1.0], scores.shape), scores], axis=-1),
        answers=np.zeros(3, int),
        objective_weights=np.array([[1.0, 0.5], [2.0, 1.0], [0.2, 1.0]]),
        cost_weights=np.array([0.0, 0.5, 1.0]),
        costs=costs,
        max_scale=4,
        query_weights=np.array([1.0, 2.0, 1.5]),
    )


def tiny_values(data: Dataset) -> Float[np.ndarray, "context prompt scale"]:
    """Exact values of a tiny world of votes and best of N, over every tape of completions: M**N of them."""
    probs, values = data.gold_first()
    assert values is not None
    found = np.zeros((data.num_contexts, data.num_prompts, data.max_scale))
    for n in range(1, data.max_scale + 1):
        tapes = np.array(list(itertools.product(range(probs.shape[2]), repeat=n)))
        chance = probs[:, :, tapes].prod(axis=-1)
        for k, how in enumerate(data.aggregate):
            drawn = values[:, :, tapes, k]
            score = drawn.max(axis=-1)
            if how == "mv":  # the right answer has label 0
                votes = np.stack([(drawn == label).sum(axis=-1) for label in np.unique(values[..., k])])
                score = (votes[0] == votes.max(axis=0)) / (votes == votes.max(axis=0)).sum(axis=0)
            reward = (chance * score).sum(axis=-1) @ data.query_distribution
            found[:, :, n - 1] += data.objective_weights[:, k, None] * reward
        found[:, :, n - 1] -= n * data.cost_weights[:, None] * data.costs
    return found


def source_of(data: Dataset) -> FixedSource:
    """Trials on all queries of a tiny world, to train and to test."""
    source = fixed(data, 1.0).source
    assert isinstance(source, FixedSource)
    return source


def drawn_spec() -> Spec:
    """Everything that an algorithm knows of the drawn arena."""
    return source_of(arena()).environment.spec


def run_trials(data: Dataset, algorithm: Algorithm, budget: int, trials: int, **rest: Any) -> runner.Trials:
    """Trials on all queries of a tiny world, on few lanes so that some are taken over."""
    settings: dict[str, Any] = {"seed": 0, "chunk": LANES} | rest
    return runner.run_trials(source_of(data), algorithm, budget, trials=trials, **settings)


def rehearse(data: Dataset, algorithm: Algorithm, budget: int, strict: bool = False) -> runner.Trials:
    """Trials as those of `run_trials`, each round of which is watched before it is pulled.

    Raises:
        Broken: a limit is not kept.
    """
    return runner.rehearse(source_of(data), algorithm, budget, seed=0, trials=LANES, chunk=LANES, strict=strict)


def same(left: Any, right: Any) -> bool:
    """Whether two trees have equal structure and bits (NaN equals NaN)."""
    if jax.tree.structure(left) != jax.tree.structure(right):
        return False
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b) for a, b in pairs)


def trial(number: int) -> tuple[Environment, Queries, Key]:
    """The world, the queries and the key of a trial on the drawn arena."""
    key = instances.trial_key(0, number)
    world, train, _ = instances.instance(source_of(arena()), key)
    return world, train, counter.fold(key, instances.RUN)
