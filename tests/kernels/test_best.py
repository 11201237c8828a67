"""Best of N by the categories of completions, against their outcomes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import best_of

from sim.core import Environment
from sim.kernels import blocks, counter
from sim.utilities import Strategy


@pytest.mark.parametrize("categories", [1, 5, blocks.SELECTED + 3])
def test_scores_of_categories_are_those_of_their_outcomes(categories: int) -> None:
    """Two objectives weighed in two tasks. Seen to fail with the first objective alone."""
    weights, unit = jnp.asarray([[0.5, 0.3], [-0.1, 0.7]], jnp.float32), jnp.full(2, 2.0**-10, jnp.float32)
    strategy, rng = Strategy(("bon", "bon"), 1, "uniform", weights, unit), np.random.default_rng(1)
    atoms = jnp.asarray(rng.normal(size=(categories, 2)), jnp.float32)
    labels, scales = jnp.asarray(rng.integers(0, categories, (5, 6)), jnp.int32), jnp.arange(6, dtype=jnp.int32)
    found = jax.jit(blocks.best_of_labels)(strategy, atoms, labels, scales)
    outcomes = jnp.moveaxis(atoms[labels], 2, 1)
    np.testing.assert_array_equal(found, jax.jit(blocks.block_units)(strategy, outcomes, scales))
    assert np.any(np.asarray(found) != 0)


def test_pulls_of_outcomes_that_are_the_same_everywhere_are_those_of_the_plain_version() -> None:
    """Twenty pulls of all sizes, none among them."""
    world = best_of().environment()
    atoms = jnp.asarray(np.random.default_rng(2).normal(size=(world.thresholds.shape[2] + 1, 2)), jnp.float32)
    world = eqx.tree_at(lambda world: world.atoms, world, atoms)
    keys = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(0), jnp.arange(20))
    number = jnp.arange(20, dtype=jnp.int32)
    width = world.spec.max_scale
    rows = (keys, number % 3, number % world.num_queries, number % (width + 1))
    plain = jax.jit(lambda *rows: Environment.pull_rows(world, *rows, width))
    np.testing.assert_array_equal(jax.jit(lambda *rows: world.pull_rows(*rows, width))(*rows), plain(*rows))
    assert world.strategy.aggregate == ("bon", "bon")
