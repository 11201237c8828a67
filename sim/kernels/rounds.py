"""One round of pulls over a batch of trials, as one flat list of rows.

Row i of the list finds its trial and allocation row by searching a cumulative count, so that no trial
waits for the luckiest one; only where every trial has one row there is no list, and trials go pull by
pull. Rows are processed in blocks of fixed size by a while loop; every row's randomness is a function
of (trial's round key, allocation row, pull), so neither batch nor block size shows in the result. The
plain version is `sim.engine.runner.host_round`, one pull at a time.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from sim.core import Algorithm, Allocation, Environment, Queries, Spec, Stats
from sim.designs import estimator_parts
from sim.kernels import counter, portions, select, subsets
from sim.raw import RAW, Raw

PASS_COMPLETIONS = 2**14
"""Completions of one allocation row that are summed before the int32 sums are folded into float32."""
TOGETHER = 8
"""Pulls of an allocation row that are one item of the list where all pulls are single completions."""
GOLDEN = 0x9E3779B9
"""2**32 divided by the golden ratio: steps of this length around a circle visit every arc nearly in proportion."""
ROW_BYTES = 2**26
"""About what the rewards of a step's rows and the weights of their completions may take: no step has more rows."""
FEWEST_ROWS = 64
"""Rows of a step, as far as `ROW_BYTES` goes, where those that fit a cache are fewer."""


Rows = tuple[UInt32[Array, "row 2"], Int[Array, " row"], Int[Array, " row"], Int[Array, " row"]]
"""Key, prompt, query and scale of pulls."""


class MergedWorld(NamedTuple):
    """World of a batch of trials: one that all share, or one per trial, merged into one.

    Attributes:
        world: its prompts are the trials' prompts one after the other where `stride` > 0.
        stride: prompts per trial in a merged world, 0 for a shared one.
    """

    world: Environment
    stride: int


class Pulling(NamedTuple):
    """Settings of a round besides shapes: algorithms that agree on them share one compiled round.

    Attributes:
        queries: how queries are drawn, one of `designs.QUERIES`.
        estimator: how pulls become statistics, as `designs.estimator_parts` reads it.
        reuse: whether the blocks of a pull count for smaller scales.
        width: the largest pull.
        num_scales: scales of which pulls yield statistics.
    """

    queries: str
    estimator: str
    reuse: bool
    width: int
    num_scales: int

    @classmethod
    def of(cls, algorithm: Algorithm, spec: Spec) -> "Pulling":
        """Manner in which an algorithm pulls."""
        width, num_scales = algorithm.max_pull(spec), algorithm.num_scales(spec)
        return cls(algorithm.queries, algorithm.estimator, algorithm.reuse, width, num_scales)


def pull_key(round_key: UInt32[Array, "2"], row: Int[Array, ""], pull: Int[Array, ""]) -> UInt32[Array, "2"]:
    """The key of one pull: by row and number in the round, or by prompt and place in the order of queries, if named."""
    return counter.fold(round_key, row, pull)


def query_key(
    rule: str, round_key: UInt32[Array, "2"], own: UInt32[Array, "2"], pull: Int[Array, ""]
) -> UInt32[Array, "2"]:
    """The key whose first word draws a pull's query: its `own` key, or one shared by all rows under common queries."""
    return counter.fold(round_key, 0xC0FFEE, pull) if rule == "common" else own


def in_order(queries: Queries, key: UInt32[Array, "2"]) -> Queries:
    """The order in which a run without replacement meets its queries, none met yet.

    Uniform law: a random order, gone through again and again. Any other law: systematic sampling, steps of the golden
    ratio around the distribution function from a random place; every pull then follows the law, and a query is met
    nearly as often as its share of the pulls.
    """
    if queries.cumulative is not None:
        return queries._replace(met=key[0])
    return Queries(queries.ids[counter.permutation(key, queries.ids.shape[-1])], met=jnp.uint32(0))


