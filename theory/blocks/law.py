"""Outcome laws of finite worlds, and the task rewards they give: the tables behind `theory.exact`.

A task's reward is the sum of its aggregates (majority vote, best of N, mean), so that expectations add up even where
one strategy mixes them; for variances see `theory.blocks.mixed`.
"""

from typing import Any, NamedTuple

import numpy as np

from sim.constants import AGGREGATES, GOLD
from sim.envs.dataset import Dataset
from sim.envs.tabular import TabularWorld
from sim.kernels.majority import majority_moments
from sim.kernels.moments import Moments
from sim.utilities import tasks_of
from theory.blocks.best_of_n import average_shared_best_of_n, best_of_n_moments, shared_best_of_n

_BLOCK = 1 << 23
"""Numbers of a per-query table held at once when only its average over queries is wanted."""


class Law(NamedTuple):
    """Outcome laws and how they are scored: the common part of a data set and a drawn world."""

    probs: np.ndarray  # (prompt, query, outcome)
    values: np.ndarray | None  # (outcome, objective) where all rows share them, else (*probs.shape, objective)
    aggregate: tuple[str, ...]
    tie: str
    weights: np.ndarray  # (task, objective)
    max_scale: int

    @property
    def used(self) -> list[str]:
        """The aggregates of this strategy, in a fixed order, in which their rewards are added up."""
        return [how for how in AGGREGATES if how in self.aggregate]

    def columns(self, how: str) -> list[int]:
        """The objectives that are aggregated this way."""
        return [k for k, own in enumerate(self.aggregate) if own == how]

    def prompts(self, part: slice) -> "Law":
        """The same law for some of the prompts."""
        values = self.values
        own = values[part] if values is not None and values.ndim == 4 else values
        return self._replace(probs=self.probs[part], values=own)

    def scores(self, how: str) -> np.ndarray:
        """Weighted sums of the objectives of one aggregate, shape (task, outcome) or (task, *probs.shape)."""
        if self.values is None:
            raise ValueError(f"outcome vectors are missing; an objective aggregated by {how!r} needs them")
        columns = self.columns(how)
        return np.moveaxis(self.values[..., columns] @ self.weights[:, columns].T, -1, 0)


def law_of_data(data: Dataset) -> Law:
    """The law of a data set, right answers first."""
    probs, values = data.gold_first()
    weights = tasks_of(data.objective_weights).directions
    return Law(np.asarray(probs, np.float64), _table(values), data.aggregate, data.tie, weights, data.max_scale)


def law_of_world(world: TabularWorld) -> Law:
    """The law that a world's thresholds sample: completions fall into a category when their word is below its end."""
    below = np.asarray(world.thresholds) * 2.0**-32
    probs = np.diff(below, axis=-1, prepend=0.0, append=1.0)
    strategy = world.strategy
    weights = np.asarray(strategy.weights, np.float64)
    return Law(probs, _table(world.atoms), strategy.aggregate, strategy.tie, weights, world.known.max_scale)


def per_query(law: Law) -> np.ndarray:
    """Expected task reward on every query: the sum over the aggregates."""
    shape = (len(law.weights), *law.probs.shape[:2], law.max_scale)
    total = np.zeros(shape)
    for how in law.used:
        total += aggregate_moments(law, how).mean
    return total


def averages(law: Law, laws: np.ndarray) -> np.ndarray:
    """Mean task rewards (split, task, prompt, scale) under query laws (split, query), a few prompts at a time."""
    num_prompts, num_queries = law.probs.shape[:2]
    means = np.zeros((len(laws), len(law.weights), num_prompts, law.max_scale))
    step = max(1, _BLOCK // (len(law.weights) * num_queries * law.max_scale))
    for start in range(0, num_prompts, step):
        part = slice(start, start + step)
        some = law.prompts(part)
        for how in law.used:
            if how == "bon" and (scores := some.scores(how)).ndim == 2:
                means[:, :, part] += average_shared_best_of_n(scores, some.probs, laws, law.max_scale)
            else:
                means[:, :, part] += np.moveaxis(np.matmul(laws, aggregate_moments(some, how).mean), 2, 0)
    return means


def aggregate_moments(law: Law, how: str) -> Moments:
    """Moments (task, prompt, query, scale) of the part of the reward that one aggregate gives."""
    if how == "mv":
        credit = majority_moments(answer_probs(law), law.max_scale, law.tie)
        weights = law.weights[:, law.columns(how)[0], None, None, None]
        return Moments(weights * credit.mean, weights**2 * credit.variance)
    scores = law.scores(how)
    if how == "bon":
        if scores.ndim == 2:
            return shared_best_of_n(scores, law.probs, law.max_scale)
        found = [best_of_n_moments(score, law.probs, law.max_scale) for score in scores]
        return Moments(np.stack([one.mean for one in found]), np.stack([one.variance for one in found]))
    scores = scores[:, None, None] if scores.ndim == 2 else scores
    probs = law.probs / law.probs.sum(axis=-1, keepdims=True)
    mean = (probs * scores).sum(axis=-1, keepdims=True)
    spread = (probs * (scores - mean) ** 2).sum(axis=-1, keepdims=True)
    scales = np.arange(1, law.max_scale + 1)
    return Moments(mean + 0 * scales, spread / scales)


def answer_probs(law: Law) -> np.ndarray:
    """Probabilities per answer (prompt, query, answer), the right one first.

    Outcomes with the same label are one answer. Every label keeps the place of its first outcome, plus one, so that
    the table stays small however large the labels are; credit does not depend on the order of the wrong answers.
    """
    if law.values is None:
        return law.probs
    labels = np.broadcast_to(law.values[..., law.columns("mv")[0]], law.probs.shape)
    answers = np.zeros((*law.probs.shape[:2], law.probs.shape[2] + 1))
    answers[..., GOLD] = np.where(labels == GOLD, law.probs, 0).sum(axis=-1)
    for outcome in range(labels.shape[-1]):
        same = labels == labels[..., outcome, None]
        first = (labels[..., outcome] != GOLD) & ~same[..., :outcome].any(axis=-1)
        answers[..., outcome + 1] = np.where(first, (law.probs * same).sum(axis=-1), 0)
    return answers


def _table(values: Any) -> np.ndarray | None:
    """Outcome vectors in float64, reduced to one list where every prompt and query has the same."""
    if values is None:
        return None
    table = np.asarray(values, np.float64)
    return table[0, 0] if table.ndim == 4 and (table == table[0, 0]).all() else table
