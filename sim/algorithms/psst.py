"""Prompt Scaling via Sequential Trimming (PSST).

Source: Mahmud et al., arXiv 2508.10030, Algorithm 1 and equation 7.

Differs from the paper:

* The better half is rounded up; removing ceil(n / 2) arms, as printed, can empty the set.
* The budget is hard by default: rounds share T exactly, and a round too poor for one pull of every
  prompt caps the pull size or pulls some prompts (`schedules.equal_pulls`). `budget_rule="reference"`
  pulls every prompt at least once a round, as the released code does, and overspends.
* Samples accumulate over rounds as in the released code; `fresh=True` forgets them.
* Ties are broken at random; `ties="index"` ranks stably, as the released code does: by the previous
  round's order, at first by prompt, then scale.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import draws, estimators, schedules, trim
from sim.algorithms.survivors import Halving, Survivors
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import Estimating


class State(NamedTuple):
    """State of a run of PSST; arms are ordered by prompt, then scale.

    `place` is the arms' order after the last round, kept only where ties need it: that of arms that were active then.
    """

    budget: Int[Array, ""]
    round: Int[Array, ""]
    survivors: Survivors
    place: Int[Array, "context ranked"]
    table: estimators.BlockSums


class PSST(Estimating):
    """Halve the active arms of every context, reusing pulls across contexts and scales.

    Attributes:
        budget_rule: "hard" or "reference".
        fresh: estimate from the last round's pulls only, as the halving proofs assume.
        ties: "random" or "index".
    """

    budget_rule: str = eqx.field(static=True, default="hard")
    fresh: bool = eqx.field(static=True, default=False)
    ties: str = eqx.field(static=True, default="random")

    def __check_init__(self) -> None:
        """Reject options that do not exist."""
        if self.budget_rule not in ("hard", "reference"):
            raise ValueError(f"budget_rule is {self.budget_rule!r}; allowed are hard, reference")
        if self.ties not in ("random", "index"):
            raise ValueError(f"ties is {self.ties!r}; allowed are random, index")

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All arms active in every context, no data."""
        return self.start(spec, budget, everything(spec), jnp.ones((spec.num_contexts, spec.num_arms), bool))

    def start(self, spec: Spec, budget: Int[Array, ""], plan: Halving, active: Bool[Array, "context arm"]) -> State:
        """A state with the given active arms and no data."""
        ranked = spec.num_arms if self.ties == "index" else 0
        place = jnp.tile(jnp.arange(ranked, dtype=jnp.int32), (spec.num_contexts, 1))
        return State(budget, jnp.int32(0), plan.start(active), place, estimators.empty(spec))

    def num_rounds(self, spec: Spec) -> int:
        """R = ceil(log2 |A|), at least 1."""
        return everything(spec).num_rounds

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After R rounds."""
        return state.round >= self.num_rounds(spec)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Every prompt still active in some context, at its largest active scale."""
        return self.allocate_round(key, spec, state, everything(spec))

    def allocate_round(self, key: Key, spec: Spec, state: State, plan: Halving) -> Allocation:
        """The allocation of one of the plan's rounds, which share `state.budget`."""
        largest = plan.largest(state.round, state.survivors, spec.num_prompts)
        if self.budget_rule == "hard":
            share = schedules.allowance(state.budget, state.round, plan.num_rounds)
            scale, pulls = schedules.equal_pulls(key, share, largest)
        else:
            share = jnp.maximum(state.budget // plan.num_rounds, 1)
            scale, pulls = largest, jnp.maximum(share // jnp.maximum(jnp.sum(largest), 1), 1)
            pulls = jnp.where(largest > 0, pulls, 0)
        pulls = jnp.where(state.round < plan.num_rounds, pulls, 0)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the pulls and keep the better half of every context's arms."""
        return self.update_round(key, spec, state, allocation, stats, everything(spec))

    def update_round(
        self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats, plan: Halving
    ) -> State:
        """The update of one of the plan's rounds; a finished state keeps its arms."""
        running = state.round < plan.num_rounds
        table = state.table
        if self.fresh:
            table = jax.tree.map(lambda old: jnp.where(running, jnp.float32(0.0), old), table)
        table = estimators.add(table, allocation, stats)

        def score(arms: Array | None) -> Array:
            if arms is None:
                return estimators.steps(spec, table).reshape(spec.num_contexts, spec.num_arms)
            return estimators.steps_at(spec, table, arms)

        def order(arms: Array, number: Array | None) -> Array:
            if self.ties == "index":
                return ~jnp.take_along_axis(state.place, arms, axis=1).astype(jnp.uint32)
            return draws.order(key, arms.shape, number)

        survivors = plan.halve(state.round, state.survivors, score, order)  # of one arm it keeps that
        place = state.place
        if self.ties == "index":
            few = state.survivors.few
            active = jnp.where(state.survivors.left, few, spec.num_arms)
            place = plan.by_stage(
                state.round,
                lambda: _stable_places(score(None), place),
                lambda: jax.vmap(lambda all_, at, new: all_.at[at].set(new, mode="drop"))(
                    place, active, _stable_places(score(few), jnp.take_along_axis(place, few, axis=1))
                ),
            )
            place = jnp.where(running, place, state.place)
        return State(state.budget, state.round + running.astype(jnp.int32), survivors, place, table)

    @property
    def overspends(self) -> bool:
        """As the released code does."""
        return self.budget_rule == "reference"

    def standing(self, spec: Spec, state: State) -> Standing:
        """The active arms and their estimates."""
        return estimators.standing(spec, state.table, everything(spec).active(state.round, state.survivors))

    def arms_left(self, spec: Spec, state: State) -> int:
        """Half as many after every round, rounded up."""
        return everything(spec).left(int(state.round))

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The one arm left in every context."""
        return trim.arms(everything(spec).winner(state.survivors), spec.max_scale)


def everything(spec: Spec) -> Halving:
    """The plan that starts with all arms."""
    return Halving(spec.num_arms, spec.num_arms)


def _stable_places(score: Array, place: Array) -> Int[Array, "context item"]:
    """Positions after a stable sort of the previous order by descending score."""

    def places(score: Array, place: Array) -> Array:
        order = jnp.lexsort((place, ~score))
        return jnp.zeros_like(place).at[order].set(jnp.arange(place.shape[0], dtype=jnp.int32))

    return jax.vmap(places)(score, place)
