"""LCPB against exact failure probabilities, enumerated plainly here or by the oracle, and against known tables."""

import itertools
import math
import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from made_worlds import scored
from plain_halving import random_world
from scipy import stats

from sim.algorithms.psst import PSST
from sim.envs import families
from theory import chernoff, exact, problem
from theory.bounds import problem_of, theorem_a
from theory.checks import claims
from theory.lcpb import lattice, lcpb
from theory.lcpb.leader import descending, poisson_binomial_tail
from theory.runs.enumerate import enumerate_runs, failure_probability, sequential_halving_error

FOUR = [0.6, 0.4, 0.4, 0.4]
GRADED = [0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3]


def top_chances(counts: np.ndarray, kept: int) -> dict[tuple[int, ...], np.ndarray]:
    """Per row of counts, the chance of each subset to be the `kept` largest: all orders of ties, one by one."""
    num_arms = counts.shape[1]
    chance = {subset: np.zeros(len(counts)) for subset in itertools.combinations(range(num_arms), kept)}
    orders = list(itertools.permutations(range(num_arms)))
    for order in orders:
        keys = counts * num_arms + np.array(order)
        best = np.sort(np.argsort(-keys, axis=1)[:, :kept], axis=1)
        for subset in chance:
            chance[subset] += (best == subset).all(axis=1) / len(orders)
    return chance


def plain_failure(means: list[float], pulls: list[int], fresh: bool) -> float:
    """P(arm 0 is not the answer) of halving on Bernoulli arms, over every vector of counts; two rounds at most."""
    num_arms = len(means)
    grid = np.indices((pulls[0] + 1,) * num_arms).reshape(num_arms, -1).T
    chance = np.prod([stats.binom.pmf(grid[:, i], pulls[0], p) for i, p in enumerate(means)], axis=0)
    kept = (num_arms + 1) // 2
    wins = 0.0
    for subset, share in top_chances(grid, kept).items():
        if subset[0] != 0:
            continue
        if kept == 1:
            return 1 - float(chance @ share)
        more = np.indices((pulls[1] + 1,) * kept).reshape(kept, -1).T
        law = np.prod([stats.binom.pmf(more[:, i], pulls[1], means[j]) for i, j in enumerate(subset)], axis=0)
        start = np.zeros_like(grid[:, :kept]) if fresh else grid[:, list(subset)]
        for row in np.unique(start, axis=0):
            here = float((chance * share)[(start == row).all(axis=1)].sum())
            wins += here * float(law @ top_chances(more + row, 1)[(0,)])
    return 1 - wins


def test_tail_of_the_poisson_binomial_law() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 7):
        chance = rng.random((size, 3))
        for needed in range(size + 2):
            brute = np.zeros(3)
            for events in itertools.product((0, 1), repeat=size):
                if sum(events) >= needed:
                    e = np.array(events)[:, None]
                    brute += np.prod(np.where(e == 1, chance, 1 - chance), axis=0)
            np.testing.assert_allclose(poisson_binomial_tail(chance, needed), brute, rtol=1e-12)
    tiny = np.full((40, 1), 1e-9)
    expected = stats.binom.sf(19, 40, 1e-9)
    assert poisson_binomial_tail(tiny, 20)[0] == pytest.approx(expected, rel=1e-9)


def test_powers_of_lattice_laws() -> None:
    law = np.array([0.3, 0.0, 0.5, 0.2])
    slow = np.ones(1)
    for _ in range(13):
        slow = np.convolve(slow, law)
    np.testing.assert_allclose(lattice.power(law, 13, True).pmf, slow, rtol=1e-12)
    two = np.array([0.0, 0.6, 0.0, 0.4])
    nine = lattice.power(two, 9, True).pmf[9::2]
    np.testing.assert_allclose(nine, stats.binom.pmf(np.arange(10), 9, 0.4), rtol=1e-11)
    np.testing.assert_allclose(lattice.power_rows(np.stack([law, two]), 3)[0], np.convolve(np.convolve(law, law), law))
    assert lattice.binomial(10_000, 0.3, 0.7).sum() == pytest.approx(1, rel=1e-9)


def test_grids_hold_or_enclose_the_values() -> None:
    used = np.ones(4, bool)
    thirds = lattice.grid(np.array([0.0, 1 / 3, 0.5, 1.0]), used)
    assert thirds.exact
    assert thirds.up.tolist() == [0, 2, 3, 6]
    values = np.array([0.1, 0.1 + math.sqrt(2) / 7, 0.9, math.pi])
    rounded = lattice.grid(values, used)
    assert not rounded.exact
    low, high = (rounded.origin + rounded.step * side for side in (rounded.down, rounded.up))
    assert (low <= values + 1e-9).all()
    assert (values <= high + 1e-9).all()
    assert (high - low <= rounded.step + 1e-12).all()


