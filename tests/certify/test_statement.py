"""Statements about a choice, by hand and by invariants; refusals."""

import dataclasses

import numpy as np
import pytest
from asked_worlds import FREE, NEAR, SPREAD
from helpers import SIGMAS
from scipy import stats

from sim.certify import (
    GRADES,
    Confidence,
    ContextTerms,
    NotApart,
    QueryEvidence,
    certify,
    certify_all,
    in_words,
    more_needed,
    sequences,
)
from sim.certify.contrasts import Contrasts
from sim.certify.joint import Multipliers
from sim.certify.wording import amount, number, round_up


def scores(rows: np.ndarray, **more: object) -> QueryEvidence:
    """Scores of prompts on queries at N = 1, NaN where not measured."""
    fields: dict = {"contexts": FREE, "cost": np.zeros(len(rows)), **more}
    return QueryEvidence(rows[None, :, :, None], np.isfinite(rows).astype(int), **fields)


@pytest.fixture(scope="module")
def three() -> QueryEvidence:
    """Three prompts on 30 queries, the last far behind."""
    rng = np.random.default_rng(0)
    easy = rng.normal(size=30)
    rows = np.stack([easy + rng.normal(0, 0.3, 30), easy + rng.normal(0.05, 0.3, 30), easy + rng.normal(-2, 0.3, 30)])
    return scores(rows)


def lead(evidence: QueryEvidence, one: int, other: int) -> tuple[float, float]:
    """Mean and standard error of the difference between two prompts."""
    apart = evidence.rewards[0, one, :, 0] - evidence.rewards[0, other, :, 0]
    return float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(len(apart)))


def test_eps_by_hand_in_students_t(three: QueryEvidence) -> None:
    """Of prompt 0: against prompt 1, at half the error, since the best arm is compared with two others.

    Prompt 2 is excluded.
    """
    found = certify(three, 0, 0, 1, Confidence(grade="student"))
    mean, se = lead(three, 1, 0)
    assert found.eps == pytest.approx(mean + stats.t.isf(0.025, 29) * se)
    assert [(one.prompt, one.scale) for one in found.not_apart] == [(1, 1)]
    assert np.isneginf(found.most[2, 0])
    other = found.not_apart[0]
    half = stats.t.isf(0.05 / 6, 29) * se
    assert other.lead == pytest.approx((mean, mean - half, mean + half))
    own = three.rewards[0, 0, :, 0]
    half = stats.t.isf(0.05 / 6, 29) * own.std(ddof=1) / np.sqrt(30)
    assert found.value == pytest.approx((own.mean(), own.mean() - half, own.mean() + half))
    assert (found.queries, found.num_arms, found.left_out) == (30, 3, 0)


def test_an_arm_that_is_surely_worse_has_the_lead_of_the_best(three: QueryEvidence) -> None:
    found = certify(three, 0, 2, 1, Confidence(grade="student"))
    best = max(lead(three, other, 2)[0] + stats.t.isf(0.025, 29) * lead(three, other, 2)[1] for other in (0, 1))
    assert found.eps == pytest.approx(best)


def test_eps_at_any_time_by_hand(three: QueryEvidence) -> None:
    found = certify(three, 0, 0, 1, Confidence(grade="anytime", planned=50))
    mean, se = lead(three, 1, 0)
    width = float(sequences.mixture_half_width(np.array(30.0), 0.025, 50))
    assert found.eps == pytest.approx(mean + width * se)


@pytest.mark.parametrize("grade", ["bounded", "bounded-anytime"])
def test_eps_without_asymptotics_by_hand(grade: str) -> None:
    rows = np.random.default_rng(3).random((3, 40))
    found = certify(scores(rows, bounds=np.array([[0.0, 1.0]])), 0, 0, 1, Confidence(grade=grade))
    apart = (rows[1:] - rows[0]).T
    most = sequences.betting_upper(apart, (-1.0, 1.0), 0.025, grade == "bounded-anytime")
    assert found.eps == pytest.approx(most.max())
    own = sequences.betting_upper(rows[:1].T, (0.0, 1.0), 0.05 / 6, grade == "bounded-anytime")
    assert found.value.high == pytest.approx(own[0])


def test_known_costs_move_bounds_and_widen_none() -> None:
    rows = np.random.default_rng(3).random((2, 40))
    dear = (ContextTerms("dear", cost_weight=0.5),)
    for grade in GRADES:
        plain = scores(rows, bounds=np.array([[0.0, 1.0]]))
        costly = dataclasses.replace(plain, contexts=dear, cost=np.array([0.4, 0.0]))
        one, other = (certify(found, 0, 0, 1, Confidence(grade=grade)) for found in (plain, costly))
        assert other.most[1, 0] == pytest.approx(one.most[1, 0] + 0.2, abs=1e-9)
        assert other.value == pytest.approx([part - 0.2 for part in one.value], abs=1e-9)


