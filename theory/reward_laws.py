"""Laws of the reward of one block, query by query: what exponents and tail probabilities are computed from.

A block's task reward is the mean of one or more independent *parts* given the query: the whole vote or the best score
is one part, and the mean of k scores has k. The mean over b disjoint blocks of a pull is then the mean of b times as
many parts, and one small table serves every strategy with one aggregate.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from sim.constants import GOLD
from sim.envs.dataset import Dataset
from sim.envs.tabular import TabularWorld
from sim.kernels.majority import poisson, rival_ways
from sim.kernels.moments import normal_rows
from sim.utilities import tasks_of
from theory.blocks.law import Law, answer_probs, law_of_data, law_of_world
from theory.exact import query_law

IMPOSSIBLE = 2.0**-31
"""A drawn world gives up to 2**-32 to outcomes that cannot occur."""


class Parts(NamedTuple):
    """Law of one part, and how many parts a block has.

    Attributes:
        support: values of a part, before the context's factor.
        probs: their probabilities in a block of each scale.
        parts: independent parts per block of each scale.
        weight: probability of each query.
    """

    support: Float64[np.ndarray, "prompt query atom"]
    probs: Float64[np.ndarray, "prompt query scale atom"]
    parts: Int[np.ndarray, " scale"]
    weight: Float64[np.ndarray, " query"]


def parts_of(data: Dataset, task: int, ids: Int[np.ndarray, " id"] | None = None) -> Parts:
    """The law of a task's rewards on the queries of one split.

    Raises:
        ValueError: for a strategy that mixes aggregates, whose parts are dependent.
    """
    law = law_of_data(data)
    if len(law.used) > 1:
        mixed = ", ".join(law.used)
        raise ValueError(
            f"{data.name}: reward laws are known for strategies with one aggregate; this one mixes {mixed}"
        )
    weight = query_law(data, ids)
    kept = np.flatnonzero(weight)
    probs = law.probs / law.probs.sum(axis=-1, keepdims=True)
    values = law.values[:, kept] if law.values is not None and law.values.ndim == 4 else law.values
    law = law._replace(probs=probs[:, kept], values=values)
    how = law.used[0]
    scales = np.arange(1, law.max_scale + 1)
    if how == "mv":
        support, table = _credits(law)
        support = law.weights[task, law.columns(how)[0]] * np.broadcast_to(support, (*table.shape[:2], len(support)))
        return Parts(support, table, np.ones_like(scales), weight[kept])
    support = np.broadcast_to(law.scores(how)[task], law.probs.shape)
    if how == "mean":
        table = np.repeat(law.probs[:, :, None], law.max_scale, axis=2)
        return Parts(support, table, scales, weight[kept])
    order = np.argsort(support, axis=-1)
    ordered = np.take_along_axis(law.probs, order, axis=-1)
    table = largest_law(ordered, law.max_scale)
    return Parts(np.take_along_axis(support, order, axis=-1), table, np.ones_like(scales), weight[kept])


def largest_law(probs: Float64[np.ndarray, "*rows atom"], max_scale: int) -> Float64[np.ndarray, "*rows scale atom"]:
    """Probability that the largest of N i.i.d. draws is each atom, atoms ascending, for every N.

    F_j^N - F_(j-1)^N = F_(j-1) (F_j^(N-1) - F_(j-1)^(N-1)) + pi_j F_j^(N-1): no term is negative, so that relative
    errors stay small however rare an atom is.
    """
    below = np.minimum(np.cumsum(probs, axis=-1), 1.0)
    before = np.concatenate([np.zeros_like(below[..., :1]), below[..., :-1]], axis=-1)
    law, power = probs, below
    table = [law]
    for _ in range(max_scale - 1):
        law, power = before * law + probs * power, power * below
        table.append(law)
    return np.stack(table, axis=-2)


def reward_range(
    data: Dataset, ids: Int[np.ndarray, " id"] | None = None
) -> tuple[Float64[np.ndarray, " context"], Float64[np.ndarray, " context"]]:
    """Smallest and largest task reward that a block can have in each context, known costs left out.

    Outcomes without probability do not count; the parts of a strategy that mixes aggregates are added up.
    """
    tasks = tasks_of(data.objective_weights)
    kept = np.flatnonzero(query_law(data, ids))
    low, high = _task_range(law_of_data(data), kept, 0.0)
    index = list(tasks.index)
    return tasks.factor * low[index], tasks.factor * high[index]


def world_width(world: TabularWorld) -> Float64[np.ndarray, " context"]:
    """`reward_range` of a drawn world over all its queries, as a width."""
    spec = world.known
    low, high = _task_range(law_of_world(world), np.arange(world.num_queries), IMPOSSIBLE)
    return np.asarray(spec.task_weight, np.float64) * (high - low)[list(spec.task)]


def _task_range(law: Law, kept: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest reward of each task on some queries, over outcomes likelier than `least`."""
    possible = law.probs[:, kept] > least
    low, high = np.zeros(len(law.weights)), np.zeros(len(law.weights))
    for how in law.used:
        if how == "mv":
            weight = law.weights[:, law.columns(how)[0]]
            low, high = low + np.minimum(weight, 0), high + np.maximum(weight, 0)
            continue
        for task, scores in enumerate(law.scores(how)):
            scores = np.broadcast_to(scores, law.probs.shape)[:, kept]
            low[task] += scores.min(where=possible, initial=np.inf)
            high[task] += scores.max(where=possible, initial=-np.inf)
    rounding = 1e-12 * np.maximum(np.abs(low), np.abs(high))  # equal scores, weighted and added up
    return low, np.where(high - low > rounding, high, low)


