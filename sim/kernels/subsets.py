"""Expected rewards of k draws from the completions of one pull, for many pulls at once and every scale k.

Two estimators of a pull of n completions:

* "subsets": draws without replacement, the mean over all subsets of size k: the complete U-statistic (Hoeffding,
  1948), unbiased and of no larger variance than the mean over disjoint blocks.
* "plug-in": draws with replacement, the value of the pull's empirical law: biased, but defined for k > n too.

Both are exact where their tables fit; else, and where "subsets-R" or "plug-in-R" asks for it, `kernels.orders` averages
over random orders.

Best of k: k draws from n sorted scores are all among the lowest i with probability F(i) = C(i, k) / C(n, k), or
(i / n)**k; scores are weighted by the steps of F, taken as whole multiples of 2**-22. A vote: the table of
`kernels.votes`. Estimates are whole units, the same wherever they are compiled, and count like as many blocks as the
pull has, or one where "plug-in" goes beyond it.
"""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from sim.constants import GOLD
from sim.core import Pull
from sim.designs import estimator_parts
from sim.kernels import blocks, orders, tallies, votes
from sim.utilities import Strategy, block_units, rounded

MAX_ENTRIES = 2**21
"""Numbers in a table, at most."""
_BITS, _LOW = 22, 8
"""Bits of a weight, and of the lower part of a score: with both, weighted sums of each part fit int32."""