def advance(queries: Queries, allocation: Allocation) -> Queries:
    """The query law after a round: without replacement, all queries are met up to the last that some row pulled."""
    if queries.met is None:
        return queries
    last = allocation.pulls
    if allocation.places is not None:
        last = jnp.maximum(jnp.where(last > 0, last + allocation.places.start, 0), 0)
    return queries._replace(met=queries.met + jnp.max(last, axis=-1).astype(jnp.uint32))


def begin_at(queries: Queries, start: Int[Array, "..."]) -> Queries:
    """The query law as a row sees it that starts at a place of its own (`core.Places`)."""
    return queries._replace(met=_place(queries.met, start))


def place_of(queries: Queries, pull: Int[Array, ""]) -> Int[Array, ""]:
    """Place in the order of queries of a row's pull (`begin_at`)."""
    return _place(queries.met, pull).astype(jnp.int32)


def _place(met: Array | None, start: Array) -> UInt32[Array, "..."]:
    if met is None:
        raise ValueError("an allocation names places of queries; only runs with queries 'common-wor' have them")
    return met + start.astype(jnp.uint32)


def draw_query(key: UInt32[Array, "2"], queries: Queries, pull: Int[Array, ""]) -> Int[Array, ""]:
    """The query id of a round's pull: by the key and the law, or the next in order."""
    word = _word(key[0], queries, queries.met, pull)
    if queries.cumulative is None:
        return queries.ids[_uniform(word, queries)]
    place = jnp.searchsorted(queries.cumulative, word, side="right", method="scan_unrolled")
    return queries.ids[jnp.minimum(place, queries.ids.shape[-1] - 1)]


def _word(own: Array, queries: Queries, met: Array | None, pull: Array) -> UInt32[Array, "..."]:
    """What decides on a pull's query: a random word of its own, or where in the order it stands."""
    if met is None:
        return own
    place = met + pull.astype(jnp.uint32)
    return place if queries.cumulative is None else place * jnp.uint32(GOLDEN)


def _uniform(word: Array, queries: Queries) -> Int[Array, "..."]:
    """The place of a query under a uniform law."""
    size = queries.ids.shape[-1]
    return counter.integer(word, size) if queries.met is None else (word % jnp.uint32(size)).astype(jnp.int32)


