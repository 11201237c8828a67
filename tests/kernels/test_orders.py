"""Random orders of a pull's completions: what they average, that they are unbiased, and how their variance falls."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from helpers import chi_square

from sim.kernels import counter, orders, subsets
from sim.utilities import Strategy, reward_unit

WEIGHTS = np.array([[0.5, 0.25, -0.125], [-0.25, 0.5, 0.25]])
UNIT = reward_unit(4.0)
PROBLEM = reference.Problem(("mv", "bon", "mean"), WEIGHTS, (0, 1), np.ones(2), np.zeros((2, 1)), 5, UNIT, "uniform")
STRATEGY = Strategy(PROBLEM.aggregate, 3, "uniform", jnp.asarray(WEIGHTS, jnp.float32), jnp.full(2, UNIT, jnp.float32))
ATOMS = np.array([[0, 1.0, -2.0], [1, -1.0, 0.5], [2, 2.0, 1.0]])
"""Outcomes of a completion: each an answer and two scores."""
LAW = np.array([0.5, 0.3, 0.2])
estimate = jax.jit(subsets.pull_units, static_argnums=(3, 4))


def keys(number: int, seed: int = 0) -> jax.Array:
    return jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(seed), jnp.arange(number))


def same_pull(atoms: tuple[int, ...], number: int, width: int) -> jax.Array:
    """A pull of these completions, so many times."""
    padded = np.pad(ATOMS[list(atoms)], ((0, width - len(atoms)), (0, 0)))
    return jnp.asarray(np.repeat(padded[:, :, None], number, axis=2), jnp.float32)


@pytest.mark.parametrize(("estimator", "number"), [("subsets", 3), ("plug-in", 2)])
def test_an_estimate_is_the_mean_over_blocks_of_every_order(estimator: str, number: int) -> None:
    """Pulls of none to five, one by one in NumPy. Seen to fail with all orders alike."""
    rng, scales, own = np.random.default_rng(1), np.resize([5, 4, 3, 2, 1, 0], 24), keys(24)
    atoms = rng.integers(0, 3, (24, 5))
    outcomes = ATOMS[atoms].transpose(1, 2, 0)
    found = estimate(STRATEGY, jnp.asarray(outcomes, jnp.float32), jnp.asarray(scales), f"{estimator}-{number}", 5, own)
    for pull, size in enumerate(map(int, scales)):
        total, length = np.zeros((2, 5)), size if estimator == "subsets" else 5 * (size > 0)
        for order in range(number):
            words = np.asarray(counter.bits(counter.fold(own[pull], order, orders._STREAM), (5,)))
            if estimator == "subsets":
                place = np.argsort(words[:size] >> 4, kind="stable")
            else:
                place = ((words.astype(np.uint64) * size) >> np.uint64(32)).astype(int)[:length]
            total += reference.block_sums(PROBLEM, outcomes[place, :, pull])[0] / UNIT
        if estimator == "subsets":
            expected = np.floor(total / number + 0.5)
        else:
            each = np.floor(total / (number * (5 // np.arange(1, 6))) + 0.5)
            expected = each * np.maximum(size // np.arange(1, 6), min(size, 1))
        np.testing.assert_array_equal(np.asarray(found)[pull], expected)


@pytest.mark.parametrize("number", [1, 4])
def test_orders_are_unbiased_whatever_the_key(number: int) -> None:
    """All 243 pulls of five completions, by the chance of each: the exact value of every scale, to half a unit.

    Seen to fail where an order may take a completion twice.
    """
    pulls = list(itertools.product(range(3), repeat=5))
    chance = LAW[np.array(pulls)].prod(axis=1)
    outcomes = jnp.asarray(ATOMS[np.array(pulls)].transpose(1, 2, 0), jnp.float32)
    one_key = jnp.tile(keys(1, seed=number), (len(pulls), 1))
    found = estimate(STRATEGY, outcomes, jnp.full(len(pulls), 5), f"subsets-{number}", 5, one_key)
    mean = np.tensordot(chance, np.asarray(found, float), axes=1)
    for k in range(1, 6):
        draws = list(itertools.product(range(3), repeat=k))
        rewards = np.array([np.floor(reference.task_reward(PROBLEM, ATOMS[list(d)]) / UNIT + 0.5) for d in draws])
        value = LAW[np.array(draws)].prod(axis=1) @ rewards
        assert np.all(np.abs(mean[:, k - 1] - (5 // k) * value) <= 0.51)


@pytest.mark.parametrize("estimator", ["subsets", "plug-in"])
def test_the_mean_over_orders_is_the_estimate_over_all(estimator: str) -> None:
    """One pull, 20,000 keys, every scale: five standard errors from what the table says, and 8 units for its rounding.

    Seen to fail with the completions in the order in which they came, and with redraws of all but the last.
    """
    pull, number = (0, 1, 1, 0, 2), 20_000
    sizes = jnp.full(number, 5)
    found = np.asarray(estimate(STRATEGY, same_pull(pull, number, 6), sizes, f"{estimator}-2", 6, keys(number)), float)
    exact = np.asarray(estimate(STRATEGY, same_pull(pull, 1, 6), sizes[:1], estimator, 6), float)[0]
    error = found.std(axis=0) / np.sqrt(number)
    assert np.all(np.abs(found.mean(axis=0) - exact) <= 5 * error + 8)
    assert (error[:, 1:4] > 0).all()


def test_the_variance_over_orders_falls_as_their_number() -> None:
    """Eight orders have an eighth of the variance of one, to five standard errors; seen to fail with orders alike."""
    pull, number, square = (0, 1, 1, 0, 2, 2), 10_000, []
    for orders_ in (1, 8):
        args = same_pull(pull, number, 6), jnp.full(number, 6), f"subsets-{orders_}", 6, keys(number, orders_)
        off = np.asarray(estimate(STRATEGY, *args), float)[:, 0, 1:4]
        off = (off - off.mean(axis=0)) ** 2 * orders_
        square.append((off.mean(axis=0), off.var(axis=0) / number))
    (one, its), (eight, theirs) = square
    assert np.all(one > 0)
    assert np.all(np.abs(one - eight) <= 5 * np.sqrt(its + theirs))


def test_every_order_is_as_likely() -> None:
    """24 orders of four completions in pulls of up to six. Seen to fail without random words."""
    words = counter.bits_rows(keys(24_000), 6)
    place = np.asarray(orders._shuffled(words, jnp.full(24_000, 4)))
    assert (np.sort(place[:4], axis=0) == np.arange(4)[:, None]).all()
    assert (place[4:] == [[4], [5]]).all()
    counts = np.unique(4 ** np.arange(4) @ place[:4], return_counts=True)[1]
    assert len(counts) == 24
    assert chi_square(counts, 1000)


@pytest.mark.slow
def test_orders_take_the_place_of_tables_that_are_too_large() -> None:
    """Nothing is refused: 256 completions, 300 answers, and a pull that agrees."""
    one = jnp.ones((1, 1))
    vote, best = (Strategy((how,), 300 if how == "mv" else 1, "uniform", one, one[0] * UNIT) for how in ("mv", "bon"))
    assert subsets.chosen(vote, 256, 256, "subsets") == "subsets-8"
    assert subsets.chosen(best, 256, 256, "plug-in") == "plug-in-8"
    assert subsets.chosen(best, 32, 256, "plug-in") == "plug-in"
    assert subsets.chosen(best, 256, 256, "blocks") == "blocks"
    assert subsets.chosen(best, 8, 8, "subsets-3") == "subsets-3"
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 300, (256, 1, 3)), jnp.int32).at[:, :, 0].set(0)
    for strategy, estimator in itertools.product((vote, best), ("subsets", "plug-in")):
        found = estimate(strategy, labels, jnp.int32([256, 256, 7]), estimator, 256, keys(3))
        assert found.shape == (3, 1, 256)
        again = estimate(strategy, labels, jnp.int32([256, 256, 7]), f"{estimator}-8", 256, keys(3))
        np.testing.assert_array_equal(found, again)
    sure = np.asarray(estimate(vote, labels, jnp.int32([256, 256, 7]), "subsets", 256, keys(3)))[0, 0]
    np.testing.assert_array_equal(sure * UNIT, 256 // np.arange(1, 257))


def test_orders_without_a_key_are_refused() -> None:
    with pytest.raises(ValueError, match="subsets-2 draws random orders"):
        estimate(STRATEGY, same_pull((0, 1), 1, 2), jnp.int32([2]), "subsets-2", 2)
