"""Racing with a paired test: prompts meet the same blocks of queries, and go when they are significantly worse.

Source: CAPO (Zehle, Schlager, Heiss and Feurer, "CAPO: cost-aware prompt optimization", 2025) races prompts on blocks
of data with a paired t-test at level .2 and no correction, up to 10 blocks. Racing with paired tests is that of F-race
and irace (Lopez-Ibanez et al., Operations Research Perspectives 2016), whose first test comes after five instances.

Each of `blocks` rounds spends an equal part of what is left on the prompts left, equally many new queries each, the
same for all, at least one. From the `first` round on, every context drops the prompts whose values lie below those of
its leader by a one-sided paired t-test of level `alpha`; each prompt counts at its best estimated scale. Every block is
a pair, weighted by its queries.

Differs from CAPO: level .1; only the race, no new prompts; all compete with the leader for one place, not for several;
N is part of the choice; the budget is hard, and spent: fewer prompts meet more queries. Pairs are means of blocks,
which cost no memory for each query. Rounds that cannot pay a query for each prompt left pull some of them and test
nothing.

Defaults were chosen among 20 configurations on development worlds (docs/results.md): mean regret over that of PSST,
geometric mean, is .66; .66 too with pulls of 12 and with a first test after 3 blocks, .67 with level .2, .69 with level
.05, .85 with pulls of Nmax, all their subsets and level .2.
"""

from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sim import draws, estimators, schedules, trim
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import CommonQueries

MOST = 64
"""Blocks, at most: sums over them fit int32."""
_FINE, _WEIGHTS = 2**9, 2**6
"""Steps of the largest difference and of the largest weight: whole numbers add up to the same bits everywhere."""


class State(NamedTuple):
    """State of a race.

    Attributes:
        left: completions not spent.
        round: rounds done.
        active: prompts left.
        queries: queries of each block; 0 where a block tests nothing.
        blocks: block sums of each block alone, leading axis block.
        table: block sums of all.
    """

    left: Int[Array, ""]
    round: Int[Array, ""]
    active: Bool[Array, "context prompt"]
    queries: Int[Array, " block"]
    blocks: estimators.BlockSums
    table: estimators.BlockSums


class PairedRacing(CommonQueries):
    """Race prompts on blocks of common queries, dropping those that a paired t-test finds worse than the leader.

    Attributes:
        blocks: rounds, at most 64.
        first: blocks before the first test, at least 2.
        alpha: level of each test, between 0 and 1/2.
    """

    pull: int = eqx.field(static=True, default=8, kw_only=True)
    estimator: str = eqx.field(static=True, default="plug-in", kw_only=True)
    blocks: int = eqx.field(static=True, default=10)
    first: int = eqx.field(static=True, default=5)
    alpha: float = eqx.field(static=True, default=0.1)

    def __check_init__(self) -> None:
        """Reject options that make no sense."""
        if not 1 <= self.blocks <= MOST or self.first < 2:
            raise ValueError(
                f"blocks is {self.blocks}, first {self.first}; they must lie in 1..{MOST} and be at least 2"
            )
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is {self.alpha}; it must lie between 0 and 0.5")

    def num_rounds(self, spec: Spec) -> int:
        """One for each block."""
        return self.blocks

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All prompts active, no data."""
        table, none = estimators.empty(spec), jnp.zeros(self.blocks, jnp.int32)
        alone = jax.tree.map(lambda leaf: jnp.zeros((self.blocks, *leaf.shape), leaf.dtype), table)
        active = jnp.ones((spec.num_contexts, spec.num_prompts), bool)
        return State(budget, jnp.int32(0), active, none, alone, table)

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last block."""
        return state.round >= self.blocks

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Equally many pulls of every prompt active in some context, at least one each if that can be paid."""
        wanted = self._wanted(spec, state)
        share = jnp.maximum(state.left // jnp.maximum(self.blocks - state.round, 1), jnp.sum(wanted))
        scale, pulls = schedules.equal_pulls(key, jnp.minimum(share, state.left), wanted)
        pulls = jnp.where(self.finished(spec, state), 0, pulls)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the block, and drop what the test finds worse than the leader."""
        paired = state.left >= jnp.sum(self._wanted(spec, state))
        queries = state.queries.at[state.round].set(jnp.where(paired, jnp.max(allocation.pulls), 0), mode="drop")
        own = estimators.add(estimators.empty(spec), allocation, stats)
        alone = jax.tree.map(lambda all_, one: all_.at[state.round].set(one, mode="drop"), state.blocks, own)
        table = estimators.add(state.table, allocation, stats)
        running = ~self.finished(spec, state)
        worse = self._worse(key, spec, state.active, queries, alone, table) & running & paired
        left = state.left - allocation.completions
        return State(left, state.round + running.astype(jnp.int32), state.active & ~worse, queries, alone, table)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The active prompts and the estimates of all arms."""
        return estimators.standing(spec, state.table, state.active)

    def arms_left(self, spec: Spec, state: State) -> int:
        """All scales of the active prompts, in the context with most."""
        return spec.max_scale * int(state.active.sum(axis=1).max())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best arm of the prompts left, ties at random."""
        return trim.best_estimate(key, spec, estimators.value(spec, state.table), state.active)

    def _wanted(self, spec: Spec, state: State) -> Int[Array, " prompt"]:
        """Completions that one query costs, prompt by prompt."""
        return jnp.any(state.active, axis=0).astype(jnp.int32) * self.max_pull(spec)

    def _worse(
        self,
        key: Key,
        spec: Spec,
        active: Bool[Array, "context prompt"],
        queries: Int[Array, " block"],
        alone: estimators.BlockSums,
        table: estimators.BlockSums,
    ) -> Bool[Array, "context prompt"]:
        """Which prompts are significantly worse than the leader of a context."""
        value = estimators.value(spec, table)
        scale = jnp.argmax(value, axis=2).astype(jnp.int32)
        arms = jnp.arange(spec.num_prompts, dtype=jnp.int32)[None] * spec.max_scale + scale
        leader = trim.pick(jnp.max(value, axis=2), draws.order(key, scale.shape), active)
        steps = jax.vmap(lambda block: estimators.steps_at(spec, block, arms))(alone)
        best = jnp.take_along_axis(steps, leader[None, :, None], axis=2)
        differs = jnp.where(queries[:, None, None] > 0, best - steps, 0)
        return exceeds(differs, queries, jnp.asarray(levels(self.blocks, self.first, self.alpha)))


