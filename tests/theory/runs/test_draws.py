"""The seam between draws and who answers them: nothing compiled with one answer is used with another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sim import draws, trim
from sim.algorithms.random_arm import RandomArm, State
from sim.core import Key, Policy, Spec
from sim.engine import runner
from sim.envs import families
from sim.envs.sources import fixed
from sim.kernels import counter
from theory.runs import enumerate as enum

DATA = families.two_arm((0.7, 0.2))


@jax.jit
def compiled(key: Key) -> Any:
    return draws.order(key, (1, 2))


def higher(key: Key) -> Any:
    return jnp.argmax(draws.order(key, (2,))).astype(jnp.int32)


def nothing(key: Key) -> Any:
    return jnp.int32(0)


class Picky(RandomArm):
    """One of two arms by an order drawn in a function that JAX compiles, or keeps the trace of, by itself."""

    how: str = "jit"

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        if self.how == "jit":
            arm = trim.pick(jnp.zeros((1, 2)), compiled(key), jnp.ones((1, 2), bool))[0]
        elif self.how == "branch":
            arm = jax.lax.cond(state.budget > 0, higher, nothing, key)
        elif self.how == "twice":
            keys = counter.fold(key, 1), counter.fold(key, 2)
            arm = (jnp.argmax(compiled(keys[0])) ^ jnp.argmax(compiled(keys[1]))).astype(jnp.int32)
        elif self.how == "loop":
            arm = jax.lax.fori_loop(0, 2, lambda i, arm: arm ^ higher(counter.fold(key, i)), jnp.int32(0))
        elif self.how == "jitted integer":
            arm = jax.jit(lambda word: draws.integer(word, 2))(draws.words(key, (1,))[0])
        else:  # past the seam
            arm = counter.integer(counter.bits(key, (1,))[0], 2)
        return Policy(arm[None], jnp.ones(1, jnp.int32))


def simulated(rule: Picky) -> np.ndarray:
    return runner.run_trials(fixed(DATA, 1.0).source, rule, 5, seed=1, trials=64, chunk=64).prompt


@pytest.mark.parametrize("how", ["jit", "branch"])
def test_neither_compiled_programs_nor_enumerators_leak(how: str) -> None:
    """Simulated, enumerated twice, simulated again.

    Seen to fail, one arm having all the probability, without the context that JAX keeps programs apart by, and with one
    number for all who answer: what was traced for the second order was taken for the first's.
    """
    rule = Picky(how)
    before = simulated(rule)
    assert 16 < before.sum() < 48
    for _ in range(2):
        runs = enum.enumerate_runs(DATA, rule, 5)
        assert sorted(runs.prompt.ravel().tolist()) == [0, 1]
        np.testing.assert_array_equal(runs.probability, [0.5, 0.5])
    jax.clear_caches()
    enum.enumerate_runs(DATA, rule, 5)
    np.testing.assert_array_equal(simulated(rule), before)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("twice", "Picky draws in a loop, or calls twice"),
        ("loop", "Picky draws in a loop, or calls twice"),
        ("jitted integer", "Picky draws inside a branch, a loop or a compiled function"),
        ("past", "Picky uses random words as more than an order"),
    ],
)
def test_draws_that_cannot_be_enumerated_are_refused(how: str, said: str) -> None:
    """Seen to fail with the words of every request unmarked: both draws of a loop got the same order."""
    with pytest.raises(ValueError, match=said):
        enum.enumerate_runs(DATA, Picky(how), 5)


def test_an_answer_ends_with_its_block() -> None:
    key, fixed_words = counter.from_seed(1), np.array([3, 2, 1], np.uint32) << 20

    class Given(draws.Answers):
        def order(self, key: Key, shape: tuple[int, ...]) -> Any:
            return jnp.asarray(fixed_words)

    before = draws.order(key, (3,))

    def interrupted() -> None:
        with draws.answered_by(Given()):
            assert np.argsort(draws.order(key, (3,))).tolist() == [2, 1, 0]
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    np.testing.assert_array_equal(draws.order(key, (3,)), before)
    assert type(draws.who()) is draws.Answers
