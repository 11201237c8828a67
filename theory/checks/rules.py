"""Rules that guarantees are about, beyond those that `sim.algorithms` names, and a witness of where a run fails."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from sim.algorithms import successive_rejects, ucb_e, uniform
from sim.algorithms.prompt_halving import PromptHalving
from sim.algorithms.proven_racing import ProvenRacing
from sim.algorithms.psst import PSST
from sim.core import Algorithm, Allocation, Key, Spec, Stats
from sim.envs.dataset import Dataset
from theory.classical import largest_exploration
from theory.problem import problem_of


class PSSTVariant(PSST):
    """PSST in which what it forgets and how it weighs pulls is data: all its variants share one compiled program.

    With both off it is PSST, with `forgets` it is PSST(fresh=True): trial by trial the same answers.

    Attributes:
        forgets: estimate from the last round's pulls only: the algorithm of Theorem A.
        by_pull: every pull counts as one block per scale, whatever its size: on accumulated data the algorithm of
            Theorem B.
    """

    forgets: Any = eqx.field(default=False, converter=jnp.asarray)
    by_pull: Any = eqx.field(default=False, converter=jnp.asarray)

    def update(self, key: Key, spec: Spec, state: Any, allocation: Allocation, stats: Stats) -> Any:
        """The update of PSST, on what counts."""
        forgotten = self.forgets & ~self.finished(spec, state)
        table = jax.tree.map(lambda old: jnp.where(forgotten, jnp.float32(0.0), old), state.table)
        pulls = jnp.minimum(stats.blocks, allocation.pulls[:, None].astype(jnp.float32))
        count = jnp.where(self.by_pull, pulls, stats.blocks)
        share = count / jnp.maximum(stats.blocks, jnp.float32(1.0))
        total = jnp.where(self.by_pull, stats.total * share[:, None, :], stats.total)
        return super().update(key, spec, state._replace(table=table), allocation, Stats(total, count))


RULES: dict[str, Algorithm] = {
    "psst, fresh": PSSTVariant(forgets=True),
    "psst": PSSTVariant(),
    "psst, equal pulls": PSSTVariant(by_pull=True),
    "psst, common queries": PSST(fresh=True, queries="common"),
    "prompt halving": PromptHalving(queries="independent", estimator="blocks"),
    "prompt halving, common queries": PromptHalving(queries="common"),
    "prompt halving, no query twice": PromptHalving(),
    "proven racing": ProvenRacing(queries="common"),
    "proven racing, no query twice": ProvenRacing(),
    "uniform": uniform.Uniform(),
    "successive rejects": successive_rejects.SuccessiveRejects(),
    "ucb-e": ucb_e.UCBE(),
}
"""Rules that guarantees are about, by the names that tables use."""


def rule_of(name: str, data: Dataset, budget: int) -> Algorithm:
    """The rule of this name as it is run on a world: UCB-E explores as much as its bound allows."""
    fit = _FITTED.get(name)
    return RULES[name] if fit is None else fit(data, budget)


def _most_exploring(data: Dataset, budget: int) -> Algorithm:
    problem = problem_of(data)
    most = np.float32(largest_exploration(problem, budget) * problem.width[0] ** 2)
    return ucb_e.UCBE(exploration=jnp.asarray(np.nextafter(most, np.float32(0))))  # an array: one program for all


_FITTED: dict[str, Callable[[Dataset, int], Algorithm]] = {"ucb-e": _most_exploring}
"""Rules whose constants depend on the world and the budget."""


def program(name: str) -> str:
    """Static part of a rule's compiled programs: equal for rules that differ in data only."""
    return str(jax.tree.structure(RULES[name]))


class Witness(eqx.Module):
    """Observe in which contexts the right arms of a run are all lost after a round (`sim.engine.turn.Observe`).

    Attributes:
        algorithm: what is run.
        right: arms that count as right.
    """

    algorithm: Algorithm
    right: Bool[Array, "context arm"]

    def __call__(self, spec: Spec, before: Any, after: Any) -> Bool[Array, " context"]:
        """Whether no right arm is active any more; never where the algorithm drops none."""
        now = self.algorithm.standing(spec, after)
        if now is None or now.active is None:
            return jnp.zeros(len(self.right), bool)
        each = jnp.repeat(now.active, self.right.shape[1] // now.active.shape[1], axis=1)
        return ~jnp.any(each & self.right, axis=1)


def witness(algorithm: Algorithm, spec: Spec, right: Bool[np.ndarray, "context prompt scale"]) -> Witness | None:
    """Observer that sees in which round a run fails; None for a rule that drops no arm before it answers.

    Args:
        algorithm: what is run.
        spec: what it knows of the world.
        right: arms that count as right.
    """
    if algorithm.num_rounds(spec) is None:  # nothing dropped in a round: a budget's worth of rounds need not be kept
        return None
    return Witness(algorithm, jnp.asarray(right.reshape(len(right), -1)))


def fell(lost: Bool[np.ndarray, "run round context"] | None, wrong: Bool[np.ndarray, "run context"]) -> np.ndarray:
    """The round, from 1, after which each context had lost its right arms; 0 where it had not.

    Args:
        lost: what a `Witness` saw; None if nobody looked.
        wrong: whether the answers are wrong, of the shape of the result.
    """
    if lost is None or lost.shape[1] == 0:
        return np.zeros(wrong.shape, np.int64)
    return np.where(lost.any(axis=1), lost.argmax(axis=1) + 1, 0)


def canonical(rule: str, num_prompts: int, num_queries: int, max_scale: int, num_contexts: int) -> str:
    """The rule of `RULES` that gives runs of the same law on worlds of this size and needs no run of its own.

    With Nmax = 1 a pull is a block and prompts are arms; on one query common queries are independent ones; two arms
    take a single round, on all of the budget, by any rule.
    """
    if num_queries == 1:
        same = {"psst, common queries": "psst, fresh", "proven racing, no query twice": "proven racing"}
        rule = same.get(rule, rule).replace("prompt halving, no query twice", "prompt halving, common queries")
    if rule in ("psst, equal pulls", "prompt halving") and max_scale == 1:
        rule = "psst"
    if rule == "prompt halving, common queries" and max_scale == num_queries == 1:
        rule = "psst"
    one_round = ("psst", "psst, equal pulls", "uniform", "successive rejects")
    if num_queries == 1:
        one_round += ("proven racing",)
    if rule in one_round and num_prompts == 2 and max_scale == 1:
        rule = "psst, fresh"
    return rule
