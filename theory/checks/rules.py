"""Algorithms that guarantees are about and that `sim.algorithms` does not name, and a witness of where a run fails."""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from sim.algorithms import psst, successive_rejects, ucb_e, uniform
from sim.algorithms.prompt_halving import PromptHalving
from sim.algorithms.psst import PSST
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Stats
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
    "prompt halving": PromptHalving(0, queries="independent", estimator="blocks"),
    "uniform": uniform.Uniform(),
    "successive rejects": successive_rejects.SuccessiveRejects(),
    "ucb-e": ucb_e.UCBE(),
}
"""What guarantees are about, by the names that tables use."""


def rule_of(name: str, data: Dataset, budget: int) -> Algorithm:
    """The rule of this name as it is run on a world: UCB-E explores as much as its bound allows."""
    rule = RULES[name]
    if not isinstance(rule, ucb_e.UCBE):
        return rule
    problem = problem_of(data)
    most = np.float32(largest_exploration(problem, budget) * problem.width[0] ** 2)
    return replace(rule, exploration=jnp.asarray(np.nextafter(most, np.float32(0))))  # an array: one program for all


def program(name: str) -> str:
    """Static part of a rule's compiled programs: equal for rules that differ in data only."""
    return str(jax.tree.structure(RULES[name]))


class WitnessState(NamedTuple):
    """An algorithm's state, its rounds so far, and the round in which each context lost its right arms (0: none)."""

    own: Any
    rounds: Int[Array, ""]
    fell: Int[Array, " context"]


class Witness(Algorithm):
    """Another algorithm, answering where it failed: `prompt` is 1 for a wrong answer, `scale` the round it fell in.

    The round counts from 1. It is 0 where a right arm was still active at the end.

    Attributes:
        algorithm: what is run, unchanged.
        right: arms that count as right.
    """

    algorithm: Algorithm
    right: Bool[Array, "context arm"]

    @property
    def queries(self) -> str:  # type: ignore[override]
        """As the algorithm."""
        return self.algorithm.queries

    @property
    def estimator(self) -> str:  # type: ignore[override]
        """As the algorithm."""
        return self.algorithm.estimator

    def max_pull(self, spec: Spec) -> int:
        """As the algorithm."""
        return self.algorithm.max_pull(spec)

    def num_rows(self, spec: Spec) -> int:
        """As the algorithm."""
        return self.algorithm.num_rows(spec)

    def min_budget(self, spec: Spec) -> int:
        """As the algorithm."""
        return self.algorithm.min_budget(spec)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> WitnessState:
        """The algorithm's, nothing lost."""
        nothing = jnp.zeros(spec.num_contexts, jnp.int32)
        return WitnessState(self.algorithm.init(spec, budget), jnp.int32(0), nothing)

    def finished(self, spec: Spec, state: WitnessState) -> Bool[Array, ""]:
        """As the algorithm."""
        return self.algorithm.finished(spec, state.own)

    def allocate(self, key: Key, spec: Spec, state: WitnessState) -> Allocation:
        """As the algorithm."""
        return self.algorithm.allocate(key, spec, state.own)

    def update(self, key: Key, spec: Spec, state: WitnessState, allocation: Allocation, stats: Stats) -> WitnessState:
        """The algorithm's, and a look at which right arms were left before: looking after would compile far longer."""
        rounds = state.rounds + (~self.finished(spec, state)).astype(jnp.int32)
        own = self.algorithm.update(key, spec, state.own, allocation, stats)
        return WitnessState(own, rounds, self._fell(spec, state))

    def recommend(self, key: Key, spec: Spec, state: WitnessState) -> Policy:
        """Whether the algorithm's answer is wrong, and the round in which it fell."""
        answer = self.algorithm.recommend(key, spec, state.own)
        arm = answer.prompt * spec.max_scale + answer.scale - 1
        right = jnp.take_along_axis(self.right, arm[:, None], axis=1)[:, 0]
        return Policy((~right).astype(jnp.int32), self._fell(spec, state))

    def _fell(self, spec: Spec, state: WitnessState) -> Int[Array, " context"]:
        """The rounds so far where a context has just lost its last right arm."""
        if isinstance(state.own, psst.State):
            active = psst.active_arms(spec, state.own)
        elif hasattr(state.own, "active"):
            active = state.own.active
        else:
            return state.fell
        each = jnp.repeat(active, self.right.shape[1] // active.shape[1], axis=1)
        lost = ~jnp.any(each & self.right, axis=1)
        return jnp.where((state.fell == 0) & lost, state.rounds, state.fell)


def witness(algorithm: Algorithm, right: Bool[np.ndarray, "context prompt scale"]) -> Witness:
    """The algorithm with a witness.

    Args:
        algorithm: what is run.
        right: arms that count as right.
    """
    return Witness(algorithm, jnp.asarray(right.reshape(len(right), -1)))


def canonical(rule: str, num_prompts: int, num_queries: int, max_scale: int, num_contexts: int) -> str:
    """The rule of `RULES` that gives runs of the same law on worlds of this size and needs no run of its own.

    With Nmax = 1 a pull is a block and prompts are arms; on one query common queries are independent ones; two arms
    take a single round, on all of the budget, by any rule.
    """
    if rule == "psst, common queries" and num_queries == 1:
        rule = "psst, fresh"
    if rule in ("psst, equal pulls", "prompt halving") and max_scale == 1:
        rule = "psst"
    if rule in ("psst", "psst, equal pulls", "uniform", "successive rejects") and num_prompts == 2 and max_scale == 1:
        rule = "psst, fresh"
    return rule
