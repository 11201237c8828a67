"""Almost Tracking: each prompt has a share of the pulls that follows in closed form from the estimated gaps.

Source: Komiyama, Jang and Honda, "Rate-optimal design for anytime best arm identification" (AISTATS 2026, arXiv
2510.23199): sample in proportions that are nearly the best against every world with another best arm, where a world's
hardness is H1, and follow them as the estimates change. It needs no budget in advance and keeps all samples.

Proportions: for another prompt j to be best, its value must rise by its gap d_j and some e > 0 more; that world's
hardness is the sum over i other than j of 1 / (d_i + e)^2, and a share w_j of the pulls is evidence of w_j (d_j + e)^2
/ 2 against it. Their product is at least w_j g_j / 2, g_j = the sum over i other than j of min(1, d_j / d_i)^2: about
the number of prompts that are as good or better. All are the same for w_j in proportion to 1 / g_j; the leader has g =
1, for if it falls the next is best, and that world's hardness is at least 1 / e^2.

Differs from the paper: proportions are derived here, as above, from worlds in which one prompt is another. They need
not be the paper's own closed form, and its guarantee is not claimed. Arms are prompts, judged by their best scale in a
context drawn at random; those never pulled come first. Proportions are followed by the highest averages (D'Hondt), ties
at random. `batch` prompts are pulled at a time; all meet the queries in one order (`nested`). A round takes time in
proportion to the square of |P|.

Defaults were chosen among 19 configurations on development worlds (docs/results.md): mean regret over that of PSST,
geometric mean, is .61; .62 with pulls of 8, .63 with pulls of 12, or of 8 and 1 or 4 prompts a round, .64 with pulls
of 8 on the next query (`nested=false`), .85 so with pulls of Nmax and all their subsets.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from sim.algorithms.few_prompts import FewPrompts, most_wanted
from sim.core import Spec

_ONE = 2.0**16
"""Steps in which terms of g are summed: whole numbers add up to the same bits everywhere."""
MOST = 2**15 - 1
"""Prompts, at most: their terms, of up to 2**16 steps, add up within int32."""
_AT_ONCE = 128
"""Prompts whose g is summed at a time: all at once would hold a table of |P| x |P|."""


class AlmostTracking(FewPrompts):
    """Pull the prompts that are furthest behind their share, which is about one over their rank.

    Attributes:
        batch: prompts of a round.
    """

    pull: int = eqx.field(static=True, default=10, kw_only=True)
    estimator: str = eqx.field(static=True, default="plug-in", kw_only=True)
    nested: bool = eqx.field(static=True, default=True, kw_only=True)
    batch: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        """Reject options that make no sense."""
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it must be at least 1 prompt")

    def num_rows(self, spec: Spec) -> int:
        """The batch, or all prompts."""
        return min(self.batch, spec.num_prompts)

    def choose(
        self, spec: Spec, words: UInt32[Array, " row"], value: Float[Array, " prompt"], done: Float[Array, " prompt"]
    ) -> Int[Array, " row"]:
        """The prompts with the fewest completions for their share."""
        after = done + float(self.max_pull(spec))
        return most_wanted(words, jnp.where(done < 1, jnp.inf, -(after * weight(jnp.max(value) - value))))


def weight(gap: Float[Array, " prompt"]) -> Float[Array, " prompt"]:
    """Reciprocal share g of every prompt in the pulls, at least 1, in steps of 2**-16.

    Args:
        gap: what each falls short of the best, 0 for that; NaN and infinite ones are far from all others.

    Raises:
        ValueError: there are more than 2**15 - 1 prompts.
    """
    if gap.size > MOST:
        raise ValueError(f"there are {gap.size:,} prompts; almost-tracking takes at most {MOST:,}")

    def sum_of(own: Array) -> Array:
        ratio = jnp.where(gap > own, own / gap, jnp.float32(1.0))  # d_j / d_i for every i
        return jnp.sum(jnp.round(ratio * ratio * _ONE).astype(jnp.int32))

    sums = jax.lax.map(sum_of, gap, batch_size=_AT_ONCE) if gap.size > _AT_ONCE else jax.vmap(sum_of)(gap)
    return jnp.maximum((sums - int(_ONE)).astype(jnp.float32) / _ONE, jnp.float32(1.0))
