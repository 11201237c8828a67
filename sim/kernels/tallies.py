"""Tallies of votes: how many are right and, in falling order, how many each wrong answer has; numbered without gaps.

What n completions say about a vote is a tally, whatever the wrong answers are called. The wrong votes fix it, as the
others are right: they are a partition of at most n into at most A - 1 parts. Partitions are numbered by their sum, then
lexicographically. So a tally's number depends neither on n nor on how many completions the table goes up to, and those
of n completions are the first `sizes[n]`. Two answers: the number of wrong votes.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

MAX_ENTRIES = 2**21
"""Numbers in a table, at most."""


class Tallies(NamedTuple):
    """Tallies of up to `width` completions.

    Attributes:
        parts: votes of every wrong answer, the most voted first.
        sizes: tallies of n completions.
        before: tallies with fewer wrong votes than so many.
        smaller: orders that come before part c of j when `rest` is left, [j, rest, c].
    """

    parts: Int[np.ndarray, "tally part"]
    sizes: Int[np.ndarray, " votes"]
    before: Int[np.ndarray, " votes"]
    smaller: Int[np.ndarray, "part votes votes"]


@lru_cache(maxsize=8)
def table(num_answers: int, width: int) -> Tallies:
    """The tallies of up to `width` completions with `num_answers` answers, the right one included."""
    most = min(num_answers - 1, width)
    counts = partition_counts(most, width)
    found = [part for total in range(width + 1) for part in partitions(total, most, total)]
    sizes = np.cumsum(counts[most, :, width])
    smaller = np.zeros((most, width + 1, width + 1), np.int32)
    smaller[:, :, 1:] = counts[most:0:-1, :, :-1]
    before = np.concatenate([[0], sizes[:-1]]).astype(np.int32)
    return Tallies(np.array(found, np.int32).reshape(len(found), most), sizes.astype(np.int32), before, smaller)


def sizes(num_answers: int, width: int) -> Int[np.ndarray, " votes"]:
    """Tallies of 0, 1, .., `width` completions, without making a table."""
    most = min(num_answers - 1, width)
    return np.cumsum(partition_counts(most, width)[most, :, width])


def rank(tallies: Tallies, wrong: Int[Array, "answer *pull"]) -> Int[Array, "*pull"]:
    """Numbers of the tallies with these votes of the wrong answers, in any order.

    Args:
        tallies: up to as many completions as there are votes.
        wrong: votes of each wrong answer; with one answer there is none, and every tally is number 0.
    """
    if not wrong.shape[0]:
        return jnp.zeros(wrong.shape[1:], jnp.int32)
    ranked = -jnp.sort(-wrong, axis=0)
    rest = jnp.sum(ranked, axis=0)
    number = jnp.asarray(tallies.before)[rest]
    for smaller, largest in zip(tallies.smaller, ranked, strict=False):
        number = number + jnp.asarray(smaller)[rest, largest]
        rest = rest - largest
    return number


def partition_counts(most: int, width: int) -> Int[np.ndarray, "parts sum largest"]:
    """Numbers of partitions of a number into at most so many parts, none above the largest."""
    counts = np.zeros((most + 1, width + 1, width + 1), np.int64)
    counts[:, 0] = 1
    for parts in range(1, most + 1):
        for largest in range(1, width + 1):
            counts[parts, :, largest] = counts[parts, :, largest - 1]
            counts[parts, largest:, largest] += counts[parts - 1, : width + 1 - largest, largest]
    return counts


def partitions(total: int, most: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Partitions into at most `most` parts, none above the largest, padded with zeros, in lexicographic order."""
    if total == 0:
        yield (0,) * most
        return
    for part in range(-(-total // most) if most else largest + 1, min(total, largest) + 1):
        for rest in partitions(total - part, most - 1, part):
            yield (part, *rest)
