"""Sums over the completions of live pulls, whatever answers they show: block sums, or votes, ranked scores and sums.

The kernels of trials do the work; here pulls are grouped so that few shapes, and few numbers of answers, are compiled.
"""

from collections.abc import Iterator
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sim.core import Algorithm, Spec
from sim.designs import estimator_parts
from sim.kernels import completions, subsets
from sim.raw import RAW, Raw
from sim.utilities import Strategy

_ROWS = 256
"""Pulls that are summed at a time."""


def unit_sums(
    strategy: Strategy,
    outcomes: np.ndarray,
    scales: np.ndarray,
    estimator: str = "blocks",
    max_scale: int = 0,
    keys: np.ndarray | None = None,
) -> np.ndarray:
    """Block sums of pulls in integer units, int64, shape (pull, task, scale).

    Args:
        strategy: how completions become rewards; its number of answers is not used.
        outcomes: shape (pull, width, objective), float32; rows from a pull's scale on are padding.
        scales: completions of every pull.
        estimator: as `designs.estimator_parts` reads it.
        max_scale: scales that "plug-in" estimates.
        keys: key of every pull, shape (pull, 2), for random orders.
    """
    num_pulls, width, _ = outcomes.shape
    seen = _as_seen(strategy, outcomes)
    num_scales = max_scale if estimator_parts(estimator)[0] == "plug-in" else width
    sums = np.zeros((num_pulls, strategy.weights.shape[0], num_scales), np.int64)
    for some, rows in _blocks_of_rows(outcomes, scales):
        own = None if keys is None else jnp.asarray(np.resize(keys[some], (_ROWS, 2)))
        found = _pull_units(seen, *rows, estimator, max_scale, own)
        sums[some] = np.asarray(found)[: len(sums[some])]
    return sums


def completions_of(strategy: Strategy, outcomes: np.ndarray, scales: np.ndarray, num_answers: int) -> list[Raw]:
    """Votes, ranked scores and sums of pulls, as the runner hands them over where estimators take them as they are.

    Names of answers mean nothing from pull to pull: votes of the wrong ones are in falling order. A pull may show more
    of them than there are places for, `num_answers` - 1; each vote for one beyond those goes to the place that has the
    fewest.

    Args:
        strategy: how completions become rewards; its number of answers is not used.
        outcomes: shape (pull, width, objective), float32; rows from a pull's scale on are padding.
        scales: completions of every pull.
        num_answers: places for answers, the right one's included.
    """
    seen, found = _as_seen(strategy, outcomes), []
    for some, rows in _blocks_of_rows(outcomes, scales):
        votes, *rest = (np.asarray(part)[: len(scales[some])] for part in _raw(seen, *rows))
        if votes.shape[1]:
            votes = np.stack([_within(row, num_answers) for row in votes])
        found += [Raw(*parts) for parts in zip(votes, *rest, strict=True)]
    return found


def _within(votes: np.ndarray, num_answers: int) -> np.ndarray:
    """Votes of the right answer and, in falling order, of the wrong ones, in `num_answers` places."""
    wrong = -np.sort(-votes[1:])
    kept = np.pad(wrong[: num_answers - 1], (0, max(num_answers - 1 - len(wrong), 0)))
    for _ in range(int(wrong[num_answers - 1 :].sum())):
        kept[np.flatnonzero(kept == kept.min())[0]] += 1  # the first of the fewest: the order stays
    return np.concatenate([votes[:1], kept])


def _as_seen(strategy: Strategy, outcomes: np.ndarray) -> Strategy:
    """The strategy for as many answers as some pull shows."""
    vote = strategy.columns("mv")
    return with_answers(strategy, int(outcomes[:, :, vote[0]].max(initial=1)) if vote and outcomes.size else 0)


def _blocks_of_rows(outcomes: np.ndarray, scales: np.ndarray) -> Iterator[tuple[slice, tuple[jax.Array, jax.Array]]]:
    """Pulls, so many at a time, as kernels take them: which they are, completions by row, and scales."""
    for first in range(0, len(scales), _ROWS):
        some = slice(first, first + _ROWS)
        padding = (0, _ROWS - len(scales[some]))
        filled = np.pad(outcomes[some], (padding, (0, 0), (0, 0)))
        sizes = np.pad(scales[some], padding).astype(np.int32)
        yield some, (jnp.asarray(filled.transpose(1, 2, 0)), jnp.asarray(sizes))


def with_answers(strategy: Strategy, most: int) -> Strategy:
    """The strategy for answers numbered up to `most`, and a few more: few numbers of answers, few compilations."""
    answers = 1 << most.bit_length()
    return replace(strategy, num_answers=answers)


def estimator_for(spec: Spec, strategy: Strategy, algorithm: Algorithm) -> str:
    """The estimator of a run: random orders where tables would be too large if all answers of a pull differed.

    For a rule that estimates by itself, that of the evidence beside it: all subsets.
    """
    width, asked = algorithm.max_pull(spec), "subsets" if algorithm.estimator == RAW else algorithm.estimator
    return subsets.chosen(with_answers(strategy, width), width, spec.max_scale, asked)


_pull_units, _raw = eqx.filter_jit(subsets.pull_units), eqx.filter_jit(completions.raw)
