"""Laws on a lattice, added up with positive terms only: small relative errors in tail probabilities however small.

What is a tie is decided in whole numbers. Two means of rewards less the same cost compare as fractions do. Where costs
differ, means that float64, or the simulator's rounding, cannot tell apart count as won by the rival: a bound may do
that, and nothing else is safe, for whichever of them costs less wins every such tie, or half of them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from theory.rounding import SHARP, Blur

_FLOAT = 1e-12
"""Relative error of float64 values that were computed in a few steps, with room to spare."""
_NEGLIGIBLE = 1e-290
"""Probabilities below are dropped: denormal numbers are slow."""
MAX_POINTS = 1 << 14
"""Longer laws of sums are rounded to every second point, unless they are binomial."""


class Lattice(NamedTuple):
    """A law of a mean less a cost: the points origin + unit * stride * i / terms - cost, with probability pmf[i].

    Attributes:
        pmf: probability of every point.
        unit: size of a step of the sum that the mean is of.
        terms: in that sum.
        stride: steps from one point to the next.
        cost: what is known to be lost; laws that are compared have the same `unit` and `origin`.
        origin: the value of a sum of no steps.
    """

    pmf: Float64[np.ndarray, " point"]
    unit: float
    terms: int
    stride: int = 1
    cost: float = 0.0
    origin: float = 0.0

    @property
    def values(self) -> Float64[np.ndarray, " point"]:
        """The points."""
        return self.origin + self.unit * (self.stride / self.terms) * np.arange(len(self.pmf)) - self.cost

    @property
    def rounding(self) -> float:
        """Rounding error, at most, of computed differences to such values."""
        return _FLOAT * (abs(self.cost) + self.unit * self.stride * len(self.pmf) / self.terms)


class Points(NamedTuple):
    """Some points of a law."""

    law: Lattice
    places: Int[np.ndarray, " value"]

    def some(self, chosen: np.ndarray) -> "Points":
        """Those that a mask or indices choose."""
        return Points(self.law, self.places[chosen])


class Count(NamedTuple):
    """A law of a whole number: `stride` times i with probability pmf[i]."""

    pmf: Float64[np.ndarray, " point"]
    stride: int

    def rounded(self, stride: int, down: bool) -> "Count":
        """On a coarser lattice, a power of 2 times as coarse, rounded down or up."""
        pmf, own = self
        while own < stride:
            pmf = np.pad(pmf, (0 if down else 1, len(pmf) % 2 if down else 1 - len(pmf) % 2)).reshape(-1, 2).sum(axis=1)
            own *= 2
        return Count(pmf, own)


class Grid(NamedTuple):
    """Values as whole numbers of steps from an origin, rounded both ways where no step fits them all.

    Attributes:
        origin: the smallest value.
        step: the size of a step.
        down: steps of each value, rounded down.
        up: steps of each value, rounded up.
    """

    origin: float
    step: float
    down: Int[np.ndarray, "*shape"]
    up: Int[np.ndarray, "*shape"]

    @property
    def exact(self) -> bool:
        """Whether all values lie on the lattice."""
        return bool((self.down == self.up).all())


def grid(values: Float64[np.ndarray, "*shape"], used: np.ndarray, most: int = 240) -> Grid:
    """The coarsest lattice that holds the used values exactly, or one of `most` steps that rounds them down and up."""
    origin = float(values.min(where=used, initial=np.inf))
    above = np.where(used, values - origin, 0.0)
    span = float(above.max())
    if span == 0:
        zero = np.zeros(values.shape, np.int64)
        return Grid(origin, 1.0, zero, zero)
    step = _common_step(np.unique(above), span, span / (most + 0.5))
    if step > 0:
        step = span / round(span / step)
        count, held = _whole(above, step, abs(origin))
        if held.all():
            return Grid(origin, step, count.astype(np.int64), count.astype(np.int64))
    step = span / most
    count, held = _whole(above, step, abs(origin))
    count = np.where(held, count, above / step)
    return Grid(origin, step, np.floor(count).astype(np.int64), np.ceil(count).astype(np.int64))


def _whole(above: np.ndarray, step: float, size: float) -> tuple[np.ndarray, np.ndarray]:
    """The nearest whole numbers of steps, and where only the rounding of values of some size lies in between."""
    count = np.rint(above / step)
    return count, np.abs(above - count * step) <= _FLOAT * (above + size) / 16


def _common_step(distances: np.ndarray, span: float, least: float) -> float:
    """Largest step of which all distances are whole multiples, by Euclid's algorithm; 0 where that is below `least`."""
    step, tolerance = span, 1e-9 * span
    for distance in distances:
        rest = float(distance)
        while rest > tolerance:
            step, rest = rest, step % rest
            rest = 0.0 if step - rest < tolerance else rest
        if step < least:
            return 0.0
    return step


