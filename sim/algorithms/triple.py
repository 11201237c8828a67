"""TRIPLE-SH: Sequential Halving over prompts at N = 1, blind to the inference strategy.

Source: Shi et al., "Efficient prompt optimization through the lens of best arm identification" (TRIPLE,
NeurIPS 2024), on Karnin, Koren and Somekh (ICML 2013); as a baseline in Mahmud et al.,
arXiv 2508.10030, section 5, deployed with N = 1 or with N drawn uniformly.

Differs from the paper: samples accumulate over rounds, as in the released baseline; the budget is hard;
ties are broken at random. Of single completions every estimator says the same: there is no such option.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import draws, estimators, schedules, trim
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import Designed


class State(NamedTuple):
    """State of the halving of prompts."""

    budget: Int[Array, ""]
    round: Int[Array, ""]
    active: Bool[Array, "context prompt"]
    table: estimators.BlockSums


class Triple(Designed):
    """Halve the prompts of every context on single completions.

    Attributes:
        deploy: the scale of the answer: "one", or "random" for N uniform on 1..Nmax.
    """

    deploy: str = eqx.field(static=True, default="one")

    def __check_init__(self) -> None:
        """Reject options that do not exist."""
        if self.deploy not in ("one", "random"):
            raise ValueError(f"deploy is {self.deploy!r}; allowed are one, random")

    def max_pull(self, spec: Spec) -> int:
        """Single completions only."""
        return 1

    def num_rounds(self, spec: Spec) -> int:
        """ceil(log2 |P|), at least 1."""
        return schedules.halvings(spec.num_prompts)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All prompts active in every context."""
        active = jnp.ones((spec.num_contexts, spec.num_prompts), bool)
        return State(budget, jnp.int32(0), active, estimators.empty(spec))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last round."""
        return state.round >= self.num_rounds(spec)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Single completions of every prompt still active in some context."""
        share = schedules.allowance(state.budget, state.round, self.num_rounds(spec))
        scale, pulls = schedules.equal_pulls(key, share, jnp.any(state.active, axis=0).astype(jnp.int32))
        pulls = jnp.where(self.finished(spec, state), 0, pulls)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Keep the better half of every context's prompts."""
        running = ~self.finished(spec, state)
        table = estimators.add(state.table, allocation, stats)
        score = estimators.value(spec, table)[:, :, 0]
        half = trim.top_half(score, draws.order(key, score.shape), state.active)
        active = jnp.where(running, half, state.active)
        return State(state.budget, state.round + running.astype(jnp.int32), active, table)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The active prompts and the estimates of all arms."""
        return estimators.standing(spec, state.table, state.active)

    def arms_left(self, spec: Spec, state: State) -> int:
        """One for every active prompt: the scale is given."""
        return int(state.active[0].sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The prompt left, at the deployed scale."""
        prompt = jnp.argmax(state.active, axis=1).astype(jnp.int32)
        drawn = draws.integer(draws.words(key, (spec.num_contexts,)), spec.max_scale) + 1
        return Policy(prompt, jnp.ones_like(prompt) if self.deploy == "one" else drawn)
