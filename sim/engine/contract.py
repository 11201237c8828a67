"""The contract of an algorithm: what its methods take and give, in shapes and types. Nothing is run."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sim.core import Algorithm, Allocation, Places, Policy, Spec, Standing
from sim.designs import QUERIES, estimator_parts
from sim.kernels import counter, rounds
from sim.raw import RAW


def contract(algorithm: Algorithm, spec: Spec) -> str | None:
    """Problem with the shapes and types of an algorithm's answers on worlds of this kind; nothing is run."""
    for name, known in (("queries", QUERIES), ("reuse", (True, False))):
        if (given := getattr(algorithm, name)) not in known:
            return f"{name} is {given!r}; allowed are {', '.join(map(str, known))}"
    raw = algorithm.estimator == RAW
    try:
        estimator_parts("blocks" if raw else str(algorithm.estimator))
    except ValueError as error:
        return str(error)
    for name in ("num_rows", "num_scales", "max_pull", "min_budget"):
        number, least = getattr(algorithm, name)(spec), int(name != "num_scales" or not raw)
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            return f"{name} is {number!r}; it must be a whole number of at least {least}"
    most = algorithm.num_rounds(spec)
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        return f"num_rounds is {most!r}; it must be a whole number, or None where the budget decides"
    if algorithm.max_pull(spec) > spec.max_scale:
        return f"max_pull is {algorithm.max_pull(spec)}; the largest scale here is {spec.max_scale}"
    algorithm, key, rows = algorithm.traced(), counter.from_seed(0), algorithm.num_rows(spec)
    state = eqx.filter_eval_shape(lambda spec: algorithm.init(spec, jnp.int32(45)), spec)
    over = eqx.filter_eval_shape(algorithm.finished, spec, state)
    ask: Any = eqx.filter_eval_shape(algorithm.allocate, key, spec, state)
    contexts = (spec.num_contexts,)
    problem = _unlike("finished", over, jax.ShapeDtypeStruct((), jnp.bool_))
    if problem is None and not isinstance(ask, Allocation):
        problem = f"allocate returns a {type(ask).__name__}; it must be an Allocation"
    column: Any = jax.ShapeDtypeStruct((rows,), jnp.int32)
    places = None if problem or ask.places is None else Places(column, column)
    problem = problem or _unlike("allocate", ask, Allocation(column, column, column, places))
    if problem is None and places is not None and algorithm.queries != "common-wor":
        problem = f"allocate names places, and queries is {algorithm.queries!r}; only 'common-wor' has them in order"
    if problem:
        return problem
    stats: Any = eqx.filter_eval_shape(lambda: rounds.nothing(spec, (rows,), rounds.Pulling.of(algorithm, spec)))
    later = eqx.filter_eval_shape(algorithm.update, key, spec, state, ask, stats)
    policy = eqx.filter_eval_shape(algorithm.recommend, key, spec, state)
    problem = _unlike("update", later, state, "the state of init")
    arms: Any = [jax.ShapeDtypeStruct(contexts, jnp.int32)] * 2
    problem = problem or _unlike("recommend", policy, Policy(*arms))
    if problem:
        return problem
    problem = _wrong_standing(eqx.filter_eval_shape(algorithm.standing, spec, state), spec)
    if problem:
        return problem
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(later), strict=True)
    if any(getattr(a, "weak_type", False) != getattr(b, "weak_type", False) for a, b in pairs):
        return "init and update give a part of the state different types: say its dtype in init, as in jnp.float32(0)"
    return None


def _wrong_standing(found: Any, spec: Spec) -> str | None:
    """Problem with what is said for those who watch."""
    if found is None:
        return None
    if not isinstance(found, Standing):
        return f"standing returns a {type(found).__name__}; it must be a Standing or None"
    shape = (spec.num_contexts, spec.num_arms)
    items: Any = None
    if found.active is not None:
        of_prompts = getattr(found.active, "shape", ()) == (spec.num_contexts, spec.num_prompts)
        items = jax.ShapeDtypeStruct((spec.num_contexts, spec.num_prompts) if of_prompts else shape, jnp.bool_)
    numbers: Any = [jax.ShapeDtypeStruct(shape, jnp.float32)] * 2
    return _unlike("standing", found, Standing(items, *numbers))


def _unlike(method: str, found: Any, wanted: Any, called: str = "") -> str | None:
    """How an answer differs from what is wanted in structure, shape or type."""
    called = called or (type(wanted).__name__ if isinstance(wanted, tuple) else "one value")
    if jax.tree.structure(found) != jax.tree.structure(wanted):
        return f"{method} returns a {type(found).__name__} of another structure than {called}"
    ways = zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted), strict=True)
    for (path, one), other in ways:
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            part, is_, must = jax.tree_util.keystr(path), _about(one), _about(other)
            return f"{method} returns {called}{part} of {is_}; it must be {must}"
    return None


def _about(leaf: Any) -> str:
    return f"shape {leaf.shape} and type {leaf.dtype}"
