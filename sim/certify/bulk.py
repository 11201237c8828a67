"""Statements of many runs of one design at once, for simulations of how often they hold: `certify` in bulk.

Prompts of a run meet the first so many of one order of queries, of sizes fixed beforehand, by equally many completions
each. Then all that `certify` computes follows from sums over these beginnings. Tests hold it to `certify` run by run.
"""

from functools import lru_cache, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int

from sim.certify.bounded import upper_bound
from sim.certify.contrasts import difference_variance, part_of_whole
from sim.certify.joint import LEAST_ERROR, Drawing, draw, root
from sim.certify.statement import Confidence, as_student, critical_values

_AT_ONCE = 50
"""Runs whose bootstrap is drawn at a time."""


class ManyRuns(NamedTuple):
    """Evidence of many runs about one context.

    Attributes:
        utilities: of every arm on every query, shape (run, query, prompt, scale).
        noise: rows whose squares and products sum to variances and covariances over completions, shape (run, query,
            row, prompt, scale); used for exactly these queries.
        ends: bounds of utilities before known costs and offset; None where there are none.
        shift: known part of the utility of every arm, shape (prompt, scale).
    """

    utilities: Float64[np.ndarray, "run query prompt scale"]
    noise: Float64[np.ndarray, "run query row prompt scale"]
    ends: tuple[float, float] | None
    shift: Float64[np.ndarray, "prompt scale"]


class Said(NamedTuple):
    """Bounds in the statements about every arm; arms are counted by prompt, then N.

    Attributes:
        eps: of every arm, had it been chosen, shape (run, arm); NaN where it was not computed.
        most: upper bound of the row's lead over the column, -inf for rows that are excluded, shape (run, arm, arm).
    """

    eps: Float64[np.ndarray, "run arm"]
    most: Float64[np.ndarray, "run arm arm"]


