"""Epsilon-greedy on arms with shared pulls.

Source: Mahmud et al., arXiv 2508.10030, section 5 (baselines), epsilon 0.15.

Differs from the released code: greedy ties are broken at random (it takes the first arm). As there, an
arm never pulled counts as 0 while exploring; it is never recommended over one that was.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import trim
from sim.algorithms.sequential import Sequential
from sim.core import Spec
from sim.kernels import counter


class EpsilonGreedy(Sequential):
    """With probability epsilon a random arm, otherwise the best estimate.

    Attributes:
        epsilon: probability of exploring, from 0 to 1.
    """

    epsilon: float = 0.15

    def __check_init__(self) -> None:
        """Reject what is no probability."""
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon is {self.epsilon}; it is the probability of exploring, from 0 to 1")

    def weights(
        self,
        spec: Spec,
        word: UInt32[Array, ""],
        value: Float[Array, "prompt scale"],
        blocks: Float[Array, "prompt scale"],
        fits: Bool[Array, "prompt scale"],
    ) -> Int[Array, "prompt scale"]:
        """All arms alike when exploring, else the best ones."""
        greedy = trim.maxima(jnp.where(blocks > 0, value, jnp.float32(0.0)), fits)
        return jnp.where(counter.to_uniform(word) < self.epsilon, fits.astype(jnp.int32), greedy)
