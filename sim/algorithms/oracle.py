"""The best arm on the training queries, by exact values: the ceiling of every comparison.

Not a learner: it reads `Spec.truth`, which the runner fills in for it alone, and spends nothing. Its
regret on held-out queries is the price of a finite training set.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import trim
from sim.algorithms.random_arm import State, no_pulls
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Stats


class Oracle(Algorithm):
    """Recommend the arm with the largest exact training value in every context."""

    sees_truth = True

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """Nothing."""
        return State(budget)

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
        """The best arm by exact training values."""
        if spec.truth is None:
            raise ValueError("the oracle needs exact training values; pass truth= to the runner")
        score = spec.truth.reshape(spec.num_contexts, spec.num_arms)
        return trim.arms(jnp.argmax(score, axis=1).astype(jnp.int32), spec.max_scale)
