"""The fitted mixture against EM from the definitions, in every batch, and its bias by exact laws."""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sim.constants import TIES
from sim.kernels import mixture, tallies
from sim.kernels.majority import majority_credit

SCALES = 16


def fit(answers: int, tie: str, width: int = 8, steps: int = mixture.STEPS) -> Callable[..., np.ndarray]:
    """`mixture.values` of rows of counts, compiled; counts may be of fewer tallies than there are."""
    tables = mixture.tables(answers, tie, width, SCALES)
    compiled = jax.jit(lambda counts, size: mixture.values(tables, counts, size, steps))

    def estimate(counts: np.ndarray, size: int | np.ndarray) -> np.ndarray:
        sizes = np.broadcast_to(np.asarray(size, np.int32), counts.shape[:1])
        return np.asarray(compiled(jnp.asarray(counts, jnp.int32), jnp.asarray(sizes)))

    return estimate


def tally_law(theta: np.ndarray, n: int) -> np.ndarray:
    """Chances of the tallies of n completions under each answer law, by adding up all votes; rows are laws."""
    answers = theta.shape[1]
    parts = [tuple(part) for part in tallies.table(answers, n).parts.tolist()]
    law = np.zeros((len(theta), len(parts)))
    for wrong in itertools.product(range(n + 1), repeat=answers - 1):
        if sum(wrong) <= n:
            cast = (n - sum(wrong), *wrong)
            ways = math.factorial(n) / math.prod(math.factorial(votes) for votes in cast)
            ranked = tuple(sorted(wrong, reverse=True))[: len(parts[0])]
            law[:, parts.index(ranked)] += ways * np.prod(theta ** np.array(cast), axis=1)
    return law


def plain(answers: int, tie: str, n: int, counts: np.ndarray, steps: int = mixture.STEPS) -> np.ndarray:
    """The estimate from the definitions, in float64: rows of counts to rows of values."""
    laws = mixture.answer_laws(answers)
    law, weight = tally_law(laws, n), np.full((len(counts), len(laws)), 1 / len(laws))
    for _ in range(steps):
        chance = weight @ law
        share = np.divide(counts, chance, out=np.zeros(counts.shape), where=counts > 0)
        weight *= share @ law.T / counts.sum(axis=1, keepdims=True)
    return weight @ majority_credit(laws, SCALES, tie)


def compositions(pulls: int, parts: int) -> np.ndarray:
    """All ways to split pulls into so many tallies, one a row."""
    bars = np.array(list(itertools.combinations(range(pulls + parts - 1), parts - 1)), int).reshape(-1, parts - 1)
    edges = np.concatenate([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), pulls + parts - 1)], axis=1)
    return np.diff(edges, axis=1) - 1


def expected(estimate: Callable[..., np.ndarray], law: np.ndarray, n: int, pulls: int) -> np.ndarray:
    """Exact expectation of the estimate from so many pulls whose tallies have this law: every histogram counts."""
    every = compositions(pulls, len(law))
    logs = np.array([math.lgamma(count + 1) for count in range(pulls + 1)])
    chance = np.exp(logs[pulls] - logs[every].sum(axis=1)) * np.prod(law**every, axis=1)
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    return chance @ estimate(every, n)


def in_the_limit(law: np.ndarray) -> np.ndarray:
    """Counts of a million pulls, as their law has it."""
    return np.rint(law * 2**20).astype(int)[None]


@pytest.mark.parametrize(
    ("answers", "tie", "n"), [(2, "half", 7), (3, "uniform", 5), (5, "half", 4), (9, "uniform", 3)]
)
def test_the_fit_is_that_of_the_definitions(answers: int, tie: str, n: int) -> None:
    """Twelve digits of every factor leave 3e-4. Nine answers stand for open ones.

    Seen to fail with the likelihood of one order of the wrong answers only, with `by_wrong` of n + 1 completions, with
    weights left at the start, and with the other tie rule.
    """
    size = tallies.sizes(answers, n)[n]
    counts = np.random.default_rng(n).multinomial([1, 4, 40, 1000], np.random.default_rng(1).dirichlet(np.ones(size)))
    np.testing.assert_allclose(fit(answers, tie)(counts, n), plain(answers, tie, n, counts), atol=3e-4)