def _credits(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Values of the majority-vote credit, and their probabilities (prompt, query, scale, value).

    The recurrence of `sim.kernels.majority`, kept apart by the number of answers tied with the right one. Losing is
    added up like winning, by the most votes of another answer: one minus the rest would lose what is rarer than 1e-16.
    """
    answers = answer_probs(law)
    flat = normal_rows(answers)
    gold, others = flat[:, GOLD], -np.sort(-flat[:, 1:], axis=1)
    others = others[:, : max(1, np.count_nonzero(others, axis=1).max(initial=0))]
    top, rate = law.max_scale, law.max_scale / 2
    gold_weight, rest_weight = poisson(rate * gold, top), poisson(rate * others.sum(axis=1), top)
    rivals = [poisson(rate * p, top) for p in others.T]
    wins = np.zeros((min(len(rivals), top - 1) + 1, top + 1, len(gold)))  # tied rivals, votes, row
    for m in range(1, top + 1):
        if m <= top // 2:
            ways = rival_ways(rivals, m, top - m)
            wins[: len(ways), m : m + ways.shape[1]] += gold_weight[m] * ways
        else:
            wins[0, m:] += gold_weight[m] * rest_weight[: top - m + 1]
    lost = _lost(gold, others, rivals, top)
    votes = poisson(np.array([rate]), top)[1:]
    wins, lost = wins[:, 1:] / votes, lost[1:] / votes
    credit = 1 / (np.arange(len(wins)) + 1.0)
    if law.tie == "half" and len(wins) > 1:
        wins, credit = np.stack([wins[0], wins[1:].sum(axis=0)]), np.array([1.0, 0.5])
    table = np.concatenate([lost[None], wins])
    return np.concatenate([[0.0], credit]), np.moveaxis(table, 0, 2).swapaxes(0, 1).reshape(
        *answers.shape[:2], top, len(table)
    )


def _lost(gold: np.ndarray, others: np.ndarray, rivals: list[np.ndarray], top: int) -> np.ndarray:
    """Weight of all tapes of N votes on which some other answer has more than the right one, (N, row).

    Args:
        gold: probability of the right answer, (row,).
        others: of the others, (row, rival).
        rivals: Poisson weights of their counts.
        top: largest N.
    """
    rate = top / 2
    gold_weight = poisson(rate * gold, top)
    lost = np.zeros((top + 1, len(gold)))
    for m in range(1, top // 2 + 1):  # the most votes of another answer
        ways = rival_ways(rivals, m, top)[1:].sum(axis=0)
        for votes in range(m):
            lost[votes:] += gold_weight[votes] * ways[: top + 1 - votes]
    for j, weight in enumerate(rivals):
        rest = poisson(rate * (gold + np.delete(others, j, axis=1).sum(axis=1)), top)
        for m in range(top // 2 + 1, top + 1):  # more than half of any N: the rest may fall as it will
            lost[m:] += weight[m] * rest[: top - m + 1]
    return lost
