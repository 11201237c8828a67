"""Pulls to statistics to estimated values. A table of block sums per (task, prompt, scale) is all there is.

Estimates are means over all disjoint blocks (Mahmud et al., arXiv 2508.10030, section 4). Values are
rounded to 1/16 of the world's reward unit: no sum follows a product, so the same bits come out however
and wherever the estimate is compiled, and equal means tie exactly.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sim.core import Allocation, Spec, Stats

GRID = 2.0**-4
NEVER = -(2**31)
"""The estimate, in multiples of the grid, of an arm that was never pulled: below all others."""


class Table(NamedTuple):
    """Sums of task rewards over blocks, and numbers of blocks."""

    total: Float[Array, "task prompt scale"]
    blocks: Float[Array, "prompt scale"]


def empty(spec: Spec) -> Table:
    """A table before any pull."""
    return Table(
        jnp.zeros((spec.num_tasks, spec.num_prompts, spec.max_scale), jnp.float32),
        jnp.zeros((spec.num_prompts, spec.max_scale), jnp.float32),
    )


def add(table: Table, allocation: Allocation, stats: Stats) -> Table:
    """Add a round's statistics to the rows of the prompts it pulled."""
    width = stats.blocks.shape[-1]
    prompt = allocation.prompt
    return Table(
        table.total.at[:, prompt, :width].add(jnp.moveaxis(stats.total, 0, 1)),
        table.blocks.at[prompt, :width].add(stats.blocks),
    )


def value(spec: Spec, table: Table) -> Float[Array, "context prompt scale"]:
    """Estimated value of every arm in every context; -inf for an arm never pulled."""
    return _as_value(spec, steps(spec, table))


def prompt_value(spec: Spec, table: Table, prompt: Int[Array, ""]) -> Float[Array, "context scale"]:
    """`value` of one prompt's arms."""
    total, cost = table.total[:, prompt], spec.cost[:, prompt]
    return _as_value(spec, _steps(spec, total[:, None], table.blocks[prompt][None], cost[:, None])[:, 0])


def steps(spec: Spec, table: Table) -> Int[Array, "context prompt scale"]:
    """`value` in whole multiples of the grid; NEVER for an arm never pulled."""
    return _steps(spec, table.total, table.blocks, spec.cost)


def steps_at(spec: Spec, table: Table, arms: Int[Array, "context item"]) -> Int[Array, "context item"]:
    """`steps` of some arms of every context; arms are counted by prompt, then scale."""
    prompt, scale = arms // spec.max_scale, arms % spec.max_scale
    blocks = table.blocks[prompt, scale]
    mean = _mean(table.total[jnp.asarray(spec.task, jnp.int32)[:, None], prompt, scale], blocks)
    cost = jnp.take_along_axis(spec.cost, prompt, axis=1) * (scale + 1).astype(jnp.float32)
    return _net(spec, mean * spec.task_weight[:, None], cost, blocks > 0)


def _steps(
    spec: Spec,
    total: Float[Array, "task prompt scale"],
    blocks: Float[Array, "prompt scale"],
    costs: Float[Array, "context prompt"],
) -> Int[Array, "context prompt scale"]:
    mean = _mean(total, blocks[None])
    scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.float32)
    reward = mean[jnp.asarray(spec.task, jnp.int32)] * spec.task_weight[:, None, None]
    return _net(spec, reward, costs[:, :, None] * scales[None, None, :], (blocks > 0)[None])


def arm_value(
    spec: Spec, total: Float[Array, "context arm"], blocks: Float[Array, "context arm"]
) -> Float[Array, "context arm"]:
    """Estimated values where every context has its own data per arm; -inf for an arm never pulled."""
    scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.float32)
    cost = (spec.cost[:, :, None] * scales[None, None, :]).reshape(total.shape)
    return _as_value(spec, _net(spec, _mean(total, blocks) * spec.task_weight[:, None], cost, blocks > 0))


def _mean(total: Array, blocks: Array) -> Array:
    return total / jnp.where(blocks > 0, blocks, jnp.float32(1.0))


def _net(spec: Spec, reward: Array, cost: Array, pulled: Array) -> Array:
    """Reward less cost on the grid; NEVER where nothing was pulled."""
    return jnp.where(pulled, jnp.maximum(on_grid(spec, reward) - on_grid(spec, cost), NEVER + 1), NEVER)


def _as_value(spec: Spec, steps: Array) -> Array:
    return jnp.where(steps > NEVER, from_grid(spec, steps), -jnp.inf)


def on_grid(spec: Spec, values: Float[Array, "*shape"]) -> Array:
    """Utilities as whole multiples of the grid, int32 (saturating at 2**10 times the world's bound)."""
    return jnp.clip(jnp.round(values / (spec.unit * jnp.float32(GRID))), -(2.0**30), 2.0**30).astype(jnp.int32)


def from_grid(spec: Spec, steps: Array) -> Float[Array, "*shape"]:
    """Whole multiples of the grid as utilities."""
    return steps.astype(jnp.float32) * (spec.unit * jnp.float32(GRID))


def resolution(spec: Spec) -> np.ndarray:
    """Utility of one step of the grid that each context's estimates are rounded to, (context,); host numbers."""
    return np.full(spec.num_contexts, float(spec.unit) * GRID)
