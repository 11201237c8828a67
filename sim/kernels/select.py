"""The m best of a masked list, ties by a word, without sorting: bisection on the bits of the score.

Sorting costs 40 ns an element on CPU; 32 vectorised counts of a comparison cost a fraction of that.
`plain` is the same answer by sorting, the test oracle.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32


def best(
    score: Float[Array, " item"], tiebreak: UInt32[Array, " item"], mask: Bool[Array, " item"], num_kept: Int[Array, ""]
) -> Bool[Array, " item"]:
    """Mask of the `num_kept` best items inside `mask`: higher score first, then higher tiebreak.

    Args:
        score: no NaN; -inf is allowed and ranks last.
        tiebreak: distinct words; see `distinct`.
        mask: items that take part; at least `num_kept` of them.
        num_kept: how many to keep.
    """
    rank = sortable(score)
    cut = _kth_largest(rank, mask, num_kept)
    above = mask & (rank > cut)
    tied = mask & (rank == cut)
    left = num_kept - _count(above)
    return above | (tied & (tiebreak >= _kth_largest(tiebreak, tied, left)) & (left > 0))


def plain(
    score: Float[Array, " item"], tiebreak: UInt32[Array, " item"], mask: Bool[Array, " item"], num_kept: Int[Array, ""]
) -> Bool[Array, " item"]:
    """`best`, by sorting."""
    order = jnp.lexsort((~tiebreak, ~sortable(score), ~mask))
    place = jnp.zeros(score.shape, jnp.int32).at[order].set(jnp.arange(score.shape[0], dtype=jnp.int32))
    return mask & (place < num_kept)


def sortable(score: Float[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Words that order as the scores do (0.0 and -0.0 alike)."""
    word = jax.lax.bitcast_convert_type(jnp.where(score == 0, jnp.float32(0.0), score), jnp.uint32)
    negative = (word >> 31).astype(bool)
    return jnp.where(negative, ~word, word | jnp.uint32(0x80000000))


def distinct(words: UInt32[Array, " item"]) -> UInt32[Array, " item"]:
    """Make random words distinct by writing the item's index into the low bits."""
    size = words.shape[0]
    index_bits = max(1, (size - 1).bit_length())
    return ((words >> index_bits) << index_bits) | jnp.arange(size, dtype=jnp.uint32)


def _count(mask: Bool[Array, " item"]) -> Int[Array, ""]:
    """Size of a mask. As a product with ones: on CPU that is vectorised where a reduction is not."""
    ones = jnp.ones(mask.shape, jnp.float32)
    return jnp.dot(mask.astype(jnp.float32), ones, precision=jax.lax.Precision.HIGHEST).astype(jnp.int32)


def _kth_largest(rank: UInt32[Array, " item"], mask: Bool[Array, " item"], k: Int[Array, ""]) -> UInt32[Array, ""]:
    """The largest word w such that at least k masked items are >= w, or one with exactly k such items."""
    inside = jnp.where(mask, rank, jnp.uint32(0))  # below every trial word, hence never counted

    def unresolved(carry: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        bit, _, size = carry
        return (bit > 0) & (size != k)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        bit, word, size = carry
        trial = word | bit
        reached = _count(inside >= trial)
        enough = reached >= k
        return bit >> 1, jnp.where(enough, trial, word), jnp.where(enough, reached, size)

    start = (jnp.uint32(0x80000000), jnp.uint32(0), _count(mask))
    return jax.lax.while_loop(unresolved, step, start)[1]
