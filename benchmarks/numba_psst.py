"""PSST in Numba on a voting world, tuned: the twin that `sim` is timed against. Needs `pip install -e .[bench]`.

One trial after the other, nothing allocated in a trial. A pull's answers are votes in byte-wide fields of one 64-bit
word; prefix sums of these give the votes of every block by one subtraction, and all answers are compared with the right
one at once. Scales of a prompt that no context has active any more are left out: no later round looks at them.
Selection is quickselect, and a tie-break word is only drawn for arms that tie at the cut.

Draws are counter-based, of two kinds. "threefry" are the very words of `sim`: every trial's answer is then the same as
that of `sim`, arm by arm, which is how the twin is checked. "mixed" words come from a short integer hash (the finaliser
`lowbias32` by C. Wellons) and cost a third.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, uint32, uint64

from sim import estimators
from sim.envs.sources import NamedSource
from sim.envs.tabular import TabularWorld
from sim.kernels import counter

SPARSE = 8
"""As `sim.algorithms.survivors.SPARSE`: from then on a tie-break word belongs to an arm's place in the list."""
LOW = 0x0101010101010101
HIGH = 0x8080808080808080
DRAWS = ("threefry", "mixed")


class VotingWorld(NamedTuple):
    """A voting world with one task, as arrays.

    Attributes:
        thresholds: distribution function over answers, in units of 2**-32, shape (prompt, query, answer - 1).
        num_train: training queries of a trial.
        credit: units of reward by how many other answers tie, shape (16,); nothing from 8 on, where one has more votes.
        unit: reward of a unit.
        weight: weight of the vote in every context, shape (context,).
        grid: step of estimates, shape (context,).
        cost: steps that an arm costs, shape (context, arm).
        max_scale: Nmax.
    """

    thresholds: np.ndarray
    num_train: int
    credit: np.ndarray
    unit: np.float32
    weight: np.ndarray
    grid: np.ndarray
    cost: np.ndarray
    max_scale: int


def problem_of(named: NamedSource) -> VotingWorld:
    """The arrays of a voting world.

    Raises:
        ValueError: the world is not one vote of at most 8 answers and 127 completions under a uniform query law.
    """
    source: Any = named.source
    world: Any = source.environment
    if not isinstance(world, TabularWorld) or world.strategy.aggregate != ("mv",) or world.spec.num_tasks > 1:
        raise ValueError(f"{named.name}: the Numba twin runs worlds with one vote alone")
    spec, strategy = world.spec, world.strategy
    if source.weights is not None or strategy.num_answers > 8 or spec.max_scale > 127:
        raise ValueError(
            f"{named.name}: the Numba twin knows 8 answers and 127 completions at most, and a uniform query law"
        )
    share = np.float32(1.0) / np.arange(1, strategy.num_answers + 1, dtype=np.float32)
    if strategy.tie == "half":
        share[1:] = 0.5
    credit = np.zeros(16, np.int32)
    credit[: len(share)] = np.rint(np.asarray(strategy.in_units)[0, 0] * share)
    empty = estimators.empty(spec)
    free = estimators.steps(spec, empty._replace(blocks=empty.blocks + 1.0))
    return VotingWorld(
        np.asarray(world.thresholds),
        source.num_train,
        credit,
        np.float32(spec.unit[0]),
        np.asarray(spec.task_weight),
        np.asarray(spec.grid),
        -np.asarray(free).reshape(spec.num_contexts, -1),
        spec.max_scale,
    )


def run(problem: VotingWorld, budget: int, seed: int, trials: int, draws: str = "mixed", first: int = 0) -> Any:
    """Prompt and scale per (trial, context), and completions spent per trial, of trials first, first + 1, ...

    Args:
        problem: from `problem_of`.
        budget: completions T.
        seed: root of all randomness.
        trials: how many.
        draws: one of `DRAWS`.
        first: number of the first trial.
    """
    root = np.asarray(counter.from_seed(seed))
    arms = np.zeros((trials, len(problem.weight)), np.int32)
    spent = np.zeros(trials, np.int32)
    _run(*problem, budget, root[0], root[1], first, DRAWS.index(draws), arms, spent)
    return arms // problem.max_scale, arms % problem.max_scale + 1, spent


