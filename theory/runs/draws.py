"""Exact averages over what an algorithm draws by chance besides orders: whole numbers, items by weights, events.

An algorithm draws by the functions of `sim.draws`; here they are answered with given choices while it is traced, and
tell how likely each is. Its random orders are left to `theory.runs.orders`. Draws count as exactly as likely as they
are meant to be; 32-bit words make that true to 2**-23.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sim import draws
from theory.runs.orders import CHUNK, Orders, Script
from theory.runs.rows import merge, pick, size


class Draws:
    """A function of a key and some arrays, averaged over all that it draws.

    Attributes:
        function: takes a key and a tree; arrays of fixed shape in and out.
        name: what to call it in an error.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str) -> None:
        self.function, self.name = function, name
        self._orders = Orders(self._chosen, name)
        self._number: int | None = None
        self._call = jax.jit(jax.vmap(self._laws, in_axes=(0, 0, None)))

    def branch(self, inputs: Any) -> tuple[np.ndarray, Any, np.ndarray]:
        """All that the function may answer, and how likely.

        Args:
            inputs: a tree of NumPy arrays with a leading row axis.

        Returns:
            Row of the input, output and conditional probability given the row, for every distinct pair.
        """
        try:
            rows, choices, chance = self._choices(inputs)
        except jax.errors.UnexpectedTracerError:
            raise ValueError(
                f"{self.name} draws inside a branch, a loop or a compiled function; exact enumeration needs its draws "
                "outside, orders apart"
            ) from None
        origin, outputs, weight = self._orders.branch((pick(inputs, rows), choices))
        found = rows[origin], outputs, chance[origin] * weight
        return merge(*found) if self._number else found

    def _choices(self, inputs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Everything that may be drawn besides orders: row of the input, what is drawn and how likely."""
        rows = np.arange(size(inputs))
        if self._number is None:
            self._number = len(jax.eval_shape(lambda row: self._laws(row, _Endless(), None), pick(inputs, 0)))
        choices, chance = np.zeros((len(rows), self._number), np.int32), np.ones(len(rows))
        for place in range(self._number):
            law = self._evaluate(inputs, rows, choices, place)
            origin, option = np.nonzero(law)
            rows, choices, chance = rows[origin], choices[origin], chance[origin] * law[origin, option]
            choices[:, place] = option
        return rows, choices, chance

    def _chosen(self, key: Any, given: Any) -> Any:
        inputs, choices = given
        with draws.answered_by(_Chooser(choices, draws.who())):
            return self.function(key, inputs)

    def _laws(self, inputs: Any, choices: Any, words: Any) -> tuple[Any, ...]:
        """The law of every draw, given the choices before it: weights, or the number of equally likely ones."""
        chooser = _Chooser(choices, Script(words))
        with draws.answered_by(chooser):
            self.function(jnp.zeros(2, jnp.uint32), inputs)
        return tuple(chooser.laws)

    def _evaluate(self, inputs: Any, rows: np.ndarray, choices: np.ndarray, place: int) -> np.ndarray:
        """The law of draw number `place` for every row, as probabilities (row, choice)."""
        given = self._orders.given((pick(inputs, rows[:1]), choices[:1]))
        found = []
        for first in range(0, len(rows), CHUNK):
            row, chosen = (np.resize(part[first : first + CHUNK], (CHUNK, *part.shape[1:])) for part in (rows, choices))
            one, other = (
                np.asarray(self._call(pick(inputs, row), chosen, words)[place])
                for words in (given.low, given.high_descending)
            )
            if not np.array_equal(one, other):
                raise ValueError(f"{self.name} draws by weights that depend on a random order; that is not enumerated")
            found.append(one)
        law = np.concatenate(found)[: len(rows)].astype(np.float64)
        if law.ndim == 1:  # so many equally likely choices
            law = (np.arange(int(law.max(initial=1))) < law[:, None]).astype(np.float64)
        law[law.sum(axis=1) == 0, -1] = 1.0  # no weight at all: the last item, as in `sim.draws`
        return law / law.sum(axis=1, keepdims=True)


class _Chooser(draws.Answers):
    """Answers draws with given choices, one after the other, and keeps their laws; orders and words by another."""

    def __init__(self, choices: Any, around: draws.Answers) -> None:
        self.choices, self.laws = choices, []
        self.order, self.order_of_first = around.order, around.order_of_first
        self.words, self.seldom = around.words, around.seldom

    def integer(self, word: Any, bound: Any) -> Any:
        shape = jnp.shape(word)
        bounds = jnp.broadcast_to(jnp.asarray(bound), shape).reshape(-1)
        picked = [self._next(bounds[i]) for i in range(prod(shape))]
        return jnp.stack(picked).reshape(shape) if picked else jnp.zeros(shape, jnp.int32)

    def chance(self, word: Any, probability: Any) -> Any:
        probability = jnp.asarray(probability, jnp.float32)
        return self._next(jnp.stack([1 - probability, probability])) == 1

    def item(self, word: Any, weights: Any) -> tuple[Any, Any]:
        return self._next(weights), jnp.int32(0)

    def within(self, unit: Any, weights: Any) -> Any:
        return self._next(weights)

    def _next(self, law: Any) -> Any:
        self.laws.append(law)
        return self.choices[len(self.laws) - 1]


class _Endless:
    """Choices for finding out how many there are."""

    def __getitem__(self, place: int) -> Any:
        return jnp.int32(0)
