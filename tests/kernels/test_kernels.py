"""Each kernel against its plain version: the same words, the same integers, the same choices."""

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from helpers import agrees, best_of, chi_square, majority, mixed, same
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import utilities
from sim.algorithms import PSST, PromptHalving, SequentialHalving, Triple
from sim.core import Algorithm, Allocation, Queries
from sim.engine import runner
from sim.kernels import blocks, counter, lanes, rounds
from sim.utilities import Strategy, reward_unit

WORDS = st.integers(0, 2**32 - 1)

# --- counter


@pytest.mark.parametrize(
    ("key", "count", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(key, count, expected) -> None:
    words = counter.threefry(*(jnp.uint32(word) for word in (*key, *count)))
    assert tuple(int(word) for word in words) == expected


def test_threefry_is_that_of_jax() -> None:
    rng = np.random.default_rng(0)
    key0, key1 = rng.integers(0, 2**32, 2, np.uint32)
    counts = rng.integers(0, 2**32, (2, 100), np.uint32)
    theirs = jax.extend.random.threefry_2x32(jnp.array([key0, key1]), jnp.asarray(counts.ravel()))
    ours = counter.threefry(*(jnp.asarray(x) for x in (key0, key1, *counts)))
    np.testing.assert_array_equal(np.concatenate(ours), theirs)


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31 - 1])
def test_root_key_is_that_of_jax(seed: int) -> None:
    np.testing.assert_array_equal(counter.from_seed(seed), jax.random.key_data(jax.random.key(seed)))


def test_large_seeds_are_told_apart() -> None:
    assert not same(counter.from_seed(1), counter.from_seed(2**32 + 1))


def test_the_first_words_do_not_depend_on_how_many_are_asked_for() -> None:
    key = counter.from_seed(3)
    many = np.asarray(counter.bits(key, (64,)))
    for size in (1, 2, 7):
        np.testing.assert_array_equal(counter.bits(key, (size,)), many[:size])
    np.testing.assert_array_equal(counter.bits(key, (8, 8)), many.reshape(8, 8))
    keys = jax.vmap(counter.fold, in_axes=(None, 0))(key, jnp.arange(5))
    rows = np.asarray(counter.bits_rows(keys, 7))
    for row, own in enumerate(keys):
        np.testing.assert_array_equal(rows[:, row], counter.bits(own, (7,)))


@pytest.mark.parametrize("width", [1, 2, 5, 32])
def test_categories_count_the_thresholds_that_a_word_reaches(width: int) -> None:
    """Every row has thresholds of its own, some met exactly. Seen to fail with the two words of a pair exchanged."""
    keys = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(7), jnp.arange(9))
    words = np.asarray(counter.bits_rows(keys, width))
    thresholds = np.sort(np.random.default_rng(1).integers(0, 2**32, (4, 9), np.uint32), axis=0)
    thresholds[1] = words[width // 2]
    found = blocks.categories(keys, jnp.asarray(thresholds), width)
    np.testing.assert_array_equal(found, (words[None] >= thresholds[:, None]).sum(axis=0))


def test_keys_derived_from_one_key_share_no_word() -> None:
    """Folded keys, folded twice, and the words of `bits`: 3,000 words from one key, all distinct.

    Two equal words among 6,000 independent ones would have probability .004; the seed is fixed. Seen to fail when
    `bits` counts in the stream that `fold` uses.
    """
    key = counter.from_seed(11)
    once = jax.vmap(lambda i: counter.fold(key, i))(jnp.arange(1000))
    twice = jax.vmap(lambda i: counter.fold(key, 0, i))(jnp.arange(1, 1000))
    words = [np.ravel(x) for x in (once, twice, counter.bits(key, (2000,)))]
    assert len(np.unique(np.concatenate(words))) == sum(map(len, words))


@given(WORDS, st.integers(1, 2**31 - 1))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_integer_is_the_high_half_of_the_product(word: int, bound: int) -> None:
    assert int(_integer(jnp.uint32(word), jnp.int32(bound))) == (word * bound) >> 32


_integer = jax.jit(counter.integer)


def test_integer_at_its_edges() -> None:
    for bound in (1, 2, 3, 2**16 - 1, 2**16, 2**16 + 1, 2**31 - 1):
        for word in (0, 1, 2**16 - 1, 2**16, 2**31, 2**32 - 1):
            assert int(_integer(jnp.uint32(word), jnp.int32(bound))) == (word * bound) >> 32


def test_integers_and_uniforms_are_uniform() -> None:
    """Chi-square of integers, of uniforms in 64 cells, and of the pairs that neighbouring words form.

    Seen to fail with `word >> 1` in `integer` (half the range never drawn) and with every word drawn twice.
    """
    words = counter.bits(counter.from_seed(5), (60_000,))
    assert chi_square(np.bincount(counter.integer(words, 7), minlength=7), 60_000 / 7)
    pairs = np.asarray(counter.integer(words, 6)).reshape(-1, 2)
    assert chi_square(np.bincount(pairs[:, 0] * 6 + pairs[:, 1], minlength=36), 30_000 / 36)
    uniform = np.asarray(counter.to_uniform(words))
    assert uniform.min() > 0
    assert uniform.max() < 1
    assert chi_square(np.histogram(uniform, 64, (0, 1))[0], 60_000 / 64)
    assert agrees(uniform.mean(), 0.5, np.sqrt(1 / 12 / 60_000))


def test_uniforms_stay_inside_the_open_interval() -> None:
    ends = np.asarray(counter.to_uniform(jnp.array([0, 2**32 - 1], jnp.uint32)), np.float64)
    assert ends[0] == 2.0**-24
    assert ends[1] == 1 - 2.0**-24


@pytest.mark.parametrize("size", [1, 2, 3, 8, 33, 1000])
def test_permutation_is_one(size: int) -> None:
    order = np.asarray(counter.permutation(counter.from_seed(size), size))
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_permutations_are_uniform() -> None:
    """All 24 orders of four items, equally often. Seen to fail with words of four bits, where the index breaks ties."""
    keys = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(2), jnp.arange(24_000))
    orders = np.asarray(jax.jit(jax.vmap(lambda key: counter.permutation(key, 4)))(keys))
    counts = np.unique(orders @ 4 ** np.arange(4), return_counts=True)[1]
    assert len(counts) == 24
    assert chi_square(counts, 1000)


