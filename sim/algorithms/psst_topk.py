"""PSST with Top-K screening (PSST+K); K = 1 is the near-disjoint two-stage method.

Source: Mahmud et al., arXiv 2508.10030, section 4 (Top-K screening heuristic).

Differs from the paper: screening visits the prompts in a random cyclic order where rho * T is not a
multiple of |P| (the released code starts with prompt 0). As in the released code, PSST forgets the
screening pulls.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sim import draws, estimators, trim
from sim.algorithms import psst
from sim.algorithms.survivors import Halving
from sim.core import Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import Estimating
from sim.kernels import lanes


class State(NamedTuple):
    """Budget of the screening, and the state of PSST once it runs."""

    screening: Int[Array, ""]
    screened: Bool[Array, ""]
    psst: psst.State


class PSSTTopK(Estimating):
    """Screen the prompts at N = 1, keep the K best of every context, run PSST on them.

    Attributes:
        num_kept: K, prompts kept per context.
        rho: share of the budget spent on screening.
        budget_rule, fresh, ties: as in `psst.PSST`.
    """

    num_kept: int | Int[Array, ""] = 4
    rho: float | Float[Array, ""] = 0.2
    budget_rule: str = eqx.field(static=True, default="hard")
    fresh: bool = eqx.field(static=True, default=False)
    ties: str = eqx.field(static=True, default="random")

    def __check_init__(self) -> None:
        """Reject options that make no sense."""
        if self.num_kept < 1:
            raise ValueError(f"num_kept is {self.num_kept}; at least 1 prompt must be kept")
        if not 0 <= self.rho <= 1:
            raise ValueError(f"rho is {self.rho}; it is the screening's share of the budget, from 0 to 1")
        _ = self.trimming

    @property
    def trimming(self) -> psst.PSST:
        """The second stage."""
        return psst.PSST(self.budget_rule, self.fresh, self.ties)

    def shared(self) -> "PSSTTopK":
        """K as an array: lists of arms then have room for any K."""
        most = jnp.iinfo(jnp.int32).max
        return eqx.tree_at(lambda rule: rule.num_kept, self.traced(), jnp.int32(min(self.num_kept, most)))

    def kept(self, spec: Spec) -> Any:
        """Prompts kept in every context: K, at most all."""
        least = min if isinstance(self.num_kept, int) else jnp.minimum
        return least(self.num_kept, spec.num_prompts)

    def plan(self, spec: Spec) -> Halving:
        """The second stage: K Nmax arms in every context."""
        return Halving(self.kept(spec) * spec.max_scale, spec.num_arms)

    def num_rounds(self, spec: Spec) -> int:
        """The screening and the rounds of the second stage: 1 + ceil(log2(K Nmax)), at least 2.

        Of any K where it is data.
        """
        plan = self.plan(spec) if isinstance(self.num_kept, int) else psst.everything(spec)
        return 1 + plan.num_rounds

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """Nothing screened yet."""
        share = jnp.floor(budget.astype(jnp.float32) * jnp.float32(self.rho)).astype(jnp.int32)
        nobody = jnp.zeros((spec.num_contexts, spec.num_arms), bool)
        return State(share, jnp.zeros((), bool), self.trimming.start(spec, budget - share, self.plan(spec), nobody))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last round of the second stage."""
        return state.screened & (state.psst.round >= self.plan(spec).num_rounds)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """First single completions, uniform over prompts; then PSST."""
        order = draws.order(key, (1, spec.num_prompts))[0]
        extra = trim.first(order, state.screening % spec.num_prompts)
        single = state.screening // spec.num_prompts + extra.astype(jnp.int32)
        later = self.trimming.allocate_round(key, spec, state.psst, self.plan(spec))
        scale = jnp.where(state.screened, later.scale, 1)
        return Allocation(later.prompt, scale, jnp.where(state.screened, later.pulls, single))

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Keep the K best prompts of every context after the screening; afterwards trim."""

        def first() -> psst.State:
            screen = estimators.value_at_one(spec, estimators.add(estimators.empty(spec), allocation, stats))
            order = draws.order(key, screen.shape)
            if self.ties == "index":
                order = jnp.tile(~jnp.arange(spec.num_prompts, dtype=jnp.uint32), (spec.num_contexts, 1))
            kept = jnp.full(spec.num_contexts, self.kept(spec), jnp.int32)
            prompts = trim.keep_best(screen, order, jnp.ones(screen.shape, bool), kept)
            active = jnp.repeat(prompts, spec.max_scale, axis=1)
            plan = self.plan(spec)
            return state.psst._replace(survivors=plan.listed(plan.start(active)))

        def later() -> psst.State:
            return self.trimming.update_round(key, spec, state.psst, allocation, stats, self.plan(spec))

        screened = lanes.in_step(state.screened.astype(jnp.int32)) > 0
        return State(state.screening, jnp.ones((), bool), jax.lax.cond(screened, later, first))

    @property
    def overspends(self) -> bool:
        """As the second stage."""
        return self.trimming.overspends

    def standing(self, spec: Spec, state: State) -> Standing:
        """All arms until the screening; then those of the second stage."""
        active = self.plan(spec).active(state.psst.round, state.psst.survivors)
        return estimators.standing(spec, state.psst.table, active | ~state.screened)

    def arms_left(self, spec: Spec, state: State) -> int:
        """All until the screening; then those of K prompts, half as many after every round."""
        return self.plan(spec).left(int(state.psst.round)) if bool(state.screened) else spec.num_arms

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The one arm left in every context."""
        return self.trimming.recommend(key, spec, state.psst)
