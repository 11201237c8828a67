"""Guarantees against near misses: answers whose simple regret exceeds epsilon. What makes sense where best arms tie.

Theorem E of this project (proofs.md, section 10): halving loses at most epsilon if every round loses at most its share
of it, and a round that loses more drops the best active arm for arms that are clearly worse than it. With epsilon = 0
and one best arm the sums are those of Theorems A and B with Hoeffding exponents.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from theory import hardness
from theory.bounds import markov
from theory.chernoff import hoeffding
from theory.problem import Problem, halving_sizes, pulls_at_least

_ROUNDING = 1e-12
DATA = ("fresh", "pulls", "blocks")
"""Data that estimates rest on: the round's pulls; all pulls, weighing the same; all blocks, weighing the same."""


def near_miss(problem: Problem, budget: int, epsilon: float, *, data: str = "blocks") -> float:
    """Theorem E: bound on the probability that in some context PSST's answer falls short by more than epsilon.

    sum over rounds of the largest (fresh) or the sum (otherwise), over the arms a with Delta_a <= eps_1 + ... +
    eps_(r-1), of `bounds.markov` over the arms worse than a by more than eps_r: the smallest value over a few ways to
    share out epsilon, in each of which the last k rounds have equal shares. 1 where that says nothing.

    Args:
        problem: the world.
        budget: T, in completions.
        epsilon: regret that may be ignored, in units of utility.
        data: one of `DATA`. "fresh" is about PSST(fresh=True), "blocks" about PSST as it is by default.

    Raises:
        ValueError: epsilon is negative, or `data` is unknown.
    """
    if not 0 <= epsilon < np.inf:
        raise ValueError(f"epsilon is {epsilon}; a finite regret of at least 0 is needed")
    if data not in DATA:
        raise ValueError(f"data is {data!r}; known are {', '.join(DATA)}")
    sizes, gaps = halving_sizes(problem.num_arms), hardness.clear_gaps(problem.values)
    pulls = np.array(pulls_at_least(problem, budget, sizes), np.float64)
    if pulls[0] == 0:
        return 1.0
    best = 1.0
    for share in _shares(epsilon, len(sizes)):
        before, total = np.cumsum(share) - share, 0.0
        for r in reversed(range(len(sizes))):
            total += _round(problem, gaps, pulls[: r + 1], sizes[r], before[r], share[r], data)
            if total >= best:
                break
        best = min(best, total)
    return best


def mean_regret(problem: Problem, budget: int, epsilon: float, *, data: str = "blocks") -> float:
    """Bound on PSST's expected simple regret, averaged over any weights of the contexts.

    The smallest of x + P(regret > x) max gap over x in {.5, .75, .9} epsilon, the probability by Theorem E.

    Args:
        problem: the world.
        budget: T, in completions.
        epsilon: the mean regret that is hoped for.
        data: one of `DATA`.
    """
    most = float(hardness.clear_gaps(problem.values).max())
    tolerances = (share * epsilon for share in (0.5, 0.75, 0.9))
    return min(most, *(x + most * near_miss(problem, budget, x, data=data) for x in tolerances))


def _shares(epsilon: float, rounds: int) -> Iterator[Float64[np.ndarray, " round"]]:
    """Ways to share out epsilon: all to the last round, to the last two, four, ..., to all."""
    last = 1
    while True:
        count = min(last, rounds)
        yield np.concatenate([np.zeros(rounds - count), np.full(count, epsilon / count)])
        if count == rounds:
            return
        last *= 2


def _round(
    problem: Problem, gaps: np.ndarray, pulls: np.ndarray, size: int, lost: float, share: float, data: str
) -> float:
    """Bound on the probability that the last of the rounds with these pulls loses more than its share, if it is first.

    Args:
        problem: the world.
        gaps: of its arms.
        pulls: in every round up to this one.
        size: arms active in it.
        lost: the shares of those before.
        share: its own.
        data: one of `DATA`.
    """
    total = 0.0
    scales = np.tile(np.arange(1, problem.max_scale + 1), problem.num_prompts)
    prompts = np.repeat(np.arange(problem.num_prompts), problem.max_scale)
    blocks = problem.max_scale // scales
    for gap, width, slack in zip(gaps.reshape(len(gaps), -1), problem.width, problem.slack, strict=True):
        best = int(gap.argmin())
        leaders = np.array([best]) if len(pulls) == 1 else np.flatnonzero(gap <= lost * (1 + _ROUNDING))
        apart = gap[None, :] - gap[leaders, None]
        worse = apart > share
        near = hoeffding(np.maximum(apart - slack, 0.0), width, dependent=True)
        if data == "blocks":
            weight = pulls[0] + pulls[1:].sum() / blocks
            beaten = np.exp(-weight[leaders, None] * near) + np.exp(-weight[None, :] * near)
        else:
            count = pulls[-1] if data == "fresh" else pulls.sum()
            unrelated = prompts[leaders, None] != prompts[None, :]
            beaten = np.exp(-count * np.where(unrelated, 2.0, 1.0) * near)
        beaten = -np.sort(-np.where(worse, np.minimum(beaten, 1.0), 0.0), axis=1)
        if data == "fresh":
            total += float(markov(beaten[:, : size - 1], (size + 1) // 2).max())
        else:
            total += float(markov(beaten, (size + 1) // 2).sum())
    return total