# --- blocks


def strategies(answers: int) -> dict[str, Strategy]:
    """Two tasks each; weights of either sign, and worlds of every size."""

    def build(aggregate: tuple[str, ...], scale: float = 1.0, tie: str = "uniform") -> Strategy:
        weights = np.array([[0.5, 0.3, -0.2], [-0.1, 0.7, 0.2]])[:, : len(aggregate)] * scale
        unit = reward_unit(float(np.abs(weights).sum(axis=1).max()) * 4)
        return Strategy(aggregate, answers, tie, jnp.asarray(weights, jnp.float32), jnp.full(2, unit, jnp.float32))

    return {
        "mv": build(("mv",)),
        "mv-half": build(("mv",), tie="half"),
        "bon": build(("bon", "bon"), 1e3),
        "mean": build(("mean",), 1e-3),
        "mixed": build(("mv", "bon", "mean")),
        "mixed-half": build(("bon", "mean", "mv"), tie="half"),
    }


CASES = [("mv", 2, 5), ("mv", 5, 7), ("mv-half", 3, 9), ("bon", 1, 9), ("mixed", 3, 3)]
MORE = [("mv", 2, 1), ("mv", 4, 8), ("mv", 6, 6), ("bon", 1, 1), ("bon", 1, 2), ("mean", 1, 9), ("mixed-half", 4, 4)]


@pytest.mark.parametrize(
    ("name", "answers", "width"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)]
)
def test_block_sums_are_those_of_the_plain_version(name: str, answers: int, width: int) -> None:
    """Random outcomes of 48 pulls of every size, from none to full; padding holds anything."""
    strategy = strategies(answers)[name]
    rng = np.random.default_rng(width)
    columns = [
        rng.integers(0, answers, (width, 48)) if how == "mv" else np.round(rng.uniform(-4, 4, (width, 48)), 2)
        for how in strategy.aggregate
    ]
    outcomes = jnp.asarray(np.stack(columns, axis=1), jnp.float32)
    scales = jnp.asarray(np.resize(np.arange(width + 1), 48), jnp.int32)
    fast = jax.jit(blocks.block_units)(strategy, outcomes, scales)
    slow = _plain_blocks(strategy, jnp.moveaxis(outcomes, 2, 0), scales)
    np.testing.assert_array_equal(fast, slow)
    assert np.any(np.asarray(fast) != 0)