def pull_units(
    strategy: Strategy,
    outcomes: Array,
    scales: Int[Array, " row"],
    estimator: str,
    max_scale: int,
    keys: UInt32[Array, "row 2"] | None = None,
) -> Int[Array, "row task num_scales"]:
    """Sum of task rewards over disjoint blocks, or estimates that count as much, in integer units.

    Args:
        strategy: how completions become rewards.
        outcomes: shape (width, objective, row); int or float.
        scales: completions in each pull; later rows of `outcomes` are padding.
        estimator: as `designs.estimator_parts` reads it.
        max_scale: scales that "plug-in" estimates; the others go up to the width.
        keys: key of every pull, for random orders.

    Raises:
        ValueError: orders are to be drawn, and there are no keys.
    """
    if estimator == "blocks":
        return blocks.block_units(strategy, outcomes, scales)
    kind, num_orders = estimator_parts(chosen(strategy, outcomes.shape[0], max_scale, estimator))
    num_scales = max_scale if kind == "plug-in" else outcomes.shape[0]
    if num_orders:
        if keys is None:
            raise ValueError(f"{kind}-{num_orders} draws random orders, which is possible in trials only, not exactly")
        units = orders.pull_units(strategy, outcomes, scales, keys, num_orders, max_scale if kind == "plug-in" else 0)
        return units * blocks_of(scales, num_scales, kind)[:, None, :] if kind == "plug-in" else units
    inside = jnp.arange(outcomes.shape[0], dtype=jnp.int32)[:, None] < scales[None]
    units = jnp.zeros((scales.shape[0], strategy.weights.shape[0], num_scales), jnp.int32)
    for k in strategy.columns("mv"):
        credit = _vote(strategy, outcomes[:, k], inside, estimator, num_scales)
        units = units + rounded(strategy.in_units[:, k][None, :, None] * credit[:, None, :])
    best = strategy.columns("bon")
    if best:
        score = blocks.scores(strategy, outcomes, best[0])
        for k in best[1:]:
            score = score + blocks.scores(strategy, outcomes, k)
        units = units + _best(score, inside, scales, estimator, num_scales)
    for k in strategy.columns("mean"):
        total = jnp.sum(jnp.where(inside[:, None], blocks.scores(strategy, outcomes, k), 0), axis=0).T
        size = jnp.maximum(scales, 1)[:, None]
        units = units + ((2 * total + size) // (2 * size))[:, :, None]
    return units * blocks_of(scales, num_scales, estimator)[:, None, :]


def chosen(strategy: Strategy, width: int, max_scale: int, estimator: str) -> str:
    """The estimator, or random orders in its place where its tables would be too large for pulls of `width`."""
    if estimator not in ("subsets", "plug-in"):
        return estimator
    num_scales = max_scale if estimator == "plug-in" else width
    voted = votes.num_entries(strategy.num_answers, width, num_scales) if strategy.columns("mv") else 0
    best = width * num_scales * width if strategy.columns("bon") else 0
    return estimator if max(voted, best) <= MAX_ENTRIES else f"{estimator}-{orders.ORDERS}"


def one_pull(strategy: Strategy, pull: Pull, estimator: str, max_scale: int) -> Int[Array, "task num_scales"]:
    """`pull_units` of one pull; "blocks" by the plain version."""
    keys = None if pull.key is None else pull.key[None]
    if estimator == "blocks":
        return block_units(strategy, pull.outcomes, pull.scale)
    return pull_units(strategy, pull.outcomes[:, :, None], pull.scale[None], estimator, max_scale, keys)[0]


def blocks_of(scales: Int[Array, "*pull"], num_scales: int, estimator: str) -> Int[Array, "*pull scale"]:
    """As how many blocks of every scale a pull counts.

    In float32, which CPUs divide by lanes: with the half added, no quotient below 2**22 is rounded past a whole number.
    """
    each = jnp.arange(1, num_scales + 1, dtype=jnp.float32).reshape((1,) * scales.ndim + (num_scales,))
    whole = jnp.floor((scales[..., None].astype(jnp.float32) + 0.5) / each).astype(jnp.int32)
    return (
        jnp.maximum(whole, jnp.minimum(scales, 1)[..., None]) if estimator_parts(estimator)[0] == "plug-in" else whole
    )


def _best(
    score: Int[Array, "width task row"], inside: Array, scales: Array, estimator: str, num_scales: int
) -> Int[Array, "row task scale"]:
    """Expected best of k draws from the first `scales` scores, rounded to whole units."""
    beyond = jnp.iinfo(jnp.int32).max
    ranked = jnp.sort(jnp.where(inside[:, None], score, beyond), axis=0)
    ranked = jnp.where(inside[:, None], ranked, 0)
    weights = jnp.asarray(best_weights(score.shape[0], num_scales, estimator))[jnp.maximum(scales, 1) - 1]
    high, low = (jnp.einsum("rkw,wtr->rtk", weights, part) for part in (ranked >> _LOW, ranked & (2**_LOW - 1)))
    return (high + ((low + 2 ** (_BITS - 1)) >> _LOW)) >> (_BITS - _LOW)


@lru_cache(maxsize=8)
def best_weights(width: int, num_scales: int, estimator: str) -> Int[np.ndarray, "size scale rank"]:
    """For pulls of 1..width completions and every k: the weight of the i-th smallest score, in units of 2**-22."""
    size, rank = np.arange(1, width + 1)[:, None], np.arange(width + 1)[None]
    below, steps = np.ones((width, width + 1)), []
    for k in range(num_scales):
        gone = 0 if estimator == "plug-in" else k
        share = np.clip(rank - gone, 0, None) / np.clip(size - gone, 1, None)
        below = below * np.minimum(share, 1.0)
        steps.append(np.diff(np.rint(below * 2**_BITS), axis=1))
    return np.stack(steps, axis=1).astype(np.int32)


def _vote(
    strategy: Strategy, labels: Array, inside: Array, estimator: str, num_scales: int
) -> Float[Array, "row scale"]:
    """Expected credit of k draws from the labels inside each column."""
    cast = [jnp.sum(((labels == label) & inside).astype(jnp.int32), axis=0) for label in range(strategy.num_answers)]
    table = votes.table(strategy.num_answers, strategy.tie, labels.shape[0], num_scales, estimator)
    others = cast[:GOLD] + cast[GOLD + 1 :]
    number = tallies.rank(table.wrong, jnp.stack(others)) if others else 0
    return jnp.asarray(table.credit)[jnp.asarray(table.first)[cast[GOLD]] + number]
