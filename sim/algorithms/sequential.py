"""What the sequential baselines share: one pull per step, until no arm fits the remaining budget.

Source: Mahmud et al., arXiv 2508.10030, section 5 (baselines), as in the released code: each step draws
a context at random, chooses an arm by its estimates there, and shares the pull with all contexts and
smaller scales.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import estimators, trim
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Stats
from sim.kernels import counter

STEP, RULE = 1, 2
"""What a step's key is folded with: for the context and the arm, for what else the rule draws."""


class State(NamedTuple):
    """What is left of the budget, and what came back."""

    left: Int[Array, ""]
    table: estimators.Table


class Sequential(Algorithm):
    """A rule that pulls one arm per step. Abstract: a rule gives `weights`."""

    def num_rows(self, spec: Spec) -> int:
        """One row: the arm of this step."""
        return 1

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """The whole budget, no data."""
        return State(budget, estimators.empty(spec))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """When not even a single completion is affordable."""
        return state.left < 1

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """One pull of an arm that fits, drawn by the rule's weights in a random context."""
        words = counter.bits(counter.fold(key, STEP), (2,))
        context = counter.integer(words[0], spec.num_contexts)
        scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.int32)
        fits = jnp.tile(scales <= state.left, (spec.num_prompts, 1))
        prompt, scale = trim.draw_arm(words[1], self.weights(counter.fold(key, RULE), spec, state, context, fits))
        pulls = (state.left >= 1).astype(jnp.int32)
        return Allocation(prompt[None], scale[None] + 1, pulls[None])

    def weights(
        self, key: Key, spec: Spec, state: State, context: Int[Array, ""], fits: Bool[Array, "prompt scale"]
    ) -> Int[Array, "prompt scale"]:
        """Whole-number weights with which the next arm is drawn; zero outside `fits`."""
        raise NotImplementedError

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Pay and add the pull."""
        return State(state.left - allocation.completions, estimators.add(state.table, allocation, stats))

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best estimate of every context, ties at random."""
        return trim.best_estimate(key, spec, state.table)
