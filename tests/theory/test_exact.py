"""Exact values against enumeration, independent formulas and simulation."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sim.constants import TIES
from sim.envs.dataset import Dataset
from sim.envs.released import read_released
from sim.kernels import counter, majority
from theory import exact
from theory.blocks import best_of_n
from theory.blocks import law as laws
from theory.moments import block_mean_variance


def tapes(num_outcomes: int, size: int) -> np.ndarray:
    """Every sequence of `size` outcomes, one a row."""
    return np.array(list(itertools.product(range(num_outcomes), repeat=size)))


def credit_of(labels: np.ndarray, tie: str) -> np.ndarray:
    """Majority-vote credit of label 0 for every row of labels, by counting."""
    votes = np.array([np.bincount(row, minlength=labels.max() + 1) for row in labels])
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1)
    share = 1 / tied if tie == "uniform" else np.where(tied > 1, 0.5, 1.0)
    return np.where(votes[:, 0] == votes.max(axis=1), share, 0.0)


def multinomial_credit(probs: np.ndarray, size: int) -> float:
    """Expected 1/t credit of answer 0 among three, by the multinomial law of the counts."""
    counts = np.array([(a, b, size - a - b) for a in range(size + 1) for b in range(size + 1 - a)])
    top = counts == counts.max(axis=1, keepdims=True)
    return float((stats.multinomial.pmf(counts, size, probs) * top[:, 0] / top.sum(axis=1)).sum())


def binomial_credit(p: np.ndarray, size: int) -> np.ndarray:
    """Expected credit with two answers: P(Bin > N/2) + P(Bin = N/2) / 2."""
    return stats.binom.sf(size // 2, size, p) + (size % 2 == 0) * stats.binom.pmf(size // 2, size, p) / 2


def dyadic_mix(aggregate: tuple[str, ...], weights: list[list[float]], labels: bool, **more: object) -> Dataset:
    """Two prompts, three queries and four outcomes whose numbers float32 and 32-bit thresholds hold exactly."""
    rng = np.random.default_rng(7)
    probs = rng.multinomial(16, np.full(4, 0.25), (2, 3)) / 16
    values = rng.integers(-8, 9, (2, 3, 4, len(aggregate))) / 8
    if labels:
        values[..., aggregate.index("mv")] = rng.integers(0, 3, (2, 3, 4))
        more["answers"] = np.array([2, 0, 1])
    size = len(weights)
    fields = {"max_scale": 4, "costs": np.array([0.25, 0.125]), "values": values} | more
    return Dataset("dyadic", aggregate, probs, np.array(weights), np.linspace(0, 0.5, size), **fields)


@pytest.mark.parametrize("tie", TIES)
def test_majority_matches_all_tapes(tie: str) -> None:
    for probs in ([0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.2, 0.5], [0.25, 0.75, 0.0, 0.0], [0.0, 0.5, 0.25, 0.25]):
        found = exact.majority_moments(np.array(probs), 6, tie)
        for size in range(1, 7):
            labels = tapes(4, size)
            weight, credit = np.array(probs)[labels].prod(axis=1), credit_of(labels, tie)
            assert found.mean[size - 1] == pytest.approx(weight @ credit, rel=1e-12, abs=1e-15)
            assert found.second[size - 1] == pytest.approx(weight @ credit**2, rel=1e-12, abs=1e-15)


def test_best_of_n_matches_all_tapes() -> None:
    rng = np.random.default_rng(1)
    probs = np.concatenate([rng.dirichlet(np.ones(4), 4), [[0.5, 0, 0.5, 0], [0, 0, 0, 1]]])
    values = np.concatenate([rng.normal(size=(3, 4)), [[1, -1, 1, 0], [0.5, 2, 0.5, 3], [1, 2, 3, 4]]]).astype(float)
    own = exact.best_of_n_moments(values, probs, 6)
    for size in range(1, 7):
        outcomes = tapes(4, size)
        for row, (p, v) in enumerate(zip(probs, values, strict=True)):
            weight, best = p[outcomes].prod(axis=1), v[outcomes].max(axis=1)
            shared = exact.best_of_n_moments(v, p, 6)
            assert own.mean[row, size - 1] == pytest.approx(weight @ best, abs=1e-12)
            assert own.second[row, size - 1] == pytest.approx(weight @ best**2, abs=1e-12)
            assert shared.mean[size - 1] == pytest.approx(weight @ best, abs=1e-12)
            assert shared.second[size - 1] == pytest.approx(weight @ best**2, abs=1e-12)


def test_equal_answers_share_the_credit() -> None:
    for num_answers in (2, 3, 5, 9):
        credit = exact.majority_credit(np.full(num_answers, 1 / num_answers), 33)
        np.testing.assert_allclose(credit, 1 / num_answers, rtol=1e-13)


def test_two_answers_gain_nothing_from_an_even_vote() -> None:
    p = np.linspace(0, 1, 41)
    credit = exact.majority_credit(np.stack([p, 1 - p], axis=1), 64)
    np.testing.assert_array_equal(credit[:, 1::2], credit[:, :-1:2])
    for size in (1, 2, 9, 10, 33, 64):
        np.testing.assert_allclose(credit[:, size - 1], binomial_credit(p, size), atol=1e-14)


@pytest.mark.parametrize("tie", TIES)
def test_closed_form_for_two_answers_matches_the_recurrence(tie: str) -> None:
    p = np.linspace(0.01, 0.99, 25)
    closed = exact.majority_moments(np.stack([p, 1 - p], axis=1), 64, tie)
    general = majority._many_answers(p, 1 - p[:, None], 64, tie)
    np.testing.assert_allclose(closed.mean, general.mean, atol=1e-14)
    np.testing.assert_allclose(closed.variance, general.variance, atol=1e-13)


def test_majority_at_large_scales_matches_the_multinomial_law() -> None:
    for probs in (np.array([0.3, 0.45, 0.25]), np.array([0.4, 0.35, 0.25]), np.array([0.05, 0.9, 0.05])):
        credit = exact.majority_credit(probs, 256)
        assert np.isfinite(credit).all()
        for size in (2, 7, 32, 63, 64, 256):
            assert credit[size - 1] == pytest.approx(multinomial_credit(probs, size), rel=1e-11)
        np.testing.assert_allclose(exact.majority_credit(probs, 64), credit[:64], rtol=1e-12)


def test_majority_ignores_order_and_empty_answers_and_blocking() -> None:
    rng = np.random.default_rng(2)
    probs = rng.dirichlet(np.ones(4), (3, 200))
    probs[0, :50, 3] = 0
    probs[0] /= probs[0].sum(axis=1, keepdims=True)
    credit = exact.majority_credit(probs, 12)
    padded = np.concatenate([probs[..., [0, 3, 1, 2]], np.zeros((3, 200, 2))], axis=-1)
    np.testing.assert_allclose(exact.majority_credit(padded, 12), credit, rtol=1e-13)
    np.testing.assert_allclose(exact.majority_credit(probs[1, 17], 12), credit[1, 17], rtol=1e-13)


def test_worked_example_single_shot_loses_under_voting() -> None:
    data = Dataset(
        name="worked",
        aggregate=("mv",),
        probs=np.array([[[0.4, 0.6], [0.9, 0.1]], [[0.62, 0.38], [0.62, 0.38]]]),
        objective_weights=np.ones((1, 1)),
        cost_weights=np.zeros(1),
        costs=np.zeros(2),
        max_scale=10,
        answers=np.zeros(2, int),
    )
    value = exact.values(data)[0]
    np.testing.assert_allclose(value[:, 0], [0.65, 0.62], rtol=1e-14)
    expected = [binomial_credit(np.array([0.4, 0.9]), 10).mean(), binomial_credit(np.array(0.62), 10)]
    np.testing.assert_allclose(value[:, 9], expected, rtol=1e-13)
    np.testing.assert_allclose(value[:, 9], [0.63283838, 0.7737763437574247], rtol=1e-13)


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("columns", [[0, 1, 2, 3], [0, 1], [0, 2], [1, 2]])
def test_mixed_strategy_matches_all_tapes(columns: list[int], tie: str) -> None:
    aggregate = tuple(("bon", "mv", "mean", "bon")[k] for k in columns)
    weights = np.array([[0.25, 0.5, 0.125, 0.125], [1.0, -0.5, 0.25, 0.25], [0.5, 1.0, 0.25, 0.25]])[:, columns]
    data = dyadic_mix(aggregate, weights.tolist(), labels="mv" in aggregate, tie=tie)
    found, moments = exact.task_values(data), exact.task_moments(data)
    directions = weights[:2] / np.abs(weights[:2]).sum(axis=1, keepdims=True)
    assert found.shape == (2, 2, 3, 4)
    for prompt, query, size in itertools.product(range(2), range(3), range(1, 5)):
        outcomes = tapes(4, size)
        weight = data.probs[prompt, query][outcomes].prod(axis=1)
        block = data.values[prompt, query][outcomes]
        for task, w in enumerate(directions):
            reward = np.zeros(len(block))
            if "mv" in aggregate:
                k, right = aggregate.index("mv"), data.answers[query]
                labels = block[..., k].astype(int)
                reward += w[k] * credit_of(np.where(labels == right, 0, labels + 1), tie)
            best, mean = ([k for k, how in enumerate(aggregate) if how == part] for part in ("bon", "mean"))
            reward += (block[..., best] @ w[best]).max(axis=1) + (block[..., mean] @ w[mean]).mean(axis=1)
            first, second = weight @ reward, weight @ reward**2
            assert found[task, prompt, query, size - 1] == pytest.approx(first, abs=1e-13)
            assert moments.mean[task, prompt, query, size - 1] == pytest.approx(first, abs=1e-13)
            assert moments.variance[task, prompt, query, size - 1] == pytest.approx(second - first**2, abs=1e-13)
    value, factor = exact.values(data), weights[2].sum()
    np.testing.assert_allclose(
        value[2], factor * found[0].mean(axis=1) - 0.5 * np.outer(data.costs, [1, 2, 3, 4]), atol=1e-13
    )


@pytest.mark.parametrize(
    ("aggregate", "labels"),
    [(("mv",), True), (("bon", "bon"), False), (("mean", "mean"), False), (("bon", "mv", "mean"), True)],
)
def test_world_values_are_those_of_the_data(aggregate: tuple[str, ...], labels: bool) -> None:
    first = np.array([0.5, 0.25, 0.25])[: len(aggregate)]
    weights = [list(first / first.sum()) if len(aggregate) != 2 else [0.75, 0.25], [0.5] * len(aggregate)]
    data = dyadic_mix(
        aggregate, weights[:1] if len(aggregate) == 3 else weights, labels, query_weights=np.array([1.0, 3, 4])
    )
    world = data.environment()
    np.testing.assert_allclose(exact.world_task_values(world), exact.task_values(data), atol=1e-13)
    parts = [np.array([0, 1]), np.array([2]), np.arange(3)]
    together = exact.world_values_by_split(world, [data.queries(ids) for ids in parts])
    per_query = exact.task_values(data)
    for found, ids in zip(together, parts, strict=True):
        np.testing.assert_allclose(found, exact.values(data, ids), atol=1e-9)
        np.testing.assert_allclose(exact.values(data, ids, per_query), exact.values(data, ids), atol=1e-13)
        np.testing.assert_allclose(exact.world_values(world, data.queries(ids)), found, atol=1e-13)


def test_shared_outcomes_give_the_same_values_as_tables_of_them() -> None:
    rng = np.random.default_rng(3)
    probs, atoms = rng.dirichlet(np.ones(6), (4, 9)), rng.normal(size=(6, 2))
    values = np.broadcast_to(atoms, (4, 9, 6, 2)).copy()
    fields = {"objective_weights": np.array([[0.3, 0.7], [1, 1], [0.6, 1.4], [-1, 0.5]]), "cost_weights": np.ones(4)}
    fields |= {"name": "shared", "aggregate": ("bon", "bon"), "costs": np.full(4, 0.01), "max_scale": 40}
    shared = Dataset(probs=probs, values=values, **fields)
    other = values.copy()
    other[0, 0] += 1  # one row differs: no list of outcomes is shared
    apart = Dataset(probs=probs, values=other, **fields)
    ids = np.arange(1, 9)
    np.testing.assert_allclose(exact.values(shared, ids), exact.values(apart, ids), atol=1e-12)
    np.testing.assert_allclose(exact.variance(shared, ids), exact.variance(apart, ids), atol=1e-12)
    np.testing.assert_allclose(
        exact.values(shared, ids, exact.task_values(shared)), exact.values(shared, ids), atol=1e-12
    )


def test_blocks_of_rows_and_prompts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = [dyadic_mix(("mv",), [[1.0]], labels=True), dyadic_mix(("bon", "mean"), [[0.75, 0.25]], labels=False)]
    whole = [exact.values(data) for data in worlds]
    for module in (majority, best_of_n, laws):
        monkeypatch.setattr(module, "_BLOCK", 4)
    for data, expected in zip(worlds, whole, strict=True):
        np.testing.assert_allclose(exact.values(data), expected, atol=1e-14)


def test_best_of_n_from_distribution_functions() -> None:
    scales = np.arange(1, 65)
    power = exact.best_of_n_from_cdf(lambda v: np.stack([v, v**2]), 0.0, 1.0, 64)
    np.testing.assert_allclose(power, [scales / (scales + 1), 2 * scales / (2 * scales + 1)], rtol=1e-13)
    normal = exact.best_of_n_from_cdf(stats.norm.cdf, -9.0, 9.0, 3)
    np.testing.assert_allclose(normal, [0, 1 / np.sqrt(np.pi), 1.5 / np.sqrt(np.pi)], atol=1e-12)


def test_best_arms_and_gaps() -> None:
    table = np.array([[[0.1, 0.5], [0.4, 0.2]], [[0.3, 0.3], [0.1, 0.9]]])
    prompt, scale = exact.best_arms(table)
    assert (prompt.tolist(), scale.tolist()) == ([0, 1], [2, 2])
    np.testing.assert_allclose(exact.gaps(table)[0], [[0.4, 0], [0.1, 0.3]])
    assert exact.gaps(table).min() == 0


def test_bad_arguments_are_named() -> None:
    data = dyadic_mix(("bon",), [[1.0]], labels=False)
    with pytest.raises(ValueError, match="each from 0 to 2"):
        exact.values(data, np.array([3]))
    with pytest.raises(ValueError, match="tie is 'first'; allowed are uniform, half"):
        exact.majority_credit(np.array([0.5, 0.5]), 4, "first")
    with pytest.raises(ValueError, match="max_scale is 5000"):
        exact.majority_credit(np.array([0.5, 0.5]), 5000)


@pytest.mark.slow
@pytest.mark.parametrize(("aggregate", "tie"), [(("mv",), "uniform"), (("mv",), "half"), (("bon", "bon"), "uniform")])
def test_simulated_block_means_match(aggregate: tuple[str, ...], tie: str) -> None:
    """Means of `TabularWorld` block rewards over 20,000 pulls of 8, every scale, within 5 exact standard errors.

    Caught when planted: tied votes dropped from the recurrence (z = 218), "half" credited as "uniform" (z = 17),
    the steps between sorted scores in reverse order (z = 22).
    """
    labels = aggregate == ("mv",)
    data = dyadic_mix(aggregate, [[1.0] * len(aggregate)], labels, max_scale=8, tie=tie)
    world, num_pulls = data.environment(), 20_000

    @jax.jit
    def units(key: jax.Array) -> jax.Array:
        def one(pull_key: jax.Array) -> jax.Array:
            query = counter.integer(counter.bits(counter.fold(pull_key, 1), (1,))[0], 3)
            return jax.vmap(lambda p: world.block_units(world.pull(pull_key, p, query, jnp.int32(8))))(jnp.arange(2))

        return jax.vmap(one)(jax.vmap(lambda i: counter.fold(key, 0, i))(jnp.arange(num_pulls)))

    blocks = 8 // np.arange(1, 9)
    sample = np.asarray(units(counter.from_seed(6)), np.float64)[:, :, 0] * float(world.strategy.unit[0]) / blocks
    estimate = block_mean_variance(data, 8)
    error = np.sqrt(estimate.variance[0] / num_pulls)
    z = (sample.mean(axis=0) - estimate.mean[0]) / np.maximum(error, 1e-9)
    assert np.abs(z).max() <= 5, z


def test_released_math_facts(math_path: Path) -> None:
    data = read_released(math_path)
    value = exact.values(data)
    prompt, scale = exact.best_arms(value)
    assert (prompt.tolist(), scale.tolist()) == ([4, 4, 4], [32, 11, 5])
    np.testing.assert_allclose(value.max(axis=(1, 2)), [0.8511, 0.8266, 0.7899], atol=5e-5)
    np.testing.assert_allclose(value[:, 1].max(axis=1), [0.8261, 0.8086, 0.7807], atol=5e-5)
    single = exact.task_means(data)[0, :, 0]
    assert single.argmax() == 1
    np.testing.assert_allclose([single.min(), single.max()], [0.196, 0.775], atol=5e-4)
