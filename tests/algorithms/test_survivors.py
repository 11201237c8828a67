"""Halving on a mask that turns into a list, against halving on a mask alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sim import trim
from sim.algorithms.survivors import Halving
from sim.kernels import counter, lanes

ARMS, CONTEXTS = 48, 3


QUICK = (6, 47)


@pytest.mark.parametrize(
    "num_active", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in (1, 2, 5, 6, 7, 16, 47, 48)]
)
def test_a_list_keeps_what_a_mask_keeps(num_active: int) -> None:
    """Scores of seven values, so that ties are everywhere; fresh ones in every round.

    Seen to fail with the list's head one arm too long (`left` + 1 in `_listed`).
    """
    plan = Halving(num_active, ARMS)
    rng = np.random.default_rng(num_active)
    start = np.zeros((CONTEXTS, ARMS), bool)
    for row in start:
        row[rng.choice(ARMS, num_active, replace=False)] = True
    mask, survivors = jnp.asarray(start), plan.start(jnp.asarray(start))
    halve = jax.jit(lambda done, old, score, word: plan.halve(done, old, partial(of, score), partial(of, word)))
    for done in range(plan.num_rounds):
        score = jnp.asarray(rng.integers(-3, 4, mask.shape), jnp.int32)
        word = jnp.asarray(rng.permuted(np.tile(np.arange(ARMS), (CONTEXTS, 1)), axis=1), jnp.uint32)
        survivors = halve(jnp.int32(done), survivors, score, word)
        mask = trim.top_half(score, word, mask)
        after = jnp.int32(done + 1)
        np.testing.assert_array_equal(np.asarray(plan.active(after, survivors)), np.asarray(mask))
        largest = plan.largest(after, survivors, 6)
        np.testing.assert_array_equal(np.asarray(largest), np.asarray(trim.largest_active(mask, 6)))
    assert np.asarray(mask).sum() == CONTEXTS
    np.testing.assert_array_equal(np.asarray(plan.winner(survivors)), np.asarray(mask).argmax(axis=1))


def of(table: jax.Array, arms: jax.Array | None) -> jax.Array:
    return table if arms is None else jnp.take_along_axis(table, arms, axis=1)


def test_the_list_takes_over_when_few_are_left() -> None:
    assert [Halving(n, 48).early for n in (48, 24, 12, 7, 6, 1)] == [3, 2, 1, 1, 0, 0]
    assert Halving(2, 2).early == 1


def test_lanes_in_step_share_one_branch() -> None:
    """The condition stays a condition under vmap: the other branch is not even computed."""

    def chosen(step: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.cond(lanes.in_step(step) < 2, lambda: x + 1, lambda: -x)

    steps, words = jnp.full(4, 2, jnp.int32), counter.bits(counter.from_seed(1), (4,)).astype(jnp.int32)
    batched = jax.vmap(chosen)
    assert jnp.array_equal(batched(steps, words), -words)
    assert jnp.array_equal(batched(steps - 1, words), words + 1)
    assert " cond[" in str(jax.make_jaxpr(batched)(steps, words))
