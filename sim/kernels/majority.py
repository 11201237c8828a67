"""Exact majority-vote credit of the right answer, for every number of votes at once.

Threshold recurrence: the right answer wins with m votes, and t - 1 others tie with it, when the others' counts form a
term of prod_j (sum_{i<m} w_j(i) z^i + [ties] w_j(m) z^m). With Poisson weights w_j(i) = exp(-lam p_j) (lam p_j)^i / i!,
the coefficient of z^(N-m) times w_gold(m), summed over m and divided by the Poisson probability of N votes in all, is
the multinomial probability. One pass gives every N, and as every term is positive nothing cancels: relative errors stay
near machine precision times the number of terms. Votes m > Nmax / 2 need no recurrence: fewer than m votes are left,
whoever gets them.
"""

import numpy as np
from jaxtyping import Float64, Int

from sim.constants import GOLD, TIES
from sim.kernels.moments import Moments, normal_rows

LARGEST_SCALE = 1024
"""Largest number of votes: the Poisson weight of few votes must not underflow."""

_BLOCK = 256
"""Rows per pass: bounds the memory and keeps the working set in cache."""


def majority_credit(
    probs: Float64[np.ndarray, "*rows answer"], max_scale: int, tie: str = "uniform"
) -> Float64[np.ndarray, "*rows scale"]:
    """Expected majority-vote credit of the right answer for N = 1..max_scale votes.

    Args:
        probs: distribution over answers in each row; answer 0 is the right one.
        max_scale: largest number of votes Nmax.
        tie: credit among t most voted answers: "uniform" 1/t, "half" 1/2 for every t > 1.

    Returns:
        Expected credit; entry N - 1 of the last axis is for N votes.

    Example:
        >>> import numpy as np
        >>> from sim.kernels.majority import majority_credit
        >>> majority_credit(np.array([0.6, 0.4]), 3).round(6).tolist()
        [0.6, 0.6, 0.648]
    """
    return majority_moments(probs, max_scale, tie).mean


def majority_moments(probs: Float64[np.ndarray, "*rows answer"], max_scale: int, tie: str = "uniform") -> Moments:
    """Mean and variance of the majority-vote credit; see `majority_credit`."""
    if tie not in TIES:
        raise ValueError(f"tie is {tie!r}; allowed are {', '.join(TIES)}")
    if not 1 <= max_scale <= LARGEST_SCALE:
        raise ValueError(f"max_scale is {max_scale}; exact majority votes are computed for 1 to {LARGEST_SCALE}")
    flat = normal_rows(probs)
    gold, others = flat[:, GOLD], -np.sort(-flat[:, 1:], axis=1)
    num_rivals = np.count_nonzero(others, axis=1)
    mean, variance = _two_answers(gold, max_scale)
    hard = np.flatnonzero((num_rivals > 1) & (gold > 0))  # zero mass on the right answer is exactly zero credit
    if hard.size:
        width = num_rivals[hard].max()
        rows, inverse = np.unique(
            np.column_stack([num_rivals, gold, others[:, :width]])[hard], axis=0, return_inverse=True
        )
        # np.unique sorts by the number of rivals, so that a block carries few empty categories
        blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
        found = [_many_answers(block[:, 1], block[:, 2 : 2 + int(block[-1, 0])], max_scale, tie) for block in blocks]
        for target, parts in zip((mean, variance), zip(*found, strict=True), strict=True):
            target[hard] = np.concatenate(parts)[np.ravel(inverse)]
    shape = (*probs.shape[:-1], max_scale)
    return Moments(mean.reshape(shape), variance.reshape(shape))


def majority_credit_given(
    probs: Float64[np.ndarray, "*rows answer"], max_scale: int, tie: str = "uniform"
) -> Float64[np.ndarray, "*rows answer scale"]:
    """Expected credit when one of the N votes is known to be for each answer in turn; see `majority_credit`."""
    flat = normal_rows(probs)
    found = np.empty((flat.shape[1], len(flat), max_scale))
    for start in range(0, len(flat), _BLOCK):
        part = flat[start : start + _BLOCK]
        for answer, rows in enumerate(found):
            rows[start : start + _BLOCK] = _many_answers(part[:, GOLD], part[:, 1:], max_scale, tie, answer).mean
    return np.moveaxis(found, 0, 1).reshape(*probs.shape, max_scale)


