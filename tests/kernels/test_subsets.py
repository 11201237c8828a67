"""Estimators of a pull against every subset, or every draw with replacement, of its completions."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from sim.kernels import subsets, tallies, votes
from sim.utilities import Strategy, reward_unit

WEIGHTS = np.array([[0.5, 0.25, -0.125, 0.25], [-0.25, 0.5, 0.5, -0.25]])
AGGREGATES = {"mv": ("mv",), "mixed": ("mv", "bon", "mean", "bon")}
DRAWS = {
    "subsets": lambda size, k: list(itertools.combinations(range(size), k)),
    "plug-in": lambda size, k: list(itertools.product(range(size), repeat=k)),
}


def build(name: str, tie: str, answers: int) -> tuple[Strategy, reference.Problem]:
    aggregate = AGGREGATES[name]
    weights, unit = WEIGHTS[:, : len(aggregate)], reward_unit(4.0)
    problem = reference.Problem(aggregate, weights, (0, 1), np.ones(2), np.zeros((2, 1)), 1, unit, tie)
    return Strategy(aggregate, answers, tie, jnp.asarray(weights, jnp.float32), jnp.full(2, unit, jnp.float32)), problem


def completions(rng: np.random.Generator, aggregate: tuple[str, ...], answers: int, width: int) -> np.ndarray:
    """Outcomes (width, objective, pull) of 30 pulls; scores take few values, so that ties abound."""
    drawn = [
        rng.integers(0, answers, (width, 30)) if how == "mv" else rng.integers(-4, 5, (width, 30)) / 2
        for how in aggregate
    ]
    return np.stack(drawn, axis=1)


estimate = jax.jit(subsets.pull_units, static_argnums=(3, 4))


@pytest.mark.parametrize("estimator", DRAWS)
@pytest.mark.parametrize(
    ("name", "tie", "answers"),
    [("mv", "half", 4), ("mv", "uniform", 9), ("mixed", "uniform", 3)],
)
def test_an_estimate_is_the_mean_over_all_draws(estimator: str, name: str, tie: str, answers: int) -> None:
    """Pulls of none to four completions with padding, all scales, "plug-in" to five.

    Each of a vote, a best and a mean is rounded, to half a unit per block.

    Seen to fail with the ranks of a vote's losers unsorted, `below` from i / n for "subsets", and ties with nobody.
    """
    strategy, problem = build(name, tie, answers)
    outcomes = completions(np.random.default_rng(answers), strategy.aggregate, answers, 4)
    scales = np.resize([4, 4, 3, 2, 1, 0], 30)
    found = estimate(strategy, jnp.asarray(outcomes, jnp.float32), jnp.asarray(scales, jnp.int32), estimator, 5)
    assert found.shape == (30, 2, 5 if estimator == "plug-in" else 4)
    for pull, size in enumerate(scales):
        own = outcomes[:size, :, pull]
        for k in range(1, found.shape[2] + 1):
            count = max(size // k, 1 if estimator == "plug-in" and size else 0)
            draws = DRAWS[estimator](size, k) if count else []
            mean = np.mean([reference.task_reward(problem, own[list(draw)]) for draw in draws], axis=0) if draws else 0
            off = np.asarray(found)[pull, :, k - 1] - count * mean / problem.unit
            assert np.all(np.abs(off) <= 0.51 * min(len(strategy.aggregate), 3) * count)


def test_wide_votes_are_those_of_all_subsets() -> None:
    """Pulls of 12, 11 and 10 completions, five answers: every subset of 1, 2, 3 and 10."""
    strategy, problem = build("mv", "uniform", 5)
    outcomes = completions(np.random.default_rng(1), ("mv",), 5, 12)[:, :, :6]
    scales = np.array([12, 12, 11, 11, 10, 10])
    found = estimate(strategy, jnp.asarray(outcomes, jnp.float32), jnp.asarray(scales, jnp.int32), "subsets", 12)
    for pull, k in itertools.product(range(6), (1, 2, 3, 10)):
        own = outcomes[: scales[pull], :, pull]
        every = itertools.combinations(range(scales[pull]), k)
        mean = np.mean([reference.task_reward(problem, own[list(draw)]) for draw in every], axis=0)
        count = scales[pull] // k
        assert np.all(np.abs(np.asarray(found)[pull, :, k - 1] - count * mean / problem.unit) <= count)


def test_wide_scores_are_weighted_by_exact_chances() -> None:
    """Best of k of 128 distinct scores: C(i - 1, k - 1) / C(n, k), in whole numbers, to 2**-22."""
    n = 128
    weights = subsets.best_weights(n, n, "subsets").astype(float)
    comb = functools.partial(lambda a, b: float(np.prod((np.arange(b) + a - b + 1) / (np.arange(b) + 1))))
    for k in (1, 2, 17, 127, 128):
        exact = [comb(i - 1, k - 1) / comb(n, k) if i >= k else 0.0 for i in range(1, n + 1)]
        np.testing.assert_allclose(weights[n - 1, k - 1] / 2**22, exact, rtol=0, atol=2.0**-22)
        assert weights[n - 1, k - 1].sum() == 2**22


@pytest.mark.parametrize(("answers", "width"), [(1, 3), (2, 7), (4, 6), (6, 4)])
def test_every_count_of_votes_has_a_row_of_its_own(answers: int, width: int) -> None:
    """Rows are used up exactly by votes of the right answer and partitions of the others', none twice."""
    table = votes.table(answers, "uniform", width, width, "subsets")
    rows = set()
    for cast in itertools.product(range(width + 1), repeat=answers):
        if sum(cast) <= width:
            wrong = tallies.rank(table.wrong, jnp.array(cast[1:], jnp.int32))
            rows.add((int(table.first[cast[0]] + wrong), cast[0], *sorted(cast[1:])))
    assert sorted(row for row, *_ in rows) == list(range(len(table.credit)))


def test_blocks_are_counted_by_whole_division() -> None:
    """All pulls up to 2**14 completions and all scales, and a pull of none. Seen to fail without the half."""
    scales = np.arange(2**14 + 1)
    found = subsets.blocks_of(jnp.asarray(scales, jnp.int32), 256, "blocks")
    np.testing.assert_array_equal(found, scales[:, None] // np.arange(1, 257))
    several = subsets.blocks_of(jnp.asarray([0, 2, 5], jnp.int32), 4, "plug-in")
    np.testing.assert_array_equal(several, [[0, 0, 0, 0], [2, 1, 1, 1], [5, 2, 1, 1]])
