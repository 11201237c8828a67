"""Abstract exact rewards of one block: their moments, and clean probabilities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Moments(NamedTuple):
    """Mean and variance of the reward of one block.

    Attributes:
        mean: expected reward.
        variance: its variance.
    """

    mean: Float64[np.ndarray, "*rows scale"]
    variance: Float64[np.ndarray, "*rows scale"]

    @property
    def second(self) -> Float64[np.ndarray, "*rows scale"]:
        """The expected square of the reward."""
        return self.variance + self.mean**2


def normal_rows(probs: np.ndarray) -> np.ndarray:
    """Probabilities as two axes, each row divided by its sum."""
    flat = probs.reshape(-1, probs.shape[-1])
    return flat / flat.sum(axis=1, keepdims=True)
