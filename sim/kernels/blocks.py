"""Block statistics of many pulls at once, with the pulls along the last axis so that lanes are pulls.

The plain version is `sim.utilities.block_units` of one pull at a time; tests hold the two to the same
integers: votes and units are whole numbers, whose sums no order changes. A pull of N completions has
sum over k of floor(N / k) blocks, about N log N, and every part of a pull's work is in proportion to that.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt32

from sim.kernels import counter
from sim.utilities import Strategy, credit_units, rounded

SELECTED = 32
"""Up to so many categories a score is found by comparing with each: CPUs do that by lanes, look-ups one by one."""


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
    return _sums(units, scales, width)


def best_of_labels(
    strategy: Strategy,
    atoms: Float[Array, "category objective"],
    labels: Int[Array, "width row"],
    scales: Int[Array, " row"],
) -> Int[Array, "row task width"]:
    """`block_units` where all objectives are best of N and every category has the same outcomes everywhere.

    Args:
        strategy: how completions become rewards.
        atoms: outcomes of every category.
        labels: category of every completion; those from `scales` on are padding.
        scales: completions in each pull.
    """
    table = sum(scores(strategy, atoms[:, :, None], k) for k in range(len(strategy.aggregate)))
    table = jnp.asarray(table)[:, None]  # category, 1, task, 1
    if table.shape[0] > SELECTED:
        score = jnp.moveaxis(table[labels, 0, :, 0], 2, 1)
    else:
        score = jnp.broadcast_to(table[0], (labels.shape[0], table.shape[2], labels.shape[1]))
        for category in range(1, table.shape[0]):
            score = jnp.where(labels[:, None] >= category, table[category], score)
    return _sums(_block_max(score), scales, labels.shape[0])


def _sums(units: Int[Array, "block task row"], scales: Int[Array, " row"], width: int) -> Int[Array, "row task width"]:
    """Sums of every scale's blocks, as far as pulls go."""
    _, ends, of_scale = _blocks(width)
    whole = jnp.asarray(ends, jnp.int32)[:, None] <= scales[None, :]
    sums = jnp.zeros((width, *units.shape[1:]), jnp.int32)
    sums = sums.at[of_scale].add(jnp.where(whole[:, None, :], units, 0), indices_are_sorted=True)
    return jnp.transpose(sums, (2, 1, 0))


def _blocks(width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends of all disjoint blocks of all scales, by scale, and which scale, from 0, each belongs to."""
    pairs = [(k, j) for k in range(1, width + 1) for j in range(width // k)]
    starts = np.array([j * k for k, j in pairs])
    ends = np.array([(j + 1) * k for k, j in pairs])
    return starts, ends, np.array([k - 1 for k, _ in pairs])


def _sizes(width: int) -> np.ndarray:
    starts, ends, _ = _blocks(width)
    return ends - starts


def scores(strategy: Strategy, outcomes: Array, k: int) -> Int[Array, "width task row"]:
    """One objective's weighted scores of every completion, in integer units."""
    values = outcomes[:, k].astype(jnp.float32)
    return rounded(strategy.in_units[:, k][None, :, None] * values[:, None, :])


def _block_sum(values: Shaped[Array, "width *shape"]) -> Shaped[Array, "block *shape"]:
    """Sums over every block: differences of prefix sums."""
    starts, ends, _ = _blocks(values.shape[0])

    def one_more(total: Array, value: Array) -> tuple[Array, Array]:
        return total + value, total + value

    first = jnp.zeros_like(values[0])
    _, sums = jax.lax.scan(one_more, first, values)  # `cumsum` takes four times as long where a pull is wide
    prefix = jnp.concatenate([first[None], sums])
    return prefix[ends] - prefix[starts]


def _block_max(values: Int[Array, "width *shape"]) -> Int[Array, "block *shape"]:
    """Maxima over every block: a block of k is covered by two runs of 2**floor(log2 k), whose maxima are kept."""
    width = values.shape[0]
    starts, ends, _ = _blocks(width)
    runs, first, run = [values], [0], 1
    while 2 * run <= width:
        runs.append(jnp.maximum(runs[-1][:-run], runs[-1][run:]))
        first.append(first[-1] + width + 1 - run)
        run *= 2
    level = np.array([int(size).bit_length() - 1 for size in ends - starts])
    kept, place = jnp.concatenate(runs), np.array(first)[level]
    return jnp.maximum(kept[place + starts], kept[place + ends - 2**level])


def _majority_credit(strategy: Strategy, labels: Array) -> Float[Array, "block row"]:
    """Majority-vote credit of every block, the votes of several answers packed into one word.

    Each has a field wide enough for all completions of a pull: no field of a difference of prefix sums borrows.
    """
    width = labels.shape[0]
    starts, ends, _ = _blocks(width)
    field = width.bit_length()
    per_word = 32 // field
    others = []
    for first in range(1, strategy.num_answers, per_word):
        answers = range(first, min(first + per_word, strategy.num_answers))
        packed = jnp.zeros(labels.shape, jnp.uint32)
        for answer in answers:
            packed = packed + ((labels == answer).astype(jnp.uint32) << (field * (answer - first)))
        votes = _block_sum(packed)
        others += [((votes >> (field * i)) & (2**field - 1)).astype(jnp.int32) for i in range(len(answers))]
    size = jnp.asarray(ends - starts, jnp.int32)[:, None]
    gold = sum((-votes for votes in others), jnp.broadcast_to(size, (len(starts), labels.shape[1])))
    return credit_units(strategy, gold, others)
