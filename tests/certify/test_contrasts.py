"""Differences between arms and their errors, by hand."""

import numpy as np
import pytest

from sim.certify import ContextTerms, QueryEvidence
from sim.certify.contrasts import Contrasts

FREE = (ContextTerms("free"),)


def evidence(rewards: list, **more: object) -> QueryEvidence:
    """Prompts by queries by N, None where not measured; one task."""
    table = np.array(rewards, float)[None]
    completions = np.isfinite(table[0]).sum(axis=2)
    fields: dict = {"contexts": FREE, "cost": np.zeros(len(rewards)), **more}
    return QueryEvidence(table, completions, **fields)


def test_differences_are_paired_by_query() -> None:
    """Differences 0, 1, 2: mean 1, standard error 1 / sqrt 3."""
    pairs = Contrasts(evidence([[[1], [3], [5]], [[1], [2], [3]]]), 0, "new").pairs()
    np.testing.assert_allclose(pairs.mean, [[0, 1], [-1, 0]])
    np.testing.assert_allclose(pairs.se, np.array([[0, 1], [1, 0]]) / np.sqrt(3))
    assert pairs.queries.tolist() == [[3, 3], [3, 3]]


def test_two_prompts_are_compared_on_the_queries_that_both_met() -> None:
    """The first prompt leads by 2, 4 on the last two; on the first query the second was not asked."""
    nan = np.nan
    pairs = Contrasts(evidence([[[9], [2], [4]], [[nan], [0], [0]], [[0], [nan], [nan]]]), 0, "new").pairs()
    np.testing.assert_allclose(pairs.mean[0, 1], 3)
    np.testing.assert_allclose(pairs.se[0, 1], 1)
    assert np.isnan(pairs.mean[0, 2])
    assert pairs.queries[0].tolist() == [3, 2, 1]


def test_scales_of_a_prompt_on_different_queries_have_sheets_of_their_own() -> None:
    """N = 2 was measured on two of three queries; its lead over N = 1 there is 1 and 3."""
    nan = np.nan
    found = Contrasts(evidence([[[0, 1], [1, 4], [7, nan]]]), 0, "new")
    assert [sheet.met.tolist() for sheet in found.sheets] == [[True, True, False], [True, True, True]]
    pairs = found.pairs()
    np.testing.assert_allclose([pairs.mean[1, 0], pairs.se[1, 0]], [2, 1])


def test_known_costs_move_values_and_widen_nothing() -> None:
    one = (ContextTerms("dear", weight=2.0, cost_weight=0.5, offset=7.0),)
    found = evidence([[[1, 1], [3, 3]], [[0, 0], [0, 0]]], contexts=one, cost=np.array([0.2, 0.4]))
    pairs = Contrasts(found, 0, "new").pairs()
    np.testing.assert_allclose(pairs.mean[0], [0, 0.1, 4 - 0.1 + 0.2, 4 - 0.1 + 0.4])
    np.testing.assert_allclose(pairs.se[0], [0, 0, 2, 2])
    assert found.utilities(0)[0, 0, 0] == 2 + 7 - 0.1


def test_measured_costs_vary_with_queries() -> None:
    one = (ContextTerms("dear", cost_weight=1.0),)
    cost = np.array([[0.0, 2.0], [0.0, 0.0]])
    pairs = Contrasts(evidence([[[1], [1]], [[0], [0]]], contexts=one, cost=cost), 0, "new").pairs()
    np.testing.assert_allclose([pairs.mean[0, 1], pairs.se[0, 1]], [0, 1])


def test_weights_of_queries_weigh() -> None:
    """Differences 0 and 4 with weights 3 and 1: mean 1; rows 3/4 (-1), 1/4 (3), squares 9/16 each, over 1 - 10/16."""
    found = evidence([[[0], [4]], [[0], [0]]], query_weights=np.array([3.0, 1.0]))
    pairs = Contrasts(found, 0, "new").pairs()
    np.testing.assert_allclose([pairs.mean[0, 1], pairs.se[0, 1]], [1, np.sqrt(3)])


def with_noise(population: int | None = None) -> QueryEvidence:
    """Two prompts, two queries, N = 1 and 2; each pair has two rows of noise for N = 1 and none for N = 2."""
    noise = np.full((1, 2, 2, 2, 2), np.nan)
    noise[0, 0, :, :, 0] = [[0.3, -0.3], [0.1, -0.1]]
    noise[0, 1, :, :, 0] = [[0.2, -0.2], [0.0, 0.0]]
    rewards = [[[1, 1], [3, 3]], [[0, 0], [1, 1]]]
    return evidence(rewards, residuals=noise, population=population)


def test_on_exactly_these_queries_the_noise_of_completions_counts_alone() -> None:
    """Squares of noise .18 + .02 and .08 over 2^2: .05 and .02. N = 2 has none: the spread over queries counts."""
    pairs = Contrasts(with_noise(), 0, "these").pairs()
    np.testing.assert_allclose(pairs.se[0, 2], np.sqrt(0.05 + 0.02))
    np.testing.assert_allclose(pairs.se[1, 3], 0.5)  # differences 1 and 2
    assert pairs.exhausted[0, 2]
    assert not pairs.exhausted[1, 3]


