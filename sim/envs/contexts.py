"""Contexts to what a world carries: the learner's `Spec` and the `Strategy`, from weights and costs."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sim.core import Spec
from sim.utilities import Strategy, reward_unit, tasks_of


def describe(
    aggregate: tuple[str, ...],
    objective_weights: np.ndarray,
    cost_weights: np.ndarray,
    costs: Float[Array, " prompt"],
    max_scale: int,
    largest: np.ndarray,
    num_answers: int = 1,
    tie: str = "uniform",
) -> tuple[Spec, Strategy]:
    """What learners may know, and how completions become rewards. Jittable in `costs`.

    Args:
        aggregate: "mv", "bon" or "mean" for each of the K objectives.
        objective_weights: shape (context, objective); host numbers, for they decide which contexts share a task.
        cost_weights: utility of one unit of cost per context, shape (context,).
        costs: cost of one completion of each prompt.
        max_scale: largest inference scale Nmax.
        largest: largest absolute value of each objective (1 for a vote), shape (objective,).
        num_answers: number of answer labels; 1 where nothing is voted on.
        tie: majority-vote credit of a tied right answer: "uniform" (1/t) or "half" (0.5).
    """
    tasks = tasks_of(objective_weights)
    unit = jnp.float32(reward_unit(float((np.abs(tasks.directions) @ largest).max())))
    spec = Spec(
        num_contexts=len(cost_weights),
        num_prompts=costs.shape[0],
        max_scale=max_scale,
        task=tasks.index,
        task_weight=jnp.asarray(tasks.factor, jnp.float32),
        cost=jnp.asarray(cost_weights, jnp.float32)[:, None] * costs[None, :],
        unit=unit,
    )
    strategy = Strategy(
        aggregate=aggregate,
        num_answers=num_answers,
        tie=tie,
        weights=jnp.asarray(tasks.directions, jnp.float32),
        unit=unit,
    )
    return spec, strategy
