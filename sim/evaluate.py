"""Policies to scores, by a table of exact values of the split that they are scored on.

Source: Mahmud et al. (arXiv 2508.10030), section 3: ACR = E_c[Q(c, policy(c))]. Beside it the simple regret
max_a Q(c, a) - Q(c, policy(c)) and the identification error P(policy(c) is not a best arm).

Differs from the paper: Q is exact, not itself an average of simulated completions. Several arms may be best (with
majority votes and no cost, N = 2m - 1 and 2m have equal values): recommending any of them is no error.

    >>> import numpy as np
    >>> from sim import evaluate
    >>> values = np.array([[[[0.5, 0.75], [0.25, 1.0]]]])  # (trial or one, context, prompt, scale)
    >>> scores = evaluate.score(np.array([[0]]), np.array([[2]]), values, np.ones(1))
    >>> scores.acr.tolist(), scores.regret.tolist(), scores.error.tolist()
    ([0.75], [0.25], [1.0])
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

TIE = 1e-12
"""Arms whose values differ by no more than this share of what values differ by in a context are equally good: exact
values carry float64 rounding. (A share so small that one arm of hopeless cost does not make all others alike.)"""
_ROUNDING = 1e-13
"""The same as a share of the values themselves, which may lie far from zero."""


class Scores(NamedTuple):
    """Scores of many trials.

    Attributes:
        acr: average contextual return.
        regret: simple regret, averaged over contexts.
        error: share of contexts whose arm is not a best one.
        context_regret: simple regret in each context.
        context_error: 1 in each context whose arm is not a best one, else 0.
    """

    acr: Float64[np.ndarray, " trial"]
    regret: Float64[np.ndarray, " trial"]
    error: Float64[np.ndarray, " trial"]
    context_regret: Float64[np.ndarray, "trial context"]
    context_error: Float64[np.ndarray, "trial context"]


def score(
    prompt: Int[np.ndarray, "trial context"],
    scale: Int[np.ndarray, "trial context"],
    values: Float64[np.ndarray, "trial_or_one context prompt scale"],
    context_probs: Float64[np.ndarray, " context"],
) -> Scores:
    """Score the policies of many trials.

    Args:
        prompt: recommended prompts, from 0.
        scale: recommended scales, from 1.
        values: exact values on the split to be scored on; a leading axis of one where all trials share them.
        context_probs: probability of each context; all three averages over contexts are weighted by it.
    """
    num_trials, num_contexts = prompt.shape
    row = np.zeros(num_trials, np.int64) if len(values) == 1 else np.arange(num_trials)
    chosen = values[row[:, None], np.arange(num_contexts)[None, :], prompt, scale - 1]
    context_regret = values.max(axis=(2, 3)) - chosen

    def average(of_context: np.ndarray) -> np.ndarray:
        return (of_context * context_probs).sum(axis=1)  # a matrix product would round by the number of trials

    wrong = (context_regret > tolerance(values)).astype(np.float64)
    return Scores(average(chosen), average(context_regret), average(wrong), context_regret, wrong)


def tolerance(values: Float[np.ndarray, "*context prompt scale"]) -> Float64[np.ndarray, "*context"]:
    """Difference up to which two arms of a context are equally good, in the unit of the values."""
    high, low = values.max(axis=(-2, -1)), values.min(axis=(-2, -1))
    return np.maximum(TIE * (high - low), _ROUNDING * np.maximum(np.abs(high), np.abs(low))).astype(np.float64)


def clear_gaps(
    values: Float[np.ndarray, "*row context prompt scale"],
) -> Float64[np.ndarray, "*row context prompt scale"]:
    """Value that each arm falls short of its context's best, 0 where it is as good."""
    arms = np.asarray(values, np.float64)
    gaps = arms.max(axis=(-2, -1), keepdims=True) - arms
    return np.where(gaps > tolerance(arms)[..., None, None], gaps, 0.0)
