"""Exact error probabilities against printed figures, brute force over all counts, and simulation."""

import dataclasses
from fractions import Fraction
from itertools import permutations, product
from math import comb
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import agrees, chi_square
from jaxtyping import Array
from scipy import stats

from sim import algorithms
from sim.algorithms.psst import PSST
from sim.algorithms.sequential import State
from sim.algorithms.ucb import UCB
from sim.core import Algorithm, Spec
from sim.engine import runner
from sim.envs import families
from sim.envs.dataset import Dataset
from sim.envs.sources import fixed
from sim.kernels import counter
from theory import exact
from theory.runs import enumerate as enum
from theory.runs.pull_laws import check_queries

GRADED = (0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3)


def bernoulli(means: tuple[float, ...]) -> Dataset:
    """Bernoulli arms at a single scale."""
    return dataclasses.replace(families.two_arm(means), name="bernoulli")


def two_prompts() -> Dataset:
    """Best of one or two on an easy and a hard query, two prompts, with and without cost."""
    data = families.bon_query_effects()
    assert data.values is not None
    return dataclasses.replace(data, probs=data.probs[:2], values=data.values[:2], costs=data.costs[:2])


@pytest.mark.parametrize(
    ("means", "budget", "printed"),
    [
        ((0.6, 0.4, 0.4, 0.4), 800, "4.3348e-04"),
        ((0.6, 0.4, 0.4, 0.4), 3200, "1.2091e-11"),
        (GRADED, 600, "3.8e-03"),
        (GRADED, 1200, "5.087e-05"),
        (GRADED, 2400, "1.8e-08"),
        (GRADED, 4800, "8.303e-15"),
        ((0.55, 0.45), 400, "2.255e-02"),
        ((0.55, 0.45), 800, "2.294e-03"),
        ((0.55, 0.45), 2000, "3.683e-06"),
        ((0.55, 0.45), 4000, "1.148e-10"),
        ((0.55, 0.45, 0.45), 4800, "9.16e-07"),
        ((0.55, 0.45, 0.45), 9600, "7.5e-12"),
    ],
)
def test_halving_gives_the_known_figures(means: tuple[float, ...], budget: int, printed: str) -> None:
    digits = len(printed.split("e")[0]) - 2
    found = enum.sequential_halving_error(means, budget)
    assert f"{found.total:.{digits}e}" == printed
    assert found.total == found.by_round.sum()


def test_halving_by_round() -> None:
    found = enum.sequential_halving_error(GRADED, 1200)
    assert found.pulls == (50, 100, 200)
    assert [f"{part:.1e}" for part in found.by_round] == ["2.5e-05", "1.3e-05", "1.3e-05"]


def brute_force(means: tuple[float, ...], pulls: tuple[int, ...]) -> np.ndarray:
    """Failure by round, through every vector of counts and every order of ties."""
    success = np.array(means)
    best = set(np.flatnonzero(success == success.max()))
    survivors = {frozenset(range(len(means))): 1.0}
    by_round = np.zeros(len(pulls))
    for r, count in enumerate(pulls):
        following: dict[frozenset[int], float] = {}
        for arms, weight in survivors.items():
            members = sorted(arms)
            kept = (len(members) + 1) // 2
            orders = list(permutations(members))
            for counts in product(range(count + 1), repeat=len(members)):
                chance = weight * stats.binom.pmf(counts, count, success[members]).prod() / len(orders)
                value = dict(zip(members, counts, strict=True))
                for order in orders:
                    chosen = frozenset(sorted(order, key=lambda arm: -value[arm])[:kept])
                    following[chosen] = following.get(chosen, 0.0) + chance
        by_round[r] = sum(chance for arms, chance in following.items() if best.isdisjoint(arms))
        survivors = {arms: chance for arms, chance in following.items() if not best.isdisjoint(arms)}
    return by_round


@pytest.mark.parametrize(
    ("means", "pulls"),
    [
        ((0.6, 0.4), (3,)),
        ((0.7, 0.2, 0.5), (2, 3)),
        ((0.5, 0.5, 0.3, 0.1), (1, 2)),
        ((1.0, 0.0, 0.9, 0.9), (2, 1)),
        ((0.6, 0.5, 0.4, 0.6, 0.1), (1, 1, 2)),
    ],
)
def test_halving_matches_brute_force(means: tuple[float, ...], pulls: tuple[int, ...]) -> None:
    """Planted bug seen: ties at the cut won with probability b / (b + c) instead of 1 / C(b + c, b)."""
    np.testing.assert_allclose(enum.halving_error(means, pulls).by_round, brute_force(means, pulls), rtol=1e-12)


