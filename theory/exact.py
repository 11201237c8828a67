"""Exact values of every arm of a finite world, in float64 and without sampling.

Source: Mahmud et al. (arXiv 2508.10030), section 3: Q(c, p, N) is the mean utility over queries and completions.

Two kinds of world: a `Dataset` (float64 tables at rest) and a `TabularWorld` (the pytree that trials run on), whose
values are those of the law that its thresholds sample. Neither counts the rounding of rewards to 2**-16 of their bound.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int

from sim.core import Queries
from sim.envs.dataset import Dataset
from sim.envs.tabular import TabularWorld
from sim.kernels.majority import majority_credit, majority_moments
from sim.kernels.moments import Moments
from sim.utilities import tasks_of
from theory.blocks.best_of_n import best_of_n, best_of_n_from_cdf, best_of_n_moments
from theory.blocks.law import averages, law_of_data, law_of_world, per_query
from theory.blocks.mixed import per_query_moments

__all__ = [
    "Moments",
    "average",
    "best_arms",
    "best_of_n",
    "best_of_n_from_cdf",
    "best_of_n_moments",
    "combine",
    "gaps",
    "majority_credit",
    "majority_moments",
    "query_law",
    "task_means",
    "task_moments",
    "task_values",
    "values",
    "variance",
    "world_task_values",
    "world_values",
    "world_values_by_split",
]


def task_values(data: Dataset) -> Float64[np.ndarray, "task prompt query scale"]:
    """Expected task reward of one block of N completions on every query; no cost, no task weight.

    Args:
        data: a finite environment with any mix of aggregates.
    """
    return per_query(law_of_data(data))


def task_moments(data: Dataset) -> Moments:
    """Mean and variance of the task reward of one block on every query, each (task, prompt, query, scale).

    Args:
        data: a finite environment with any mix of aggregates.
    """
    return per_query_moments(law_of_data(data))


def task_means(data: Dataset, ids: Int[np.ndarray, " id"] | None = None) -> Float64[np.ndarray, "task prompt scale"]:
    """`task_values` averaged over the queries of a split, in bounded memory.

    Args:
        data: a finite environment.
        ids: the queries of the split, drawn by the data's query weights; all queries when None.

    Raises:
        ValueError: `ids` holds no query, or one that the data lacks.
    """
    return averages(law_of_data(data), query_law(data, ids)[None])[0]


def values(
    data: Dataset,
    ids: Int[np.ndarray, " id"] | None = None,
    per_query: Float64[np.ndarray, "task prompt query scale"] | None = None,
) -> Float64[np.ndarray, "context prompt scale"]:
    """Exact value Q(c, p, n) = task_weight[c] * E_x[reward of task[c]] - n * cost[c, p].

    Args:
        data: a finite environment.
        ids: the queries of the split, drawn by the data's query weights; all queries when None.
        per_query: `task_values(data)` where at hand already, as when many splits of one data set are scored.

    Raises:
        ValueError: `ids` holds no query, or one that the data lacks.

    Example:
        >>> from sim import envs
        >>> from theory import values
        >>> of_arms = values(envs.get("crossover").data)  # (context, prompt, scale)
        >>> of_arms.shape, of_arms[0, :, 0].round(2).tolist()
        ((1, 2, 10), [0.65, 0.62])
    """
    means = task_means(data, ids) if per_query is None else average(per_query, query_law(data, ids))
    tasks = tasks_of(data.objective_weights)
    return combine(means, tasks.index, tasks.factor, data.cost_weights[:, None] * data.costs)


def variance(data: Dataset, ids: Int[np.ndarray, " id"] | None = None) -> Float64[np.ndarray, "context prompt scale"]:
    """Variance of the utility of one block on a random query: E_x Var(reward | x) + Var_x E(reward | x).

    Args:
        data: a finite environment.
        ids: the queries of the split, drawn by the data's query weights; all queries when None.

    Raises:
        ValueError: `ids` holds no query, or one that the data lacks.

    Example:
        >>> from sim import envs
        >>> from theory import variance
        >>> variance(envs.get("two-arm").data)[0, :, 0].round(2).tolist()  # rewards +1 and -1 with a mean of .1
        [0.99, 0.99]
    """
    mean, within = task_moments(data)
    law = query_law(data, ids)
    centred = mean - average(mean, law)[..., None, :]
    tasks = tasks_of(data.objective_weights)
    return tasks.factor[:, None, None] ** 2 * average(within + centred**2, law)[list(tasks.index)]


def combine(
    task_means: Float64[np.ndarray, "*split task prompt scale"],
    task: Sequence[int],
    task_weight: Float[np.ndarray, " context"],
    cost: Float[np.ndarray, "context prompt"],
) -> Float64[np.ndarray, "*split context prompt scale"]:
    """Values per context from mean rewards per task: the formula of `sim.core.Spec`.

    Args:
        task_means: expected task rewards.
        task: index of each context's task.
        task_weight: positive factor of each context's task.
        cost: utility that one completion of a prompt costs in a context.
    """
    scales = np.arange(1, task_means.shape[-1] + 1)
    return task_weight[:, None, None] * task_means[..., list(task), :, :] - cost[:, :, None] * scales


def average(
    per_query: Float64[np.ndarray, "*rows query scale"], law: Float64[np.ndarray, " query"]
) -> Float64[np.ndarray, "*rows scale"]:
    """Mean over queries under a query law.

    Args:
        per_query: a number for every query and scale.
        law: probability of every query.
    """
    return np.matmul(law, per_query)


def query_law(data: Dataset, ids: Int[np.ndarray, " id"] | None = None) -> Float64[np.ndarray, " query"]:
    """Probability of every query of the data in a split; zero outside it.

    Args:
        data: a finite environment.
        ids: the queries of the split; all queries when None.

    Raises:
        ValueError: `ids` holds no query, or one that the data lacks.
    """
    if ids is None:
        return data.query_distribution
    if len(ids) == 0 or ids.min() < 0 or ids.max() >= data.num_queries:
        raise ValueError(f"{data.name}: ids must hold at least one query, each from 0 to {data.num_queries - 1}")
    weights = np.bincount(ids, data.query_distribution[ids], data.num_queries)
    return weights / weights.sum()


def world_task_values(world: TabularWorld) -> Float64[np.ndarray, "task prompt query scale"]:
    """`task_values` of the law that a world's thresholds sample."""
    return per_query(law_of_world(world))


