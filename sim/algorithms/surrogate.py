"""Linear surrogate over (prompt, log N): every prompt's rewards are a curve in log N, near the mean of all curves.

Source: Bayesian optimisation with a linear model as surrogate and an upper confidence bound as acquisition (Srinivas,
Krause, Kakade and Seeger, ICML 2010; linear payoffs as in Dani, Hayes and Kakade, COLT 2008).

Model: the reward of prompt p at N is a polynomial in z = log N / log Nmax whose coefficients are those of all prompts'
mean plus the prompt's own. Coefficients of a prompt: ridge regression on its mean reward at N = 1, 2, .. up to the
pull, weighted by 1 / N, which is evenly in log N. They are shrunk to the mean over the prompts pulled so far by m / (m
+ shrink) after m pulls: the posterior mean where `shrink` is the variance of a pull over that of prompts. Curves say of
N beyond the pull too. Each round pulls, on one query, the prompts with the largest value at their best N + constant /
sqrt(m + shrink), in a context drawn at random.

Differs from the sources: one constant for all times, as in `ucb`; the noise of a pull, which all its scales share, is
no part of the regression. Coefficients are rounded to `Spec.unit`.

Defaults were chosen among 27 configurations on development worlds (docs/results.md): mean regret over that of PSST,
geometric mean, is .50; .53 with shrink = 4, .51 so with constant = .5 and with shrink = 2, .52 with all subsets of
pulls for the plug-in estimator, .73 so with degree = 2, constant = .1 and shrink = 2.
"""

from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from sim import estimators
from sim.algorithms.few_prompts import FewPrompts, most_wanted
from sim.core import Spec
from sim.kernels import digits

_LARGEST = 1e36
"""Constants above it may be infinite in float32."""
_HALF = 10
"""Bits of the lower part of a sum over prompts."""


class Surrogate(FewPrompts):
    """Pull the prompts with the largest upper confidence bound by curves in log N that prompts have in common.

    Attributes:
        constant: exploration constant, in units of utility, from 0 to 1e36.
        shrink: pulls that the mean of all prompts counts as, above 0.
        degree: of the curves.
        ridge: penalty on all coefficients but the first, where weights sum to 1; at least 0.
        batch: prompts of a round.
    """

    pull: int = eqx.field(static=True, default=8, kw_only=True)
    estimator: str = eqx.field(static=True, default="plug-in", kw_only=True)
    constant: float | Float[Array, ""] = 0.3
    shrink: float | Float[Array, ""] = 8.0
    degree: int = eqx.field(static=True, default=1)
    ridge: float = eqx.field(static=True, default=0.001)
    batch: int = eqx.field(static=True, default=4)

    def __check_init__(self) -> None:
        """Reject options that make no sense."""
        if not 0 <= self.constant <= _LARGEST:
            raise ValueError(f"constant is {self.constant}; it must lie in 0..{_LARGEST:.0e}")
        if not 0 < self.shrink <= _LARGEST:
            raise ValueError(f"shrink is {self.shrink}; it must be above 0, up to {_LARGEST:.0e} pulls")
        if self.degree < 0 or self.batch < 1:
            raise ValueError(f"degree is {self.degree}, batch {self.batch}; they must be at least 0 and 1")
        if not self.ridge > 0:
            raise ValueError(f"ridge is {self.ridge}; it must be above 0")

    def num_rows(self, spec: Spec) -> int:
        """The batch, or all prompts."""
        return min(self.batch, spec.num_prompts)

    def choose(
        self, spec: Spec, words: UInt32[Array, " row"], value: Float[Array, " prompt"], done: Float[Array, " prompt"]
    ) -> Int[Array, " row"]:
        """The prompts with the largest upper confidence bound."""
        return most_wanted(words, value + self.constant / jnp.sqrt(done / float(self.max_pull(spec)) + self.shrink))

    def value(self, spec: Spec, table: estimators.BlockSums) -> Float[Array, "context prompt scale"]:
        """Values by the curves; those of a prompt never pulled follow the mean."""
        curves = self.curves(spec, table)
        terms = curves[..., None] * jnp.asarray(basis(spec.max_scale, self.degree).T)[None, None]
        reward = jnp.sum(jnp.round(terms).astype(jnp.int32), axis=2)
        scaled = reward.astype(jnp.float32) * spec.unit[:, None, None]
        return estimators.value_of(spec, scaled, jnp.ones(spec.num_prompts, bool))

    def curves(self, spec: Spec, table: estimators.BlockSums) -> Float[Array, "task prompt power"]:
        """Shrunk coefficients of every prompt, whole numbers of `Spec.unit`."""
        width = self.max_pull(spec)
        blocks = table.blocks[:, :width]
        seen = jnp.sum((blocks > 0).astype(jnp.int32), axis=1)
        mean = table.total[:, :, :width] / jnp.maximum(blocks, jnp.float32(1.0))[None] / spec.unit[:, None, None]
        fits = jnp.asarray(fits_of(width, spec.max_scale, self.degree, self.ridge))[seen]
        own = jnp.sum(jnp.round(fits[None] * mean[:, :, None]).astype(jnp.int32), axis=3)
        number = jnp.maximum(jnp.sum((seen > 0).astype(jnp.int32)), 1).astype(jnp.float32)
        high, low = digits.split(own, _HALF)
        sums = digits.joined(jnp.sum(high, axis=1), jnp.sum(low, axis=1), _HALF)
        centre = jnp.round(sums / number)[:, None]
        pulls = blocks[:, 0] / float(width)
        share = jnp.where(seen > 0, pulls / (pulls + self.shrink), jnp.float32(0.0))
        return centre + jnp.round((own.astype(jnp.float32) - centre) * share[None, :, None])


def basis(max_scale: int, degree: int) -> Float[np.ndarray, "scale power"]:
    """Powers 0 to `degree` of log N / log Nmax at every N."""
    place = np.log(np.arange(1, max_scale + 1)) / np.log(max(max_scale, 2))
    return (place[:, None] ** np.arange(degree + 1)).astype(np.float32)


@lru_cache(8)
def fits_of(width: int, max_scale: int, degree: int, ridge: float) -> Float[np.ndarray, "seen power width"]:
    """Coefficients as sums over mean rewards at N = 1, 2, .. as far as seen, by how far that is; 0 for not at all."""
    powers = basis(max_scale, degree)[:width].astype(np.float64)
    penalty = ridge * np.diag(np.arange(degree + 1) > 0)
    found = np.zeros((width + 1, degree + 1, width))
    for seen in range(1, width + 1):
        weights = 1 / np.arange(1, seen + 1)
        weighted = powers[:seen].T * (weights / weights.sum())
        found[seen, :, :seen] = np.linalg.solve(weighted @ powers[:seen] + penalty, weighted)
    return found.astype(np.float32)
