"""The rivals of mixture racing: what defines each, by hand or by plain NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_spec, same
from scipy import stats as laws

from sim import algorithms, envs, estimators
from sim.algorithms import almost_tracking, paired_racing, surrogate
from sim.algorithms.correlated_halving import CorrelatedHalving
from sim.algorithms.few_prompts import FewPrompts
from sim.algorithms.paired_racing import PairedRacing
from sim.algorithms.surrogate import Surrogate
from sim.algorithms.top_two import TopTwo
from sim.core import Algorithm, Stats
from sim.engine import runner
from sim.kernels import counter, rounds

KEYS = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(0), jnp.arange(400))
COST = np.stack([np.zeros(5), np.array([0.3, 0.0, 0.1, 0.0, 0.0])])
SPEC = make_spec(5, 4, COST, task=(0, 0))


@eqx.filter_jit
def turn(rule: Algorithm, state: Any, key: jax.Array, reward: jax.Array) -> tuple[Any, Any, Any]:
    """A round in which every block of row p at scale n earns reward[p, n]."""
    ask = rule.allocate(key, SPEC, state)
    blocks = rounds.block_counts(ask, rounds.Pulling.of(rule, SPEC))
    stats = Stats(reward[:, None, : blocks.shape[1]] * blocks[:, None], blocks)
    return ask, blocks, rule.update(key, SPEC, state, ask, stats)


@pytest.mark.parametrize(("fresh", "eta", "kept"), [(True, 2, [10, 5, 3, 2, 1]), (False, 3, [7, 3, 1])])
def test_correlated_halving_keeps_arms_by_the_last_round_or_by_all(fresh: bool, eta: int, kept: list[int]) -> None:
    """Against plain NumPy: rewards are drawn anew each round, 100 completions a round.

    Seen to fail with the rounds added up where they should not be, with pulls at Nmax throughout, with halves kept
    whatever `eta`, and with as many rounds as halving takes.
    """
    rng, rule = np.random.default_rng(3), CorrelatedHalving(fresh, eta, pull=0, estimator="subsets")
    state, active = rule.init(SPEC, jnp.int32(100 * len(kept))), np.ones((2, 20), bool)
    total, count = np.zeros((5, 4)), np.zeros((5, 4))
    for number, keep in enumerate(kept):
        reward = rng.permutation(20).reshape(5, 4) / 20
        ask, blocks, state = turn(rule, state, KEYS[number], jnp.asarray(reward, jnp.float32))
        largest = (active.any(axis=0).reshape(5, 4) * np.arange(1, 5)).max(axis=1)
        pulls = np.where(largest > 0, 100 // largest.sum(), 0)
        assert np.asarray(ask.pulls).tolist() == pulls.tolist()
        assert np.where(pulls > 0, ask.scale, 0).tolist() == largest.tolist()
        if fresh:
            total, count = np.zeros((5, 4)), np.zeros((5, 4))
        total, count = total + reward * np.asarray(blocks), count + np.asarray(blocks)
        with np.errstate(invalid="ignore"):
            value = np.where(count > 0, total / count, -np.inf)[None] - COST[:, :, None] * np.arange(1, 5)
        value = np.where(active, value.reshape(2, 20), -np.inf)
        active = value >= np.sort(value, axis=1)[:, [-keep]]
        np.testing.assert_array_equal(state.active, active)
    assert bool(rule.finished(SPEC, state))
    policy = rule.recommend(KEYS[0], SPEC, state)
    assert (np.asarray(policy.prompt) * 4 + np.asarray(policy.scale) - 1).tolist() == active.argmax(axis=1).tolist()


def test_correlated_halving_is_psst_on_common_queries_where_nothing_ties() -> None:
    """Bit for bit, on scores that never tie. Seen to fail with `fresh` off in one of them."""
    alike = "psst:queries=common-wor,estimator=subsets,fresh=true"
    ours, source = "correlated-halving:pull=0,estimator=subsets,fresh=true,eta=2", envs.get("gaussian-bon").source
    found = [runner.run_trials(source, algorithms.get(name), 3000, seed=1, trials=20) for name in (ours, alike)]
    assert same(*found)


# --- racing with a paired test


def test_the_paired_test_is_that_of_scipy() -> None:
    """Three equal blocks: `scipy.stats.ttest_1samp`, one-sided, on 2,000 rows but those next to the level.

    Seen to fail with three degrees of freedom, with m for m - 1 in the factor, and two-sided.
    """
    rng = np.random.default_rng(5)
    differs = np.round(rng.normal(0.3, 1.0, (3, 2000)) * 2**20).astype(np.int32)
    level = paired_racing.levels(3, 3, 0.2)
    found = np.asarray(paired_racing.exceeds(jnp.asarray(differs), jnp.full(3, 5, jnp.int32), jnp.asarray(level)))
    p = laws.ttest_1samp(differs, 0, alternative="greater").pvalue
    clear = np.abs(p - 0.2) > 0.002
    assert clear.sum() > 1900
    np.testing.assert_array_equal(found[clear], (p < 0.2)[clear])
    assert (level[:3] == 2).all()  # two blocks are no reason


def test_blocks_count_by_their_queries() -> None:
    """Weighted least squares by hand: t = mean / sqrt(sum w (d - mean)^2 / ((m - 1) W)); blocks of no queries are none.

    Seen to fail with all weights equal.
    """
    rng = np.random.default_rng(6)
    queries = np.array([1, 0, 2, 4, 8, 16])
    weight = queries / 16
    differs = np.round(rng.normal(0.2, 1, (6, 500)) * 2**16).astype(np.int32) * (queries > 0)[:, None]
    mean = weight @ differs / weight.sum()
    spread = weight @ (differs - mean) ** 2 / (4 * weight.sum())
    t = mean / np.sqrt(spread)
    level = jnp.asarray(paired_racing.levels(6, 5, 0.1))
    found = paired_racing.exceeds(jnp.asarray(differs), jnp.asarray(queries, jnp.int32), level)
    cut = laws.t.isf(0.1, 4)
    clear = np.abs(t - cut) > 0.05
    np.testing.assert_array_equal(np.asarray(found)[clear], (t > cut)[clear])


def test_a_race_drops_what_is_worse_on_every_block() -> None:
    """By hand: T = 600, five blocks, pulls of 2, values that sway from block to block by as much for all prompts.

    All prompts meet 120 / 10 = 12 queries in each of three blocks. The gaps are the same in all, so that the third
    drops all but the best: prompt 0 at N = 1, and 3 at N = 1 where 0 costs .3. Both meet 240 / 2 / 4 = 30 queries,
    twice.
    Seen to fail with prompts judged at N = Nmax, and with tests before `first`.
    """
    rule = PairedRacing(pull=2, blocks=5, first=3, estimator="plug-in")
    value = np.array([[0.8, 0.7, 0.1, 0.1], [0.3] * 4, [0.2, 0.4, 0.4, 0.4], [0.6] * 4, [0.55] * 4])
    state, left = rule.init(SPEC, jnp.int32(600)), []
    for number, sway in enumerate((0.2, -0.1, 0.3, 0.0, 0.1)):
        ask, _, state = turn(rule, state, KEYS[number], jnp.asarray(value + sway, jnp.float32))
        left.append([np.flatnonzero(row).tolist() for row in np.asarray(state.active)])
        wanted = [0, 1, 2, 3, 4] if number < 3 else [0, 3]
        assert np.flatnonzero(ask.pulls).tolist() == wanted
    assert left == [[[0, 1, 2, 3, 4]] * 2] * 2 + [[[0], [3]]] * 3
    assert state.queries.tolist() == [12, 12, 12, 30, 30]
    assert int(state.left) == 0
    policy = rule.recommend(KEYS[0], SPEC, state)
    assert (policy.prompt.tolist(), policy.scale[0].item()) == ([0, 3], 1)


def test_a_race_too_poor_for_a_query_each_tests_nothing() -> None:
    """T = 17, pulls of 4: 17 // 4 prompts and a short pull of the fifth in the first round, and nothing after it."""
    rule, spent = PairedRacing(blocks=4, first=2), []
    state = rule.init(SPEC, jnp.int32(17))
    for number in range(4):
        ask, _, state = turn(rule, state, KEYS[number], jnp.ones((5, 4), jnp.float32))
        spent.append(int(ask.completions))
    assert spent == [17, 0, 0, 0]
    assert state.queries.tolist() == [0, 0, 0, 0]
    assert bool(state.active.all())


