"""Agnostic choice of prompts: when the inference strategy may be ignored, and the loss where it may not.

The agnostic utility of N completions of a prompt is R_IA = (1/N) sum_i s(y_i) - cost, with s the weighted score of one
completion (for a voted objective, its weight times 1[right]) and the cost of one completion. Proposition: if the
utility R of the strategy is a positive affine transform of R_IA, with the same constants for all prompts, the
agnostically best prompt is best. The mean is such a transform; majority vote and best of N are not.

Which strategies are, on a given world, is decided exactly here (proofs.md, section 8): the task reward is an affine
function of the mean score on every possible tape of N completions if and only if it *equals* the mean score there,
which is so if and only if

* N <= 2, or no prompt mixes right and wrong answers on a query (majority vote; two votes give the mean credit), and
* N = 1, or no prompt mixes different best-of-N scores on a query (best of N).

Source: Mahmud et al. (arXiv 2508.10030), section 3, which states the proposition and that MV and BoN are not affine.

    >>> from sim import envs
    >>> from theory import agnostic, values
    >>> data = envs.get("crossover").data
    >>> agnostic.affinity(data, 0, 3).affine
    False
    >>> agnostic.losses(values(data)).single.round(4).tolist()
    [0.1238]
"""

from functools import singledispatch
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from sim import evaluate
from sim.constants import GOLD
from sim.core import Environment
from sim.envs.dataset import Dataset
from sim.envs.tabular import TabularWorld
from sim.utilities import tasks_of
from theory.blocks.law import Law, law_of_data, law_of_world
from theory.exact import query_law
from theory.reward_laws import IMPOSSIBLE
from theory.truth import finite

_ROUNDING = 1e-9
"""Share of the values by which they may be off and still be called affine, or constant."""


class Affinity(NamedTuple):
    """Whether R = slope * R_IA + intercept, slope > 0, for every prompt at one scale.

    Attributes:
        affine: whether it is so on every tape that can occur.
        slope, intercept: the constants; NaN where there are none.
        reason: one sentence that says why.
    """

    affine: bool
    slope: float
    intercept: float
    reason: str


class Losses(NamedTuple):
    """Losses of choosing the prompt agnostically, per context; expectations over random ties.

    Attributes:
        prompt: an agnostically best prompt (the first where several are).
        best: value of the best arm.
        fixed: loss at each scale against the best prompt at that scale.
        single: loss of deploying it with one completion, against the best arm.
        tuned: loss of tuning the scale afterwards for that prompt, against the best arm.
    """

    prompt: Int[np.ndarray, " context"]
    best: Float64[np.ndarray, " context"]
    fixed: Float64[np.ndarray, "context scale"]
    single: Float64[np.ndarray, " context"]
    tuned: Float64[np.ndarray, " context"]


def affinity(
    world: Dataset | Environment, context: int, scale: int, ids: Int[np.ndarray, " id"] | None = None
) -> Affinity:
    """Whether the utility of N completions is a positive affine transform of the agnostic utility on this world.

    Args:
        world: a finite environment with any mix of aggregates, at rest or as drawn for a trial; of a type of one's own
            where `theory.truth.finite` knows its tables.
        context: whose weights and cost.
        scale: N.
        ids: the queries of the split; all queries when None.

    Raises:
        ValueError: the world is not finite, or has no such context or scale.
    """
    return _affinity(_facts(world, ids), context, scale)


def affinities(world: Dataset | Environment, context: int, ids: Int[np.ndarray, " id"] | None = None) -> list[Affinity]:
    """`affinity` at every scale, 1 to Nmax."""
    facts = _facts(world, ids)
    return [_affinity(facts, context, scale) for scale in range(1, facts.law.max_scale + 1)]


def agnostic_values(
    values: Float64[np.ndarray, "context prompt scale"],
) -> Float64[np.ndarray, "context prompt"]:
    """E R_IA of every prompt: the value of a single completion."""
    return values[:, :, 0]


def losses(
    values: Float64[np.ndarray, "context prompt scale"],
    train: Float64[np.ndarray, "context prompt scale"] | None = None,
) -> Losses:
    """Exactly what the agnostic choice of prompt costs.

    Args:
        values: `theory.exact.values` that the choice is scored by, of any environment.
        train: the values that prompts (and scales) are chosen by; the same when None.
    """
    seen = values if train is None else train
    tie = evaluate.tolerance(seen)[:, None]
    agnostic = agnostic_values(seen)
    chosen = agnostic >= agnostic.max(axis=1, keepdims=True) - tie
    chance = chosen / chosen.sum(axis=1, keepdims=True)
    best = values.max(axis=(1, 2))
    deployed = np.einsum("cp,cpn->cn", chance, values)
    tuned = seen >= seen.max(axis=2, keepdims=True) - tie[..., None]
    tuned_value = np.einsum("cp,cpn,cpn->c", chance, tuned / tuned.sum(axis=2, keepdims=True), values)
    return Losses(
        prompt=chosen.argmax(axis=1),
        best=best,
        fixed=values.max(axis=1) - deployed,
        single=best - deployed[:, 0],
        tuned=best - tuned_value,
    )


