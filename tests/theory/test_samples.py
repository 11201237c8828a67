"""Values estimated from logs: all subsets by hand, no bias, and intervals that cover where queries are drawn anew."""

import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from sim.envs.dataset import Dataset
from sim.kernels.majority import credit_of_subsets, majority_credit
from theory import sample_values, samples, values
from theory.blocks.best_of_n import best_of_n, best_of_subsets

SCALES = (1, 4, 16)
QUERIES, COMPLETIONS = 20, 16
KINDS = np.array([0.4, 0.3, 0.2, 0.1])
"""How frequent four kinds of queries are."""
RIGHT = np.array([[0.7, 0.6, 0.5, 0.55], [0.97, 0.96, 0.95, 0.03], [0.9, 0.6, 0.3, 0.1], [0.35, 0.3, 0.45, 0.4]])
"""Chance of a right answer by prompt and kind: alike, hardly ever wrong but on a kind, various, mostly wrong."""
WRONG = np.array([0.25, 0.2, 0.2, 0.15, 0.1, 0.1])
"""How frequent wrong answers are among them."""
COSTS = np.array([[1.0, 2.0, 3.0, 8.0]] * 4)
COST_WEIGHT = 0.003


def credit(votes: list[int], scale: int, tie: str) -> float:
    """Mean credit over all subsets, one after the other."""
    labels, found = np.repeat(np.arange(len(votes)), votes), []
    for some in itertools.combinations(labels, scale):
        counts = np.bincount(some, minlength=len(votes))
        tied = int((counts == counts.max()).sum())
        found.append(0.0 if counts[0] < counts.max() else 1.0 if tied == 1 else 1 / tied if tie == "uniform" else 0.5)
    return float(np.mean(found))


@pytest.mark.parametrize("tie", ["uniform", "half"])
@pytest.mark.parametrize("votes", [[3, 1], [2, 2, 1], [0, 3, 2], [4, 0, 0], [1, 1, 1, 1], [2, 3, 0, 2], [3]])
def test_credit_of_all_subsets_one_by_one(votes: list[int], tie: str) -> None:
    """Beyond the votes there is none; [3] has no wrong answer. Seen to fail with Poisson weights, which draw again."""
    total = sum(votes)
    found = credit_of_subsets(np.array([votes]), total + 2, tie)[0]
    assert np.isnan(found[total:]).all()
    expected = [credit(votes, scale, tie) for scale in range(1, total + 1)]
    np.testing.assert_allclose(found[:total], expected, rtol=0, atol=1e-13)


def test_few_of_many_votes_are_nearly_independent() -> None:
    """With 10^6 votes, subsets of 9 differ from draws by less than 36/10^6, and nothing underflows."""
    counts = np.array([[500_000, 300_000, 200_000], [300_000, 300_000, 400_000]])
    np.testing.assert_allclose(credit_of_subsets(counts, 9), majority_credit(counts / 1e6, 9), rtol=0, atol=4e-5)
    assert credit_of_subsets(np.array([513, 511]), 1024)[-1] == pytest.approx(1.0)


def test_best_of_all_subsets_one_by_one() -> None:
    """Seen to fail with powers of shares."""
    scores, times = np.array([0.5, -1.0, 2.0, 0.5]), np.array([1, 3, 1, 2])
    each = np.repeat(scores, times)
    found = best_of_subsets(scores, times, 8)
    expected = [np.mean([max(some) for some in itertools.combinations(each, n)]) for n in range(1, 8)]
    np.testing.assert_allclose(found[:7], expected, rtol=0, atol=1e-13)
    assert np.isnan(found[7])
    many = best_of_subsets(scores, 10**7 * times, 4)
    np.testing.assert_allclose(many, best_of_n(scores, times / 7, 4), rtol=0, atol=1e-5)


class Log(NamedTuple):
    """Logs of the known law, 4 prompts each, the prompts of all of them side by side."""

    data: Dataset
    truth: np.ndarray


def truth() -> np.ndarray:
    """Values (context, prompt, scale) of the law that logs are drawn from, by exact votes."""
    laws = np.concatenate([RIGHT[..., None], (1 - RIGHT[..., None]) * WRONG], axis=2)
    of_kinds = majority_credit(laws, COMPLETIONS)
    cost = COST_WEIGHT * (COSTS @ KINDS)[:, None] * np.arange(1, COMPLETIONS + 1)
    free = np.einsum("k,pks->ps", KINDS, of_kinds)
    return np.stack([free, free - cost])