def world_values(world: TabularWorld, queries: Queries) -> Float64[np.ndarray, "context prompt scale"]:
    """Exact value of every arm of a world under the query law of one split.

    Args:
        world: a finite world.
        queries: the split.
    """
    return world_values_by_split(world, [queries])[0]


def world_values_by_split(
    world: TabularWorld, splits: Sequence[Queries]
) -> Float64[np.ndarray, "split context prompt scale"]:
    """`world_values` under several query laws, for little more than the time of one.

    Args:
        world: a finite world.
        splits: the query laws.
    """
    laws = np.stack([_law_of_queries(queries, world.num_queries) for queries in splits])
    spec = world.known
    task_weight, cost = np.asarray(spec.task_weight, np.float64), np.asarray(spec.cost, np.float64)
    offset = np.asarray(spec.offset, np.float64).sum(axis=0)[:, None, None]
    return combine(averages(law_of_world(world), laws), spec.task, task_weight, cost) + offset


def best_arms(
    values: Float[np.ndarray, "*context prompt scale"],
) -> tuple[Int[np.ndarray, "*context"], Int[np.ndarray, "*context"]]:
    """Prompt (from 0) and scale (from 1) of the best arm in each context; the first where several are best.

    Example:
        >>> import numpy as np
        >>> from theory import best_arms
        >>> prompt, scale = best_arms(np.array([[[0.5, 0.6], [0.4, 0.9]]]))
        >>> prompt.tolist(), scale.tolist()
        ([1], [2])
    """
    num_scales = values.shape[-1]
    best = values.reshape(*values.shape[:-2], -1).argmax(axis=-1)
    return np.asarray(best // num_scales), np.asarray(best % num_scales + 1)


def gaps(values: Float[np.ndarray, "*context prompt scale"]) -> Float[np.ndarray, "*context prompt scale"]:
    """Value that each arm falls short of its context's best.

    Example:
        >>> import numpy as np
        >>> from theory import gaps
        >>> gaps(np.array([[[0.5, 0.75], [0.25, 1.0]]])).tolist()
        [[[0.5, 0.25], [0.75, 0.0]]]
    """
    return values.max(axis=(-2, -1), keepdims=True) - values


def _law_of_queries(queries: Queries, num_queries: int) -> np.ndarray:
    ids = np.asarray(queries.ids)
    if queries.cumulative is None:
        mass = np.full(len(ids), 1 / len(ids))
    else:
        below = np.asarray(queries.cumulative) * 2.0**-32
        mass = np.diff(np.concatenate([[0.0], below[:-1], [1.0]]))  # the last query takes the words left over
    return np.bincount(ids, mass, num_queries)
