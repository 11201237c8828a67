"""Theorems D on common queries and F by hand, against every run there is, and against the simulator itself."""

import numpy as np
import pytest
from helpers import agrees

from sim.engine import runner
from sim.envs.sources import fixed
from theory import bounds, chernoff, exact
from theory.checks import claims, families, rules, verify
from theory.problem import Problem, racing_pulls
from theory.runs.enumerate import enumerate_runs, failure_probability

PAIRS = {"proven racing": "theorem F", "prompt halving, common queries": "theorem D, common queries"}


def problem_of(values: np.ndarray) -> Problem:
    return Problem(values, np.ones(len(values)), 1.0)


def test_theorem_f_by_hand() -> None:
    """Eight prompts, two contexts, one scale: 8, 4 and 2 prompts, T = 240, S = 2: 15, 30 and 60 pulls.

    The first cut needs two prompts above the best, the second one and the answer one: with exponents .1 for the hardest
    and .2 for six others, sums of the likeliest are halved or left out. Seen to fail with one more prompt asked for
    above the best at a cut, with the last comparison left out, and with exponents of twice the size.
    """
    values = np.full((2, 8, 1), 0.5)
    values[:, 0], rate = 0.9, np.full((2, 8, 1), 0.2)
    rate[:, 0], rate[:, 1] = np.inf, 0.1
    problem = problem_of(values)
    assert racing_pulls(problem, 240) == [15, 30, 60]
    easy, hard = np.exp(-0.2 * np.array([15, 30, 60])), np.exp(-0.1 * np.array([15, 30, 60]))
    first = min((hard[0] + 6 * easy[0]) / 2, 6 * easy[0])
    expected = 2 * (first + hard[1] + 6 * easy[1] + hard[2] + 6 * easy[2])
    assert bounds.theorem_f(problem, rate, 240) == pytest.approx(expected, rel=1e-12)


def test_theorem_f_counts_the_scales_of_every_prompt_and_of_the_best() -> None:
    """Two prompts of two scales in one context: one batch of T / 4 pulls."""
    problem = problem_of(np.array([[[0.9, 0.5], [0.2, 0.3]]]))
    rate = np.array([[[np.inf, 0.3], [0.1, 0.2]]])
    assert bounds.theorem_f(problem, rate, 43) == pytest.approx(np.exp(-3) + np.exp(-2) + np.exp(-1), rel=1e-12)
    assert bounds.theorem_f(problem, rate * 1e-9, 43) == pytest.approx(2, rel=1e-6)  # a prompt counts once at most


def test_theorem_d_without_replacement_counts_the_schedules_there_are() -> None:
    """Four prompts in two contexts, T = 80, one scale: 10 pulls of four, then 10, 13 or 20 of four, three or two.

    In one context the second round has 20 for certain. Seen to fail with the union left out (the smallest alone).
    """
    values = np.full((2, 4, 1), 0.5)
    values[:, 0], rate = 0.9, np.full((2, 4, 1), 0.1)
    rate[:, 0] = np.inf
    first = min(3 * np.exp(-1) / 2, 2 * np.exp(-1))
    found = bounds.theorem_d_common(problem_of(values), rate, 80, replacement=False)
    assert found == pytest.approx(2 * (first + 3 * 3 * np.exp(-2)), rel=1e-12)
    steep = bounds.theorem_d_common(problem_of(values), 10 * rate, 80, replacement=False)
    assert steep == pytest.approx(2 * (3 * np.exp(-10) / 2 + 3 * np.exp(-20) / (1 - np.exp(-1))), rel=1e-12)
    alone = bounds.theorem_d_common(problem_of(values[:1]), rate[:1], 80, replacement=False)
    assert alone == pytest.approx(first + 3 * np.exp(-3), rel=1e-12)
    assert bounds.theorem_d_common(problem_of(values[:1]), rate[:1], 80) == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(
    ("rule", "family", "budget"),
    [
        ("proven racing", "enumerable, two contexts", 24),
        ("proven racing", "enumerable race", 15),
        ("prompt halving, common queries", "enumerable, two contexts", 24),
        pytest.param("prompt halving, common queries", "enumerable race", 15, marks=pytest.mark.slow),
        pytest.param("proven racing", "enumerable", 16, marks=pytest.mark.slow),
    ],
)
def test_bounds_lie_above_every_run_there_is(rule: str, family: str, budget: int) -> None:
    """Enumeration agrees with simulation within 5 standard errors, and the bound is no smaller."""
    data, trials = families.world(family, 0), 2048
    truth = failure_probability(enumerate_runs(data, rules.RULES[rule], budget), exact.values(data))[0]
    found = runner.run_trials(fixed(data, 1.0).source, rules.RULES[rule], budget, seed=3, trials=trials)
    right = verify.right_arms(data)
    wrong = ~right[np.arange(len(right)), found.prompt, found.scale - 1]
    assert agrees(wrong.any(axis=1).mean(), truth, np.sqrt(truth * (1 - truth) / trials))
    assert truth <= claims.promise(PAIRS[rule], claims.CLAIMS[PAIRS[rule]], claims.case_of(data), budget)


def test_other_queries_than_assumed_are_refused() -> None:
    data = families.world("bon, query effects", 0)
    problem, wrong = bounds.problem_of(data), chernoff.exponents(data, blocks="all").chernoff
    for bound in (bounds.theorem_f, bounds.theorem_d_common):
        with pytest.raises(ValueError, match="assumes exponents of common queries"):
            bound(problem, wrong, 100)
    with pytest.raises(ValueError, match="fresh data assumes queries drawn with replacement"):
        bounds.theorem_d_common(problem, wrong, 100, replacement=False, fresh=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["bon, two scales", "bon, query effects", "mv, three scales", "graded, query effects"]
)
def test_the_bound_of_the_race_is_below_every_bound_of_psst(family: str) -> None:
    """At T = 960, LCPB included: what docs/guarantees.md says."""
    case = claims.case_of(families.world(family, 0))
    found = claims.values_of(case, 960)
    rivals = {name: found[name] for name, claim in claims.at().items() if claim.rule.startswith("psst")}
    valid = [x for name, x in rivals.items() if isinstance(x, float) and "printed" not in name]
    assert len(valid) >= 5
    assert claims.promise("theorem F", claims.CLAIMS["theorem F"], case, 960) < min(valid)
