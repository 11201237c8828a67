"""Exact failure probability of Sequential Halving on independent arms, by recursion over the surviving sets.

Source: Karnin, Koren and Somekh (ICML 2013), algorithm 1. The recursion is ours. Every sum is of non-negative terms, so
that small probabilities keep their relative accuracy; nothing is computed as one minus something near one.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from theory import problem

MAX_ARMS = 16
_CELLS = 1 << 22
"""Numbers of one table of the halving recursion held at once."""


class HalvingError(NamedTuple):
    """Exact failure probability of Sequential Halving.

    Attributes:
        total: probability that the last arm is not a best one.
        by_round: probability that the last best arm falls in each round; sums to `total`.
        pulls: pulls per surviving arm in each round.
    """

    total: float
    by_round: Float64[np.ndarray, " round"]
    pulls: tuple[int, ...]


def halving_pulls(num_arms: int, budget: int, spread: bool = False) -> tuple[int, ...]:
    """Pulls per surviving arm in each of the R = ceil(log2 n) rounds: floor(floor(T / R) / n_r).

    n_1 = n and n_{r+1} = ceil(n_r / 2).

    Args:
        num_arms: number of arms n.
        budget: pulls T over all rounds.
        spread: hand out the remainder of T / R one pull at a time, as the simulator's hard budget rule does; in the
            paper it is lost. The two agree where R divides T.

    Raises:
        ValueError: a round affords no pull of every arm.
    """
    sizes = problem.halving_sizes(num_arms)
    shares = problem.allowances(budget, len(sizes)) if spread else [budget // len(sizes)] * len(sizes)
    pulls = [share // size for share, size in zip(shares, sizes, strict=True)]
    if min(pulls) < 1:
        needed = len(sizes) * num_arms
        raise ValueError(f"budget {budget} leaves a round of {num_arms} arms without a pull; {needed} is enough")
    return tuple(pulls)


def sequential_halving_error(means: Sequence[float], budget: int, spread: bool = False) -> HalvingError:
    """Exact failure probability of Sequential Halving on independent Bernoulli arms with fresh samples and random ties.

    Rewards with two values give the same probabilities as 0 and 1. In the simulator this is PSST(fresh=True) on a
    world with Nmax = 1, one context and one query.

    Args:
        means: success probability of every arm, at most 16 arms; all arms of the largest mean count as best.
        budget: pulls T; see `halving_pulls`.
        spread: see `halving_pulls`.
    """
    return halving_error(means, halving_pulls(len(means), budget, spread))


def halving_error(means: Sequence[float], pulls: Sequence[int]) -> HalvingError:
    """`sequential_halving_error` with a given number of pulls per surviving arm in every round.

    The law of the survivors is carried from round to round: P(S survives, then T) = P(S) P(T is the top half of S),
    since fresh samples make rounds independent given the survivors.

    Example:
        >>> from theory import halving_error
        >>> round(halving_error((0.55, 0.45), (1,)).total, 6)  # .45 * .45, and half of the ties
        0.45
    """
    from scipy import stats

    success = np.asarray(means, np.float64)
    if not 2 <= len(success) <= MAX_ARMS:
        raise ValueError(f"there are {len(success)} arms; the exact recursion takes 2 to {MAX_ARMS}")
    if not np.all((success >= 0) & (success <= 1)):
        raise ValueError("a mean lies outside [0, 1]; Bernoulli arms need success probabilities")
    rounds = problem.num_rounds(len(success))
    if len(pulls) != rounds or min(pulls) < 1:
        raise ValueError(f"pulls is {tuple(pulls)}; {len(success)} arms need {rounds} rounds of at least one pull")
    best = set(np.flatnonzero(success == success.max()).tolist())
    survivors = {tuple(range(len(success))): 1.0}
    by_round = np.zeros(len(pulls))
    for r, count in enumerate(pulls):
        law = stats.binom.pmf(np.arange(count + 1), count, success[:, None])
        following: dict[tuple[int, ...], float] = {}
        for arms, weight in survivors.items():
            members = np.array(arms)
            kept = (len(arms) + 1) // 2
            chances = weight * top_set_law(law[members], kept)
            for chosen, chance in zip(combinations(arms, kept), chances.tolist(), strict=True):
                if best.isdisjoint(chosen):
                    by_round[r] += chance
                else:
                    following[chosen] = following.get(chosen, 0.0) + chance
        survivors = following
    return HalvingError(float(by_round.sum()), by_round, tuple(pulls))


def top_set_law(law: Float64[np.ndarray, "arm value"], num_kept: int) -> Float64[np.ndarray, " subset"]:
    """Probability of every subset to be the `num_kept` largest of independent values, ties broken uniformly.

    With v the smallest value kept, b kept arms at v and c dropped arms at v, the tie goes this way with probability
    1 / C(b + c, b). Over the arms, the number at v is a product of polynomials; v, b and c are then summed out.

    Args:
        law: probability of every whole value 0, 1, ... for every arm.
        num_kept: size of the subsets.

    Returns:
        A probability per subset, in the order of `itertools.combinations`.
    """
    num_arms, num_values = law.shape
    num_dropped = num_arms - num_kept
    kept = np.array(list(combinations(range(num_arms), num_kept)), int).reshape(-1, num_kept)
    inside = np.zeros((len(kept), num_arms), bool)
    inside[np.arange(len(kept))[:, None], kept] = True
    dropped = np.nonzero(~inside)[1].reshape(len(kept), num_dropped)
    above = np.zeros_like(law)
    above[:, :-1] = np.cumsum(law[:, :0:-1], axis=1)[:, ::-1]
    below = np.zeros_like(law)
    below[:, 1:] = np.cumsum(law[:, :-1], axis=1)
    tie = np.array([[1.0 / comb(b + c, b) for c in range(num_dropped + 1)] for b in range(num_kept + 1)])
    tie[0] = 0.0  # the smallest value kept is kept by some arm
    chance = np.zeros(len(kept))
    step = max(1, _CELLS // (len(kept) * (num_kept + 1)))
    for first in range(0, num_values, step):
        part = slice(first, first + step)
        high = _number_at(law[:, part], above[:, part], kept)
        low = _number_at(law[:, part], below[:, part], dropped)
        chance += ((tie.T @ high) * low).sum(axis=(1, 2))
    return chance


def _number_at(at: np.ndarray, beside: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Per subset and value: probability that j members are at the value and all others beside it, on axis 1."""
    number = np.zeros((len(members), members.shape[1] + 1, at.shape[1]))
    number[:, 0] = 1.0
    for size, arm in enumerate(members.T, start=1):
        number[:, 1 : size + 1] = number[:, 1 : size + 1] * beside[arm, None] + number[:, :size] * at[arm, None]
        number[:, 0] *= beside[arm]
    return number
