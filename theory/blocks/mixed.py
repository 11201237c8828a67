"""Moments of rewards that add up several aggregates of the same completions: means add, variances need covariances.

With scores sorted as v_1 < ... < v_M, the largest of N is v_M - sum_j (v_{j+1} - v_j) 1[all N <= v_j]. Given that all
lie below v_j, completions are i.i.d. from the law cut there, so with F the distribution function of the scores, m the
vote's credit and u the part that is averaged, centred,

    Cov(m, largest)   = -sum_j (v_{j+1} - v_j) F_j^N (E[m | all <= v_j] - E m)
    Cov(u's mean, largest) = -sum_j (v_{j+1} - v_j) F_j^(N-1) E[u; one <= v_j]
    Cov(m, u's mean) = sum_a E[u; one answers a] E[m | one answers a]
"""

import numpy as np

from sim.kernels.majority import majority_credit, majority_credit_given
from sim.kernels.moments import Moments
from theory.blocks.law import Law, aggregate_moments, answer_probs


def per_query_moments(law: Law) -> Moments:
    """Moments (task, prompt, query, scale) of the task reward of one block on every query."""
    parts = [aggregate_moments(law, how) for how in law.used]
    mean, variance = sum(part.mean for part in parts), sum(part.variance for part in parts)
    if len(parts) > 1:
        law = law._replace(probs=law.probs / law.probs.sum(axis=-1, keepdims=True))
        variance = np.maximum(variance + 2 * _covariances(law), 0)
    return Moments(np.asarray(mean), np.asarray(variance))


def _covariances(law: Law) -> np.ndarray:
    """Sum of the covariances of every two parts of the reward."""
    centred = _scores(law, "mean")
    if centred is not None:
        centred = centred - (law.probs * centred).sum(axis=-1, keepdims=True)
    total = np.zeros((len(law.weights), *law.probs.shape[:2], law.max_scale))
    if "bon" in law.used:
        total += _with_largest(law, centred)
    if "mv" in law.used and centred is not None:
        given = majority_credit_given(answer_probs(law), law.max_scale, law.tie)
        for task, weight in enumerate(_vote_weights(law)):
            share = answer_probs(law._replace(probs=law.probs * centred[task]))
            total[task] += weight * np.einsum("pqa,pqas->pqs", share, given)
    return total


def _with_largest(law: Law, centred: np.ndarray | None) -> np.ndarray:
    """Covariances of the best-of-N part with the vote and with the mean."""
    scores = _scores(law, "bon")
    assert scores is not None
    votes = "mv" in law.used
    credit = majority_credit(answer_probs(law), law.max_scale, law.tie) if votes else 0.0
    scales = np.arange(1, law.max_scale + 1)
    total = np.zeros((*scores.shape[:-1], law.max_scale))
    for task, score in enumerate(scores):
        levels = np.sort(score, axis=-1)
        for j in range(levels.shape[-1] - 1):
            step = (levels[..., j + 1] - levels[..., j])[..., None]
            under = np.where(score <= levels[..., j, None], law.probs, 0.0)
            below = np.minimum(under.sum(axis=-1, keepdims=True), 1.0)
            if votes:
                cut = np.where(below > 0, under, law.probs)
                given = majority_credit(answer_probs(law._replace(probs=cut)), law.max_scale, law.tie)
                total[task] -= step * _vote_weights(law)[task] * below**scales * (given - credit)
            if centred is not None:
                total[task] -= step * below ** (scales - 1) * (under * centred[task]).sum(axis=-1, keepdims=True)
    return total


def _scores(law: Law, how: str) -> np.ndarray | None:
    """Weighted scores of one aggregate as (task, prompt, query, outcome); None where it is not used."""
    if how not in law.used:
        return None
    scores = law.scores(how)
    scores = scores[:, None, None] if scores.ndim == 2 else scores
    return np.broadcast_to(scores, (len(scores), *law.probs.shape))


def _vote_weights(law: Law) -> np.ndarray:
    return law.weights[:, law.columns("mv")[0]]
