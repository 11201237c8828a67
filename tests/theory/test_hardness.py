"""Hardness against numbers worked by hand, ties and scaling; lower bounds against what is achieved."""

import math

import numpy as np
import pytest
from scipy import stats

from sim.envs import families
from theory import exact, hardness, lower_bounds
from theory.bounds import bandit, problem_of, successive_rejects
from theory.checks.claims import one_batch_error

GRADED = [0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3]


def test_classical_hardness_by_hand() -> None:
    profile = bandit(GRADED).profile
    np.testing.assert_allclose(profile[0], [0.2, 0.25, 0.3, 0.3, 0.35, 0.4, 0.4])
    rest = sum(1 / gap**2 for gap in profile[0])
    assert hardness.h1(profile)[0] == pytest.approx(rest + 25)  # the best arm counts with the smallest gap
    assert hardness.h2(profile)[0] == pytest.approx(5 / 0.09)
    h1, h2 = hardness.h1(profile)[0], hardness.h2(profile)[0]
    assert h2 <= h1 <= (math.log(2 * len(GRADED))) * h2  # Audibert et al., section 2


def test_ties_are_infinitely_hard_and_single_arms_not_at_all() -> None:
    tied = hardness.hardness(np.array([[[0.5], [0.5], [0.1]]]), np.ones(1), near=0.4)
    assert (tied.smallest_gap[0], tied.num_best[0], tied.num_near[0]) == (0, 2, 3)
    assert all(np.isinf(part[0]) for part in (tied.h1, tied.h2, tied.cost_h1, tied.cost_h2))
    alone = hardness.hardness(np.array([[[0.5]]]), np.ones(1))
    assert np.isinf(alone.smallest_gap[0])
    assert all(part[0] == 0 for part in (alone.h1, alone.h2, alone.cost_h1, alone.cost_h2))
    assert hardness.printed(np.array([[[0.5]]])).h1[0] == 0


def test_cost_hardness_clips_scales_and_divides() -> None:
    profile, width = np.array([[0.2, 0.5, 3.0]]), np.array([2.0])
    assert hardness.cost_h1(profile, width, 4)[0] == pytest.approx(4 * 100)
    assert hardness.cost_h2(profile, width, 4)[0] == pytest.approx(4 * max(2 * 100, 3 * 16, 4 * 1))
    same = hardness.cost_h2(profile * 7, width * 7, 4)
    assert same[0] == pytest.approx(hardness.cost_h2(profile, width, 4)[0])
    assert hardness.cost_h1(np.array([[0.3]]), np.zeros(1), 2)[0] == 2  # nothing is random: as hard as the largest gap
    with pytest.raises(ValueError, match="width is negative"):
        hardness.cost_h1(profile, -width, 4)


def test_rounding_breaks_no_ties() -> None:
    values = np.array([[[0.3], [0.1 + 0.2], [0.1]]])
    assert 0 < exact.gaps(values)[0, 0, 0] < 1e-15
    found = hardness.hardness(values, np.ones(1))
    assert (found.num_best[0], found.smallest_gap[0], found.h1[0]) == (2, 0, math.inf)


def test_unknown_ranges_give_no_cost_hardness() -> None:
    found = hardness.hardness(np.array([[[0.5], [0.2]]]), np.array([np.nan]))
    assert np.isnan(found.cost_h1[0])
    assert found.h2[0] == pytest.approx(2 / 0.09)


def test_hardness_per_context() -> None:
    problem = problem_of(families.bon_two_scales())
    found = hardness.hardness(problem.values, problem.width)
    assert found.prompt.tolist() == [0, 0]
    assert found.scale.tolist() == [2, 1]
    np.testing.assert_allclose(found.smallest_gap, [0.21, 0.11])
    np.testing.assert_allclose(found.cost_h1, [2 / 0.21**2, 2 / 0.11**2])
    printed = hardness.printed(problem.values)
    np.testing.assert_allclose(printed.h1, [2 / 0.21**2, 1.5 / 0.11**2])  # Nbar = (N_1 + Nmax) / 2


def test_values_must_be_finite() -> None:
    with pytest.raises(ValueError, match="NaN or an infinity"):
        hardness.gap_profile(np.array([[[np.nan]]]))


def test_two_bernoullis_is_reached_by_equal_allocation_when_symmetric() -> None:
    """Equal allocation of .55 and .45: -log P(fail) / T falls towards the exponent, from above."""
    limit = lower_bounds.two_bernoullis(0.55, 0.45)
    assert limit == pytest.approx(0.0050251679)
    rates = []
    for pulls in (2000, 8000):
        k = np.arange(pulls + 1)
        best, other = (stats.binom.pmf(k, pulls, p) for p in (0.55, 0.45))
        beaten = (best * (stats.binom.sf(k, pulls, 0.45) + other / 2)).sum()
        rates.append(-np.log(beaten) / (2 * pulls))
    assert limit < rates[1] < rates[0] < 1.2 * limit


@pytest.mark.parametrize(("success", "other"), [(0.55, 0.45), (0.9, 0.6), (0.3, 0.02)])
def test_two_arms_treated_alike_err_at_least_as_often_as_any_rule_must(success: float, other: float) -> None:
    """Exact failures of equal allocation at every even budget to 300. Seen to fail without the 1/4.

    Its exponent is no smaller than the limit for large T, and the bound of Audibert et al. follows from it at K = 2.
    """
    for budget in range(2, 301, 2):
        least = lower_bounds.swapped_bernoullis(success, other, budget)
        assert least == lower_bounds.swapped_bernoullis(other, success, budget)
        assert least <= one_batch_error((success, other), budget // 2)
        assert least >= lower_bounds.permuted_bernoulli([success, other], budget) / 4
    exponent = -math.log(4 * lower_bounds.swapped_bernoullis(success, other, 1))
    assert exponent >= lower_bounds.two_bernoullis(success, other)


def test_lower_bounds_lie_below_upper_bounds() -> None:
    means = [0.6, 0.5, 0.45, 0.4]
    problem = bandit(means)
    for budget in (100, 1000, 10_000):
        assert lower_bounds.permuted_bernoulli(means, budget) <= successive_rejects(problem, budget)
    h = float((1 / problem.profile**2).sum())
    assert lower_bounds.known_complexity(h, 4, 10_000) <= 1 / 6
    assert lower_bounds.unknown_complexity(h, 4, 300, 10_000) <= lower_bounds.known_complexity(h, 4, 10_000) * 1e3
    # Gaussian arms: pulls in proportion to the deviations reach the exponent, equal ones do not
    gap, one, other = 0.3, 1.0, 2.0
    share = one / (one + other)
    reached = gap**2 / (2 * (one**2 / share + other**2 / (1 - share)))
    assert lower_bounds.two_gaussians(gap, one, other) == pytest.approx(reached)
    assert gap**2 / (4 * (one**2 + other**2)) < reached


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lower_bounds.permuted_bernoulli([0.5, 0.5], 10), "unique best"),
        (lambda: lower_bounds.permuted_bernoulli([1.0, 0.5], 10), "strictly between"),
        (lambda: lower_bounds.known_complexity(1e4, 4, 1000), "needs 0 < a < inf and T"),
        (lambda: lower_bounds.known_complexity(math.inf, 4, 1000), "a = inf"),
        (lambda: lower_bounds.unknown_complexity(50, 4, 100, 10_000), r"a >= 11 K\^2"),
        (lambda: lower_bounds.two_gaussians(0.0, 1.0, 1.0), "a gap > 0"),
        (lambda: lower_bounds.two_bernoullis(0.5, 0.5), "different means"),
    ],
)
def test_violated_assumptions_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
