"""Many trials at once inside jit: lanes that advance in lockstep and take the next trial when they finish.

A call runs up to `num_slots` trials on `num_lanes` lanes. Lanes whose trial is over wait until a quarter
of all lanes do; then their answers are stored and they start new trials, so that a rule whose trials
differ in length (softmax can spend T single completions, or T / Nmax pulls) does not wait for the longest.
A trial's numbers depend on its key alone, so lanes, slots and devices never show in results.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim import instances
from sim.core import Algorithm, Key, Policy, Queries, Source, Spec, Trial
from sim.engine import turn
from sim.engine.turn import Observer, Turn
from sim.kernels import counter, rounds

WAIT = 4
"""Lanes are refilled when one in WAIT of them is idle."""


class Lanes(NamedTuple):
    """Trials in progress; every leaf has a leading lane axis.

    Attributes:
        slot: which of the call's trials the lane runs; `num_slots` for none.
        run_key: key of the trial's run.
        turn: where the trial stands.
    """

    slot: Int[Array, " lane"]
    run_key: Array
    turn: Turn


def world_of(source: Source, keys: Array) -> tuple[rounds.MergedWorld, Spec]:
    """Worlds of the trials with these keys, where each draws its own, and what learners know of them."""
    drawn = jax.vmap(lambda key: source.world(counter.fold(key, instances.WORLD)))(keys)
    return rounds.MergedWorld(drawn.merged(), drawn.spec.num_prompts), drawn.spec


def start_of(source: Source, rule: str, keys: Array) -> tuple[Array, Queries]:
    """Run keys and query laws with which the trials with these keys start."""
    train, _ = jax.vmap(lambda key: source.split(counter.fold(key, instances.SPLIT)))(keys)
    run_keys = jax.vmap(counter.fold, in_axes=(0, None))(keys, instances.RUN)
    return run_keys, jax.vmap(partial(turn.queries_of, rule))(train, run_keys)


@eqx.filter_jit
def run(
    source: Source,
    algorithm: Algorithm,
    budget: Int[Array, ""],
    root: Key,
    first: Int[Array, ""],
    num_trials: Int[Array, ""],
    num_slots: int,
    num_lanes: int,
    observer: Observer | None = None,
) -> Trial:
    """Run trials first, .., first + num_trials - 1; entries from num_trials on are padding.

    Args:
        source: where worlds and splits come from.
        algorithm: what is run.
        budget: completions T.
        root: root key.
        first: number of the first trial.
        num_trials: how many, at most `num_slots`.
        num_slots: length of the result (static).
        num_lanes: trials in progress at a time (static).
        observer: looks at every round.
    """
    shared = None if source.fresh else source.world(root)
    quota = max(1, num_lanes // WAIT)

    def keys_of(slots: Array) -> Array:
        numbers = first + jnp.minimum(slots, num_slots - 1)
        return jax.vmap(counter.fold, in_axes=(None, 0))(root, numbers)

    def worlds(slots: Array) -> tuple[rounds.MergedWorld, Spec, Any]:
        """The lanes' worlds, what learners know of them, and its lane axes."""
        if shared is None:
            world, spec = world_of(source, keys_of(slots))
        else:
            world, spec = rounds.MergedWorld(shared, 0), shared.spec
        return world, spec, jax.tree.map(lambda _: 0 if shared is None else None, spec)

    def begin(slots: Array, spec: Spec, axes: Any) -> Lanes:
        run_keys, train = start_of(source, algorithm.queries, keys_of(slots))
        start = jax.vmap(lambda s, law: turn.begin(algorithm, s, budget, law, observer), in_axes=(axes, 0))
        return Lanes(slots, run_keys, start(spec, train))

    def refill_and_run(carry: tuple[Array, Lanes, Trial]) -> tuple[Array, Lanes, Trial]:
        following, lanes, answers = carry
        idle = lanes.slot == num_slots
        slots = jnp.where(idle, following + jnp.cumsum(idle.astype(jnp.int32)) - 1, lanes.slot)
        slots = jnp.where(slots < num_trials, slots, num_slots)
        following = jnp.minimum(following + jnp.sum(idle.astype(jnp.int32)), num_trials)
        world, spec, axes = worlds(slots)
        lanes = _choose(idle, begin(slots, spec, axes), lanes)

        def each(function: Callable[..., Any], *batched: Any) -> Any:
            mapped = partial(function, algorithm)
            return jax.vmap(mapped, in_axes=(axes, *(0 for _ in batched)))(spec, *batched)

        def working(lanes: Lanes) -> Bool[Array, " lane"]:
            return (lanes.slot < num_slots) & each(turn.going, lanes.turn)

        def go_on(lanes: Lanes) -> Bool[Array, ""]:
            busy = jnp.sum(working(lanes).astype(jnp.int32))
            return (busy > 0) & ((num_lanes - busy < quota) | (following >= num_trials))

        def one_round(lanes: Lanes) -> Lanes:
            keys = jax.vmap(turn.round_keys)(lanes.run_key, lanes.turn.round)
            asked = each(turn.ask, keys.allocate, lanes.turn, working(lanes))
            how, train = rounds.Pulling.of(algorithm, world.world.spec), lanes.turn.train
            assert train is not None
            pull_keys = jax.vmap(turn.pull_key)(lanes.run_key, keys, asked)
            stats = rounds.run_round(world, train, pull_keys, asked, how)
            tell = partial(turn.tell, observer=observer)
            return lanes._replace(turn=each(tell, keys.update, lanes.turn, asked, stats))

        lanes = jax.lax.while_loop(go_on, one_round, lanes)
        answer = each(turn.answer, jax.vmap(turn.recommend_key)(lanes.run_key), lanes.turn)
        done = (lanes.slot < num_slots) & ~working(lanes)
        place = jnp.where(done, lanes.slot, num_slots)
        answers = jax.tree.map(lambda all_, own: all_.at[place].set(own, mode="drop"), answers, answer)
        return following, lanes._replace(slot=jnp.where(done, num_slots, lanes.slot)), answers

    def unfinished(carry: tuple[Array, Lanes, Trial]) -> Bool[Array, ""]:
        following, lanes, _ = carry
        return (following < num_trials) | jnp.any(lanes.slot < num_slots)

    def nobody(slots: Array) -> Lanes:
        _, spec, axes = worlds(slots)
        return begin(slots, spec, axes)

    shapes = jax.eval_shape(nobody, jnp.zeros(num_lanes, jnp.int32))
    lanes: Lanes = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    lanes = lanes._replace(slot=jnp.full(num_lanes, num_slots, jnp.int32))
    blank = jnp.zeros((num_slots, eqx.filter_eval_shape(source.world, root).spec.num_contexts), jnp.int32)
    seen = jax.tree.map(lambda leaf: jnp.zeros((num_slots, *leaf.shape[1:]), leaf.dtype), shapes.turn.seen)
    answers = Trial(Policy(blank, blank), jnp.zeros(num_slots, jnp.int32), seen)
    return jax.lax.while_loop(unfinished, refill_and_run, (jnp.int32(0), lanes, answers))[2]


@eqx.filter_jit
def run_sharded(
    mesh: jax.sharding.Mesh,
    source: Source,
    algorithm: Algorithm,
    budget: Int[Array, ""],
    root: Key,
    first: Int[Array, " device"],
    num_trials: Int[Array, " device"],
    num_slots: int,
    num_lanes: int,
    observer: Observer | None = None,
) -> Trial:
    """`run` on every device of a one-axis mesh, each with trials of its own; results one after the other."""
    arrays, static = eqx.partition((source, algorithm, budget, root, observer), eqx.is_array)

    def local(arrays: Any, first: Array, num_trials: Array) -> Trial:
        whole: Any = eqx.combine(arrays, static)
        source, algorithm, budget, root, observer = whole
        return run(source, algorithm, budget, root, first[0], num_trials[0], num_slots, num_lanes, observer)

    everywhere, apart = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(mesh.axis_names[0])
    specs = (everywhere, apart, apart)
    sharded = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=apart, check_vma=False)
    return sharded(arrays, first, num_trials)


def _choose(which: Bool[Array, " lane"], new: Lanes, old: Lanes) -> Lanes:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(which.reshape(-1, *(1 for _ in a.shape[1:])), a, b)

    return jax.tree.map(pick, new, old)
