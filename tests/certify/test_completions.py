"""Completions to evidence, against all subsets one by one, and the jackknife against exact variances."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import best_of, majority

from sim.certify import evidence_of
from sim.certify.completions import left_out_rows, subset_rewards
from sim.envs.dataset import Dataset
from sim.utilities import reward_units


def by_hand(strategy: object, outcomes: np.ndarray, scale: int) -> np.ndarray:
    """Mean reward of all subsets of so many completions."""
    subsets = itertools.combinations(range(len(outcomes)), scale)
    found = [np.asarray(reward_units(strategy, jnp.asarray(outcomes[list(one)]))) for one in subsets]
    return np.mean(found, axis=0) * np.asarray(strategy.unit)


@pytest.mark.parametrize("make", [majority, best_of])
def test_values_are_means_over_all_subsets_and_rows_leave_one_out(make: object) -> None:
    """Of a vote and of a best of two objectives, from pulls of four completions, three and one."""
    data: Dataset = make()
    world = data.environment()
    rng = np.random.default_rng(0)
    shape = (3, 4, 1) if data.values is None else (3, 4, 2)
    outcomes = rng.integers(0, 3, shape).astype(np.float32) if data.values is None else rng.random(shape, np.float32)
    sizes = np.array([4, 3, 1])
    values, rows = (make(world.strategy, outcomes, sizes) for make in (subset_rewards, left_out_rows))
    for pull, size in enumerate(sizes.tolist()):
        for scale in range(1, 5):
            if scale > size:
                assert np.isnan(values[pull, :, scale - 1]).all()
                continue
            own = outcomes[pull, :size]
            np.testing.assert_allclose(values[pull, :, scale - 1], by_hand(world.strategy, own, scale), atol=2e-4)
            if scale == size:
                assert np.isnan(rows[pull, :, :, scale - 1]).all()
                continue
            left = [by_hand(world.strategy, np.delete(own, one, axis=0), scale) for one in range(size)]
            expected = (size - 1) / size * ((np.array(left) - np.mean(left, axis=0)) ** 2).sum(axis=0)
            np.testing.assert_allclose((rows[pull, :, :, scale - 1] ** 2).sum(axis=1), expected, atol=2e-4)


def test_the_jackknife_is_not_too_small_on_average() -> None:
    """Over all outcomes of five completions, exactly: the mean of its variance is at least that of the value."""
    data = majority()
    strategy = data.environment().strategy
    chances = np.array([0.5, 0.3, 0.2])
    tapes = np.array(list(itertools.product(range(3), repeat=5)), np.float32)[:, :, None]
    law = chances[tapes[:, :, 0].astype(int)].prod(axis=1)
    sizes = np.full(len(tapes), 5)
    values = subset_rewards(strategy, tapes, sizes)[:, 0]
    guessed = (left_out_rows(strategy, tapes, sizes)[:, 0].astype(float) ** 2).sum(axis=1)
    exact = law @ values**2 - (law @ values) ** 2
    ratio = (law @ guessed)[:4] / exact[:4]
    assert np.all(ratio >= 1 - 1e-3)
    assert ratio[0] == pytest.approx(1, abs=1e-3)


def test_evidence_has_the_contexts_of_the_world() -> None:
    data = majority()
    world = data.environment()
    outcomes = np.random.default_rng(0).integers(0, 3, (3, 5, 4, 1)).astype(np.float32)
    completions = np.full((3, 5), 4)
    completions[2, 3:] = 0
    found = evidence_of(world.strategy, world.spec, outcomes, completions, data.costs, data.cost_weights, "xyz")
    assert [one.name for one in found.contexts] == ["x", "y", "z"]
    assert [one.cost_weight for one in found.contexts] == [0.0, 0.4, 1.0]
    assert np.isnan(found.rewards[:, 2, 3:]).all()
    assert found.num_queries == 5
    first = found.utilities(2)[1, 0]
    np.testing.assert_allclose(first, found.rewards[0, 1, 0] - 0.05 * np.arange(1, 5))
    assert found.residuals is not None
    assert (
        evidence_of(
            world.strategy, world.spec, outcomes, completions, data.costs, data.cost_weights, "xyz", False
        ).residuals
        is None
    )
