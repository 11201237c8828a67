"""Evidence about every arm from the pulls of a run: values with intervals, whatever the algorithm made of them.

A value is a mean score less a mean cost; both are measured. A pull is a cluster: its blocks share a query, and its
requests too. The mean over all blocks is a ratio of sums over pulls, and so is the mean of tokens; the standard error
is that of a ratio (linearised, with n / (n - 1); Cochran, Sampling Techniques, 1977, section 6.3).

Intervals: of the score, that of Clopper and Pearson for as many independent pulls as its standard error amounts to
(Korn and Graubard, Survey Methodology 24, 1998), within the bounds of the score and never empty; of the cost,
Student's t; of their difference by recovered variances, with their correlation (Zou and Donner, Statistics in Medicine
27, 2008).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sim.core import Spec
from sim.kernels import subsets

_ROUNDING = 1e-12
"""Share of a sum of squares below which what is left of it is rounding."""


class Paid(NamedTuple):
    """Tokens that completions took, as the server reported them.

    Attributes:
        pulls: requests, prompt tokens, completions and completion tokens of every pull, shape (pull, 4).
        probe: the same of the probe's pulls, an entry for each prompt.
        rates: what a prompt token of a request and a completion token add to the cost of one completion, shape
            (prompt, 2).
        weights: utility of one unit of cost, shape (context,).
    """

    pulls: np.ndarray
    probe: Sequence[np.ndarray]
    rates: np.ndarray
    weights: np.ndarray


class Estimate(NamedTuple):
    """Value of arms, shape (context, prompt, scale); NaN for an arm without pulls.

    Attributes:
        value: score less cost.
        score, score_se: mean utility of a block before costs, and its standard error; that is NaN below two pulls, 0
            where all pulls agree.
        cost_se: standard error of the cost; 0 where costs are configured.
        covariance: of the score with the cost.
        pulls: pulls behind each (prompt, scale).
        reports: pulls behind the cost of each prompt; 0 where it is configured.
    """

    value: np.ndarray
    score: np.ndarray
    score_se: np.ndarray
    cost_se: np.ndarray
    covariance: np.ndarray
    pulls: np.ndarray
    reports: np.ndarray

    @property
    def se(self) -> np.ndarray:
        """Standard error of the value; NaN below two pulls."""
        return np.sqrt(np.maximum(self.score_se**2 + self.cost_se**2 - 2 * self.covariance, 0.0))


class Evidence:
    """All pulls, for every task, prompt and scale; each says what the algorithm's estimator makes of it."""

    def __init__(self, spec: Spec, width: int, estimator: str = "blocks"):
        self.spec, self._width, self._estimator = spec, width, estimator
        self._size = 0
        self._rows = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, spec.num_tasks, width), np.int32))

    def add(self, prompts: np.ndarray, scales: np.ndarray, units: np.ndarray) -> None:
        """Add pulls: `units` are block sums, shape (pull, task, scale)."""
        first, self._size = self._size, self._size + len(prompts)
        if self._size > len(self._rows[0]):  # room for twice as many: a round costs the same however many there were
            more = 2 * self._size - len(self._rows[0])
            self._rows = tuple(np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)]) for old in self._rows)
        for kept, new in zip(self._rows, (prompts, scales, units), strict=True):
            kept[first : self._size] = new

    def deepen(self, numbers: np.ndarray, scales: np.ndarray, units: np.ndarray) -> None:
        """Put pulls with all their completions in the place of what was there, by their numbers in order of adding."""
        _, old_scales, old_units = self._joined()
        old_scales[numbers], old_units[numbers] = scales, units

    def _joined(self) -> tuple[np.ndarray, ...]:
        """Prompts, scales and units of all pulls, not copied."""
        return tuple(rows[: self._size] for rows in self._rows)

    def estimate(self, paid: Paid | None = None) -> Estimate:
        """Values of all arms in all contexts, with costs as they were paid, or else as the spec has them."""
        spec, task = self.spec, np.array(self.spec.task)
        prompts, scales, units = self._joined()
        every = jnp.arange(scales.max(initial=0) + 1)  # not `scales`: every number of pulls would be compiled
        blocks = np.asarray(subsets.blocks_of(every, self._width, self._estimator), np.float64)[scales]
        weight = (np.asarray(spec.task_weight, np.float64) * np.asarray(spec.unit, np.float64)[task])[:, None]
        offset = np.asarray(spec.offset, np.float64).sum(axis=0)[:, None]
        sizes = np.arange(1, self._width + 1)
        shape = (spec.num_contexts, spec.num_prompts, self._width)
        score, score_se, cost, cost_se, covariance = np.full((5, *shape), np.nan)
        pulls, reports = np.zeros(shape[1:], int), np.zeros(spec.num_prompts, int)
        for prompt in range(spec.num_prompts):
            own = prompts == prompt
            pulls[prompt] = (blocks[own] > 0).sum(axis=0)
            mean, rest = _ratio(units[own].astype(np.float64), blocks[own][:, None])
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.where(pulls[prompt] > 1, pulls[prompt] / (pulls[prompt] - 1), np.nan)
            score[:, prompt] = mean[task] * weight + offset
            score_se[:, prompt] = np.sqrt((rest**2).sum(axis=0) * factor)[task] * weight
            if paid is None:
                cost[:, prompt] = np.asarray(spec.cost, np.float64)[:, prompt, None] * sizes
                cost_se[:, prompt] = covariance[:, prompt] = 0.0
                continue
            counts = np.concatenate([paid.pulls[own], paid.probe[prompt]])
            each, off = _cost(counts, paid.rates[prompt])
            number = reports[prompt] = (counts[:, 0] > 0).sum()
            spread = np.sqrt((off**2).sum() * number / (number - 1)) if number > 1 else np.nan
            scale = paid.weights[:, None] * sizes
            cost[:, prompt], cost_se[:, prompt] = each * scale, spread * scale
            shared = (rest * off[: own.sum(), None, None]).sum(axis=0) * factor
            covariance[:, prompt] = shared[task] * weight * scale
        return Estimate(score - cost, score, score_se, cost_se, covariance, pulls, reports)


