"""States made by hand for the rules that define the baselines: one tiny world, and what follows in plain NumPy."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from helpers import make_spec

from sim.algorithms.sequential import Sequential
from sim.core import Algorithm, Allocation, Policy, Spec, Stats
from sim.kernels import counter

TASK, WEIGHT = (0, 1, 1), np.array([1.0, 1.0, 2.0])
COST = np.array([[0, 0, 0, 0], [1, 2, 3, 5], [7, 1, 4, 2]]) / 64
SPEC = eqx.tree_at(lambda spec: spec.task_weight, make_spec(4, 4, COST, TASK), jnp.asarray(WEIGHT, jnp.float32))
SCALES = np.arange(1, 5)
"""Two tasks in three contexts of different weight and cost; 4 prompts at N <= 4."""
KEYS = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(0), jnp.arange(3000))
"""What holds without a draw is asserted for each."""


@functools.partial(jax.jit, static_argnums=0)
def _each(method: str, keys: jax.Array, spec: Spec, algorithm: Algorithm, *rest: Any) -> Any:
    return jax.vmap(lambda key: getattr(algorithm, method)(key, spec, *rest))(keys)


def allocate(algorithm: Algorithm, state: Any) -> Allocation:
    return _each("allocate", KEYS, SPEC, algorithm, state)


def update(algorithm: Algorithm, state: Any, allocation: Allocation, stats: Stats) -> Any:
    return _each("update", KEYS, SPEC, algorithm, state, allocation, stats)


def recommend(algorithm: Algorithm, state: Any) -> Policy:
    return _each("recommend", KEYS, SPEC, algorithm, state)


def values(total: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """w[c] * mean reward of the context's task - n * cost[c, p]; -inf without a block."""
    found = np.full((3, 4, 4), -np.inf)
    for c, p, n in np.argwhere(np.broadcast_to(blocks > 0, found.shape)):
        found[c, p, n] = WEIGHT[c] * total[TASK[c], p, n] / blocks[p, n] - (n + 1) * COST[c, p]
    return found


def kept(score: np.ndarray, count: int) -> np.ndarray:
    """Mask of the `count` best of every row; the cut must be no tie."""
    ranked = np.sort(score, axis=1)[:, ::-1]
    assert np.all(ranked[:, count - 1] - ranked[:, count] > 1e-4)
    return score >= ranked[:, count - 1 : count]


def table(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Block sums per task and numbers of blocks: every arm pulled, means all different within a task."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 9, (4, 4))
    return np.stack([rng.permutation(16).reshape(4, 4) / 4 - 2 for _ in range(2)]) * blocks, blocks


def stats(total: np.ndarray, blocks: np.ndarray) -> Stats:
    return Stats(jnp.asarray(np.moveaxis(total, 0, 1), jnp.float32), jnp.asarray(blocks, jnp.float32))


def one(batch: Any) -> Any:
    """The first key's result."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[0]), batch)


def budget(completions: int) -> jax.Array:
    return jnp.int32(completions)


@jax.jit
def weights_of(rule: Sequential, words: jax.Array, value: jax.Array, blocks: jax.Array, fits: jax.Array) -> jax.Array:
    return jax.vmap(lambda word: rule.weights(SPEC, jnp.int32(1), word, value, blocks, fits))(words)


def weights(rule: Sequential, value: np.ndarray, blocks: np.ndarray, fits: np.ndarray) -> np.ndarray:
    """The rule's weights for 1,024 words that cut the unit interval into equal parts."""
    value = np.where(blocks > 0, value, -np.inf)
    words = jnp.arange(1024, dtype=jnp.uint32) << 22
    given = (jnp.asarray(value, jnp.float32), jnp.asarray(blocks, jnp.float32), jnp.asarray(fits))
    return np.asarray(weights_of(rule, words, *given))
