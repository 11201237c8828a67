"""Exact values of environments on training and test queries: the function by which comparisons score answers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, singledispatch
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sim import evaluate, instances
from sim.constants import TIES
from sim.core import Environment, Instance, Queries, Source
from sim.envs import contexts
from sim.envs.continuous import ContinuousWorld
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource
from sim.envs.tabular import TabularWorld
from sim.utilities import tasks_of
from theory import continuous, exact
from theory.reward_laws import reward_range, world_width


class PerQuery(NamedTuple):
    """Exact values of a world before they are averaged over the queries of a split.

    Attributes:
        rewards: expected task rewards, shape (task, prompt, query, scale).
        task, task_weight, cost: as in `sim.core.Spec`, in float64.
        weights: relative frequency of each query.
    """

    rewards: np.ndarray
    task: tuple[int, ...]
    task_weight: np.ndarray
    cost: np.ndarray
    weights: np.ndarray

    def average(self, ids: np.ndarray) -> np.ndarray:
        """Values (split, context, prompt, scale) on splits that hold the queries `ids`, shape (split, id)."""
        laws = np.zeros((len(ids), len(self.weights)))
        np.put_along_axis(laws, ids, self.weights[ids], axis=1)
        laws /= laws.sum(axis=1, keepdims=True)
        # One split at a time: a product over all of them would round by their number.
        means = np.stack([exact.average(self.rewards, law) for law in laws])
        return exact.combine(means, self.task, self.task_weight, self.cost)


def exact_values(world: NamedSource, seed: int, first: int, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact values on the train and on the test queries of each trial: a `sim.comparison.cells.ExactValues`.

    Args:
        world: the environment.
        seed: root of all randomness, as in `run_trials`.
        first: number of the first trial.
        trials: how many.

    Returns:
        Values on train and on test, each (trial, context, prompt, scale); a leading axis of one where all trials share
        them.

    Raises:
        ValueError: exact values of its type of world are not known.

    Example:
        >>> from sim import envs
        >>> from theory import exact_values
        >>> train, test = exact_values(envs.get("two-arm"), seed=0, first=0, trials=3)
        >>> test.shape, test[0, 0, :, 0].round(2).tolist()  # nothing is held out: one table for all trials
        ((1, 1, 2, 1), [0.1, -0.1])
    """
    keys = _trial_keys(seed, jnp.arange(first, first + trials, dtype=jnp.int32))
    if world.source.fresh:
        instances = (_draw(world.source, key) for key in keys)
        both = [exact.world_values_by_split(_tables(one.world), [one.train, one.test]) for one in instances]
        train, test = (np.stack(part) for part in zip(*both, strict=True))
        return train, test
    values = per_query(world)
    train, test = (np.asarray(queries.ids) for queries in _splits(world.source, keys))
    if train.shape[1] == len(values.weights):  # nothing is held out: every split is the whole query law
        whole = values.average(train[:1])
        return whole, whole
    return values.average(train), values.average(test)


