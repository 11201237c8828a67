"""The expectation over the leader's estimate and tie-break in the bound of `theory.lcpb.lcpb`."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from theory.lcpb.lattice import Lattice, Points

_EXACT_RIVALS = 64
"""Up to so many rivals the average over tie-breaks is an exact Gauss-Legendre quadrature."""
_CELLS = 64
"""Otherwise the tie-break is rounded against the leader to one of so many cells; fewer where scales share prompts."""
_SHARED_CELLS = 16
_FEW_VALUES = 1000
"""Values of the leader that are not worth sorting."""
_LEFT_OUT = 1e-6
"""Share of the result that values of the leader may be bounded rather than computed for."""
_BLOCK = 1 << 17
_FEW_ROWS = 8
"""Rows that are sorted by comparing them, two by two."""


@runtime_checkable
class RivalLaws(Protocol):
    """Rivals that may beat the leader."""

    num_scales: int

    def tails(self, at: Points) -> tuple[np.ndarray, np.ndarray]:
        """P(X > v) and P(X = v), shape (prompt, value); for one scale."""
        ...

    def beats(self, at: Points, tiebreaks: np.ndarray) -> np.ndarray:
        """P(X > v) + (1 - u) P(X = v), shape (tiebreak, prompt, scale, value)."""
        ...


def expectation(leader: Lattice, rivals: RivalLaws, most: int, needed: Sequence[int]) -> Float64[np.ndarray, " needed"]:
    """Bounds on P(at least m of at most `most` rivals beat the leader), for every m in `needed`.

    Args:
        leader: law of the leader's estimate.
        rivals: the laws of the rivals' estimates.
        most: how many rivals may be active, whichever they are.
        needed: numbers m >= 1.
    """
    found = np.zeros(len(needed))
    if most == 0:
        return found
    used = np.flatnonzero(leader.pmf > 0)
    mass, at = leader.pmf[used], Points(leader, used)
    if rivals.num_scales > 1:
        return _shared(mass, at, rivals, most, needed)
    above, equal = rivals.tails(at)
    return np.array([_independent(mass, above, equal, most, m) if m <= most else 0.0 for m in needed])


def poisson_binomial_tail(chance: Float64[np.ndarray, "event column"], needed: int) -> Float64[np.ndarray, " column"]:
    """P(at least `needed` of independent events happen), per column; sums of positive terms only.

    Args:
        chance: probability of every event.
        needed: 0 or more.
    """
    num_events = len(chance)
    if needed <= 0:
        return np.ones(chance.shape[1])
    if needed > num_events:
        return np.zeros(chance.shape[1])
    flip = num_events - needed + 1 < needed  # count the events that do not happen where those are fewer
    width = num_events - needed + 1 if flip else needed
    counts = np.zeros((width, chance.shape[1]))  # P(k so far) for k < width
    counts[0] = 1
    reached = np.zeros(chance.shape[1])
    for i, p in enumerate(chance):
        happens, not_happens = (1 - p, p) if flip else (p, 1 - p)
        reached += counts[-1] * happens
        top = min(i + 1, width - 1)
        shifted = counts[:top] * happens
        counts[: top + 1] *= not_happens
        counts[1 : top + 1] += shifted
    return counts.sum(axis=0) if flip else reached


def descending(table: Float64[np.ndarray, "row *shape"]) -> Float64[np.ndarray, "row *shape"]:
    """Sort along the first axis, largest first; a few rows by comparing them whole, which is many times faster."""
    if len(table) > _FEW_ROWS:
        return -np.sort(-table, axis=0)
    rows = list(table)
    for last in range(1, len(rows)):
        for i in range(last, 0, -1):
            rows[i - 1], rows[i] = np.maximum(rows[i - 1], rows[i]), np.minimum(rows[i - 1], rows[i])
    return np.stack(rows)


def _independent(mass: np.ndarray, above: np.ndarray, equal: np.ndarray, most: int, needed: int) -> float:
    """One scale: values of the leader in order of what they can contribute, until the rest is negligible."""
    largest = -np.sort(-(above + equal), axis=0)[:most]
    rest, total = mass * _poisson_tail(largest.sum(axis=0), needed), 0.0
    order = np.argsort(-rest)
    remaining = np.append(np.cumsum(rest[order][::-1])[::-1], 0.0)
    average = above + equal / 2
    exact_nodes, exact_weights = _legendre((most + 2) // 2) if most <= _EXACT_RIVALS else (np.zeros(0), np.zeros(0))
    cells = np.arange(_CELLS) / _CELLS
    step = max(1, _BLOCK // (needed * _CELLS))
    start = 0
    while start < len(order):
        chosen = order[start : start + step]
        kept = np.argsort(-average[:, chosen], axis=0, kind="stable")
        tied = equal[:, chosen].max(axis=0) > 0
        fixed = _same_top(above[:, chosen], equal[:, chosen], kept, most) & (most <= _EXACT_RIVALS)
        for group, nodes, weights in (
            (~tied, np.zeros(1), np.ones(1)),
            (tied & fixed, exact_nodes, exact_weights),
            (tied & ~fixed, cells, np.full(_CELLS, 1 / _CELLS)),
        ):
            columns = chosen[group]
            if not len(columns):
                continue
            chance = above[:, columns, None] + equal[:, columns, None] * (1 - nodes)
            chance = chance.reshape(len(chance), -1)
            if most < len(chance):
                chance = -np.partition(-chance, most - 1, axis=0)[:most]
            tail = poisson_binomial_tail(chance, needed).reshape(len(columns), -1)
            total += float(mass[columns] @ (tail @ weights))
        start += step
        if remaining[min(start, len(order))] <= _LEFT_OUT * total:
            break
    return total + float(remaining[min(start, len(order))])


def _shared(mass: np.ndarray, at: Points, rivals: RivalLaws, most: int, needed: Sequence[int]) -> np.ndarray:
    """Several scales: first as if the leader lost every tie, then by tie-break at the values that matter."""
    found, able = np.zeros(len(needed)), np.asarray(needed) <= most
    possible = [m for m in needed if m <= most]
    cells = np.arange(_SHARED_CELLS) / _SHARED_CELLS
    if len(mass) <= _FEW_VALUES:
        found[able] = _beaten(rivals, at, cells, most, possible) @ mass
        return found
    crude = mass * _beaten(rivals, at, np.zeros(1), most, possible)
    order = np.argsort(-crude, axis=1)
    remaining = np.cumsum(np.take_along_axis(crude, order, axis=1)[:, ::-1], axis=1)[:, ::-1]
    matters = np.zeros(crude.shape, bool)
    np.put_along_axis(matters, order, remaining > _LEFT_OUT * remaining[:, :1], axis=1)
    fine = np.asarray(matters.any(axis=0))
    found[able] = crude[:, ~fine].sum(axis=1)
    if fine.any():
        found[able] += _beaten(rivals, at.some(fine), cells, most, possible) @ mass[fine]
    return found


def _beaten(
    rivals: RivalLaws, at: Points, tiebreaks: np.ndarray, most: int, needed: Sequence[int]
) -> Float64[np.ndarray, "needed value"]:
    """Bounds on P(at least m rivals beat the leader | its estimate), averaged over tie-breaks."""
    chance = rivals.beats(at, tiebreaks).transpose(2, 1, 3, 0)
    chance = descending(chance.reshape(*chance.shape[:2], -1))
    size = len(at.places)
    found = [_beaten_by_any(chance, most, m).reshape(size, -1).mean(axis=1) for m in needed]
    return np.reshape(found, (len(needed), size))


def _beaten_by_any(chance: np.ndarray, most: int, needed: int) -> np.ndarray:
    """At every value the smaller of two bounds, prompts that beat it and Markov over arms.

    Args:
        chance: of every rival, (scale, prompt, value and cell), each prompt's largest first.
        most: how many rivals may be active.
        needed: how many must beat the leader.
    """
    per_prompt = min(len(chance), most)
    prompts = np.minimum(chance[:per_prompt].sum(axis=0), 1.0)
    by_prompt = poisson_binomial_tail(descending(prompts)[:most], -(-needed // per_prompt))
    arms = descending(chance.reshape(-1, chance.shape[-1]))[:most]
    tail = np.cumsum(arms[::-1], axis=0)[::-1][:needed]
    by_arm = (tail / (needed - np.arange(len(tail)))[:, None]).min(axis=0)
    return np.minimum(np.minimum(by_prompt, by_arm), 1.0)


def _same_top(above: np.ndarray, equal: np.ndarray, order: np.ndarray, most: int) -> np.ndarray:
    """Whether the `most` likeliest rivals are the same whatever the tie-break; chances are linear in it."""
    if most >= len(above):
        return np.ones(above.shape[1], bool)
    same = np.ones(above.shape[1], bool)
    for chance in (above, above + equal):
        ordered = np.take_along_axis(chance, order, axis=0)
        same &= ordered[:most].min(axis=0) >= ordered[most:].max(axis=0)
    return same


def _poisson_tail(mean: np.ndarray, needed: int) -> np.ndarray:
    """Chernoff: P(PoissonBinomial >= m) <= exp(m - mu - m log(m / mu)) for mu < m."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.exp(needed - mean + needed * np.log(mean / needed))
    return np.where(mean < needed, bound, 1.0)


def _legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return (points + 1) / 2, weights / 2