class _Facts(NamedTuple):
    """What the checker looks at: the law, which outcomes can occur, task and factor of each context, costs."""

    law: Law
    possible: np.ndarray
    task: tuple[int, ...]
    factor: np.ndarray
    cost: np.ndarray


@singledispatch
def _facts(world: Environment, ids: np.ndarray | None) -> _Facts:
    tables = finite(world)
    if tables is None:
        raise ValueError(f"a {type(world).__name__} has no tables, by which alone this is decided")
    return _facts_of_tables(tables, ids)


@_facts.register(Dataset)
def _facts_at_rest(world: Dataset, ids: np.ndarray | None) -> _Facts:
    law, tasks = law_of_data(world), tasks_of(world.objective_weights)
    possible = law.probs * (query_law(world, ids)[:, None] > 0) > 0
    return _Facts(law, possible, tasks.index, tasks.factor, world.cost_weights[:, None] * world.costs)


def _facts_of_tables(world: TabularWorld, ids: np.ndarray | None) -> _Facts:
    law, spec = law_of_world(world), world.known
    asked = np.zeros((law.probs.shape[1], 1), bool)
    asked[slice(None) if ids is None else ids] = True
    possible = (law.probs > IMPOSSIBLE) & asked
    factor, cost = np.asarray(spec.task_weight, np.float64), np.asarray(spec.cost, np.float64)
    return _Facts(law, possible, spec.task, factor, cost)


def _affinity(facts: _Facts, context: int, scale: int) -> Affinity:
    law, possible = facts.law, facts.possible
    if not 0 <= context < len(facts.task) or not 1 <= scale <= law.max_scale:
        raise ValueError(
            f"the world has contexts 0 to {len(facts.task) - 1} and scales 1 to {law.max_scale}; "
            f"got context {context} and scale {scale}"
        )
    weights = law.weights[facts.task[context]]
    witness = _mixture(law, weights, possible, scale)
    if witness:
        return Affinity(False, np.nan, np.nan, witness)
    # The task reward is the mean score: what is left is how the cost enters, (s - c_p) -> (s - N c_p).
    cost = facts.cost[context]
    if scale == 1 or _same(cost):
        reason = "a single completion" if scale == 1 else "the reward is the mean score, and all prompts cost the same"
        return Affinity(True, 1.0, float((1 - scale) * cost[0]), reason)
    score = facts.factor[context] * _scores(law, weights)
    low = score.min(axis=(1, 2), where=possible, initial=np.inf)
    high = score.max(axis=(1, 2), where=possible, initial=-np.inf)
    agnostic = np.concatenate([low - cost, high - cost])
    utility = np.concatenate([low, high]) - scale * np.tile(cost, 2)
    first, last = int(agnostic.argmin()), int(agnostic.argmax())
    if not _same(agnostic):
        slope = (utility[last] - utility[first]) / (agnostic[last] - agnostic[first])
        intercept = utility[first] - slope * agnostic[first]
        if slope > 0 and np.abs(utility - slope * agnostic - intercept).max() <= _ROUNDING * np.abs(utility).max():
            return Affinity(True, float(slope), float(intercept), "scores and costs happen to lie on one line")
    return Affinity(False, np.nan, np.nan, f"prompts differ in cost, which {scale} completions multiply")


def _same(values: np.ndarray) -> bool:
    """Whether numbers differ by rounding only."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def _mixture(law: Law, weights: np.ndarray, possible: np.ndarray, scale: int) -> str | None:
    """A prompt and query on which the reward of N completions is not their mean score, as a sentence."""
    for how in law.used:
        columns = law.columns(how)
        if how == "mv" and scale > 2 and weights[columns[0]] != 0:
            right = np.broadcast_to(_right(law), possible.shape)
            mixed = (right & possible).any(axis=2) & (~right & possible).any(axis=2)
            what = f"a majority of {scale} votes is not their mean: right and wrong answers mix"
        elif how == "bon" and scale > 1 and law.values is not None:
            score = np.broadcast_to(law.values[..., columns] @ weights[columns], possible.shape)
            low = score.min(axis=2, where=possible, initial=np.inf)
            high = score.max(axis=2, where=possible, initial=-np.inf)
            mixed = high - low > _ROUNDING * np.maximum(np.abs(low), np.abs(high))
            what = f"the best of {scale} is not their mean: different scores mix"
        else:
            continue
        if mixed.any():
            prompt, query = np.argwhere(mixed)[0]
            return f"{what} on query {query} under prompt {prompt}"
    return None


def _scores(law: Law, weights: np.ndarray) -> np.ndarray:
    """Weighted score of every completion, (prompt, query, outcome)."""
    total = np.zeros(law.probs.shape)
    for how in law.used:
        columns = law.columns(how)
        if how == "mv":
            total = total + weights[columns[0]] * _right(law)
        elif law.values is not None:
            total = total + law.values[..., columns] @ weights[columns]
    return total


def _right(law: Law) -> np.ndarray:
    """Mask of the outcomes that give the right answer."""
    if law.values is None:
        return np.arange(law.probs.shape[2]) == GOLD
    return law.values[..., law.columns("mv")[0]] == GOLD