def test_halving_keeps_its_accuracy_at_1e_26() -> None:
    count, success = 1400, Fraction(3, 5)
    pmf = [comb(count, k) * success**k * (1 - success) ** (count - k) for k in range(count + 1)]
    below = [Fraction(0), *np.cumsum(np.array(pmf, object))[:-1]]  # P(best < k); the other arm mirrors the best one
    wrong = sum(other * (low + tie / 2) for other, low, tie in zip(reversed(pmf), below, pmf, strict=True))
    found = enum.halving_error((0.6, 0.4), (count,)).total
    assert 1e-27 < found < 1e-26
    assert found == pytest.approx(float(wrong), rel=1e-10)


def test_halving_does_not_depend_on_the_order_of_arms() -> None:
    shuffled = tuple(np.random.default_rng(0).permutation(GRADED))
    expected = enum.sequential_halving_error(GRADED, 1200).by_round
    np.testing.assert_allclose(enum.sequential_halving_error(shuffled, 1200).by_round, expected, rtol=1e-12)


def test_pulls_of_a_round() -> None:
    assert enum.halving_pulls(8, 605) == (25, 50, 100)
    assert enum.halving_pulls(8, 605, spread=True) == (25, 50, 101)
    assert enum.halving_pulls(5, 50) == (3, 5, 8)
    for wrong in (lambda: enum.halving_pulls(8, 23), lambda: enum.halving_error((0.5, 1.2), (4,))):
        with pytest.raises(ValueError, match=r"without a pull|outside \[0, 1\]"):
            wrong()
    with pytest.raises(ValueError, match="17 arms"):
        enum.sequential_halving_error((0.5,) * 17, 1000)
    with pytest.raises(ValueError, match="2 rounds"):
        enum.halving_error((0.5, 0.4, 0.3), (4,))


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "spread"), [(240, False), (251, True)])
def test_simulated_halving_fails_as_often_as_computed(budget: int, spread: bool) -> None:
    """At T = 251 the hard rule pulls (10, 20, 42) where dropping the remainder gives (10, 20, 41).

    Planted bug seen: PSST(fresh=False), which stockpiles, fails 3 times less often.
    """
    expected = enum.sequential_halving_error(GRADED, budget, spread).total
    source = fixed(families.graded_halving(), 1.0).source
    trials = runner.run_trials(source, PSST(fresh=True), budget, seed=3, trials=4096, chunk=1024)
    assert agrees((trials.prompt != 0).mean(), expected, np.sqrt(expected * (1 - expected) / 4096))


@pytest.mark.parametrize(
    "means", [(0.7, 0.4), *(pytest.param(m, marks=pytest.mark.slow) for m in ((0.8, 0.5, 0.5), (0.8, 0.5, 0.5, 0.3)))]
)
def test_enumeration_equals_the_halving_recursion(means: tuple[float, ...]) -> None:
    data = bernoulli(means)
    runs = enum.enumerate_runs(data, PSST(fresh=True), 24)
    any_context, _ = enum.failure_probability(runs, exact.values(data))
    assert any_context == pytest.approx(enum.sequential_halving_error(means, 24).total, rel=1e-12)
    assert set(runs.spent.tolist()) == {24}


CASES: dict[str, tuple[Algorithm, int]] = {
    "psst": (PSST(), 16),
    "psst-index": (PSST(ties="index"), 16),
    "psst-poor": (PSST(), 7),
    "psst-common": (PSST(queries="common"), 12),
    "psst-reference": (PSST(budget_rule="reference"), 9),
    "uniform": (algorithms.get("uniform"), 16),
    "successive-rejects": (algorithms.get("successive-rejects"), 16),
    "triple": (algorithms.get("triple-n1"), 9),
    "triple-random": (algorithms.get("triple-random"), 5),
    "random": (algorithms.get("random"), 5),
    "ucb": (algorithms.get("ucb"), 5),
    "epsilon-greedy": (algorithms.get("epsilon-greedy:epsilon=0.02"), 5),
    "softmax": (algorithms.get("softmax:temperature=0.3"), 4),
}


