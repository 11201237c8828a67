"""Statements of many runs at once, against `certify` run by run."""

import numpy as np
import pytest
from asked_worlds import NEAR, evidence_of_votes

from sim.certify import Confidence, QueryEvidence, certify
from sim.certify.bulk import Beginnings, ManyRuns

SIZES, QUERIES, RUNS, EACH = (10, 20, 40), 40, 3, 6
MET = np.array([[2, 2, 2, 2], [2, 0, 1, 2], [1, 1, 1, 0]])
"""Places in SIZES, for each run and prompt."""


def runs() -> tuple[ManyRuns, list[QueryEvidence]]:
    """A few runs, and the evidence of each where every prompt met all queries."""
    rng = np.random.default_rng(0)
    whole = []
    for _ in range(RUNS):
        kinds = rng.choice(2, size=QUERIES, p=NEAR.shares)
        whole.append(evidence_of_votes(rng.binomial(EACH, NEAR.chances[:, kinds]), EACH, QUERIES))
    values = np.stack([one.utilities(0).transpose(1, 0, 2) for one in whole])
    noise = np.stack([one.residuals[0].transpose(1, 2, 0, 3) for one in whole if one.residuals is not None])
    return ManyRuns(values, noise, (0.0, 1.0), np.zeros((4, 2))), whole


def begun(whole: QueryEvidence, met: np.ndarray) -> QueryEvidence:
    """What there is after each prompt has met so many queries."""
    there = np.arange(QUERIES) < np.array(SIZES)[met][:, None]
    assert whole.residuals is not None
    return QueryEvidence(
        np.where(there[..., None], whole.rewards, np.nan),
        np.where(there, whole.completions, 0),
        whole.contexts,
        whole.cost,
        residuals=np.where(there[..., None, None], whole.residuals, np.nan),
        population=QUERIES,
        bounds=whole.bounds,
    )


@pytest.mark.parametrize("target", ["new", "these"])
@pytest.mark.parametrize("grade", ["asymptotic", "student", "anytime"])
def test_every_arm_of_every_run_is_said_the_same_of(grade: str, target: str) -> None:
    """Seen to fail with queries that only one of two prompts has met, and with noise that scales do not share."""
    many, whole = runs()
    terms = Confidence(0.8, grade, target, looks=2, planned=30)
    said = Beginnings(many, SIZES, target).say(np.arange(RUNS), MET, terms)
    for run, one in enumerate(whole):
        evidence = begun(one, MET[run])
        for arm in range(8):
            expected = certify(evidence, 0, arm // 2, arm % 2 + 1, terms)
            assert said.eps[run, arm] == pytest.approx(expected.eps, abs=2e-5)
            np.testing.assert_allclose(said.most[run, :, arm], expected.most.ravel(), atol=2e-5)


@pytest.mark.parametrize("grade", ["asymptotic", "student"])
def test_where_nothing_varies_nothing_is_lost(grade: str) -> None:
    """Two prompts that agree on all queries, of more runs than are drawn at a time. Seen to fail without any draws."""
    same = ManyRuns(np.ones((60, 20, 2, 1)), np.zeros((60, 20, 2, 2, 1)), (0.0, 1.0), np.zeros((2, 1)))
    said = Beginnings(same, (10, 20), "new").say(np.arange(60), np.ones((60, 2), int), Confidence(grade=grade))
    assert said.eps.shape == (60, 2)
    assert not said.eps.any()


@pytest.mark.parametrize(("grade", "target"), [("bounded", "new"), ("bounded-anytime", "new"), ("bounded", "these")])
def test_the_chosen_arm_of_every_run_is_said_the_same_of(grade: str, target: str) -> None:
    many, whole = runs()
    terms, chosen = Confidence(0.8, grade, target), np.array([1, 7, 4])
    met = MET if target == "new" else np.full_like(MET, 2)
    said = Beginnings(many, SIZES, target).say_bounded(np.arange(RUNS), met, chosen, terms)
    for run, arm in enumerate(chosen.tolist()):
        expected = certify(begun(whole[run], met[run]), 0, arm // 2, arm % 2 + 1, terms)
        assert said.eps[run, arm] == pytest.approx(expected.eps, abs=1e-9)
        np.testing.assert_allclose(said.most[run, :, arm], expected.most.ravel(), atol=1e-9)


@pytest.mark.parametrize("target", ["new", "these"])
@pytest.mark.parametrize("grade", ["asymptotic", "student", "anytime"])
def test_intervals_of_values_are_the_same(grade: str, target: str) -> None:
    many, whole = runs()
    terms = Confidence(0.8, grade, target, planned=30)
    half = Beginnings(many, SIZES, target).values(terms)
    for run, one in enumerate(whole):
        for arm in range(8):
            found = certify(begun(one, np.full(4, 2)), 0, arm // 2, arm % 2 + 1, terms).value
            assert half[run, arm] == pytest.approx(found.high - found.estimate, abs=2e-5)
