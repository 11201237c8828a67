"""Pulls to statistics to estimated values. A table of block sums per (task, prompt, scale) is all there is.

Estimates are means over all disjoint blocks (Mahmud et al., arXiv 2508.10030, section 4). Values are
rounded to 1/16 of the world's reward unit: no sum follows a product, so the same bits come out however
and wherever the estimate is compiled, and equal means tie exactly.
"""

from typing import NamedTuple

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
    return _value(spec, table.total, table.blocks, spec.cost)


def prompt_value(spec: Spec, table: Table, prompt: Int[Array, ""]) -> Float[Array, "context scale"]:
    """`value` of one prompt's arms."""
    own = (table.total[:, prompt], table.blocks[prompt], spec.cost[:, prompt])
    return _value(spec, own[0][:, None], own[1][None], own[2][:, None])[:, 0]


def _value(
    spec: Spec,
    total: Float[Array, "task prompt scale"],
    blocks: Float[Array, "prompt scale"],
    costs: Float[Array, "context prompt"],
) -> Float[Array, "context prompt scale"]:
    pulled = (blocks > 0)[None]
    mean = total / jnp.where(pulled, blocks[None], jnp.float32(1.0))
    scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.float32)
    reward = on_grid(spec, mean[jnp.asarray(spec.task, jnp.int32)] * spec.task_weight[:, None, None])
    cost = on_grid(spec, costs[:, :, None] * scales[None, None, :])
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
