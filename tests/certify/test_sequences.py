"""Confidence sequences and bounds at a fixed time, against the package ville, plain loops and exact enumeration."""

import itertools
import math

import numpy as np
import pytest
from helpers import TAIL
from scipy import stats

from sim.certify import sequences

SIZES = np.array([1.0, 10, 60, 252, 3000])


@pytest.mark.parametrize("alpha", [0.05, 6e-5])
def test_mixture_on_both_sides_is_that_of_ville(alpha: float) -> None:
    ville = pytest.importorskip("ville", reason="the package ville, a second implementation, is not installed")
    rho = sequences.mixture_precision(100, alpha)
    expected = ville.normal_mixture(SIZES, alpha, rho) / np.sqrt(SIZES)
    np.testing.assert_allclose(sequences.mixture_half_width(SIZES, alpha, 100, 2), expected, rtol=1e-12)
    best = ville.normal_mixture(100.0, alpha, ville.best_rho(100.0, alpha)) / 10
    assert best <= sequences.mixture_half_width(np.array(100.0), alpha, 100, 2) <= 1.01 * best


@pytest.mark.parametrize("alpha", [0.05, 6e-5])
def test_mixture_on_one_side_is_just_above_the_exact_one(alpha: float) -> None:
    """Which ville finds by bisection."""
    ville = pytest.importorskip("ville", reason="the package ville, a second implementation, is not installed")
    rho = sequences.mixture_precision(100, 2 * alpha)
    exact = ville.normal_mixture(SIZES, alpha, rho, one_sided=True) / np.sqrt(SIZES)
    ours = sequences.mixture_half_width(SIZES, alpha, 100, 1)
    assert np.all(exact <= ours)
    assert np.all(ours <= 1.01 * exact)


def test_mixture_by_its_definition() -> None:
    """At the boundary the mixture of exp(x s - x^2 t / 2) over a normal law of x, by quadrature, is 1 / alpha."""
    alpha, time = 0.05, 40.0
    for sides in (1, 2):
        rho = sequences.mixture_precision(100, alpha if sides == 2 else 2 * alpha)
        x = np.linspace(0 if sides == 1 else -8 / math.sqrt(rho), 8 / math.sqrt(rho), 200_001)
        law = np.exp(-(x**2) * rho / 2) * math.sqrt(rho / (2 * math.pi)) * (2 if sides == 1 else 1)
        boundary = float(sequences.mixture_half_width(np.array(time), alpha, 100, sides)) * math.sqrt(time)
        capital = float(np.trapezoid(law * np.exp(x * boundary - x**2 * time / 2), x))
        assert 1 - 1e-6 <= capital * alpha <= (1.03 if sides == 1 else 1 + 1e-6)


@pytest.mark.parametrize("law", [(0.5, 0.5), (8.0, 0.4), (1.0, 30.0)])
def test_betting_at_any_time_is_that_of_ville(law: tuple[float, float]) -> None:
    """One side of its hedged bet, at half the error, on its grid."""
    ville = pytest.importorskip("ville", reason="the package ville, a second implementation, is not installed")
    values = np.random.default_rng(0).beta(*law, size=(150, 2))
    ours = sequences.betting_upper(values, (0.0, 1.0), 0.025)
    theirs = [ville.BettingCS(alpha=0.05).fit(values[:, one]).upper_[-1] for one in range(2)]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2.1e-4)


def capital(values: list[float], mean: float, alpha: float, anytime: bool, population: int | None) -> float:
    """The gambler's largest capital, or the last, one value after the other, in plain numbers."""
    wealth, most, seen, squares = 1.0, 1.0, 0.0, 0.25
    for time, value in enumerate(values, 1):
        variance = squares / time
        horizon = time * math.log(time + 1) if anytime else len(values)
        stake = math.sqrt(2 * math.log(1 / alpha) / (variance * horizon))
        now = mean
        if population is not None:
            now = (population * mean - seen) / (population - time + 1)
            if now > 1:
                return math.inf
            now = max(now, 0.0)
        wealth *= 1 - min(stake, 0.5 / max(1 - now, 1e-300)) * (value - now)
        most = max(most, wealth)
        seen += value
        squares += (value - (0.5 + seen) / (time + 1)) ** 2
    return most if anytime else wealth