@pytest.mark.slow
def test_the_same_bits_in_any_batch() -> None:
    """Rows alone, in any order, among others of all sizes, with fewer tallies; lanes of vmaps, chunks, without jit.

    Seen to fail with factors that are not rounded (a fused product and sum is then another number), with sums over laws
    by matrix product, and with rows of the block's first size whatever their own.
    """
    answers, width, rows = 3, 8, 192
    tables = mixture.tables(answers, "uniform", width, SCALES)
    sizes = np.array([width if row > 40 else 1 + row % width for row in range(rows)])
    counts = np.zeros((rows, tables.sizes[width]), int)
    rng = np.random.default_rng(3)
    for row, n in enumerate(sizes):
        counts[row, : tables.sizes[n]] = rng.multinomial(row, rng.dirichlet(np.full(tables.sizes[n], 0.5)))
    estimate = fit(answers, "uniform", width)
    whole = estimate(counts, sizes)
    assert len(np.unique(whole[1:], axis=0)) == rows - 1
    assert np.all((whole[1:] > 0) & (whole[1:] < 1))
    order = rng.permutation(rows)
    np.testing.assert_array_equal(estimate(counts[order], sizes[order]), whole[order])
    for row in (1, 17, 191):
        few = counts[row : row + 1, : tables.sizes[sizes[row]]]
        np.testing.assert_array_equal(estimate(few, sizes[row]), whole[row : row + 1])
    batch, own = jnp.asarray(counts, jnp.int32), jnp.asarray(sizes, jnp.int32)

    def values(counts: jax.Array, size: jax.Array) -> jax.Array:
        return mixture.values(tables, counts, size)

    lanes = batch.reshape(64, 3, -1), own.reshape(64, 3)
    np.testing.assert_array_equal(jax.jit(jax.vmap(values))(*lanes).reshape(rows, -1), whole)
    nested = batch.reshape(4, 16, 3, -1), own.reshape(4, 16, 3)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(values)))(*nested).reshape(rows, -1), whole)
    mapped = jax.jit(lambda *parts: jax.lax.map(lambda part: jax.vmap(values)(*part), parts))
    np.testing.assert_array_equal(mapped(*nested).reshape(rows, -1), whole)
    one_size = jax.jit(jax.vmap(values, in_axes=(0, None)))(batch[64:].reshape(32, 4, -1), own[64:68])
    np.testing.assert_array_equal(one_size.reshape(128, -1), whole[64:])
    np.testing.assert_array_equal(values(batch[:9], own[:9]), whole[:9])


def test_rows_without_pulls_and_votes_without_rivals() -> None:
    """Zero and exactly one. Seen to fail with one more than the sum of the weights as the total."""
    estimate = fit(1, "uniform", 3)
    np.testing.assert_array_equal(
        estimate(np.array([[0], [5], [1]]), np.array([2, 3, 1])), np.outer([0, 1, 1], np.ones(SCALES))
    )


@pytest.mark.parametrize("answers", [2, 5])
def test_pulls_of_one_law_are_valued_as_that_law(answers: int) -> None:
    """All queries alike: in the limit of pulls and steps the parametric answer, f_k(theta), at scales above n too.

    Fifty steps leave .03, two thousand .005. Seen to fail with a step that is left out of the weights' product.
    """
    theta = mixture.answer_laws(answers)[40]
    counts = in_the_limit(tally_law(theta[None], 6)[0])
    truth = majority_credit(theta, SCALES)
    assert np.abs(fit(answers, "uniform")(counts, 6)[0] - truth).max() < 0.03
    assert np.abs(fit(answers, "uniform", steps=2000)(counts, 6)[0] - truth).max() < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("answers", [2, 4])
