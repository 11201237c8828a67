"""The checks that every algorithm passes: the project's own tests and `iapo check` run this code. None knows a name."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sim import instances
from sim.conformance.arena import arena, drawn_spec, rehearse, run_trials, same, tiny_values, trial
from sim.conformance.checks import Check, Make, NotGiven
from sim.core import Algorithm, Policy, Spec, Standing
from sim.engine import runner, turn
from sim.engine.contract import contract
from sim.engine.limits import Broken, RoundWatch, check_answers
from sim.kernels import rounds

SIGMAS = 5
"""Standard errors that an estimate may be off."""
_WATCHED = (1, 7, 45)
"""Budgets of runs that are watched alone."""
_OTHERS = (25, 30, 40, 60, 77, 200)
"""Budgets of the trials of other checks, which a rule that does not end would never come back from."""
_CHI_SQUARE = 31.8
"""Of three degrees of freedom: exceeded as rarely as a normal number is 5 standard deviations off."""


def _contract(make: Make) -> str | None:
    return contract(make(), drawn_spec())


def _answers(make: Make) -> str | None:
    found = run_trials(arena(), make(), 60, 200)
    try:
        check_answers((4, 4), 60, True, found.prompt, found.scale, found.spent)
    except Broken as problem:
        return str(problem)
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
    rule, spec, watch = algorithm.traced(), world.spec, RoundWatch(algorithm, world.spec, budget)
    at = _begin(rule, spec, jnp.int32(budget), turn.queries_of(rule.queries, train, run_key))
    active = [_active(rule, spec, at)]
    while bool(_going(rule, spec, at)):
        keys = turn.round_keys(run_key, at.round)
        asked = _ask(rule, spec, keys.allocate, at, jnp.ones((), bool))
        try:
            watch(asked)
        except Broken as problem:
            return Observed(spec, active, at, None, str(problem))
        stats = runner.host_round(world, at.train, turn.pull_key(run_key, keys, asked), asked, algorithm)
        at = _tell(rule, spec, keys.update, at, asked, stats)
        active.append(_active(rule, spec, at))
    return Observed(spec, active, at, _answer(rule, spec, turn.recommend_key(run_key), at).policy, None)


def _active(rule: Algorithm, spec: Spec, at: turn.Turn) -> np.ndarray | None:
    found = _standing(rule, spec, at.state)
    return None if found is None or found.active is None else np.asarray(found.active)


def _watched(algorithm: Algorithm) -> Iterator[tuple[int, Observed]]:
    for budget in _WATCHED:
        if budget >= algorithm.min_budget(drawn_spec()):
            yield budget, observe(algorithm, budget)


def _allocations(make: Make) -> str | None:
    for budget, seen in _watched(make()):
        if seen.problem:
            return f"with T = {budget}, {seen.problem}"
    return _rehearsed(make(), _OTHERS)


def _rehearsed(algorithm: Algorithm, budgets: Iterable[int], strict: bool = False) -> str | None:
    """Problem that shows when many trials with each of these budgets are watched round by round."""
    for budget in budgets:
        if budget >= algorithm.min_budget(drawn_spec()):
            try:
                rehearse(arena(seed=budget), algorithm, budget, strict)
            except Broken as problem:
                return f"with T = {budget}, {problem}"
    return None


def _survivors(make: Make) -> str | None:
    runs = list(_watched(make()))
    if all(active is None for _, seen in runs for active in seen.active):
        raise NotGiven
    for budget, seen in runs:
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
            key = instances.trial_key(seed, 99)
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
    return _rehearsed(algorithm, range(smallest, smallest + 25), strict=True)


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
        "allocations",
        "every round asks for prompts and scales that exist and can be paid, and the rounds end",
        "finished must become true: count rounds, or what is left of the budget; allocate pulls from what is left",
        _allocations,
    ),
    Check(
        "answers",
        "it recommends arms that exist; they follow from the seed, and from what came back",
        "prompts count from 0, scales from 1; draw by the key that the method gets, and only by that",
        _answers,
        after="allocations",
    ),
    Check(
        "survivors",
        "what it says it still considers is never empty, never grows, and holds its answer",
        "standing tells those who watch; leave it out, or drop from its mask only",
        _survivors,
        after="allocations",
    ),
    Check(
        "finished",
        "a finished run asks for nothing, and nothing changes it",
        "trials run side by side: guard pulls and state with jnp.where(running, new, old)",
        _finished,
        after="allocations",
    ),
    Check(
        "budget",
        "it never spends more than its budget",
        "allocate pulls from what is left; if some budgets are too small to begin, say so by min_budget",
        _budget,
        after="allocations",
    ),
    Check(
        "loops",
        "a trial is the same alone, among others, inside jit and in the host loop of live runs",
        "no numpy, no global state, no Python numbers that depend on what was drawn; guard finished states",
        _loops,
        after="allocations",
    ),
    Check(
        "programs",
        "other budgets, seeds, worlds of the same shape and fresh instances need no other program",
        "options are fields of the class; no lambdas or arrays made in __init__; the budget is an array",
        _programs,
        after="allocations",
    ),
    Check(
        "learning",
        "it beats a random arm on an easy world",
        "one prompt is right there with .94, the others with .04: see whether update adds what came back",
        _learns,
        after="answers",
    ),
    Check(
        "symmetry",
        "prompts that nothing tells apart are recommended equally often",
        "break ties at random, as trim.best_estimate and draws.order do, and not by the first index",
        _symmetric,
        after="answers",
    ),
)
"""Every algorithm passes these. The first one decides whether the others can be tried."""
