"""Splitting against the exact oracle, its moves and caches against plain runs, and when it must say that it fails."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import agrees, chi_square
from jaxtyping import Array
from scipy import stats

from sim import algorithms
from sim.algorithms.psst import PSST
from sim.core import Algorithm
from sim.engine import runner
from sim.envs import families
from sim.envs.dataset import Dataset
from sim.envs.sources import fixed
from sim.kernels import counter
from theory import exact
from theory.checks import families as checked
from theory.runs import enumerate as enum
from theory.runs import rare, tapes

GRADED = (0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3)
STEEP = (0.9, 0.4, 0.3, 0.2)


def bernoulli(means: tuple[float, ...]) -> Dataset:
    """Bernoulli arms at a single scale."""
    return families.two_arm(means)


def within(estimate: rare.Splitting, exact: float) -> bool:
    """Whether the exact value lies in the 99% t-interval of an estimate that nothing speaks against."""
    low, high = rare.t_interval(estimate.replicates, 0.99)
    return estimate.trusted and low <= exact <= high


def test_cells_of_a_halving_tape_hold_binomial_counts_before_and_after_moves() -> None:
    """Planted bug seen: larger cells without their one pull more."""
    tape = rare.halving_tape((0.7, 0.4), (45,))
    cells = tape.draw(counter.from_seed(1), 20_000)
    for stage in range(2):
        total = np.asarray(cells.counts.sum(axis=(2, 3)))
        for arm, success in enumerate((0.7, 0.4)):
            expected = stats.binom.pmf(np.arange(46), 45, success) * len(total)
            seen = np.bincount(total[:, arm], minlength=46)
            often = expected >= 10
            assert chi_square(
                np.append(seen[often], seen[~often].sum()), np.append(expected[often], expected[~often].sum())
            )
        before = cells
        for i in range(3 * (1 - stage)):
            move = tape.propose(counter.fold(counter.from_seed(2), i), jnp.full(20_000, 0.7))
            cells, _ = tape.moved(cells, move)
        if stage == 0:
            share = float((cells.counts != before.counts).any(axis=(2, 3)).mean())
            assert 0.5 < share < 1 - 0.3**3


def test_room_of_a_halving_tape_shows_in_no_result_and_lets_budgets_share_their_programs() -> None:
    """Seen to fail with cells numbered as if all groups were in use, and with pulls as a static field."""
    key, levels = counter.from_seed(4), rare.Levels(np.array([2.0]), np.array([0.5]), True)
    small, large = (enum.halving_pulls(4, budget) for budget in (120, 1200))
    room = tapes.num_groups(large)
    tight, roomy = (rare.halving_tape(STEEP, small, False, more) for more in (0, room))
    assert tight.quantiles.shape[2] < roomy.quantiles.shape[2] == room
    found = [
        (rare.plain_scores(one, key, 200, 100), rare.splitting(one, seed=3, particles=50, plain=0, levels=levels))
        for one in (tight, roomy)
    ]
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1].replicates, found[1][1].replicates)
    np.testing.assert_array_equal(found[0][1].acceptance, found[1][1].acceptance)
    shapes = [jax.tree.map(jnp.shape, rare.halving_tape(STEEP, pulls, False, room)) for pulls in (small, large)]
    assert jax.tree.structure(roomy) == jax.tree.structure(rare.halving_tape(STEEP, large, True, room))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("fresh", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_halving_tape_fails_as_often_as_psst(fresh: bool) -> None:
    """Planted bug seen: rounds of a stockpiling tape judged by their own pulls alone."""
    pulls = enum.halving_pulls(8, 240)
    scores = rare.plain_scores(rare.halving_tape(GRADED, pulls, fresh), counter.from_seed(1), 20_000)
    failed = float((scores < 0).mean())
    if fresh:
        expected = enum.halving_error(GRADED, pulls).total
        assert agrees(failed, expected, np.sqrt(expected * (1 - expected) / 20_000))
    else:
        source = fixed(families.graded_halving(), 1.0).source
        trials = runner.run_trials(source, PSST(), 240, seed=3, trials=4096, chunk=1024)
        other = float((trials.prompt != 0).mean())
        assert agrees(failed, other, np.sqrt(other * (1 - other) * (1 / 20_000 + 1 / 4096)))


def test_splitting_matches_the_oracle_at_1e_4() -> None:
    """Planted bugs seen: moves accepted whatever their score; copies always of the first survivor."""
    exact = enum.sequential_halving_error(GRADED, 1050)
    assert 1e-4 < exact.total < 2e-4
    estimate = rare.splitting(rare.halving_tape(GRADED, exact.pulls), seed=1, particles=500, moves=10)
    assert within(estimate, exact.total), estimate
    assert estimate.replicates.std() < 0.5 * exact.total


def test_frozen_levels_are_unbiased_even_with_few_particles_and_moves() -> None:
    """400 replicates of 30 particles, one move each: badly mixed, and still right on average."""
    exact = enum.sequential_halving_error((0.6, 0.4, 0.4, 0.4), 400)
    tape = rare.halving_tape((0.6, 0.4, 0.4, 0.4), exact.pulls)
    levels = rare.pilot(tape, counter.from_seed(9), 300, 5)
    estimate = rare.splitting(tape, seed=2, replicates=300, particles=30, moves=1, plain=0, levels=levels)
    assert agrees(estimate.probability, exact.total, estimate.replicates.std() / np.sqrt(300))
    assert any("matched" in doubt for doubt in estimate.doubts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("means", "budget"), [(GRADED, 1200), (GRADED, 2400), ((0.6, 0.4, 0.4, 0.4), 3200), ((0.55, 0.45), 4000)]
)
def test_splitting_matches_the_oracle_down_to_1e_11(means: tuple[float, ...], budget: int) -> None:
    exact = enum.sequential_halving_error(means, budget)
    estimate = rare.splitting(rare.halving_tape(means, exact.pulls), seed=1)
    assert within(estimate, exact.total), estimate
    assert estimate.high - estimate.low < 0.6 * exact.total


RUNS: dict[str, tuple[Algorithm, int]] = {
    "psst": (PSST(), 120),
    "common": (PSST(queries="common"), 120),
    "poor": (PSST(), 13),
    "uniform": (algorithms.get("uniform"), 64),
    "sequential-halving": (algorithms.get("sequential-halving"), 120),
    "successive-rejects": (algorithms.get("successive-rejects"), 90),
    "psst+k1": (algorithms.get("psst+k1"), 120),
    "ucb": (algorithms.get("ucb"), 16),
}


def some(quick: tuple[str, ...], slow: tuple[str, ...]) -> list[Any]:
    """Names of runs, those that only `pytest -m slow` takes marked so."""
    return [*quick, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


@pytest.mark.parametrize("name", some((), tuple(RUNS)))
def test_runs_from_the_cache_equal_runs_from_scratch(name: str) -> None:
    """Planted bug seen: blocks whose request changed, but not their key, taken from the cache."""
    algorithm, budget = RUNS[name]
    tape = rare.run_tape(families.bon_query_effects(), algorithm, budget, num_blocks=3)
    run = jax.jit(lambda cells: tape.run(cells))
    again = jax.jit(lambda cells, move, cache: (tape.moved(cells, move)[0], tape.run(*tape.moved(cells, move), cache)))
    cells = tape.draw(counter.from_seed(1), 64)
    score, cache = run(cells)
    for i in range(4):
        move = tape.propose(counter.fold(counter.from_seed(2), i), jnp.full(64, 0.3))
        cells, (score, cache) = again(cells, move, cache)
        np.testing.assert_array_equal(score, run(cells)[0])
    assert len(np.unique(score)) > 16


@pytest.mark.parametrize("name", some((), ("psst", "common", "poor", "sequential-halving", "ucb")))
def test_a_run_tape_fails_as_often_as_the_simulator(name: str) -> None:
    """Planted bug seen: the blocks of a row given the same key."""
    algorithm, budget = RUNS[name]
    data = families.bon_query_effects()
    scores = rare.plain_scores(rare.run_tape(data, algorithm, budget, num_blocks=4), counter.from_seed(4), 4096, 1024)
    trials = runner.run_trials(fixed(data, 1.0).source, algorithm, budget, seed=3, trials=4096, chunk=1024)
    best = rare.run_tape(data, algorithm, budget).right
    arms = trials.prompt * data.max_scale + trials.scale - 1
    failed = ~np.asarray(best)[np.arange(2), arms].all(axis=1)
    pooled = (failed.mean() + (scores < 0).mean()) / 2
    assert 0.01 < pooled < 0.99
    assert agrees((scores < 0).mean(), failed.mean(), np.sqrt(2 * pooled * (1 - pooled) / 4096))


def test_scores_of_an_algorithm_that_trims_are_margins() -> None:
    """Without its jitter of at most 2**-10, a score is the smallest sqrt(pulls) * lead of the best arm."""
    data = bernoulli((0.8, 0.6))
    tape = rare.run_tape(data, PSST(), 40)
    cells = tape.draw(counter.from_seed(1), 256)
    score, made = jax.jit(lambda cells: tape.run(cells))(cells)
    mean = np.asarray(made.total).sum(axis=(1, 3))[:, :, 0, 0] / 20
    lead = np.sqrt(20) * (mean[:, 0] - mean[:, 1])
    ok = np.asarray(score) >= 0
    assert (lead[~ok] <= 1e-6).all()
    np.testing.assert_allclose(np.asarray(score)[ok], np.maximum(lead[ok], 0), atol=2**-9)


@pytest.mark.slow
def test_splitting_on_the_simulator_matches_the_oracle() -> None:
    exact = enum.sequential_halving_error(STEEP, 80)
    tape = rare.run_tape(bernoulli(STEEP), PSST(fresh=True), 80, num_blocks=5)
    estimate = rare.splitting(tape, seed=1, replicates=8, particles=400, moves=6, plain=8_000)
    assert 1e-4 < exact.total < 3e-4
    assert within(estimate, exact.total), (estimate, exact)


@pytest.mark.slow
def test_splitting_matches_simulation_where_both_see() -> None:
    data = families.bon_two_scales()
    estimate = rare.splitting(rare.run_tape(data, PSST(), 200), seed=1, replicates=6, particles=300, moves=5, plain=0)
    trials = runner.run_trials(fixed(data, 1.0).source, PSST(), 200, seed=3, trials=8192, chunk=1024)
    right = np.asarray(rare.run_tape(data, PSST(), 200).right)
    failed = ~right[np.arange(2), trials.prompt * 2 + trials.scale - 1].all(axis=1)
    assert rare.matches_simulation(estimate, int(failed.sum()), 8192)
    assert not rare.matches_simulation(estimate, int(failed.sum()) * 4 + 80, 8192)


@pytest.mark.slow
def test_a_score_that_says_nothing_is_doubted() -> None:
    def blind(spec: Any, right: Array, before: Any, after: Any) -> Array:
        return jnp.float32(1.0)

    tape = rare.run_tape(bernoulli(STEEP), PSST(fresh=True), 80, num_blocks=2, margin=blind)
    estimate = rare.splitting(tape, seed=1, replicates=3, particles=100, moves=2, plain=500)
    assert not estimate.trusted


def test_intervals_and_doubts_by_hand() -> None:
    values = np.array([1.0, 2.0, 3.0])
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert rare.t_interval(values) == pytest.approx((0.0, 2 + half))
    assert rare.t_interval(values, log_scale=True) == pytest.approx((2 * np.exp(-half / 2), 2 * np.exp(half / 2)))
    levels = rare.Levels(np.array([1.0]), np.array([0.5]), False)
    fractions, acceptance = np.array([[0.2, 0.0], [0.01, 0.01], [0.01, 0.01]]), np.array([[0.01], [0.02], [0.03]])
    doubts = " ".join(rare._doubts(levels, fractions, acceptance, np.array([0, 2, 2])))
    for part in ("never saw", "1 of 3 replicates", "2.0% of the moves", "keeps only 0.67%", "first particles only"):
        assert part in doubts
    scores = np.concatenate([np.full(300, 0.5), np.full(700, 2.0)])
    assert "too few" in rare._overlap(levels, fractions, scores)[0]
    scores = np.concatenate([np.full(100, -1.0), np.full(200, 0.5), np.full(700, 2.0)])
    same = np.tile([0.3, 1 / 3], (3, 1))
    assert rare._overlap(levels, same, scores) == ()
    assert "splitting" in rare._overlap(levels, 2 * same, scores)[0]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="33 arms"):
        rare.halving_tape((0.5,) * 33, (10,))
    with pytest.raises(ValueError, match="pulled 40000 times"):
        rare.halving_tape((0.5, 0.4), (40_000,))
    with pytest.raises(ValueError, match="too few"):
        rare.splitting(rare.halving_tape((0.5, 0.4), (10,)), seed=1, replicates=2)


@pytest.mark.slow
def test_a_run_that_outlasts_its_tape_is_refused() -> None:
    tape = rare.run_tape(bernoulli(STEEP), PSST(), 80)
    with pytest.raises(ValueError, match="room for"):
        rare.plain_scores(dataclasses.replace(tape, num_rounds=1), counter.from_seed(1), 10, 10)


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "size"), [(48, "5.6e-08"), (64, "1.3e-10")])
def test_splitting_of_any_algorithm_matches_the_enumeration_of_its_runs(budget: int, size: str) -> None:
    """Two scales, query effects, accumulated data: every run enumerated."""
    data = checked.enumerable(1)
    runs = enum.enumerate_runs(data, PSST(), budget)
    known, _ = enum.failure_probability(runs, exact.values(data))
    assert f"{known:.1e}" == size
    estimate = rare.splitting(rare.run_tape(data, PSST(), budget), seed=3, particles=1000)
    assert estimate.trusted, estimate.doubts
    assert within(estimate, known)