@njit(inline="always")
def _threefry(key0, key1, count0, count1):
    """Twenty rounds of threefry-2x32, as in `sim.kernels.counter`."""
    key2 = uint32(key0 ^ key1 ^ uint32(0x1BD11BDA))
    x0, x1 = uint32(count0 + key0), uint32(count1 + key1)
    x0, x1 = _four(x0, x1, 13, 15, 26, 6)
    x0, x1 = _four(uint32(x0 + key1), uint32(x1 + key2 + uint32(1)), 17, 29, 16, 24)
    x0, x1 = _four(uint32(x0 + key2), uint32(x1 + key0 + uint32(2)), 13, 15, 26, 6)
    x0, x1 = _four(uint32(x0 + key0), uint32(x1 + key1 + uint32(3)), 17, 29, 16, 24)
    x0, x1 = _four(uint32(x0 + key1), uint32(x1 + key2 + uint32(4)), 13, 15, 26, 6)
    return uint32(x0 + key2), uint32(x1 + key0 + uint32(5))


@njit(inline="always")
def _four(x0, x1, a, b, c, d):
    x0, x1 = _turn(x0, x1, a)
    x0, x1 = _turn(x0, x1, b)
    x0, x1 = _turn(x0, x1, c)
    return _turn(x0, x1, d)


@njit(inline="always")
def _turn(x0, x1, by):
    x0 = uint32(x0 + x1)
    x1 = uint32(uint32(x1 << uint32(by)) | uint32(x1 >> uint32(32 - by)))
    return x0, uint32(x0 ^ x1)


@njit(inline="always")
def _mix(x):
    x = uint32(uint32(x ^ uint32(x >> uint32(16))) * uint32(0x7FEB352D))
    x = uint32(uint32(x ^ uint32(x >> uint32(15))) * uint32(0x846CA68B))
    return uint32(x ^ uint32(x >> uint32(16)))


@njit(inline="always")
def _fold(key0, key1, count0, count1, kind):
    """Two words from a key and two counters."""
    if kind == 0:
        return _threefry(key0, key1, count0, count1)
    x = _mix(uint32(key0 + _mix(uint32(count0 * uint32(0x9E3779B9) + count1))))
    return x, _mix(uint32(x ^ key1))


