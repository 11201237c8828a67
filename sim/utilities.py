"""Completions to task rewards: majority vote, best of N, mean, and any mix of the three.

Source: Mahmud et al. (arXiv 2508.10030), section 3. A strategy aggregates each objective in its own way:

* "mv": the objective holds answer labels; reward w * 1[gold among the most voted] / (number tied).
* "bon": the best completion counts, by the weighted sum of all "bon" objectives.
* "mean": the mean over the completions, as an inference-agnostic method optimises.

The cost, an objective of its own in the paper, is known per prompt and kept apart (`core.Spec.cost`).

Differs from the paper: rewards of a block are rounded to 2**-16 of the task's bound. Sums of rewards
are then sums of integers, exact in any order, so that chunking, devices and the host loop agree.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int

from sim.constants import GOLD
from sim.core import REWARD_UNIT


class Strategy(eqx.Module):
    """Strategy that turns completions into task rewards.

    Attributes:
        aggregate: "mv", "bon" or "mean" for every objective.
        num_answers: number of answer labels; label 0 is the right one. 1 where nothing is voted on.
        tie: credit of the right answer among t most voted: "uniform" 1/t, "half" 0.5 for t > 1 (the
            released code's rule).
        weights: objective weights of every task.
        unit: reward of one integer unit of every task; powers of two.
        shift, scale: how outcomes are measured, one number for each objective; empty where they are taken as they are.
    """

    aggregate: tuple[str, ...] = eqx.field(static=True)
    num_answers: int = eqx.field(static=True)
    tie: str = eqx.field(static=True)
    weights: Float[Array, "task objective"]
    unit: Float[Array, " task"]
    shift: tuple[float, ...] = eqx.field(static=True, default=())
    scale: tuple[float, ...] = eqx.field(static=True, default=())

    @property
    def in_units(self) -> Float[Array, "task objective"]:
        """Objective weights in integer units (exact: units are powers of two)."""
        return self.weights / self.unit[:, None]

    def measured(self, outcomes: Float64[np.ndarray, "*shape objective"]) -> Float32[np.ndarray, "*shape objective"]:
        """Outcomes as rewards are computed from: (value - shift) / scale. Labels of a vote stay."""
        if not self.scale:
            return np.asarray(outcomes, np.float32)
        vote = np.array([how == "mv" for how in self.aggregate])
        shift, scale = np.where(vote, 0.0, self.shift), np.where(vote, 1.0, self.scale)
        return (np.where(scale > 0, outcomes - shift, 0.0) / np.where(scale > 0, scale, 1.0)).astype(np.float32)

    def columns(self, aggregate: str) -> tuple[int, ...]:
        """Indices of the objectives that are aggregated this way."""
        return tuple(k for k, how in enumerate(self.aggregate) if how == aggregate)


class Tasks(NamedTuple):
    """Contexts factored into tasks: weights[c] = factor[c] * directions[index[c]] (host arrays)."""

    index: tuple[int, ...]
    factor: np.ndarray
    directions: np.ndarray


def tasks_of(weights: np.ndarray) -> Tasks:
    """Group contexts whose objective weights differ only by a positive factor.

    Args:
        weights: objective weights, shape (context, objective), float64.
    """
    factor = np.abs(weights).sum(axis=1)
    factor = np.where(factor > 0, factor, 1.0)
    directions = weights / factor[:, None]
    mantissa, exponent = np.frexp(directions)  # digits, not decimals: a small weight may be that of large values
    alike = np.ldexp(np.round(mantissa, 12), exponent) + 0.0
    _, first, inverse = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # tasks in order of first appearance
    rank = np.argsort(order)
    index = tuple(int(rank[i]) for i in np.ravel(inverse))
    return Tasks(index, factor, directions[first[order]])


def power_above(size: float) -> float:
    """The smallest power of two that is not below a positive number."""
    mantissa, exponent = np.frexp(size)
    return float(np.ldexp(1.0, exponent - (mantissa == 0.5)))


def reward_unit(bound: float) -> float:
    """The integer unit of task rewards bounded by `bound` in absolute value: a power of two."""
    return power_above(max(bound, 2.0**-100) if bound > 0 else 1.0) * REWARD_UNIT


def credit_units(strategy: Strategy, gold_votes: Array, other_votes: Array | list[Array]) -> Array:
    """Majority-vote credit in integer units, before the objective's weight.

    Args:
        strategy: gives the tie rule and the unit.
        gold_votes: votes of the right answer, any shape.
        other_votes: votes of every other answer, each like `gold_votes`.

    Returns:
        Float array of `gold_votes`'s shape: credit 1/t, 1/2 or 0.
    """
    zero = jnp.zeros_like(gold_votes)
    beaten, tied = gold_votes <= zero, zero
    for votes in other_votes:
        beaten = beaten | (votes > gold_votes)
        tied = tied + (votes == gold_votes).astype(tied.dtype)
    share = 1.0 / (1.0 + tied.astype(jnp.float32))
    if strategy.tie == "half":
        share = jnp.where(tied > 0, jnp.float32(0.5), jnp.float32(1.0))
    return jnp.where(beaten, jnp.float32(0.0), share)


def rounded(reward: Float[Array, "..."]) -> Int[Array, "..."]:
    """Round a reward in integer units (one product, no sum: the same bits however it is compiled)."""
    return jnp.round(reward).astype(jnp.int32)


def block_units(
    strategy: Strategy, outcomes: Float[Array, "max_scale objective"], scale: Int[Array, ""]
) -> Int[Array, "task max_scale"]:
    """Sum of task rewards over the disjoint blocks of one pull, for every scale. The plain version.

    A pull of n completions is cut into floor(n / k) disjoint blocks for scale k (PSST, reuse across
    scales). `sim.kernels.blocks` computes the same integers for many pulls at once.

    Args:
        strategy: how completions become rewards.
        outcomes: a row per completion; rows from `scale` on are padding.
        scale: completions in the pull.

    Returns:
        Integer sums, entry [w, k - 1] for task w and scale k, zero where k > scale.
    """
    max_scale = outcomes.shape[0]
    sums = []
    for k in range(1, max_scale + 1):
        num_blocks = max_scale // k
        blocks = outcomes[: num_blocks * k].reshape(num_blocks, k, -1)
        whole = (jnp.arange(1, num_blocks + 1) * k) <= scale
        units = jnp.stack([reward_units(strategy, block) for block in blocks])
        sums.append(jnp.sum(jnp.where(whole[:, None], units, 0), axis=0))
    return jnp.stack(sums, axis=1)


def reward_units(strategy: Strategy, block: Float[Array, "completion objective"]) -> Int[Array, " task"]:
    """Task rewards of one block of completions, in integer units."""
    size = block.shape[0]
    reward = jnp.zeros(strategy.weights.shape[0], jnp.int32)
    for k in strategy.columns("mv"):
        votes = jnp.stack([jnp.sum(block[:, k] == label) for label in range(strategy.num_answers)])
        credit = credit_units(strategy, votes[GOLD], votes[1:])
        reward = reward + rounded(strategy.in_units[:, k] * credit)
    best = strategy.columns("bon")
    if best:
        score = sum(rounded(strategy.in_units[None, :, k] * block[:, k, None]) for k in best)
        reward = reward + jnp.max(score, axis=0)
    for k in strategy.columns("mean"):
        total = jnp.sum(rounded(strategy.in_units[None, :, k] * block[:, k, None]), axis=0)
        reward = reward + (2 * total + size) // (2 * size)
    return reward
