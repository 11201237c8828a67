"""Contexts to what a world carries: the learner's `Spec` and the `Strategy`, from weights, costs and possible outcomes.

Trials run in float32 and on whole numbers, so that every number needs a unit. Units follow from the outcomes that can
occur and from costs, never from their probabilities or from values, and are powers of two:

* An objective whose outcomes lie far from zero for their spread is moved, one of extreme size is scaled (`columns`).
* A task's reward is rounded to 2**-16 of its own bound.
* A context's estimates are rounded to 2**-20 of the bound of its own rewards. Costs that no prompt can escape are left
  out where they are large beside that bound: completions beyond the first then cost more than rewards can bring.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sim.core import Spec
from sim.raw import Rewards
from sim.utilities import Strategy, power_above, reward_unit, tasks_of

STEPS = 2.0**20
"""Steps of a context's estimates in the bound of its rewards."""
FAR = 8.0
"""Outcomes, and costs, that are more than so many times as large as what they vary by are measured from elsewhere."""
LEAST_GRID = 2.0**-120
"""Smallest step: float32 ends at 2**-126."""
_WIDE, _EXTREME = 16, 40
"""Powers of two between the spreads of objectives, or from 1, beyond which objectives are scaled."""


class Scaling(NamedTuple):
    """Scaling of measured outcomes: (value - shift) / scale; scale 0 for an objective that never varies."""

    shift: np.ndarray
    scale: np.ndarray


class Outcomes(NamedTuple):
    """Possible outcomes of a completion, and how those of several become one reward.

    Attributes:
        aggregate: "mv", "bon" or "mean" for each of the K objectives; a vote's outcomes are labels.
        low: smallest possible outcome of each objective, shape (objective,), float64; of a vote, its smallest credit.
        high: largest possible outcome.
    """

    aggregate: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray


def columns(outcomes: Outcomes) -> Scaling:
    """Origin and unit, a power of two, in which every objective is measured; labels of votes stay as they are."""
    aggregate, low, high = outcomes
    spread, size = high - low, np.maximum(np.abs(low), np.abs(high))
    vote, varies = np.array([how == "mv" for how in aggregate]), spread > 0
    shift = np.where(~varies | (~vote & (size > FAR * spread)), low, 0.0)
    exponent = np.frexp(np.where(vote | ~varies, 1.0, spread))[1]
    own = exponent[varies]
    scale = np.ones(len(aggregate))
    if own.size and np.ptp(own) > _WIDE:
        scale = np.ldexp(1.0, np.where(vote, 0, exponent))
    elif own.size and np.abs(own).max() > _EXTREME:
        scale = np.full(len(aggregate), np.ldexp(1.0, own.max()))
    return Scaling(shift, np.where(varies, scale, 0.0))


def describe(
    outcomes: Outcomes,
    objective_weights: np.ndarray,
    cost_weights: np.ndarray,
    costs: np.ndarray | Float[Array, " prompt"],
    max_scale: int,
    *,
    num_answers: int = 1,
    tie: str = "uniform",
    movable: bool = True,
) -> tuple[Spec, Strategy]:
    """Describe a world to learners, and how completions become rewards. Jittable in `costs`.

    Args:
        outcomes: what completions are measured as, by objective.
        objective_weights: shape (context, objective); host numbers, for they decide which contexts share a task.
        cost_weights: utility of one unit of cost per context, shape (context,).
        costs: cost of one completion of each prompt, in float64 where they are host numbers.
        max_scale: largest inference scale Nmax.
        num_answers: number of answer labels; 1 where nothing is voted on.
        tie: majority-vote credit of a tied right answer: "uniform" (1/t) or "half" (0.5).
        movable: whether outcomes are handed over by `Strategy.measured`; else they are taken as they are.
    """
    aggregate, low, high = outcomes
    size = len(aggregate)
    how = columns(outcomes) if movable else Scaling(np.zeros(size), np.ones(size))
    weights = np.asarray(objective_weights, np.float64)
    tasks = tasks_of(weights * how.scale)
    per_scale = np.where(how.scale > 0, how.scale, np.inf)
    vote = np.array([one == "mv" for one in aggregate])
    ends = [np.where(vote, end, end - how.shift) / per_scale for end in (low, high)]
    bound = np.abs(tasks.directions) @ np.maximum(*map(np.abs, ends))
    unit = _placed([reward_unit(one) for one in bound])
    extent = tasks.factor * bound[list(tasks.index)]
    grid, spared, excess = _grid(extent, cost_weights, costs)
    offset = weights @ how.shift
    near = offset.astype(np.float32)
    spec = Spec(
        num_contexts=len(cost_weights),
        num_prompts=len(costs),
        max_scale=max_scale,
        task=tasks.index,
        task_weight=_placed(tasks.factor),
        cost=_cost(cost_weights, costs),
        unit=unit,
        grid=_placed(grid),
        offset=_placed(np.stack([near, (offset - near).astype(np.float32)])),
        spared=_placed(spared),
        excess=_placed(excess),
        rewards=Rewards(aggregate, num_answers, tie, _placed(tasks.directions @ vote)),
    )
    strategy = Strategy(
        aggregate=aggregate,
        num_answers=num_answers,
        tie=tie,
        weights=_placed(tasks.directions),
        unit=unit,
        shift=tuple(how.shift.tolist()) if how.shift.any() or (how.scale != 1).any() else (),
        scale=tuple(how.scale.tolist()) if how.shift.any() or (how.scale != 1).any() else (),
    )
    return spec, strategy