@pytest.mark.parametrize(
    ("means", "budget", "failure", "bound"),
    [
        (FOUR, 800, "4.3348e-04", "4.3349e-04"),
        (FOUR, 3200, "1.2091e-11", "1.2091e-11"),
        (GRADED, 1200, "5.087e-05", "6.134e-05"),
        (GRADED, 4800, "8.303e-15", "8.377e-15"),
    ],
)
def test_reference_table(means: list[float], budget: int, failure: str, bound: str) -> None:
    digits = len(bound) - 6
    assert f"{lcpb.lcpb(scored(np.array(means)), budget, survivors='worst'):.{digits}e}" == bound
    assert f"{sequential_halving_error(means, budget).total:.{digits}e}" == failure


def test_accumulated_reference_value() -> None:
    """Estimated by splitting at 1.152e-8 with standard error 0.15e-8; the bound lies within it."""
    assert f"{lcpb.lcpb(families.graded_halving(), 2400, fresh=False):.3e}" == "1.093e-08"


def test_tight_on_the_graded_family() -> None:
    """The bound is the truth where the law of the survivors is known, and within 1.34 of it where the worst is assumed.

    Both stay above it, by the share for rounding at least.
    """
    ratios = {}
    for budget in range(600, 4801, 600):
        error = sequential_halving_error(GRADED, budget)
        terms = lcpb.lcpb_terms(families.graded_halving(), budget)[0]
        assert (terms > error.by_round).all()
        np.testing.assert_allclose(terms, error.by_round, rtol=2 * lcpb.ROUNDING)
        worst = lcpb.lcpb_terms(families.graded_halving(), budget, survivors="worst")[0]
        assert worst[0] == pytest.approx(error.by_round[0], rel=2 * lcpb.ROUNDING)
        assert (worst > error.by_round).all()
        ratios[budget] = worst.sum() / error.total
    assert ratios[600] == max(ratios.values()) < 1.34
    assert max(ratio for budget, ratio in ratios.items() if budget > 900) < 1.25
    assert ratios[4800] < 1.01


def test_two_arms_are_exact() -> None:
    for budget in (400, 2000, 4000):
        error = sequential_halving_error([0.55, 0.45], budget).total
        for survivors in ("auto", "worst"):
            bound = lcpb.lcpb(families.two_arm(), budget, survivors=survivors)
            assert error < bound < error * (1 + 2 * lcpb.ROUNDING)


