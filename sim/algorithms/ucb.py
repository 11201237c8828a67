"""UCB on arms with shared pulls.

Source: Mahmud et al., arXiv 2508.10030, section 5; UCB1 of Auer, Cesa-Bianchi and Fischer (2002) with
the constant tuned to 0.1 by the paper's authors.

Follows the paper and the released code: the count of an arm is its number of blocks, the time is the
number of blocks of all arms, arms never pulled come first, ties are broken at random.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim.algorithms.sequential import Sequential, most_optimistic
from sim.core import Spec

_LARGEST = 1e36
"""Constants above it may be infinite in float32."""


class UCB(Sequential):
    """Pull the arm with the largest value + constant * sqrt(log t / n).

    Attributes:
        constant: exploration constant, in units of utility, from 0 to 1e36.
    """

    constant: float | Float[Array, ""] = 0.1

    def __check_init__(self) -> None:
        """Reject constants that would shun what is little known."""
        if not 0 <= self.constant <= _LARGEST:
            raise ValueError(f"constant is {self.constant}; it must lie in 0..{_LARGEST:.0e}")

    def weights(
        self,
        spec: Spec,
        context: Int[Array, ""],
        word: UInt32[Array, ""],
        value: Float[Array, "prompt scale"],
        blocks: Float[Array, "prompt scale"],
        fits: Bool[Array, "prompt scale"],
    ) -> Int[Array, "prompt scale"]:
        """The arms with the largest upper confidence bound."""
        log_time = jnp.log(jnp.maximum(jnp.sum(blocks), jnp.float32(1.0)))
        width = self.constant * jnp.sqrt(log_time / jnp.maximum(blocks, jnp.float32(1.0)))
        return most_optimistic(spec.grid[context], value, width, self.constant * jnp.sqrt(log_time), blocks, fits)
