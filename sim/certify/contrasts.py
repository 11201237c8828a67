"""Differences between arms on the queries that both have met, with standard errors for either target.

"new": queries are a sample, and their spread counts, whole (Miller, arXiv 2411.00640: cluster and pair by query).
"these": m of a list's M queries were met; of the spread over queries the share 1 - m / M counts, and of the noise of
completions m / M (two-stage sampling; Cochran, Sampling Techniques, 1977, section 10). Noise is estimated from
residuals (`QueryEvidence.residuals`), too high for N near the completions of a pair. Where the whole spread over
queries is less, or there are no residuals, it stands in: it holds the noise too.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from sim.certify.evidence import QueryEvidence

TARGETS = ("new", "these")
_ROUNDING = 1e-12
"""Share of the variances of two arms below which that of their difference is rounding."""


class Sheet(NamedTuple):
    """Arms of one prompt that were measured on the same queries, with noise known on all of them or on none."""

    prompt: int
    arms: Int[np.ndarray, " own"]
    met: Bool[np.ndarray, " query"]
    noisy: bool


class Sample(NamedTuple):
    """Means of a sheet's arms over some of its queries, and rows whose squares sum to the variance of the means.

    Attributes:
        mean: shape (own,).
        between: influence of every query, shape (query, own).
        within: covariance from the noise of completions, shape (own, own); None where it is not known.
    """

    mean: Float64[np.ndarray, " own"]
    between: Float64[np.ndarray, "query own"]
    within: Float64[np.ndarray, "own own"] | None


class Contrast(NamedTuple):
    """Differences of all arms of one sheet to all arms of another.

    Attributes:
        mean: first less second, shape (first, second).
        se: standard error, the smaller of two where there are two.
        shared: standard error by shares of spread and noise, in which scales of one prompt on different sheets have
            noise of their own: that of what the bootstrap draws.
        share: share of the spread over queries that counts, 1 for new queries.
        part: square of `se` as a part of the variance from the whole spread, at most 1.
    """

    mean: Float64[np.ndarray, "first second"]
    se: Float64[np.ndarray, "first second"]
    shared: Float64[np.ndarray, "first second"]
    share: float
    part: Float64[np.ndarray, "first second"]


class Pairs(NamedTuple):
    """Differences of all arms, the row less the column; NaN where the two have met no two queries in common.

    Arms are counted by prompt, then N.

    Attributes:
        mean: the row's mean less the column's.
        se: its standard error.
        queries: how many, in common (`QueryEvidence.number`).
        clock: as many queries, drawn independently, would make the whole spread over queries as small as `se` is:
            `queries` for new ones, more where less than the whole spread counts.
        exhausted: both have met the whole list.
    """

    mean: Float64[np.ndarray, "arm arm"]
    se: Float64[np.ndarray, "arm arm"]
    queries: Int[np.ndarray, "arm arm"]
    clock: Float64[np.ndarray, "arm arm"]
    exhausted: Bool[np.ndarray, "arm arm"]


class Contrasts:
    """Comparisons of one context for one target, computed pair of sheets by pair of sheets."""

    def __init__(self, evidence: QueryEvidence, context: int, target: str):
        """Sort arms into sheets.

        Raises:
            ValueError: the target is unknown, or nobody knows the noise of completions that it needs.
        """
        if target not in TARGETS:
            raise ValueError(f"the target is {target!r}; it must be one of {', '.join(TARGETS)}")
        self.evidence, self.target = evidence, target
        self.values, self.weights = evidence.utilities(context), evidence.weights
        self.noise = evidence.noise(context) if target == "these" else None
        if target == "these" and self.noise is None:
            raise ValueError(
                "nothing narrower can be said of exactly these queries: the noise of completions is not known "
                "(no residuals, or none of the measured costs)"
            )
        self.even = bool(np.ptp(self.weights) == 0)
        self.sheets = self._sheets()
        self._samples: dict[tuple[int, bytes], Sample] = {}

    @property
    def num_arms(self) -> int:
        """Arms, those without evidence among them."""
        return self.values.shape[0] * self.values.shape[2]

    def _sheets(self) -> list[Sheet]:
        sheets, measured = [], np.isfinite(self.values)
        for prompt, met in enumerate(measured):
            known = np.zeros(met.shape[1], bool)
            if self.noise is not None:
                known = (np.isfinite(self.noise[prompt]).all(axis=1) | ~met).all(axis=0)
            rows, group = np.unique(np.vstack([met, known]).T, axis=0, return_inverse=True)
            for number, row in enumerate(rows):
                if row[:-1].any():
                    arms = prompt * met.shape[1] + np.flatnonzero(np.ravel(group) == number)
                    sheets.append(Sheet(prompt, arms, row[:-1], bool(row[-1])))
        return sheets

    def sample(self, number: int, common: Bool[np.ndarray, " query"]) -> Sample:
        """Means of a sheet over some of its queries."""
        key = number, common.tobytes()
        if key not in self._samples:
            sheet = self.sheets[number]
            scales = sheet.arms % self.values.shape[2]
            share = self.weights[common] / self.weights[common].sum()
            values, size = self.values[sheet.prompt][common][:, scales], len(share)
            mean, within = share @ values, None
            short = 1 - 1 / size if self.even else 1 - share @ share  # squares are too small by about this
            between = share[:, None] * (values - mean) / np.sqrt(short if size > 1 else 1.0)
            if self.noise is not None and sheet.noisy:
                rows = self._noise_rows(sheet, common)
                within = rows.T @ rows
            self._samples[key] = Sample(mean, between, within)
        return self._samples[key]

    def share(self, size: int, known: bool) -> float:
        """Share of the spread over queries that counts where `size` of them were met."""
        if self.target == "new" or not known:
            return 1.0
        left = 1 - size / self.evidence.list_length
        return left if self.even or left == 0 else 1.0

    def contrast(self, first: int, second: int) -> Contrast | None:
        """Differences between the arms of two sheets; None below two common queries."""
        one, other = self.sheets[first], self.sheets[second]
        common = one.met & other.met
        size = int(common.sum())
        if size < 2:
            return None
        left, right = self.sample(first, common), self.sample(second, common)
        known = left.within is not None and right.within is not None
        share = self.share(size, known)
        whole = _of_difference(_squares(left), _squares(right), left.between.T @ right.between)
        variance = drawn = whole
        if left.within is not None and right.within is not None and share < 1:
            own, other_own = np.diag(left.within), np.diag(right.within)
            apart = np.zeros((len(one.arms), len(other.arms)))
            joint = left.within if first == second else apart
            drawn = share * whole + (1 - share) * _of_difference(own, other_own, joint)
            if one.prompt == other.prompt and first != second:
                joint = self._noise_rows(one, common).T @ self._noise_rows(other, common)
            variance = np.minimum(whole, share * whole + (1 - share) * _of_difference(own, other_own, joint))
        part = part_of_whole(variance, whole)
        return Contrast(left.mean[:, None] - right.mean, np.sqrt(variance), np.sqrt(drawn), share, part)

    def _noise_rows(self, sheet: Sheet, common: np.ndarray) -> Float64[np.ndarray, "row own"]:
        """Rows whose products sum to covariances of a sheet's means over completions."""
        assert self.noise is not None
        share = self.weights[common] / self.weights[common].sum()
        scales = sheet.arms % self.values.shape[2]
        rows = self.noise[sheet.prompt][common][:, :, scales] * share[:, None, None]
        return rows.reshape(-1, len(scales)).astype(np.float64)

    def pairs(self) -> Pairs:
        """All differences."""
        shape = (self.num_arms, self.num_arms)
        mean, se, queries = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, int)
        clock, exhausted = np.zeros(shape), np.zeros(shape, bool)
        for first, second in combinations_with_replacement(range(len(self.sheets)), 2):
            one, other, found = self.sheets[first], self.sheets[second], self.contrast(first, second)
            block, back = np.ix_(one.arms, other.arms), np.ix_(other.arms, one.arms)
            queries[block] = queries[back] = number = self.evidence.number(one.met & other.met)
            if found is None:
                continue
            mean[block], se[block] = found.mean, found.se
            mean[back], se[back] = -found.mean.T, found.se.T
            clock[block], clock[back] = number / found.part, number / found.part.T
            exhausted[block] = exhausted[back] = found.share == 0
        return Pairs(mean, se, queries, clock, exhausted)


class Errors(NamedTuple):
    """Standard errors of the means of a sheet's arms, as in `Contrast`."""

    se: Float64[np.ndarray, " own"]
    shared: Float64[np.ndarray, " own"]
    part: Float64[np.ndarray, " own"]


def errors(sample: Sample, share: float) -> Errors:
    """Standard errors of the means of a sheet's arms: the smaller of two, and that by shares."""
    whole = _squares(sample)
    shared = whole if sample.within is None else share * whole + (1 - share) * np.diag(sample.within)
    least = np.minimum(whole, shared)
    return Errors(np.sqrt(least), np.sqrt(shared), part_of_whole(least, whole))


def part_of_whole(variance: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """A variance as a part of the whole one, 1 where nothing varies."""
    return np.divide(variance, whole, out=np.ones_like(whole), where=variance > 0)


def _squares(sample: Sample) -> np.ndarray:
    return (sample.between**2).sum(axis=0)


def _of_difference(first: np.ndarray, second: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    return difference_variance(first[:, None] + second, mixed)


def difference_variance(total: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """Variances of differences from sums of two variances and from covariances; 0 where only rounding is left."""
    variance = total - 2 * mixed
    return np.where(variance > _ROUNDING * total, variance, 0.0)
