"""Tables of best of N against exact moments of the prior and exact expectations over all counts."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import beta, comb

from sim.kernels import polynomial

GRID = np.sin(np.linspace(0, np.pi / 2, 401)) ** 2


def chances(size: int) -> np.ndarray:
    """Chance of every count of `size` completions, over a grid of F."""
    count = np.arange(size + 1)
    return comb(size, count) * GRID[:, None] ** count * (1 - GRID[:, None]) ** (size - count)


def worst_bias(table: np.ndarray) -> np.ndarray:
    """Largest |E b - F^k| over F, for every scale, exactly."""
    truth = GRID[:, None] ** np.arange(1, table.shape[1] + 1)
    return np.abs(chances(len(table) - 1) @ table - truth).max(axis=0)


def prior(ups: np.ndarray, downs: np.ndarray) -> np.ndarray:
    """Mean of F^ups (1 - F)^downs under Jeffreys' prior, by Euler's integral."""
    return beta(ups + 0.5, downs + 0.5) / np.pi


@pytest.mark.parametrize(("size", "scales", "pulls"), [(1, 5, 4), (4, 9, 1), (6, 16, 37), (12, 20, 4096)])
def test_a_table_has_the_least_error_of_those_exact_at_the_ends(size: int, scales: int, pulls: int) -> None:
    """The error's derivative in every inner entry is zero, by exact moments; 37 pulls count as 32.

    Seen to fail with as many nodes as pulls have completions, with 37, and without the ends' share of the right side.
    """
    b, power = polynomial.table(size, scales, pulls), 2.0 ** (pulls.bit_length() - 1)
    np.testing.assert_array_equal(b[0], np.zeros(scales))
    np.testing.assert_array_equal(b[size], np.ones(scales))
    j, k = np.arange(size + 1), np.arange(1, scales + 1)
    ways = comb(size, j)
    products = np.outer(ways, ways) * prior(j[:, None] + j, 2 * size - j[:, None] - j)
    with_truth = ways[:, None] * prior(j[:, None] + k, (size - j)[:, None] + 0 * k)
    alone = ways * prior(j, size - j)
    slope = (1 - 1 / power) * (products @ b - with_truth) + (alone[:, None] * b - with_truth) / power
    np.testing.assert_allclose(slope[1:size], 0, atol=1e-12)


@pytest.mark.parametrize("size", [7, 8, 13])
def test_pulls_of_the_largest_scale_and_more_are_unbiased(size: int) -> None:
    """Seen to fail with draws with replacement."""
    assert worst_bias(polynomial.table(size, 7, 5)).max() < 1e-14


def test_bias_beyond_the_pull_falls_as_it_grows() -> None:
    """Best of 32 from 4, 8 and 16 completions, exactly: .324, .0395, .0006; of the pulls' frequencies .65, .48, .30.

    At scales up to n next to none is left where there are many pulls. Seen to fail with the variance alone minimised.
    """
    worst, plug_in = [], []
    for size in (4, 8, 16):
        b = polynomial.table(size, 32, 2**20)
        worst.append(worst_bias(b)[31])
        plug_in.append(worst_bias((np.arange(size + 1)[:, None] / size) ** np.arange(1, 33))[31])
        assert worst_bias(b)[:size].max() < 1e-3
    np.testing.assert_allclose(worst, [0.3240, 0.0395, 0.0006], atol=1e-4)
    np.testing.assert_allclose(plug_in, [0.6501, 0.4767, 0.2971], atol=1e-4)


def test_few_pulls_have_smaller_entries() -> None:
    """Variance counts more: one pull's table stays within [0, 1]. Seen to fail with M as 1 / M."""
    few, many = (polynomial.table(8, 32, pulls) for pulls in (1, 2**16))
    assert few.min() == 0
    assert few.max() == 1
    assert many.min() < -4
    assert many.max() > 4


def test_tables_are_kept_and_cannot_be_changed() -> None:
    b = polynomial.table(4, 9, 40)
    assert polynomial.table(4, 9, 40) is b
    np.testing.assert_array_equal(polynomial.table(4, 9, 63), b)
    with pytest.raises(ValueError, match="read-only"):
        b[1, 1] = 0
    with pytest.raises(ValueError, match="at least one completion and one pull; there are 0 and 3"):
        polynomial.table(0, 9, 3)


@pytest.mark.parametrize("size", [1, 3, 6])
def test_weights_of_ranked_scores_are_the_table_level_by_level(size: int) -> None:
    """Mean ranked scores of 21 pulls, some of them equal, against v_max - sum of steps times the table of 16 pulls.

    Whatever stands beyond a pull's completions is not read. Seen to fail with the low parts of scores left out.
    """
    rng = np.random.default_rng(size)
    score = np.sort(rng.integers(-(2**16), 2**16, (21, size)), axis=1)
    levels, table = np.unique(score), polynomial.table(size, 8, 16)
    expected = np.full(8, float(levels[-1]))
    for low, high in pairwise(levels):
        expected -= (high - low) * table[(score <= low).sum(axis=1)].mean(axis=0)
    ranked = jnp.pad(jnp.asarray(score.mean(axis=0), jnp.float32), (0, 6 - size), constant_values=1e6)
    found = polynomial.values(polynomial.weights(6, 8), ranked, jnp.int32(size), jnp.int32(21))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.2)  # of 2**16: scores and weights have 24 digits


def test_estimates_of_best_have_the_same_bits_in_any_batch() -> None:
    """Alone, of many rows, under vmap and without jit. Seen to fail with scores not split."""
    rng = np.random.default_rng(0)
    weights = polynomial.weights(16, 32)
    ranked = jnp.asarray(np.sort(rng.normal(0, 2**14, (40, 3, 16))), jnp.float32)
    sizes, pulls = jnp.asarray(rng.integers(1, 17, 40), jnp.int32), jnp.asarray(rng.integers(1, 9999, 40), jnp.int32)

    def one(ranked: Any, size: Any, pulls: Any) -> Any:
        return polynomial.values(weights, ranked, size, pulls)

    whole = np.asarray(jax.jit(jax.vmap(one))(ranked, sizes, pulls))
    for row in range(0, 40, 13):
        alone = np.asarray(one(ranked[row], sizes[row], pulls[row]))
        np.testing.assert_array_equal(alone, whole[row])
        np.testing.assert_array_equal(jax.jit(one)(ranked[row, 1], sizes[row], pulls[row]), whole[row, 1])


def test_weights_of_too_many_numbers_are_refused() -> None:
    assert polynomial.widest(256, 256) == 25
    assert polynomial.widest(32, 32) == 32
    with pytest.raises(ValueError, match="best of 256 takes pulls of at most 25 completions here, not 26"):
        polynomial.weights(26, 256)