# --- rules that pull a few prompts on each query


@eqx.filter_jit
def chosen(rule: FewPrompts, words: jax.Array, value: jax.Array, done: jax.Array) -> jax.Array:
    return jax.vmap(lambda word: rule.choose(SPEC, word, value, done))(words)


def choices(rule: FewPrompts, value: list[float], done: list[float]) -> set[tuple[int, ...]]:
    """Every choice of a rule in a state, over 400 draws of words."""
    words = jax.vmap(lambda key: counter.bits(key, (rule.num_rows(SPEC),)))(KEYS)
    given = jnp.asarray(value, jnp.float32), jnp.asarray(done, jnp.float32)
    return set(map(tuple, np.asarray(chosen(rule.traced(), words, *given)).tolist()))  # pyright: ignore


def test_top_two_pulls_the_leader_and_who_is_hardest_to_tell_from_it() -> None:
    """(gap + slack) / sqrt(1 / n + 1 / n of the leader), by hand. Seen to fail without the counts and without slack."""
    value, done = [0.9, 0.8, 0.7, 0.1, 0.2], [16.0, 64.0, 4.0, 16.0, 16.0]
    cost = (0.9 - np.array(value) + 0.1) / np.sqrt(1 / 16 + 1 / np.array(done))
    assert np.argsort(cost[1:]).tolist()[:2] == [1, 0]  # prompt 2 before prompt 1
    assert choices(TopTwo(0.1), value, done) == {(0, 2)}
    cost = (0.9 - np.array(value)) / np.sqrt(1 / 16 + 1 / np.array(done))
    assert cost[1:].argmin() == 1 - 1
    assert choices(TopTwo(0.0), value, done) == {(0, 1)}
    inf = float("inf")
    assert choices(TopTwo(), [0.9, -inf, 0.7, -inf, 0.2], [8, 0, 8, 0, 8]) == {(1, 3), (3, 1)}
    assert choices(TopTwo(), [0.9, -inf, 0.7, 0.8, 0.2], [8, 0, 8, 8, 8]) == {(1, other) for other in (0, 2, 3, 4)}
    assert len(choices(TopTwo(), [-inf] * 5, [0] * 5)) == 20


