"""Exact laws of what pulls return: every outcome tape of a pull, and sums of independent pulls."""

from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sim.core import Algorithm, Allocation, Pull, Stats
from sim.envs.dataset import Dataset
from sim.kernels import rounds
from sim.raw import RAW

MAX_TAPES = 1 << 20


def check_queries(algorithm: Algorithm) -> None:
    """Refuse rules whose pulls depend on one another from round to round, and such as take completions as they are."""
    if algorithm.estimator == RAW:
        raise ValueError("estimator is 'raw'; exact laws of runs and splitting need block sums: simulate it instead")
    if algorithm.queries == "common-wor":
        raise ValueError("queries is 'common-wor'; exact laws of runs and splitting need independent or common")


class Distribution(NamedTuple):
    """A distribution over whole-number arrays: distinct values, and the probability of each."""

    values: np.ndarray  # (value, row, task, scale)
    probability: np.ndarray


class PullLaws:
    """Laws of the statistics that allocations on one data set return.

    Attributes:
        data: the environment.
        query_law: probability of every query.
        algorithm: whose pulls they are: how large, and how estimated from.
    """

    def __init__(self, data: Dataset, query_law: np.ndarray, algorithm: Algorithm) -> None:
        self.data, self.query_law, self.algorithm = data, query_law, algorithm
        self.world = data.environment()
        self._columns = algorithm.num_scales(self.world.spec)
        self._units = jax.jit(jax.vmap(self._one_tape, in_axes=(0, None, None, None)))
        self._laws: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def stats(self, allocation: Allocation, common: bool) -> tuple[Stats, np.ndarray]:
        """All statistics that an allocation may return, with their probabilities.

        Args:
            allocation: NumPy leaves of shape (row,).
            common: whether pull i uses the same query in all rows.
        """
        num_rows = len(allocation.pulls)
        law = Distribution(np.zeros((1, num_rows, self.world.spec.num_tasks, self._columns), np.int64), np.ones(1))
        if common:
            for pull in range(int(max(allocation.pulls, default=0))):
                rows = [row for row in range(num_rows) if pull < allocation.pulls[row]]
                law = _sum(law, self._one_query(allocation, rows))
        else:
            for row in np.flatnonzero(allocation.pulls).tolist():
                one = self._one_query(allocation, [row])
                for _ in range(int(allocation.pulls[row])):
                    law = _sum(law, one)
        total = (law.values * np.asarray(self.world.spec.unit, np.float64)[:, None]).astype(np.float32)
        exact = jax.tree.map(jnp.asarray, allocation)
        blocks = np.asarray(rounds.block_counts(exact, rounds.Pulling.of(self.algorithm, self.world.spec)))
        leaves: list[Any] = [total, np.broadcast_to(blocks, (len(total), *blocks.shape))]
        return Stats(*leaves), law.probability

    def _one_query(self, allocation: Allocation, rows: list[int]) -> Distribution:
        """The joint law of one pull in each of the rows, all on the same random query."""
        found = [self._one_pull(int(allocation.prompt[row]), int(allocation.scale[row])) for row in rows]
        tapes = product(*(range(len(values)) for values, _ in found))
        choice = np.array(list(tapes), int).reshape(-1, len(rows))
        shape = (len(choice), len(allocation.pulls), self.world.spec.num_tasks, self._columns)
        values = np.zeros(shape, np.int64)
        chance = np.broadcast_to(self.query_law[:, None], (len(self.query_law), len(choice)))
        for place, (row, (units, probability)) in enumerate(zip(rows, found, strict=True)):
            values[:, row] = units[choice[:, place]]
            chance = chance * probability[:, choice[:, place]]
        return Distribution(values, chance.sum(axis=0))

    def _one_pull(self, prompt: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Block sums of one pull, (value, task, scale), and the probability of each on every query, (query, value)."""
        if (prompt, scale) not in self._laws:
            probs, _ = self.data.gold_first()
            num_outcomes = probs.shape[2]
            if num_outcomes**scale > MAX_TAPES:
                raise ValueError(
                    f"a pull of {scale} completions with {num_outcomes} outcomes has {num_outcomes**scale} tapes, "
                    f"more than {MAX_TAPES}; take a smaller scale or fewer outcomes"
                )
            tapes = np.array(list(product(range(num_outcomes), repeat=scale)), np.int32).reshape(-1, scale)
            padded = np.pad(tapes, ((0, 0), (0, self.data.max_scale - scale)))
            where = np.flatnonzero(self.query_law)
            units, chances = [], []
            for query in where:
                which = (jnp.int32(prompt), jnp.int32(query), jnp.int32(scale))
                units.append(np.asarray(self._units(jnp.asarray(padded), *which), np.int64))
                chances.append(probs[prompt, query][tapes].prod(axis=1))
            used = np.concatenate(units)
            if not self.algorithm.reuse:
                used = used[:, :, [scale - 1]]
            values, group = np.unique(used, axis=0, return_inverse=True)
            probability = np.zeros((len(self.query_law), len(values)))
            for query, own, chance in zip(where, group.reshape(len(where), -1), chances, strict=True):
                probability[query] = np.bincount(own, chance, len(values))
            self._laws[prompt, scale] = values, probability
        return self._laws[prompt, scale]

    def _one_tape(self, tape: jax.Array, prompt: jax.Array, query: jax.Array, scale: jax.Array) -> jax.Array:
        """Block sums of one tape of outcomes, by the plain version of the reward."""
        atoms = self.world.atoms
        if atoms is None:
            outcomes = tape.astype(jnp.float32)[:, None]
        else:
            outcomes = atoms[prompt, query, tape] if atoms.ndim == 4 else atoms[tape]
        pull = Pull(prompt, query, scale, outcomes).narrowed(self.algorithm.max_pull(self.world.spec))
        return self.world.block_units(pull, self.algorithm.estimator)


def _sum(left: Distribution, right: Distribution) -> Distribution:
    """The law of a sum of independent draws."""
    if len(left.values) * len(right.values) > MAX_TAPES:
        raise ValueError(
            f"the pulls of a round have more than {MAX_TAPES} distinct results; take a smaller budget or world"
        )
    values = (left.values[:, None] + right.values[None]).reshape(-1, *left.values.shape[1:])
    chance = np.outer(left.probability, right.probability).ravel()
    distinct, group = np.unique(values.reshape(len(values), -1), axis=0, return_inverse=True)
    return Distribution(distinct.reshape(-1, *values.shape[1:]), np.bincount(group.ravel(), chance, len(distinct)))
