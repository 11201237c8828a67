"""Critical values for many comparisons at once, by a multiplier bootstrap over queries.

Influences of queries are multiplied by independent normal numbers: given the data the result is a normal vector with
the estimated covariance of all comparisons (Chernozhukov, Chetverikov and Kato, Annals of Statistics 41, 2013, for
maxima over many more means than observations). For each candidate j the largest studentised difference to any other arm
has a quantile of its own: comparisons with the best arm, one less than there are arms, not pairs.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from sim.certify.contrasts import Contrasts, errors

LEAST_DRAWS, BEYOND = 1000, 10
"""Draws, at least; and how many of them are to lie beyond the quantile."""
LEAST_ERROR = 1e-4
"""Error below which so many draws would be needed that there is no bootstrap."""


class Drawing(NamedTuple):
    """Independent standard normal numbers, and the error at which quantiles of what they make are taken.

    Attributes:
        of_queries: shape (draw, query).
        of_noise: for exactly these queries, shape (draw, prompt, scale); no draws otherwise.
        error: what is to lie beyond a quantile.
    """

    of_queries: Float32[np.ndarray, "draw query"]
    of_noise: Float32[np.ndarray, "noise prompt scale"]
    error: float

    def quantile(self, largest: Float32[np.ndarray, "*shape draw"]) -> Float64[np.ndarray, "*shape"]:
        """Quantile over draws, upwards."""
        place = int(np.ceil((largest.shape[-1] - 1) * (1 - self.error)))
        return np.asarray(np.partition(largest, place, axis=-1)[..., place], np.float64)


def draw(error: float, seed: int, shape: tuple[int, int, int], noisy: bool) -> Drawing:
    """Draws for a quantile at 1 - `error`.

    Args:
        error: what is to lie beyond it.
        seed: of the draws.
        shape: prompts, queries and scales.
        noisy: whether the noise of completions is drawn too.
    """
    num = max(LEAST_DRAWS, int(np.ceil(BEYOND / error)))
    rng, (prompts, queries, scales) = np.random.default_rng(seed), shape
    of_queries = rng.standard_normal((num, queries), np.float32)
    of_noise = rng.standard_normal(num * prompts * scales if noisy else 0, np.float32)
    return Drawing(of_queries, of_noise.reshape(-1, prompts, scales), error)


class Multipliers:
    """Draws of the bootstrap of one set of comparisons: numbers for queries, and for the noise of every prompt."""

    def __init__(self, contrasts: Contrasts, error: float, seed: int = 0):
        """Draw the numbers: enough of them for a quantile at 1 - `error`."""
        self.contrasts = contrasts
        self.drawing = draw(error, seed, contrasts.values.shape, contrasts.noise is not None)
        self._drawn: dict[tuple[int, bytes], tuple[np.ndarray, np.ndarray]] = {}

    def best(self, candidates: Bool[np.ndarray, " arm"]) -> Float64[np.ndarray, " arm"]:
        """Quantile, for each candidate, of its largest lead over another arm in standard errors; NaN for the others."""
        sheets, found = self.contrasts.sheets, np.full(len(candidates), np.nan)
        for first, sheet in enumerate(sheets):
            own = candidates[sheet.arms]
            if not own.any():
                continue
            largest = np.zeros((len(self.drawing.of_queries), int(own.sum())), np.float32)
            for second in range(len(sheets)):
                lead = self._leads(first, second, own)
                if lead is not None:
                    np.maximum(largest, lead, out=largest)
            found[sheet.arms[own]] = self.drawing.quantile(largest.T)
        return found

    def values(self) -> float:
        """Quantile of the largest error of an arm's value, on either side, in standard errors."""
        largest = np.zeros(len(self.drawing.of_queries), np.float32)
        for number, sheet in enumerate(self.contrasts.sheets):
            sample = self.contrasts.sample(number, sheet.met)
            share = self.contrasts.share(int(sheet.met.sum()), sample.within is not None)
            drawn, se = self._together(number, sheet.met, share), errors(sample, share).shared
            scaled = np.divide(np.abs(drawn), se.astype(np.float32), out=np.zeros_like(drawn), where=se > 0)
            np.maximum(largest, scaled.max(axis=1), out=largest)
        return float(self.drawing.quantile(largest))

    def _leads(self, first: int, second: int, own: np.ndarray) -> np.ndarray | None:
        """The largest lead of every candidate of a sheet over the arms of another, shape (draw, candidate)."""
        sheets, contrast = self.contrasts.sheets, self.contrasts.contrast(first, second)
        if contrast is None:
            return None
        common = sheets[first].met & sheets[second].met
        left = self._together(first, common, contrast.share)[:, own]
        right = self._together(second, common, contrast.share)
        se = contrast.shared
        inverse = np.divide(1.0, se[own], out=np.zeros_like(se[own]), where=se[own] > 0).astype(np.float32)
        leads = np.empty_like(left)
        for place in range(left.shape[1]):
            leads[:, place] = ((left[:, place, None] - right) * inverse[place]).max(axis=1)
        return leads

    def _together(self, number: int, common: np.ndarray, share: float) -> np.ndarray:
        """Draws of the means of a sheet's arms, less their means."""
        key = number, common.tobytes()
        if key not in self._drawn:
            sample, sheet = self.contrasts.sample(number, common), self.contrasts.sheets[number]
            between = self.drawing.of_queries[:, common] @ sample.between.astype(np.float32)
            noise = np.zeros((1, 1), np.float32)
            if sample.within is not None:
                scales = sheet.arms % self.contrasts.values.shape[2]
                noise = self.drawing.of_noise[:, sheet.prompt, scales] @ root(sample.within).astype(np.float32)
            self._drawn[key] = between, noise
        between, noise = self._drawn[key]
        if share == 1:
            return between
        return np.float32(np.sqrt(share)) * between + np.float32(np.sqrt(1 - share)) * noise


def root(covariance: Float64[np.ndarray, "*some arm arm"]) -> np.ndarray:
    """Symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
