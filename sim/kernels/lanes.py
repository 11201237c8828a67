"""What lanes of a batch have in common."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


@jax.custom_batching.custom_vmap
def in_step(number: Int[Array, ""]) -> Int[Array, ""]:
    """A number that is equal in all lanes, as one scalar: a condition on it is a branch, not a selection.

    Under vmap the result has no batch axis. Where lanes differ it is the largest of them, and the results
    of a batch would not be those of its trials alone, which is tested for every algorithm.
    """
    return number


@in_step.def_vmap
def _largest(axis_size: int, in_batched: list[bool], number: Array) -> tuple[Array, bool]:
    return (jnp.max(number) if in_batched[0] else number), False
