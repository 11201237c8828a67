"""Policies to scores, by a table of exact values of the split that they are scored on.

Source: Mahmud et al. (arXiv 2508.10030), section 3: ACR = E_c[Q(c, policy(c))]. Beside it the simple regret
max_a Q(c, a) - Q(c, policy(c)) and the identification error P(policy(c) is not a best arm).

Differs from the paper: Q is exact, not itself an average of simulated completions. Several arms may be best (with
majority votes and no cost, N = 2m - 1 and 2m have equal values): recommending any of them is no error.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

TIE = 1e-9
"""Arms of a context are equally good if their values differ by no more than this share of its spread of values.

The one constant that says so, for scores, hardness, bounds and plans: exact values carry rounding, of float64 and, on
continuous worlds, of a quadrature. It is far finer than what estimates resolve.
"""
_FLOAT = 1e-12
"""The same as a share of the size of the values: where all arms are equal the spread itself is rounding."""


class Scores(NamedTuple):
    """Scores of many trials.

    Attributes:
        acr: average contextual return.
        regret: simple regret, averaged over contexts.
        error: share of contexts whose arm is not a best one.
        context_regret: simple regret in each context; 0 at a tie.
    """

    acr: Float64[np.ndarray, " trial"]
    regret: Float64[np.ndarray, " trial"]
    error: Float64[np.ndarray, " trial"]
    context_regret: Float64[np.ndarray, "trial context"]


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
    context_regret = np.where(context_regret > tie(values), context_regret, 0.0)

    def average(of_context: np.ndarray) -> np.ndarray:
        return (of_context * context_probs).sum(axis=1)  # a matrix product would round by the number of trials

    return Scores(average(chosen), average(context_regret), average(missed(context_regret)), context_regret)


def missed(context_regret: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """1.0 where the recommended arm is not a best one, else 0.0; for regrets of `score`, which are 0 at a tie."""
    return (np.asarray(context_regret) > 0).astype(np.float64)


def tie(values: Float[np.ndarray, "*row context prompt scale"]) -> Float64[np.ndarray, "*row context"]:
    """Largest difference of two values of a context that counts as none: `TIE` of their spread.

    It scales with the values: the unit of utility decides nothing.
    """
    arms = np.asarray(values, np.float64)
    low, high = arms.min(axis=(-2, -1)), arms.max(axis=(-2, -1))
    return np.asarray(TIE * (high - low) + _FLOAT * np.maximum(np.abs(low), np.abs(high)))


def clear_gaps(
    values: Float[np.ndarray, "*row context prompt scale"],
) -> Float64[np.ndarray, "*row context prompt scale"]:
    """Value that each arm falls short of its context's best, 0 at a tie."""
    arms = np.asarray(values, np.float64)
    gaps = arms.max(axis=(-2, -1), keepdims=True) - arms
    return np.where(gaps > tie(arms)[..., None, None], gaps, 0.0)
