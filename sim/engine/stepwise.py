"""A batch of trials whose rounds the host calls one after the other: what few trials run on.

The same functions as in `sim.engine.fused`, compiled apart: worlds and splits once per source, a round of pulls once
for all algorithms that pull alike, and of each algorithm only what is its own. That halves what a comparison of a few
hundred trials compiles; each round then costs some calls from the host, which thousands of trials had better not pay. A
trial's numbers depend on its key alone, so which of the two ran it never shows in results.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from sim.core import Algorithm, Allocation, Key, Queries, Source, Spec, Stats, Trial
from sim.engine import compiling, fused, turn
from sim.engine.turn import Observer, Turn
from sim.kernels import counter, rounds


class Start(NamedTuple):
    """Start of a batch.

    Attributes:
        world: what all pull from.
        spec: what learners know; leaves with a leading lane axis where every lane has a world of its own.
        run_keys: a key per lane.
        train: the lanes' query laws.
    """

    world: Any
    spec: Spec
    run_keys: Array
    train: Queries


class Compiled(NamedTuple):
    """One algorithm's compiled functions."""

    begin: Callable[..., Turn]
    ask: Callable[..., tuple[Array, Allocation, Array]]
    tell: Callable[..., Turn]
    answer: Callable[..., Trial]


def run(
    source: Source,
    algorithm: Algorithm,
    budget: Int[Array, ""],
    root: Key,
    first: Int[Array, ""],
    num_trials: Int[Array, ""],
    num_lanes: int,
    observer: Observer | None = None,
    watch: Callable[[Allocation], None] | None = None,
) -> Trial:
    """Trials first, .., first + num_trials - 1, all in progress together; entries from num_trials on are padding.

    Args:
        source: where worlds and splits come from.
        algorithm: what is run.
        budget: completions T.
        root: root key.
        first: number of the first trial.
        num_trials: how many, at most `num_lanes`.
        num_lanes: length of the result (static).
        observer: looks at every round.
        watch: is shown the allocations of every round, on the host, before they are pulled.
    """
    given = compiling.soon(_draw)(source, algorithm.queries, root, first, num_lanes)
    spec = given.spec
    own, static = eqx.partition((algorithm, observer), eqx.is_array)
    program = _program(static, source.fresh)
    how = rounds.Pulling.of(algorithm, spec)
    stride = spec.num_prompts if source.fresh else 0
    pull = _round(how, stride)
    at = program.begin(own, spec, budget, given.train)
    while True:
        keys, asked, going = program.ask(own, spec, given.run_keys, at, num_trials)
        if watch is not None and going:
            watch(asked)
        stats = pull(given.world, at.train, keys, asked)
        at = program.tell(own, spec, given.run_keys, at, asked, stats)
        if not going:
            return program.answer(own, spec, given.run_keys, at)


def _draw(source: Source, rule: str, root: Key, first: Int[Array, ""], num_lanes: int) -> Start:
    numbers = first + jnp.arange(num_lanes, dtype=jnp.int32)
    keys = jax.vmap(counter.fold, in_axes=(None, 0))(root, numbers)
    if source.fresh:
        (world, _), spec = fused.world_of(source, keys)
    else:
        world = source.world(root)
        spec = world.spec
    return Start(world, spec, *fused.start_of(source, rule, keys))


@lru_cache
def _round(how: rounds.Pulling, stride: int) -> Callable[..., Stats]:
    """A round of pulls, shared by all algorithms that pull alike."""

    def pull(world: Any, train: Queries, keys: Array, ask: Allocation) -> Stats:
        return rounds.run_round(rounds.MergedWorld(world, stride), train, keys, ask, how)

    return compiling.Soon(pull)


@lru_cache
def _program(static: tuple[Algorithm, Observer | None], fresh: bool) -> Compiled:
    """The functions of an algorithm and who watches it, given their fields that are no arrays."""

    def each(own: Any, spec: Spec, function: Callable[..., Any], *batched: Any) -> Any:
        axes: Any = jax.tree.map(lambda _: 0 if fresh else None, spec)
        algorithm: Any = eqx.combine(own[0], static[0])
        return jax.vmap(partial(function, algorithm), in_axes=(axes, *(0 for _ in batched)))(spec, *batched)

    def watching(own: Any) -> Observer | None:
        return eqx.combine(own[1], static[1])

    def begin(own: Any, spec: Spec, budget: Array, train: Queries) -> Turn:
        return each(own, spec, lambda rule, s, law: turn.begin(rule, s, budget, law, watching(own)), train)

    def ask(own: Any, spec: Spec, run_keys: Array, at: Turn, num_trials: Array) -> Any:
        keys = jax.vmap(turn.round_keys)(run_keys, at.round)
        lane = jnp.arange(run_keys.shape[0], dtype=jnp.int32)
        working = (lane < num_trials) & each(own, spec, turn.going, at)
        asked = each(own, spec, turn.ask, keys.allocate, at, working)
        return jax.vmap(turn.pull_key)(run_keys, keys, asked), asked, jnp.any(working)

    def tell(own: Any, spec: Spec, run_keys: Array, at: Turn, asked: Allocation, stats: Stats) -> Turn:
        keys = jax.vmap(turn.round_keys)(run_keys, at.round).update
        return each(own, spec, partial(turn.tell, observer=watching(own)), keys, at, asked, stats)

    def answer(own: Any, spec: Spec, run_keys: Array, at: Turn) -> Trial:
        return each(own, spec, turn.answer, jax.vmap(turn.recommend_key)(run_keys), at)

    soon = compiling.Soon
    return Compiled(soon(begin), soon(ask), soon(tell, donate_argnums=3), soon(answer))