def pass_limits(allocation: Allocation) -> Int[Array, "..."]:
    """Pulls of each allocation row that one pass may sum without overflow."""
    return jnp.maximum(PASS_COMPLETIONS // jnp.maximum(allocation.scale, 1), 1)


def block_counts(allocation: Allocation, how: Pulling) -> Float[Array, "... scale"]:
    """Blocks of every scale that an allocation yields."""
    pulls = allocation.pulls[..., None]
    if how.estimator == RAW:
        return pulls[..., :0].astype(jnp.float32)
    if how.reuse:
        pulls = pulls * subsets.blocks_of(allocation.scale, how.num_scales, how.estimator)
    return pulls.astype(jnp.float32)


def nothing(spec: Spec, shape: tuple[int, ...], how: Pulling) -> Stats:
    """Statistics of rows that were not pulled; `shape` is that of the rows."""
    total = jnp.zeros((*shape, spec.num_tasks, how.num_scales), jnp.float32)
    blocks = jnp.zeros((*shape, how.num_scales), jnp.float32)
    if how.estimator != RAW:
        return Stats(total, blocks)
    known = spec.rewards
    assert known is not None
    votes, best, averaged = (how in known.aggregate for how in ("mv", "bon", "mean"))
    parts = ((known.num_answers * votes,), (spec.num_tasks, how.width * best), (spec.num_tasks * averaged,))
    return Stats(total, blocks, Raw(*(jnp.zeros((*shape, *part), jnp.int32) for part in parts)))


def fold_raw(
    spec: Spec, allocation: Allocation, row: Int[np.ndarray, " pull"], pulls: list[Raw], how: Pulling
) -> Stats:
    """`fold_pulls` for a rule that takes completions as they are."""
    found = nothing(spec, allocation.pulls.shape, how)
    if not pulls:
        return found
    sums = [np.zeros(leaf.shape, np.int32) for leaf in found.raw or ()]
    for all_, own in zip(sums, zip(*pulls, strict=True), strict=True):
        np.add.at(all_, row, np.stack(own))
    return found._replace(raw=Raw(*map(jnp.asarray, sums)))


def random_raw(rng: np.random.Generator, spec: Spec, asked: Allocation, how: Pulling) -> Stats:
    """Statistics of a round whose completions are random: answers all alike, scores uniform in 2**16 units."""
    found = nothing(spec, asked.pulls.shape, how)
    votes, ranked, total = (np.asarray(leaf) for leaf in found.raw or ())
    scale, pulls = (np.asarray(leaf, np.int64) for leaf in (asked.scale, asked.pulls))
    answers = votes.shape[1]
    votes = rng.multinomial(scale * pulls, np.full(answers, 1 / answers)) if answers else votes
    score = np.sort(rng.integers(0, 2**16, ranked.shape), axis=2)
    inside = np.arange(ranked.shape[2]) < scale[:, None, None]
    ranked = np.where(inside, score, 0) * pulls[:, None, None]
    total = rng.integers(0, 2**16, total.shape) * (scale * pulls)[:, None]
    return found._replace(raw=Raw(*(jnp.asarray(leaf, jnp.int32) for leaf in (votes, ranked, total))))


def fold_pulls(
    spec: Spec,
    allocation: Allocation,
    row: Int[np.ndarray, " pull"],
    units: Int[np.ndarray, "pull task num_scales"],
    how: Pulling,
) -> Stats:
    """Statistics of a round from the block sums of every pull: what `run_round` returns, for who pulls one by one.

    Args:
        spec: what the learner knows.
        allocation: what was asked for.
        row: the allocation's row of each pull; pulls of a row are in their order.
        units: block sums of each pull, in integer units, of all its scales.
        how: what pulls yield.
    """
    totals = np.zeros((len(allocation.pulls), spec.num_tasks, how.num_scales), np.float32)
    limits, scales = np.asarray(pass_limits(allocation)), np.asarray(allocation.scale)
    for place in np.unique(row):
        own = units[row == place]
        sums = own if how.reuse else own[:, :, [int(scales[place]) - 1]]
        for first in range(0, len(own), int(limits[place])):
            part = sums[first : first + int(limits[place])].sum(axis=0, dtype=np.int64)
            totals[place] += part.astype(np.float32) * np.asarray(spec.unit)[:, None]
    return Stats(jnp.asarray(totals), block_counts(allocation, how))


def run_round(
    world: MergedWorld,
    train: Queries,
    round_keys: UInt32[Array, "trial 2"],
    allocation: Allocation,
    how: Pulling,
) -> Stats:
    """Pull everything that a batch of trials asked for.

    Args:
        world: what they pull from.
        train: query law of every trial, leaves with a leading trial axis.
        round_keys: one key per trial.
        allocation: leaves of shape (trial, row).
        how: how queries are drawn and what pulls yield.

    Returns:
        Stats with leading axes (trial, row).
    """
    spec, empty = world.world.spec, nothing(world.world.spec, allocation.pulls.shape, how)
    if empty.raw is not None:
        sums = _one_pass(world, train, round_keys, allocation, jnp.zeros_like(allocation.pulls), allocation.pulls, how)
        return empty._replace(raw=sums)
    unit = spec.unit.reshape(-1, spec.num_tasks)[0][None, None, :, None]  # worlds drawn afresh share their units

    def more(carry: tuple[Array, Array]) -> Array:
        done, _ = carry
        return jnp.any(done < allocation.pulls)

    def one_pass(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, total = carry
        take = jnp.minimum(allocation.pulls - done, pass_limits(allocation))
        units = _one_pass(world, train, round_keys, allocation, done, take, how)
        return done + take, total + units.astype(jnp.float32) * unit

    start = (jnp.zeros_like(allocation.pulls), empty.total)
    _, total = jax.lax.while_loop(more, one_pass, start)
    return Stats(total, block_counts(allocation, how))


def _one_pass(
    world: MergedWorld,
    train: Queries,
    round_keys: Array,
    allocation: Allocation,
    done: Array,
    take: Array,
    how: Pulling,
) -> Any:
    """Sums over `take` pulls of every row after the first `done`, leaves with leading axes (trial, row)."""
    num_trials, num_rows = take.shape
    num_tasks = world.world.spec.num_tasks
    empty = nothing(world.world.spec, (num_trials * num_rows,), how)
    sums: Any = empty.total.astype(jnp.int32) if empty.raw is None else empty.raw
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1), allocation)
    before, count = done.reshape(-1), take.reshape(-1)

    def rows_of(slot: Array, pull: Array, given: Array) -> Rows:
        """One pull of each of these rows; of no completions where it is not `given`."""
        trial, row = slot // num_rows, slot % num_rows
        scale = jnp.where(given, flat.scale[slot], 0)
        met, own, number = None if train.met is None else train.met[trial], row, pull
        if flat.places is not None:
            met, own = _place(met, flat.places.start[slot]), flat.prompt[slot]
            number = met + pull.astype(jnp.uint32)
        keys = _pull_keys(round_keys, trial, own, number)
        query_keys = jax.vmap(partial(query_key, how.queries))(round_keys[trial], keys, pull)
        queries = _draw_queries(query_keys, train, trial, pull, met)
        return keys, flat.prompt[slot] + trial * world.stride, queries, scale

    if num_rows == 1:  # mostly one pull of every trial, which need not be listed
        slot = jnp.arange(num_trials, dtype=jnp.int32)

        def turn(carry: tuple[Array, Any]) -> tuple[Array, Any]:
            index, sums = carry
            units = _pull_rows(world.world, rows_of(slot, before + index, index < count), how)
            return index + 1, jax.tree.map(jnp.add, sums, units)

        _, sums = jax.lax.while_loop(lambda carry: jnp.any(carry[0] < count), turn, (jnp.int32(0), sums))
        return jax.tree.map(lambda leaf: leaf[:, None], sums)

    together = TOGETHER if how.width == 1 else 1
    items = -(-count // together)
    ends = select.running_sums(items)
    starts, block = ends - items, -(-min(_rows_of_a_step(num_tasks, how), num_trials * num_rows) // together)

    def step(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        first, sums = carry
        item = first + jnp.arange(block, dtype=jnp.int32)
        slot = select.owners(ends, item)
        pull = (item - starts[slot])[:, None] * together + jnp.arange(together, dtype=jnp.int32)[None]
        given = (item < ends[-1])[:, None] & (pull < count[slot][:, None])
        own, pull = jnp.broadcast_to(slot[:, None], pull.shape), pull + before[slot][:, None]
        rows = rows_of(own.reshape(-1), pull.reshape(-1), given.reshape(-1))
        return first + block, _add_rows(world.world, rows, how, slot, sums)

    _, sums = jax.lax.while_loop(lambda carry: carry[0] < ends[-1], step, (jnp.int32(0), sums))
    return jax.tree.map(lambda leaf: leaf.reshape(num_trials, num_rows, *leaf.shape[1:]), sums)


def _rows_of_a_step(num_tasks: int, how: Pulling) -> int:
    """Rows that are pulled at a time (never shows in results)."""
    rewards, portion = num_tasks * sum(how.width // scale for scale in range(1, how.width + 1)), portions.of_device()
    weights = how.width * how.num_scales  # of a pull's completions
    quick = max(portion.row_bytes // (4 * rewards), FEWEST_ROWS)
    return max(min(portion.rows, quick, ROW_BYTES // (4 * (rewards + weights))), 1)


def _pull_keys(round_keys: UInt32[Array, "trial 2"], trial: Array, row: Array, pull: Array) -> UInt32[Array, "item 2"]:
    """`pull_key` of many pulls. Stacked after the words are drawn: under `vmap` the compiler would draw each twice."""
    words = counter.threefry(
        round_keys[:, 0][trial], round_keys[:, 1][trial], row.astype(jnp.uint32), pull.astype(jnp.uint32)
    )
    return jnp.stack(words, axis=1)


def _pull_rows(world: Environment, rows: Rows, how: Pulling) -> Any:
    """Block sums of a pull of every row, of the rows' own scales where they are not reused; or the pulls as they are.

    The world's `pull_rows`, but no wider than needed where every pull is a single completion.
    """
    if how.estimator == RAW:
        return world.raw_rows(*rows, how.width)
    units = world.pull_rows(*rows, how.width, how.estimator) if _never_single(how) else _by_width(world, rows, how)
    if how.reuse:
        return units
    own = jnp.maximum(rows[-1], 1) - 1
    return jnp.take_along_axis(units, jnp.broadcast_to(own[:, None, None], (*units.shape[:2], 1)), axis=2)


def _by_width(world: Environment, rows: Rows, how: Pulling) -> Int[Array, "row task scale"]:
    def single() -> Array:
        return jnp.pad(world.pull_rows(*rows, 1), ((0, 0), (0, 0), (0, how.width - 1)))

    return jax.lax.cond(jnp.max(rows[-1]) <= 1, single, lambda: world.pull_rows(*rows, how.width, how.estimator))


def _never_single(how: Pulling) -> bool:
    """Whether single completions are no case of their own: others are no wider, or they say something of all scales."""
    return how.width == 1 or estimator_parts(how.estimator)[0] == "plug-in"


def _add_rows(world: Environment, rows: Rows, how: Pulling, slot: Array, sums: Any) -> Any:
    """Sums with `_pull_rows` added at every row's slot; `slot` is that of as many rows in a row as are listed together.

    Where every pull is a single completion, as in a screening, no more is drawn and added. What wider pulls yield
    crosses from one branch to another: fused with the addition, it would be read against its layout.
    """
    if how.estimator == RAW or _never_single(how) or not how.reuse:
        units: Any = _pull_rows(world, rows, how)
        if rows[-1].shape != slot.shape:  # several pulls of every slot
            shape = len(slot), len(rows[-1]) // len(slot)
            units = jax.tree.map(lambda own: jnp.sum(own.reshape(*shape, *own.shape[1:]), axis=1), units)
        return jax.tree.map(lambda all_, own: all_.at[slot].add(own, indices_are_sorted=True), sums, units)
    single = jnp.max(rows[-1]) <= 1

    def whole() -> Array:
        return world.pull_rows(*rows, how.width, how.estimator)

    nothing = jnp.zeros(jax.eval_shape(whole).shape, jnp.int32)
    units = jax.lax.cond(single, lambda: nothing, whole)
    return jax.lax.cond(
        single,
        lambda: sums.at[slot, :, :1].add(world.pull_rows(*rows, 1), indices_are_sorted=True),
        lambda: sums.at[slot].add(units, indices_are_sorted=True),
    )


def _draw_queries(keys: Array, train: Queries, trial: Array, pull: Array, met: Array | None) -> Int[Array, " row"]:
    """`draw_query` for rows of many trials without copying any trial's law; `met` of each row."""
    words = _word(keys[:, 0], train, met, pull)
    place = _uniform(words, train) if train.cumulative is None else _search(train.cumulative, trial, words)
    return train.ids[trial, place]


def _search(cumulative: UInt32[Array, "trial query"], trial: Array, words: Array) -> Int[Array, " row"]:
    """For every row the first query of its trial whose cumulative word exceeds the row's word."""
    size = cumulative.shape[1]
    low = jnp.zeros_like(trial)
    step = 1 << (size - 1).bit_length()
    while step > 0:
        probe = low + step
        reached = (probe <= size) & (cumulative[trial, jnp.minimum(probe, size) - 1] <= words)
        low = jnp.where(reached, probe, low)
        step //= 2
    return jnp.minimum(low, size - 1)
