"""Exact values of the small families, by formulas written here."""

import numpy as np
import pytest
from scipy.stats import binom

from sim.envs import families
from sim.envs.dataset import Dataset


def values(data: Dataset) -> np.ndarray:
    """Q[context, prompt, scale] of a two-outcome data set: majority vote, or best of N."""
    scales = np.arange(1, data.max_scale + 1)
    if data.aggregate == ("mv",):
        right = data.probs[..., 0, None]
        value = 1 - binom.cdf(scales // 2, scales, right) + binom.pmf(scales / 2, scales, right) / 2
    else:
        low, high = data.values[..., 0, 0, None], data.values[..., 1, 0, None]
        value = high - (high - low) * data.probs[..., 0, None] ** scales
    cost = data.cost_weights[:, None, None] * data.costs[None, :, None] * scales[None, None, :]
    return data.objective_weights[:, 0, None, None] * value.mean(axis=1)[None] - cost


def best_and_gap(table: np.ndarray, scales: tuple[int, ...] | None = None) -> tuple[tuple[int, int], float]:
    """Best (prompt, scale) of a context, and its lead over the next arm, among some scales."""
    scales = scales or tuple(range(1, table.shape[1] + 1))
    part = table[:, np.array(scales) - 1]
    prompt, place = np.unravel_index(part.argmax(), part.shape)
    ordered = np.sort(part.ravel())
    return (int(prompt), scales[int(place)]), float(ordered[-1] - ordered[-2])


def test_two_arm() -> None:
    data = families.two_arm()
    np.testing.assert_allclose(values(data)[0, :, 0], [0.1, -0.1], atol=1e-12)
    assert data.max_scale == 1
    assert families.two_arm((0.55, 0.45, 0.45)).num_prompts == 3


def test_graded_halving() -> None:
    table = values(families.graded_halving())
    np.testing.assert_allclose(table[0, :, 0], [0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3], atol=1e-12)


def test_bon_two_scales() -> None:
    free, costly = values(families.bon_two_scales())
    assert best_and_gap(free) == ((0, 2), pytest.approx(0.21, abs=1e-12))
    assert best_and_gap(costly) == ((0, 1), pytest.approx(0.11, abs=1e-12))


def test_bon_query_effects_keeps_the_means() -> None:
    flat, spread = values(families.bon_two_scales()), values(families.bon_query_effects())
    np.testing.assert_allclose(flat[..., 0], spread[..., 0], atol=1e-12)
    assert best_and_gap(spread[0]) == ((0, 2), pytest.approx(0.12, abs=1e-12))


def test_mv_three_scales() -> None:
    free, costly = values(families.mv_three_scales())
    assert best_and_gap(free, (1, 5, 15)) == ((0, 15), pytest.approx(0.086, abs=5e-4))
    assert best_and_gap(costly, (1, 5, 15)) == ((0, 5), pytest.approx(0.067, abs=5e-4))
    assert best_and_gap(free) == ((0, 15), pytest.approx(0.0070, abs=5e-5))
    assert best_and_gap(costly) == ((0, 5), pytest.approx(0.0068, abs=5e-5))


def test_crossover() -> None:
    table = values(families.crossover())[0]
    np.testing.assert_allclose(table[:, 0], [0.65, 0.62], atol=1e-12)
    np.testing.assert_allclose(table[:, 9], [0.63, 0.77], atol=0.005)


@pytest.mark.parametrize(
    "build",
    [
        families.two_arm,
        families.graded_halving,
        families.bon_two_scales,
        families.bon_query_effects,
        families.mv_three_scales,
        families.crossover,
    ],
)
def test_worlds_hold_the_same_laws(build) -> None:
    data = build()
    first = data.gold_first()[0][..., 0]
    np.testing.assert_allclose(np.asarray(data.environment().thresholds)[..., 0] / 2.0**32, first, atol=2.0**-31)
