"""Completions of many pulls as votes, ranked scores and sums: all that a pull says, whatever is estimated from it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from sim.core import Pull
from sim.kernels import blocks
from sim.raw import Raw
from sim.utilities import Strategy


def raw(strategy: Strategy, outcomes: Array, scales: Int[Array, " row"]) -> Raw:
    """Votes of every answer, scores from the lowest up, and sums of what is averaged, of every pull.

    Args:
        strategy: how completions become rewards.
        outcomes: shape (width, objective, row); int or float.
        scales: completions in each pull; later rows of `outcomes` are padding.
    """
    width, _, num_rows = outcomes.shape
    num_tasks = strategy.weights.shape[0]
    inside = jnp.arange(width, dtype=jnp.int32)[:, None] < scales[None]
    votes, ranked = jnp.zeros((num_rows, 0), jnp.int32), jnp.zeros((num_rows, num_tasks, 0), jnp.int32)
    total = jnp.zeros((num_rows, 0), jnp.int32)
    for k in strategy.columns("mv"):  # one at most
        cast = [(outcomes[:, k] == label) & inside for label in range(strategy.num_answers)]
        votes = jnp.stack([jnp.sum(own.astype(jnp.int32), axis=0) for own in cast], axis=1)
    best = strategy.columns("bon")
    if best:
        score = sum(blocks.scores(strategy, outcomes, k) for k in best)
        beyond = jnp.iinfo(jnp.int32).max
        in_order = jnp.sort(jnp.where(inside[:, None], score, beyond), axis=0)
        ranked = jnp.transpose(jnp.where(inside[:, None], in_order, 0), (2, 1, 0))
    averaged = strategy.columns("mean")
    if averaged:
        score = sum(blocks.scores(strategy, outcomes, k) for k in averaged)
        total = jnp.sum(jnp.where(inside[:, None], score, 0), axis=0).T
    return Raw(votes, ranked, total)


def one(strategy: Strategy, pull: Pull) -> Raw:
    """`raw` of one pull."""
    found = raw(strategy, pull.outcomes[:, :, None], pull.scale[None])
    return jax.tree.map(lambda leaf: leaf[0], found)
