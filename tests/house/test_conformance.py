"""Every check finds what it promises to find: a rule that breaks each promise, and the values of its tiny worlds."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from sim import estimators
from sim.algorithms import uniform
from sim.algorithms.uniform import Uniform
from sim.conformance import algorithms as conformance
from sim.conformance import checks
from sim.conformance.arena import arena, tiny_values
from sim.core import Policy, Standing
from sim.engine import limits
from theory import exact

CHECKS = {check.name: check for check in conformance.CHECKS}


@pytest.mark.parametrize("kind", ["drawn", "easy", "symmetric"])
def test_tiny_worlds_have_the_exact_values_of_theory(kind: str) -> None:
    np.testing.assert_allclose(tiny_values(arena(kind)), exact.values(arena(kind)), rtol=0, atol=1e-12)


class Shapes(Uniform):
    def recommend(self, key: Any, spec: Any, state: Any) -> Policy:
        return Policy(jnp.zeros(2, jnp.int32), jnp.ones(spec.num_contexts, jnp.int32))


class Structure(Uniform):
    def update(self, key: Any, spec: Any, state: Any, allocation: Any, stats: Any) -> Any:
        return super().update(key, spec, state, allocation, stats)[:2]


class Weak(Uniform):
    def init(self, spec: Any, budget: Any) -> Any:
        return super().init(spec, budget)._replace(done=jnp.asarray(False) & False)

    def update(self, key: Any, spec: Any, state: Any, allocation: Any, stats: Any) -> Any:
        return super().update(key, spec, state, allocation, stats)._replace(budget=jnp.where(True, 1, 2))


class Wide(Uniform):
    def max_pull(self, spec: Any) -> int:
        return spec.max_scale + 1


class Outside(Uniform):
    def recommend(self, key: Any, spec: Any, state: Any) -> Policy:
        return Policy(super().recommend(key, spec, state).prompt, jnp.zeros(spec.num_contexts, jnp.int32))


class Constant(Uniform):
    def recommend(self, key: Any, spec: Any, state: Any) -> Policy:
        return Policy(*[jnp.ones(spec.num_contexts, jnp.int32)] * 2)


class Absent(Uniform):
    def allocate(self, key: Any, spec: Any, state: Any) -> Any:
        found = super().allocate(key, spec, state)
        return found._replace(prompt=found.prompt + 4)


class Endless(Uniform):
    def finished(self, spec: Any, state: Any) -> Any:
        return state.budget < 0


class Forgetful(Uniform):
    """Says that it has dropped everything."""

    def standing(self, spec: Any, state: Any) -> Any:
        found = estimators.value(spec, state.table).reshape(spec.num_contexts, spec.num_arms)
        return Standing(~jnp.isfinite(found) & ~state.done, found, found)


class Greedy(Uniform):
    """Asks for more when it is finished."""

    def allocate(self, key: Any, spec: Any, state: Any) -> Any:
        return super().allocate(key, spec, state._replace(done=jnp.zeros((), bool)))


class Restless(Uniform):
    """Counts updates, finished or not."""

    def update(self, key: Any, spec: Any, state: Any, allocation: Any, stats: Any) -> Any:
        return super().update(key, spec, state, allocation, stats)._replace(budget=state.budget - 1)


class Spender(Uniform):
    def allocate(self, key: Any, spec: Any, state: Any) -> Any:
        found = super().allocate(key, spec, state)
        largest = jnp.full(spec.num_prompts, spec.max_scale, jnp.int32)
        return found._replace(scale=largest, pulls=jnp.where(state.done, 0, jnp.maximum(found.pulls, 1)))


class Turns(NamedTuple):
    """What `Turning` knows: as `Uniform`, and how often it was asked."""

    inner: uniform.State
    turns: Any


class Turning(Uniform):
    """Recommends by how often it was updated, which others on the same lanes decide."""

    def init(self, spec: Any, budget: Any) -> Any:
        return Turns(super().init(spec, budget), jnp.int32(0))

    def finished(self, spec: Any, state: Any) -> Any:
        return state.turns > state.inner.budget % 7 if state.turns.ndim else state.turns > 0

    def allocate(self, key: Any, spec: Any, state: Any) -> Any:
        return super().allocate(key, spec, state.inner)

    def update(self, key: Any, spec: Any, state: Any, allocation: Any, stats: Any) -> Any:
        inner = super().update(key, spec, state.inner, allocation, stats)
        return Turns(inner, state.turns + 1 + jnp.int32(np.random.default_rng().integers(5)))

    def recommend(self, key: Any, spec: Any, state: Any) -> Policy:
        return Policy(jnp.full(spec.num_contexts, state.turns % 4, jnp.int32), jnp.ones(spec.num_contexts, jnp.int32))


class Renewed(Uniform):
    """No two instances are equal."""

    label: Any = eqx.field(static=True, default_factory=object)


class Contrary(Uniform):
    def recommend(self, key: Any, spec: Any, state: Any) -> Policy:
        table = state.table._replace(total=-state.table.total)
        return super().recommend(key, spec, state._replace(table=table))


class Partial(Uniform):
    """The first of equally good prompts."""

    def recommend(self, key: Any, spec: Any, state: Any) -> Policy:
        first = jnp.argmax(state.table.total.sum(axis=(0, 2)) > 0).astype(jnp.int32)
        return Policy(*[jnp.broadcast_to(one, spec.num_contexts) for one in (first, jnp.int32(1))])


@pytest.mark.parametrize(
    ("check", "rule", "sentence"),
    [
        ("contract", Shapes, "recommend returns Policy.prompt of shape (2,) and type int32; it must be shape (3,)"),
        ("contract", Structure, "update returns a tuple of another structure than the state of init"),
        ("contract", Weak, "init and update give a part of the state different types"),
        ("contract", Wide, "max_pull is 5; the largest scale here is 4"),
        pytest.param("answers", Outside, "it recommends N = 0 to 0 where N lies in 1..4", marks=pytest.mark.slow),
        ("answers", Constant, "200 trials with another seed give the very same answers"),
        ("allocations", Absent, "with T = 1, round 1: a row with pulls has prompt "),
        pytest.param(
            "allocations",
            Endless,
            "with T = 1, round 2: it is not finished after 1 rounds; num_",
            marks=pytest.mark.slow,
        ),
        ("survivors", Forgetful, "with T = 1, standing has nothing active in some context after 1 rounds"),
        pytest.param("finished", Greedy, "with T = 1, a finished run asks for 1 more pulls", marks=pytest.mark.slow),
        ("finished", Restless, "with T = 1, an update without pulls changes state.budget of a finished run"),
        pytest.param(
            "budget",
            Spender,
            "with T = 1, round 1: it asks for 16 completions where 1 of 1 are left",
            marks=pytest.mark.slow,
        ),
        pytest.param("loops", Turning, "", marks=pytest.mark.slow),
        pytest.param("programs", Renewed, "another budget compiles", marks=pytest.mark.slow),
        pytest.param("learning", Contrary, "its answers are worth", marks=pytest.mark.slow),
        pytest.param("symmetry", Partial, "of 2,000 trials with T = 7, prompts 0 to 3 are the", marks=pytest.mark.slow),
    ],
)
def test_a_rule_that_breaks_a_promise_is_found(
    check: str, rule: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDLE", 20)
    problem = CHECKS[check].problem(rule)
    assert problem is not None
    assert problem.startswith(sentence), problem


def test_after_the_contract_is_broken_nothing_else_is_tried() -> None:
    found = list(checks.run(conformance.CHECKS, Shapes, "Shapes"))
    assert [one.tried for one in found] == [True, *[False] * (len(found) - 1)]
    assert found[0].problem is not None
