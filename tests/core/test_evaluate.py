"""Policies to scores: by hand, with ties, weights and shared values."""

import numpy as np
import pytest

from sim import evaluate

# two contexts, two prompts, scales 1 to 3
VALUES = np.array([[[[0.1, 0.5, 0.4], [0.3, 0.2, 0.9]], [[1.0, 2.0, 3.0], [3.0, 0.0, -1.0]]]])
PROBS = np.array([0.25, 0.75])


def test_scores_by_hand():
    prompt = np.array([[0, 1], [1, 0]])
    scale = np.array([[2, 2], [3, 3]])
    scores = evaluate.score(prompt, scale, np.concatenate([VALUES, VALUES]), PROBS)
    np.testing.assert_allclose(scores.acr, [0.25 * 0.5 + 0.75 * 0.0, 0.25 * 0.9 + 0.75 * 3.0])
    np.testing.assert_allclose(scores.context_regret, [[0.4, 3.0], [0.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(scores.regret, [0.25 * 0.4 + 0.75 * 3.0, 0.0], atol=1e-15)
    np.testing.assert_array_equal(scores.error, [1.0, 0.0])


def test_every_trial_is_scored_by_its_own_values():
    values = np.concatenate([VALUES, VALUES + 1.0, 2.0 * VALUES])
    prompt, scale = np.zeros((3, 2), int), np.ones((3, 2), int)
    scores = evaluate.score(prompt, scale, values, PROBS)
    first = 0.25 * 0.1 + 0.75 * 1.0
    np.testing.assert_allclose(scores.acr, [first, first + 1.0, 2.0 * first])


def test_shared_values_are_those_of_every_trial():
    rng = np.random.default_rng(0)
    prompt, scale = rng.integers(0, 2, (5, 2)), rng.integers(1, 4, (5, 2))
    shared = evaluate.score(prompt, scale, VALUES, PROBS)
    repeated = evaluate.score(prompt, scale, np.repeat(VALUES, 5, axis=0), PROBS)
    for one, other in zip(shared, repeated, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize(("gap", "error"), [(1e-13, 0.0), (1e-6, 1.0)])
def test_an_arm_as_good_as_the_best_is_no_error(gap: float, error: float, unit: float):
    """Judged by what values differ by in the context, in whatever unit they are."""
    values = np.array([[[[0.5, 0.5 - gap, -0.5]]]]) * unit
    scores = evaluate.score(np.zeros((1, 1), int), np.full((1, 1), 2), values, np.ones(1))
    assert scores.error == error
    np.testing.assert_array_equal(scores.context_error, [[error]])
    assert scores.regret / unit == pytest.approx(gap, rel=1e-3)


def test_rounding_of_values_far_from_zero_is_no_error():
    """Values of a million that differ by one are exact to about 1e-10; a gap of 1e-6 is one."""
    values = 1e6 + np.array([[[[1.0, 1.0 - 2e-10, 1.0 - 1e-6, 0.0]]]])
    prompt, scale = np.zeros((2, 1), int), np.array([[2], [3]])
    np.testing.assert_array_equal(evaluate.score(prompt, scale, values, np.ones(1)).error, [0.0, 1.0])


@pytest.mark.parametrize("unit", [1e-30, 2.0**-40, 1.0, 1e30])
def test_gaps_are_cleared_of_rounding_whatever_the_unit_and_the_other_contexts(unit: float):
    """Gaps of 1e-13 and 1e-7 of a spread of 1; the second context's values are a million times as large.

    Seen to fail with a tie of 1e-9 in absolute terms, and with one of the largest value of all contexts.
    """
    arms = np.array([[1.0, 1.0 - 1e-13, 1.0 - 1e-7, 0.0]])
    values = unit * np.stack([arms, 1e6 * (3 + arms)])
    assert (evaluate.clear_gaps(values) > 0).tolist() == [[[False, False, True, True]]] * 2


def test_an_arm_of_hopeless_cost_does_not_make_the_others_alike():
    """Seen to fail with a share of 1e-9: the tie was 1 then."""
    values = np.array([[[[0.9, 0.85, -1e9]]]])
    assert evaluate.score(np.zeros((1, 1), int), np.full((1, 1), 2), values, np.ones(1)).error == 1.0