@pytest.mark.parametrize("anytime", [True, False])
@pytest.mark.parametrize("population", [None, 40])
def test_betting_refuses_the_means_that_a_plain_loop_refuses(anytime: bool, population: int | None) -> None:
    values = np.random.default_rng(1).beta(2, 3, size=(30, 1))
    upper = float(sequences.betting_upper(values, (0.0, 1.0), 0.1, anytime, population)[0])
    assert capital(values[:, 0].tolist(), upper + 1e-9, 0.1, anytime, population) >= 10
    assert capital(values[:, 0].tolist(), upper - 1e-9, 0.1, anytime, population) < 10


def test_bounds_move_with_the_values() -> None:
    values = np.random.default_rng(2).beta(2, 3, size=(30, 1))
    upper = sequences.betting_upper(values, (0.0, 1.0), 0.1)
    np.testing.assert_allclose(sequences.betting_upper(4 * values - 3, (-3.0, 1.0), 0.1), 4 * upper - 3, atol=1e-10)
    with pytest.raises(ValueError, match="beyond the bounds"):
        sequences.betting_upper(values, (0.5, 1.0), 0.1)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_bets_on_every_path_of_coin_tosses_fail_no_more_often_than_they_may(share: float) -> None:
    """All 4,096 paths of 12 tosses: the probability that the bound ever falls below the mean is at most alpha."""
    paths = np.array(list(itertools.product((0.0, 1.0), repeat=12))).T
    heads = paths.sum(axis=0)
    law = share**heads * (1 - share) ** (12 - heads)
    for alpha in (0.05, 0.2):
        for anytime in (True, False):
            upper = sequences.betting_upper(paths, (0.0, 1.0), alpha, anytime)
            assert law[upper < share - 1e-12].sum() <= alpha


def test_bets_without_replacement_on_every_order_fail_no_more_often_than_they_may() -> None:
    """Ten cards, three of them 1, all orders of eight."""
    orders = np.array([[float(i in ones) for i in range(10)] for ones in itertools.combinations(range(10), 3)]).T
    for alpha in (0.05, 0.2, 0.4):
        upper = sequences.betting_upper(orders[:8], (0.0, 1.0), alpha, population=10)
        assert np.mean(upper < 0.3 - 1e-12) <= alpha
        independent = sequences.betting_upper(orders[:8], (0.0, 1.0), alpha)
        assert upper.mean() < independent.mean()


def test_empirical_bernstein_by_hand() -> None:
    """Values 0, 0, 1, 1: variance 1/3; log(2 / .1) = 2.9957."""
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    expected = math.sqrt(2 / 3 * math.log(20) / 4) + 7 * math.log(20) / 9
    np.testing.assert_allclose(sequences.bernstein_half_width(values, 1.0, 0.1), [expected], rtol=1e-12)
    assert np.isinf(sequences.bernstein_half_width(values[:1], 1.0, 0.1)).all()


@pytest.mark.parametrize("planned", [10, 100])
def test_the_clock_of_a_list_holds_at_all_its_sizes(planned: int) -> None:
    """Orders of 60 numbers without replacement, looked at from the tenth to the last but one: misses at most alpha.

    The spread is known here. Seen to fail with four times the error; twice is within what the bound leaves free.
    """
    rng, alpha, size = np.random.default_rng(0), 0.1, 60
    values = rng.permuted(np.tile(stats.norm.ppf((np.arange(size) + 0.5) / size), (4_000, 1)), axis=1)
    seen = np.arange(10, size)
    means = (values.cumsum(axis=1) / np.arange(1, size + 1))[:, seen - 1]
    se = values[0].std(ddof=1) * np.sqrt((1 - seen / size) / seen)
    half = sequences.mixture_half_width(seen / (1 - seen / size), alpha, planned)
    missed = int((means + half * se < 0).any(axis=1).sum())
    assert stats.binom.sf(missed - 1, len(values), alpha) > TAIL