@jax.jit
def _plain_blocks(strategy: Strategy, outcomes, scales):
    # Scan, not vmap: one small program instead of one for every block of every pull at once.
    return jax.lax.map(lambda pull: utilities.block_units(strategy, *pull), (outcomes, scales))


@pytest.mark.parametrize(("tie", "width"), [("uniform", 32), ("half", 32), ("half", 256)])
def test_block_sums_of_wide_pulls_are_those_of_the_reference(tie: str, width: int) -> None:
    """Five answers and a score in eighths, so that only the credit of a tie is rounded; one pull has a single answer.

    Seen to fail with fields of votes one bit narrower, which a pull that agrees overflows.
    """
    weights, unit = np.array([[0.5, 0.5], [0.25, -0.75]]), reward_unit(1.0)
    strategy = Strategy(("mv", "bon"), 5, tie, jnp.asarray(weights, jnp.float32), jnp.full(2, unit, jnp.float32))
    problem = reference.Problem(strategy.aggregate, weights, (0, 1), np.ones(2), np.zeros((2, 1)), width, unit, tie)
    rng = np.random.default_rng(3)
    outcomes = np.stack([rng.integers(0, 5, (width, 40)), rng.integers(-8, 9, (width, 40)) / 8], axis=1)
    outcomes[:, 0, 8] = 2
    scales = np.resize([width, width - 1, width - 2, 20, 17, 16, 1, 0], 40)
    sums = jax.jit(blocks.block_units)(strategy, jnp.asarray(outcomes, jnp.float32), jnp.asarray(scales, jnp.int32))
    for row, scale in enumerate(scales):
        total, _ = reference.block_sums(problem, outcomes[:scale, :, row])
        np.testing.assert_array_equal(np.asarray(sums)[row] * unit, total)


