"""TRIPLE-SH: Sequential Halving over prompts at N = 1, blind to the inference strategy.

Source: Shi et al., "Efficient prompt optimization through the lens of best arm identification" (TRIPLE,
NeurIPS 2024), on Karnin, Koren and Somekh (ICML 2013); as a baseline in Mahmud et al.,
arXiv 2508.10030, section 5, deployed with N = 1 or with N drawn uniformly.

Differs from the paper: samples accumulate over rounds, as in the released baseline; the budget is hard;
ties are broken at random. Of single completions every estimator says the same: there is no such option.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sim import draws, estimators
from sim.algorithms.halving import Halves, State
from sim.core import Key, Policy, Spec
from sim.designed import Designed


class Triple(Designed, Halves):
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

    def num_items(self, spec: Spec) -> int:
        """Prompts are halved."""
        return spec.num_prompts

    def wanted(self, spec: Spec, active: Bool[Array, "context prompt"]) -> Int[Array, " prompt"]:
        """Single completions of every prompt still active in some context."""
        return jnp.any(active, axis=0).astype(jnp.int32)

    def score(self, spec: Spec, table: estimators.BlockSums) -> Float[Array, "context prompt"]:
        """The value of a prompt at N = 1."""
        return estimators.value_at_one(spec, table)

    def arms_left(self, spec: Spec, state: State) -> int:
        """One for every active prompt: the scale is given."""
        return int(state.active[0].sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The prompt left, at the deployed scale."""
        prompt = jnp.argmax(state.active, axis=1).astype(jnp.int32)
        drawn = draws.integer(draws.words(key, (spec.num_contexts,)), spec.max_scale) + 1
        return Policy(prompt, jnp.ones_like(prompt) if self.deploy == "one" else drawn)
