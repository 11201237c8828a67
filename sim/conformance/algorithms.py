"""The checks that every algorithm passes: the project's own tests and `iapo check` run this code. None knows a name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sim.conformance import arena as worlds
from sim.conformance.arena import arena, drawn_spec, run_trials, same, tiny_values, trial
from sim.conformance.checks import Check, Make
from sim.core import Algorithm, Allocation, Policy, Spec, Standing
from sim.engine import runner, turn
from sim.kernels import rounds
from sim.raw import RAW

SIGMAS = 5
"""Standard errors that an estimate may be off."""
_ROUNDS = 10_000
"""Rounds after which a run counts as endless."""
_WATCHED = (1, 7, 45)
"""Budgets of runs that are watched round by round."""
_CHI_SQUARE = 31.8
"""Of three degrees of freedom: exceeded as rarely as a normal number is 5 standard deviations off."""


def contract(algorithm: Algorithm, spec: Spec) -> str | None:
    """Problem with the shapes and types of an algorithm's answers on worlds of this kind; nothing is run."""
    for name in ("num_rows", "num_scales", "max_pull", "min_budget"):
        number, least = getattr(algorithm, name)(spec), int(name != "num_scales" or algorithm.estimator != RAW)
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            return f"{name} is {number!r}; it must be a whole number of at least {least}"
    most = algorithm.num_rounds(spec)
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        return f"num_rounds is {most!r}; it must be a whole number, or None where the budget decides"
    if algorithm.max_pull(spec) > spec.max_scale:
        return f"max_pull is {algorithm.max_pull(spec)}; the largest scale here is {spec.max_scale}"
    algorithm, key, rows = algorithm.traced(), runner.trial_key(0, 0), algorithm.num_rows(spec)
    state = eqx.filter_eval_shape(lambda spec: algorithm.init(spec, jnp.int32(45)), spec)
    over = eqx.filter_eval_shape(algorithm.finished, spec, state)
    ask: Any = eqx.filter_eval_shape(algorithm.allocate, key, spec, state)
    contexts = (spec.num_contexts,)
    problem = _unlike("finished", over, jax.ShapeDtypeStruct((), jnp.bool_))
    if problem is None and not isinstance(ask, Allocation):
        problem = f"allocate returns a {type(ask).__name__}; it must be an Allocation"
    whole: Any = [jax.ShapeDtypeStruct((rows,), jnp.int32)] * 3
    problem = problem or _unlike("allocate", Allocation(ask.prompt, ask.scale, ask.pulls), Allocation(*whole))
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
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(later), strict=True)
    if any(getattr(a, "weak_type", False) != getattr(b, "weak_type", False) for a, b in pairs):
        return "init and update give a part of the state different types: say its dtype in init, as in jnp.float32(0)"
    return None


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


def _contract(make: Make) -> str | None:
    return contract(make(), drawn_spec())


def _answers(make: Make) -> str | None:
    found = run_trials(arena(), make(), 60, 200)
    if found.prompt.min() < 0 or found.prompt.max() >= 4:
        return f"it recommends prompt {found.prompt.min()} to {found.prompt.max()} where there are prompts 0 to 3"
    if found.scale.min() < 1 or found.scale.max() > 4:
        return f"it recommends N = {found.scale.min()} to {found.scale.max()} where N lies in 1..4"
    if not same(found, run_trials(arena(), make(), 60, 200)):
        return "two runs with one seed differ"
    if same(found, run_trials(arena(), make(), 60, 200, seed=1)):
        return "200 trials with another seed give the very same answers"
    if np.all(found.prompt == found.prompt[0]):
        return "200 trials all recommend the same prompts, whatever came back"
    return None


def _loops(make: Make) -> str | None:
    whole = run_trials(arena(), make(), 45, 200, fused=True)
    if not same(run_trials(arena(), make(), 45, 200, fused=False), whole):
        return "the loop inside jit and the one that the host calls round by round give different answers"
    for fused in (True, False):
        part = jax.tree.map(lambda leaf: leaf[150:153], whole)
        if not same(run_trials(arena(), make(), 45, 3, first=150, fused=fused), part):
            return "trials 150 to 152 alone differ from the same trials among 200"
    for number in range(2):
        world, train, run_key = trial(number)
        found = runner.run_trial(world, train, make(), 45, run_key)
        if not same((*found.policy, found.spent), tuple(leaf[number] for leaf in whole[:3])):
            return f"trial {number} in the host loop, which live runs take, differs from the same trial inside jit"
    return None


_jit: Any = eqx.filter_jit
_begin, _going, _ask, _tell, _answer = map(_jit, (turn.begin, turn.going, turn.ask, turn.tell, turn.answer))


@eqx.filter_jit
def _standing(algorithm: Algorithm, spec: Spec, state: Any) -> Standing | None:
    return algorithm.standing(spec, state)


