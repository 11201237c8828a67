"""Pulls to statistics to estimated values. A table of block sums per (task, prompt, scale) is all there is.

Estimates are means over all disjoint blocks (Mahmud et al., arXiv 2508.10030, section 4). They are rounded
to the context's grid (`Spec.grid`): no sum follows a product, so the same bits come out however and wherever
the estimate is compiled, and equal means tie exactly. What all arms of a context have in common is left out.

    >>> import jax.numpy as jnp
    >>> from sim import Allocation, Stats, envs, estimators
    >>> spec = envs.get("two-arm").data.environment().spec
    >>> came_back = Stats(jnp.float32([[[3.0]]]), jnp.float32([[4.0]]))  # four pulls of prompt 1, rewards of 3 in all
    >>> pulled = Allocation(jnp.int32([1]), jnp.int32([1]), jnp.int32([4]))
    >>> table = estimators.add(estimators.empty(spec), pulled, came_back)
    >>> float(estimators.value(spec, table)[0, 1, 0])
    0.75
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sim.core import Allocation, Spec, Standing, Stats

LARGEST = 2.0**29
"""Steps of the grid at which utilities saturate: an arm whose known cost is so large beside all rewards is hopeless."""
NEVER = -(2**31)
"""The estimate, in multiples of the grid, of an arm that was never pulled: below all others."""


class BlockSums(NamedTuple):
    """Sums of task rewards over blocks, and numbers of blocks."""

    total: Float[Array, "task prompt scale"]
    blocks: Float[Array, "prompt scale"]


def empty(spec: Spec) -> BlockSums:
    """A table before any pull."""
    return BlockSums(
        jnp.zeros((spec.num_tasks, spec.num_prompts, spec.max_scale), jnp.float32),
        jnp.zeros((spec.num_prompts, spec.max_scale), jnp.float32),
    )


def add(table: BlockSums, allocation: Allocation, stats: Stats) -> BlockSums:
    """Add a round's statistics to the rows of the prompts it pulled."""
    width = stats.blocks.shape[-1]
    prompt = allocation.prompt
    return BlockSums(
        table.total.at[:, prompt, :width].add(jnp.moveaxis(stats.total, 0, 1)),
        table.blocks.at[prompt, :width].add(stats.blocks),
    )


def value(spec: Spec, table: BlockSums) -> Float[Array, "context prompt scale"]:
    """Estimated value of every arm in every context, `left_out` aside; -inf for an arm never pulled."""
    return _as_value(spec, steps(spec, table))


def prompt_value(spec: Spec, table: BlockSums, prompt: Int[Array, ""]) -> Float[Array, "context scale"]:
    """`value` of one prompt's arms."""
    total, cost = table.total[:, prompt], _costs(spec, spec.cost[:, prompt, None], spec.excess[:, prompt, None])
    return _as_value(spec, _steps(spec, total[:, None], table.blocks[prompt][None], cost[:, None])[:, 0])


def value_at_one(spec: Spec, table: BlockSums) -> Float[Array, "context prompt"]:
    """`value` of single completions."""
    return value(dataclasses.replace(spec, max_scale=1), BlockSums(*(sums[..., :1] for sums in table)))[:, :, 0]


def steps(spec: Spec, table: BlockSums) -> Int[Array, "context prompt scale"]:
    """`value` in whole multiples of the grid; NEVER for an arm never pulled."""
    costs = _costs(spec, spec.cost[:, :, None], spec.excess[:, :, None])
    return _steps(spec, table.total, table.blocks, costs)


def steps_at(spec: Spec, table: BlockSums, arms: Int[Array, "context item"]) -> Int[Array, "context item"]:
    """`steps` of some arms of every context; arms are counted by prompt, then scale."""
    prompt, scale = arms // spec.max_scale, arms % spec.max_scale
    blocks = table.blocks[prompt, scale]
    mean = _mean(table.total[jnp.asarray(spec.task, jnp.int32)[:, None], prompt, scale], blocks)
    own, excess = (jnp.take_along_axis(part, prompt, axis=1) for part in (spec.cost, spec.excess))
    cost = _cost(spec, own, excess, (scale + 1).astype(jnp.float32))
    return _net(spec, mean * spec.task_weight[:, None], cost, blocks > 0)


