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

Options = tuple[tuple[str, str | bool], ...]
"""Names and values of compiler options."""

FAST: Options = (("xla_cpu_prefer_vector_width", "512"),)
"""For programs that run thousands of trials. Processors without vectors of 512 bits use the widest that they have."""
BY_PULL: Options = (*FAST, ("xla_backend_optimization_level", "1"))
"""For rules of one pull a round: so many small kernels gain nothing by what higher levels do."""
SOON: Options = (("xla_cpu_use_fusion_emitters", False), ("xla_backend_optimization_level", "1"))
"""For programs of few trials: another generator of code and fewer passes, which take a third less time and make slower
code. Level 0 would take still less, and rounds otherwise: it fuses no product with a sum."""
UNEQUAL = frozenset({"lgamma", "digamma", "igamma", "igammac", "igamma_grad_a", "random_gamma_grad"}) | {
    "regularized_incomplete_beta"
}
"""Operations that hold a log-gamma function, whose last bit `SOON` programs may have otherwise: programs with one of
them, be it in a world, a rule or what observes it, are compiled as those of many trials are."""


class Soon:
    """A function of arrays inside jit that is soon compiled: as `SOON` where that changes no bit, else as `FAST`.

    Which is decided by what it computes, when it is compiled first or after JAX's caches were cleared.
    """

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        self._function, self._settings = function, settings
        self._program: Any = None

    def __call__(self, *given: Any) -> Any:
        """The function's answer."""
        if self._program is None or self._program._cache_size() == 0:
            computed = primitives(jax.jit(self._function).trace(*given).jaxpr)
            self.options = SOON if UNEQUAL.isdisjoint(computed) else FAST
            self._program = jax.jit(self._function, compiler_options=known(self.options), **self._settings)
        return self._program(*given)


def soon(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a function of anything: what is no array is static; one program for all who ask."""

    def call(*given: Any) -> Any:
        arrays, rest = eqx.partition(given, eqx.is_array)
        leaves, structure = jax.tree.flatten(rest)
        return _soon(function, structure, tuple(leaves))(arrays)

    return call


@lru_cache
def _soon(function: Callable[..., Any], structure: Any, leaves: tuple[Any, ...]) -> Soon:
    rest = jax.tree.unflatten(structure, leaves)
    return Soon(lambda arrays: function(*eqx.combine(arrays, rest)))


def primitives(jaxpr: Any) -> set[str]:
    """Names of all operations of a traced function, those of functions in it included."""
    found: set[str] = set()
    for equation in jaxpr.eqns:
        found.add(equation.primitive.name)
        for parameter in equation.params.values():
            parts = parameter if isinstance(parameter, tuple | list) else (parameter,)
            found.update(*(primitives(part) for part in parts if hasattr(part, "eqns")))
    return found


@lru_cache
def jitted(function: Callable[..., Any], options: Options) -> Any:
    """A function inside jit, what is no array static; one program for all who ask."""
    jit: Any = eqx.filter_jit  # its types leave out what it passes on
    return jit(function, compiler_options=known(options))


@lru_cache
def known(options: Options) -> dict[str, str | bool]:
    """Those of the options that the compiler knows; those that XLA_FLAGS names are left to it."""
    if jax.default_backend() != "cpu":
        return {}
    named = {flag.partition("=")[0] for flag in os.environ.get("XLA_FLAGS", "").split()}
    wanted = {name: value for name, value in options if f"--{name}" not in named}
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