def exceeds(
    differs: Int[Array, "block *item"], queries: Int[Array, " block"], level: Float[Array, " number"]
) -> Bool[Array, "*item"]:
    """Whether the mean difference is significantly above 0, by a t-test on block means weighted by their queries.

    With W = sum of weights w, A = sum of w d and Q = sum of w d^2 over m blocks, t^2 = (m - 1) A^2 / (W Q - A^2): above
    the quantile t_m exactly where A^2 > W Q t_m^2 / (m - 1 + t_m^2).

    Args:
        differs: differences of block means, 0 where a block has no queries; in any unit.
        queries: of each block.
        level: the last factor, by the number of blocks with queries.
    """
    shape = (-1,) + (1,) * (differs.ndim - 1)
    most = jnp.maximum(jnp.max(jnp.abs(differs), axis=0, keepdims=True), 1)
    fine = jnp.round(differs.astype(jnp.float32) / most.astype(jnp.float32) * _FINE)
    largest = jnp.maximum(jnp.max(queries), 1).astype(jnp.float32)
    weight = jnp.maximum(jnp.round(queries.astype(jnp.float32) / largest * _WEIGHTS), jnp.float32(1.0))
    weight = jnp.where(queries > 0, weight, jnp.float32(0.0)).astype(jnp.int32)
    whole = fine.astype(jnp.int32)
    first = jnp.sum(weight.reshape(shape) * whole, axis=0).astype(jnp.float32)
    second = jnp.sum(weight.reshape(shape) * whole * whole, axis=0).astype(jnp.float32)
    factor = level[jnp.sum((queries > 0).astype(jnp.int32))] * jnp.sum(weight).astype(jnp.float32)
    return (first > 0) & (first * first > factor * second)


@lru_cache(8)
def levels(blocks: int, first: int, alpha: float) -> Float[np.ndarray, " number"]:
    """Factor t^2 / (m - 1 + t^2) of the test by the number m of blocks; 2, which nothing exceeds, before the first."""
    from scipy.special import stdtrit

    found = np.full(blocks + 1, 2.0)
    for number in range(first, blocks + 1):
        square = stdtrit(number - 1, 1 - alpha) ** 2
        found[number] = square / (number - 1 + square)
    return found.astype(np.float32)
