"""Exact values of continuous worlds against quadrature of the laws as scipy knows them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from sim.core import Environment
from sim.envs import continuous
from sim.envs.continuous import (
    BetaScores,
    GaussianMixtureScores,
    ScoreLaw,
    beta_scores,
    continuous_world,
    gaussian_scores,
)
from sim.envs.sources import NamedSource, shuffled
from theory import truth
from theory.continuous import largest_scores, mean_scores, task_values

MAX_SCALE = 6
ENDS = (-1.0, 2.0)
WEIGHTS, MEANS, SDS = np.array([0.7, 0.3]), np.array([0.2, 2.4]), np.array([0.5, 0.7])


def values_of(law: ScoreLaw, weights: tuple[tuple[float, ...], ...], **options) -> np.ndarray:
    zeros = np.zeros(len(weights))
    return task_values(continuous_world(law, np.array(weights), zeros, np.zeros(law.shape[0]), MAX_SCALE, **options))


def mixture() -> ScoreLaw:
    shape = (1, 1, 2, 1)
    return gaussian_scores(WEIGHTS.reshape(1, 1, 2), MEANS.reshape(shape), SDS.reshape(shape), (ENDS,))


def mixture_cdf(score: float) -> float:
    low, high = ENDS
    parts = (stats.truncnorm((low - m) / s, (high - m) / s, m, s) for m, s in zip(MEANS, SDS, strict=True))
    return sum(weight * part.cdf(score) for weight, part in zip(WEIGHTS, parts, strict=True))


def best_by_quadrature(cdf, low: float, high: float, sign: float) -> list[float]:
    """E of the largest of N values of sign * score."""
    best = []
    for n in range(1, MAX_SCALE + 1):
        if sign > 0:
            best.append(high - integrate.quad(lambda s, n=n: cdf(s) ** n, low, high)[0])
        else:
            best.append(-low - integrate.quad(lambda s, n=n: (1 - cdf(s)) ** n, low, high)[0])
    return best


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("a", "b"), [(1.7, 1.0), (1.0, 0.85), (2.0, 3.0), (1.0, 1.0)])
def test_beta_scores(a: float, b: float, sign: float):
    law = beta_scores(np.full((1, 1, 1), a), np.full((1, 1, 1), b))
    found = values_of(law, ((sign,),))[0, 0, 0]
    law32 = stats.beta(*(float(np.float32(part)) for part in (a, b)))
    np.testing.assert_allclose(found, best_by_quadrature(law32.cdf, 0.0, 1.0, sign), atol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gaussian_mixtures(sign: float):
    found = values_of(mixture(), ((sign,),))[0, 0, 0]
    np.testing.assert_allclose(found, best_by_quadrature(mixture_cdf, *ENDS, sign), atol=1e-6)  # float32 parameters


def test_means_do_not_depend_on_the_scale():
    found = values_of(mixture(), ((1.0,), (-1.0,)), aggregate=("mean",))[:, 0, 0]
    mean = best_by_quadrature(mixture_cdf, *ENDS, 1.0)[0]
    np.testing.assert_allclose(found, np.repeat([[mean], [-mean]], MAX_SCALE, axis=1), atol=1e-6)
    law = beta_scores(np.full((1, 1, 1), 2.0), np.full((1, 1, 1), 3.0))
    np.testing.assert_allclose(values_of(law, ((1.0,),), aggregate=("mean",)), np.full((1, 1, 1, MAX_SCALE), 0.4))


def test_mean_and_best_add_up():
    law = beta_scores(np.full((1, 1, 2), 2.0), np.full((1, 1, 2), 1.0))
    found = values_of(law, ((0.25, 0.75),), aggregate=("bon", "mean"))[0, 0, 0]
    scales = np.arange(1, MAX_SCALE + 1)
    np.testing.assert_allclose(found, 0.25 * 2 * scales / (2 * scales + 1) + 0.75 * 2 / 3)


def test_two_best_of_n_objectives_are_refused():
    law = beta_scores(np.ones((1, 1, 2)), np.ones((1, 1, 2)))
    with pytest.raises(ValueError, match="one best-of-N objective; this world has 2"):
        values_of(law, ((0.5, 0.5),))


def test_registered_worlds_are_covered():
    for source in (continuous.beta_bon(), continuous.gaussian_bon()):
        values = task_values(source.environment)
        assert values.shape == (1, 8, 20, 16)
        assert np.isfinite(values).all()


class Sure(ScoreLaw):
    """Scores that are all 1/2: a law of one's own."""

    shape = (2, 3, 1)
    ends = (np.zeros(1), np.ones(1))

    def draw(self, key, prompt, query, size):
        return jnp.full((size, 1), 0.5)


def test_a_law_of_ones_own_says_its_values_or_is_refused():
    """By type. Seen to fail where the two laws of the package alone were asked for."""
    with pytest.raises(ValueError, match="exact values of Sure are not known; known are Beta and Gaussian mixture"):
        values_of(Sure(), ((1.0,),))
    known, best = dict(mean_scores.registry), largest_scores.registry
    assert {BetaScores, GaussianMixtureScores} <= set(known) & set(best)

    class Known(Sure):
        pass

    mean_scores.register(Known)(lambda law: np.full(law.shape, 0.5))
    largest_scores.register(Known)(
        lambda law, objective, most, upwards: np.full((2, 3, most), 0.5 if upwards else -0.5)
    )
    assert np.all(values_of(Known(), ((1.0,),)) == 0.5)
    assert np.all(values_of(Known(), ((1.0,),), aggregate=("mean",)) == 0.5)


class Odd(Environment):
    """A world of one's own without tables: it knows as much as another, and answers no pulls here."""

    inner: Environment

    @property
    def spec(self):
        return self.inner.spec

    @property
    def num_queries(self):
        return self.inner.num_queries


def test_a_world_of_ones_own_says_its_values_or_is_refused():
    """Weights of queries are asked of its source. Seen to fail where that says none."""
    uniform = beta_scores(np.ones((1, 2, 1)), np.ones((1, 2, 1)))
    world = continuous_world(uniform, np.ones((1, 1)), np.zeros(1), np.zeros(1), MAX_SCALE)
    named = NamedSource("odd", shuffled(Odd(world), 1.0, query_weights=np.array([1.0, 3.0]), name="odd"))
    assert truth.finite_world(named) is None
    with pytest.raises(ValueError, match="exact values of a Odd are not known; it cannot be scored"):
        truth.whole_values(named)
    truth.task_values.register(Odd)(lambda odd: task_values(odd.inner) * np.array([0.0, 1.0])[:, None])
    found = truth.whole_values(named)
    np.testing.assert_allclose(found[0, 0], 0.75 * np.arange(1, MAX_SCALE + 1) / np.arange(2, MAX_SCALE + 2), rtol=1e-6)
    assert np.isnan(truth.reward_widths(named)).all()
