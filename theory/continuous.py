"""Exact values of worlds with continuous scores, where a closed form or a quadrature in one variable exists.

With F the distribution function of one score in [low, high], E max_N = high - integral of F(s)^N over [low, high]. For
Beta(a, 1) it is a N / (a N + 1), for Beta(1, b) it is 1 - B(1/b, N + 1) / b; other laws take 256 quadrature nodes.
Objectives that are averaged need their mean only.
"""

from functools import singledispatch

import numpy as np
from jaxtyping import Float64

from sim.envs.continuous import BetaScores, ContinuousWorld, GaussianMixtureScores, ScoreLaw
from theory.blocks.best_of_n import best_of_n_from_cdf


def task_values(world: ContinuousWorld) -> Float64[np.ndarray, "task prompt query scale"]:
    """Expected task reward of one block of N completions on every query; no cost, no task weight.

    Args:
        world: a world of Beta or truncated Gaussian mixture scores.

    Raises:
        ValueError: more than one objective is aggregated by best of N, which has no integral in one variable.
    """
    strategy, law, max_scale = world.strategy, world.law, world.known.max_scale
    best = strategy.columns("bon")
    if len(best) > 1:
        raise ValueError(
            f"exact values of continuous scores are known for one best-of-N objective; this world has {len(best)}"
        )
    weights = np.asarray(strategy.weights, np.float64)
    values = np.zeros((len(weights), *law.shape[:2], max_scale))
    for objective in strategy.columns("mean"):
        values += weights[:, objective, None, None, None] * mean_scores(law)[..., objective][..., None]
    for objective in best:
        for task, weight in enumerate(weights[:, objective].tolist()):
            values[task] += abs(weight) * largest_scores(law, objective, max_scale, upwards=weight >= 0)
    return values


@singledispatch
def mean_scores(law: ScoreLaw) -> np.ndarray:
    """Mean score, shape (prompt, query, objective), by the type of law; `mean_scores.register` adds one.

    Raises:
        ValueError: it is not known.
    """
    raise _unknown(law)


@mean_scores.register(BetaScores)
def _(law: BetaScores) -> np.ndarray:
    a, b = np.asarray(law.a, np.float64), np.asarray(law.b, np.float64)
    return a / (a + b)


@mean_scores.register(GaussianMixtureScores)
def _(law: GaussianMixtureScores) -> np.ndarray:
    weights, means, sds, ends = _mixture(law)
    start, stop = ((end - means) / sds for end in ends)
    density = [np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) for z in (start, stop)]
    component = means + sds * (density[0] - density[1]) / _mass(start, stop)
    return (weights[..., None] * component).sum(axis=2)


@singledispatch
def largest_scores(law: ScoreLaw, objective: int, max_scale: int, upwards: bool) -> np.ndarray:
    """Expected largest of N scores by the type of law, as `mean_scores`; shape (prompt, query, scale).

    Args:
        law: of the scores.
        objective: whose scores.
        max_scale: the largest N.
        upwards: False takes the largest of N negated scores.

    Raises:
        ValueError: it is not known.
    """
    raise _unknown(law)


@largest_scores.register(BetaScores)
def _(law: BetaScores, objective: int, max_scale: int, upwards: bool) -> np.ndarray:
    scales = np.arange(1, max_scale + 1)
    a, b = (np.asarray(part, np.float64)[:, :, objective, None] for part in (law.a, law.b))
    if not upwards:  # 1 - score is Beta(b, a)
        return _best_beta(b, a, scales) - 1.0
    return _best_beta(a, b, scales)


@largest_scores.register(GaussianMixtureScores)
def _(law: GaussianMixtureScores, objective: int, max_scale: int, upwards: bool) -> np.ndarray:
    weights, means, sds, (low, high) = _mixture(law)
    mean, sd = (part[..., objective, None] for part in (means, sds))
    low, high = low[objective], high[objective]
    if not upwards:
        mean, low, high = -mean, -high, -low
    start, stop = (low - mean) / sd, (high - mean) / sd

    def cdf(points: np.ndarray) -> np.ndarray:
        return (weights[..., None] * _mass(start, (points - mean) / sd) / _mass(start, stop)).sum(axis=2)

    return best_of_n_from_cdf(cdf, low, high, max_scale)


def _best_beta(a: np.ndarray, b: np.ndarray, scales: np.ndarray) -> np.ndarray:
    from scipy import special

    power, mirrored = a * scales / (a * scales + 1), 1 - special.beta(1 / b, scales + 1) / b
    closed = np.where(b == 1, power, mirrored)
    other = (a != 1) & (b != 1)
    if not other.any():
        return closed
    found = best_of_n_from_cdf(lambda points: special.betainc(a, b, points), 0.0, 1.0, len(scales))
    return np.where(other, found, closed)


def _mixture(law: GaussianMixtureScores) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    low, high = np.array(law.bounds, np.float64).T
    weights, means, sds = (np.asarray(part, np.float64) for part in (law.weights, law.means, law.sds))
    return weights / weights.sum(axis=2, keepdims=True), means, sds, (low, high)


def _mass(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Phi(stop) - Phi(start), in the tail that has digits."""
    from scipy import special

    upper = start > 0
    return special.ndtr(np.where(upper, -start, stop)) - special.ndtr(np.where(upper, -stop, start))


def _unknown(law: ScoreLaw) -> ValueError:
    return ValueError(f"exact values of {type(law).__name__} are not known; known are Beta and Gaussian mixture scores")
