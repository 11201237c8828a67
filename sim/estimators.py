"""Pulls to statistics to estimated values. A table of block sums per (task, prompt, scale) is all there is.

Estimates are means over all disjoint blocks (Mahmud et al., arXiv 2508.10030, section 4). Values are
rounded to 1/16 of the world's reward unit: no sum follows a product, so the same bits come out however
and wherever the estimate is compiled, and equal means tie exactly.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sim.core import Allocation, Spec, Stats

GRID = 2.0**-4


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
    contexts = jnp.arange(spec.num_contexts, dtype=jnp.int32)
    return jax.vmap(lambda context: context_value(spec, table, context))(contexts)


def context_value(spec: Spec, table: Table, context: Int[Array, ""]) -> Float[Array, "prompt scale"]:
    """Estimated value of every arm in one context; -inf for an arm never pulled."""
    pulled = table.blocks > 0
    mean = table.total[jnp.asarray(spec.task, jnp.int32)[context]] / jnp.where(pulled, table.blocks, jnp.float32(1.0))
    scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.float32)
    reward = on_grid(spec, mean * spec.task_weight[context])
    cost = on_grid(spec, spec.cost[context][:, None] * scales[None, :])
    return jnp.where(pulled, from_grid(spec, reward - cost), -jnp.inf)


def arm_value(
    spec: Spec, total: Float[Array, "context arm"], blocks: Float[Array, "context arm"]
) -> Float[Array, "context arm"]:
    """Estimated values where every context has its own data per arm; -inf for an arm never pulled."""
    mean = total / jnp.where(blocks > 0, blocks, jnp.float32(1.0))
    scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.float32)
    reward = on_grid(spec, mean * spec.task_weight[:, None])
    cost = on_grid(spec, spec.cost[:, :, None] * scales[None, None, :]).reshape(reward.shape)
    return jnp.where(blocks > 0, from_grid(spec, reward - cost), -jnp.inf)


def on_grid(spec: Spec, values: Float[Array, "*shape"]) -> Array:
    """Utilities as whole multiples of the grid, int32 (saturating at 2**14 times the world's bound)."""
    return jnp.clip(jnp.round(values / (spec.unit * jnp.float32(GRID))), -(2.0**30), 2.0**30).astype(jnp.int32)


def from_grid(spec: Spec, steps: Array) -> Float[Array, "*shape"]:
    """Whole multiples of the grid as utilities."""
    return steps.astype(jnp.float32) * (spec.unit * jnp.float32(GRID))
