"""Runs trials: thousands at once inside jit, call by call, or one in the host loop of a live model.

A trial is a function of (source, algorithm, budget, seed, trial number) alone: lanes, number of
devices and host loop or jit do not show in its result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sim import instances
from sim.constants import MAX_BUDGET
from sim.core import Algorithm, Allocation, Environment, Key, Queries, Source, Spec, Stats, Trial
from sim.engine import compiling, stepwise, turn
from sim.engine import fused as whole
from sim.engine.limits import RoundWatch, check_answers, naming
from sim.engine.turn import Observe, Observer, RoundKeys, Turn
from sim.engine.turn import queries_of as queries_of
from sim.kernels import counter, portions, rounds
from sim.raw import RAW

CALL = 1024
"""Trials that are kept together, or counted by: the same number on every device."""
_FEWEST = 64
"""Lanes that a batch has at least, where they fit, so that small numbers of trials share programs."""
_BATCH_ARMS = 2**21
"""Arms over all contexts and trials beyond which a batch is made smaller: more do not fit a cache."""
_LANES_BYTES = 2**30
"""About what the lanes of a batch may take: a larger world has fewer lanes."""
_COPIES = 6
"""Arrays of the size of a lane's values, and of a round's statistics, that are alive at a time."""


class Trials(NamedTuple):
    """Results of many trials, NumPy arrays with a leading trial axis.

    Attributes:
        prompt: recommended prompts, from 0, shape (trial, context).
        scale: recommended scales, from 1, shape (trial, context).
        spent: completions spent.
        seen: a tree of what was observed of every round, leading axes trial and round; None where nobody looked.
    """

    prompt: np.ndarray
    scale: np.ndarray
    spent: np.ndarray
    seen: Any = None


def run_trials(
    source: Source,
    algorithm: Algorithm,
    budget: int,
    *,
    seed: int,
    trials: int,
    first: int = 0,
    chunk: int | None = None,
    fused: bool | None = None,
    observe: Observe | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trials:
    """Run `trials` trials, in bounded memory however many they are.

    Args:
        source: where each trial's world and split come from.
        algorithm: what is run.
        budget: completions T.
        seed: root of all randomness.
        trials: how many, numbered from `first`.
        first: number of the first trial.
        chunk: trials in progress at a time; shows in memory and speed, never in the results.
        fused: whether all rounds are one program (`sim.engine.fused`: fast, and slow to compile) or the host calls each
            (`sim.engine.stepwise`: soon compiled). By default the first for `many` trials, for several devices, and for
            rules of many small rounds (`Algorithm.small_rounds`). Never shows in results.
        observe: looks at every round (`turn.Observe`); what it sees comes back as `Trials.seen`, leading axes trial and
            round: as many rounds as the algorithm has (`Algorithm.num_rounds`), or as completions where only the budget
            tells. Entries after a trial's last round are 0.
        progress: called with the number of trials done after each jitted call.

    Raises:
        ValueError: the budget is below what the algorithm needs, or out of range; or the world has not what it takes.

    Example:
        >>> from sim import algorithms, envs, run_trials
        >>> found = run_trials(envs.get("two-arm").source, algorithms.get("uniform"), 40, seed=0, trials=3)
        >>> found.prompt.shape, found.spent.tolist()
        ((3, 1), [40, 40, 40])
    """
    shape = shape_of(source)
    spec = shape.spec
    check_world(algorithm, shape)
    check_budget(algorithm, spec, budget)
    sizes = _sizes(algorithm, spec, trials, chunk, fused)
    at_a_time = sizes.slots * len(_devices(sizes.fused))
    observer = observer_of(algorithm, spec, budget, observe)
    parts = []
    for done in range(0, trials, at_a_time):
        count = min(at_a_time, trials - done)
        span = range(first + done, first + done + count)
        parts.append(_call(source, algorithm, budget, seed, span, sizes, observer))
        if progress is not None:
            progress(done + count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def rehearse(
    source: Source,
    algorithm: Algorithm,
    budget: int,
    *,
    seed: int,
    trials: int,
    chunk: int | None = None,
    fused: bool | None = None,
    strict: bool = False,
) -> Trials:
    """Run the first trials of `run_trials`, a batch at most, and watch each round before it is pulled.

    Where `run_trials` calls every round from the host, nothing more is compiled for it. Elsewhere, as for rules of
    many small rounds, it is one trial in the host loop, whose rewards are random: what pulls is not compiled.

    Args:
        source: where each trial's world and split come from.
        algorithm: what is run.
        budget: completions T.
        seed: root of all randomness.
        trials: how many `run_trials` is to run.
        chunk: as in `run_trials`.
        fused: as in `run_trials`.
        strict: hold an algorithm to its budget that says it may spend more.

    Raises:
        Broken: a limit is not kept (`sim.engine.limits`).
        ValueError: the budget is below what the algorithm needs, or out of range.
    """
    spec = spec_of(source)
    check_budget(algorithm, spec, budget)
    watch = RoundWatch(algorithm, spec, budget, strict)
    if _sizes(algorithm, spec, trials, chunk, fused).fused and chunk is None:
        return _alone(source, algorithm, budget, seed, watch)
    lanes = _sizes(algorithm, spec, trials, chunk, False).lanes
    return _call(source, algorithm, budget, seed, range(min(trials, lanes)), _Sizes(False, lanes, lanes), None, watch)


def _alone(source: Source, algorithm: Algorithm, budget: int, seed: int, watch: RoundWatch) -> Trials:
    """Trial 0 with random rewards."""
    key, rng = instances.trial_key(seed, 0), np.random.default_rng(seed)
    spec = eqx.filter_jit(lambda source, key: source.world(key).spec)(source, counter.fold(key, instances.WORLD))

    def pull(key: Key, at: Turn, asked: Allocation) -> Stats:
        return random_stats(rng, spec, algorithm, asked)

    found = _rounds(spec, algorithm, budget, counter.fold(key, instances.RUN), None, pull, watch)
    return Trials(*(np.asarray(leaf)[None] for leaf in (*found.policy, found.spent)))


def random_stats(rng: np.random.Generator, spec: Spec, algorithm: Algorithm, asked: Allocation) -> Stats:
    """Statistics of a round whose rewards are random in [0, 1]: for runs of which only the pulls matter."""
    if algorithm.estimator == RAW:
        return rounds.random_raw(rng, spec, asked, rounds.Pulling.of(algorithm, spec))
    blocks = np.asarray(rounds.block_counts(asked, rounds.Pulling.of(algorithm, spec)))
    shape = (len(asked.pulls), spec.num_tasks, blocks.shape[1])
    total = rng.uniform(0, 1, shape).astype(np.float32) * blocks[:, None]
    return Stats(jnp.asarray(total), jnp.asarray(blocks))


def warm_up(
    source: Source, algorithm: Algorithm, trials: int, chunk: int | None = None, fused: bool | None = None
) -> None:
    """Compile what `run_trials` runs with these arguments, without running a trial."""
    spec = spec_of(source)
    _call(source, algorithm, 1, 0, range(0), _sizes(algorithm, spec, trials, chunk, fused), None)


def many(trials: int) -> bool:
    """Whether so many trials are worth a program of all rounds, which takes longer to compile and runs faster."""
    return trials > portions.of_device().by_round


class _Sizes(NamedTuple):
    """How a call goes through its trials: in one program or round by round, trials in progress, trials of a call."""

    fused: bool
    lanes: int
    slots: int


def _sizes(algorithm: Algorithm, spec: Spec, trials: int, chunk: int | None, fused: bool | None) -> _Sizes:
    """Sizes of one device's part of a call."""
    if fused is None:
        fused = many(trials) or len(jax.devices()) > 1 or algorithm.small_rounds
    usual = portions.of_device()
    at_once = min(usual.lanes, max(_FEWEST, 1 << (trials - 1).bit_length()))
    if not fused:
        wide = trials > at_once and usual.batch * spec.num_contexts * spec.num_arms <= _BATCH_ARMS
        lanes = chunk or min(usual.batch if wide else at_once, _most_lanes(algorithm, spec))
        return _Sizes(False, lanes, lanes)
    lanes = chunk or min(at_once, _most_lanes(algorithm, spec))
    return _Sizes(True, lanes, max(lanes, usual.call))