class Beginnings:
    """Sums of runs over the first queries of every size, for one target."""

    def __init__(self, runs: ManyRuns, sizes: tuple[int, ...], target: str):
        """Sum up; with target "these" the queries of `runs` are the whole list."""
        self.runs, self.sizes, self.target = runs, np.array(sizes), target
        count, self.queries, self.prompts, self.scales = runs.utilities.shape
        arms = self.prompts * self.scales
        flat = runs.utilities.reshape(count, self.queries, arms)
        self.mean = np.stack([flat[:, :size].mean(axis=1) for size in sizes], axis=1)
        spread, self.rows = [], []
        for place, size in enumerate(sizes):
            short = np.sqrt(1 - 1 / size)
            rows = (flat[:, :size] - self.mean[:, [place]]) / (size * short)
            spread.append(rows.swapaxes(1, 2) @ rows)
            self.rows.append(rows)
        self.between = np.stack(spread, axis=1)
        self.share = 1 - self.sizes / self.queries if target == "these" else np.ones(len(sizes))
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self.within = None
        if target == "these":
            rows = np.moveaxis(runs.noise, 3, 1).reshape(count, self.prompts, -1, self.scales)
            per = runs.noise.shape[2]
            parts = [rows[:, :, : size * per] / size for size in sizes]
            self.within = np.stack([part.swapaxes(2, 3) @ part for part in parts], axis=1)

    def say(self, which: Int[np.ndarray, " run"], met: Int[np.ndarray, "run prompt"], terms: Confidence) -> Said:
        """Statements of the asymptotic grades about every arm of some runs.

        Args:
            which: numbers of the runs.
            met: place in `sizes` of the queries that each prompt has met.
            terms: as in `certify`.
        """
        level = np.repeat(met, self.scales, axis=1)
        common = np.minimum(level[:, :, None], level[:, None])
        index = np.arange(len(which))[:, None, None]
        arms = np.arange(level.shape[1])
        mean = self.mean[which]
        lead = mean[index, common, arms[:, None]] - mean[index, common, arms[None, :]]
        variance, whole = self._variances(which)
        at = (index, common, arms[:, None], arms[None, :])
        se, part = np.sqrt(variance[at]), part_of_whole(variance, whole)[at]
        sizes, exhausted = self.sizes[common], self.share[common] == 0
        critical = self._critical(terms, common, sizes / part, exhausted)
        if terms.grade == "asymptotic" and terms.error >= LEAST_ERROR:
            inside = ~np.any(lead + critical * se < 0, axis=2)
            quantile = np.where(inside, self._bootstrap(which, common, terms), np.inf)
            each = as_student(quantile[:, :, None], np.broadcast_to(self.sizes, (*quantile.shape, len(self.sizes))))
            critical = np.minimum(critical, np.take_along_axis(each, common, axis=2))
        most = lead + critical * se
        most = np.where(np.any(most < 0, axis=2)[:, :, None], -np.inf, most)
        most[:, arms, arms] = 0.0
        return Said(np.maximum(most.max(axis=1), 0.0), most)

    def say_bounded(
        self, which: Int[np.ndarray, " run"], met: np.ndarray, chosen: Int[np.ndarray, " run"], terms: Confidence
    ) -> Said:
        """Statements of the bounded grades about the chosen arm of each run; as in `say`."""
        assert self.runs.ends is not None
        ends, arms = self.runs.ends, self.prompts * self.scales
        flat = self.runs.utilities.reshape(*self.runs.utilities.shape[:2], arms)
        level, shift = np.repeat(met, self.scales, axis=1), self.runs.shift.ravel()
        common = np.minimum(level, np.take_along_axis(level, chosen[:, None], axis=1))
        width, error = ends[1] - ends[0], terms.error / max(arms - 1, 1)
        bound = np.zeros(common.shape)
        for place in np.unique(common):
            run, arm = np.nonzero((common == place) & (np.arange(arms) != chosen[:, None]))
            if not len(run):
                continue
            of = flat[which[run], : self.sizes[place]]
            rows, both = np.arange(len(run)), chosen[run]
            known = shift[arm] - shift[both]
            series = (of[rows, :, arm] - of[rows, :, both] - known[:, None]).T
            anytime = terms.grade == "bounded-anytime"
            bound[run, arm] = upper_bound(series, (-width, width), error, terms.target, anytime) + known
        most = np.full((len(which), arms, arms), np.nan)
        eps = np.full((len(which), arms), np.nan)
        here = np.arange(len(which))
        most[here, :, chosen] = np.where(bound < 0, -np.inf, bound)
        eps[here, chosen] = np.maximum(bound.max(axis=1), 0.0)
        return Said(eps, most)

    def values(self, terms: Confidence) -> Float64[np.ndarray, "run arm"]:
        """Half-widths of the values of all arms at once, where every prompt has met all queries."""
        count, last, arms = len(self.mean), len(self.sizes) - 1, self.mean.shape[2]
        whole = np.diagonal(self.between[:, last], axis1=1, axis2=2)
        shared = whole
        if self.within is not None:
            noise = np.diagonal(self.within[:, last], axis1=2, axis2=3).reshape(count, arms)
            shared = self.share[last] * whole + (1 - self.share[last]) * noise
        least = np.minimum(whole, shared)
        number = np.broadcast_to(self.sizes[last], least.shape)
        clock, exhausted = number / part_of_whole(least, whole), np.broadcast_to(self.share[last] == 0, least.shape)
        critical = critical_values(terms.error / arms, terms, 2, number, clock, exhausted)
        if terms.grade == "asymptotic" and terms.error >= LEAST_ERROR:
            drawing = self._drawing(terms)
            quantile = np.zeros(count)
            for first in range(0, count, _AT_ONCE):
                which = np.arange(first, min(first + _AT_ONCE, count))
                drawn = np.abs(self._drawn(which, drawing)[:, last])
                se = np.sqrt(shared[which]).astype(np.float32)[:, :, None]
                scaled = np.divide(drawn, se, out=np.zeros_like(drawn), where=se > 0)
                quantile[which] = drawing.quantile(scaled.max(axis=1))
            critical = np.minimum(critical, as_student(quantile[:, None], number))
        return critical * np.sqrt(least)

    def _variances(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances of differences at every size, and from the whole spread over queries; (run, size, arm, arm)."""
        whole = _of_pairs(self.between[which])
        if self.within is None:
            return whole, whole
        share = self.share[None, :, None, None]
        return np.minimum(whole, share * whole + (1 - share) * _of_pairs(self._noise(which))), whole

    def _noise(self, which: np.ndarray) -> np.ndarray:
        """Covariance of arms over completions; prompts are independent."""
        assert self.within is not None
        own = self.within[which]
        found = np.zeros((*own.shape[:2], self.prompts, self.scales, self.prompts, self.scales))
        for prompt in range(self.prompts):
            found[:, :, prompt, :, prompt] = own[:, :, prompt]
        return found.reshape(*own.shape[:2], self.prompts * self.scales, -1)

    def _critical(self, terms: Confidence, common: np.ndarray, clock: np.ndarray, exhausted: np.ndarray) -> np.ndarray:
        error = terms.error / max(self.mean.shape[2] - 1, 1)
        never = np.zeros(len(self.sizes), bool)
        if terms.grade != "anytime" or terms.target == "new":
            return critical_values(error, terms, 1, self.sizes, self.sizes.astype(float), never)[common]
        at_end = critical_values(error, terms, 1, self.sizes, self.sizes.astype(float), ~never)[common]
        before = critical_values(error, terms, 1, self.sizes[common], clock, np.zeros(common.shape, bool))
        return np.where(exhausted, at_end, before)

    def _drawing(self, terms: Confidence) -> Drawing:
        return _draw(terms.error, terms.seed, (self.prompts, self.queries, self.scales), self.target == "these")

    def _bootstrap(self, which: np.ndarray, common: np.ndarray, terms: Confidence) -> np.ndarray:
        """Quantile of the largest lead of each arm, shape (run, arm)."""
        drawing, found = self._drawing(terms), np.zeros(common.shape[:2])
        least, most = common.min(axis=(1, 2)), common.max(axis=(1, 2))
        for place in np.unique(least[least == most]).tolist():
            own = (least == place) & (most == place)
            found[own] = drawing.quantile(self._alike(place, drawing)[which[own]])
        mixed = np.flatnonzero(least < most)
        for first in range(0, len(mixed), _AT_ONCE):
            some = mixed[first : first + _AT_ONCE]
            found[some] = drawing.quantile(self._leads(which[some], common[some], drawing))
        return found

    def _alike(self, place: int, drawing: Drawing) -> np.ndarray:
        """`_leads` of all runs where all prompts have met equally many queries; kept."""
        key, (count, _, arms) = (place, len(drawing.of_queries)), self.mean.shape
        if key not in self._kept:
            common = np.full((_AT_ONCE, arms, arms), place)
            starts = range(0, count, _AT_ONCE)
            parts = [np.arange(first, min(first + _AT_ONCE, count)) for first in starts]
            self._kept[key] = np.concatenate([self._leads(some, common[: len(some)], drawing) for some in parts])
        return self._kept[key]

    def _leads(self, which: np.ndarray, common: np.ndarray, drawing: Drawing) -> np.ndarray:
        """Draws of the largest lead of each arm in standard errors, shape (run, arm, draw)."""
        shared = _of_pairs(self.between[which])
        if self.within is not None:
            share = self.share[None, :, None, None]
            shared = share * shared + (1 - share) * _of_pairs(self._noise(which))
        se, place = np.sqrt(shared), np.arange(len(self.sizes))[None, :, None, None]
        used = (se > 0) & (common[:, None] == place)
        inverse = np.divide(1.0, se, out=np.zeros_like(se), where=used).astype(np.float32)
        there = np.flatnonzero(used.any(axis=(0, 2, 3)))
        if not len(there):
            return np.zeros((*common.shape[:2], len(drawing.of_queries)), np.float32)
        drawn = self._drawn(which, drawing, there)
        return np.asarray(_largest(_padded(drawn), _padded(inverse[:, there])))[: len(which)]

    def _drawn(self, which: np.ndarray, drawing: Drawing, there: np.ndarray | None = None) -> np.ndarray:
        """Draws of the means of arms less their means at some sizes, shape (run, size, arm, draw)."""
        found = []
        for place in range(len(self.sizes)) if there is None else there.tolist():
            rows = np.ascontiguousarray(self.rows[place][which].swapaxes(1, 2), np.float32)
            of_queries = np.ascontiguousarray(drawing.of_queries[:, : self.sizes[place]].T)
            drawn = (rows.reshape(-1, rows.shape[2]) @ of_queries).reshape(*rows.shape[:2], -1)
            if self.within is not None and self.share[place] < 1:
                noise = np.einsum(
                    "dps,rpst->rptd", drawing.of_noise, root(self.within[which, place]).astype(np.float32)
                )
                share = self.share[place]
                drawn = np.float32(np.sqrt(share)) * drawn
                drawn += np.float32(np.sqrt(1 - share)) * noise.reshape(drawn.shape)
            found.append(drawn)
        return np.stack(found, axis=1)


_draw = lru_cache(8)(draw)


def _of_pairs(covariance: Float64[np.ndarray, "*some arm arm"]) -> np.ndarray:
    own = np.diagonal(covariance, axis1=-2, axis2=-1)
    return difference_variance(own[..., :, None] + own[..., None, :], covariance)


def _padded(table: Float32[np.ndarray, "run ..."]) -> Array:
    """The same with runs of zeros up to `_AT_ONCE`, for one compilation."""
    return jnp.asarray(np.pad(table, [(0, _AT_ONCE - len(table))] + [(0, 0)] * (table.ndim - 1)))


@jax.jit
def _largest(
    drawn: Float[Array, "run size arm draw"], inverse: Float[Array, "run size arm arm"]
) -> Float[Array, "run arm draw"]:
    """The largest lead of each arm over the others in standard errors, at least 0."""
    leads = [
        (drawn[:, size] - drawn[:, size, other, None]) * inverse[:, size, :, other, None]
        for size in range(drawn.shape[1])
        for other in range(drawn.shape[2])
    ]
    return reduce(jnp.maximum, leads, jnp.zeros_like(drawn[:, 0]))
