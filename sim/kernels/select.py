"""Searches that lanes can share: the m best of a masked list, ties by a word, without sorting; set items; owners.

Sorting costs 40 ns an element on CPU; a vectorised count of a comparison costs a hundredth of that, and some
twenty of them find the cut. Of few items all pairs are compared. `plain` is the same answer by sorting, the test
oracle.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt32

from sim.kernels import lanes

_LINE = 32
"""Counts add up lines of this many bytes: one vector register."""
_MOST = 255
"""Lines that a byte can count."""
MANY = 2**14
"""From so many owners on they are found by bisection; below by comparing: all ends of a line, or in two rounds."""
TOGETHER_BYTES = 2**20
"""Words of lists up to so many bytes are searched together: a core's cache holds them."""
GROUP_BYTES = 2**17
"""Words of lists that are searched at a time where there are more."""
PAIRS = 32
"""Up to so many items all pairs are compared: faster, and a tenth of the compiling."""


def best(
    score: Float[Array, " item"] | Int[Array, " item"],
    tiebreak: UInt32[Array, " item"],
    mask: Bool[Array, " item"],
    num_kept: Int[Array, ""],
) -> Bool[Array, " item"]:
    """Mask of the `num_kept` best items inside `mask`: higher score first, then higher tiebreak.

    Args:
        score: no NaN. The lowest number (-inf, or -2**31 among integers) is allowed and ranks last.
        tiebreak: distinct words; see `distinct`.
        mask: items that take part; at least `num_kept` of them.
        num_kept: how many to keep.
    """
    word = sortable(score)
    if score.shape[0] <= PAIRS:
        higher = (word[:, None] > word[None]) | ((word[:, None] == word[None]) & (tiebreak[:, None] > tiebreak[None]))
        return mask & (jnp.sum((higher & mask[:, None]).astype(jnp.int32), axis=0) < num_kept)
    return _best_of_lists(word[None], tiebreak[None], mask[None], num_kept[None])[0]


def plain(
    score: Float[Array, " item"] | Int[Array, " item"],
    tiebreak: UInt32[Array, " item"],
    mask: Bool[Array, " item"],
    num_kept: Int[Array, ""],
) -> Bool[Array, " item"]:
    """`best`, by sorting."""
    order = jnp.lexsort((~tiebreak, ~sortable(score), ~mask))
    place = jnp.zeros(score.shape, jnp.int32).at[order].set(jnp.arange(score.shape[0], dtype=jnp.int32))
    return mask & (place < num_kept)


def first(score: Float[Array, " item"], tiebreak: UInt32[Array, " item"], mask: Bool[Array, " item"]) -> Int[Array, ""]:
    """The best item inside a mask: higher score first, then higher tiebreak, of words made `distinct`.

    Maxima are taken over a table of lines, which CPUs do by lanes; an argmax would draw every word anew for each item.
    """
    size = score.shape[0]
    score, tiebreak, mask = (_in_lines(items) for items in (score, tiebreak, mask))
    score = jnp.where(mask, score, -jnp.inf)
    best = mask & (score == jnp.max(score))
    return _item_of(jnp.max(jnp.where(best, tiebreak, jnp.uint32(0))), size)


