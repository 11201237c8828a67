"""What the pulls of a run say about every arm: means with intervals, whatever the algorithm made of them.

A pull is a cluster: its blocks share a query. The mean over all blocks is a ratio of sums over pulls, and its standard
error is that of a ratio (linearised, with n / (n - 1); Cochran, Sampling Techniques, 1977, section 6.3).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import stats

from sim.core import Spec
from sim.kernels import subsets

_ROUNDING = 1e-12
"""Share of a sum of squares below which what is left of it is rounding."""


class Estimate(NamedTuple):
    """Value of arms, shape (context, prompt, scale); NaN for an arm without pulls.

    Attributes:
        se: standard error; NaN below two pulls, 0 where all pulls agree.
        pulls: pulls behind each (prompt, scale).
    """

    value: np.ndarray
    se: np.ndarray
    pulls: np.ndarray


class Evidence:
    """Sums over pulls, for every task, prompt and scale; each pull says what the algorithm's estimator makes of it."""

    def __init__(self, spec: Spec, width: int, estimator: str = "blocks"):
        self.spec, self._estimator = spec, estimator
        shape = (spec.num_tasks, spec.num_prompts, width)
        self._total, self._square, self._cross = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._blocks, self._squares, self._pulls = (np.zeros(shape[1:]) for _ in range(3))

    def add(self, prompts: np.ndarray, scales: np.ndarray, units: np.ndarray) -> None:
        """Add pulls: `units` are block sums, shape (pull, task, scale)."""
        number = np.asarray(subsets.blocks_of(jnp.asarray(scales), units.shape[2], self._estimator), np.float64)
        total = units.astype(np.float64)
        for prompt in np.unique(prompts):
            own = prompts == prompt
            self._total[:, prompt] += total[own].sum(axis=0)
            self._square[:, prompt] += (total[own] ** 2).sum(axis=0)
            self._cross[:, prompt] += (total[own] * number[own][:, None]).sum(axis=0)
            self._blocks[prompt] += number[own].sum(axis=0)
            self._squares[prompt] += (number[own] ** 2).sum(axis=0)
            self._pulls[prompt] += (number[own] > 0).sum(axis=0)

    def estimate(self) -> Estimate:
        """Values of all arms in all contexts, costs subtracted."""
        spec = self.spec
        task = np.array(spec.task)
        weight = np.asarray(spec.task_weight, np.float64)[:, None, None] * float(spec.unit)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self._total / self._blocks
            spread = self._square - 2 * mean * self._cross + mean**2 * self._squares
            factor = np.where(self._pulls > 1, self._pulls / (self._pulls - 1), np.nan)
            spread = np.where(spread > _ROUNDING * self._square, spread, 0.0)
            se = np.sqrt(spread * factor) / self._blocks
        scales = np.arange(1, self._blocks.shape[1] + 1)
        cost = np.asarray(spec.cost, np.float64)[:, :, None] * scales
        return Estimate(mean[task] * weight - cost, se[task] * weight, self._pulls.astype(int))


def half_width(estimate: Estimate, context: int, prompt: int, scale: int, level: float, choices: int) -> float:
    """Half the width of an arm's interval (scales count from 1), infinite where nothing says how wide it is.

    That is below two pulls, and where all pulls agree.
    Student's t with pulls - 1 degrees of freedom, at a level that allows for having chosen among `choices` arms.
    """
    pulls = int(estimate.pulls[prompt, scale - 1])
    se = float(estimate.se[context, prompt, scale - 1])
    if pulls < 2 or se == 0:
        return float("inf")
    return float(stats.t.isf((1 - level) / (2 * choices), pulls - 1) * se)