def _placed(values: Any) -> Float[Array, "..."]:
    """Numbers as float32 on the device: those of the host are rounded there, which compiles nothing."""
    if isinstance(values, Array):
        return values.astype(jnp.float32)
    return jax.device_put(np.asarray(values, np.float32))


def _cost(weights: np.ndarray, costs: np.ndarray | Float[Array, " prompt"]) -> Float[Array, "context prompt"]:
    """Utility that one completion of a prompt costs in a context; equal however it is computed."""
    if isinstance(costs, Array):
        return jnp.asarray(weights, jnp.float32)[:, None] * costs.astype(jnp.float32)[None, :]
    return _placed(_normal(_normal(weights)[:, None] * _normal(costs)[None, :]))


def _normal(values: np.ndarray) -> np.ndarray:
    """Float32 as compiled code has it, which takes subnormal numbers for 0."""
    near = np.asarray(values, np.float32)
    return np.where(np.abs(near) < np.finfo(np.float32).tiny, np.float32(0.0) * near, near)


def _grid(
    extent: np.ndarray, cost_weights: np.ndarray, costs: np.ndarray | Array
) -> tuple[np.ndarray, np.ndarray | Array, np.ndarray | Array]:
    """Step of every context's estimates, where the cheapest first completion is left out, and what is left of costs.

    Args:
        extent: bound of the rewards of each context.
        cost_weights: utility of one unit of cost per context.
        costs: cost of one completion of each prompt.
    """
    weights, limit = np.asarray(cost_weights, np.float64), FAR * extent
    if not isinstance(costs, np.ndarray):
        weights, limit = jnp.asarray(weights, jnp.float32), jnp.asarray(limit, jnp.float32)
    cheapest = costs.min()
    spared = weights * cheapest > limit
    above = weights[:, None] * (costs - cheapest)[None, :]
    excess = above * spared[:, None].astype(above.dtype)
    if isinstance(costs, np.ndarray):  # known on the host: where nothing is random, costs are all that differs
        differ, all_ = above.max(axis=1), cost_weights * costs.max()
        costs_alone = np.where(differ > 0, differ, np.where(all_ > 0, all_, 1.0))
        extent = np.where(extent > 0, extent, costs_alone)
    step = np.array([power_above(one) for one in np.where(extent > 0, extent, 1.0)]) / STEPS
    return np.maximum(step, LEAST_GRID), spared, excess


def resolution(spec: Spec, strategy: Strategy) -> np.ndarray:
    """Difference in value below which rounding may decide between two arms, per context, float64.

    A step of the grid, and a unit of the task's rewards where these are not whole units already.
    """
    grid = np.asarray(spec.grid, np.float64)
    exact = set(strategy.aggregate) == {"mv"} and (strategy.num_answers <= 2 or strategy.tie == "half")
    unit = np.asarray(spec.unit, np.float64)[list(spec.task)] * np.asarray(spec.task_weight, np.float64)
    return grid if exact else grid + unit * np.asarray(np.abs(strategy.weights).sum(axis=1) > 0)[list(spec.task)]