def sortable(score: Float[Array, "*shape"] | Int[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Words that order as the scores do (0.0 and -0.0 alike)."""
    if jnp.issubdtype(score.dtype, jnp.integer):
        return jax.lax.bitcast_convert_type(score, jnp.uint32) ^ jnp.uint32(0x80000000)
    word = jax.lax.bitcast_convert_type(jnp.where(score == 0, jnp.float32(0.0), score), jnp.uint32)
    negative = (word >> 31).astype(bool)
    return jnp.where(negative, ~word, word | jnp.uint32(0x80000000))


def distinct(words: UInt32[Array, " item"]) -> UInt32[Array, " item"]:
    """Make random words distinct by writing the item's index into the low bits."""
    size = words.shape[0]
    index_bits = _index_bits(size)
    return ((words >> index_bits) << index_bits) | jnp.arange(size, dtype=jnp.uint32)


def listed(mask: Bool[Array, " item"], size: int) -> Int[Array, " size"]:
    """Places of the first `size` set items in ascending order; where fewer are set, the rest is the last item.

    Lines of 32 items are words of 32 bits. An item's line is found by counting the set items of whole lines, its place
    there by counting those of halves of the line, of halves of a half, and so on.
    """
    lines = _in_lines(mask).astype(jnp.uint32)
    num_lines = lines.shape[0]
    words = jnp.sum(lines << jnp.arange(_LINE, dtype=jnp.uint32)[None], axis=1, dtype=jnp.uint32)
    inside = _num_set(words)
    wanted = jnp.arange(size, dtype=jnp.int32)
    if num_lines <= _LINE:
        through = jnp.sum(jnp.triu(jnp.broadcast_to(inside[:, None], (num_lines, num_lines))), axis=0)
    else:
        through = jnp.cumsum(inside)
    line = owners(through, wanted)
    word, left, place = words[line], wanted - (through - inside)[line], line * _LINE
    for half in (16, 8, 4, 2, 1):
        lower = _num_set(word & jnp.uint32((1 << half) - 1))
        upper = left >= lower
        word, left = jnp.where(upper, word >> half, word), jnp.where(upper, left - lower, left)
        place = jnp.where(upper, place + half, place)
    return jnp.where(wanted < through[-1], place, mask.shape[0] - 1)


def that_fit(
    order: UInt32[Array, " item"], cost: Int[Array, " item"], allowance: Int[Array, ""]
) -> Bool[Array, " item"]:
    """The longest run of items, from the highest order word down, whose costs fit the allowance together.

    Args:
        order: distinct words.
        cost: >= 0; an item of cost 0 is not wanted.
        allowance: what the costs may sum to.
    """
    if order.shape[0] <= PAIRS:
        before = order[:, None] >= order[None]
        return (cost > 0) & (jnp.sum(jnp.where(before, cost[:, None], 0), axis=0) <= allowance)

    def step(i: Int[Array, ""], cut: UInt32[Array, ""]) -> UInt32[Array, ""]:
        trial = cut & ~(jnp.uint32(0x80000000) >> i.astype(jnp.uint32))
        return jnp.where(jnp.sum(jnp.where(order >= trial, cost, 0)) <= allowance, trial, cut)

    # The smallest cut, found bit by bit: word w is in when w >= cut, and the cut itself may be out.
    cut = jax.lax.fori_loop(0, 32, step, jnp.uint32(0xFFFFFFFF))
    fits = jnp.sum(jnp.where(order >= cut, cost, 0)) <= allowance
    return (cost > 0) & (order >= cut) & fits


def owners(ends: Int[Array, " owner"], items: Int[Array, " item"]) -> Int[Array, " item"]:
    """The owner of every item: how many ends are at or below its number, the last owner beyond all ends.

    Args:
        ends: in ascending order; items from one end up to the next belong to the next one's owner.
        items: numbers of items.
    """
    last = ends.shape[0] - 1
    if last < _LINE or last >= MANY:
        found = jnp.searchsorted(ends, items, side="right", method="scan" if last >= MANY else "compare_all")
        return jnp.minimum(found, last).astype(jnp.int32)
    length = 1 << (last.bit_length() + 1) // 2
    lines = jnp.pad(ends, (0, -ends.shape[0] % length), mode="edge").reshape(-1, length)
    passed = jnp.sum((lines[:, -1:] <= items[None]).astype(jnp.int32), axis=0)
    line = jnp.minimum(passed, lines.shape[0] - 1)
    own = _square(lines.T)[:, :, line]
    inside = jnp.sum((own <= items[None, None]).astype(jnp.int32), axis=(0, 1))
    return jnp.minimum(line * length + inside, last)


def running_sums(counts: Int[Array, " item"]) -> Int[Array, " item"]:
    """Sums of whole numbers up to and with every item: `jnp.cumsum`, in three kernels instead of eight."""
    size, place = counts.shape[0], jnp.arange(_LINE, dtype=jnp.int32)
    if size >= MANY:
        return jnp.cumsum(counts)
    lines = _in_lines(counts)
    inside = jnp.sum(jnp.where((place[:, None] <= place[None])[None], lines[:, :, None], 0), axis=1)
    if size <= _LINE:
        return inside[0, :size]
    number = jnp.arange(lines.shape[0], dtype=jnp.int32)
    earlier = _square(number[:, None]) < number[None, None]
    before = jnp.sum(jnp.where(earlier, _square(inside[:, -1:]), 0), axis=(0, 1))
    return (inside + before[:, None]).reshape(-1)[:size]


@jax.custom_batching.custom_vmap
def _best_of_lists(
    word: UInt32[Array, "list item"],
    tiebreak: UInt32[Array, "list item"],
    mask: Bool[Array, "list item"],
    num_kept: Int[Array, " list"],
) -> Bool[Array, "list item"]:
    """`best` of every list: as many lists at a time as a cache holds, so that none waits for the slowest of all."""
    num, size = word.shape
    if 4 * num * size <= TOGETHER_BYTES or num == 1 or jax.default_backend() != "cpu":
        return jax.vmap(_searched)(word, tiebreak, mask, num_kept)
    group = -(-num // min(-(-4 * num * size // GROUP_BYTES), num))
    turns = -(-num // group)

    def in_turns(items: Shaped[Array, "list *more"]) -> Shaped[Array, "turn group *more"]:
        filled = jnp.pad(items, ((0, turns * group - num), *((0, 0) for _ in items.shape[1:])))
        return filled.reshape(turns, group, *items.shape[1:])

    lists = jax.tree.map(in_turns, (word, tiebreak, mask, num_kept))
    return jax.lax.map(lambda own: jax.vmap(_searched)(*own), lists).reshape(-1, size)[:num]


@_best_of_lists.def_vmap
def _more_lists(axis_size: int, batched: list[bool], *lists: Array) -> tuple[Array, bool]:
    """Lists of all lanes are lists like others."""
    spread = [a if has else jnp.broadcast_to(a, (axis_size, *a.shape)) for a, has in zip(lists, batched, strict=True)]
    kept = _best_of_lists(*(a.reshape(-1, *a.shape[2:]) for a in spread))
    return kept.reshape(axis_size, -1, *kept.shape[1:]), True


def _searched(
    word: UInt32[Array, " item"], tiebreak: UInt32[Array, " item"], mask: Bool[Array, " item"], num_kept: Int[Array, ""]
) -> Bool[Array, " item"]:
    """`best` by finding the cut among the scores, then that among the words of those that tie."""
    rank = _from_one(word, mask)
    cut, above = _kth_largest(rank, num_kept, jnp.max(rank))
    tied, left = mask & (rank == cut), num_kept - above
    word = jnp.where(tied, tiebreak, jnp.uint32(0))
    last, _ = _kth_largest(word, left, jnp.uint32(0xFFFFFFFF))
    return (rank > cut) | (tied & (tiebreak >= last) & (left > 0))


def _square(items: Int[Array, " item *more"]) -> Int[Array, "row column *more"]:
    """Items in about as many rows as columns, filled up with zeros: sums over up to 32 of each are a single kernel."""
    width = 1 << ((items.shape[0] - 1).bit_length() + 1) // 2
    filled = jnp.pad(items, ((0, -items.shape[0] % width), *((0, 0) for _ in items.shape[1:])))
    return filled.reshape(-1, width, *items.shape[1:])


def _in_lines(items: Shaped[Array, " item"]) -> Shaped[Array, "line width"]:
    """Items in lines of 32, the last filled up with zeros."""
    num_lines = -(-items.shape[0] // _LINE)
    return jnp.pad(items, (0, num_lines * _LINE - items.shape[0])).reshape(num_lines, _LINE)


def _index_bits(size: int) -> int:
    """Low bits of `distinct` words that hold an item's index."""
    return max(1, (size - 1).bit_length())


def _item_of(word: UInt32[Array, ""], size: int) -> Int[Array, ""]:
    """The item that a `distinct` word belongs to."""
    return (word & jnp.uint32((1 << _index_bits(size)) - 1)).astype(jnp.int32)


def _num_set(words: UInt32[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Set bits of every word."""
    return jax.lax.population_count(words).astype(jnp.int32)


def _from_one(word: UInt32[Array, " item"], mask: Bool[Array, " item"]) -> UInt32[Array, " item"]:
    """Words moved down to need few bits: 0 outside the mask, 1 for a word of 0, from 2 on for the others."""
    word = jnp.where(mask, word, jnp.uint32(0))
    least = jnp.min(jnp.where(word > 0, word, jnp.uint32(0xFFFFFFFF)))
    return jnp.where(word > 0, word - least + 2, mask.astype(jnp.uint32))


def _kth_largest(
    word: UInt32[Array, " item"], k: Int[Array, ""], most: UInt32[Array, ""]
) -> tuple[UInt32[Array, ""], Int[Array, ""]]:
    """The largest w such that at least k words are >= w, or one with exactly k such words; and how many are larger.

    Args:
        word: below the largest of all.
        k: counts words above 0.
        most: no word has a higher bit.
    """
    size = word.shape[0]
    lines = -(-size // _LINE)
    depth = min(lines, _MOST)
    width = _LINE * -(-lines // depth)
    table = jnp.pad(word, (0, depth * width - size)).reshape(depth, width)

    def reached(bound: Array) -> Int[Array, ""]:
        """Count of words >= bound > 0. Added across lines, in bytes: CPUs vectorise that, not sums along a line."""
        counts = jnp.sum((table >= bound).astype(jnp.uint8), axis=0, dtype=jnp.uint8)
        return jnp.sum(counts.astype(jnp.int32))

    def unresolved(carry: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        bit, _, found = carry
        return (bit > 0) & lanes.largest(found != k)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        bit, cut, found = carry
        above = reached(cut | bit)
        enough = above >= k
        return bit >> 1, jnp.where(enough, cut | bit, cut), jnp.where(enough, above, found)

    highest = jnp.uint32(0x80000000) >> jax.lax.clz(lanes.largest(most) | 1)
    cut = jax.lax.while_loop(unresolved, step, (highest, jnp.uint32(0), jnp.int32(-1)))[1]
    return cut, reached(cut + 1)
