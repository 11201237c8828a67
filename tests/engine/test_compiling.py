"""Compiler options and sizes of what goes together: they change speed, and no result."""

import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import arena, given, same

from sim import algorithms, envs
from sim.core import Environment
from sim.engine import compiling, fused, runner
from sim.envs.continuous import ContinuousWorld, beta_scores, continuous_world
from sim.envs.sources import fixed
from sim.kernels import portions

WAYS = [compiling.FAST, compiling.BY_PULL, compiling.SOON]
NO_SUCH = ("xla_cpu_make_it_faster", "1")

cpu_only = pytest.mark.skipif(jax.default_backend() != "cpu", reason="options of the CPU's compiler")


@cpu_only
def test_options_that_the_compiler_does_not_know_are_left_out() -> None:
    """Seen to fail with options passed on untried: the compiler then refuses the program."""
    assert compiling.known((NO_SUCH, *compiling.FAST)) == dict(compiling.FAST)
    assert compiling.known((NO_SUCH,)) == {}
    run = compiling.jitted(lambda x: x + 1, (NO_SUCH, *compiling.SOON))
    assert int(run(jnp.int32(1))) == 2


@cpu_only
def test_options_that_the_user_has_set_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with XLA_FLAGS not looked at."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=256 --xla_cpu_use_fusion_emitters")
    assert compiling.known.__wrapped__(compiling.FAST) == {}
    assert compiling.known.__wrapped__(compiling.SOON) == dict(compiling.SOON[1:])


def test_other_devices_get_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail without the question for the device."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [compiling.known.__wrapped__(options) for options in WAYS] == [{}, {}, {}]


FUNCTIONS: dict[str, Any] = {
    "a product and a sum": lambda x, y: x * y + x,
    "sums of products": lambda x, y: (x * y).reshape(-1, 8).sum(1) - (x * x).reshape(-1, 8).max(1),
    "quotients": lambda x, y: jnp.round(x / y) + jnp.floor(100 * x / y),
    "weights": lambda x, y: jnp.cumsum(jnp.exp((x - jnp.max(x)) / 0.1).reshape(-1, 64), axis=1),
    "widths": lambda x, y: x + 0.5 * jnp.sqrt(jnp.log(jnp.maximum(100 * y, 1.0)) / (1 + y)),
    "powers": lambda x, y: jnp.exp(jnp.log(jnp.abs(x)) / y) - jnp.expm1(jnp.log1p(-jnp.abs(x)) / y),
    "normal quantiles": lambda x, y: jax.scipy.special.ndtri(jax.scipy.special.ndtr(3 * x)),
}
"""What algorithms and worlds compute in float32."""


@cpu_only
@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_change_no_bit(name: str) -> None:
    """Functions of 2**14 random numbers, bit by bit, with wider vectors than the processor has too.

    Seen to fail with level 0 in `SOON`, which takes products and sums apart.
    """
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.uniform(low, 1, 2**14), jnp.float32) for low in (-0.999, 0.001))
    program = jax.jit(FUNCTIONS[name]).lower(x, y)
    plain = np.asarray(program.compile()(x, y))
    assert np.isfinite(plain).all()
    narrow: dict[str, str | bool] = {"xla_cpu_max_isa": "AVX2"} if platform.machine() == "x86_64" else {}
    for options in WAYS:
        for more in ({}, narrow):
            found = np.asarray(program.compile(compiling.known(options) | more)(x, y))
            np.testing.assert_array_equal(found.view(np.uint32), plain.view(np.uint32), strict=True)


def scores(a: float, b: float) -> ContinuousWorld:
    """A world of two prompts with Beta(a, b) scores on three queries."""
    law = beta_scores(np.full((2, 3, 1), a), np.full((2, 3, 1), b))
    return continuous_world(law, np.ones((1, 1)), np.zeros(1), np.zeros(2), max_scale=2)


def one_pull(world: Environment) -> set[str]:
    """Operations of a pull (shapes suffice)."""
    key, number = jax.ShapeDtypeStruct((1, 2), jnp.uint32), jax.ShapeDtypeStruct((1,), jnp.int32)
    pull = jax.make_jaxpr(lambda world, keys, *which: world.pull_rows(keys, *which, width=1))
    return compiling.primitives(pull(world, key, number, number, number).jaxpr)