def test_of_a_longer_list_both_parts_have_their_share() -> None:
    """Two of eight queries: 3/4 of the variance 1/4 over queries, 1/4 of the noise .07."""
    pairs = Contrasts(with_noise(8), 0, "these").pairs()
    np.testing.assert_allclose(pairs.se[0, 2], np.sqrt(0.75 * 0.25 + 0.25 * 0.07))
    assert not pairs.exhausted.any()


def test_noise_that_two_scales_share_cancels() -> None:
    """Rows of N = 1 and N = 2 alike: their difference has no noise, though they stand on two sheets."""
    rows = np.array([[0.3, -0.3], [0.1, -0.1], [0.2, -0.2]])[:, :, None]
    noise = np.concatenate([rows, rows, np.full_like(rows, np.nan)], axis=2)
    noise[2, :, 1] = np.nan  # the last query has one completion only, whose N = 2 is missing
    rewards = [[[1, 1, np.nan], [3, 3, np.nan], [2, np.nan, np.nan]]]
    pairs = Contrasts(evidence(rewards, residuals=noise[None, None]), 0, "these").pairs()
    assert pairs.queries[0, 1] == 2
    np.testing.assert_allclose(pairs.se[0, 1], 0, atol=1e-9)


def test_refusals_name_what_is_wrong() -> None:
    plain = evidence([[[1], [3]], [[0], [1]]])
    with pytest.raises(ValueError, match="noise of completions is not known"):
        Contrasts(plain, 0, "these")
    with pytest.raises(ValueError, match="the target is 'all'"):
        Contrasts(plain, 0, "all")
    dear = QueryEvidence(
        plain.rewards,
        plain.completions,
        (ContextTerms("dear", cost_weight=1.0),),
        np.ones((2, 2)),
        residuals=np.zeros((1, 2, 2, 1, 1)),
    )
    with pytest.raises(ValueError, match="none of the measured costs"):
        Contrasts(dear, 0, "these")
    with pytest.raises(ValueError, match="completions has shape"):
        QueryEvidence(plain.rewards, np.ones((2, 3), int), FREE, np.zeros(2))
    with pytest.raises(ValueError, match="NaN beyond"):
        QueryEvidence(plain.rewards, np.zeros((2, 2), int), FREE, np.zeros(2))
    with pytest.raises(ValueError, match="names task 3"):
        evidence([[[1], [3]]], contexts=(ContextTerms("far", task=3),))
    with pytest.raises(ValueError, match="population is 1, below the 2"):
        evidence([[[1], [3]]], population=1)
    for wrong in (0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="not above 0 and finite"):
            evidence([[[1], [3]]], query_weights=np.array([1.0, wrong]))
    with pytest.raises(ValueError, match="cost holds a number that is not finite"):
        QueryEvidence(plain.rewards, plain.completions, FREE, np.array([0.0, np.nan]))
    for name, wrong in (("weight", -1.0), ("weight", np.nan), ("cost_weight", np.inf)):
        with pytest.raises(ValueError, match=f"has {name} {wrong}; it must be finite, at least 0"):
            evidence([[[1], [3]]], contexts=(FREE[0]._replace(**{name: wrong}),))


def test_rewards_beyond_their_bounds_are_refused() -> None:
    """Bounds that rewards do not keep give intervals without the estimate; seen to fail when nothing was checked."""
    with pytest.raises(ValueError, match="rewards of task 0 reach from 1 to 3, beyond their bounds 0 and 1"):
        evidence([[[1], [3]]], bounds=np.array([[0.0, 1.0]]))
    with pytest.raises(ValueError, match=r"bounds of task 0 are 3\.0 and 0\.0; the first must not be above"):
        evidence([[[1], [3]]], bounds=np.array([[3.0, 0.0]]))
    rounded = evidence([[[1 + 2.0**-17], [0]]], bounds=np.array([[0.0, 1.0]]))
    assert rounded.range(0) == (0.0, 1.0)
    assert evidence([[[1], [3]]], bounds=np.array([[-np.inf, np.inf]])).range(0) is None


def test_unequal_weights_leave_fewer_queries() -> None:
    """Weights 3, 1, 1, 1: as variable as 6^2 / 12 = 3 queries; influences by hand, squares too small by 1 - 1/3."""
    weighted = evidence([[[1], [3], [0], [0]], [[0], [0], [0], [0]]], query_weights=np.array([3.0, 1.0, 1.0, 1.0]))
    pairs = Contrasts(weighted, 0, "new").pairs()
    assert pairs.queries[0, 1] == 3
    share, values = np.array([3.0, 1.0, 1.0, 1.0]) / 6, np.array([1.0, 3.0, 0.0, 0.0])
    expected = np.sqrt((share**2 * (values - share @ values) ** 2).sum() / (1 - 1 / 3))
    np.testing.assert_allclose(pairs.se[0, 1], expected)


def test_the_clock_of_a_list_runs_ahead_of_its_queries() -> None:
    """Without noise, two of three queries leave a third of the spread: a mean of six independent ones."""
    rewards = [[[1], [3], [np.nan]], [[0], [1], [4]]]
    part = Contrasts(evidence(rewards, residuals=np.zeros((1, 2, 3, 1, 1))), 0, "these").pairs()
    np.testing.assert_allclose(part.clock[0, 1], 6)
    new = Contrasts(evidence(rewards), 0, "new").pairs()
    np.testing.assert_array_equal(new.clock, new.queries)
