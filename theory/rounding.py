"""Rounding error of the simulator's estimates, allowed for by bounds that are held against simulated runs.

The simulator compares rounded numbers: a block's reward is rounded to a whole number of units, a mean and a cost to
the grid of the context (`sim.estimators`), all in float32. A rival can then win where exact arithmetic has it lose, but
only by so little. With w the most by which the difference of two estimates can be off, a rival that beats the leader in
the simulator falls short of it by at most w in exact arithmetic: bounds on that event hold for both rules.
"""

from typing import NamedTuple

import numpy as np

from sim.envs.dataset import Dataset
from theory.blocks.law import Law, law_of_world
from theory.reward_laws import IMPOSSIBLE

_FLOAT32 = 2.0**-20
"""Relative error of a mean or a cost in float32: sixteen roundings of 2**-24, of sums, factors and quotients."""
_WEIGHT = 2.0**-20
"""Relative error of the best of k from all subsets, weighted by 22 bits and in two parts (`sim.kernels.subsets`)."""
_FAR = 4.0
"""An arm that costs more than the cheapest by so many times the largest reward is beaten by that, rounded or not."""


class Blur(NamedTuple):
    """Rounding error of the difference of two estimates when they are compared.

    Attributes:
        width: in utility; 0 for estimates in exact arithmetic.
        keeps_ties: whether equal means less equal costs stay equal.
    """

    width: float = 0.0
    keeps_ties: bool = True


SHARP = Blur()


def rounding(data: Dataset, estimator: str = "blocks") -> tuple[Blur, ...]:
    """Rounding error of differences of simulated estimates in each context, and whether equal means stay equal.

    Args:
        data: a finite environment.
        estimator: "blocks" for means over blocks, "subsets" for means over all subsets: these are no whole units, where
            a pull has more than one completion, and each is rounded to one.

    Raises:
        ValueError: for another estimator.
    """
    if estimator not in ("blocks", "subsets"):
        raise ValueError(f"estimator is {estimator!r}; rounding is known of blocks and subsets")
    world = data.environment()
    law, spec = law_of_world(world), world.known
    units = np.broadcast_to(np.asarray(spec.unit, np.float64), (spec.num_tasks,))
    tasks = [_reward_error(law, task, unit) for task, unit in enumerate(units)]
    if estimator == "subsets" and spec.max_scale > 1:
        each = [unit * (0.5 + 2.0**-6) * len(law.used) for unit in units]
        tasks = [(error + own + _WEIGHT * size, size) for (error, size), own in zip(tasks, each, strict=True)]
    grid, factor = np.asarray(spec.grid, np.float64), np.asarray(spec.task_weight, np.float64)
    spared, excess = np.asarray(spec.spared, np.float64), np.asarray(spec.excess, np.float64)
    beyond = np.arange(1, spec.max_scale + 1) - spared[:, None, None]
    costs = np.asarray(spec.cost, np.float64)[:, :, None] * beyond + excess[:, :, None]
    found = []
    for c, task in enumerate(spec.task):
        error, size = tasks[task]
        cost = costs[c][costs[c] <= costs[c].min() + _FAR * factor[c] * size].max()
        one = factor[c] * (error + _FLOAT32 * size) + _FLOAT32 * cost + 1.5 * grid[c]  # half a step: mean, cost, excess
        found.append(Blur(float(2 * one), error == 0))
    return tuple(found)


def _reward_error(law: Law, task: int, unit: float) -> tuple[float, float]:
    """Largest error of the reward of one block, 0 where all rewards are whole units, and the largest reward."""
    error, size = 0.0, 0.0
    for how in law.used:
        if how == "mv":
            most = min(law.probs.shape[-1], law.max_scale) if law.tie == "uniform" else min(2, law.max_scale)
            rewards = [law.weights[task, law.columns(how)[0]] / np.arange(1, most + 1)]
        else:
            assert law.values is not None
            possible = (law.probs > IMPOSSIBLE).any(axis=(0, 1)) if law.values.ndim == 2 else law.probs > IMPOSSIBLE
            rewards = [law.weights[task, k] * law.values[..., k][possible] for k in law.columns(how)]
        for reward in rewards:
            steps = reward / unit
            off = float(np.abs(steps - np.rint(steps)).max())
            error += unit * min(0.5, off + 2.0**-6) if off > 0 else 0.0  # which way is decided in float32
            size += float(np.abs(reward).max())
        if how == "mean" and law.max_scale > 1:
            error += unit / 2 * len(law.columns(how))  # each objective's mean is rounded by itself
    return error, size
