"""Continuous worlds: simulated best-of-N values against quadrature, and the laws of single scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sim.envs import continuous
from sim.envs.continuous import ContinuousWorld, ScoreLaw, beta_scores, continuous_world, gaussian_scores
from sim.kernels import counter

MAX_SCALE = 8
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def world_of(
    law: ScoreLaw, weights: tuple[tuple[float, ...], ...] = ((1.0,),), max_scale: int = MAX_SCALE, **options
) -> ContinuousWorld:
    zeros = np.zeros(len(weights))
    return continuous_world(law, np.array(weights), zeros, np.zeros(law.shape[0]), max_scale, **options)


def keys(num: int, seed: int = 0) -> jax.Array:
    return jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(seed), jnp.arange(num))


def scores(law: ScoreLaw, key: jax.Array, num: int) -> np.ndarray:
    """Scores of `num` completions of prompt 0 on query 0, shape (completion, objective)."""
    draw = jax.jit(lambda key: law.draw(key, jnp.int32(0), jnp.int32(0), num))
    return np.asarray(draw(key), np.float64)


def simulate(world: ContinuousWorld, scales: tuple[int, ...], num: int) -> np.ndarray:
    """Rewards of `num` pulls of prompt 0 on query 0 at each scale, as one block each, shape (scale, pull)."""
    zeros = jnp.zeros(num * len(scales), jnp.int32)
    scale = np.repeat(scales, num)
    units = jax.jit(lambda *rows: world.pull_rows(*rows, MAX_SCALE))(keys(len(zeros)), zeros, zeros, jnp.asarray(scale))
    rewards = np.asarray(units)[np.arange(len(scale)), 0, scale - 1] * float(world.spec.unit[0])
    return rewards.reshape(len(scales), num)


def moments_of_max(cdf, low: float, high: float, scale: int) -> tuple[float, float]:
    """Mean and variance of the best of `scale` scores: E M = high - int F^N, E M^2 = high^2 - int 2 s F^N."""
    s, weights = low + (high - low) * (NODES + 1) / 2, (high - low) / 2 * WEIGHTS
    power = cdf(s) ** scale
    first, second = high - weights @ power, high**2 - weights @ (2 * s * power)
    return first, second - first**2


def truncated_mixture(weights, means, sds, low: float, high: float):
    parts = [stats.truncnorm((low - m) / s, (high - m) / s, m, s) for m, s in zip(means, sds, strict=True)]
    return lambda x: sum(w * part.cdf(x) for w, part in zip(weights, parts, strict=True))


def one(value: float) -> np.ndarray:
    return np.full((1, 1, 1), value)


MIXTURE = ((0.7, 0.3), (0.2, 1.4), (0.3, 0.5), 0.0, 1.5)


def mixture_law() -> ScoreLaw:
    weights, means, sds, low, high = MIXTURE
    shape = (1, 1, 2, 1)
    return gaussian_scores(
        np.array(weights)[None, None], np.reshape(means, shape), np.reshape(sds, shape), ((low, high),)
    )


CASES = {
    "beta(1.6, 1)": (lambda: beta_scores(one(1.6), one(1.0)), stats.beta(1.6, 1).cdf, 0.0, 1.0),
    "beta(1, .7)": (lambda: beta_scores(one(1.0), one(0.7)), stats.beta(1, 0.7).cdf, 0.0, 1.0),
    "uniform": (lambda: beta_scores(one(1.0), one(1.0)), stats.uniform().cdf, 0.0, 1.0),
    "beta(2.5, .8)": (lambda: beta_scores(one(2.5), one(0.8)), stats.beta(2.5, 0.8).cdf, 0.0, 1.0),
    "mixture": (mixture_law, truncated_mixture(*MIXTURE), *MIXTURE[3:]),
    "upper tail": (
        lambda: gaussian_scores(one(1.0), np.full((1, 1, 1, 1), -2.0), np.full((1, 1, 1, 1), 0.5), ((1.0, 3.0),)),
        truncated_mixture((1.0,), (-2.0,), (0.5,), 1.0, 3.0),
        1.0,
        3.0,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_best_of_n_agrees_with_quadrature(case: str) -> None:
    """|mean - exact| <= 5 se, with the exact standard error.

    Seen to fail with u^a in place of u^(1/a) (beta), with clipping in place of truncation (mixture), and without
    the mirroring (upper tail), at more than 15 se each.
    """
    build, cdf, low, high = CASES[case]
    scales, num = (1, 3, 8), 2000 if case == "beta(2.5, .8)" else 10000
    for scale, rewards in zip(scales, simulate(world_of(build()), scales, num), strict=True):
        mean, variance = moments_of_max(cdf, low, high, scale)
        assert abs(rewards.mean() - mean) <= 5 * np.sqrt(variance / num)


def test_closed_form_of_the_power_law() -> None:
    for a, scale in ((1.6, 8), (0.5, 3)):
        mean, _ = moments_of_max(stats.beta(a, 1).cdf, 0.0, 1.0, scale)
        assert mean == pytest.approx(a * scale / (a * scale + 1), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), [(2.5, 0.8), (0.4, 0.6), (30.0, 12.0), (1.3, 1.0)])
def test_bisection_inverts_the_beta_distribution(a: float, b: float) -> None:
    law = continuous.BetaScores(jnp.full((1, 1, 1), a), jnp.full((1, 1, 1), b), closed=False)
    key = counter.from_seed(2)
    score = scores(law, key, 200)
    u = np.asarray(counter.uniform(key, (200, 1)), np.float64)
    # Off by at most 2**-25 in the score or 1e-5 in probability, whichever is more forgiving.
    lower, upper = stats.beta(a, b).ppf(np.clip([u - 1e-5, u + 1e-5], 0, 1))
    assert np.all((score >= lower - 2.0**-25) & (score <= upper + 2.0**-25))


def test_mixture_components_are_shared_by_the_objectives() -> None:
    """With far truncation the covariance is sum_j w_j (m_j0 - mean_0) (m_j1 - mean_1) = .3 * .7 * 2 * 1 = .42.

    Seen to fail with the two components swapped, at more than 100 se.
    """
    means = np.array([[0.0, 0.0], [2.0, 1.0]])[None, None]
    law = gaussian_scores(np.array([[[0.7, 0.3]]]), means, np.full((1, 1, 2, 2), 0.1), ((-9.0, 9.0), (-9.0, 9.0)))
    num = 20000
    score = scores(law, counter.from_seed(1), num)
    product = (score[:, 0] - 0.6) * (score[:, 1] - 0.3)
    assert abs(product.mean() - 0.42) <= 5 * product.std() / np.sqrt(num)


def test_plain_and_kernel_rewards_agree() -> None:
    """Scores may differ by a last digit between compilations, hence one unit a block."""
    law = gaussian_scores(np.ones((1, 1, 1)), np.zeros((1, 1, 1, 2)), np.ones((1, 1, 1, 2)), ((-3.0, 3.0), (-3.0, 3.0)))
    world = world_of(law, ((0.25, 0.75), (0.5, 0.5)), max_scale=4, aggregate=("bon", "mean"))
    zeros, scales = jnp.zeros(2, jnp.int32), jnp.array([4, 3])
    rows = jax.jit(lambda *rows: world.pull_rows(*rows, 4))(keys(2), zeros, zeros, scales)
    plain = jax.jit(jax.vmap(lambda *row: world.block_units(world.pull(*row))))(keys(2), zeros, zeros, scales)
    np.testing.assert_allclose(rows, plain, atol=4)
    assert np.all(np.asarray(rows)[0] != 0)


def test_prompts_of_the_presets_cross_over() -> None:
    """The prompt with the best mean is one of the first four, the prompt with the best E max_16 one of the others."""
    law = continuous.beta_bon().environment.law
    middle = 10
    a, b = np.asarray(law.a)[:, middle, 0], np.asarray(law.b)[:, middle, 0]
    value = np.array(
        [[moments_of_max(stats.beta(*ab).cdf, 0.0, 1.0, n)[0] for n in (1, 16)] for ab in zip(a, b, strict=True)]
    )
    assert value[:, 0].argmax() < 4 <= value[:, 1].argmax()
    law = continuous.gaussian_bon().environment.law
    value = []
    for p in range(8):
        weights, means, sds = (np.asarray(part, np.float64)[p, middle] for part in (law.weights, law.means, law.sds))
        cdf = truncated_mixture(weights, means[:, 0], sds[:, 0], -4.0, 4.0)
        value.append([moments_of_max(cdf, -4.0, 4.0, n)[0] for n in (1, 16)])
    value = np.array(value)
    assert value[:, 0].argmax() < 4 <= value[:, 1].argmax()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: beta_scores(one(0.0), one(1.0)), "must be positive"),
        (lambda: gaussian_scores(one(0.5), np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), ((0.0, 1.0),)), "sum to 1"),
        (lambda: gaussian_scores(one(1.0), np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)), ((0.0, 1.0),)), "sds must"),
        (lambda: gaussian_scores(one(1.0), np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), ((1.0, 0.0),)), "low < high"),
        (lambda: gaussian_scores(one(1.0), np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), ((9.0, 10.0),)), "8 sds"),
        (
            lambda: gaussian_scores(one(1.0), np.zeros((1, 1, 1)), np.ones((1, 1, 1)), ((0.0, 1.0),)),
            "must have the axes",
        ),
        (lambda: world_of(beta_scores(one(1.0), one(1.0)), aggregate=("mv",)), "'bon' or 'mean'"),
        (lambda: world_of(beta_scores(one(1.0), one(1.0)), ((0.5, 0.5),)), "objective_weights has shape"),
    ],
)
def test_bad_input(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
