"""Uniform allocation: every prompt at Nmax, one batch, all arms estimated by reuse.

Source: Mahmud et al., arXiv 2508.10030, section 5 (baselines).

Differs from the paper: the budget is hard; where it does not afford one pull of every prompt at Nmax,
as many prompts as fit are pulled, in a random order (`schedules.equal_pulls`). The released code overspends.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import estimators, schedules, trim
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import Estimating


class State(NamedTuple):
    """The budget until it is spent, and what came back."""

    budget: Int[Array, ""]
    table: estimators.BlockSums
    done: Bool[Array, ""]


class Uniform(Estimating):
    """Pull every prompt equally often at Nmax; recommend the best estimate of every context."""

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """Nothing pulled."""
        return State(budget, estimators.empty(spec), jnp.zeros((), bool))

    def num_rounds(self, spec: Spec) -> int:
        """One."""
        return 1

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After one round."""
        return state.done

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """floor(T / (|P| Nmax)) pulls of every prompt at Nmax."""
        largest = jnp.full(spec.num_prompts, spec.max_scale, jnp.int32)
        scale, pulls = schedules.equal_pulls(key, state.budget, largest)
        pulls = jnp.where(state.done, 0, pulls)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the pulls."""
        return State(state.budget, estimators.add(state.table, allocation, stats), jnp.ones((), bool))

    def standing(self, spec: Spec, state: State) -> Standing:
        """The estimates of all arms."""
        return estimators.standing(spec, state.table, None)

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best estimate of every context, ties at random."""
        return trim.best_estimate(key, spec, estimators.value(spec, state.table))