class Observed(NamedTuple):
    """A run seen from outside.

    Attributes:
        spec: what the algorithm knew.
        active: what it still considered before every round and at the end; None where it does not say.
        last: where it ended.
        policy: its answer.
        problem: why the run was stopped; None where it ended.
    """

    spec: Spec
    active: list[np.ndarray | None]
    last: turn.Turn
    policy: Policy | None
    problem: str | None


def observe(algorithm: Algorithm, budget: int, number: int = 0) -> Observed:
    """A trial on the drawn arena in the host loop, which is stopped where a round asks for what is not there."""
    world, train, run_key = trial(number)
    rule, spec, most = algorithm.traced(), world.spec, algorithm.num_rounds(world.spec)
    at = _begin(rule, spec, jnp.int32(budget), turn.queries_of(rule.queries, train, run_key))
    active = [_active(rule, spec, at)]
    while bool(_going(rule, spec, at)):
        keys = turn.round_keys(run_key, at.round)
        asked = _ask(rule, spec, keys.allocate, at, jnp.ones((), bool))
        number_of = len(active)
        problem = _insane(asked, spec, algorithm.max_pull(spec))
        if problem is None and number_of > min(_ROUNDS if most is None else most, _ROUNDS):
            problem = f"it is not finished after {number_of - 1:,} rounds"
            problem += "" if most is None else f"; num_rounds says {most}"
        if problem:
            return Observed(spec, active, at, None, f"round {number_of}: {problem}")
        stats = runner.host_round(world, at.train, turn.pull_key(run_key, keys, asked), asked, algorithm)
        at = _tell(rule, spec, keys.update, at, asked, stats)
        active.append(_active(rule, spec, at))
    return Observed(spec, active, at, _answer(rule, spec, turn.recommend_key(run_key), at).policy, None)


def _active(rule: Algorithm, spec: Spec, at: turn.Turn) -> np.ndarray | None:
    found = _standing(rule, spec, at.state)
    return None if found is None or found.active is None else np.asarray(found.active)


def _insane(ask: Allocation, spec: Spec, widest: int) -> str | None:
    """Problem with the numbers of an allocation."""
    limits = (("prompt", ask.prompt, 0, spec.num_prompts - 1), ("scale", ask.scale, 1, widest))
    pulled = np.asarray(ask.pulls) != 0
    if np.any(np.asarray(ask.pulls) < 0):
        return f"a row asks for {int(ask.pulls.min())} pulls"
    for name, column, low, high in limits:
        used = np.asarray(column)[pulled]
        if len(used) and (used.min() < low or used.max() > high):
            return f"a row with pulls has {name} {used.min()} to {used.max()}; it must lie in {low}..{high}"
    return None


def _watched(algorithm: Algorithm) -> Iterator[tuple[int, Observed]]:
    for budget in _WATCHED:
        if budget >= algorithm.min_budget(drawn_spec()):
            yield budget, observe(algorithm, budget)


def _allocations(make: Make) -> str | None:
    for budget, seen in _watched(make()):
        if seen.problem:
            return f"with T = {budget}, {seen.problem}"
    return None


def _survivors(make: Make) -> str | None:
    for budget, seen in _watched(make()):
        earlier: np.ndarray | None = None
        for number, active in enumerate(seen.active):
            if active is None:
                continue
            if not active.any(axis=1).all():
                return f"with T = {budget}, standing has nothing active in some context after {number} rounds"
            if earlier is not None and np.any(active & ~earlier):
                return f"with T = {budget}, standing brings back in round {number} what was dropped before"
            earlier = active
        if earlier is not None and seen.policy is not None:
            prompt, scale = (np.asarray(leaf) for leaf in seen.policy)
            of_arms = earlier.shape[1] == seen.spec.num_arms
            item = prompt * seen.spec.max_scale + scale - 1 if of_arms else prompt
            if not earlier[np.arange(len(item)), item].all():
                return f"with T = {budget}, it recommends what standing says it has dropped"
    return None


def _finished(make: Make) -> str | None:
    algorithm = make()
    for budget, seen in _watched(algorithm):
        if seen.problem:
            return f"with T = {budget}, no run finishes"
        rule, spec, last = algorithm.traced(), seen.spec, seen.last
        for seed in range(2):
            key = runner.trial_key(seed, 99)
            asked = _ask(rule, spec, key, last, jnp.ones((), bool))
            if np.any(np.asarray(asked.pulls)):
                return f"with T = {budget}, a finished run asks for {int(asked.pulls.sum())} more pulls"
            nothing = rounds.nothing(spec, asked.pulls.shape, rounds.Pulling.of(algorithm, spec))
            later = jax.tree_util.tree_leaves_with_path(_tell(rule, spec, key, last, asked, nothing).state)
            for (path, new), old in zip(later, jax.tree.leaves(last.state), strict=True):
                if not np.array_equal(new, old, equal_nan=new.dtype.kind == "f"):
                    part = jax.tree_util.keystr(path)
                    return f"with T = {budget}, an update without pulls changes state{part} of a finished run"
    return None


