"""Completions of pulls before any estimate, and how estimates of them become task rewards. Imports no other room.

A rule with `estimator = "raw"` gets these instead of block sums (`core.Stats.raw`), and estimates by itself.
"""

from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, Int

RAW = "raw"
"""The estimator of a rule that estimates by itself."""


class Rewards(eqx.Module):
    """Rules by which votes, scores and sums of a pull become task rewards: what a learner knows of a world's strategy.

    Attributes:
        aggregate: "mv", "bon" or "mean" for every objective.
        num_answers: number of answer labels, 0 the right one; 1 where nothing is voted on.
        tie: credit of the right answer among tied ones, as in `utilities.Strategy`.
        credit: reward of a won vote in every task.
    """

    aggregate: tuple[str, ...] = eqx.field(static=True)
    num_answers: int = eqx.field(static=True)
    tie: str = eqx.field(static=True)
    credit: Float[Array, " task"]


class Raw(NamedTuple):
    """Completions of a row's pulls, old ones among them: votes, ranked scores and sums.

    Sums over the row's pulls, which may have 2**14 completions in all: those who watch a run refuse more
    (`sim.engine.limits`). Scores and sums are in units of `Spec.unit`.

    Attributes:
        votes: for every answer, the right one first; no column where nothing is voted on.
        ranked: the i-th lowest score for best of N, 0 beyond a pull's completions; no rank where no best counts.
        total: sum of what is averaged; no column where nothing is.
    """

    votes: Int[Array, "*row answer"]
    ranked: Int[Array, "*row task rank"]
    total: Int[Array, "*row averaged"]