@pytest.mark.parametrize("how", ["mv", "bon", "mean"])
def test_work_of_a_pull_is_in_proportion_to_its_blocks(how: str) -> None:
    """Operations, counted by the compiler, of a block: four times the width makes them 5 % more at most.

    A pull of N has about N log N blocks. Seen to fail with votes counted by a matrix product: 3.8 times as many.
    """
    strategy = Strategy((how,), 5, "uniform", jnp.ones((1, 1)), jnp.full(1, 2.0**-16))

    def operations(width: int) -> float:
        shapes = jax.ShapeDtypeStruct((width, 1, 16), jnp.int32), jax.ShapeDtypeStruct((16,), jnp.int32)
        program = jax.jit(lambda *given: blocks.block_units(strategy, *given)).lower(*shapes).compile()
        return program.cost_analysis()["flops"] / sum(width // scale for scale in range(1, width + 1))

    assert operations(128) < 1.05 * operations(32)


def test_block_sums_of_a_pull_worked_by_hand() -> None:
    """Answers 0 0 1 1 2 from gold 0: single votes 2; pairs 1 + 0; triples 1; fours 1/2; five 1/2."""
    strategy = Strategy(("mv",), 3, "uniform", jnp.ones((1, 1)), jnp.full(1, reward_unit(1.0), jnp.float32))
    outcomes = jnp.array([0, 0, 1, 1, 2], jnp.float32).reshape(5, 1, 1)
    units = blocks.block_units(strategy, outcomes, jnp.array([5]))
    np.testing.assert_array_equal(np.asarray(units)[0, 0] * 2.0**-16, [2, 1, 1, 0.5, 0.5])


# --- rounds


def random_allocation(rng: np.random.Generator, trials: int, rows: int, prompts: int, max_scale: int) -> Allocation:
    scale = rng.integers(1, max_scale + 1, (trials, rows))
    pulls = rng.integers(0, 5, (trials, rows)) * rng.integers(0, 2, (trials, rows))
    prompt = np.tile(np.arange(rows) % prompts, (trials, 1))
    return Allocation(*(jnp.asarray(leaf, jnp.int32) for leaf in (prompt, scale, pulls)))


def laws(data, trials: int) -> Queries:
    """A different half of the queries for every trial."""
    parts = [data.queries(np.random.default_rng(t).permutation(data.num_queries)[:2]) for t in range(trials)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


@pytest.mark.parametrize(
    ("data", "algorithm"),
    [
        pytest.param(majority(weighted=True), PSST(queries="common"), id="mv-common", marks=pytest.mark.slow),
        pytest.param(majority(queries=5), PSST(queries="common-wor", estimator="subsets"), id="mv-wor-subsets"),
        pytest.param(
            mixed(), PromptHalving(pull=3, estimator="plug-in"), id="mixed-wor-plug-in", marks=pytest.mark.slow
        ),
        pytest.param(best_of(), SequentialHalving(), id="bon-no-reuse", marks=pytest.mark.slow),
        pytest.param(mixed(), PSST(), id="mixed"),
        pytest.param(majority(queries=5), PSST(queries="common-wor", estimator="subsets-3"), id="mv-wor-orders"),
        pytest.param(mixed(), PSST(estimator="plug-in-2"), id="mixed-redraws"),
    ],
)
def test_a_round_of_all_trials_is_that_of_one_pull_after_the_other(data, algorithm: Algorithm) -> None:
    trials, world = 3, data.environment()
    rng = np.random.default_rng(4)
    train = laws(data, trials)
    keys = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(8), jnp.arange(trials))
    train = jax.vmap(lambda law, key: runner.queries_of(algorithm.queries, law, key))(train, keys)
    run = jax.jit(
        lambda *batch: rounds.run_round(rounds.MergedWorld(world, 0), *batch, rounds.Pulling.of(algorithm, world.spec))
    )
    for _ in range(2):
        allocation = random_allocation(rng, trials, algorithm.num_rows(world.spec), 3, algorithm.max_pull(world.spec))
        fast = run(train, keys, allocation)
        for trial in range(trials):
            own, part = jax.tree.map(lambda leaf, t=trial: leaf[t], (allocation, train))
            slow = runner.host_round(world, part, keys[trial], own, algorithm)
            assert same(slow, jax.tree.map(lambda leaf, t=trial: leaf[t], fast))
        train = rounds.advance(train, allocation)


@pytest.mark.parametrize("algorithm", [PSST(), PSST(estimator="subsets"), Triple()], ids=["blocks", "subsets", "all"])
def test_a_round_of_single_completions_is_that_of_one_after_the_other(algorithm: Algorithm) -> None:
    """A screening draws and adds single completions; a rule that knows no others lists them eight at a time.

    Seen to fail with their sums added to the second scale, and with every eight of a row drawn alike.
    """
    data = mixed()
    world, train = data.environment(), data.queries(np.arange(data.num_queries))
    allocation = Allocation(jnp.arange(3), jnp.ones(3, jnp.int32), jnp.array([19, 0, 2]))
    batched = jax.tree.map(lambda leaf: leaf[None], (train, counter.from_seed(3), allocation))
    fast = jax.jit(
        lambda *batch: rounds.run_round(rounds.MergedWorld(world, 0), *batch, rounds.Pulling.of(algorithm, world.spec))
    )(*batched)
    slow = runner.host_round(world, train, counter.from_seed(3), allocation, algorithm)
    assert same(slow, jax.tree.map(lambda leaf: leaf[0], fast))
    assert np.any(np.asarray(slow.total) != 0)


@pytest.mark.parametrize("rows", [3, 1])
def test_a_row_of_more_pulls_than_one_pass_sums(rows: int, monkeypatch) -> None:
    """Sums of passes are folded into float32 one after the other, in the same order in both versions.

    A single row is not listed. Seen to fail with its pulls numbered from 0 in every pass.
    """
    monkeypatch.setattr(rounds, "PASS_COMPLETIONS", 64)
    data, algorithm = mixed(), PSST()
    world, train = data.environment(), data.queries(np.arange(data.num_queries))
    allocation = Allocation(jnp.arange(rows), jnp.array([4, 1, 4])[:rows], jnp.array([70, 3, 0])[:rows])
    assert rounds.pass_limits(allocation).tolist() == [16, 64, 16][:rows]
    batched = jax.tree.map(lambda leaf: leaf[None], (train, counter.from_seed(1), allocation))
    run = jax.jit(
        lambda *batch: rounds.run_round(rounds.MergedWorld(world, 0), *batch, rounds.Pulling.of(algorithm, world.spec))
    )
    slow = runner.host_round(world, train, counter.from_seed(1), allocation, algorithm)
    assert same(slow, jax.tree.map(lambda leaf: leaf[0], run(*batched)))


def query_key(rule: str, key: jax.Array, row: jax.Array, pull: jax.Array) -> jax.Array:
    return rounds.query_key(rule, key, rounds.pull_key(key, row, pull), pull)


@pytest.mark.parametrize("weighted", [False, True])
def test_queries_are_drawn_by_the_law_of_the_split(weighted: bool) -> None:
    """Chi-square over 40,000 pulls. Seen to fail with the weights ignored."""
    data = majority(queries=6, weighted=weighted)
    ids = np.array([4, 1, 5])
    train = data.queries(ids)
    pulls = jnp.arange(40_000)
    key = counter.from_seed(9)
    drawn = jax.jit(jax.vmap(lambda i: rounds.draw_query(query_key("independent", key, jnp.int32(2), i), train, i)))(
        pulls
    )
    counts = np.bincount(np.asarray(drawn), minlength=6)
    assert counts[[0, 2, 3]].sum() == 0
    law = data.query_distribution[ids] / data.query_distribution[ids].sum()
    assert chi_square(counts[ids], 40_000 * law)


def test_common_queries_are_shared_by_the_rows_and_independent_ones_are_not() -> None:
    key, pull = counter.from_seed(1), jnp.int32(3)
    for rule, shared in (("common", True), ("independent", False)):
        left, right = (query_key(rule, key, jnp.int32(row), pull) for row in (0, 1))
        assert same(left, right) == shared
        assert not same(left, query_key(rule, key, jnp.int32(0), pull + 1))


def met(data, key: jax.Array, asked: tuple[int, ...]) -> np.ndarray:
    """The queries that a run without replacement meets in rounds of so many pulls, all rows alike."""
    train = rounds.in_order(data.queries(np.arange(data.num_queries)), key)
    draw = jax.jit(jax.vmap(rounds.draw_query, in_axes=(None, None, 0)))
    found = []
    for pulls in asked:
        found += np.asarray(draw(key, train, jnp.arange(pulls))).tolist()
        own = Allocation(jnp.arange(2), jnp.array([1, 2]), jnp.array([pulls, pulls // 2]))
        train = rounds.advance(train, own)
    return np.array(found)


def test_without_replacement_no_query_comes_back_before_all_were_met() -> None:
    """In rounds of 3, 0, 5 and 13 pulls of 7 queries. Seen to fail with `advance` counting the shortest row."""
    data = majority(queries=7)
    one, other = (met(data, counter.from_seed(seed), (3, 0, 5, 13)) for seed in (0, 1))
    for turn in one.reshape(3, 7):
        np.testing.assert_array_equal(np.sort(turn), np.arange(7))
        np.testing.assert_array_equal(turn, one[:7])
    assert not np.array_equal(one, other)


def test_systematic_sampling_follows_a_weighted_law() -> None:
    """Chi-square of one pull over 20,000 runs; in a run of 1,000 pulls no query is 3 from its share.

    The standard deviation of independent draws would be about 12. Seen to fail with steps of 2**31 - 1.
    """
    data = majority(queries=6, weighted=True)
    train, law = data.queries(np.arange(6)), data.query_distribution
    keys = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(4), jnp.arange(20_000))
    draw = jax.jit(jax.vmap(lambda key: rounds.draw_query(key, rounds.in_order(train, key), jnp.int32(5))))
    assert chi_square(np.bincount(np.asarray(draw(keys)), minlength=6), 20_000 * law)
    counts = np.bincount(met(data, counter.from_seed(5), (400, 600)), minlength=6)
    assert np.all(np.abs(counts - 1000 * law) < 3)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_seldom_is_a_selection(share: float) -> None:
    """Thirty lanes, of which none, some or all need the rare answer; also of batches of batches, and of one lane.

    Seen to fail with one group only.
    """
    rng = np.random.default_rng(7)
    needs, number = jnp.asarray(rng.random((2, 30)) < share), jnp.asarray(rng.normal(size=(2, 30, 3)), jnp.float32)
    shift = jnp.float32(2)

    def choose(need: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return lanes.seldom(need, lambda x, shift: (x * shift, x.sum()), (x, x.max()), x, shift)

    expected = np.where(needs[..., None], number * 2, number), np.where(needs, number.sum(-1), number.max(-1))
    for found, rows in ((jax.vmap(choose)(needs[0], number[0]), 0), (jax.vmap(jax.vmap(choose))(needs, number), ...)):
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, other[rows], rtol=1e-6)
    alone = [jax.jit(choose)(needs[0, lane], number[0, lane]) for lane in range(3)]
    np.testing.assert_allclose([first for first, _ in alone], expected[0][0, :3], rtol=1e-6)