def convolve(left: Count, right: Count, down: bool) -> Count:
    """Law of the sum of two independent counts; where it gets too long, of one rounded down or up."""
    stride = max(left.stride, right.stride)
    while (len(left.pmf) * left.stride + len(right.pmf) * right.stride) // stride > MAX_POINTS:
        stride *= 2
    one, other = (count.rounded(stride, down).pmf for count in (left, right))
    total = np.convolve(one, other) if min(len(one), len(other)) > 1 else one * other
    total[total < _NEGLIGIBLE] = 0
    return Count(total, stride)


def power(pmf: Float64[np.ndarray, " point"], count: int, down: bool) -> Count:
    """Law of the sum of `count` independent copies; the binomial law where there are two points."""
    points = np.flatnonzero(pmf)
    if len(points) == 2:
        low, high = (int(i) for i in points)
        total = np.zeros((len(pmf) - 1) * count + 1)
        total[low * count : high * count + 1 : high - low] = binomial(count, pmf[high], pmf[low])
        return Count(total, 1)
    total, square = Count(np.ones(1), 1), Count(pmf, 1)
    while count:
        if count & 1:
            total = convolve(total, square, down)
        count >>= 1
        square = convolve(square, square, down) if count else square
    return total


def stays_exact(pmf: Float64[np.ndarray, " point"], count: int) -> bool:
    """Whether `power` of it rounds nothing."""
    return bool(np.count_nonzero(pmf) <= 2 or 2 * len(pmf) * count <= MAX_POINTS)


def power_rows(rows: Float64[np.ndarray, "row point"], count: int) -> Float64[np.ndarray, "row sum"]:
    """`power` for every row, `count` >= 1."""
    used = np.flatnonzero(rows.any(axis=0))
    total = rows
    for _ in range(count - 1):
        longer = np.zeros((len(rows), total.shape[1] + rows.shape[1] - 1))
        for point in used:
            longer[:, point : point + total.shape[1]] += rows[:, point, None] * total
        total = longer
    return total


def binomial(count: int, success: float, failure: float) -> Float64[np.ndarray, " point"]:
    """Binomial probabilities of 0..count; relative errors near 1e-12 at count 10,000."""
    from scipy import special

    k = np.arange(count + 1)
    ways = special.gammaln(count + 1) - special.gammaln(k + 1) - special.gammaln(count - k + 1)
    chance = np.exp(ways + special.xlogy(k, success) + special.xlogy(count - k, failure))
    return np.where(chance < _NEGLIGIBLE, 0.0, chance)


def tails(
    law: Lattice, at: Points, blur: Blur = SHARP
) -> tuple[Float64[np.ndarray, " value"], Float64[np.ndarray, " value"]]:
    """P(X > v) and P(X = v) for every v, of a rival's estimate X and the leader's v.

    Where the two cannot be told apart (see the top of this file) the rival counts as above.
    """
    # In steps over the product of both numbers of terms: the rival's point j is at j mine, the leader's at i theirs.
    mine, theirs = law.stride * at.law.terms, at.law.stride * law.terms
    target, size = at.places.astype(np.int64) * theirs, len(law.pmf)
    step = law.unit * law.stride / law.terms
    reached = np.append(np.cumsum(law.pmf[::-1])[::-1], 0.0)
    if law.cost != at.law.cost:
        width = blur.width + law.rounding + at.law.rounding
        lowest = np.ceil(target / mine + (law.cost - at.law.cost) / step - width / step)
        return reached[np.minimum(np.maximum(lowest, 0), size).astype(np.int64)], np.zeros(len(target))
    level, rest = np.divmod(target, mine)
    whole = rest == 0
    level += ~whole  # the rival's first point that is not below
    lowest = np.minimum(np.ceil(target / mine - blur.width / step), level) if blur.width > 0 else level
    tied = whole & (level < size) & (lowest == level) & blur.keeps_ties
    first = np.minimum(np.maximum(np.where(tied, level + 1, lowest), 0), size).astype(np.int64)
    return reached[first], np.where(tied, law.pmf[np.minimum(level, size - 1)], 0.0)
