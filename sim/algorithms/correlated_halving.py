"""Correlated Sequential Halving: arms are halved on the same queries, drawn anew every round.

Source: Baharav and Tse, "Ultra fast medoid identification via correlated sequential halving" (NeurIPS 2019), algorithm
1: Sequential Halving (Karnin, Koren and Somekh, ICML 2013) where all arms of a round are measured on the same reference
points, drawn without replacement, since differences between arms vary less than arms do. A round's estimates come from
that round alone.

Differs from the paper: rounds add up (`fresh=false`), pulls are small and valued by the plug-in estimator, and a round
keeps one arm in `eta`, as in Hyperband (Li et al., JMLR 2018). Reference points are queries, and a measurement is
random: a round that meets every query is not exact, and halving goes on. Arms of one prompt share its pulls at its
largest active scale, and contexts share all, as in PSST; every context halves its own arms. Rounds divide the budget in
completions, not in pulls; queries are drawn without replacement over the whole run.

With `pull=0,estimator=subsets,fresh=true,eta=2` it is the paper's, and the same as
`psst:queries=common-wor,estimator=subsets,fresh=true`, what common queries alone are worth: the same answers, bit for
bit, where no estimates tie. The halving here is apart because it breaks ties otherwise, with one order of all arms a
round, where PSST draws words for its list of few arms; small budgets leave many arms tied.

Defaults were chosen among 18 configurations on development worlds (docs/results.md): mean regret over that of PSST,
geometric mean, is .64; .64 with pulls of 16, .67 of 8; .65 with eta = 3, .66 with 2; 1.22 as in the paper.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import estimators, trim
from sim.algorithms.halving import Halves, State
from sim.core import Key, Policy, Spec
from sim.designed import CommonQueries


class CorrelatedHalving(CommonQueries, Halves):
    """Halve each context's arms on common queries of the round.

    Attributes:
        fresh: estimate from the last round's pulls only.
        eta: a round keeps one arm in `eta` of every context, rounded up; at least 2.
    """

    pull: int = eqx.field(static=True, default=12, kw_only=True)
    estimator: str = eqx.field(static=True, default="plug-in", kw_only=True)
    fresh: bool = eqx.field(static=True, default=False)
    eta: int = eqx.field(static=True, default=4)

    def __check_init__(self) -> None:
        """Reject rounds that would drop nothing."""
        if self.eta < 2:
            raise ValueError(f"eta is {self.eta}; it must be at least 2: a round keeps one arm in eta")

    def num_items(self, spec: Spec) -> int:
        """Arms are halved."""
        return spec.num_arms

    def num_rounds(self, spec: Spec) -> int:
        """Rounds until one arm is left, at least 1."""
        arms, rounds = spec.num_arms, 0
        while arms > 1:
            arms, rounds = -(-arms // self.eta), rounds + 1
        return max(rounds, 1)

    def keep(
        self,
        score: Float[Array, "context arm"],
        tiebreak: UInt32[Array, "context arm"],
        active: Bool[Array, "context arm"],
    ) -> Bool[Array, "context arm"]:
        """The best arms of every context, one in `eta`."""
        number = jnp.sum(active.astype(jnp.int32), axis=1)
        return trim.keep_best(score, tiebreak, active, (number + self.eta - 1) // self.eta)

    def wanted(self, spec: Spec, active: Bool[Array, "context arm"]) -> Int[Array, " prompt"]:
        """Every prompt at its largest active scale."""
        return jnp.minimum(trim.largest_active(active, spec.num_prompts), self.max_pull(spec))

    def score(self, spec: Spec, table: estimators.BlockSums) -> Float[Array, "context arm"]:
        """The value of an arm."""
        return estimators.value(spec, table).reshape(spec.num_contexts, spec.num_arms)

    def kept(self, running: Bool[Array, ""], table: estimators.BlockSums) -> estimators.BlockSums:
        """Block sums of earlier rounds: none where only the last one counts."""
        if not self.fresh:
            return table
        return jax.tree.map(lambda old: jnp.where(running, jnp.float32(0.0), old), table)

    def arms_left(self, spec: Spec, state: State) -> int:
        """The active arms, equally many in every context."""
        return int(state.active[0].sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The one arm left in every context."""
        return trim.arms(jnp.argmax(state.active, axis=1).astype(jnp.int32), spec.max_scale)