QUICK = ("psst-poor",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES])
def test_simulation_follows_the_enumerated_law(name: str) -> None:
    """Answer and spending together, rare outcomes pooled.

    Planted bugs seen: ties to the first arm instead of at random; independent queries in place of common ones; arms
    drawn by weights counted as equally likely; exploration counted as likely as not.
    """
    algorithm, budget = CASES[name]
    data, trials = two_prompts(), 4096
    runs = enum.enumerate_runs(data, algorithm, budget)
    assert runs.probability.sum() == pytest.approx(1, abs=1e-12)
    found = runner.run_trials(fixed(data, 1.0).source, algorithm, budget, seed=5, trials=trials, chunk=1024)
    table = np.column_stack([runs.prompt, runs.scale, runs.spent])
    seen = np.column_stack([found.prompt, found.scale, found.spent])
    same = (seen[:, None] == table[None]).all(axis=2)
    assert same.any(axis=1).all()
    expected = trials * runs.probability
    counts = same.sum(axis=0)
    common = expected >= 10
    pooled = np.append(counts[common], counts[~common].sum()), np.append(expected[common], expected[~common].sum())
    kept = pooled[1] >= 10
    assert kept.sum() > 2 or len(expected) <= 4
    if kept.sum() > 1:
        assert chi_square(pooled[0][kept], pooled[1][kept])


@pytest.mark.slow
def test_training_queries_are_those_asked_for() -> None:
    data = two_prompts()
    assert data.values is not None
    easy = np.array([0])
    runs = enum.enumerate_runs(data, PSST(), 8, easy)
    wrong, _ = enum.failure_probability(runs, exact.values(data, easy))
    alone = dataclasses.replace(data, probs=data.probs[:, :1], values=data.values[:, :1])
    other = enum.enumerate_runs(alone, PSST(), 8)
    assert wrong == pytest.approx(enum.failure_probability(other, exact.values(alone))[0], rel=1e-12)


class Impatient(UCB):
    """Uses a random word by itself."""

    def choose(self, spec: Spec, words: Array, state: State, context: Array) -> tuple[Array, Array]:
        first = (counter.to_uniform(words[0]) < 0.3).astype(jnp.int32)
        return first, jnp.zeros_like(first)


def test_random_words_that_are_no_known_draw_are_refused() -> None:
    with pytest.raises(ValueError, match="Impatient uses random words as more than an order"):
        enum.enumerate_runs(two_prompts(), Impatient(), 2)


def test_a_random_arm_has_the_law_of_its_draws() -> None:
    """Every pair of arms in the two contexts equally often; nothing spent."""
    runs = enum.enumerate_runs(two_prompts(), algorithms.get("random"), 5)
    contexts, arms = two_prompts().num_contexts, two_prompts().num_prompts * two_prompts().max_scale
    np.testing.assert_allclose(runs.probability, np.full(arms**contexts, arms**-contexts), rtol=1e-12)
    assert not runs.spent.any()


class ByItself(Algorithm):
    """A rule that estimates by itself."""

    estimator: ClassVar[str] = "raw"


def test_worlds_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match="joint orders of ties"):
        enum.enumerate_runs(families.graded_halving(), PSST(ties="random"), 24)
    with pytest.raises(ValueError, match="tapes"):
        enum.enumerate_runs(dataclasses.replace(two_prompts(), max_scale=24), PSST(), 400)
    with pytest.raises(ValueError, match="queries is 'common-wor'"):
        enum.enumerate_runs(two_prompts(), PSST(queries="common-wor"), 8)
    with pytest.raises(ValueError, match=r"estimator is 'raw'; exact laws .* simulate it instead"):
        check_queries(ByItself())
    with pytest.raises(ValueError, match=r"estimator is 'raw'; exact laws .* simulate it instead"):
        enum.enumerate_runs(two_prompts(), algorithms.get("mixture-racing"), 8)
    with pytest.raises(ValueError, match="too small"):
        enum.enumerate_runs(two_prompts(), PSST(), 0)


def test_tolerance_counts_near_best_answers_as_right() -> None:
    runs = enum.Runs(np.array([[0], [1]]), np.array([[1], [1]]), np.array([4, 4]), np.array([0.75, 0.25]))
    values = np.array([[[0.5], [0.4]]])
    assert enum.failure_probability(runs, values)[0] == 0.25
    assert enum.failure_probability(runs, values, tolerance=0.2)[0] == 0