def _ratio(total: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of totals over that of numbers, NaN where there are none, and what every pull (first axis) adds to its error.

    What is left of totals that all agree is rounding, and nothing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total.sum(axis=0) / number.sum(axis=0)
        rest = (total - mean * number) / number.sum(axis=0)
        square = (total**2).sum(axis=0) / number.sum(axis=0) ** 2
    return mean, np.where((rest**2).sum(axis=0) > _ROUNDING * square, rest, 0.0)


def _cost(paid: np.ndarray, rates: np.ndarray) -> tuple[float, np.ndarray]:
    """Cost of one completion from requests, prompt tokens, completions and completion tokens of pulls.

    Returns:
        The cost, and what every pull adds to its error; nothing where the server reported nothing.
    """
    means, rests = _ratio(paid[:, [1, 3]], paid[:, [0, 2]])
    return float(means @ rates), rests @ rates


def interval(
    found: Estimate,
    context: int,
    prompt: int,
    scale: int,
    bounds: tuple[float, float],
    level: float,
    choices: int = 1,
) -> tuple[float, float] | None:
    """Interval of the value of an arm that was pulled (scales count from 1); None where its cost has no known error.

    Args:
        found: what all pulls say.
        context: what it is used for.
        prompt: of the arm.
        scale: of the arm.
        bounds: least and largest score that the arm can have in the context.
        level: of the interval.
        choices: among how many arms it was chosen; the level allows for that.
    """
    from scipy import special

    place = (context, prompt, scale - 1)
    pulls, tail = int(found.pulls[prompt, scale - 1]), (1 - level) / (2 * choices)
    score, se, cost_se = (float(part[place]) for part in (found.score, found.score_se, found.cost_se))
    if np.isnan(cost_se):
        return None
    low, high = within(score, se, pulls, bounds, tail)
    below, above = score - low, high - score
    off = -float(special.stdtrit(found.reports[prompt] - 1, tail)) * cost_se if cost_se > 0 else 0.0
    shared = np.clip(found.covariance[place] / (se * cost_se), -1, 1) if se > 0 and cost_se > 0 else 0.0
    lower, upper = (np.sqrt(max(part**2 + off**2 - 2 * shared * part * off, 0.0)) for part in (below, above))
    return float(found.value[place] - lower), float(found.value[place] + upper)


def within(mean: float, se: float, pulls: int, bounds: tuple[float, float], tail: float) -> tuple[float, float]:
    """Interval of a mean of independent pulls that lie between two bounds, with error `tail` on either side.

    A share p of successes among n independent trials has the variance p (1 - p) / n: the mean, taken as such a share,
    is worth as many trials as its standard error says, at Student's t instead of a normal law's. Where no error can be
    told (one pull, or all agree) it is worth as many as there are pulls.
    """
    from scipy import special

    low, high = bounds
    if high <= low:
        return low, high
    share = min(max((mean - low) / (high - low), 0.0), 1.0)
    trials, error = float(pulls), se / (high - low)
    if pulls > 1 and error > 0 and 0 < share < 1:
        trials = share * (1 - share) / error**2
        trials *= float(special.ndtri(tail) / special.stdtrit(pulls - 1, tail)) ** 2
    hits = share * trials
    least = float(special.betaincinv(hits, trials - hits + 1, tail)) if hits > 0 else 0.0
    most = float(special.betainccinv(hits + 1, trials - hits, tail)) if trials > hits else 1.0
    return low + (high - low) * least, low + (high - low) * most
