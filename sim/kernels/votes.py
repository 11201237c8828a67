"""Expected credit of a vote among k draws from the answers of one pull: exact, tabulated once per shape on the host.

With v votes for the right answer, every other answer has at most v, and t of them exactly v. The ways to draw so are a
product over answers of polynomials in the number of draws: answer j with c_j completions gives f_u(c_j) z**u for u
votes, f_u(c) = C(c, u) without replacement and c**u / u! with. The part of all other answers depends on their votes
alone, in any order, and is shared by all pulls in which they are the same. Rows are numbered by `kernels.tallies`.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sim.kernels import tallies


class VoteTable(NamedTuple):
    """Credit by votes: in row first[gold] plus the number of the wrong answers' tally (`tallies.rank`)."""

    credit: Float[np.ndarray, "row scale"]
    first: Int[np.ndarray, " votes"]
    wrong: tallies.Tallies


@lru_cache(maxsize=8)
def table(num_answers: int, tie: str, width: int, num_scales: int, estimator: str) -> VoteTable:
    """The table for pulls of up to `width` completions.

    Args:
        num_answers: answers, the right one included.
        tie: credit among tied answers, as in `utilities.Strategy`.
        width: completions in a pull, at most.
        num_scales: numbers of draws k.
        estimator: "subsets" (draws without replacement) or "plug-in" (with).
    """
    wrong, ways = tallies.table(num_answers, width), _ways(width, num_scales, estimator)
    total, first = wrong.parts.sum(axis=1), _first(wrong.sizes)
    credit = np.zeros((first[-1], num_scales))
    blocks = [slice(*ends) for ends in pairwise(first)]  # rows of 0, 1, ... right answers
    for votes in range(1, num_scales + 1):
        others = _others(wrong.parts, votes, ways[:, : num_scales - votes + 1], tie)
        for gold, rows in enumerate(blocks):
            credit[rows, votes - 1 :] += ways[gold, votes] * others[: rows.stop - rows.start]
    for gold, rows in enumerate(blocks):
        norm = ways[gold + total[: rows.stop - rows.start], 1:]
        credit[rows] /= np.where(norm > 0, norm, 1.0)
    return VoteTable(credit.astype(np.float32), first[:-1].astype(np.int32), wrong)


def num_entries(num_answers: int, width: int, num_scales: int) -> int:
    """Numbers in a table."""
    return int(_first(tallies.sizes(num_answers, width))[-1]) * num_scales


def _first(sizes: Int[np.ndarray, " votes"]) -> Int[np.ndarray, " more"]:
    """Rows before those of so many right votes: with g of them, the others have tallies of up to width - g."""
    return np.cumsum([0, *sizes[::-1]])


def _ways(width: int, num_scales: int, estimator: str) -> Float[np.ndarray, "votes drawn"]:
    """f_u(c) for c completions and u votes; f_k(n) of all completions is what probabilities are divided by."""
    have, ways = np.arange(width + 1.0), [np.ones(width + 1)]
    for drawn in range(1, num_scales + 1):
        left = have if estimator == "plug-in" else np.maximum(have - drawn + 1, 0.0)
        ways.append(ways[-1] * left / drawn)
    return np.stack(ways, axis=1)


def _others(parts: np.ndarray, votes: int, ways: np.ndarray, tie: str) -> Float[np.ndarray, "partition drawn"]:
    """Ways in which other answers take so many draws, none more than `votes`, weighted by the credit left."""
    place = {tuple(part): i for i, part in enumerate(parts)}
    num, most = parts.shape
    found = np.zeros((num, most + 1, ways.shape[1]))  # by how many have exactly `votes`
    found[0, 0, 0] = 1.0
    used = (parts > 0).sum(axis=1)
    for level in range(1, most + 1):
        own = np.flatnonzero(used == level)
        if len(own) == 0:
            break
        last = parts[own, level - 1]
        shorter = parts[own].copy()
        shorter[:, level - 1] = 0
        before = found[[place[tuple(part)] for part in shorter]]
        for drawn in range(min(votes, ways.shape[1] - 1) + 1):
            gain = ways[last, drawn][:, None, None] * before[:, :, : ways.shape[1] - drawn]
            if drawn < votes:
                found[own, :, drawn:] += gain
            else:
                found[own, 1:, drawn:] += gain[:, :-1]
    total = found[:, 0]
    for tied in range(1, most + 1):  # one after the other, so that answers which nobody gave change no bit
        total = total + found[:, tied] * (0.5 if tie == "half" else 1.0 / (1 + tied))
    return total