def uniform_credit(world: NamedSource, seed: int, first: int, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """`exact_values` with 1/t credit for tied votes, whatever credit the world trains with."""
    if world.data is None:
        raise ValueError(f"{world.name}: holds no data set, whose credit for ties could be chosen")
    return exact_values(replace(world, data=replace(world.data, tie="uniform")), seed, first, trials)


@lru_cache(maxsize=2)
def per_query(world: NamedSource) -> PerQuery:
    """Exact values of a fixed world on every query."""
    data, source = world.data, world.source
    if data is not None:
        tasks = tasks_of(data.objective_weights)
        cost = data.cost_weights[:, None] * data.costs
        return PerQuery(exact.task_values(data), tasks.index, tasks.factor, cost, data.query_distribution)
    environment = source.world(jnp.zeros(2, jnp.uint32))
    given = source.query_weights
    weights = np.ones(environment.num_queries) if given is None else np.asarray(given, np.float64)
    spec = environment.spec
    task_weight, cost = np.asarray(spec.task_weight, np.float64), np.asarray(spec.cost, np.float64)
    return PerQuery(task_values(environment), spec.task, task_weight, cost, weights)


@singledispatch
def finite(environment: Environment) -> TabularWorld | None:
    """The tables of a world that has any, None for other types of world; `finite.register` adds a type."""
    return None


@finite.register(TabularWorld)
def _(environment: TabularWorld) -> TabularWorld:
    return environment


@singledispatch
def task_values(environment: Environment) -> np.ndarray:
    """Expected task rewards of a world, shape (task, prompt, query, scale), by its type.

    A type that is not finite says its values by `task_values.register`, as continuous worlds do.

    Raises:
        ValueError: they are not known.
    """
    return exact.world_task_values(_tables(environment))


task_values.register(ContinuousWorld)(continuous.task_values)


def _tables(environment: Environment) -> TabularWorld:
    found = finite(environment)
    if found is None:
        raise ValueError(f"exact values of a {type(environment).__name__} are not known; it cannot be scored")
    return found


def whole_values(world: NamedSource, seed: int = 0, tie: str | None = None) -> np.ndarray:
    """Values (context, prompt, scale) over all queries; of trial 0 of a seed where worlds are drawn afresh.

    Args:
        world: the environment.
        seed: decides a fresh world.
        tie: credit of a tied majority vote, "uniform" or "half"; the environment's own when None.
    """
    if tie not in (None, *TIES):
        raise ValueError(f"tie is {tie!r}; allowed are {', '.join(TIES)}")
    if world.data is not None:
        return exact.values(world.data if tie is None else replace(world.data, tie=tie))
    if not world.source.fresh:
        values = per_query(world)
        return values.average(np.arange(len(values.weights))[None])[0]
    drawn = _tables(draw_first(world, seed).world)
    if tie is not None:
        drawn = replace(drawn, strategy=replace(drawn.strategy, tie=tie))
    return exact.world_values(drawn, Queries(jnp.arange(drawn.num_queries, dtype=jnp.int32)))


def finite_world(world: NamedSource, seed: int = 0) -> Dataset | TabularWorld | None:
    """The world itself where it is finite; that of trial 0 of a seed where worlds are drawn afresh."""
    if world.data is not None:
        return world.data
    return finite(draw_first(world, seed).world)


def reward_widths(world: NamedSource, seed: int = 0) -> np.ndarray:
    """Range of the task reward in each context, NaN where it is not known."""
    if world.data is not None:
        low, high = reward_range(world.data)
        return high - low
    drawn = finite(draw_first(world, seed).world)
    return np.full(len(whole_values(world, seed)), np.nan) if drawn is None else world_width(drawn)


def unresolved(world: NamedSource, values: np.ndarray, names: Sequence[str], seed: int = 0) -> list[str]:
    """A sentence for every context in which trials cannot tell the best arm from others: gaps below their rounding.

    Args:
        world: the environment.
        values: its exact values, shape (context, prompt, scale).
        names: of its contexts.
        seed: decides a fresh world.
    """
    drawn: Any = draw_first(world, seed).world  # every world of `sim.envs` has a strategy
    limits, steps = contexts.resolution(drawn.spec, drawn.strategy), np.asarray(drawn.spec.grid, np.float64)
    equal, found = evaluate.tolerance(values), []
    for name, own, limit, step, same in zip(names, values, limits, steps, equal, strict=True):
        gap = own.max() - own
        alike = gap[(gap > limit) & (gap <= same)]
        if alike.size:
            found.append(
                f"context {name}: values differ by {np.ptp(own):.3g}, so that gaps up to {same:.3g}, such as "
                f"{alike.min():.3g}, count as none in errors and hardness; leave out what is too dear to be chosen"
            )
        near = gap[(gap > same) & (gap < limit)]
        if near.size:
            arms = "1 arm falls" if near.size == 1 else f"{near.size} arms fall"
            found.append(
                f"context {name}: {arms} short of the best by {near.min():.3g} or more, but by less than the "
                f"{limit:.3g} to which trials round (estimates to a grid of {step:.3g}); trials cannot tell them from "
                "the best, and choose among them by chance"
            )
    return found


def draw_first(world: NamedSource, seed: int) -> Instance:
    """World and queries of trial 0 of a seed."""
    return _draw(world.source, instances.trial_key(seed, 0))


def drawn_per_query(world: NamedSource, seed: int, trial: int) -> PerQuery:
    """Exact values on every query of the world that a trial of a seed faces, where worlds are drawn afresh."""
    drawn = _tables(_draw(world.source, instances.trial_key(seed, trial)).world)
    known = drawn.known
    task_weight, cost = np.asarray(known.task_weight, np.float64), np.asarray(known.cost, np.float64)
    return PerQuery(exact.world_task_values(drawn), known.task, task_weight, cost, np.ones(drawn.num_queries))


_draw = eqx.filter_jit(instances.instance)


@eqx.filter_jit
def _splits(source: Source, keys: jax.Array) -> tuple[Queries, Queries]:
    return jax.vmap(lambda key: instances.instance(source, key)[1:])(keys)


@eqx.filter_jit
def _trial_keys(seed: int, numbers: jax.Array) -> jax.Array:
    return jax.vmap(lambda number: instances.trial_key(seed, number))(numbers)