def test_the_bootstrap_lies_between_one_comparison_and_all_by_bonferroni(three: QueryEvidence) -> None:
    mean, se = lead(three, 1, 0)
    found = certify(three, 0, 0, 1)
    assert mean + stats.t.isf(0.05, 29) * se < found.eps <= mean + stats.t.isf(0.025, 29) * se


def test_quantiles_of_the_bootstrap_are_those_of_the_normal_law() -> None:
    """Three prompts whose scores are independent: leads of one over two others have correlation 1/2.

    At the quantile found the normal law has the level, within 5 standard errors of the draws.
    """
    rows = np.random.default_rng(5).normal(size=(3, 400)) * np.array([[1.0], [1.0], [3.0]])
    contrasts = Contrasts(scores(rows), 0, "new")
    quantile = Multipliers(contrasts, 0.1).best(np.array([True, False, False]))
    assert np.isnan(quantile[1:]).all()
    apart = np.cov(rows[0] - rows[1:])
    scale = np.sqrt(np.diag(apart))
    law = stats.multivariate_normal(cov=apart / np.outer(scale, scale))
    level = law.cdf(np.full(2, quantile[0]))
    assert abs(level - 0.9) <= SIGMAS * np.sqrt(0.1 * 0.9 / 1000)


def test_looks_and_contexts_share_the_error(three: QueryEvidence) -> None:
    plain = Confidence(grade="student")
    six = certify(three, 0, 0, 1, plain._replace(looks=6)).eps
    assert six == pytest.approx(certify(three, 0, 0, 1, plain._replace(level=1 - 0.05 / 6)).eps)
    both = dataclasses.replace(three, contexts=FREE * 2)
    ones, zeros = np.ones(2, int), np.zeros(2, int)
    found = certify_all(both, zeros, ones, plain)
    assert [one.eps for one in found] == [pytest.approx(certify(three, 0, 0, 1, plain._replace(level=0.975)).eps)] * 2


@pytest.mark.parametrize("grade", sorted(GRADES))
@pytest.mark.parametrize("target", ["new", "these"])
def test_names_of_prompts_do_not_matter_and_more_confidence_costs(grade: str, target: str) -> None:
    """On exactly these queries nothing is wider, and more is asked of it where more confidence is."""
    evidence, _ = SPREAD.draw(np.random.default_rng(2), 60, 8)
    order = np.array([2, 0, 3, 1])
    moved = dataclasses.replace(evidence, rewards=evidence.rewards[:, order], residuals=evidence.residuals[:, order])
    terms = Confidence(grade=grade, target=target)
    found, other = certify(evidence, 0, 0, 2, terms), certify(moved, 0, 1, 2, terms)
    np.testing.assert_allclose(other.lead, found.lead[order], atol=1e-12)
    if grade != "asymptotic" or target == "new":  # noise is drawn prompt by prompt
        np.testing.assert_allclose(other.most, found.most[order], atol=1e-4)
    assert certify(evidence, 0, 0, 2, terms._replace(level=0.8)).eps <= found.eps
    if target == "these" and not grade.startswith("bounded"):
        assert found.eps <= certify(evidence, 0, 0, 2, terms._replace(target="new")).eps + 1e-9


