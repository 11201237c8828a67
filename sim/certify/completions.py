"""Completions to evidence: unbiased values of every N, and their noise by leaving out one completion at a time.

A pair of n completions has the mean over all subsets of size N as its value of N (Hoeffding, 1948). Left without
completion i it has the value U_i; sqrt((n - 1) / n) (U_i - mean) are rows whose squares sum to the jackknife estimate
of the variance, which is not too small on average (Efron and Stein, Annals of Statistics 9, 1981; theory/proofs.md,
"Statements after the fact"). It covers N < n.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from sim.certify.evidence import ContextTerms, QueryEvidence
from sim.core import Spec
from sim.kernels import subsets
from sim.utilities import Strategy

_ROWS = 1024
"""Pulls that are valued at a time."""


def evidence_of(
    strategy: Strategy,
    spec: Spec,
    outcomes: Float32[np.ndarray, "prompt query width objective"],
    completions: Int[np.ndarray, "prompt query"],
    cost: np.ndarray,
    cost_weights: Float64[np.ndarray, " context"],
    names: Sequence[str] = (),
    noise: bool = True,
    bounds: Float64[np.ndarray, "task 2"] | None = None,
    population: int | None = None,
) -> QueryEvidence:
    """Evidence from the completions of every prompt on every query.

    Args:
        strategy: how completions become rewards; its number of answers covers all labels.
        spec: contexts, their tasks and weights.
        outcomes: as `Strategy.measured` hands them over; rows from a pair's completions on are padding.
        completions: completions of each pair, 0 where it was not met.
        cost: of one completion, shape (prompt,) or, where it was measured, (prompt, query).
        cost_weights: utility of one unit of cost in every context.
        names: of the contexts.
        noise: whether to leave completions out, which a statement on exactly these queries needs and which takes as
            many times the work as there are completions.
        bounds: as in `QueryEvidence`.
        population: as in `QueryEvidence`.
    """
    prompts, queries, width, objectives = outcomes.shape
    pulls, sizes = outcomes.reshape(-1, width, objectives), completions.ravel()
    shape = (strategy.weights.shape[0], prompts, queries)
    values = subset_rewards(strategy, pulls, sizes)
    rows = left_out_rows(strategy, pulls, sizes) if noise and _all_subsets(strategy, width) else None
    weights, offsets = np.asarray(spec.task_weight, np.float64), np.asarray(spec.offset, np.float64).sum(axis=0)
    contexts = [
        ContextTerms(
            names[number] if names else str(number),
            task,
            float(weights[number]),
            float(cost_weights[number]),
            float(offsets[number]),
        )
        for number, task in enumerate(spec.task)
    ]
    return QueryEvidence(
        rewards=np.moveaxis(values, 1, 0).reshape(*shape, width),
        completions=completions,
        contexts=tuple(contexts),
        cost=np.asarray(cost, np.float64),
        residuals=None if rows is None else np.moveaxis(rows, 1, 0).reshape(*shape, width, width),
        population=population,
        bounds=bounds,
    )


def subset_rewards(
    strategy: Strategy, outcomes: Float32[np.ndarray, "pull width objective"], sizes: Int[np.ndarray, " pull"]
) -> Float64[np.ndarray, "pull task width"]:
    """Unbiased reward of every N up to a pull's completions, NaN beyond.

    The mean over all subsets, or over disjoint blocks where tables of all subsets would be too large.
    """
    width = outcomes.shape[1]
    kind = "subsets" if _all_subsets(strategy, width) else "blocks"
    blocks = np.asarray(subsets.blocks_of(jnp.asarray(sizes, jnp.int32), width, kind), np.float64)[:, None]
    units = np.zeros((len(sizes), strategy.weights.shape[0], width))
    for first in range(0, len(sizes), _ROWS):
        some = slice(first, first + _ROWS)
        padding = (0, _ROWS - len(sizes[some]))
        filled = np.pad(outcomes[some], (padding, (0, 0), (0, 0))).transpose(1, 2, 0)
        counts = np.pad(sizes[some], padding).astype(np.int32)
        found = _units(strategy, jnp.asarray(filled), jnp.asarray(counts), kind)
        units[some] = np.asarray(found)[: len(units[some])]
    unit = np.asarray(strategy.unit, np.float64)[:, None]
    return np.where(blocks > 0, units / np.maximum(blocks, 1) * unit, np.nan)


def left_out_rows(
    strategy: Strategy, outcomes: Float32[np.ndarray, "pull width objective"], sizes: Int[np.ndarray, " pull"]
) -> Float32[np.ndarray, "pull task row width"]:
    """Rows whose squares sum to the jackknife variance of `subset_rewards`; NaN for N from a pull's completions on."""
    num, width, _ = outcomes.shape
    found = np.full((num, strategy.weights.shape[0], width, width), np.nan, np.float32)
    for place in range(width):
        own = np.flatnonzero(sizes > place)
        kept = np.concatenate([np.delete(outcomes[own], place, axis=1), outcomes[own][:, [place]]], axis=1)
        found[own, :, place] = subset_rewards(strategy, kept, sizes[own] - 1)
    inside = (np.arange(width) < sizes[:, None])[:, None, :, None]
    sums = np.where(inside, found, 0).sum(axis=2, keepdims=True, dtype=np.float64)
    count = np.maximum(sizes, 1)[:, None, None, None]
    rows = np.sqrt((count - 1) / count) * (found - sums / count)
    covered = (np.arange(1, width + 1) < sizes[:, None])[:, None, None, :]
    return np.where(covered, np.where(inside, rows, 0), np.nan).astype(np.float32)


def _all_subsets(strategy: Strategy, width: int) -> bool:
    """Whether tables of all subsets fit."""
    return subsets.chosen(strategy, width, width, "subsets") == "subsets"


@eqx.filter_jit
def _units(strategy: Strategy, outcomes: jax.Array, sizes: jax.Array, kind: str) -> jax.Array:
    return subsets.pull_units(strategy, outcomes, sizes, kind, 0)


def vote_bounds(votes: Sequence[bool], weights: Float[np.ndarray, "task objective"]) -> Float64[np.ndarray, "task 2"]:
    """Least and largest reward of every task, infinite where a score that is no vote has a weight.

    Args:
        votes: whether an objective is one of votes, whose rewards lie between 0 and 1.
        weights: of every task.
    """
    ends = np.stack([np.minimum(weights, 0).sum(axis=1), np.maximum(weights, 0).sum(axis=1)], axis=1)
    free = (weights[:, ~np.array(votes)] != 0).any(axis=1)
    return np.where(free[:, None], np.array([-np.inf, np.inf]), ends.astype(np.float64))