def credit_of_subsets(
    counts: Int[np.ndarray, "*rows answer"], max_scale: int, tie: str = "uniform"
) -> Float64[np.ndarray, "*rows scale"]:
    """Mean credit over all subsets of N of the votes of each row: the U-statistic, unbiased for their law's credit.

    The recurrence above with binomial weights C(c_j, i) r^i (1 - r)^(c_j - i) in place of Poisson's: divided by the
    binomial probability of N votes in all, they are draws without replacement, for any r.

    Args:
        counts: votes for every answer in each row; answer 0 is the right one.
        max_scale: largest number of votes Nmax.
        tie: as in `majority_credit`.

    Returns:
        Entry N - 1 of the last axis is for N votes; NaN beyond the votes of a row.

    Example:
        >>> import numpy as np
        >>> from sim.kernels.majority import credit_of_subsets
        >>> credit_of_subsets(np.array([3, 1]), 4).tolist()
        [0.75, 0.75, 1.0, 1.0]
    """
    if tie not in TIES:
        raise ValueError(f"tie is {tie!r}; allowed are {', '.join(TIES)}")
    flat = counts.reshape(-1, counts.shape[-1])
    if flat.shape[1] == GOLD + 1:  # nothing but right answers
        flat = np.concatenate([flat, np.zeros_like(flat)], axis=1)
    sorted_counts = np.concatenate([flat[:, : GOLD + 1], -np.sort(-flat[:, 1:], axis=1)], axis=1)
    rows, inverse = np.unique(sorted_counts, axis=0, return_inverse=True)
    found = np.empty((len(rows), max_scale))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        width = 1 + max(1, np.count_nonzero(block[:, 1:], axis=1).max(initial=0))
        found[start : start + _BLOCK] = _subset_credit(block[:, :width], max_scale, tie)
    return found[np.ravel(inverse)].reshape(*counts.shape[:-1], max_scale)


def _subset_credit(counts: np.ndarray, max_scale: int, tie: str) -> np.ndarray:
    total = counts.sum(axis=1)
    chance = np.minimum(0.5, max_scale / (2.0 * np.maximum(total, 1)))
    gold, others = counts[:, GOLD], counts[:, 1:]
    weights = [_binomial(own, chance, max_scale) for own in (gold, *others.T, others.sum(axis=1))]
    votes = _binomial(total, chance, max_scale)
    inside = votes > 0
    mean = _moments_of(weights, np.where(inside, votes, 1.0), max_scale, tie).mean
    return np.where(inside[1:].T, mean, np.nan)


def _binomial(size: np.ndarray, chance: np.ndarray, largest: int) -> np.ndarray:
    """Binomial probabilities of 0..largest, shape (count, row); exactly 0 above a row's size."""
    drawn = np.arange(1, largest + 1)[:, None]
    steps = np.maximum(size - drawn + 1, 0) / drawn * (chance / (1 - chance))
    return np.cumprod(np.concatenate([(1 - chance)[None] ** size, steps]), axis=0)


