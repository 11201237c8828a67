"""Exact averages over the random orders of an algorithm: ties at random, and which prompts a poor round pulls.

With k items in a row all k! orders are equally likely. An algorithm takes its orders from `sim.draws.order`; here they
are given while it is traced.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations, product
from math import factorial, prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from sim import draws
from sim.core import Key
from theory.runs.rows import merge, pick, size, table

CHUNK = 1024
MAX_ORDERS = 6_000
_GAP = 1 << 20
"""Distance between the words of neighbours in an order: more than `select.distinct` rounds off."""
_KEYS = ((0, 1), (2, 3))
_MARK = "random words "
"""Marks words in what is traced, with the number of their request: none may be used by two draws."""


class Script(draws.Answers):
    """Words given in advance, request after request; zeros without any, to find out what is requested."""

    def __init__(self, given: Any = None) -> None:
        self.given, self.shapes = given, []

    def words(self, key: Key, shape: tuple[int, ...]) -> Any:
        """The next words, whether for an order or for other draws."""
        first, number = sum(map(prod, self.shapes)), len(self.shapes)
        self.shapes.append(shape)
        flat = jnp.zeros(prod(shape), jnp.uint32) if self.given is None else self.given[first : first + prod(shape)]
        return checkpoint_name(flat, f"{_MARK}{number}").reshape(shape)

    order = words

    def order_of_first(self, key: Key, shape: tuple[int, int], num_items: Any) -> Any:
        """The next words: an order of all items of a row is one of the first too."""
        return self.words(key, shape)

    def seldom(self, condition: Any, rare: Callable[..., Any], often: Any, *given: Any) -> Any:
        """Both, and one is selected: what is drawn must not stay inside a loop."""
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), rare(*given), often)


class Words(NamedTuple):
    """Words for all requests, in ascending order along the last axis of each or descending, the lowest or highest."""

    low: np.ndarray
    low_descending: np.ndarray
    high: np.ndarray
    high_descending: np.ndarray


class Orders:
    """A function of a key and some arrays, averaged over all orders that it draws.

    Attributes:
        function: takes a key and a tree; arrays of fixed shape in and out.
        name: what to call it in an error.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str) -> None:
        self.function, self.name = function, name
        self._shapes: list[tuple[int, ...]] | None = None
        self._call = jax.jit(jax.vmap(self._one, in_axes=(0, 0, 0)))

    def branch(self, inputs: Any) -> tuple[np.ndarray, Any, np.ndarray]:
        """All that the function may answer, and how likely.

        Two opposite orders tell whether an order matters at all: an item that a rule based on ranks could take or
        leave is taken in one of them and left in the other. Only where they differ are all orders tried.

        Args:
            inputs: a tree of NumPy arrays with a leading row axis.

        Returns:
            Row of the input, output and conditional probability given the row, for every distinct pair.
        """
        rows, given = np.arange(size(inputs)), self.given(inputs)
        forward = self._evaluate(inputs, rows, given.low, 0)
        if not np.array_equal(table(forward), table(self._evaluate(inputs, rows, given.high, 1))):
            raise ValueError(
                f"{self.name} uses random words as more than an order; exact enumeration needs an algorithm that draws "
                "by the functions of sim.draws alone"
            )
        if len(given.low) == 0:
            return rows, forward, np.ones(len(rows))
        backward = self._evaluate(inputs, rows, given.low_descending, 0)
        matters = (table(forward) != table(backward)).any(axis=1)
        settled, open_rows = rows[~matters], rows[matters]
        if len(open_rows) == 0:
            return rows, forward, np.ones(len(rows))
        orders = self._all_orders()
        parts = [(settled, pick(forward, settled), np.ones(len(settled)))]
        for some in np.array_split(open_rows, -(-len(open_rows) * len(orders) // 2**18)):
            origin = np.repeat(some, len(orders))
            found = self._evaluate(inputs, origin, np.tile(orders, (len(some), 1)), 0)
            parts.append(merge(origin, found, np.full(len(origin), 1.0 / len(orders))))
        origins, outputs, weights = zip(*parts, strict=True)
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *outputs)
        return np.concatenate(origins), joined, np.concatenate(weights)

    def given(self, inputs: Any) -> Words:
        """Words that answer all that the function requests."""
        if self._shapes is None:
            asked = Script()
            with draws.answered_by(asked):
                traced = jax.make_jaxpr(self.function)(jnp.zeros(2, jnp.uint32), pick(inputs, 0))
            if max(Counter(_drawn(traced.jaxpr)).values(), default=0) > 1:
                raise ValueError(
                    f"{self.name} draws in a loop, or calls twice a compiled function that draws; exact enumeration "
                    "needs each draw written out"
                )
            self._shapes = [shape for shape in asked.shapes if prod(shape)]
        none = np.zeros(0, int)
        ranks = np.concatenate([none, *(np.indices(shape)[-1].ravel() for shape in self._shapes)])
        sizes = np.concatenate([none, *(np.full(prod(shape), shape[-1]) for shape in self._shapes)])
        descending = sizes - 1 - ranks
        return Words(_low(ranks), _low(descending), _low(ranks - sizes), _low(descending - sizes))

    def _one(self, key: Any, inputs: Any, words: Any) -> Any:
        """The function with its words given, one flat array for all its requests."""
        with draws.answered_by(Script(words)):
            return self.function(key, inputs)

    def _all_orders(self) -> np.ndarray:
        """Words for every joint order, a row each."""
        assert self._shapes is not None
        lengths = [shape[-1] for shape in self._shapes for _ in range(prod(shape[:-1]))]
        number = prod(map(factorial, lengths))
        if number > MAX_ORDERS:
            raise ValueError(
                f"{self.name} has {number} joint orders of ties, more than {MAX_ORDERS}; "
                "take fewer arms or contexts, or ties='index' where the algorithm has it"
            )
        joint = product(*(permutations(range(length)) for length in lengths))
        return _low(np.array([np.concatenate(parts) for parts in joint]))

    def _evaluate(self, inputs: Any, rows: np.ndarray, words: np.ndarray, key: int) -> Any:
        """Outputs for pairs of an input row and words (one row of words for all pairs, or one each)."""
        words = np.broadcast_to(words, (len(rows), words.shape[-1]))
        outputs = []
        for first in range(0, len(rows), CHUNK):
            chosen = np.resize(rows[first : first + CHUNK], CHUNK)
            given = np.resize(words[first : first + CHUNK], (CHUNK, words.shape[1]))
            keys = np.tile(np.array(_KEYS[key], np.uint32), (CHUNK, 1))
            found = self._call(keys, pick(inputs, chosen), given)
            outputs.append(jax.tree.map(np.asarray, found))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *outputs)
        return pick(joined, slice(0, len(rows)))


def _low(ranks: np.ndarray) -> np.ndarray:
    """Words in the order of the ranks: the lowest possible, or from below 0 the highest (modulo 2**32)."""
    return (ranks * _GAP).astype(np.uint32)


def _drawn(jaxpr: Any, times: int = 1) -> Iterator[str]:
    """Marks of the words that a traced function uses, each as often as it does; in a loop twice."""
    for step in jaxpr.eqns:
        name = str(step.params.get("name", ""))
        if step.primitive.name == "name" and name.startswith(_MARK):
            yield from [name] * times
        often = 2 if step.primitive.name in ("scan", "while") else times
        for value in step.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner := getattr(part, "jaxpr", part), "eqns"):
                    yield from _drawn(inner, often)
