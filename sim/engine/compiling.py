"""Options of the compiler for programs that run trials: how soon a program is there, and how fast it runs.

They never show in results: none lets the compiler round, or order sums, in another way. What was measured is in
docs/speed.md. They are of XLA's CPU compiler; for other devices, or where it does not know one, they are left out.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sim.core import Environment

Options = tuple[tuple[str, str | bool], ...]
"""Names and values of compiler options."""

FAST: Options = (("xla_cpu_prefer_vector_width", "512"),)
"""For programs that run thousands of trials. Processors without vectors of 512 bits use the widest that they have."""
BY_PULL: Options = (*FAST, ("xla_backend_optimization_level", "1"))
"""For rules of one pull a round: so many small kernels gain nothing by what higher levels do."""
SOON: Options = (("xla_cpu_use_fusion_emitters", False), ("xla_backend_optimization_level", "1"))
"""For programs of few trials: another generator of code and fewer passes, which take a third less time and make slower
code. Level 0 would take still less, and rounds otherwise: it fuses no product with a sum."""
UNEQUAL = ("lgamma", "digamma", "igamma", "regularized_incomplete_beta")
"""Operations that hold a log-gamma function, whose last bit `SOON` programs may have otherwise: where pulls need them,
they are compiled as the others are."""

_jit: Any = eqx.filter_jit


@lru_cache
def jitted(function: Callable[..., Any], options: Options) -> Any:
    """A function inside jit, what is no array static; one program for all who ask."""
    return _jit(function, compiler_options=known(options))


@lru_cache
def known(options: Options) -> dict[str, str | bool]:
    """Those of the options that the compiler knows; those that XLA_FLAGS names are left to it."""
    if jax.default_backend() != "cpu":
        return {}
    named = os.environ.get("XLA_FLAGS", "")
    wanted = {name: value for name, value in options if f"--{name}=" not in named}
    if _accepts(wanted):
        return wanted
    return {name: value for name, value in wanted.items() if _accepts({name: value})}


def _accepts(options: dict[str, str | bool]) -> bool:
    """Whether the compiler takes them; tried on a program that does nothing."""
    try:
        jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((), jnp.int32)).compile(compiler_options=dict(options))
    except (jax.errors.JaxRuntimeError, TypeError):  # no such option, or none at all
        return False
    return True


def of_pulls(world: Environment) -> Options:
    """Options for programs of few trials that pull from such a world (shapes suffice)."""
    leaves, structure = jax.tree.flatten(world)
    return _of_pulls(structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))


@lru_cache
def _of_pulls(structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]) -> Options:
    key, number = jax.ShapeDtypeStruct((1, 2), jnp.uint32), jax.ShapeDtypeStruct((1,), jnp.int32)

    def one_pull(world: Environment, keys: jax.Array, *which: jax.Array) -> jax.Array:
        return world.pull_rows(keys, *which, width=1)

    drawn = str(jax.make_jaxpr(one_pull)(jax.tree.unflatten(structure, leaves), key, number, number, number))
    return FAST if any(f" {name}" in drawn for name in UNEQUAL) else SOON
