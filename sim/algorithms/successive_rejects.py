"""Successive Rejects on arms, with PSST's reuse of pulls across contexts and scales.

Source: Audibert, Bubeck and Munos (COLT 2010), figure 3: phase k of |A| - 1 ends with the rejection of
the worst arm, and phases share the budget as 1, 1/|A|, 1/(|A| - 1), ..., 1/3, divided by
logbar(|A|) = 1/2 + sum_{i=2}^{|A|} 1/i.

Differs from the paper: arms of one prompt share its pulls at its largest active scale, as in PSST, and
every context rejects its own arms. A phase too poor for one pull of every active prompt leaves its
share to the next; rejections between two pulls see the same data and are done together.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sim import draws, estimators, schedules, trim
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import Estimating


class State(NamedTuple):
    """Budget, what is spent of it, rejections per context so far, and what is left."""

    budget: Int[Array, ""]
    spent: Int[Array, ""]
    phase: Int[Array, ""]
    active: Bool[Array, "context arm"]
    table: estimators.BlockSums


class SuccessiveRejects(Estimating):
    """Reject each context's arms one by one, on a budget that favours the last phases."""

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All arms active in every context."""
        active = jnp.ones((spec.num_contexts, spec.num_arms), bool)
        return State(budget, jnp.int32(0), jnp.int32(0), active, estimators.empty(spec))

    def num_rounds(self, spec: Spec) -> int:
        """A round rejects an arm at least: |A| - 1."""
        return spec.num_arms - 1

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """Whether one arm is left in every context."""
        return state.phase >= spec.num_arms - 1

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Every prompt still active, at its largest active scale, as often as the phases so far afford."""
        largest = trim.largest_active(state.active, spec.num_prompts)
        phase = jnp.minimum(state.phase, max(spec.num_arms - 2, 0))
        left = _cumulative(spec, state.budget)[phase] - state.spent
        scale, pulls = schedules.equal_pulls(key, left, largest)
        affordable = (state.phase == 0) | (left >= jnp.sum(largest))
        pulls = jnp.where(affordable & ~self.finished(spec, state), pulls, 0)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Reject the worst arms of every context until the budget affords the next pulls."""
        running = ~self.finished(spec, state)
        table = estimators.add(state.table, allocation, stats)
        spent = state.spent + allocation.completions
        needed = jnp.sum(trim.largest_active(state.active, spec.num_prompts))
        poor = (_cumulative(spec, state.budget) - spent < needed).astype(jnp.int32)
        phase = jnp.where(running, jnp.maximum(state.phase + 1, jnp.sum(poor)), state.phase)
        phase = jnp.minimum(phase, spec.num_arms - 1)
        score = estimators.value(spec, table).reshape(state.active.shape)
        left = jnp.full(spec.num_contexts, 1, jnp.int32) * (spec.num_arms - phase)
        active = trim.keep_best(score, draws.order(key, score.shape), state.active, left)
        return State(state.budget, spent, phase, jnp.where(running, active, state.active), table)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The arms not rejected and their estimates."""
        return estimators.standing(spec, state.table, state.active)

    def arms_left(self, spec: Spec, state: State) -> int:
        """The active arms, equally many in every context."""
        return int(state.active[0].sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The one arm left in every context."""
        return trim.arms(jnp.argmax(state.active, axis=1).astype(jnp.int32), spec.max_scale)


def shares(num_arms: int) -> Float[np.ndarray, " phase"]:
    """Share of the budget that phases 1..k may spend together, for every k; the last is 1."""
    each = np.array([1.0, *(1.0 / (num_arms + 2 - k) for k in range(2, num_arms))])
    together = np.cumsum(each)
    return together / together[-1]


def _cumulative(spec: Spec, budget: Int[Array, ""]) -> Int[Array, " phase"]:
    """Completions that phases up to each may spend together."""
    return jnp.floor(jnp.asarray(shares(spec.num_arms), jnp.float32) * budget.astype(jnp.float32)).astype(jnp.int32)