def _steps(
    spec: Spec,
    total: Float[Array, "task prompt scale"],
    blocks: Float[Array, "prompt scale"],
    costs: Int[Array, "context prompt scale"],
) -> Int[Array, "context prompt scale"]:
    mean = _mean(total, blocks[None])
    reward = mean[jnp.asarray(spec.task, jnp.int32)] * spec.task_weight[:, None, None]
    return _net(spec, reward, costs, (blocks > 0)[None])


def value_of(
    spec: Spec, reward: Float[Array, "task prompt scale"], pulled: Bool[Array, " prompt"]
) -> Float[Array, "context prompt scale"]:
    """`value` where rewards were estimated elsewhere; -inf for a prompt not pulled."""
    costs = _costs(spec, spec.cost[:, :, None], spec.excess[:, :, None])
    own = reward[jnp.asarray(spec.task, jnp.int32)] * spec.task_weight[:, None, None]
    return _as_value(spec, _net(spec, own, costs, pulled[None, :, None]))


def arm_value(
    spec: Spec, total: Float[Array, "context arm"], blocks: Float[Array, "context arm"]
) -> Float[Array, "context arm"]:
    """Estimated values where every context has its own data per arm; -inf for an arm never pulled."""
    cost = _costs(spec, spec.cost[:, :, None], spec.excess[:, :, None]).reshape(total.shape)
    return _as_value(spec, _net(spec, _mean(total, blocks) * spec.task_weight[:, None], cost, blocks > 0))


def standing(spec: Spec, table: BlockSums, active: Bool[Array, "context item"] | None) -> Standing:
    """Standing of a rule that estimates from a table; `active` as in `core.Standing`."""
    shape = (spec.num_contexts, spec.num_arms)
    return Standing(active, value(spec, table).reshape(shape), jnp.broadcast_to(table.blocks.reshape(1, -1), shape))


def left_out(spec: Spec) -> Float[Array, " context"]:
    """Utility that `value` leaves out of every arm of a context."""
    return spec.offset[0] - spec.spared * jnp.min(spec.cost, axis=1)


def _mean(total: Array, blocks: Array) -> Array:
    return total / jnp.where(blocks > 0, blocks, jnp.float32(1.0))


def _costs(spec: Spec, cost: Float[Array, "*arm 1"], excess: Float[Array, "*arm 1"]) -> Int[Array, "*arm scale"]:
    """`_cost` at every scale."""
    scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.float32)
    return _cost(spec, cost, excess, scales.reshape((1,) * (cost.ndim - 1) + (-1,)))


def _cost(spec: Spec, cost: Array, excess: Array, scale: Array) -> Array:
    """Costs on the grid; where the cheapest first completion is spared, of what comes on top of it."""
    grid, spared = (_by_context(part, cost) for part in (spec.grid, spec.spared))
    return on_grid(grid, cost * (scale - spared)) + on_grid(grid, excess)


def _net(spec: Spec, reward: Array, cost: Array, pulled: Array) -> Array:
    """Reward less cost on the grid; NEVER where nothing was pulled."""
    return jnp.where(pulled, on_grid(_by_context(spec.grid, reward), reward) - cost, NEVER)


def _as_value(spec: Spec, steps: Array) -> Array:
    return jnp.where(steps > NEVER, steps.astype(jnp.float32) * _by_context(spec.grid, steps), -jnp.inf)


def _by_context(numbers: Float[Array, " context"], like: Array) -> Array:
    """A number for each context, along the first axis of an array."""
    return numbers.reshape(-1, *(1,) * (like.ndim - 1))


def on_grid(grid: Float[Array, "*#shape"], values: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Utilities as whole multiples of a grid, int32, saturating at `LARGEST`."""
    steps = jnp.round(values * (jnp.float32(1) / grid))  # exact, as `values / grid`: grids are powers of two
    return jnp.clip(steps, -LARGEST, LARGEST).astype(jnp.int32)