def drawn(logs: int, seed: int) -> Log:
    """Logs whose queries are drawn anew, with a context that costs nothing and one in which completions cost."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(KINDS), (logs, 1, QUERIES), p=KINDS)
    right = RIGHT[np.arange(4)[:, None], kinds]
    laws = np.concatenate([right[..., None], (1 - right[..., None]) * WRONG], axis=3)
    counts = rng.multinomial(COMPLETIONS, laws).reshape(-1, QUERIES, 1 + len(WRONG))
    cost = rng.gamma(4.0, COSTS[np.arange(4)[:, None], kinds] / 4.0).reshape(-1, QUERIES)
    data = Dataset(
        name="logs",
        aggregate=("mv",),
        probs=counts / COMPLETIONS,
        answers=np.zeros(QUERIES, int),
        objective_weights=np.ones((2, 1)),
        cost_weights=np.array([0.0, COST_WEIGHT]),
        costs=cost.mean(axis=1),
        max_scale=COMPLETIONS,
        completions=np.full(counts.shape[:2], COMPLETIONS),
        pair_costs=cost,
    )
    return Log(data, np.tile(truth(), (1, logs, 1)))


def check_coverage(log: Log) -> None:
    """Every prompt, N and context: coverage not below .95 by Clopper and Pearson's upper limit at .999.

    Together for all 24 cells that errs with chance .024 at most.
    """
    found, logs = sample_values(log.data), log.truth.shape[1] // 4
    inside = (found.low <= log.truth) & (log.truth <= found.high)
    covered = inside.reshape(2, logs, 4, COMPLETIONS).sum(axis=1)[..., np.array(SCALES) - 1]
    upper = stats.beta.ppf(0.999, covered + 1, logs - covered)
    assert (np.where(covered == logs, 1.0, upper) >= 0.95).all(), covered / logs


def test_intervals_cover_new_queries() -> None:
    """300 logs of 20 queries. Seen to fail with `MADE_UP = 0`: .88 where 1 query of 10 decides (N = 16)."""
    check_coverage(drawn(300, seed=1))


@pytest.mark.slow
def test_intervals_cover_new_queries_closely() -> None:
    """1,000 logs, and by the usual limit: 24 cells, none of which may be significantly below .95 at the level .05."""
    log = drawn(1000, seed=2)
    check_coverage(log)
    found = sample_values(log.data)
    inside = ((found.low <= log.truth) & (log.truth <= found.high)).reshape(2, 1000, 4, COMPLETIONS)
    covered = inside.sum(axis=1)[..., np.array(SCALES) - 1]
    assert (stats.binom.cdf(covered, 1000, 0.95) >= 0.05).all(), covered / 1000


def test_estimates_have_no_bias() -> None:
    """Within 5 computed standard errors of the truth; plug-in values are .1 too low at N = 16, more than 20 of them.

    Seen to fail with plug-in values, and with costs of the prompt in place of those of each query.
    """
    log = drawn(300, seed=3)
    for estimate, biased in ((sample_values(log.data).value, False), (values(log.data), True)):
        off = (estimate - log.truth).reshape(2, 300, 4, COMPLETIONS)
        z = off.mean(axis=1) / (off.std(axis=1, ddof=1) / np.sqrt(300))
        assert (np.abs(z) < 5).all() == (not biased)
        if biased:
            assert off.mean(axis=1)[0, 3, -1] < -0.02


def test_intervals_of_scores_cover() -> None:
    """Best of N of normal scores with means of skewed law. Seen to fail with half of Student's quantile."""
    rng = np.random.default_rng(4)
    centre = rng.gamma(4.0, 0.5, (300, QUERIES))
    scores = np.sort(rng.normal(centre[..., None], 0.5, (300, QUERIES, COMPLETIONS)), axis=2)
    data = Dataset(
        name="scores",
        aggregate=("bon",),
        probs=np.full(scores.shape, 1 / COMPLETIONS),
        values=scores[..., None],
        objective_weights=np.ones((1, 1)),
        cost_weights=np.zeros(1),
        costs=np.zeros(300),
        max_scale=COMPLETIONS,
        completions=np.full(scores.shape[:2], COMPLETIONS),
    )
    found = sample_values(data)
    for scale, largest in ((1, 0.0), (4, 1.029375), (16, 1.765991)):  # expected largest of N standard normal numbers
        expected = 2.0 + 0.5 * largest
        covered = int(((found.low <= expected) & (expected <= found.high))[0, :, scale - 1].sum())
        assert stats.beta.ppf(0.999, covered + 1, 300 - covered) >= 0.95, (scale, covered)
        off = found.value[0, :, scale - 1] - expected
        assert abs(off.mean()) < 5 * off.std(ddof=1) / np.sqrt(300)


