"""Correlated Sequential Halving: arms are halved on the same queries, drawn anew every round.

Source: Baharav and Tse, "Ultra fast medoid identification via correlated sequential halving" (NeurIPS 2019), algorithm
1: Sequential Halving (Karnin, Koren and Somekh, ICML 2013) where all arms of a round are measured on the same reference
points, drawn without replacement, since differences between arms vary less than arms do. A round's estimates come from
that round alone.

Differs from the paper: reference points are queries, and a measurement is random: a round that meets every query is
not exact, and halving goes on. Arms of one prompt share its pulls at its largest active scale, and contexts share all,
as in PSST; every context halves its own arms. Rounds divide the budget in completions, not in pulls; queries are drawn
without replacement over the whole run. `fresh=false` adds up all rounds.

That is `psst:queries=common-wor,estimator=subsets,fresh=true`, what common queries alone are worth: the same answers,
bit for bit, where no estimates tie. The halving here is apart because it breaks ties otherwise, with one order of all
arms a round, where PSST draws words for its list of few arms; small budgets leave many arms tied.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import draws, estimators, schedules, trim
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import CommonQueries


class State(NamedTuple):
    """State of the halving; arms are ordered by prompt, then scale. `table` is what the last round halved by."""

    budget: Int[Array, ""]
    round: Int[Array, ""]
    active: Bool[Array, "context arm"]
    table: estimators.BlockSums


class CorrelatedHalving(CommonQueries):
    """Halve each context's arms on common queries of the round.

    Attributes:
        fresh: estimate from the last round's pulls only.
    """

    fresh: bool = eqx.field(static=True, default=True)

    def num_rounds(self, spec: Spec) -> int:
        """ceil(log2 |A|), at least 1."""
        return schedules.halvings(spec.num_arms)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All arms active, no data."""
        active = jnp.ones((spec.num_contexts, spec.num_arms), bool)
        return State(budget, jnp.int32(0), active, estimators.empty(spec))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last round."""
        return state.round >= self.num_rounds(spec)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Every prompt with an active arm, on the same queries."""
        largest = jnp.minimum(trim.largest_active(state.active, spec.num_prompts), self.max_pull(spec))
        share = schedules.allowance(state.budget, state.round, self.num_rounds(spec))
        scale, pulls = schedules.equal_pulls(key, share, largest)
        pulls = jnp.where(self.finished(spec, state), 0, pulls)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Keep the better half of every context's arms, rounded up."""
        running = ~self.finished(spec, state)
        before = estimators.empty(spec) if self.fresh else state.table
        table = estimators.add(before, allocation, stats)
        table = jax.tree.map(lambda new, old: jnp.where(running, new, old), table, state.table)
        score = estimators.value(spec, table).reshape(state.active.shape)
        half = trim.top_half(score, draws.order(key, score.shape), state.active)
        active = jnp.where(running, half, state.active)
        return State(state.budget, state.round + running.astype(jnp.int32), active, table)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The active arms and the estimates of the last round."""
        return estimators.standing(spec, state.table, state.active)

    def arms_left(self, spec: Spec, state: State) -> int:
        """The active arms, equally many in every context."""
        return int(state.active[0].sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The one arm left in every context."""
        return trim.arms(jnp.argmax(state.active, axis=1).astype(jnp.int32), spec.max_scale)
