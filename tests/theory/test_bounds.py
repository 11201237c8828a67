"""Closed-form guarantees: printed numbers, exact failure probabilities they must not fall below, assumptions."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import bernoulli
from plain_halving import Halving
from scipy import stats

from sim.envs import families
from sim.envs.dataset import Dataset
from sim.schedules import halvings
from theory import bounds, chernoff, exact, problem
from theory.bounds import bandit, problem_of
from theory.runs.enumerate import halving_error

GRADED = [0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3]
FOUR = [0.6, 0.4, 0.4, 0.4]


def two_arm_failure(best: float, other: float, pulls: int) -> float:
    """P(the better of two arms loses after `pulls` of each, ties at random), by a sum over its successes."""
    k = np.arange(pulls + 1)
    beaten = stats.binom.sf(k, pulls, other) + stats.binom.pmf(k, pulls, other) / 2
    return float((stats.binom.pmf(k, pulls, best) * beaten).sum())


# --- Theorem 1 as printed ---


@pytest.mark.parametrize(
    ("budget", "failure", "claimed", "hoeffding"),
    [
        (400, "2.255e-02", "5.495e-02", "1.353e-01"),
        (800, "2.294e-03", "1.006e-03", "1.832e-02"),
        (2000, "3.683e-06", "6.183e-09", "4.540e-05"),
        (4000, "1.148e-10", "1.275e-17", "2.061e-09"),
    ],
)
def test_table_of_the_counterexample(budget: int, failure: str, claimed: str, hoeffding: str) -> None:
    data = families.two_arm()
    world = problem_of(data)
    assert f"{two_arm_failure(0.55, 0.45, budget // 2):.3e}" == failure
    assert f"{bounds.theorem1_printed(world, budget):.3e}" == claimed
    assert f"{bounds.theorem_a(world, chernoff.exponents(data).hoeffding, budget):.3e}" == hoeffding


def test_first_violation() -> None:
    world = problem_of(families.two_arm())
    violated = [
        budget
        for budget in range(2, 801, 2)
        if bounds.theorem1_printed(world, budget) < two_arm_failure(0.55, 0.45, budget // 2)
    ]
    assert violated == list(range(614, 801, 2))


def test_three_prompts_violate_it_too() -> None:
    world = problem_of(families.two_arm((0.55, 0.45, 0.45)))
    for budget, failure, claimed in ((4800, "9.16e-07", "6.75e-07"), (9600, "7.5e-12", "7.6e-14")):
        digits = len(failure) - 6
        error = halving_error([0.55, 0.45, 0.45], (budget // 6, budget // 4)).total
        assert f"{error:.{digits}e}" == failure
        assert f"{bounds.theorem1_printed(world, budget):.{digits}e}" == claimed


def test_printed_bound_depends_on_units_and_ours_do_not() -> None:
    data = families.two_arm()
    exponents = chernoff.exponents(data)
    assert f"{two_arm_failure(0.55, 0.45, 100):.2e}" == "7.84e-02"
    printed = []
    for units in (1.0, 2.0, 10.0):
        scaled = replace(data, objective_weights=np.full((1, 1), units))
        printed.append(bounds.theorem1_printed(problem_of(scaled), 200))
        assert bounds.theorem1_corrected(problem_of(scaled), 200) == pytest.approx(
            bounds.theorem1_corrected(problem_of(data), 200)
        )
        for one, other in zip(exponents[1:], chernoff.exponents(scaled)[1:], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    assert [f"{value:.0e}" for value in printed[1:]] == ["1e-03", "4e-87"]
    assert round(printed[0], 2) == 0.41


def test_budget_too_small_for_a_pull() -> None:
    """One prompt, four scales, T = 7: no pull in round 1, two of four arms stay at random, P(fail) >= 1/2."""
    data = Dataset(
        name="steep",
        aggregate=("mv",),
        probs=np.full((1, 1, 2), 0.5),
        answers=np.zeros(1, int),
        objective_weights=np.ones((1, 1)),
        cost_weights=np.array([4.0]),
        costs=np.ones(1),
        max_scale=4,
    )
    world = problem_of(data)
    assert problem.pulls_at_least(world, 7, problem.halving_sizes(4))[0] == 0
    assert f"{bounds.theorem1_printed(world, 7):.0e}" == "8e-05"
    exponents = chernoff.exponents(data).chernoff
    for bound in (bounds.theorem1_corrected(world, 7), bounds.theorem_a(world, exponents, 7)):
        assert bound >= 0.5
    assert bounds.theorem_b(world, exponents, 7) >= 0.5 <= bounds.theorem_b_blocks(world, exponents, 7)


def test_classical_bounds_hold_where_costs_make_a_gap_larger_than_the_range_of_rewards() -> None:
    """Known costs of 10 between two even coins: one wrong pull in T = 1 is a failure with probability 1/2.

    Seen to fail with gaps over B that are not cut at 1: the bound is then .0058.
    """
    dear = bandit([0.5, 0.5])._replace(values=np.array([[[0.5], [-9.5]]]))
    assert bounds.sequential_halving(dear, 1) >= 0.5
    four = bandit([0.5] * 4)._replace(values=np.array([[[0.5], [-9.5], [-9.5], [-9.5]]]))
    for budget, failure in ((2, 0.75), (4, 0.5), (6, 0.25), (7, 0.25)):
        assert bounds.sequential_halving(four, budget) >= failure


def test_exponents_know_what_they_are_of_until_they_are_changed() -> None:
    world, found = of_kind(queries="common")
    with pytest.raises(ValueError, match="Theorem A assumes"):
        bounds.theorem_a(world, found, 9)
    assert bounds.theorem_a(world, 0.5 * found, 900) > 0
    assert bounds.theorem_c(world, found, 900) == bounds.theorem_c(world, np.asarray(found), 900)


def test_blocks_of_a_pull_are_not_independent() -> None:
    """Completions decided by the query: four pulls of 32 are worth 4 samples, and exponents say so."""
    assert stats.binom.sf(2, 4, 0.5) == 0.3125
    assert f"{math.exp(-2 * 128 * 0.25**2):.1e}" == "1.1e-07"
    certain = Dataset(
        name="certain",
        aggregate=("mean",),
        probs=np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]),
        values=np.broadcast_to(np.array([[0.0], [1.0]]), (2, 2, 2, 1)).copy(),
        objective_weights=np.ones((1, 1)),
        cost_weights=np.ones(1),
        costs=np.array([0.0, 0.0]),
        max_scale=32,
    )
    ahead = replace(certain, costs=np.array([0.0, 0.25]))
    full = chernoff.exponents(ahead, blocks="all").chernoff[0, 1, 0]
    one = chernoff.exponents(ahead, blocks="one").chernoff[0, 1, 0]
    assert one < full < 0.5 * 0.25**2 / 0.25 * 4  # Gaussian exponent Delta^2 / (2 V) with V >= 1/4, four times over


@pytest.mark.parametrize("num_items", [1, 2, 3, 7, 8, 9, 640, 800, 1024, 1536])
def test_halving_ends_with_one(num_items: int) -> None:
    sizes = problem.halving_sizes(num_items)
    assert len(sizes) == halvings(num_items) == problem.num_rounds(num_items)
    assert (sizes[-1] + 1) // 2 == 1


def test_lowest_budgets_that_pull_everything() -> None:
    for prompts, scale, least in ((25, 32, 8000), (48, 32, 16_896), (20, 32, 6400), (32, 32, 10_240)):
        world = problem.Problem(np.zeros((3, prompts, scale)), np.ones(3), 1.0)
        sizes = problem.halving_sizes(world.num_arms)
        assert problem.pulls_at_least(world, least - 1, sizes)[0] == 0
        assert problem.pulls_at_least(world, least, sizes)[0] == 1


# --- bounds against exact failure probabilities ---


@pytest.mark.parametrize("gap", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("middle", [0.5, 0.3])
def test_bounds_hold_for_two_arms(gap: float, middle: float) -> None:
    if middle - gap / 2 < 0:
        pytest.skip("no such means")
    best, other = middle + gap / 2, middle - gap / 2
    data = bernoulli([best, other])
    world, exponents = problem_of(data), chernoff.exponents(data)
    for budget in (2, 3, 6, 10, 30, 100, 300, 1000, 3000):
        failure = two_arm_failure(best, other, budget // 2)
        found = {
            "corrected": bounds.theorem1_corrected(world, budget),
            "b closed": bounds.theorem_b_closed(world, budget),
            "halving": bounds.sequential_halving(world, budget),
        }
        for name, exponent in zip(exponents._fields[1:], exponents[1:], strict=True):
            found |= {
                f"a {name}": bounds.theorem_a(world, exponent, budget),
                f"b {name}": bounds.theorem_b(world, exponent, budget),
                f"blocks {name}": bounds.theorem_b_blocks(world, exponent, budget),
                f"c {name}": bounds.theorem_c(world, np.asarray(exponent), budget),
                f"d {name}": bounds.theorem_d(world, exponent, budget),
                f"uniform {name}": bounds.uniform(world, exponent, budget),
            }
        if budget > 2:
            found["rejects"] = bounds.successive_rejects(world, budget)
            found["whole"] = bounds.successive_rejects(world, budget, whole=True)
        below = {name: bound for name, bound in found.items() if bound < failure * (1 - 1e-9)}
        assert not below, (budget, failure)
        assert found["a chernoff"] <= min(found["a hoeffding"], found["a bernstein"]) * (1 + 1e-9)


def test_reference_values() -> None:
    four, graded = bernoulli(FOUR), bernoulli(GRADED)
    exponents = {id(data): chernoff.exponents(data).chernoff for data in (four, graded)}
    for data, budget, union, closed, printed in (
        (four, 800, "2.6e-02", "1.3e+00", "8.1e-01"),
        (four, 3200, "1.2e-07", "3.3e-03", "2.0e-03"),
        (graded, 1200, "1.1e-02", "5.5e+00", "3.3e+00"),
        (graded, 4800, "5.2e-09", "2.7e-01", "1.6e-01"),
    ):
        world = problem_of(data)
        assert f"{bounds.theorem_a(world, exponents[id(data)], budget):.1e}" == union
        assert f"{bounds.theorem1_corrected(world, budget):.1e}" == closed
        assert f"{bounds.theorem1_printed(world, budget):.1e}" == printed
    assert f"{bounds.theorem_b(problem_of(graded), exponents[id(graded)], 2400):.1e}" == "7.3e-05"
    assert f"{bounds.successive_rejects(problem_of(four), 3200):.1e}" == "1.0e-08"
    bought = np.array([505, 673, 1011])  # of 2,021, 2,526 and 3,200: 4 * 505, 3 * 168 and 2 * 338
    whole = np.arange(1, 4) @ np.exp(-bought * 0.2**2)
    assert bounds.successive_rejects(problem_of(four), 3200, whole=True) == pytest.approx(whole)
    assert f"{bounds.sequential_halving(problem_of(four), 3200):.1f}" == "0.8"


def test_budgets_that_theorem_1_asks_for() -> None:
    world = problem_of(families.bon_two_scales())
    assert bounds.theorem1_printed(world, 17_513) < 0.05 < bounds.theorem1_printed(world, 17_511)
    assert bounds.theorem1_corrected(world, 25_335) < 0.05 < bounds.theorem1_corrected(world, 25_333)


def test_bounds_fall_as_the_budget_grows() -> None:
    data = families.bon_query_effects()
    world = problem_of(data)
    one, full = (chernoff.exponents(data, blocks=blocks).chernoff for blocks in ("one", "all"))
    paired = chernoff.exponents(data, queries="common").chernoff
    for call in (
        bounds.theorem1_printed,
        bounds.theorem1_corrected,
        bounds.theorem_b_closed,
        lambda w, t: bounds.theorem_a(w, one, t),
        lambda w, t: bounds.theorem_b(w, one, t),
        lambda w, t: bounds.theorem_b_blocks(w, one, t),
        lambda w, t: bounds.theorem_c(w, paired, t, fresh=False),
        lambda w, t: bounds.theorem_d(w, full, t),
        lambda w, t: bounds.theorem_d(w, full, t, fresh=True),
        lambda w, t: bounds.uniform(w, full, t),
    ):
        found = [call(world, budget) for budget in (1, 10, 47, 100, 101, 500, 3000, 10**5, 10**9)]
        assert all(a >= b >= 0 for a, b in itertools.pairwise(found))
        assert found[-1] < 1e-9


def test_accumulated_data_need_no_more_budget() -> None:
    data = families.bon_two_scales()
    world, one = problem_of(data), chernoff.exponents(data).chernoff
    for budget in (500, 1000, 3000, 10_000):
        assert bounds.theorem_b(world, one, budget) < bounds.theorem_a(world, one, budget)
        assert bounds.theorem_b(world, one, budget) <= bounds.theorem_b_blocks(world, one, budget)


def test_ties_leave_every_bound_vacuous_and_single_arms_never_fail() -> None:
    tied, alone = bandit([0.6, 0.6, 0.1]), bandit([0.4])
    for call in (bounds.theorem1_corrected, bounds.theorem_b_closed, bounds.sequential_halving):
        assert call(tied, 10**9) >= 1
        assert call(alone, 10) == 0
    assert bounds.theorem1_printed(alone, 10) == 0
    data = bernoulli([0.6, 0.6, 0.1])
    assert bounds.theorem_a(problem_of(data), chernoff.exponents(data).chernoff, 10**9) >= 1
    assert bounds.ucb_e(alone, 10) == 0 == bounds.successive_rejects(alone, 10)


def test_markov_leaves_out_the_likeliest() -> None:
    beaten = np.array([[0.9, 0.2, 0.1, 0.05]])
    assert bounds.markov(beaten, 1)[0] == pytest.approx(1.25)
    assert bounds.markov(beaten, 2)[0] == pytest.approx(0.35)
    assert bounds.markov(beaten, 4)[0] == pytest.approx(0.05)
    assert bounds.markov(beaten, 5)[0] == 0
    events = np.random.default_rng(0).random((20_000, 4)) < beaten
    assert (events.sum(axis=1) >= 2).mean() < 0.35


def test_ucb_e_by_hand() -> None:
    world = bandit([0.9, 0.4, 0.4])
    h1 = 3 / 0.25
    assert bounds.ucb_e(world, 2000) == pytest.approx(2 * 2000 * 3 * math.exp(-1997 / (18 * h1)))
    assert bounds.ucb_e(world, 2000, exploration=50.0) == pytest.approx(2 * 2000 * 3 * math.exp(-4))
    with pytest.raises(ValueError, match="exploration is 200"):
        bounds.ucb_e(world, 2000, exploration=200.0)


def of_kind(**kind: str) -> tuple[bounds.Problem, np.ndarray]:
    """A world of several scales, and its exponents of this kind."""
    data = families.bon_query_effects()
    return problem_of(data), chernoff.exponents(data, **kind).hoeffding


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bandit([0.5, 1.5]), r"numbers in \[0, 1\]"),
        (lambda: bounds.theorem1_corrected(bandit(FOUR), 0), "budget is 0"),
        (lambda: bounds.theorem1_printed(bandit([3.0, 1.0], 0.0, 4.0), 10), "objectives in"),
        (lambda: bounds.successive_rejects(bandit(FOUR), 4), "more than the 4 arms"),
        (lambda: bounds.sequential_halving(problem_of(families.bon_two_scales()), 100), "unrelated arms"),
        (lambda: bounds.theorem_a(bandit(FOUR), np.zeros((1, 2, 1)), 9), "shape"),
        (lambda: bounds.theorem_a(bandit(FOUR), -np.ones((1, 4, 1)), 9), "negative"),
        (lambda: bounds.theorem_c(bandit(FOUR), np.ones((1, 4, 1)), 9, replacement=False), "with replacement"),
        (lambda: chernoff.exponents(families.two_arm(), queries="shared"), "independent, common"),
        (lambda: bounds.theorem_a(*of_kind(queries="common"), 9), "Theorem A assumes .* independent queries"),
        (lambda: bounds.theorem_a(*of_kind(blocks="all"), 9), "Theorem A assumes .* blocks 'one'"),
        (lambda: bounds.theorem_b(*of_kind(blocks="all"), 9), "Theorem B assumes"),
        (lambda: bounds.theorem_b_blocks(*of_kind(queries="common"), 9), "Theorem B assumes"),
        (lambda: bounds.theorem_c(*of_kind(), 9), "Theorem C assumes .* common queries"),
        (lambda: bounds.theorem_d(*of_kind(), 9), "Theorem D assumes .* blocks 'all'"),
        (lambda: bounds.uniform(*of_kind(), 9), "one batch assumes"),
        (lambda: bounds.theorem1_printed(bandit([0.5, 0.5]), 9), "unique best arm; context 0"),
        (
            lambda: bounds.theorem_a(bandit(FOUR)._replace(values=np.full((1, 4, 1), np.nan)), np.ones((1, 4, 1)), 9),
            "NaN",
        ),
        (lambda: chernoff.hoeffding(np.array([-0.2]), 1.0), "gap holds a negative"),
        (lambda: chernoff.bernstein(np.ones(1), -np.ones(1), np.ones(1)), "variance holds a negative"),
        (lambda: bounds.ucb_e(bandit(FOUR), 100, exploration=0), "0 < a"),
        (lambda: chernoff.exponents(families.two_arm(), blocks="two"), "one, all"),
    ],
)
def test_violated_assumptions_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- prompt halving, which no other bound covers ---


@pytest.mark.parametrize("fresh", [True, False])
def test_prompt_halving_stays_below_theorem_d(fresh: bool) -> None:
    """Lower Clopper-Pearson limit (1e-6) of 50,000 trials against the bound, 0.1 to 0.2 here.

    Planted and caught: the exponents of Nmax independent samples, 4 times too large.
    """
    data = families.bon_query_effects()
    data = replace(data, objective_weights=np.ones((1, 1)), cost_weights=np.zeros(1))
    budget, trials, rng = 160, 50_000, np.random.default_rng(3)
    right = exact.values(data).reshape(1, -1) == exact.values(data).max()
    wrong = Halving(data).failures(budget, "prompts fresh" if fresh else "prompts", trials, rng, right)
    exponents = chernoff.exponents(data, blocks="all").chernoff
    bound = bounds.theorem_d(problem_of(data), exponents, budget, fresh=fresh)
    assert stats.beta.ppf(1e-6, wrong, trials - wrong + 1) <= bound < 1
    assert wrong > 50
    wide = bounds.theorem_d(problem_of(data), 4 * exponents, budget, fresh=fresh)
    assert stats.beta.ppf(1e-6, wrong, trials - wrong + 1) > wide