def test_nested_pulls_of_a_prompt_meet_the_queries_one_after_the_other() -> None:
    """T = 43, pulls of 2: the next place of a prompt is the number of its pulls, whatever the others had.

    Seen to fail with rounds that meet the next query, and with places counted from the first.
    """
    rule, met = TopTwo(0.1, pull=2, nested=True), np.zeros(5, int)
    state = rule.init(SPEC, jnp.int32(43))
    for number in range(11):
        ask, _, state = turn(rule, state, KEYS[number], jnp.full((2, 4), 0.5, jnp.float32))
        pulled = np.asarray(ask.prompt)
        assert (np.asarray(ask.places.start) + met.max()).tolist() == met[pulled].tolist()
        assert not np.asarray(ask.places.had).any()
        met[pulled] += np.asarray(ask.pulls)
    assert bool(rule.finished(SPEC, state))
    assert len(set(met.tolist())) > 2, "prompts are pulled unequally often"


def test_shares_of_almost_tracking_by_hand() -> None:
    """Gaps 0, 1/8, 1/4, 1/4: g = 1, 1 + 1/4 + 1/4, 3, 3. Seen to fail with ranks for g, and with gaps unsquared."""
    found = np.asarray(almost_tracking.weight(jnp.float32([0.0, 0.125, 0.25, 0.25])))
    assert found.tolist() == [1.0, 1.5, 3.0, 3.0]


def test_shares_of_many_prompts_take_no_table_of_all_pairs() -> None:
    """300 prompts, against plain NumPy; no array of 300 x 300 is in the program. Seen to fail with all at once."""
    gap = np.append(0.0, np.random.default_rng(4).exponential(size=299)).astype(np.float32)
    assert "300,300" not in str(jax.make_jaxpr(almost_tracking.weight)(gap))
    ratio = np.minimum(1, np.divide(gap[:, None], gap[None], out=np.ones((300, 300)), where=gap[None] > 0))
    found = np.asarray(almost_tracking.weight(jnp.asarray(gap)))
    np.testing.assert_allclose(found, np.maximum((ratio**2).sum(axis=1) - 1, 1), atol=300 / 2**16)
    with pytest.raises(ValueError, match=r"there are 32,768 prompts; almost-tracking takes at most 32,767"):
        jax.eval_shape(almost_tracking.weight, jax.ShapeDtypeStruct((2**15,), jnp.float32))


def test_shares_make_every_other_world_as_hard() -> None:
    """(d_j + e)^2 times the hardness of the world in which j rises to e above the best is at least g_j, for any e.

    Seen to fail with g twice as large.
    """
    rng = np.random.default_rng(8)
    for _ in range(50):
        gap = np.append(0.0, np.sort(rng.exponential(size=7)))
        g = np.asarray(almost_tracking.weight(jnp.asarray(gap, jnp.float32)))
        for j in range(1, 8):
            e = np.geomspace(1e-4, 1e4, 200)[:, None]
            others = np.delete(gap, j)
            assert (((gap[j] + e) ** 2 / (others + e) ** 2).sum(axis=1) >= g[j] - 1e-4).all()
        assert (g >= 1).all()


