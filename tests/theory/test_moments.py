"""Variance of block means: exact components against enumeration, simulation and known figures."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sim.envs.dataset import Dataset
from sim.envs.released import read_released
from sim.kernels import counter
from theory import exact, moments


def small(aggregate: str = "mv", **more: object) -> Dataset:
    """Two prompts, three queries, three answers or scores."""
    probs = np.array(
        [[[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], [[0.5, 0.25, 0.25], [0.6, 0.4, 0], [0, 0.5, 0.5]]]
    )
    given = (
        {"answers": np.array([0, 1, 0])}
        if aggregate == "mv"
        else {"values": np.array([0.0, 0.25, 1.0])[None, None, :, None] + np.zeros((2, 3, 1, 1))}
    )
    fields = {"name": "small", "aggregate": (aggregate,), "probs": probs, "objective_weights": np.ones((1, 1))}
    return Dataset(**fields, cost_weights=np.zeros(1), costs=np.zeros(2), max_scale=8, **given, **more)


@pytest.mark.parametrize("aggregate", ["mv", "bon", "mean"])
def test_components_add_up_to_the_variance_of_one_block(aggregate: str) -> None:
    data = small(aggregate)
    _, between, within = moments.components(data)
    np.testing.assert_allclose(between + within, exact.variance(data), atol=1e-14)
    per_query = exact.task_moments(data)
    np.testing.assert_allclose(between, per_query.mean.var(axis=2), atol=1e-14)
    np.testing.assert_allclose(within, per_query.variance.mean(axis=2), atol=1e-14)
    np.testing.assert_allclose(moments.block_mean_variance(data, 1).variance, (between + within)[..., :1], atol=1e-14)


def test_single_shot_components_by_hand() -> None:
    data = small("mean", query_weights=np.array([1.0, 1.0, 2.0]))
    found = moments.components(data, np.array([0, 2]))
    score = np.array([0, 0.25, 1])
    mean, square = data.probs[:, [0, 2]] @ score, data.probs[:, [0, 2]] @ score**2
    law = np.array([1, 2]) / 3
    np.testing.assert_allclose(found.mean[0, :, 0], mean @ law)
    np.testing.assert_allclose(found.between[0, :, 0], mean**2 @ law - (mean @ law) ** 2, atol=1e-15)
    np.testing.assert_allclose(found.within[0], ((square - mean**2) @ law)[:, None] / np.arange(1, 9), atol=1e-15)


def test_utility_scales_the_variance_and_cost_does_not() -> None:
    data = small("bon")
    other = dataclasses.replace(data, objective_weights=np.array([[3.0]]), cost_weights=np.ones(1), costs=np.ones(2))
    np.testing.assert_allclose(exact.variance(other), 9 * exact.variance(data), rtol=1e-12)


@pytest.mark.parametrize("aggregate", ["mv", "bon"])
def test_block_means_of_a_pull_vary_as_computed(aggregate: str) -> None:
    """Sample variance of simulated block means for every pull size and scale, within 5 standard errors.

    The standard error of a sample variance is sqrt((m4 - s^4) / n), m4 the sample's fourth central moment.
    Caught when planted: blocks counted as independent, (Vb + Vw) / b (|z| = 48).
    """
    data, num_pulls = small(aggregate), 20_000
    world = data.environment()

    @jax.jit
    def units(key: jax.Array, scale: jax.Array) -> jax.Array:
        def one(pull_key: jax.Array) -> jax.Array:
            query = counter.integer(counter.bits(counter.fold(pull_key, 1), (1,))[0], 3)
            return jax.vmap(lambda p: world.block_units(world.pull(pull_key, p, query, scale)))(jnp.arange(2))

        return jax.vmap(one)(jax.vmap(lambda i: counter.fold(key, 0, i))(jnp.arange(num_pulls)))

    for scale in (3, 7, 8):
        blocks = scale // np.arange(1, scale + 1)
        drawn = np.asarray(units(counter.from_seed(scale), jnp.int32(scale)), np.float64)[:, :, 0, :scale]
        sample = drawn * float(world.strategy.unit[0]) / blocks
        estimate = moments.block_mean_variance(data, scale)
        centred = sample - sample.mean(axis=0)
        square, fourth = (centred**2).mean(axis=0), (centred**4).mean(axis=0)
        z = (square - estimate.variance[0]) / np.sqrt((fourth - square**2) / num_pulls)
        assert np.abs(z).max() <= 5, z


def test_pull_scale_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="pull_scale is 9; small allows 1 to 8"):
        moments.block_mean_variance(small(), 9)


def test_released_math_table(math_path: Path) -> None:
    """Averages over prompts on the training queries."""
    data = read_released(math_path)
    found = moments.components(data, np.flatnonzero(~data.test))
    between, within = (part[0].mean(axis=0) for part in (found.between, found.within))
    k = np.array([1, 3, 5, 8, 11, 16, 32])
    vb, vw = between[k - 1], within[k - 1]
    np.testing.assert_allclose(vb, [0.0891, 0.1023, 0.1085, 0.1139, 0.1177, 0.1215, 0.1281], atol=5.1e-5)
    np.testing.assert_allclose(vw, [0.1049, 0.0589, 0.0464, 0.0368, 0.0338, 0.0287, 0.0220], atol=5.1e-5)
    np.testing.assert_allclose(vb / (vb + vw), [0.46, 0.635, 0.70, 0.76, 0.78, 0.81, 0.85], atol=5.1e-3)
