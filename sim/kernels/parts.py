"""Parts of a whole number, rounded down: exact where a product takes 64 bits."""

from jaxtyping import Array, Int, UInt32

from sim.kernels import counter


def share(whole: Int[Array, ""], weight: UInt32[Array, ""]) -> Int[Array, ""]:
    """Part of a whole number below 2**31: floor(whole * weight / 2**32)."""
    return counter.integer(weight, whole)