def test_an_interval_by_hand() -> None:
    """12 queries, 9 right: with two made-up ones at each end 11 of 16. Differences lie in [-1, 1]."""
    right = np.array([1] * 9 + [0] * 3)
    probs = np.stack([np.stack([right, 1 - right], axis=1), np.stack([np.ones(12), np.zeros(12)], axis=1)])
    data = Dataset(
        name="twelve",
        aggregate=("mv",),
        probs=probs.astype(float),
        answers=np.zeros(12, int),
        objective_weights=np.full((1, 1), 2.0),
        cost_weights=np.ones(1),
        costs=np.full(2, 0.25),
        max_scale=1,
        completions=np.ones((2, 12), int),
    )
    found = sample_values(data)
    half = stats.t.isf(0.025, 15) * np.sqrt(11 / 16 * 5 / 16 / 15)
    assert found.value[0, 0, 0] == pytest.approx(2 * 9 / 12 - 0.25)
    assert found.low[0, 0, 0] == pytest.approx(2 * (11 / 16 - half) - 0.25)
    assert (found.high[0, 0, 0], found.high[0, 1, 0]) == pytest.approx((2 * (11 / 16 + half) - 0.25, 1.75))
    behind = samples.behind_best(data, samples.sample_task_values(data), 0)
    mean, squares = 3 / 16, 3 + 4 - 16 * (3 / 16) ** 2
    half = stats.t.isf(0.025, 15) * np.sqrt(squares / 15 / 16)
    ends = (behind.value[0, 0], behind.low[0, 0], behind.high[0, 0])
    assert ends == pytest.approx((2 * 3 / 12, 2 * (mean - half), 2 * (mean + half)))
    scored = replace(data, aggregate=("bon",), answers=None, values=np.tile([[1.0], [0.0]], (2, 12, 1, 1)))
    np.testing.assert_allclose(np.stack(sample_values(scored)), np.stack(found))  # scores of 0 and 1
    few = sample_values(data.subset(np.arange(9)))
    assert np.isnan(few.low).all()
    assert np.isfinite(few.value).all()
    weighted = replace(data, query_weights=np.array([2.0] * 9 + [1.0] * 3))
    assert sample_values(weighted).value[0, 0, 0] == pytest.approx(2 * 18 / 21 - 0.25)


def test_mixed_rewards_of_uneven_pairs_by_hand() -> None:
    """A vote, a best score and a mean of the same completions; the second query has two, so N = 3 has no value."""
    outcomes = np.array([[[0, 1.0, 4.0], [0, 3.0, 2.0], [5, 2.0, 0.0]], [[7, 1.0, 1.0], [0, 2.0, 3.0], [0, 2.0, 3.0]]])
    data = Dataset(
        name="mixed",
        aggregate=("mv", "bon", "mean"),
        probs=np.array([[[1, 1, 1], [1.5, 1.5, 0]]]) / 3,
        values=outcomes[None],
        answers=np.zeros(2, int),
        objective_weights=np.array([[1.0, 1.0, 1.0]]),
        cost_weights=np.zeros(1),
        costs=np.zeros(1),
        max_scale=3,
        completions=np.array([[3, 2]]),
    )
    first = [2 / 3 + 2 + 2, (1 + 0.5 + 0.5) / 3 + (3 + 2 + 3) / 3 + 2]
    second = [0.5 + 1.5 + 2, 0.5 + 2 + 2]
    found = sample_values(data).value[0, 0]
    np.testing.assert_allclose(found[:2], np.mean([first, second], axis=0))
    assert np.isnan(found[2])
    said = "Values are for N <= 2 of prompt 0 (1 of 2 queries with no more): a log says nothing beyond"
    assert any(sentence.startswith(said) for sentence in samples.statements(data))


def test_what_is_no_sample_is_refused() -> None:
    log = drawn(1, seed=5).data
    with pytest.raises(ValueError, match="logs: is no sample: it does not say how many completions"):
        sample_values(replace(log, completions=None, pair_costs=None))
    with pytest.raises(ValueError, match="logs: probs of prompt 0, query 0 are no frequencies of its 17 completions"):
        sample_values(replace(log, completions=np.full((4, QUERIES), 17)))
