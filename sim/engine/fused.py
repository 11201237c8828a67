"""Many trials at once inside jit: lanes that advance in lockstep and take the next trial when they finish.

A call runs up to `num_slots` trials on `num_lanes` lanes. Where an algorithm has so many rounds, whatever the budget,
all lanes start together and take their next trials together: less to compile. Else lanes whose trial is over wait until
a quarter of all lanes do; then their answers are stored and they start new trials, so that a rule whose trials
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
from sim.engine import compiling, turn
from sim.engine.turn import Observer, Turn
from sim.kernels import counter, rounds, select

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
    split_keys, run_keys = jax.vmap(lambda key: counter.folds(key, (instances.SPLIT, instances.RUN)))(keys)
    train, _ = jax.vmap(source.split)(split_keys)
    return run_keys, jax.vmap(partial(turn.queries_of, rule))(train, run_keys)


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
    """Run trials first, .., first + num_trials - 1; entries from num_trials on are padding. `compiled` has it in jit.

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
    call = _Call(source, algorithm, budget, root, first, num_trials, observer, num_slots, num_lanes)
    spec = eqx.filter_eval_shape(source.world, root).spec
    return _one_by_one(call, spec) if algorithm.num_rounds(spec) is None else _together(call, spec)


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


def compiled(function: Callable[..., Trial], algorithm: Algorithm) -> Any:
    """`run` or `run_sharded` inside jit, with the compiler options that suit an algorithm."""
    return compiling.jitted(function, compiling.BY_PULL if algorithm.small_rounds else compiling.FAST)


class _Call(NamedTuple):
    """One call: what `run` is given, and the steps that both ways to go through its trials have in common."""

    source: Source
    algorithm: Algorithm
    budget: Int[Array, ""]
    root: Key
    first: Int[Array, ""]
    num_trials: Int[Array, ""]
    observer: Observer | None
    num_slots: int
    num_lanes: int

    def worlds(self, slots: Array) -> "_Worlds":
        """The lanes' worlds, and what learners know of them."""
        if self.source.fresh:
            world, spec = world_of(self.source, self.keys_of(slots))
        else:
            world = rounds.MergedWorld(self.source.world(self.root), 0)
            spec = world.world.spec
        return _Worlds(world, spec, jax.tree.map(lambda _: 0 if self.source.fresh else None, spec))

    def keys_of(self, slots: Array) -> Array:
        """Keys of the trials in these slots."""
        numbers = self.first + slots
        return jax.vmap(counter.fold, in_axes=(None, 0))(self.root, numbers)

    def begin(self, slots: Array, worlds: "_Worlds") -> Lanes:
        """Lanes at the start of these trials."""
        run_keys, train = start_of(self.source, self.algorithm.queries, self.keys_of(slots))

        def start(algorithm: Algorithm, spec: Spec, train: Queries) -> Turn:
            return turn.begin(algorithm, spec, self.budget, train, self.observer)

        return Lanes(slots, run_keys, self.each(worlds, start, train))

    def shapes(self) -> Lanes:
        """Lanes at their start (shapes only)."""
        slots = jnp.zeros(self.num_lanes, jnp.int32)
        return jax.eval_shape(lambda: self.begin(slots, self.worlds(slots)))

    def unanswered(self, num_contexts: int, size: int) -> Trial:
        """Blank answers of so many trials."""
        seen = None if self.observer is None else self.shapes().turn.seen
        blank = jnp.zeros((size, num_contexts), jnp.int32)
        seen = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), seen)
        return Trial(Policy(blank, blank), jnp.zeros(size, jnp.int32), seen)

    def each(self, worlds: "_Worlds", function: Callable[..., Any], *batched: Any) -> Any:
        """A function of the algorithm and what is known, for every lane."""
        mapped = jax.vmap(partial(function, self.algorithm), in_axes=(worlds.axes, *(0 for _ in batched)))
        return mapped(worlds.spec, *batched)

    def working(self, worlds: "_Worlds", lanes: Lanes) -> Bool[Array, " lane"]:
        """Lanes that have a trial with rounds to go."""
        return (lanes.slot < self.num_trials) & self.each(worlds, turn.going, lanes.turn)

    def one_round(self, worlds: "_Worlds", lanes: Lanes) -> Lanes:
        """All lanes after one round more."""
        keys = jax.vmap(turn.round_keys)(lanes.run_key, lanes.turn.round)
        asked = self.each(worlds, turn.ask, keys.allocate, lanes.turn, self.working(worlds, lanes))
        how, train = rounds.Pulling.of(self.algorithm, worlds.world.world.spec), lanes.turn.train
        assert train is not None
        pull_keys = jax.vmap(turn.pull_key)(lanes.run_key, keys, asked)
        stats = rounds.run_round(worlds.world, train, pull_keys, asked, how)
        tell = partial(turn.tell, observer=self.observer)
        return lanes._replace(turn=self.each(worlds, tell, keys.update, lanes.turn, asked, stats))

    def answer(self, worlds: "_Worlds", lanes: Lanes) -> Trial:
        """The answer of every lane."""
        return self.each(worlds, turn.answer, jax.vmap(turn.recommend_key)(lanes.run_key), lanes.turn)