@njit
def _fill(key0, key1, size, kind, words):
    """The first `size` words of a key."""
    if kind == 0:
        for i in range((size + 1) // 2):
            x0, x1 = _threefry(key0, key1, uint32(i), uint32(0xB175))
            words[2 * i], words[2 * i + 1] = x0, x1
    else:
        for i in range(size):
            words[i] = _mix(uint32(uint32(key0 + uint32(i) * uint32(0x9E3779B9)) ^ key1))


@njit(inline="always")
def _word(key0, key1, place, kind):
    """One of the words of `_fill`."""
    if kind == 0:
        x0, x1 = _threefry(key0, key1, uint32(place // 2), uint32(0xB175))
        return x1 if place % 2 else x0
    return _mix(uint32(uint32(key0 + uint32(place) * uint32(0x9E3779B9)) ^ key1))


@njit(inline="always")
def _bits_of(size):
    """Bits that an index below `size` needs, one at least."""
    bits = 1
    while (1 << bits) < size:
        bits += 1
    return bits


@njit(inline="always")
def _below(word, bound):
    return np.int64(uint64(uint64(word) * uint64(bound)) >> uint64(32))


@njit
def _cut(words, size, kept):
    """The `kept`-th largest of the first `size` words, which are put in another order."""
    low, high, place = 0, size - 1, kept - 1
    while low < high:
        pivot = words[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while words[i] > pivot:
                i += 1
            while words[j] < pivot:
                j -= 1
            if i <= j:
                words[i], words[j] = words[j], words[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return words[place]


@njit
def _keep(scores, places, size, kept, key0, key1, offset, index_bits, kind, scratch, tied):
    """Mark in `scores` (0 or 1) the `kept` best of `size` arms, ties by the words at their places."""
    for i in range(size):
        scratch[i] = scores[i]
    cut = _cut(scratch, size, kept)
    above, num_tied = 0, 0
    for i in range(size):
        if scores[i] > cut:
            above += 1
        elif scores[i] == cut:
            tied[num_tied] = i
            num_tied += 1
    left, least = kept - above, np.int64(-1)
    if left < num_tied:
        for j in range(num_tied):
            place = places[tied[j]]
            word = _word(key0, key1, offset + place, kind)
            scratch[j] = np.int64(word >> uint32(index_bits)) << index_bits | place
        least = _cut(scratch, num_tied, left)
    for i in range(size):
        if scores[i] == cut:
            word = np.int64(_word(key0, key1, offset + places[i], kind) >> uint32(index_bits)) << index_bits
            scores[i] = (word | places[i]) >= least if least >= 0 else 1
        else:
            scores[i] = scores[i] > cut


@njit
def _prefix(words, size, thresholds, prefix):
    """Votes of the first i completions, a byte for every answer."""
    for i in range(size):
        prefix[i + 1] = 0
    for m in range(thresholds.shape[0]):
        threshold = thresholds[m]
        for i in range(size):
            prefix[i + 1] += uint64(8) if words[i] >= threshold else uint64(0)
    for i in range(size):
        prefix[i + 1] = uint64(1) << prefix[i + 1]
    for i in range(size):
        prefix[i + 1] += prefix[i]


@njit
def _blocks(prefix, size, wanted, others, credit, units):
    """Add the credit of all blocks of the wanted scales to `units`; `others` has bytes 1 .. answers - 1 set."""
    high = uint64(others & uint64(HIGH))
    low = uint64(others & uint64(LOW))
    for k in range(1, size + 1):
        if not wanted[k - 1]:
            continue
        total, before = 0, prefix[0]
        for end in range(k, size + 1, k):
            after = prefix[end]
            votes = uint64(after - before)
            before = after
            gold = uint64(votes & uint64(255))
            ahead = uint64(uint64(uint64(gold * low) | high) - uint64(votes & others))
            apart = uint64(ahead ^ high)
            level = uint64(~uint64(apart + uint64(low * uint64(127))) & high)
            beaten = (uint64(ahead & high) != high) | (gold == 0)
            total += credit[_ones(level) + 8 * np.int64(beaten)]
        units[k - 1] += total


@njit(inline="always")
def _ones(bits):
    """How many bytes have their highest bit set."""
    return np.int64(uint64(uint64(bits >> uint64(7)) * uint64(LOW)) >> uint64(56))


@njit(cache=True)
def _run(
    thresholds, num_train, credit, unit, weight, grid, cost, max_scale, budget, root0, root1, first, kind, answer, spent
):
    num_prompts, num_queries = thresholds.shape[0], thresholds.shape[1]
    num_contexts, num_arms = cost.shape
    num_rounds, left = 1, (num_arms + 1) // 2
    while left > 1:
        num_rounds, left = num_rounds + 1, (left + 1) // 2
    others = uint64(0)
    for m in range(1, thresholds.shape[2] + 1):
        others = uint64(others | (uint64(255) << uint64(8 * m)))
    query_bits, prompt_bits = _bits_of(num_queries), _bits_of(num_prompts)
    arms, places = np.zeros((2, num_contexts, num_arms), np.int64)
    total, blocks = np.zeros((2, num_prompts, max_scale), np.float32)
    every = np.arange(num_arms)
    prompt_of, scale_of = every // max_scale, every % max_scale  # looked up: dividing takes longer
    wanted, largest = np.zeros((num_prompts, max_scale), np.bool_), np.zeros(num_prompts, np.int64)
    scale, pulls, order = np.zeros((3, num_prompts), np.int64)
    scores, scratch, tied = np.zeros((3, num_arms), np.int64)
    words, prefix = np.zeros(max(max_scale, num_prompts) + 1, np.uint32), np.zeros(max_scale + 1, np.uint64)
    units = np.zeros(max_scale, np.int64)
    ids, packed = np.zeros(num_queries, np.int64), np.zeros(num_queries + 1, np.uint32)

    for trial in range(len(answer)):
        trial0, trial1 = _fold(root0, root1, uint32(first + trial), uint32(0), kind)
        split0, split1 = _fold(trial0, trial1, uint32(2), uint32(0), kind)
        run0, run1 = _fold(trial0, trial1, uint32(3), uint32(0), kind)
        if num_train == num_queries:
            for i in range(num_queries):
                ids[i] = i
        elif kind == 0:
            _fill(split0, split1, num_queries, kind, packed)
            for i in range(num_queries):
                packed[i] = uint32(uint32(uint32(packed[i] >> uint32(query_bits)) << uint32(query_bits)) | uint32(i))
            packed[:num_queries].sort()
            for i in range(num_train):
                ids[i] = packed[i] & uint32((1 << query_bits) - 1)
        else:
            _fill(split0, split1, num_train, kind, packed)
            for i in range(num_queries):
                ids[i] = i
            for i in range(num_train):
                j = i + _below(packed[i], num_queries - i)
                ids[i], ids[j] = ids[j], ids[i]
        total[:], blocks[:] = 0, 0
        for c in range(num_contexts):
            for i in range(num_arms):
                arms[c, i], places[c, i] = i, i
        size, listed, spent[trial] = num_arms, False, 0
        width = num_arms
        for done in range(num_rounds):
            allocate0, allocate1 = _fold(run0, run1, uint32(done), uint32(1), kind)
            pull0, pull1 = _fold(run0, run1, uint32(done), uint32(2), kind)
            update0, update1 = _fold(run0, run1, uint32(done), uint32(3), kind)
            wanted[:], largest[:] = False, 0
            for c in range(num_contexts):
                for i in range(size):
                    p, n = prompt_of[arms[c, i]], scale_of[arms[c, i]]
                    wanted[p, n] = True
                    largest[p] = max(largest[p], n + 1)
            allowance = budget * (done + 1) // num_rounds - budget * done // num_rounds
            together = largest.sum()
            if allowance >= together:
                for p in range(num_prompts):
                    scale[p], pulls[p] = largest[p], allowance // together
            else:
                _fill(allocate0, allocate1, num_prompts, kind, words)
                for p in range(num_prompts):
                    order[p] = np.int64(words[p] >> uint32(prompt_bits)) << prompt_bits | p
                order.sort()
                bits = (1 << prompt_bits) - 1
                for i in range(num_prompts - 1, -1, -1):
                    p = order[i] & bits
                    scale[p] = min(largest[p], allowance)
                    pulls[p] = 1
                    allowance -= scale[p]
            for p in range(num_prompts):
                if largest[p] == 0 or scale[p] == 0:
                    continue
                units[:] = 0
                for pull in range(pulls[p]):
                    own0, own1 = _fold(pull0, pull1, uint32(p), uint32(pull), kind)
                    query = ids[_below(own0, num_train)]
                    _fill(own0, own1, scale[p], kind, words)
                    _prefix(words, scale[p], thresholds[p, query], prefix)
                    _blocks(prefix, scale[p], wanted[p], others, credit, units)
                for k in range(scale[p]):
                    total[p, k] += np.float32(units[k]) * unit
                    blocks[p, k] += np.float32(pulls[p] * (scale[p] // (k + 1)))
                spent[trial] += pulls[p] * scale[p]
            kept = (size + 1) // 2
            index_bits = _bits_of(width)
            for c in range(num_contexts):
                for i in range(size):
                    arm = arms[c, i]
                    p, n = prompt_of[arm], scale_of[arm]
                    if blocks[p, n] > 0:
                        reward = np.float32(total[p, n] / blocks[p, n]) * weight[c]
                        scores[i] = np.int64(np.rint(np.float32(reward / grid[c]))) - cost[c, arm]
                    else:
                        scores[i] = -(2**31)
                _keep(scores, places[c], size, kept, update0, update1, c * width, index_bits, kind, scratch, tied)
                new = 0
                for i in range(size):
                    if scores[i]:
                        arms[c, new], places[c, new] = arms[c, i], places[c, i]
                        new += 1
            size = kept
            if not listed and size * SPARSE <= num_arms:
                listed, width = True, size
                for c in range(num_contexts):
                    for i in range(size):
                        places[c, i] = i
        for c in range(num_contexts):
            answer[trial, c] = arms[c, 0]
