"""Random draws of an algorithm: orders, arms and items by weights, whole numbers, events. It draws by these alone.

Drawn from a key by `sim.kernels.counter`: the same key gives the same draw, wherever it is compiled. Several draws at
one moment take a word each (`words`), so that none of them moves when another is added.

Who answers is a `ContextVar`, `Answers` by default, that `answered_by` sets while a function is traced: exact
enumeration (`theory.runs`) asks which draws there are and answers them itself. What was compiled with one answer is
never used with another (`jax.make_user_context`), so that neither leaks into the other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from sim.core import Key
from sim.kernels import counter, lanes, select

Result = TypeVar("Result")
Item = Int[Array, ""]


class Answers:
    """Draws answered by random words. Another answer is a subclass, see `answered_by`."""

    def order(self, key: Key, shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
        """Words whose order along the last axis is random; `distinct` rounds them."""
        return counter.bits(key, shape)

    def words(self, key: Key, shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
        """A word for every draw to come."""
        return counter.bits(key, shape)

    def integer(self, word: UInt32[Array, "*shape"], bound: int | Array) -> Int[Array, "*shape"]:
        """See `integer`."""
        return counter.integer(word, bound)

    def chance(self, word: UInt32[Array, "*shape"], probability: float | Array) -> Bool[Array, "*shape"]:
        """See `chance`."""
        return counter.chance(word, probability)

    def item(self, word: UInt32[Array, ""], weights: Int[Array, " item"]) -> tuple[Item, Item]:
        """See `item`."""
        below = jnp.cumsum(weights)
        unit = counter.integer(word, below[-1])
        drawn = _item_at(unit, weights)
        return drawn, unit - (below[drawn] - weights[drawn])

    def within(self, unit: Item, weights: Int[Array, " item"]) -> Item:
        """See `within`."""
        return _item_at(unit, weights)

    def seldom(self, condition: Bool[Array, ""], rare: Callable[..., Any], often: Any, *given: Any) -> Any:
        """See `seldom`."""
        return lanes.seldom(condition, rare, often, *given)


_RANDOM = Answers()
_WHO: ContextVar[Answers] = ContextVar("who answers draws", default=_RANDOM)
_PROGRAMS: Any = jax.make_user_context(None)
"""Part of the key of all that JAX caches: None where draws are random, else a number that is never used again."""
_NUMBERS = count(1)


@contextmanager
def answered_by(answers: Answers) -> Iterator[None]:
    """Let another answer all draws, here and in what is called from here.

    Use it inside the function that is traced, once a trace: answers may hold values of that trace.
    """
    before = _WHO.set(answers)
    try:
        with _PROGRAMS(next(_NUMBERS)):
            yield
    finally:
        _WHO.reset(before)


def who() -> Answers:
    """Answers to draws that are in force here."""
    return _WHO.get()


def order(key: Key, shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
    """Random order along the last axis, as distinct words: the highest comes first. Ties are broken by it."""
    drawn = _WHO.get().order(key, shape)
    return select.distinct(drawn) if len(shape) == 1 else jax.vmap(select.distinct)(drawn)


def words(key: Key, shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
    """Independent random words, for one draw each; the first do not depend on how many are asked for."""
    return _WHO.get().words(key, shape)


def integer(word: UInt32[Array, "*shape"], bound: int | Array) -> Int[Array, "*shape"]:
    """Random whole number in [0, bound), bound < 2**31, all equally likely."""
    return _WHO.get().integer(word, bound)


def chance(word: UInt32[Array, "*shape"], probability: float | Array) -> Bool[Array, "*shape"]:
    """Whether an event of this probability (to 2**-23) happens."""
    return _WHO.get().chance(word, probability)


def item(word: UInt32[Array, ""], weights: Int[Array, " item"]) -> tuple[Item, Item]:
    """Random item with probability proportional to whole-number weights, and which unit of its weight was drawn.

    Args:
        word: from `words`.
        weights: >= 0, summing to less than 2**31.
    """
    return _WHO.get().item(word, weights)


def within(unit: Item, weights: Int[Array, " item"]) -> Item:
    """Random item once more, by the unit that an earlier draw left: the item that it belongs to, else the last.

    Args:
        unit: from `item`, whose item had the sum of these weights as its own.
        weights: >= 0.
    """
    return _WHO.get().within(unit, weights)


def arm(word: UInt32[Array, ""], weights: Int[Array, "prompt scale"]) -> tuple[Item, Item]:
    """Random prompt and scale index with probability proportional to whole-number weights.

    Args:
        word: from `words`.
        weights: >= 0, summing to less than 2**31.
    """
    prompt, unit = item(word, jnp.sum(weights, axis=1))
    return prompt, within(unit, weights[prompt])


def seldom(condition: Bool[Array, ""], rare: Callable[..., Result], often: Result, *given: Any) -> Result:
    """Rare case in which something is drawn: `sim.kernels.lanes.seldom`, with draws inside `rare`."""
    return _WHO.get().seldom(condition, rare, often, *given)


def _item_at(unit: Item, weights: Int[Array, " item"]) -> Item:
    """The item that unit number `unit` of all weights belongs to; the last one if there are not so many."""
    return jnp.minimum(jnp.sum((jnp.cumsum(weights) <= unit).astype(jnp.int32)), weights.shape[0] - 1)