def test_refusals_say_why(three: QueryEvidence) -> None:
    few = scores(three.rewards[0, :, :9, 0])
    with pytest.raises(ValueError, match="has met 9 queries; below 10 no asymptotic statement"):
        certify(few, 0, 0, 1)
    with pytest.raises(ValueError, match="needs bounds of the rewards"):
        certify(three, 0, 0, 1, Confidence(grade="bounded"))
    with pytest.raises(ValueError, match="prompt 0 with N = 2 was not measured"):
        certify(three, 0, 0, 2)
    with pytest.raises(ValueError, match="prompt 7 with N = 1 was not measured"):
        certify(three, 0, 7, 1)
    uneven = dataclasses.replace(three, query_weights=np.arange(1.0, 31.0))
    with pytest.raises(ValueError, match="queries of equal weights"):
        certify(uneven, 0, 0, 1, Confidence(grade="anytime"))
    part = dataclasses.replace(
        three, residuals=np.zeros((1, 3, 30, 1, 1)), population=31, bounds=np.array([[-9.0, 9.0]])
    )
    with pytest.raises(ValueError, match="needs all 31 of them"):
        certify(part, 0, 0, 1, Confidence(grade="bounded", target="these"))
    for wrong, words in (
        ({"level": 1.0}, "level is 1.0"),
        ({"grade": "sure"}, "grade is 'sure'"),
        ({"target": "all"}, "target is 'all'"),
        ({"looks": 0}, "looks is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            certify(three, 0, 0, 1, Confidence(**wrong))


def test_prompts_with_too_few_queries_leave_no_statement_and_missing_scales_are_left_out() -> None:
    rows = np.random.default_rng(0).random((3, 30, 2))
    rows[:, :, 1] = np.nan
    rows[2, 9:] = np.nan
    evidence = QueryEvidence(rows[None], np.isfinite(rows).sum(axis=2), FREE, np.zeros(3))
    found = certify(evidence, 0, 0, 1)
    assert np.isinf(found.eps)
    assert (found.num_arms, found.left_out) == (3, 3)
    assert found.common[:, 0].tolist() == [30, 30, 9]
    words = in_words(found, ["a", "b", "c"])
    assert "nothing is said of prompts that have met too few queries" in words
    assert "3 arms are left out: never asked, or N is above the completions" in words


def test_weights_that_leave_few_queries_are_refused(three: QueryEvidence) -> None:
    """One query that outweighs all others is one query; seen to give eps 0 when all of them were counted."""
    heavy = dataclasses.replace(three, query_weights=np.r_[1e6, np.ones(29)])
    with pytest.raises(ValueError, match="has met 30 queries, which by their weights count as 1; below 10"):
        certify(heavy, 0, 0, 1)
    even = dataclasses.replace(three, query_weights=np.full(30, 0.3))
    assert certify(even, 0, 0, 1).eps == pytest.approx(certify(three, 0, 0, 1).eps)


def test_an_error_too_small_for_a_bootstrap_is_students(three: QueryEvidence) -> None:
    """Seen to ask for 745 GB of draws."""
    small = Confidence(level=1 - 1e-9)
    assert certify(three, 0, 0, 1, small).eps == certify(three, 0, 0, 1, small._replace(grade="student")).eps


@pytest.mark.parametrize("target", ["new", "these"])
@pytest.mark.parametrize("grade", ["bounded", "bounded-anytime"])
def test_one_query_leaves_the_whole_range(grade: str, target: str) -> None:
    """Seen to give NaN."""
    one = scores(np.array([[1.0], [0.0]]), bounds=np.array([[0.0, 1.0]]), residuals=np.zeros((1, 2, 1, 1, 1)))
    found = certify(one, 0, 0, 1, Confidence(grade=grade, target=target))
    assert np.isinf(found.eps)
    assert tuple(found.value) == (1.0, 0.0, 1.0)
    assert "(2 arms, 1 query; " in in_words(found, ["a", "b"])


def test_a_context_that_is_not_there_is_refused(three: QueryEvidence) -> None:
    for wrong in (-1, 1):
        with pytest.raises(ValueError, match=f"the context is {wrong}; there are 1"):
            certify(three, wrong, 0, 1)


def test_words_about_equal_arms_and_one_arm() -> None:
    """Arms that did alike are not called told apart, and one arm alone is better than none."""
    same = in_words(certify(scores(np.ones((3, 20))), 0, 0, 1), ["a", "b", "c"])
    assert "no other arm is better on new queries" in same
    assert " 2 other arms did just as well; all the rest are told apart." in same
    alone = in_words(certify(scores(np.ones((1, 20))), 0, 0, 1), ["a"])
    assert "nothing is said of other arms, for none was measured, on new queries (1 arm, 20 queries; " in alone
    assert "told apart" not in alone


def test_prompts_that_agree_on_all_queries_are_not_told_apart_and_cost_nothing() -> None:
    same = scores(np.tile(np.random.default_rng(0).random(20), (2, 1)))
    found = certify(same, 0, 0, 1)
    assert found.eps == 0
    assert found.not_apart == ()


def test_words_name_what_is_too_rare_to_have_been_seen(three: QueryEvidence) -> None:
    """30 queries, one completion each, level .95: 30 / 3.0 = 10. Where all were met only completions are rare.

    Seen to fail with queries named where all were met.
    """
    listed = dataclasses.replace(three, residuals=three.rewards[:, :, :, None] * 0.1)
    part, terms = dataclasses.replace(listed, population=40), Confidence(target="these")
    names, end = ["a", "b", "c"], " may have gone unseen."
    assert in_words(certify(three, 0, 0, 1), names).endswith(
        f" A difference that shows on fewer than 1 query in 10{end}"
    )
    assert in_words(certify(listed, 0, 0, 1, terms), names).endswith(f" What fewer than 1 completion in 10 says{end}")
    assert in_words(certify(part, 0, 0, 1, terms), names).endswith(
        f" A difference that shows on fewer than 1 query in 10, and what fewer than 1 completion in 10 says,{end}"
    )


def test_a_plan_by_hand(three: QueryEvidence) -> None:
    """Half-widths shrink like one over the root: the lead of prompt 1 and a target between it and eps."""
    found = certify(three, 0, 0, 1, Confidence(grade="student"))
    mean, se = lead(three, 1, 0)
    target = mean + stats.t.isf(0.025, 29) * se / 2
    plan = more_needed(three, found, target)
    assert plan.queries.tolist() == [90, 90, 0]
    assert plan.completions == 180
    assert not plan.beyond
    listed = dataclasses.replace(three, residuals=three.rewards[:, :, :, None] * 0.1)
    ended = certify(listed, 0, 0, 1, Confidence(target="these"))
    assert ended.exhausted
    assert not more_needed(listed, ended, ended.eps / 2).beyond  # the list has ended: only completions are left
    part = dataclasses.replace(listed, population=40)
    assert more_needed(part, certify(part, 0, 0, 1, Confidence(target="these")), 0.01).beyond
    assert more_needed(three, found, 9.0).completions == 0
    assert np.isinf(more_needed(three, certify(three, 0, 2, 1), 0.1).completions)
    seen = np.arange(30) < np.array([[15], [15], [30]])
    seen[2] = ~seen[0]  # prompt 2 has no query in common with the others; seen to fail with 0 x infinity
    rewards = np.where(seen[:, :, None], three.rewards, np.nan)
    never = dataclasses.replace(three, rewards=rewards, completions=seen.astype(int))
    assert np.isinf(more_needed(never, certify(never, 0, 0, 1), 0.1).completions)
    with pytest.raises(ValueError, match="must be above 0"):
        more_needed(three, found, 0.0)


def test_sentences() -> None:
    """Eps is rounded up: words claim no more than the number."""
    evidence, _ = NEAR.draw(np.random.default_rng(2), 60, 6)
    new = certify(evidence, 0, 0, 2)
    these = certify(evidence, 0, 0, 2, Confidence(target="these"))
    words = in_words(
        new, ["check", "direct", "both", "none"], these, more_needed(evidence, new, 0.02), "$0.004 a query"
    )
    assert words.startswith("Use `check` with N = 2 at $0.004 a query: .")
    shown = float(words.partition("better by more than ")[2].partition(" ")[0])
    assert new.eps <= shown < new.eps + 0.01
    assert " on new queries (" in words
    assert " on exactly these queries)" in words
    assert "Not told apart: `" in words
    bare = NotApart(0, 1, new.value, new.value)
    several = [bare._replace(prompt=prompt, scale=scale) for prompt, scale in ((1, 4), (2, 8), (1, 1), (1, 5), (1, 3))]
    told = in_words(dataclasses.replace(new, not_apart=tuple(several)), ["check", "direct", "both", "none"])
    assert " Not told apart: `direct`, N = 1, 3 to 5; `both`, N = 8. " in told
    assert "more completions would be expected to bring that to .02." in words
    assert [number(one) for one in (0.921, -0.03, 1.07, 0.0, -0.001)] == [".92", "-.03", "1.07", ".00", ".00"]
    assert [round_up(one) for one in (3.2, 41.0, 412.0, 98_765.0)] == [4, 41, 420, 99_000]


def test_amounts_are_whole_from_a_thousand_on() -> None:
    said = [amount(value) for value in (0.004123, 33.46, 5.3, 999.4, 999.6, 62_834.0)]
    assert said == ["0.00412", "33.5", "5.3", "999", "1,000", "62,800"]


def test_intervals_of_values_end_where_utilities_do() -> None:
    """Right on 29 of 30 queries, rewards between 0 and 1, .01 a completion: no value is above .99.

    Measured costs may be as large as they like: then the upper end is that of the reward.
    """
    right = np.ones((1, 2, 30, 1))
    right[0, :, 0] = 0.0
    dear, bounds = (ContextTerms("dear", cost_weight=1.0),), np.array([[0.0, 1.0]])
    made = QueryEvidence(right, np.ones((2, 30), int), dear, np.full(2, 0.01), bounds=bounds)
    assert certify(made, 0, 0, 1).value.high == pytest.approx(0.99)
    assert certify(dataclasses.replace(made, bounds=None), 0, 0, 1).value.high > 0.99
    assert certify(dataclasses.replace(made, cost=np.full((2, 30), 0.01)), 0, 0, 1).value.high == 1.0
