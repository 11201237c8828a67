"""Softmax (Boltzmann) exploration on arms with shared pulls.

Source: Mahmud et al., arXiv 2508.10030, section 5 (baselines), temperature 0.05.

Differs from the paper: weights are whole numbers (relative resolution 2**-20 up to 1,024 arms), so that
the draw does not depend on the order of a sum. As in the released code, an arm never pulled counts as 0
while exploring; it is never recommended over one that was.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import estimators
from sim.algorithms.sequential import Sequential, known
from sim.core import Spec

_LARGEST = 1e36
"""Temperatures above it, or below one part in it, may be infinite or 0 in float32."""


class Softmax(Sequential):
    """Draw arms with probability proportional to exp(estimated value / temperature).

    Attributes:
        temperature: in units of utility, from 1e-36 to 1e36.
    """

    temperature: float | Float[Array, ""] = 0.05

    def __check_init__(self) -> None:
        """Reject temperatures that are none."""
        if not 1 / _LARGEST <= self.temperature <= _LARGEST:
            raise ValueError(f"temperature is {self.temperature}; it must lie in {1 / _LARGEST:.0e}..{_LARGEST:.0e}")

    def weights(
        self,
        spec: Spec,
        context: Int[Array, ""],
        word: UInt32[Array, ""],
        value: Float[Array, "prompt scale"],
        blocks: Float[Array, "prompt scale"],
        fits: Bool[Array, "prompt scale"],
    ) -> Int[Array, "prompt scale"]:
        """Boltzmann weights relative to the best arm."""
        value = jnp.where(fits, known(estimators.left_out(spec)[context], value, blocks), -jnp.inf)
        whole = 2.0 ** (30 - (value.size - 1).bit_length())
        weights = jnp.exp((value - jnp.max(value)) / self.temperature)
        return jnp.round(weights * jnp.float32(whole)).astype(jnp.int32)