@pytest.mark.parametrize("fresh", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_never_below_the_exact_failure_of_random_instances(fresh: bool) -> None:
    """120 instances of 2 to 4 arms, many with ties, each enumerated in full.

    Planted and caught: one rival more needed to drop the leader; the n_r - 1 smallest p_j; a tie that never beats.
    """
    rng = np.random.default_rng(11)
    tight = []
    for _ in range(120):
        size = int(rng.integers(2, 5))
        means = np.sort(rng.choice(21, size) / 20)[::-1]
        rounds = problem.num_rounds(size)
        budget = int(rounds * size * rng.integers(1, 9 if size < 4 else 6))
        pulls = [budget // rounds // n for n in problem.halving_sizes(size)]
        failure = plain_failure(means.tolist(), pulls, fresh)
        data = scored(means)
        bound = lcpb.lcpb(data, budget, fresh=fresh, survivors="worst")
        assert bound >= failure - 1e-12, (means, budget)
        if size == 2:
            assert bound == pytest.approx(failure, abs=1e-7)
        if fresh:
            assert lcpb.lcpb(data, budget, survivors="law") == pytest.approx(failure, abs=1e-7)
            tight.append(bound - failure)
    assert not tight or np.median(tight) < 0.02


def test_rewards_and_costs_shift_and_scale() -> None:
    data = scored(np.array(GRADED))
    expected = lcpb.lcpb_terms(data, 600)
    shifted = scored(np.array(GRADED), rewards=(-3.0, 0.5), cost_weights=np.array([0.7]), costs=np.full(8, 2.0))
    np.testing.assert_allclose(lcpb.lcpb_terms(shifted, 600), expected, rtol=1e-9)
    scaled = replace(data, objective_weights=np.full((1, 1), 5.0))
    np.testing.assert_allclose(lcpb.lcpb_terms(scaled, 600), expected, rtol=1e-9)


def test_rewards_off_a_lattice_are_bounded_from_above() -> None:
    """A third outcome near 1/2 that no step fits; rounding moves means by at most 1/240 of the range."""
    success = np.array([0.7, 0.4, 0.3, 0.2])
    probs = np.stack([0.9 - success, success, np.full(4, 0.1)], axis=1)[:, None]
    values = np.broadcast_to(np.array([0.0, 1.0, 0.5])[:, None], (4, 1, 3, 1)).copy()
    on = replace(scored(success), probs=probs, values=values)
    near = replace(on, values=np.where(values == 0.5, 0.5 + math.pi * 1e-6, values))
    for budget in (80, 240):
        exact_bound, rounded = (lcpb.lcpb(data, budget, survivors="worst") for data in (on, near))
        assert exact_bound * (1 - 1e-9) <= rounded < 1.5 * exact_bound
    with pytest.raises(ValueError, match="rewards on a lattice"):
        lcpb.lcpb(near, 80, survivors="law")


def test_long_sums_are_bounded_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to 80 points: a little above the bound without rounding, and never below."""
    success = np.array([0.7, 0.4, 0.3, 0.2])
    probs = np.stack([0.9 - success, success, np.full(4, 0.1)], axis=1)[:, None]
    values = np.broadcast_to(np.array([0.0, 1.0, 0.5])[:, None], (4, 1, 3, 1)).copy()
    data = replace(scored(success), probs=probs, values=values)
    for fresh in (True, False):
        exact_terms = lcpb.lcpb_terms(data, 240, fresh=fresh, survivors="worst")
        with monkeypatch.context() as patched:
            patched.setattr("theory.lcpb.lattice.MAX_POINTS", 80)
            rounded = lcpb.lcpb_terms(data, 240, fresh=fresh, survivors="worst")
            with pytest.raises(ValueError, match="rewards on a lattice"):
                lcpb.lcpb(data, 240, survivors="law")
        assert (rounded >= exact_terms * (1 - 1e-9)).all()
        assert rounded.sum() > exact_terms.sum() * (1 + 1e-3)
        assert rounded.sum() < 3 * exact_terms.sum()


def test_queries_are_averaged_for_one_completion_a_pull() -> None:
    spread = scored(np.array([[0.9, 0.5], [0.6, 0.2], [0.3, 0.3]]))
    np.testing.assert_allclose(lcpb.lcpb_terms(spread, 120), lcpb.lcpb_terms(scored(np.array([0.7, 0.4, 0.3])), 120))
    assert lcpb.lcpb(spread, 120, np.array([0])) != pytest.approx(lcpb.lcpb(spread, 120))


def test_more_pulls_may_hurt_so_that_the_worst_schedule_counts() -> None:
    """A sure reward of .49 against Bernoulli(.4): beaten with .4 after one pull, .64 after two."""
    leader = lattice.Points(lattice.Lattice(np.ones(1), 1.0, 1, cost=-0.49), np.zeros(1, int))
    beaten = []
    for pulls in (1, 2):
        above, equal = lattice.tails(lattice.Lattice(lattice.binomial(pulls, 0.4, 0.6), 1.0, pulls), leader)
        beaten.append(float((above + equal / 2)[0]))
    np.testing.assert_allclose(beaten, [0.4, 0.64])


def test_tails_at_points_of_another_lattice_are_those_of_fractions() -> None:
    """Ties at equal costs, none at costs that differ, and a blur of a third of a step, which ties survive or not.

    Seen to fail with the point below the leader's counted as above, and with ties that a blur does not keep kept.
    """
    pmf = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    law, mine = lattice.Lattice(pmf, 1.0, 4), [Fraction(i, 4) for i in range(5)]
    for terms, cost in itertools.product((2, 3, 4, 7), (0.0, 0.25)):
        size = terms + 1
        leader = lattice.Points(lattice.Lattice(np.ones(size) / size, 1.0, terms, cost=cost), np.arange(size))
        least = {True: Fraction(0), False: Fraction(1, 12)}
        for sharp, keeps in itertools.product((True, False), (True, False)):
            blur = lattice.Blur(float(least[sharp]), keeps)
            above, equal = lattice.tails(law, leader, blur)
            for i in range(size):
                value = Fraction(i, terms) - Fraction(cost)
                ties = keeps and cost == 0 and not any(value - least[sharp] <= x < value for x in mine)
                won = [value - least[sharp] <= x and not (ties and x == value) for x in mine]
                assert above[i] == pytest.approx(pmf[won].sum())
                assert equal[i] == (pmf[[x == value for x in mine]].sum() if ties else 0.0)


@pytest.mark.parametrize("rows", range(1, 11))
def test_rows_are_sorted_as_numpy_sorts_them(rows: int) -> None:
    """Seen to fail with one comparison left out."""
    table = np.random.default_rng(rows).integers(0, 6, (rows, 3, 200)) / 5
    np.testing.assert_array_equal(descending(table), -np.sort(-table, axis=0))


def test_what_is_known_is_used_at_every_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponents of a case are computed once a kind, and bounds are the same with them as without.

    Seen to fail with exponents computed at every budget, and with those of whole pulls in the place of one block's.
    """
    data, counts = families.bon_two_scales(), []
    case = claims.Case(data)
    plain = [lcpb.lcpb(data, budget, fresh=fresh, simulated=True) for budget in (240, 480) for fresh in (True, False)]
    exponents = chernoff.exponents

    def counted(*given: Any, **named: Any) -> Any:
        counts.append(named["blocks"])
        return exponents(*given, **named)

    monkeypatch.setattr("theory.chernoff.exponents", counted)
    monkeypatch.setattr("theory.lcpb.lcpb.exponents", counted)
    assert plain == [case.lcpb(budget, fresh=fresh) for budget in (240, 480) for fresh in (True, False)]
    assert sorted(counts) == ["all", "one"]


def test_schedules_that_may_occur() -> None:
    world = problem_of(families.bon_two_scales())  # 4 prompts, 2 scales, 2 contexts
    assert lcpb.possible_pulls(world, 80, 0, 8) == [10]
    assert lcpb.possible_pulls(world, 80, 1, 4) == [10, 11, 13, 16, 20]
    assert lcpb.possible_pulls(world, 80, 2, 2) == [10, 11, 13, 16, 20, 26, 40]
    graded = problem_of(families.graded_halving())
    assert [lcpb.possible_pulls(graded, 400, r, n) for r, n in enumerate((8, 4, 2))] == [[50], [100], [200]]


def test_several_scales_and_contexts_fall_with_the_budget() -> None:
    for data in (families.bon_two_scales(), families.bon_query_effects()):
        world, exponents = problem_of(data), chernoff.exponents(data).chernoff
        for fresh in (True, False):
            found = [lcpb.lcpb(data, budget, fresh=fresh) for budget in (120, 480)]
            assert found[0] > found[1] > 0
            assert fresh is False or found[1] < theorem_a(world, exponents, 480)
        assert lcpb.lcpb_terms(data, 20).tolist() == [[1.0] * 3] * 2  # a round without a pull of every prompt


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 76, 93])
@pytest.mark.parametrize("fresh", [True, False])
def test_never_below_enumerated_failures_with_several_scales(seed: int, fresh: bool) -> None:
    """Two prompts, two scales: the algorithm itself, every outcome of every pull."""
    data = random_world(np.random.default_rng([5, seed]))
    assert (data.num_prompts, data.max_scale) == (2, 2)
    runs = enumerate_runs(data, PSST(fresh=fresh), 12)
    failure, _ = failure_probability(runs, exact.values(data))
    assert 0 < failure <= lcpb.lcpb(data, 12, fresh=fresh)


