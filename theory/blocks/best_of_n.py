"""Exact best-of-N: moments of the largest of N i.i.d. scores, for every N at once.

With scores v_1 < ... < v_M and distribution function F, summation by parts of sum_j v_j (F_j^N - F_{j-1}^N) gives

    E max = v_M - sum_j (v_{j+1} - v_j) F_j^N        E (v_M - max)^2 = sum_j ((v_M - v_j)^2 - (v_M - v_{j+1})^2) F_j^N

whose sums have only positive terms: close powers are never subtracted.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float64, Int

from sim.kernels.moments import Moments, normal_rows

_BLOCK = 1 << 16
"""Numbers raised to powers per pass: bounds the memory and keeps the working set in cache."""


def best_of_n(
    values: Float64[np.ndarray, "*shared atom"], probs: Float64[np.ndarray, "*rows atom"], max_scale: int
) -> Float64[np.ndarray, "*rows scale"]:
    """Expected largest of N i.i.d. scores for N = 1..max_scale.

    Args:
        values: score of every atom: one list shared by all rows, or one per row.
        probs: distribution over atoms in each row.
        max_scale: largest number of draws Nmax.

    Returns:
        Expected maximum; entry N - 1 of the last axis is for N draws.

    Example:
        >>> import numpy as np
        >>> from theory.blocks.best_of_n import best_of_n
        >>> best_of_n(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 3).tolist()
        [0.5, 0.75, 0.875]
    """
    return best_of_n_moments(values, probs, max_scale).mean


def best_of_n_moments(
    values: Float64[np.ndarray, "*shared atom"], probs: Float64[np.ndarray, "*rows atom"], max_scale: int
) -> Moments:
    """Mean and variance of the largest of N i.i.d. scores; see `best_of_n`."""
    if values.ndim == 1:
        shared = shared_best_of_n(values[None], probs, max_scale)
        return Moments(shared.mean[0], shared.variance[0])
    values, flat = np.broadcast_to(values, probs.shape).reshape(-1, probs.shape[-1]), normal_rows(probs)
    order = np.argsort(values, axis=1)
    short = np.take_along_axis(values, order, axis=1)
    top = short[:, -1]
    short = top[:, None] - short
    below = np.minimum(np.cumsum(np.take_along_axis(flat, order, axis=1), axis=1), 1.0)[:, :-1]
    miss = np.empty((2, max_scale, len(flat)))  # first and second moment of v_M - max
    rows = max(1, _BLOCK // max(1, below.shape[1]))
    for start in range(0, len(flat), rows):
        part = slice(start, start + rows)
        steps = [-np.diff(short[part] ** degree, axis=1) for degree in (1, 2)]
        for n, power in enumerate(_powers(below[part], max_scale)):
            for degree, step in enumerate(steps):
                miss[degree, n, part] = np.einsum("rj,rj->r", power, step)
    shape = (*probs.shape[:-1], max_scale)
    first, second = miss[0].T, miss[1].T
    return Moments((top[:, None] - first).reshape(shape), np.maximum(second - first**2, 0).reshape(shape))


def best_of_subsets(
    values: Float64[np.ndarray, "*rows atom"], counts: Int[np.ndarray, "*rows atom"], max_scale: int
) -> Float64[np.ndarray, "*rows scale"]:
    """Mean largest over all subsets of N of the scores of each row: the U-statistic, unbiased for their law's.

    All N are among the lowest i of n scores with chance C(i, N) / C(n, N), where independent draws have (i / n)^N.

    Args:
        values: score of every atom in each row.
        counts: how often each was drawn.
        max_scale: largest number of draws Nmax.

    Returns:
        Entry N - 1 of the last axis is for N scores; NaN beyond the scores of a row.

    Example:
        >>> import numpy as np
        >>> from theory.blocks.best_of_n import best_of_subsets
        >>> best_of_subsets(np.array([0.0, 1.0]), np.array([2, 1]), 3).round(6).tolist()
        [0.333333, 0.666667, 1.0]
    """
    order = np.argsort(values, axis=-1)
    scores = np.take_along_axis(values, order, axis=-1)
    below = np.cumsum(np.take_along_axis(counts, order, axis=-1), axis=-1)[..., :-1]
    total, step = counts.sum(axis=-1), np.diff(scores, axis=-1)
    chance, found = np.ones(below.shape), np.full((*counts.shape[:-1], max_scale), np.nan)
    for drawn in range(max_scale):
        left = (total - drawn)[..., None]
        chance = chance * np.maximum(below - drawn, 0) / np.maximum(left, 1)
        mean = scores[..., -1] - (step * chance).sum(axis=-1)
        found[..., drawn] = np.where(left[..., 0] > 0, mean, np.nan)
    return found


def shared_best_of_n(
    scores: Float64[np.ndarray, "task atom"], probs: Float64[np.ndarray, "*rows atom"], max_scale: int
) -> Moments:
    """Best of N under several scorings of atoms that all rows share.

    Args:
        scores: score of every atom under every task.
        probs: distribution over atoms in each row.
        max_scale: largest number of draws Nmax.

    Returns:
        Moments of shape (task, *rows, scale).
    """
    sets, steps, top = _level_sets(scores)
    flat = normal_rows(probs)
    miss = np.empty((len(flat), max_scale, 2 * len(scores)))
    rows = max(1, _BLOCK // len(sets))
    for start in range(0, len(flat), rows):
        below = np.minimum(flat[start : start + rows] @ sets.T, 1.0)
        for n, power in enumerate(_powers(below, max_scale)):
            miss[start : start + rows, n] = power @ steps
    miss = np.moveaxis(miss, 2, 0).reshape(2, len(scores), *probs.shape[:-1], max_scale)
    top = top.reshape(-1, *(1,) * probs.ndim)
    return Moments(top - miss[0], np.maximum(miss[1] - miss[0] ** 2, 0))


def average_shared_best_of_n(
    scores: Float64[np.ndarray, "task atom"],
    probs: Float64[np.ndarray, "prompt query atom"],
    laws: Float64[np.ndarray, "law query"],
    max_scale: int,
) -> Float64[np.ndarray, "law task prompt scale"]:
    """Mean over queries of `shared_best_of_n`, under several query laws at once.

    Averages the powers before weighing them by the steps between scores: far less memory and time than a table of
    every query.
    """
    sets, steps, top = _level_sets(scores)
    steps = steps[:, : len(scores)]
    miss = np.empty((len(laws), len(probs), max_scale, len(scores)))
    for prompt, rows in enumerate(probs):
        below = np.minimum(normal_rows(rows) @ sets.T, 1.0)
        for n, power in enumerate(_powers(below, max_scale)):
            miss[:, prompt, n] = (laws @ power) @ steps
    return np.moveaxis(top - miss, 3, 1)


def best_of_n_from_cdf(
    cdf: Callable[[Float64[np.ndarray, " node"]], Float[np.ndarray, "*rows node"]],
    lo: float,
    hi: float,
    max_scale: int,
    nodes: int = 256,
) -> Float64[np.ndarray, "*rows scale"]:
    """Expected largest of N i.i.d. scores in [lo, hi] from their distribution function F.

    E max_N = hi - int_lo^hi F(v)^N dv, by Gauss-Legendre quadrature; exact to about 1e-10 for smooth F that `nodes`
    points resolve.

    Args:
        cdf: F at a vector of points, one row per law.
        lo: lower end of the support.
        hi: upper end of the support.
        max_scale: largest number of draws Nmax.
        nodes: number of quadrature nodes.

    Returns:
        Expected maximum; entry N - 1 of the last axis is for N draws.

    Example:
        >>> from theory.blocks.best_of_n import best_of_n_from_cdf
        >>> best_of_n_from_cdf(lambda v: v, 0.0, 1.0, 3).round(12).tolist()
        [0.5, 0.666666666667, 0.75]
    """
    points, weights = _gauss_legendre(nodes)
    below = np.asarray(cdf(lo + (hi - lo) * points), np.float64)
    return hi - (hi - lo) * np.stack([power @ weights for power in _powers(below, max_scale)], axis=-1)


def _powers(base: np.ndarray, max_scale: int) -> Iterator[np.ndarray]:
    """The powers 1..max_scale of `base`; the array is overwritten by the next one."""
    power = base.copy()
    yield power
    for _ in range(max_scale - 1):
        power *= base
        yield power


def _level_sets(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sets {atoms with the j lowest scores} of all tasks, each once: neighbouring tasks share most of them.

    Returns:
        sets: masks (set, atom) as float64.
        steps: weights of P(set)^N in the first, then the second moment of v_M - max, shape (set, 2 tasks).
        top: largest score v_M of every task.
    """
    num_tasks, num_atoms = scores.shape
    order = np.argsort(scores, axis=1)
    top = scores.max(axis=1)
    short = top[:, None] - np.take_along_axis(scores, order, axis=1)
    rank = np.argsort(order, axis=1)
    masks = rank[:, None, :] <= np.arange(max(1, num_atoms - 1))[:, None]
    sets, which = np.unique(masks.reshape(-1, num_atoms), axis=0, return_inverse=True)
    which = np.ravel(which).reshape(num_tasks, -1)
    steps = np.zeros((len(sets), 2 * num_tasks))
    for task in range(num_tasks if num_atoms > 1 else 0):
        steps[which[task], task] = -np.diff(short[task])
        steps[which[task], num_tasks + task] = -np.diff(short[task] ** 2)
    return sets.astype(np.float64), steps, top


@lru_cache
def _gauss_legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return (points + 1) / 2, weights / 2
