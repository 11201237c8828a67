"""Worlds of questions for tests of statements: prompts, queries of a few kinds, votes among n completions.

A completion is right with a chance that depends on the prompt and the kind of query; all wrong answers agree. N = 1
then has the chance as its value, and N = 3 the chance that two of three are right.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from sim.certify import ContextTerms, QueryEvidence

SCALES = (1, 3)
FREE = (ContextTerms("free"),)


class Asked(NamedTuple):
    """Chances of every prompt on every kind of query, shape (prompt, kind), and shares of the kinds."""

    chances: np.ndarray
    shares: np.ndarray

    def truth(self, kinds: np.ndarray | None = None) -> np.ndarray:
        """Values, shape (prompt, 2): of the law, or on exactly these queries."""
        shares = self.shares if kinds is None else np.bincount(kinds, minlength=len(self.shares)) / len(kinds)
        three = 3 * self.chances**2 - 2 * self.chances**3
        return np.stack([self.chances @ shares, three @ shares], axis=1)

    def draw(self, rng: np.random.Generator, queries: int, each: int) -> tuple[QueryEvidence, np.ndarray]:
        """Evidence of `each` completions of every prompt on every query, and the kinds of the queries."""
        kinds = rng.choice(len(self.shares), size=queries, p=self.shares)
        right = rng.binomial(each, self.chances[:, kinds])
        return evidence_of_votes(right, each), kinds


EQUAL = Asked(np.array([[0.9, 0.3]] * 3), np.array([0.5, 0.5]))
NEAR = Asked(np.array([[0.9, 0.3], [0.8, 0.4], [0.88, 0.3], [0.4, 0.2]]), np.array([0.6, 0.4]))
SPREAD = Asked(np.array([[0.95, 0.1, 0.5], [0.3, 0.8, 0.5], [0.9, 0.2, 0.1], [0.5, 0.5, 0.9]]), np.full(3, 1 / 3))
OPPOSITE = Asked(np.array([[0.98, 0.02], [0.02, 0.98]]), np.array([0.5, 0.5]))
RARE = Asked(np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([0.99, 0.01]))


def value(right: np.ndarray, each: int, scale: int) -> np.ndarray:
    """Share of the subsets in which most are right."""
    if scale == 1:
        return right / each
    three = special.comb(right, 3) + special.comb(right, 2) * (each - right)
    return three / special.comb(each, 3)


def evidence_of_votes(right: np.ndarray, each: int, population: int | None = None) -> QueryEvidence:
    """Evidence for N = 1 and 3, at places 1 and 2 of the scale axis, from numbers of right answers (prompt, query).

    Rows of noise: that of the right answers and that of the wrong ones, each as often as there are such.
    """
    shape = right.shape
    rewards, noise = np.zeros((1, *shape, 2)), np.zeros((1, *shape, 2, 2))
    for place, scale in enumerate(SCALES):
        rewards[0, :, :, place] = value(right, each, scale)
        without = [
            value(np.maximum(right - 1, 0), each - 1, scale),
            value(np.minimum(right, each - 1), each - 1, scale),
        ]
        counts = [right, each - right]
        for row in (0, 1):
            rest = (without[row] - rewards[0, :, :, place]) * np.sqrt(counts[row] * (each - 1) / each)
            noise[0, :, :, row, place] = rest
    return QueryEvidence(
        rewards,
        np.full(shape, 2),  # places of the scale axis that hold values
        FREE,
        np.zeros(len(right)),
        residuals=noise,
        population=population,
        bounds=np.array([[0.0, 1.0]]),
    )