@pytest.mark.slow
def test_a_thousand_arms_in_seconds() -> None:
    data = scored(np.concatenate([[0.9], np.linspace(0.7, 0.1, 1023)]))
    start = time.perf_counter()
    terms = lcpb.lcpb_terms(data, 200_000)[0]
    assert time.perf_counter() - start < 120
    assert terms.sum() == pytest.approx(5.36e-8, rel=0.01)
    assert (np.diff(terms) < 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lcpb.lcpb(families.graded_halving(), 600, survivors="all"), "auto, law, worst"),
        (lambda: lcpb.lcpb(families.graded_halving(), 600, fresh=False, survivors="law"), "fresh data, one context"),
        (lambda: lcpb.lcpb(families.mv_three_scales(), 6000, fresh=False), "schedules may lead to round"),
        (lambda: lcpb.lcpb(families.graded_halving(), 0), "budget is 0"),
    ],
)
def test_violated_assumptions_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_sum_that_is_more_than_enough_is_left_off_there() -> None:
    """One that is not is whole. Seen to fail where terms that nobody computed count as 1."""
    data = families.bon_two_scales()
    whole = lcpb.lcpb_terms(data, 300, survivors="worst")
    for enough in (0.0, 0.6 * whole.sum(), 2 * whole.sum()):
        part = lcpb.lcpb_terms(data, 300, survivors="worst", enough=enough)
        assert np.all((part == whole) | (part == 0))
        assert (part.sum() > enough) or np.array_equal(part, whole)
    assert np.array_equal(lcpb.lcpb_terms(data, 300, survivors="worst", enough=2 * whole.sum()), whole)
    assert lcpb.lcpb(data, 300, survivors="worst", enough=0.0) < whole.sum()
