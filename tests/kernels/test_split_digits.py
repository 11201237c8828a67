"""Numbers of few binary digits and in two parts against whole numbers of Python."""

import jax.numpy as jnp
import numpy as np

from sim.kernels import digits


def test_products_of_short_numbers_are_exact() -> None:
    """In float32 as in float64, on the host and in jit alike. Seen to fail with 13 digits."""
    numbers = np.random.default_rng(1).normal(size=500).astype(np.float32)
    short = digits.short(numbers)
    np.testing.assert_array_equal(digits.shortened(jnp.asarray(numbers)), short)
    assert np.all(np.abs(short - numbers) <= 2.0**-digits.DIGITS * np.abs(numbers))
    assert short.dtype == np.float32
    exact = short.astype(np.float64)
    np.testing.assert_array_equal(np.outer(short, short), np.outer(exact, exact))


def test_whole_numbers_are_the_sum_of_their_parts() -> None:
    """Below 0 too. Seen to fail with the rest rounded towards 0."""
    whole = jnp.array([0, 1, 4095, 4096, 4097, -1, -4096, -4097, 2**24 - 1, -(2**31)], jnp.int32)
    high, low = digits.split(whole, 12)
    assert [int(one) * 4096 + int(two) for one, two in zip(high, low, strict=True)] == whole.tolist()
    assert 0 <= int(low.min()) <= int(low.max()) < 4096
    np.testing.assert_array_equal(digits.joined(high, low, 12), np.asarray(whole, np.float64))
