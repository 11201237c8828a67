"""Every bound that is ours against runs on random small worlds, by a simulator of its own (`plain_halving`)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from plain_halving import MODES, SHARED, Halving, random_world
from random_worlds import budget_for, verdict
from scipy import stats

from sim.envs import families
from sim.envs.dataset import Dataset
from theory import bounds, chernoff, exact
from theory.lcpb import lcpb
from theory.runs.enumerate import sequential_halving_error

Bounds = dict[str, Callable[[int], float]]
TRIALS, MOST = 1000, 256_000


def bounds_of(data: Dataset, mode: str) -> Bounds:
    """The bounds that cover a way to run, as functions of the budget."""
    world = bounds.problem_of(data)
    queries = "common" if "common" in mode else "independent"
    whole = mode in ("prompts fresh", "prompts", "uniform", *SHARED)
    exponents = chernoff.exponents(data, blocks="all" if whole else "one", queries=queries)
    named = dict(zip(exponents._fields[1:], exponents[1:], strict=True))

    def each(theorem: Callable[..., float], **options: bool) -> Bounds:
        return {
            f"{theorem.__name__} {name}": lambda t, e=e: theorem(world, e, t, **options) for name, e in named.items()
        }

    if mode == "fresh":
        found = each(bounds.theorem_a) | {"theorem1_corrected": lambda t: bounds.theorem1_corrected(world, t)}
        if data.max_scale == 1 and data.num_contexts == 1:
            found["sequential_halving"] = lambda t: bounds.sequential_halving(world, t)
        return found
    if mode == "pulls":
        return each(bounds.theorem_b) | {"theorem_b_closed": lambda t: bounds.theorem_b_closed(world, t)}
    if mode == "blocks":
        return each(bounds.theorem_b_blocks)
    if "race" in mode:
        return each(bounds.theorem_f)
    if mode in SHARED:
        return each(bounds.theorem_d_common, replacement="once" not in mode)
    if mode.startswith("common"):
        closed = bounds.theorem1_corrected if "fresh" in mode else bounds.theorem_b_closed
        found = each(bounds.theorem_c, fresh="fresh" in mode)
        return found | {f"common {closed.__name__}": lambda t: closed(world, t)}
    if mode == "uniform":
        return each(bounds.uniform)
    return each(bounds.theorem_d, fresh="fresh" in mode)


def best_of(data: Dataset) -> np.ndarray:
    """Mask (context, arm) of each context's best arm; where several are, that which bounds are about."""
    return ~bounds.problem_of(data).competitors.reshape(data.num_contexts, -1)


def least_budget(data: Dataset, mode: str) -> int:
    """The smallest budget with a pull of every prompt in the first round."""
    arms = data.num_prompts * (data.max_scale if mode in MODES[:5] else 1)
    rounds = 1 if mode == "uniform" else max(1, int(np.ceil(np.log2(arms))))  # a race asks for less
    return rounds * data.num_prompts * data.max_scale


def examine(seed: int, modes: tuple[str, ...] = MODES) -> Counter:
    """Verdicts on the bounds for one random world, way to run and budget; up to 256 times the trials where unresolved.

    A bound, drawn at random, is met at a level between .005 and .9 by choice of the budget: none is vacuous everywhere.
    """
    rng = np.random.default_rng([77, seed])
    data = random_world(rng, classical=rng.random() < 0.2)
    mode = str(rng.choice(modes, p=[0.2, 0.1, 0.2, *[0.1] * 5] if modes == MODES else None))
    if "once" in mode:
        data = replace(data, query_weights=None)
    covering = bounds_of(data, mode)
    chosen = covering[str(rng.choice(list(covering)))]
    budget = max(budget_for(chosen, float(np.exp(rng.uniform(np.log(0.005), np.log(0.9))))), least_budget(data, mode))
    if rng.random() < 0.1:
        budget = least_budget(data, mode)
    found = {name: bound(budget) for name, bound in covering.items()}
    if mode in ("fresh", "blocks") and budget < 3000:
        try:
            found[f"lcpb {mode}"] = lcpb.lcpb(data, budget, fresh=mode == "fresh")
        except ValueError as error:
            if "too many to add up" not in str(error):
                raise
    runs, trials, failures = Halving(data), 0, 0
    verdicts = dict.fromkeys(found, "unresolved")
    while trials < MOST and "unresolved" in [verdicts[name] for name in found if "lcpb" not in name]:
        more = TRIALS if trials == 0 else 15 * trials
        failures, trials = failures + runs.failures(budget, mode, more, rng, best_of(data)), trials + more
        verdicts = {name: verdict(bound, failures, trials) for name, bound in found.items()}
    assert "violated" not in verdicts.values(), (seed, mode, budget, failures, trials, found)
    return Counter((name, one) for name, one in verdicts.items())


def examine_all(seeds: range, modes: tuple[str, ...] = MODES) -> dict[str, Counter]:
    """Verdicts by bound."""
    found: dict[str, Counter] = {}
    for seed in seeds:
        for (name, one), number in examine(seed, modes).items():
            found.setdefault(name, Counter())[one] += number
    return found