def test_pulls_that_need_the_log_gamma_function_are_known() -> None:
    """Beta(2, 3) is drawn by the incomplete beta function, Beta(2, 1) is not. Seen to fail with `UNEQUAL` empty."""
    assert one_pull(scores(2.0, 3.0)) & compiling.UNEQUAL
    assert not one_pull(scores(2.0, 1.0)) & compiling.UNEQUAL
    for name in ("gaussian-bon", "two-arm", "synth-bernoulli", "synth-categorical"):
        assert not one_pull(runner.shape_of(envs.get(name).source)) & compiling.UNEQUAL, name


def test_programs_with_the_log_gamma_function_are_compiled_as_those_of_many_trials() -> None:
    """However deep it is. Seen to fail without a look at functions inside functions, and without one at all."""

    def deep(x: jax.Array) -> jax.Array:
        body = jax.vmap(jax.jit(lambda y: jax.lax.cond(y > 1, jax.lax.lgamma, jnp.abs, y)))
        return jax.lax.fori_loop(0, 2, lambda _, y: 1 + jnp.abs(body(y)), x)

    plain, other = compiling.Soon(lambda x: x + 1), compiling.Soon(deep)
    assert plain(jnp.ones(2)).tolist() == [2, 2]
    assert np.isfinite(other(jnp.full(2, 3.0))).all()
    assert (plain.options, other.options) == (compiling.SOON, compiling.FAST)


@pytest.mark.parametrize(
    "name",
    [
        "uniform",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("psst", "psst+k4", "prompt-halving", "ucb", "softmax")
        ),
    ],
)
def test_sizes_of_accelerators_change_no_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their lanes and rows, on whatever device there is, in one program and round by round.

    Seen to fail with a row left out after every step of more than 300 rows.
    """
    source, rule, found = given(arena()), algorithms.get(name), []
    for usual in (portions.CPU, portions.ACCELERATOR):
        monkeypatch.setattr(portions, "of_device", lambda usual=usual: usual)
        sizes = runner._sizes(rule, runner.spec_of(source), 70, None, None)
        assert sizes.fused == (usual is portions.ACCELERATOR or rule.small_rounds)
        assert sizes.lanes == {portions.CPU: 64 if sizes.fused else 256, portions.ACCELERATOR: 128}[usual]
        found += [runner.run_trials(source, rule, 600, seed=3, trials=70, fused=fused) for fused in (True, False)]
    assert all(same(found[0], one) for one in found[1:])


def test_few_trials_run_round_by_round_and_many_in_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU; on an accelerator the host waits for no round. Seen to fail with `by_round` of a CPU for both."""
    rule, spec = algorithms.get("psst"), runner.spec_of(fixed(arena(), 1.0).source)
    for usual, most in ((portions.CPU, 4096), (portions.ACCELERATOR, 0)):
        monkeypatch.setattr(portions, "of_device", lambda usual=usual: usual)
        for trials in (1, most, most + 1):
            if trials:
                assert runner._sizes(rule, spec, trials, None, None).fused == (trials > most)


def test_few_trials_of_many_small_rounds_run_in_one_program() -> None:
    """Whatever the device. Seen to fail with rules of a few prompts a round taken for rules of large rounds."""
    spec = runner.spec_of(fixed(arena(), 1.0).source)
    for name in ("ucb", "top-two", "almost-tracking", "surrogate"):
        assert runner._sizes(algorithms.get(name), spec, 2, None, None).fused, name


def test_rules_of_one_pull_a_round_have_options_of_their_own() -> None:
    """The same program for equal rules; seen to fail with one set of options for all."""
    ways = {name: fused.compiled(fused.run, algorithms.get(name)) for name in ("psst", "uniform", "ucb", "softmax")}
    assert ways["psst"] is ways["uniform"]
    assert ways["ucb"] is ways["softmax"]
    assert ways["psst"] is not ways["ucb"]
