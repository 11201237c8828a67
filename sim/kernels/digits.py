"""Numbers of few binary digits: products of two are exact in float32, and sums of whole ones in two parts do not wrap.

What is exact no compiler can round otherwise: the same bits come out wherever it is compiled.
"""

import jax
import numpy as np
from jaxtyping import Array, Float, Int

DIGITS = 12
"""Binary digits of factors: products of two are exact in float32."""


def short(numbers: np.ndarray) -> np.ndarray:
    """Numbers rounded to `DIGITS` binary digits, on the host.

    Example:
        >>> import numpy as np
        >>> from sim.kernels import digits
        >>> digits.short(np.array([1 + 2.0**-11, 1 + 2.0**-13])).tolist()
        [1.00048828125, 1.0]
    """
    mantissa, exponent = np.frexp(numbers)
    return np.ldexp(np.rint(np.ldexp(mantissa, DIGITS)), exponent - DIGITS)


def shortened(numbers: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Numbers rounded to `DIGITS` binary digits, in jit."""
    return jax.lax.reduce_precision(numbers, exponent_bits=8, mantissa_bits=DIGITS - 1)


def split(whole: Int[Array, "*shape"], bits: int) -> tuple[Int[Array, "*shape"], Int[Array, "*shape"]]:
    """Whole numbers in two parts: multiples of 2**bits, as how many, and what is left, never below 0."""
    return whole >> bits, whole & (2**bits - 1)


def joined(high: Array, low: Array, bits: int) -> Float[Array, "*shape"]:
    """The sum of two parts that were `split`, or of sums of such parts, in float32."""
    return high.astype("float32") * 2.0**bits + low.astype("float32")