def test_no_bound_is_violated_on_random_instances() -> None:
    """40 of the instances of the long test; every bound but LCPB, which is too tight for it, is also resolved.

    Planted and caught: exponents of twice the size; blocks of a pull counted as independent pulls; one more arm needed
    to drop the best. Subtler errors show on the worlds of the next tests.
    """
    found = examine_all(range(40))
    assert not [name for name, verdicts in found.items() if verdicts["unresolved"] and "lcpb" not in name]
    assert sum(verdicts["holds"] for verdicts in found.values()) > 40


def test_no_bound_on_common_queries_is_violated_on_random_instances() -> None:
    """40 of the instances of the long test.

    Planted and caught: exponents of twice the size; the last comparison of a race left out.
    """
    found = examine_all(range(40), SHARED)
    assert not [name for name, verdicts in found.items() if verdicts["unresolved"]]
    assert sum(verdicts["holds"] for verdicts in found.values()) > 40


@pytest.mark.slow
@pytest.mark.parametrize("modes", [MODES, SHARED], ids=["all", "common queries"])
@pytest.mark.parametrize("part", range(10))
def test_no_bound_is_violated_on_ten_thousand_random_instances(part: int, modes: tuple[str, ...]) -> None:
    found = examine_all(range(1000 * part, 1000 * (part + 1)), modes)
    unresolved = {name: verdicts["unresolved"] for name, verdicts in found.items() if "lcpb" not in name}
    assert sum(unresolved.values()) <= 3, unresolved
    assert min(verdicts["holds"] for verdicts in found.values()) > 0


def sure_world(scale: int) -> Dataset:
    """Two prompts, right on opposite queries, .55 to .45; all completions on a query are alike."""
    return Dataset(
        name="sure",
        aggregate=("mean",),
        probs=np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]),
        values=np.broadcast_to(np.array([[1.0], [0.0]]), (2, 2, 2, 1)).copy(),
        objective_weights=np.ones((1, 1)),
        cost_weights=np.zeros(1),
        costs=np.zeros(2),
        max_scale=scale,
        query_weights=np.array([0.55, 0.45]),
    )


@pytest.mark.parametrize("pulls", [400, 1600, 6400])
def test_common_queries_may_hurt(pulls: int) -> None:
    """Exact failures where one prompt wins what the other loses: the exponent of independent queries is no bound.

    Nor is Hoeffding's Delta^2 / B^2, for two estimates that depend on each other.
    """
    data = sure_world(1)
    world, wins = bounds.problem_of(data), np.arange(pulls + 1)
    share = stats.binom.pmf(wins, pulls, 0.55)
    failure = float(share[2 * wins < pulls].sum() + share[2 * wins == pulls].sum() / 2)
    for exponent in chernoff.exponents(data, queries="common")[1:]:
        assert failure <= bounds.theorem_c(world, exponent, 2 * pulls)
    assert failure > bounds.theorem_c(world, np.asarray(chernoff.exponents(data).chernoff), 2 * pulls)
    assert failure > bounds.theorem_c(world, chernoff.hoeffding(exact.gaps(world.values), 1.0), 2 * pulls)


@pytest.mark.parametrize("pulls", [100, 1000])
def test_blocks_that_share_a_query_are_worth_one(pulls: int) -> None:
    """Six completions a pull, all alike: the exact chance to be beaten obeys one exponent per pull, and not six."""
    exponent = chernoff.exponents(sure_world(6), blocks="all").chernoff[0, 1, 0]
    wins = np.arange(pulls + 1)
    beaten = float(stats.binom.pmf(wins, pulls, 0.55) @ stats.binom.sf(wins - 1, pulls, 0.45))
    assert np.exp(-6 * pulls * exponent) < beaten <= np.exp(-pulls * exponent)


def test_a_false_bound_is_seen() -> None:
    """Theorem 1 as printed, on the two arms of its counterexample: 1.006e-3 claimed, 2.294e-3 true."""
    data, rng = families.two_arm(), np.random.default_rng(1)
    claimed = bounds.theorem1_printed(bounds.problem_of(data), 800)
    failures = Halving(data).failures(800, "fresh", 100_000, rng, best_of(data))
    assert verdict(claimed, failures, 100_000) == "violated"


def test_plain_halving_agrees_with_what_is_known() -> None:
    """Values against the closed forms; failures of halving against the exact recursion, within 4.5 standard errors."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        data = random_world(rng)
        np.testing.assert_allclose(Halving(data).values(), exact.values(data), atol=1e-9)
    for budget in (120, 300):
        truth = sequential_halving_error([0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3], budget).total
        failures = Halving(families.graded_halving()).failures(budget, "fresh", 20_000, rng, np.arange(8)[None] == 0)
        assert abs(failures / 20_000 - truth) < 4.5 * np.sqrt(truth * (1 - truth) / 20_000)
