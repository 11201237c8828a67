"""Sequential Halving on every context's arms with no sharing: what ignoring the structure costs.

Source: Karnin, Koren and Somekh (ICML 2013), algorithm 1, on |C| |P| Nmax unrelated arms.

Differs from the paper: an arm costs its scale, so every active arm of a round gets the same number of
pulls, floor(share / sum of their scales); where that is 0, as many randomly chosen arms as fit get one.
Each context spends T / |C| on its own pulls. The budget is hard and ties are broken at random. A pull is
one block of its arm's scale, so that `estimator` changes anything only where it is "plug-in".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sim import draws, estimators, schedules, trim
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import Estimating
from sim.kernels import select


class State(NamedTuple):
    """State of the halving; arms are ordered by prompt, then scale. `score` is what the last round halved by."""

    budget: Int[Array, ""]
    round: Int[Array, ""]
    active: Bool[Array, "context arm"]
    score: Float[Array, "context arm"]


class SequentialHalving(Estimating):
    """Halve each context's arms on that context's own pulls of the last round."""

    reuse = False

    def num_rows(self, spec: Spec) -> int:
        """A row per context and arm."""
        return spec.num_contexts * spec.num_arms

    def num_rounds(self, spec: Spec) -> int:
        """ceil(log2 |A|), at least 1."""
        return schedules.halvings(spec.num_arms)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All arms active, none pulled."""
        shape = (spec.num_contexts, spec.num_arms)
        return State(budget, jnp.int32(0), jnp.ones(shape, bool), jnp.full(shape, -jnp.inf, jnp.float32))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last round."""
        return state.round >= self.num_rounds(spec)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """The same number of pulls for every active arm of a context."""
        arm = jnp.arange(spec.num_arms, dtype=jnp.int32)
        scale = arm % spec.max_scale + 1
        contexts = jnp.arange(spec.num_contexts, dtype=jnp.int32)
        order = draws.order(key, state.active.shape)

        def pulls_of(context: Array, active: Array, order: Array) -> Array:
            share = schedules.allowance(state.budget, context, spec.num_contexts)
            share = schedules.allowance(share, state.round, self.num_rounds(spec))
            equal = share // jnp.sum(jnp.where(active, scale, 0))
            some = select.that_fit(order, jnp.where(active, scale, 0), share).astype(jnp.int32)
            return jnp.where(equal > 0, jnp.where(active, equal, 0), some)

        pulls = jax.vmap(pulls_of)(contexts, state.active, order)
        pulls = jnp.where(self.finished(spec, state), 0, pulls)
        rows = jnp.tile(arm, spec.num_contexts)
        return Allocation(rows // spec.max_scale, rows % spec.max_scale + 1, pulls.reshape(-1))

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Keep the better half of every context's arms by the last round's means."""
        running = ~self.finished(spec, state)
        shape = state.active.shape
        total = stats.total[:, :, 0].reshape(*shape, spec.num_tasks)
        task = jnp.asarray(spec.task, jnp.int32)
        own = jnp.take_along_axis(total, task[:, None, None], axis=2)[:, :, 0]
        score = estimators.arm_value(spec, own, stats.blocks.reshape(shape))
        active = trim.top_half(score, draws.order(key, shape), state.active)
        active, score = (jnp.where(running, *pair) for pair in ((active, state.active), (score, state.score)))
        return State(state.budget, state.round + running.astype(jnp.int32), active, score)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The active arms and the estimates of the last round."""
        return Standing(state.active, state.score, jnp.ones(state.score.shape, jnp.float32))

    def arms_left(self, spec: Spec, state: State) -> int:
        """The active arms, equally many in every context."""
        return int(state.active[0].sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The one arm left in every context."""
        return trim.arms(jnp.argmax(state.active, axis=1).astype(jnp.int32), spec.max_scale)
