"""Base of rules that halve the prompts, or the arms, of every context under a mask, on equally many pulls a round.

Contexts share pulls: whatever is active in some context is pulled. Rounds share the budget equally, and never exceed
it; ties are broken at random, by one order of all items a round.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import draws, estimators, schedules, trim
from sim.core import Algorithm, Allocation, Key, Spec, Standing, Stats


class State(NamedTuple):
    """State of a halving; items are prompts, or arms by prompt, then scale. The last round halved by `table`."""

    budget: Int[Array, ""]
    round: Int[Array, ""]
    active: Bool[Array, "context item"]
    table: estimators.BlockSums


class Halves(Algorithm):
    """A rule that halves items under a mask. Abstract: it gives `num_items`, `wanted`, `score` and the answer.

    Among the bases of a rule it stands last: fields of the others go before what `Algorithm` says of them.
    """

    def num_items(self, spec: Spec) -> int:
        """Items of a context: |P| or |A|."""
        raise NotImplementedError

    def wanted(self, spec: Spec, active: Bool[Array, "context item"]) -> Int[Array, " prompt"]:
        """Completions of a pull of every prompt, 0 where it is not wanted."""
        raise NotImplementedError

    def score(self, spec: Spec, table: estimators.BlockSums) -> Float[Array, "context item"]:
        """Estimate by which every item is kept or dropped."""
        raise NotImplementedError

    def kept(self, running: Bool[Array, ""], table: estimators.BlockSums) -> estimators.BlockSums:
        """Block sums of earlier rounds, as far as they count: all."""
        return table

    def keep(
        self,
        score: Float[Array, "context item"],
        tiebreak: UInt32[Array, "context item"],
        active: Bool[Array, "context item"],
    ) -> Bool[Array, "context item"]:
        """Items that stay after a round: the better half of every context's, rounded up."""
        return trim.top_half(score, tiebreak, active)

    def num_rounds(self, spec: Spec) -> int:
        """R = ceil(log2 of the items), at least 1."""
        return schedules.halvings(self.num_items(spec))

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All items active in every context, no data."""
        active = jnp.ones((spec.num_contexts, self.num_items(spec)), bool)
        return State(budget, jnp.int32(0), active, estimators.empty(spec))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After R rounds."""
        return state.round >= self.num_rounds(spec)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Equally many pulls of every prompt that is wanted."""
        share = schedules.allowance(state.budget, state.round, self.num_rounds(spec))
        scale, pulls = schedules.equal_pulls(key, share, self.wanted(spec, state.active))
        pulls = jnp.where(self.finished(spec, state), 0, pulls)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the pulls and trim."""
        running = ~self.finished(spec, state)
        table = estimators.add(self.kept(running, state.table), allocation, stats)
        score = self.score(spec, table)
        kept = self.keep(score, draws.order(key, score.shape), state.active)
        active = jnp.where(running, kept, state.active)
        return State(state.budget, state.round + running.astype(jnp.int32), active, table)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The active items and the estimates of all arms."""
        return estimators.standing(spec, state.table, state.active)