class _Worlds(NamedTuple):
    """What lanes pull from, what learners know of it, and the lane axes of that."""

    world: rounds.MergedWorld
    spec: Spec
    axes: Any

    def of(self, lane: Int[Array, " some"]) -> "_Worlds":
        """The same for some of the lanes, who do not pull."""
        fresh = jax.tree.leaves(self.axes)
        return self._replace(spec=jax.tree.map(lambda leaf: leaf[lane], self.spec)) if fresh else self


def _together(call: _Call, spec: Spec) -> Trial:
    """Batches of trials, each run to its end before the next one starts."""
    num_lanes = call.num_lanes

    def batch(carry: tuple[Array, Trial]) -> tuple[Array, Trial]:
        start, answers = carry
        slots = start + jnp.arange(num_lanes, dtype=jnp.int32)
        worlds = call.worlds(slots)
        lanes = jax.lax.while_loop(
            lambda lanes: jnp.any(call.working(worlds, lanes)),
            partial(call.one_round, worlds),
            call.begin(slots, worlds),
        )
        found = call.answer(worlds, lanes)
        store = partial(jax.lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
        return start + num_lanes, jax.tree.map(store, answers, found)

    answers = call.unanswered(spec.num_contexts, -(-call.num_slots // num_lanes) * num_lanes)
    answers = jax.lax.while_loop(lambda carry: carry[0] < call.num_trials, batch, (jnp.int32(0), answers))[1]
    return jax.tree.map(lambda leaf: leaf[: call.num_slots], answers)


def _one_by_one(call: _Call, spec: Spec) -> Trial:
    """Lanes that take the next trial once enough of them are idle; the slot of one without a trial is `num_slots`.

    So many lanes as are then idle begin and answer at a time: both cost more than many rounds.
    """
    num_lanes, nobody = call.num_lanes, call.num_slots
    quota = max(1, num_lanes // WAIT)

    def refill_and_run(carry: tuple[Array, Lanes, Trial]) -> tuple[Array, Lanes, Trial]:
        following, lanes, answers = carry
        lane, ready = _some(lanes.slot == nobody, quota)
        slots = following + jnp.arange(quota, dtype=jnp.int32)
        ready = ready & (slots < call.num_trials)
        slots, place = jnp.where(ready, slots, nobody), jnp.where(ready, lane, num_lanes)
        following = following + jnp.sum(ready.astype(jnp.int32))
        worlds = call.worlds(lanes.slot.at[place].set(slots, mode="drop"))
        lanes = _put(lanes, place, call.begin(slots, worlds.of(lane)))

        def go_on(lanes: Lanes) -> Bool[Array, ""]:
            busy = jnp.sum(call.working(worlds, lanes).astype(jnp.int32))
            return (busy > 0) & ((num_lanes - busy < quota) | (following >= call.num_trials))

        lanes = jax.lax.while_loop(go_on, partial(call.one_round, worlds), lanes)
        lane, done = _some((lanes.slot < nobody) & ~call.working(worlds, lanes), quota)
        own: Lanes = jax.tree.map(lambda leaf: leaf[lane], lanes)
        found = call.answer(worlds.of(lane), own)
        slot = lanes.slot.at[jnp.where(done, lane, num_lanes)].set(nobody, mode="drop")
        return following, lanes._replace(slot=slot), _put(answers, jnp.where(done, own.slot, nobody), found)

    def unfinished(carry: tuple[Array, Lanes, Trial]) -> Bool[Array, ""]:
        following, lanes, _ = carry
        return (following < call.num_trials) | jnp.any(lanes.slot < nobody)

    lanes: Lanes = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), call.shapes())
    answers = call.unanswered(spec.num_contexts, call.num_slots)
    lanes = lanes._replace(slot=jnp.full(num_lanes, nobody, jnp.int32))
    return jax.lax.while_loop(unfinished, refill_and_run, (jnp.int32(0), lanes, answers))[2]


def _some(which: Bool[Array, " lane"], number: int) -> tuple[Int[Array, " some"], Bool[Array, " some"]]:
    """The first so many lanes of these; False marks those that there are not."""
    return select.listed(which, number), jnp.arange(number, dtype=jnp.int32) < jnp.sum(which.astype(jnp.int32))


def _put(all_: Any, place: Int[Array, " some"], some: Any) -> Any:
    """Trees with some entries replaced; places beyond the last are nowhere."""
    return jax.tree.map(lambda old, new: old.at[place].set(new, mode="drop"), all_, some)
