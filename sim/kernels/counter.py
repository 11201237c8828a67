"""Counter-based random words: threefry-2x32 (Salmon et al., SC 2011) written out in jnp.

A word is a pure function of (key, counter). Results therefore cannot depend on chunk size, on the
number of devices or on what else runs. `jax.random.bits` gives the same generator at ten times the
cost per word on CPU; `tests/kernels/test_kernels.py` holds this one against it.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim.core import Key

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
STREAM = 0xB175
"""Second counter word of `bits`: keeps its words apart from the keys that `fold` derives."""


@jax.jit
def threefry(key0: Array, key1: Array, count0: Array, count1: Array) -> tuple[Array, Array]:
    """Twenty rounds of threefry-2x32. All arguments broadcast; uint32 in, two uint32 words out.

    Jitted, so that it is traced once for all of the same shapes; the compiler puts it in line.
    """
    keys = (key0, key1, key0 ^ key1 ^ jnp.uint32(_PARITY))
    x0, x1 = count0 + keys[0], count1 + keys[1]
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = (x1 << rotation) | (x1 >> (32 - rotation))
            x1 = x0 ^ x1
        x0 = x0 + keys[(i + 1) % 3]
        x1 = x1 + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return x0, x1


def fold(key: Key, *data: int | Int[Array, ""]) -> Key:
    """A new key from a key and one or two integers, each below 2**32."""
    first, second = (*data, 0)[:2]
    return jnp.stack(threefry(key[0], key[1], _word(first), _word(second)))


def folds(key: Key, first: int | tuple[int, ...] | Int[Array, ""], second: int | tuple[int, ...] = 0) -> list[Key]:
    """`fold(key, first, second)` for every number of a tuple, in one piece: compiles faster than one by one."""
    words = threefry(key[0], key[1], _word(first), _word(second))
    return list(jnp.stack(words, axis=1))


def bits(key: Key, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Independent 32-bit words; the first words do not depend on how many are asked for."""
    size = math.prod(shape)
    counters = jnp.arange((size + 1) // 2, dtype=jnp.uint32)
    pairs = threefry(key[0], key[1], counters, jnp.uint32(STREAM))
    return jnp.stack(pairs, axis=1).reshape(-1)[:size].reshape(shape)


def bits_rows(keys: UInt32[Array, "row 2"], size: int) -> UInt32[Array, "size row"]:
    """`bits(key, (size,))` for every row's key, rows last."""
    return jnp.stack(pairs_rows(keys, size), axis=1).reshape(-1, keys.shape[0])[:size]


def pairs_rows(keys: UInt32[Array, "row 2"], size: int) -> tuple[UInt32[Array, "half row"], UInt32[Array, "half row"]]:
    """Words 0, 2, .. and words 1, 3, .. of `bits_rows`, of which an odd size needs one less."""
    counters = jnp.arange((size + 1) // 2, dtype=jnp.uint32)[:, None]
    return threefry(keys[None, :, 0], keys[None, :, 1], counters, jnp.uint32(STREAM))


def uniform(key: Key, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Uniform numbers strictly inside (0, 1)."""
    return to_uniform(bits(key, shape))


def to_uniform(words: UInt32[Array, "..."]) -> Float[Array, "..."]:
    """Words to numbers strictly inside (0, 1): the middle of one of 2**23 cells."""
    return (words >> 9).astype(jnp.float32) * jnp.float32(2.0**-23) + jnp.float32(2.0**-24)


def integer(word: UInt32[Array, "*shape"], bound: int | Array) -> Int[Array, "*shape"]:
    """A word to an integer in [0, bound), bound < 2**31: the high half of the 64-bit product."""
    bound = jnp.asarray(bound).astype(jnp.uint32)
    low_mask = jnp.uint32(0xFFFF)
    high_low = (word >> 16) * (bound & low_mask)
    low_high = (word & low_mask) * (bound >> 16)
    low_low = (word & low_mask) * (bound & low_mask)
    middle = (high_low & low_mask) + (low_high & low_mask) + (low_low >> 16)
    product = (word >> 16) * (bound >> 16) + (high_low >> 16) + (low_high >> 16) + (middle >> 16)
    return product.astype(jnp.int32)


def chance(word: UInt32[Array, "*shape"], probability: float | Array) -> Bool[Array, "*shape"]:
    """Whether an event of this probability (to 2**-23) happens."""
    return to_uniform(word) < probability


def permutation(key: Key, size: int) -> Int[Array, " size"]:
    """A random order of 0..size-1, by sorting random words with the index packed below."""
    index_bits = max(1, (size - 1).bit_length())
    words = (bits(key, (size,)) >> index_bits) << index_bits
    packed = jax.lax.sort(words | jnp.arange(size, dtype=jnp.uint32))
    return (packed & jnp.uint32((1 << index_bits) - 1)).astype(jnp.int32)


def from_seed(seed: int) -> Key:
    """The root key of a run: the key words of `jax.random.key(seed)`."""
    return jnp.array([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], jnp.uint32)


def _word(value: int | tuple[int, ...] | Array) -> Array:
    return jnp.asarray(value).astype(jnp.uint32)
