"""Top-two sampling with a fixed budget: the leader, and the prompt that is hardest to tell from it.

Source: Jourdan, Degenne and Kaufmann, "An epsilon-best-arm identification algorithm for fixed-confidence and beyond"
(NeurIPS 2023), EB-TC: the empirical best and the challenger with the smallest transportation cost
(leader's mean - its mean + slack) / sqrt(1 / n of the leader + 1 / its n); with a slack above 0 its error falls
exponentially at any time, hence for any budget. Top-two sampling is due to Russo (COLT 2016).

Differs from the paper: arms are prompts, judged by their best scale in a context drawn at random. Leader and challenger
are both pulled: their proportion is fixed at 1/2 each. All prompts meet the queries in one order (`nested`), so that
differences between those pulled equally often vary less. Prompts never pulled come first; ties are broken at random.
The answer is the best arm, not the best prompt.

Defaults were chosen among 20 configurations on development worlds (docs/results.md): mean regret over that of PSST,
geometric mean, is .61; .61 and .62 with slacks of .05 and .1, .62 with pulls of 12 and a slack of .1, .64 with both
prompts on the next query (`nested=false`), .84 so with pulls of Nmax, all their subsets and a slack of .1.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from sim import draws, trim
from sim.algorithms.few_prompts import FewPrompts
from sim.core import Spec

_LARGEST = 1e36
"""Slacks above it may be infinite in float32."""


class TopTwo(FewPrompts):
    """Pull the leader and the challenger that is hardest to tell from it.

    Attributes:
        slack: epsilon, in units of utility, from 0 to 1e36: prompts so near to the leader are not worth telling apart.
    """

    pull: int = eqx.field(static=True, default=8, kw_only=True)
    estimator: str = eqx.field(static=True, default="plug-in", kw_only=True)
    nested: bool = eqx.field(static=True, default=True, kw_only=True)
    slack: float | Float[Array, ""] = 0.02

    def __check_init__(self) -> None:
        """Reject slacks that would shun what is near."""
        if not 0 <= self.slack <= _LARGEST:
            raise ValueError(f"slack is {self.slack}; it must lie in 0..{_LARGEST:.0e}")

    def num_rows(self, spec: Spec) -> int:
        """Two, or the only prompt."""
        return min(2, spec.num_prompts)

    def choose(
        self, spec: Spec, words: UInt32[Array, " row"], value: Float[Array, " prompt"], done: Float[Array, " prompt"]
    ) -> Int[Array, " row"]:
        """The leader and its challenger."""
        fresh, everybody = done < 1, jnp.ones(done.shape, bool)
        leader, _ = draws.item(words[0], _largest(jnp.where(fresh, jnp.inf, value), everybody))
        if spec.num_prompts == 1:
            return leader[None]
        apart = jnp.sqrt(1.0 / done[leader] + 1.0 / done)
        nearness = jnp.where(fresh, jnp.inf, -((jnp.max(value) - value + self.slack) / apart))
        others = jnp.arange(spec.num_prompts, dtype=jnp.int32) != leader
        challenger, _ = draws.item(words[1], _largest(nearness, others))
        return jnp.stack([leader, challenger])


def _largest(index: Float[Array, " prompt"], allowed: Array) -> Int[Array, " prompt"]:
    """Weight 1 for every allowed prompt that ties for the largest index."""
    return trim.maxima(index[:, None], allowed[:, None])[:, 0]