def test_almost_tracking_follows_the_shares() -> None:
    """Values that stay: after 600 pulls of 4 each prompt has its share, within one pull. Seen to fail without g."""
    rule, value = algorithms.get("almost-tracking:batch=1"), jnp.float32([0.9, 0.775, 0.65, 0.65, 0.9 - 0.5])
    assert isinstance(rule, FewPrompts)

    def one(done: jax.Array, word: jax.Array) -> tuple[jax.Array, jax.Array]:
        prompt = rule.choose(SPEC, word[None], value, done)[0]
        return done.at[prompt].add(4), prompt

    words = counter.bits(KEYS[0], (600,))
    done, order = jax.jit(lambda: jax.lax.scan(one, jnp.zeros(5, jnp.float32), words))()
    share = 1 / np.asarray(almost_tracking.weight(0.9 - value))
    np.testing.assert_allclose(np.asarray(done) / 4, 600 * share / share.sum(), atol=1)
    assert sorted(order[:5].tolist()) == [0, 1, 2, 3, 4]


def test_curves_of_the_surrogate_are_those_of_plain_ridge_regression() -> None:
    """Against float64: each prompt's weighted fit in log N, shrunk to the mean; a prompt never pulled has the mean.

    Pulls of 3 of N <= 4, and one prompt whose only pull had 2. Seen to fail without shrinking, with weights all equal,
    and with a fit of three points for the prompt that has two.
    """
    rng, rule = np.random.default_rng(9), Surrogate(0.1, 1.5, degree=2, ridge=0.05, pull=3)
    blocks = np.array([[6, 2, 2], [3, 1, 1], [2, 1, 0], [0, 0, 0], [9, 3, 3]])
    mean = rng.uniform(0, 1, (5, 3))
    table = estimators.empty(SPEC)
    table = estimators.BlockSums(
        table.total.at[0, :, :3].set(jnp.asarray(mean * blocks, jnp.float32)),
        table.blocks.at[:, :3].set(jnp.asarray(blocks, jnp.float32)),
    )
    z = (np.log(np.arange(1, 5)) / np.log(4))[:, None] ** np.arange(3)
    fits = np.full((5, 3), np.nan)
    for p, seen in enumerate((3, 3, 2, 0, 3)):
        if seen:
            root = np.sqrt(1 / np.arange(1, seen + 1) / (1 / np.arange(1, seen + 1)).sum())
            rows = np.vstack([z[:seen] * root[:, None], np.sqrt(0.05) * np.eye(3)[1:]])
            fits[p] = np.linalg.lstsq(rows, np.append(mean[p, :seen] * root, [0, 0]), rcond=None)[0]
    centre = np.nanmean(fits, axis=0)
    pulls = blocks[:, 0] / 3
    curves = centre + np.where(pulls > 0, pulls / (pulls + 1.5), 0)[:, None] * (np.nan_to_num(fits) - centre)
    expected = (curves @ z.T)[None] - COST[:, :, None] * np.arange(1, 5)
    found = eqx.filter_jit(lambda rule, table: rule.value(SPEC, table))(rule.traced(), table)
    np.testing.assert_allclose(found, expected, atol=12 * 2.0**-16)
    best = expected[1].max(axis=1) + 0.1 / np.sqrt(pulls + 1.5)
    order = tuple(np.argsort(-best)[:4].tolist())
    assert choices(rule, expected[1].max(axis=1).tolist(), blocks[:, 0].tolist()) == {order}
    assert surrogate.fits_of(1, 1, 2, 0.1)[1].tolist() == [[1.0], [0.0], [0.0]]  # a single scale: the mean


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("top-two:slack=-1", r"slack is -1\.0; it must lie in 0\.\.1e\+36"),
        ("surrogate:shrink=0", r"shrink is 0\.0; it must be above 0"),
        ("surrogate:ridge=0", r"ridge is 0\.0; it must be above 0"),
        ("surrogate:degree=-1", "degree is -1, batch 4; they must be at least 0 and 1"),
        ("surrogate:constant=-1", r"constant is -1\.0; it must lie in 0\.\.1e\+36"),
        ("top-two:nested=true,queries=common", "nested is True and queries is 'common'; only 'common-wor' has them"),
        ("correlated-halving:eta=1", "eta is 1; it must be at least 2: a round keeps one arm in eta"),
        ("almost-tracking:batch=0", "batch is 0; it must be at least 1 prompt"),
        ("almost-tracking:pull=-1", "pull is -1; it must be at least 1 completion, or 0 for the largest scale"),
        ("correlated-halving:pull=-1", "pull is -1; it must be at least 1 completion, or 0"),
        ("paired-racing:pull=-1", "pull is -1; it must be at least 1 completion, or 0"),
        ("paired-racing:blocks=65", r"blocks is 65, first 5; they must lie in 1\.\.64 and be at least 2"),
        ("paired-racing:alpha=0.5", r"alpha is 0\.5; it must lie between 0 and 0\.5"),
    ],
)
def test_options_are_checked(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        algorithms.get(text)
