"""Exact averages over an algorithm's own random words, where they put items in a random order.

Ties at random, and which prompts a poor round pulls, are such orders: with k words in a row all k! orders are equally
likely. An algorithm takes its words from `sim.kernels.counter.bits`; here that function answers with given words while
the algorithm is traced.
"""

from collections.abc import Callable
from itertools import permutations, product
from math import factorial, prod
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from sim.kernels import counter
from theory.runs.rows import merge, pick, size, table

CHUNK = 1024
MAX_ORDERS = 6_000
_GAP = 1 << 20
"""Distance between the words of neighbours in an order: more than `select.distinct` rounds off."""
_KEYS = ((0, 1), (2, 3))


class Orders:
    """A function of a key and some arrays, averaged over all orders of the words it draws.

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
        rows = np.arange(size(inputs))
        if self._shapes is None:
            self._shapes = self._requests(pick(inputs, rows[:1]))
        width = sum(map(prod, self._shapes))
        ranks = np.concatenate([np.indices(shape)[-1].ravel() for shape in self._shapes] + [np.zeros(0, int)])
        sizes = np.concatenate([np.full(prod(shape), shape[-1]) for shape in self._shapes] + [np.zeros(0, int)])
        forward = self._evaluate(inputs, rows, _low(ranks), 0)
        other = self._evaluate(inputs, rows, (2**32 - _GAP * (sizes - ranks)).astype(np.uint32), 1)
        if not np.array_equal(table(forward), table(other)):
            raise ValueError(
                f"{self.name} uses random words as more than an order; exact enumeration needs an algorithm that draws "
                "by counter.integer, counter.chance, trim.draw_arm or the order of ties"
            )
        if width == 0:
            return rows, forward, np.ones(len(rows))
        backward = self._evaluate(inputs, rows, _low(sizes - 1 - ranks), 0)
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

    def _one(self, key: Any, inputs: Any, words: Any) -> Any:
        """The function with its words given, one flat array for all its requests."""
        first = 0

        def bits(_: Any, shape: tuple[int, ...]) -> Any:
            nonlocal first
            taken, first = words[first : first + prod(shape)], first + prod(shape)
            return taken.reshape(shape)

        with mock.patch.object(counter, "bits", bits):
            return self.function(key, inputs)

    def _requests(self, one: Any) -> list[tuple[int, ...]]:
        """Shapes of the words the function asks for; the last axis is what is put in order."""
        shapes = []

        def bits(_: Any, shape: tuple[int, ...]) -> Any:
            shapes.append(shape)
            return jnp.zeros(shape, jnp.uint32)

        with mock.patch.object(counter, "bits", bits):
            jax.eval_shape(self.function, jnp.zeros(2, jnp.uint32), pick(one, 0))
        return [shape for shape in shapes if prod(shape)]

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
    """Words in the order of the ranks, the lowest possible."""
    return (ranks * _GAP).astype(np.uint32)