def _budget(make: Make) -> str | None:
    algorithm = make()
    smallest = algorithm.min_budget(drawn_spec())
    for budget in range(smallest, smallest + 25):
        spent = run_trials(arena(seed=budget), algorithm, budget, worlds.LANES).spent.max()
        if spent > budget:
            return f"it spends {spent} completions with a budget of {budget}"
    return None


@contextmanager
def compiled() -> Iterator[list[str]]:
    """The names of the programs that are compiled inside."""
    names: list[str] = []

    def note(event: str, _: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about["fun_name"])

    listening: Any = note
    jax.monitoring.register_event_duration_secs_listener(listening)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listening)


def _programs(make: Make) -> str | None:
    for fused in (True, False):
        run_trials(arena(), make(), 30, 5, fused=fused)
        run_trials(arena(seed=1), make(), 30, 5, fused=fused)
        with compiled() as names:
            run_trials(arena(), make(), 77, 5, fused=fused)
            if names:
                return f"another budget compiles {_some(names)} again"
            run_trials(arena(seed=2), make(), 30, 9, seed=4, first=1000, fused=fused)
            run_trials(arena("easy"), make(), 25, 5, fused=fused)
            if names:
                return f"another world of the same shape, or a fresh instance, compiles {_some(names)} again"
    return None


def _some(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(name.removeprefix("jit(").removesuffix(")") for name in names))


def _learns(make: Make) -> str | None:
    algorithm, data = make(), arena("easy")
    found, values = run_trials(data, algorithm, 200, 300), tiny_values(data)
    acr = values[np.arange(data.num_contexts), found.prompt, found.scale - 1].mean(axis=1)
    mean, floor, se = acr.mean(), values.mean(), acr.std() / np.sqrt(len(acr))
    if found.spent.max() == 0:  # it has no way to learn
        return None if abs(mean - floor) <= SIGMAS * se else f"without a pull it earns {mean:.3f}, not {floor:.3f}"
    if mean <= floor + SIGMAS * se:
        return f"its answers are worth {mean:.3f} ± {se:.3f} on an easy world, a random arm {floor:.3f}"
    return None


def _symmetric(make: Make) -> str | None:
    algorithm, data = make(), arena("symmetric")
    for budget in (7, 40):
        found = run_trials(data, algorithm, max(budget, algorithm.min_budget(drawn_spec())), 2000, seed=budget)
        for context in range(3):
            counts = np.bincount(found.prompt[:, context], minlength=4)
            if ((counts - 500) ** 2 / 500).sum() > _CHI_SQUARE:
                return (
                    f"of 2,000 trials with T = {budget}, prompts 0 to 3 are the answer in {', '.join(map(str, counts))}"
                )
    return None


CHECKS = (
    Check(
        "contract",
        "its methods return what sim.core.Algorithm says, in one shape and type from round to round",
        "compare with `iapo new algorithm`; a state keeps the shapes and types that init gives it",
        _contract,
    ),
    Check(
        "answers",
        "it recommends arms that exist; they follow from the seed, and from what came back",
        "prompts count from 0, scales from 1; draw by the key that the method gets, and only by that",
        _answers,
    ),
    Check(
        "allocations",
        "every round asks for prompts and scales that exist, and the rounds end",
        "finished must become true: count rounds, or what is left of the budget",
        _allocations,
    ),
    Check(
        "survivors",
        "what it says it still considers is never empty, never grows, and holds its answer",
        "standing tells those who watch; leave it out, or drop from its mask only",
        _survivors,
    ),
    Check(
        "finished",
        "a finished run asks for nothing, and nothing changes it",
        "trials run side by side: guard pulls and state with jnp.where(running, new, old)",
        _finished,
    ),
    Check(
        "budget",
        "it never spends more than its budget",
        "allocate pulls from what is left; if some budgets are too small to begin, say so by min_budget",
        _budget,
    ),
    Check(
        "loops",
        "a trial is the same alone, among others, inside jit and in the host loop of live runs",
        "no numpy, no global state, no Python numbers that depend on what was drawn; guard finished states",
        _loops,
    ),
    Check(
        "programs",
        "other budgets, seeds, worlds of the same shape and fresh instances need no other program",
        "options are fields of the class; no lambdas or arrays made in __init__; the budget is an array",
        _programs,
    ),
    Check(
        "learning",
        "it beats a random arm on an easy world",
        "one prompt is right there with .94, the others with .04: see whether update adds what came back",
        _learns,
    ),
    Check(
        "symmetry",
        "prompts that nothing tells apart are recommended equally often",
        "break ties at random, as trim.best_estimate and draws.order do, and not by the first index",
        _symmetric,
    ),
)
"""Every algorithm passes these. The first one decides whether the others can be tried."""
