"""Estimates from several random orders of a pull's completions: no table, for any number of answers and any scale.

An incomplete U-statistic (Blom, Biometrika 63, 1976; Lee, U-Statistics, 1990, chapter 4): the completions are shuffled
several times, every order is cut into disjoint blocks of every scale, and all blocks of a scale are averaged.

* "subsets": a block is a uniformly random subset, so that the mean given the completions is the complete U-statistic U,
  and the estimate is as unbiased as that. Orders are independent given the completions: R of them have the variance
  Var U + (Var B - Var U) / R, where B is the mean over the blocks of one order.
* "plug-in": `max_scale` completions are redrawn with replacement instead; the mean given the completions is the value
  of the pull's empirical law.

Orders are functions of the pull's key. Sums are of whole numbers and rounded once, to half a unit.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from sim.kernels import blocks, counter
from sim.utilities import Strategy

ORDERS = 8
"""Orders where nobody says how many. Of what all subsets would take off the variance of blocks, 7/8 is taken off; half
of the rest would cost as much again."""
_STREAM = 0x04DE45
"""Second word that a pull's key is folded with for an order, after the order's number."""


def pull_units(
    strategy: Strategy,
    outcomes: Array,
    scales: Int[Array, " row"],
    keys: UInt32[Array, "row 2"],
    num_orders: int,
    redraws: int = 0,
) -> Int[Array, "row task num_scales"]:
    """Mean task reward of the blocks of every scale in integer units, or sums that count as floor(n / k) blocks.

    Args:
        strategy: how completions become rewards.
        outcomes: shape (width, objective, row); int or float.
        scales: completions in each pull; later rows of `outcomes` are padding.
        keys: key of every pull.
        num_orders: random orders, at most `designs.MAX_ORDERS`.
        redraws: completions to draw with replacement in every order; 0: all are shuffled instead.

    Returns:
        Means for as many scales as `redraws`, or sums for scales up to the width.
    """
    length = redraws or outcomes.shape[0]
    sizes = jnp.where(scales > 0, length, 0) if redraws else scales

    def one_more(order: Int[Array, ""], total: Array) -> Array:
        own = counter.threefry(keys[:, 0], keys[:, 1], order.astype(jnp.uint32), jnp.uint32(_STREAM))
        words = counter.bits_rows(jnp.stack(own, axis=1), length)
        place = counter.integer(words, jnp.maximum(scales, 1)[None]) if redraws else _shuffled(words, scales)
        return total + blocks.block_units(strategy, jnp.take_along_axis(outcomes, place[:, None], axis=0), sizes)

    nothing = jnp.zeros((scales.shape[0], strategy.weights.shape[0], length), jnp.int32)
    total = jax.lax.fori_loop(0, num_orders, one_more, nothing)
    each = np.arange(1, length + 1, dtype=np.int32)
    number = num_orders * (length // each if redraws else np.ones_like(each))[None, None]
    return (total + number // 2) // number


def _shuffled(words: UInt32[Array, "width row"], scales: Int[Array, " row"]) -> Int[Array, "width row"]:
    """A random order of the first `scales` places of every column, then the others."""
    width = words.shape[0]
    bits = max(1, (width - 1).bit_length())
    place = jnp.arange(width, dtype=jnp.uint32)[:, None]
    inside = place < scales[None].astype(jnp.uint32)
    packed = jnp.where(inside, (words >> (bits + 1)) << bits, jnp.uint32(0x80000000)) | place
    return (jax.lax.sort(packed, dimension=0) & jnp.uint32((1 << bits) - 1)).astype(jnp.int32)