def _two_answers(gold: np.ndarray, max_scale: int) -> Moments:
    """Closed form for one rival: q_{2m+1} = q_{2m-1} + (2p - 1) C(2m-1, m) (p(1-p))^m and q_{2m} = q_{2m-1}.

    The credit is 0 or 1 but for 1/2 at a tie, whose probability C(2m, m) (p(1-p))^m lowers the variance by a quarter
    of itself. Absolute error about max_scale times machine precision.
    """
    mean = np.empty((max_scale, gold.size))
    tied = np.zeros((max_scale, gold.size))
    mean[0], half_tie = gold, gold * (1 - gold)
    for m in range(1, max_scale // 2 + 1):
        # half_tie = C(2m-1, m) (p(1-p))^m, half of the probability of m votes each
        mean[2 * m - 1] = mean[2 * m - 2]
        tied[2 * m - 1] = 2 * half_tie
        if 2 * m < max_scale:
            mean[2 * m] = mean[2 * m - 1] + (2 * gold - 1) * half_tie
        half_tie = half_tie * (gold * (1 - gold)) * (2 * (2 * m + 1) / (m + 1))
    variance = np.maximum(mean * (1 - mean) - tied / 4, 0)
    return Moments(mean.T.copy(), variance.T.copy())


def _many_answers(gold: np.ndarray, others: np.ndarray, max_scale: int, tie: str, given: int | None = None) -> Moments:
    """The threshold recurrence for one block of rows: `gold` (row,), `others` (row, rival).

    With `given`, one of the votes is for that answer (0 the right one, then the rivals in order), the rest are random.
    """
    rate = max_scale / 2
    votes = poisson(np.array([rate]), max_scale)
    weights = [poisson(rate * p, max_scale) for p in (gold, *others.T, others.sum(axis=1))]
    if given is not None:
        votes = _one_more(votes)
        for shifted in {given, -1} if given > GOLD else {given}:
            weights[shifted] = _one_more(weights[shifted])
    return _moments_of(weights, np.broadcast_to(votes, (max_scale + 1, gold.size)), max_scale, tie)


def _moments_of(weights: list[np.ndarray], votes: np.ndarray, max_scale: int, tie: str) -> Moments:
    """Moments from the weights (count, row) of the right answer, of each rival, of all rivals, and of all votes."""
    gold_weight, *rival_weights, rest_weight = weights
    num_tied = min(len(rival_weights), max_scale - 1) + 1
    wins = np.zeros((num_tied, max_scale + 1, gold_weight.shape[1]))  # tied rivals, votes, row
    for m in range(1, max_scale // 2 + 1):
        ways = rival_ways(rival_weights, m, max_scale - m)
        wins[: len(ways), m : m + ways.shape[1]] += gold_weight[m] * ways
    for m in range(max_scale // 2 + 1, max_scale + 1):
        wins[0, m:] += gold_weight[m] * rest_weight[: max_scale - m + 1]
    wins = wins[:, 1:] / votes[1:]
    tied = np.arange(len(wins)) + 1
    credit = 1 / tied if tie == "uniform" else np.where(tied == 1, 1.0, 0.5)
    mean = np.tensordot(credit, wins, axes=1).T
    second = np.tensordot(credit**2, wins, axes=1).T
    return Moments(mean, np.maximum(second - mean**2, 0))


def _one_more(weight: np.ndarray) -> np.ndarray:
    """Weights of one vote more: entry i is that of i - 1."""
    return np.concatenate([np.zeros_like(weight[:1]), weight[:-1]])


def rival_ways(rival_weights: list[np.ndarray], m: int, room: int) -> np.ndarray:
    """Weight of the rivals' counts, none above m, by (rivals with exactly m, sum of counts up to `room`, row)."""
    levels = min(len(rival_weights), room // m) + 1
    ways = np.zeros((levels, room + 1, rival_weights[0].shape[1]))
    ways[0, 0] = 1
    degree = 0  # largest sum of counts so far
    for j, weight in enumerate(rival_weights):
        used = min(j + 2, levels)
        more = np.zeros_like(ways)
        for i in range(m):
            stop = min(degree, room - i) + 1
            more[:used, i : i + stop] += weight[i] * ways[:used, :stop]
        stop = min(degree, room - m) + 1
        more[1:used, m : m + stop] += weight[m] * ways[: used - 1, :stop]
        ways, degree = more, min(degree + m, room)
    return ways


def poisson(rate: np.ndarray, largest: int) -> np.ndarray:
    """Poisson probabilities of 0..largest, by the recurrence w(i) = w(i - 1) rate / i; shape (count, *rate)."""
    steps = rate / np.arange(1, largest + 1)[:, None]
    return np.cumprod(np.concatenate([np.exp(-rate)[None], steps]), axis=0)
