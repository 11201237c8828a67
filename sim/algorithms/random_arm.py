"""A random arm in every context, without spending anything: the floor of every comparison.

Source: Mahmud et al., arXiv 2508.10030, section 5 (baselines). Follows the paper.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import draws
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Stats


class State(NamedTuple):
    """Nothing to remember but the budget."""

    budget: Int[Array, ""]


class RandomArm(Algorithm):
    """Recommend a uniformly random arm in every context."""

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """Nothing."""
        return State(budget)

    def num_rounds(self, spec: Spec) -> int:
        """None at all."""
        return 0

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """From the start."""
        return jnp.ones((), bool)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Nothing."""
        return no_pulls(spec)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Nothing."""
        return state

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """A uniform prompt and a uniform scale per context."""
        words = draws.words(key, (2, spec.num_contexts))
        return Policy(draws.integer(words[0], spec.num_prompts), draws.integer(words[1], spec.max_scale) + 1)


def no_pulls(spec: Spec) -> Allocation:
    """An allocation that asks for nothing."""
    prompts = jnp.arange(spec.num_prompts, dtype=jnp.int32)
    return Allocation(prompts, jnp.ones_like(prompts), jnp.zeros_like(prompts))
