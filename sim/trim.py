"""Selection under masks: which arms stay active, and which one is the answer.

Example:
    >>> import jax.numpy as jnp
    >>> from sim import trim
    >>> score, tiebreak = jnp.float32([[0.1, 0.9, 0.5, 0.5]]), jnp.uint32([[0, 1, 2, 3]])
    >>> trim.top_half(score, tiebreak, jnp.ones((1, 4), bool)).tolist()
    [[False, True, False, True]]
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import draws
from sim.core import Key, Policy, Spec
from sim.kernels import select


def keep_best(
    score: Float[Array, "context item"] | Int[Array, "context item"],
    tiebreak: UInt32[Array, "context item"],
    active: Bool[Array, "context item"],
    num_kept: Int[Array, " context"],
) -> Bool[Array, "context item"]:
    """Per context the `num_kept` best active items: higher score first, then higher tiebreak."""
    return jax.vmap(select.best)(score, tiebreak, active, num_kept)


def top_half(
    score: Float[Array, "context item"] | Int[Array, "context item"],
    tiebreak: UInt32[Array, "context item"],
    active: Bool[Array, "context item"],
) -> Bool[Array, "context item"]:
    """Per context the better half of the active items, rounded up: ceil(n / 2) stay."""
    num_active = jnp.sum(active.astype(jnp.int32), axis=1)
    return keep_best(score, tiebreak, active, (num_active + 1) // 2)


def pick(
    score: Float[Array, "context item"], tiebreak: UInt32[Array, "context item"], active: Bool[Array, "context item"]
) -> Int[Array, " context"]:
    """Per context the index of the best active item: higher score first, then higher tiebreak (of `draws.order`)."""
    return jax.vmap(select.first)(score, tiebreak, active)


def arms(index: Int[Array, " context"], max_scale: int) -> Policy:
    """Policy from indices into arms ordered by prompt, then scale."""
    return Policy(index // max_scale, index % max_scale + 1)


def largest_active(active: Bool[Array, "context arm"], num_prompts: int) -> Int[Array, " prompt"]:
    """N_p: the largest scale at which a prompt is active in any context, 0 if in none."""
    anywhere = jnp.any(active, axis=0).reshape(num_prompts, -1)
    scales = jnp.arange(1, anywhere.shape[1] + 1, dtype=jnp.int32)
    return jnp.max(jnp.where(anywhere, scales[None, :], 0), axis=1)


def first(order: UInt32[Array, " item"], count: Int[Array, ""]) -> Bool[Array, " item"]:
    """The `count` items with the highest words of a random order."""
    return select.best(jnp.zeros(order.shape, jnp.float32), order, jnp.ones(order.shape, bool), count)


def best_estimate(
    key: Key,
    spec: Spec,
    value: Float[Array, "context prompt scale"],
    active: Bool[Array, "context prompt"] | None = None,
) -> Policy:
    """Per context the arm with the best estimated value, of the prompts that are active (all where None).

    Ties are broken at random; any of these arms if none was pulled.
    """
    score = value.reshape(spec.num_contexts, spec.num_arms)
    allowed = jnp.ones(value.shape, bool) if active is None else jnp.broadcast_to(active[:, :, None], value.shape)
    return arms(pick(score, draws.order(key, score.shape), allowed.reshape(score.shape)), spec.max_scale)


def maxima(
    index: Float[Array, "prompt scale"] | Int[Array, "prompt scale"], allowed: Bool[Array, "prompt scale"]
) -> Int[Array, "prompt scale"]:
    """Weight 1 for every allowed entry that ties for the largest, 0 elsewhere."""
    least = jnp.iinfo(jnp.int32).min if jnp.issubdtype(index.dtype, jnp.integer) else -jnp.inf
    index = jnp.where(allowed, index, least)
    return (allowed & (index == jnp.max(index))).astype(jnp.int32)
