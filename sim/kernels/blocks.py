"""Block statistics of many pulls at once, with the pulls along the last axis so that lanes are pulls.

The plain version is `sim.utilities.block_units` of one pull at a time; tests hold the two to the same
integers. Nothing here is floating-point arithmetic whose order matters: votes and units are whole
numbers, and the one matrix product sums whole numbers below 2**24, exact in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from sim.kernels import counter
from sim.utilities import Strategy, credit_units, rounded


def categories(
    keys: UInt32[Array, "row 2"], thresholds: UInt32[Array, "last row"], width: int
) -> Int[Array, "width row"]:
    """The category of each completion: how many thresholds its word reaches.

    Args:
        keys: key of every pull.
        thresholds: distribution function over categories at every pull's prompt and query.
        width: completions to draw per pull.
    """
    first, second = (
        (words[None] >= thresholds[:, None]).astype(jnp.int32) for words in counter.pairs_rows(keys, width)
    )
    both = jnp.sum(first | (second << 16), axis=0)  # one sum of two categories: compilers then draw both words once
    return jnp.stack((both & 0xFFFF, both >> 16), axis=1).reshape(-1, keys.shape[0])[:width]


def block_units(strategy: Strategy, outcomes: Array, scales: Int[Array, " row"]) -> Int[Array, "row task width"]:
    """Sum of task rewards over disjoint blocks, for every pull and scale, in integer units.

    Args:
        strategy: how completions become rewards.
        outcomes: shape (width, objective, row); int or float.
        scales: completions in each pull; later rows of `outcomes` are padding.
    """
    width, _, num_rows = outcomes.shape
    _, ends, _ = _blocks(width)
    units = jnp.zeros((len(ends), strategy.weights.shape[0], num_rows), jnp.int32)
    for k in strategy.columns("mv"):
        credit = _majority_credit(strategy, outcomes[:, k])
        units = units + rounded(strategy.in_units[:, k][None, :, None] * credit[:, None, :])
    best = strategy.columns("bon")
    if best:
        score = scores(strategy, outcomes, best[0])
        for k in best[1:]:
            score = score + scores(strategy, outcomes, k)
        units = units + _block_max(score)
    for k in strategy.columns("mean"):
        total = _block_sum(scores(strategy, outcomes, k))
        size = jnp.asarray(_sizes(width), jnp.int32)[:, None, None]
        units = units + (2 * total + size) // (2 * size)
    whole = jnp.asarray(ends, jnp.int32)[:, None] <= scales[None, :]
    sums = _sum_blocks(jnp.where(whole[:, None, :], units, 0), width)
    return jnp.transpose(sums, (2, 1, 0))


def _blocks(width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends of all disjoint blocks of all scales, and which scale each belongs to."""
    pairs = [(k, j) for k in range(1, width + 1) for j in range(width // k)]
    starts = np.array([j * k for k, j in pairs])
    ends = np.array([(j + 1) * k for k, j in pairs])
    of_scale = np.zeros((width, len(pairs)), np.float32)
    of_scale[[k - 1 for k, _ in pairs], np.arange(len(pairs))] = 1.0
    return starts, ends, of_scale


def _sizes(width: int) -> np.ndarray:
    starts, ends, _ = _blocks(width)
    return ends - starts


def scores(strategy: Strategy, outcomes: Array, k: int) -> Int[Array, "width task row"]:
    """One objective's weighted scores of every completion, in integer units."""
    values = outcomes[:, k].astype(jnp.float32)
    return rounded(strategy.in_units[:, k][None, :, None] * values[:, None, :])


def _block_sum(values: Int[Array, "width *shape"]) -> Int[Array, "block *shape"]:
    """Sums over every block: differences of prefix sums."""
    starts, ends, _ = _blocks(values.shape[0])
    prefix = jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(values, axis=0)])
    return prefix[ends] - prefix[starts]


def _block_max(values: Int[Array, "width *shape"]) -> Int[Array, "block *shape"]:
    """Maxima over every block: a block of k is covered by two runs of 2**floor(log2 k), whose maxima are kept."""
    width = values.shape[0]
    runs, run, maxima = values, 1, []
    for k in range(1, width + 1):
        if k == 2 * run:
            runs, run = jnp.maximum(runs[:-run], runs[run:]), k
        last = (width // k - 1) * k + 1
        own = runs[:last:k]
        maxima.append(own if k == run else jnp.maximum(own, runs[k - run : k - run + last : k]))
    return jnp.concatenate(maxima)


def _sum_blocks(units: Int[Array, "block task row"], width: int) -> Int[Array, "width task row"]:
    """Sums over the blocks of every scale: a product for scales with three blocks or more, which are few."""
    three, two = width // 3, width // 2
    _, _, of_scale = _blocks(width)
    many = int(of_scale[:three].sum())
    sums = [units[many + 2 * (two - three) :]]
    if two > three:
        pairs = units[many : many + 2 * (two - three)]
        sums.insert(0, pairs[::2] + pairs[1::2])
    if three > 0:
        product = (jnp.asarray(of_scale[:three, :many]), units[:many].astype(jnp.float32))
        exact = jnp.tensordot(*product, axes=1, precision=jax.lax.Precision.HIGHEST)
        sums.insert(0, exact.astype(jnp.int32))
    return jnp.concatenate(sums)


def _majority_credit(strategy: Strategy, labels: Array) -> Float[Array, "block row"]:
    """Majority-vote credit of every block, the votes of several answers packed into one product.

    A float32 holds 24 bits exactly, so one matrix product counts the votes of 24 // bits answers at once,
    each in a field wide enough for all completions of a pull.
    """
    width = labels.shape[0]
    starts, ends, _ = _blocks(width)
    member = np.zeros((len(starts), width), np.float32)
    for block, (start, end) in enumerate(zip(starts, ends, strict=True)):
        member[block, start:end] = 1.0
    field = width.bit_length()
    per_word = 24 // field
    others = []
    for first in range(1, strategy.num_answers, per_word):
        answers = range(first, min(first + per_word, strategy.num_answers))
        packed = jnp.zeros(labels.shape, jnp.int32)
        for answer in answers:
            packed = packed + ((labels == answer).astype(jnp.int32) << (field * (answer - first)))
        votes = jnp.dot(jnp.asarray(member), packed.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
        votes = votes.astype(jnp.int32)
        others += [(votes >> (field * i)) & (2**field - 1) for i in range(len(answers))]
    size = jnp.asarray(ends - starts, jnp.int32)[:, None]
    gold = sum((-votes for votes in others), jnp.broadcast_to(size, (len(starts), labels.shape[1])))
    return credit_units(strategy, gold, others)