def _most_lanes(algorithm: Algorithm, spec: Spec) -> int:
    """Trials that fit `_LANES_BYTES`, one at least: each holds float32 values of all arms, statistics and a state.

    Copies of values have room for a state as large: only what it has beyond them counts.
    """
    rows, how = algorithm.num_rows(spec), rounds.Pulling.of(algorithm, spec)
    came, state = eqx.filter_eval_shape(
        lambda spec: (rounds.nothing(spec, (rows,), how), algorithm.init(spec, jnp.int32(1))), spec
    )
    values = 4 * spec.num_contexts * spec.num_arms
    statistics, kept = (sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(of)) for of in (came, state))
    return max(_LANES_BYTES // (_COPIES * (values + statistics + max(kept - values, 0))), 1)


def _devices(fused: bool) -> list[Any]:
    """The devices that share the trials; a host that calls every round uses one."""
    return jax.devices() if fused else jax.devices()[:1]


def _call(
    source: Source,
    algorithm: Algorithm,
    budget: int,
    seed: int,
    span: range,
    sizes: _Sizes,
    observer: Observer | None,
    watch: RoundWatch | None = None,
) -> Trials:
    """Trials with these numbers, spread evenly over the devices."""
    fused, lanes, slots = sizes
    first, count = span.start, len(span)
    devices = _devices(fused)
    each = -(-count // len(devices))
    starts = np.minimum(np.arange(len(devices)) * each, count)
    counts = np.minimum(each, count - starts)
    rule = algorithm.traced() if fused or observer is not None else algorithm.shared()
    head = (source, rule, jnp.int32(budget), counter.from_seed(seed))
    if not fused:
        found = stepwise.run(*head, jnp.int32(first), jnp.int32(count), lanes, observer, watch)
    elif len(devices) == 1:
        found = whole.compiled(whole.run, algorithm)(*head, jnp.int32(first), jnp.int32(count), slots, lanes, observer)
    else:
        mesh = jax.make_mesh((len(devices),), ("trial",), axis_types=(jax.sharding.AxisType.Auto,))
        numbers = (jnp.asarray(first + starts, jnp.int32), jnp.asarray(counts, jnp.int32))
        found = whole.compiled(whole.run_sharded, algorithm)(mesh, *head, *numbers, slots, lanes, observer)
    kept = np.concatenate([device * slots + np.arange(size) for device, size in enumerate(counts)])
    own = jax.tree.map(lambda leaf: np.asarray(leaf)[kept], found)
    return Trials(own.policy.prompt, own.policy.scale, own.spent, own.seen)


def observer_of(algorithm: Algorithm, spec: Spec, budget: int, observe: Observe | None) -> Observer | None:
    """Observer of a trial, and of how many rounds."""
    if observe is None:
        return None
    most = algorithm.num_rounds(spec)
    return Observer(observe, budget if most is None else most)


def shape_of(source: Source) -> Environment:
    """A source's worlds (shapes only)."""
    return eqx.filter_eval_shape(source.world, jnp.zeros(2, jnp.uint32))


def spec_of(source: Source) -> Spec:
    """The learner's view of a source's worlds (shapes only)."""
    return shape_of(source).spec


def check_world(algorithm: Algorithm, world: Environment) -> None:
    """Refuse a world (shapes suffice) that does not give completions to an algorithm that takes them as they are."""
    mute = type(world).raw is Environment.raw
    if algorithm.estimator == RAW and (mute or world.spec.rewards is None):
        kind = type(world).__name__
        lacks = f"{kind} has no method raw" if mute else f"Spec.rewards of {kind} is None"
        raise ValueError(f"the algorithm takes completions as they are, which this world does not give: {lacks}")


def check_budget(algorithm: Algorithm, spec: Spec, budget: int) -> None:
    """Refuse a budget with which the algorithm cannot run."""
    smallest = algorithm.min_budget(spec)
    if budget < smallest:
        raise ValueError(f"budget {budget} is too small; the smallest that works here is {smallest} completions")
    if budget > MAX_BUDGET:
        raise ValueError(f"budget {budget} is too large; the largest is {MAX_BUDGET} completions")


def estimator_for(algorithm: Algorithm, world: Environment) -> str:
    """The estimator that a world takes for an algorithm (shapes suffice): random orders where tables are too large."""
    if algorithm.estimator == RAW:
        return RAW
    return world.estimator_for(algorithm.max_pull(world.spec), algorithm.estimator)


def check_seed(seed: int) -> None:
    """Refuse a seed that does not fit the 64 bits of a key."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}; it must lie in 0..{2**64 - 1}")


def run_trial(
    environment: Environment,
    train: Queries,
    algorithm: Algorithm,
    budget: int,
    run_key: Key,
    observe: Observe | None = None,
) -> Trial:
    """One trial in the host loop, one pull at a time: what a live model needs.

    Equals trial t of `run_trials` bit for bit when given that trial's `sim.instances.instance` and run key.

    Args:
        environment: answers one pull at a time.
        train: the query law to draw from.
        algorithm: what is run.
        budget: completions T.
        run_key: `counter.fold(instances.trial_key(seed, t), instances.RUN)`.
        observe: looks at every round, as in `run_trials`.
    """
    check_world(algorithm, environment)
    law = queries_of(algorithm.queries, train, run_key)

    def pull(key: Key, at: Turn, asked: Allocation) -> Stats:
        assert at.train is not None
        return host_round(environment, at.train, key, asked, algorithm)

    watch = RoundWatch(algorithm, environment.spec, budget)
    with naming(type(algorithm).__name__, budget):
        return _rounds(environment.spec, algorithm, budget, run_key, law, pull, watch, observe)


def run_rounds(
    spec: Spec,
    algorithm: Algorithm,
    budget: int,
    run_key: Key,
    answer: Callable[[Key, Allocation], Stats],
    watch: Callable[[Any], None] = lambda state: None,
    observe: Observe | None = None,
) -> Trial:
    """One trial in which somebody else pulls: `answer` gets a round's key and allocation and returns what came back.

    Rounds without pulls are answered too, as in a trial. The run is a function of its arguments and the answers alone,
    so that a run whose answers are kept can be repeated up to where it stopped. `watch` sees the state before a round;
    `observe` is as in `run_trials`.
    """

    def pull(key: Key, at: Turn, asked: Allocation) -> Stats:
        watch(at.state)
        return answer(key, asked)

    with naming(type(algorithm).__name__, budget):
        return _rounds(spec, algorithm, budget, run_key, None, pull, RoundWatch(algorithm, spec, budget), observe)


def _rounds(
    spec: Spec,
    algorithm: Algorithm,
    budget: int,
    run_key: Key,
    train: Queries | None,
    pull: Callable[[Key, Turn, Allocation], Stats],
    watched: RoundWatch,
    observe: Observe | None = None,
) -> Trial:
    """The host loop: one trial, a round at a time, pulled by `pull` where it keeps its limits."""
    check_budget(algorithm, spec, budget)
    observer = observer_of(algorithm, spec, budget, observe)
    algorithm = algorithm.traced()
    at = compiling.soon(turn.begin)(algorithm, spec, jnp.int32(budget), train, observer)
    while bool(compiling.soon(turn.going)(algorithm, spec, at)):
        keys, pull_key, asked = compiling.soon(_ask)(algorithm, spec, run_key, at)
        watched(asked)
        at = compiling.soon(turn.tell)(algorithm, spec, keys.update, at, asked, pull(pull_key, at, asked), observer)
    trial: Trial = compiling.soon(_answer)(algorithm, spec, run_key, at)
    arms = spec.num_prompts, spec.max_scale
    check_answers(arms, budget, algorithm.overspends, *trial.policy, trial.spent)
    return trial


def _ask(algorithm: Algorithm, spec: Spec, run_key: Key, at: Turn) -> tuple[RoundKeys, Key, Allocation]:
    keys = turn.round_keys(run_key, at.round)
    asked = turn.ask(algorithm, spec, keys.allocate, at, jnp.ones((), bool))
    return keys, turn.pull_key(run_key, keys, asked), asked


def _answer(algorithm: Algorithm, spec: Spec, run_key: Key, at: Turn) -> Trial:
    return turn.answer(algorithm, spec, turn.recommend_key(run_key), at)


def host_round(
    environment: Environment, train: Queries, round_key: Key, allocation: Allocation, algorithm: Algorithm
) -> Stats:
    """One round of pulls, one after the other: the plain version of `kernels.rounds.run_round`."""
    spec, how = environment.spec, rounds.Pulling.of(algorithm, environment.spec)
    found, rows = [], np.repeat(np.arange(len(allocation.pulls)), np.asarray(allocation.pulls))
    for row, (prompt, scale, pulls) in enumerate(zip(*(np.asarray(leaf) for leaf in allocation[:3]), strict=True)):
        own = train if allocation.places is None else rounds.begin_at(train, allocation.places.start[row])
        for pull in range(int(pulls)):
            which = (jnp.int32(row), jnp.int32(pull), jnp.int32(prompt), jnp.int32(scale))
            placed = allocation.places is not None
            found.append(jax.tree.map(np.asarray, _one_pull(environment, own, round_key, which, algorithm, placed)))
    if how.estimator == RAW:
        return rounds.fold_raw(spec, allocation, rows, found, how)
    units = np.stack(found) if found else np.zeros((0, spec.num_tasks, how.num_scales), np.int64)
    return rounds.fold_pulls(spec, allocation, rows, units, how)


@eqx.filter_jit
def _one_pull(
    environment: Environment,
    train: Queries,
    round_key: Key,
    which: tuple[Array, Array, Array, Array],
    algorithm: Algorithm,
    placed: bool,
) -> Any:
    row, pull, prompt, scale = which
    if placed:
        key = rounds.pull_key(round_key, prompt, rounds.place_of(train, pull))
    else:
        key = rounds.pull_key(round_key, row, pull)
    query = rounds.draw_query(rounds.query_key(algorithm.queries, round_key, key, pull), train, pull)
    answer = environment.pull(key, prompt, query, scale).narrowed(algorithm.max_pull(environment.spec))
    if algorithm.estimator == RAW:
        return environment.raw(answer)
    return environment.block_units(answer._replace(key=key), algorithm.estimator)
