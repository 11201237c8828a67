"""Vmap helpers: a number that all lanes share, the largest of all lanes, and work that few lanes need."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

Answer = TypeVar("Answer")

GROUP = 8
"""Lanes that `seldom` serves at a time."""


def in_step(number: Int[Array, ""]) -> Int[Array, ""]:
    """A number that is equal in all lanes, as one scalar: a condition on it is a branch, not a selection.

    Under vmap the result has no batch axis. Where lanes differ it is the largest of them, and the results
    of a batch would not be those of its trials alone, which is tested for every algorithm.
    """
    return largest(number)


@jax.custom_batching.custom_vmap
def largest(number: Shaped[Array, ""]) -> Shaped[Array, ""]:
    """The largest number of all lanes, or whether something holds in any: one scalar under any number of vmaps.

    A loop that asks it goes on in all lanes until the last is ready: nothing is selected by lane. Steps beyond those
    that a lane needs must not change its answer.
    """
    return number


@largest.def_vmap
def _largest(axis_size: int, in_batched: list[bool], number: Array) -> tuple[Array, bool]:
    return (largest(jnp.max(number)) if in_batched[0] else number), False


def seldom(condition: Bool[Array, ""], rare: Callable[..., Answer], often: Answer, *given: Any) -> Answer:
    """`rare(*given)` where `condition` holds, `often` elsewhere.

    Under vmap a condition is a selection, for which all lanes would compute both; here `rare` is computed for the
    lanes that need it, `GROUP` at a time.

    Args:
        condition: whether this lane needs it.
        rare: takes `given` alone: it must not close over arrays.
        often: the answer of the other lanes.
        given: trees of arrays.
    """

    @jax.custom_batching.custom_vmap
    def choose(condition: Array, often: Answer, given: Any) -> Answer:
        return jax.lax.cond(condition, lambda: rare(*given), lambda: often)

    @choose.def_vmap
    def _of_lanes(size: int, batched: Any, *args: Any) -> tuple[Answer, Any]:
        def spread(leaf: Array, has_axis: bool) -> Array:
            return leaf if has_axis else jnp.broadcast_to(leaf, (size, *leaf.shape))

        condition, often, given = jax.tree.map(spread, args, tuple(batched))
        needing = jnp.cumsum(condition.astype(jnp.int32))

        def serve(carry: tuple[Array, Answer]) -> tuple[Array, Answer]:
            done, answers = carry
            turn = done + 1 + jnp.arange(min(GROUP, size), dtype=jnp.int32)
            lane = jnp.searchsorted(needing, turn, method="compare_all")
            own = jax.vmap(rare)(*jax.tree.map(lambda leaf: leaf[jnp.minimum(lane, size - 1)], given))
            return turn[-1], jax.tree.map(lambda all_, some: all_.at[lane].set(some, mode="drop"), answers, own)

        _, answers = jax.lax.while_loop(lambda carry: carry[0] < needing[-1], serve, (jnp.int32(0), often))
        return answers, jax.tree.map(lambda _: True, answers)

    return choose(condition, often, given)
