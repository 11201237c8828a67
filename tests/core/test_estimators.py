"""Pulls to estimated values, by hand on scripted pulls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import states
from helpers import best_of, given, majority, make_spec, mixed, scripted

from sim import estimators
from sim.algorithms import PSST, SequentialHalving
from sim.core import Allocation, Stats
from sim.engine import runner
from sim.kernels import counter

INF = np.inf


def allocation(*rows: tuple[int, int, int]) -> Allocation:
    return Allocation(*(jnp.array(column, jnp.int32) for column in zip(*rows, strict=True)))


def test_statistics_of_a_vote_on_scripted_pulls() -> None:
    """Prompt 0 answers 0 1 0 0 (gold 0), prompt 1 answers 1 2 0 1, prompt 2 is not pulled.

    Prompt 0, full pulls: singles 1 + 0 + 1 + 1; pairs 1/2 + 1; triples 1; fours 1. Prompt 1, pulls of three: singles
    0 + 0 + 1; pairs 0; triples 1/3 (rounded to 21845 units of 2**-16); no four.
    """
    data = majority(queries=1)
    tape = np.array([[0, 1, 0, 0], [1, 2, 0, 1], [0, 0, 0, 0]], float).reshape(3, 1, 4, 1)
    world = scripted(tape, data)
    asked = allocation((0, 4, 2), (1, 3, 3), (2, 4, 0))
    stats = runner.host_round(world, given(data).train, counter.from_seed(0), asked, PSST())
    third = 21845 / 2**16
    np.testing.assert_array_equal(stats.total[:, 0], [[6, 3, 2, 2], [3, 0, 3 * third, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(stats.blocks, [[8, 4, 2, 2], [9, 3, 3, 0], [0, 0, 0, 0]])

    table = estimators.add(estimators.empty(world.spec), asked, stats)
    reward = np.array([[0.75, 0.75, 1, 1], [1 / 3, 0, 1 / 3, -INF], [-INF] * 4])
    cost = np.array([0.0, 0.4, 1.0])[:, None, None] * np.array([0.03, 0.05, 0.11])[:, None] * np.arange(1, 5)
    # The block's reward and the value are each rounded, the latter to 2**-20.
    np.testing.assert_allclose(estimators.value(world.spec, table), reward - cost, rtol=0, atol=2.0**-17 + 2.0**-20)


def test_statistics_of_a_best_of_two_tasks_on_scripted_pulls() -> None:
    """Scores (1, 0), (0, 1), (1/2, 1/2) and weights (.9, .1), (.3, .7): per task bests of one, two and three."""
    data = best_of()
    tape = np.zeros((3, 1, 4, 2))
    tape[1, 0, :3] = [[1, 0], [0, 1], [0.5, 0.5]]
    world = scripted(tape, data)
    asked = allocation((1, 3, 1))
    one = given(data, np.zeros(1, int)).train
    stats = runner.host_round(world, one, counter.from_seed(0), asked, PSST())
    total = np.array([[0.9 + 0.1 + 0.5, 0.9, 0.9, 0], [0.3 + 0.7 + 0.5, 0.7, 0.7, 0]])
    np.testing.assert_allclose(stats.total[0], total, rtol=0, atol=4 * float(world.spec.unit.max()))
    np.testing.assert_array_equal(stats.blocks, [[3, 1, 1, 0]])
    # Contexts weigh the tasks by 1, 1, 2, 1 and the costs by 0, .5, 1, 2.
    table = estimators.add(estimators.empty(world.spec), asked, stats)
    value = np.asarray(estimators.value(world.spec, table))
    expected = [0.9, 0.7 - 2 * 0.5 * 0.05, 1.8 - 2 * 0.05, 0.7 - 2 * 2 * 0.05]
    np.testing.assert_allclose(value[:, 1, 1], expected, rtol=0, atol=4 * float(world.spec.unit.max()))
    assert np.all(value[:, [0, 2]] == -INF)
    assert np.all(value[:, 1, 3] == -INF)


def test_without_reuse_a_pull_is_one_block_of_its_own_scale() -> None:
    data = majority(queries=1)
    world = scripted(np.array([[0, 1, 0, 0], [1, 2, 0, 1], [0, 0, 0, 0]], float).reshape(3, 1, 4, 1), data)
    asked = allocation((0, 2, 3), (1, 3, 2), (2, 4, 0))
    stats = runner.host_round(world, given(data).train, counter.from_seed(0), asked, SequentialHalving())
    np.testing.assert_array_equal(stats.total[:, 0, 0], [1.5, 2 * 21845 / 2**16, 0])
    np.testing.assert_array_equal(stats.blocks, [[3], [2], [0]])


def test_tables_add_rows_of_one_prompt_and_narrow_statistics() -> None:
    """Two rows of one prompt add up; statistics narrower than the table fill its small scales."""
    spec = make_spec(2, 3)
    stats = Stats(jnp.array([[[1.0, 2.0]], [[4.0, 8.0]]]), jnp.array([[1.0, 1.0], [3.0, 1.0]]))
    table = estimators.add(estimators.empty(spec), allocation((1, 2, 1), (1, 2, 1)), stats)
    table = estimators.add(table, allocation((0, 2, 1), (1, 2, 1)), stats)
    np.testing.assert_array_equal(table.total, [[[1, 2, 0], [9, 18, 0]]])
    np.testing.assert_array_equal(table.blocks, [[1, 1, 0], [7, 3, 0]])


def test_values_of_single_completions_are_those_of_all() -> None:
    """Bit for bit, in three contexts of two tasks with their own weights and costs; an arm was never pulled.

    Seen to fail with the estimates of two completions.
    """
    table = estimators.BlockSums(*(jnp.asarray(part, jnp.float32) for part in states.table(3)))
    table = table._replace(blocks=table.blocks.at[2, 0].set(0))
    value = np.asarray(jax.jit(estimators.value)(states.SPEC, table))
    assert np.isinf(value[:, 2, 0]).all()
    np.testing.assert_array_equal(jax.jit(estimators.value_at_one)(states.SPEC, table), value[:, :, 0])


def test_nothing_pulled_is_worth_minus_infinity_everywhere() -> None:
    world = mixed().environment()
    assert np.all(np.asarray(estimators.value(world.spec, estimators.empty(world.spec))) == -INF)


def test_equal_means_of_different_counts_tie_exactly() -> None:
    """1/3 from one block in three and from 7 in 21, with equal cost."""
    spec = make_spec(2, 1, np.array([[0.1, 0.1]]))
    table = estimators.BlockSums(jnp.array([[[1.0], [7.0]]]), jnp.array([[3.0], [21.0]]))
    value = np.asarray(estimators.value(spec, table))
    assert value[0, 0, 0] == value[0, 1, 0]


@pytest.mark.parametrize("bound", [1e-3, 1.0, 1e4])
def test_values_are_rounded_to_a_sixteenth_of_the_unit(bound: float) -> None:
    unit = 2.0**-16 * bound
    spec = make_spec(1, 4, np.array([[0.013 * bound]]), unit=unit)
    table = estimators.BlockSums(jnp.full((1, 1, 4), 0.7 * bound), jnp.ones((1, 4)))
    value = np.asarray(estimators.value(spec, table), np.float64)[0, 0]
    np.testing.assert_allclose(value, (0.7 - 0.013 * np.arange(1, 5)) * bound, rtol=0, atol=unit / 16)


def test_values_of_a_context_of_its_own_data() -> None:
    """Two contexts, a prompt at two scales, costs .25 and 0."""
    spec = make_spec(1, 2, np.array([[0.25], [0.0]]), task=(0, 0))
    value = estimators.arm_value(spec, jnp.array([[3.0, 1.0], [1.0, 5.0]]), jnp.array([[4.0, 2.0], [0.0, 5.0]]))
    np.testing.assert_array_equal(value, [[0.5, 0.0], [-INF, 1.0]])
