"""UCB-E on arms with shared pulls.

Source: Audibert, Bubeck and Munos (COLT 2010), figure 1: pull the arm with the largest mean + sqrt(a / pulls), arms
never pulled first, and answer with the best mean. Their bound (`theory.bounds.ucb_e`) is for a of at most
25 (T - K) / (36 H1) times the squared range of rewards, which takes H1, the hardness of the world, to know.

Differs from the paper: arms of one prompt share its pulls and every pull serves all contexts, as in UCB; the count of
an arm is its number of blocks. With one scale and one context it is the paper's algorithm.
"""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim.algorithms.sequential import Sequential, most_optimistic
from sim.core import Spec

_LARGEST = 1e72
"""Explorations above it may have a root that is infinite in float32."""


class UCBE(Sequential):
    """Pull the arm with the largest value + sqrt(exploration / n).

    Attributes:
        exploration: a, in squared units of the utility, from 0 to 1e72.
    """

    exploration: float | Float[Array, "*two"] = 0.1

    def __check_init__(self) -> None:
        """Reject explorations that have no square root."""
        if not 0 <= float(self.exploration) <= _LARGEST:
            raise ValueError(f"exploration is {self.exploration}; it must lie in 0..{_LARGEST:.0e}")

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
        square, unit = _squared(self.exploration)
        width = jnp.sqrt(square / jnp.maximum(blocks, jnp.float32(1.0))) * unit
        return most_optimistic(spec.grid[context], value, width, jnp.sqrt(square) * unit, blocks, fits)

    def traced(self) -> "UCBE":
        """The exploration as two arrays: its square may leave float32."""
        return eqx.tree_at(lambda rule: rule.exploration, self, jnp.stack(_squared(self.exploration)))


def _squared(exploration: float | Float[Array, "*two"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """A number in 1..4 and a power of two such that the exploration is the number times the power's square."""
    if not isinstance(exploration, float | int):
        return (exploration[0], exploration[1]) if exploration.ndim else (exploration, jnp.float32(1.0))
    half = (math.frexp(exploration)[1] - 1) // 2
    return jnp.float32(math.ldexp(exploration, -2 * half)), jnp.float32(math.ldexp(1.0, half))