def test_bias_falls_as_pulls_grow_and_is_below_that_of_their_frequencies(answers: int, tie: str) -> None:
    """The largest over five sets of four queries and all scales up to 16, at n = 2, 4, 8, in the limit of many pulls.

    .05, .02 and .008 for two answers, .07, .03 and .018 for four; of the pulls' frequencies .12, .08 and .06.
    Seen to fail with five EM steps.
    """
    rng, estimate = np.random.default_rng(2), fit(answers, tie)
    off, plug_in = np.zeros(3), np.zeros(3)
    for _ in range(5):
        theta = rng.dirichlet(np.ones(answers), 4)
        truth = majority_credit(theta, SCALES, tie).mean(axis=0)
        for i, n in enumerate((2, 4, 8)):
            law = tally_law(theta, n).mean(axis=0)
            off[i] = max(off[i], np.abs(estimate(in_the_limit(law), n)[0] - truth).max())
            parts = tallies.table(answers, n).parts
            seen = np.pad(parts, ((0, 0), (1, answers - 1 - parts.shape[1])))
            seen[:, 0] = n - parts.sum(axis=1)
            plug_in[i] = max(plug_in[i], np.abs(law @ majority_credit(seen / n, SCALES, tie) - truth).max())
    assert np.all(off < [0.07, 0.034, 0.02])
    assert np.all(plug_in > [0.12, 0.08, 0.055])


def test_bias_of_few_pulls_is_that_of_all_histograms() -> None:
    """The exact expectation, every histogram of six pulls by its chance; less for larger pulls, none at scale 1.

    Seen to fail with forty steps, and with a start that weighs one law twice.
    """
    theta = np.array([[0.9, 0.1], [0.3, 0.7]])
    truth = majority_credit(theta, SCALES).mean(axis=0)
    estimate, bias = fit(2, "uniform"), []
    for n in (2, 4, 8):
        law = tally_law(theta, n).mean(axis=0)
        bias.append(expected(estimate, law, n, 6) - truth)
    assert np.abs(np.array(bias)[:, 0]).max() < 0.0015
    np.testing.assert_allclose(
        np.array(bias)[:, [4, 14]], [[0.0458, 0.1105], [0.0259, 0.0746], [0.0129, 0.0426]], atol=2e-4
    )


def test_laws_are_those_that_are_said() -> None:
    two = mixture.answer_laws(2)
    np.testing.assert_allclose(two[:, 0], np.sin(np.pi / 2 * np.arange(65) / 64) ** 2, atol=2**-20)
    assert two[0].tolist() == [0, 1]
    assert two[64].tolist() == [1, 0]
    for answers in (3, 5, 9):
        laws = mixture.answer_laws(answers)
        assert laws.shape == (mixture.NUM_LAWS, answers)
        assert np.all(laws.sum(axis=1) == 1)
        assert np.all(laws >= 0)
        assert np.all(laws * 2**20 % 1 == 0)
        right = np.sin(np.pi * (np.arange(300) + 0.5) / 600) ** 2
        np.testing.assert_allclose(laws[:, 0], right, atol=(answers - 1) * 2**-20)
        share, wrong = laws[30:, 1:] / laws[30:, 1:].sum(axis=1, keepdims=True), answers - 1
        for place, alpha in enumerate(
            (1 / wrong, 0.5, 3.0)
        ):  # as is the variance of a share under Dirichlet(alpha, ..)
            variance = (wrong - 1) / wrong**2 / (wrong * alpha + 1)
            np.testing.assert_allclose(share[place::3].var(), variance, rtol=0.2)


def test_of_many_answers_the_right_one_is_as_likely_as_it_is() -> None:
    """Eight answers, pulls of four: all queries alike, or of five kinds. Seen to be off by .3 with Dirichlet draws."""
    theta = np.array([[right, *[(1 - right) / 7] * 7] for right in (0.02, 0.3, 0.6, 0.9, 0.99)])
    estimate, law = fit(8, "uniform", 4), tally_law(theta, 4)
    for own, right in zip([*law, law.mean(axis=0)], [*theta[:, 0], theta[:, 0].mean()], strict=True):
        assert estimate(in_the_limit(own), 4)[0, 0] == pytest.approx(right, abs=0.012)


def test_tables_that_are_too_large_are_refused_with_what_would_fit() -> None:
    assert mixture.widest(5, 32) == 32
    with pytest.raises(
        ValueError, match=r"for 20 answers in pulls of 32 .* more than 2,097,152 numbers; take .* at most 2\d$"
    ):
        mixture.tables(20, "uniform", 32, 32)
