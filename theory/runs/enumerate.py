"""Exact error probabilities: Sequential Halving on independent arms, and every run of a small world.

`enumerate_runs` follows a run round by round through every outcome of every pull and every order of ties; states that
agree are made one, so that what grows is the number of distinct states and not of tapes. It drives the algorithm by
its own init, allocate, update and recommend, and scores pulls by the plain version of the reward, so that agreement
with `sim.engine.runner.run_trials` checks the kernels in between.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, Int

from sim import evaluate
from sim.core import Algorithm, Allocation, Spec
from sim.engine import runner
from sim.envs.dataset import Dataset
from theory import exact
from theory.runs.draws import Draws
from theory.runs.halving import HalvingError, halving_error, halving_pulls, sequential_halving_error, top_set_law
from theory.runs.pull_laws import PullLaws, check_queries
from theory.runs.rows import merge, pick, size

__all__ = [
    "HalvingError",
    "Runs",
    "enumerate_runs",
    "failure_probability",
    "halving_error",
    "halving_pulls",
    "sequential_halving_error",
    "top_set_law",
]

MAX_BRANCHES = 2_000_000


class Runs(NamedTuple):
    """The exact law of what a run answers and spends; entries are distinct.

    Attributes:
        prompt: recommended prompt in each context.
        scale: recommended scale in each context, from 1.
        spent: completions spent.
        probability: sums to 1.
    """

    prompt: Int[np.ndarray, "outcome context"]
    scale: Int[np.ndarray, "outcome context"]
    spent: Int[np.ndarray, " outcome"]
    probability: Float64[np.ndarray, " outcome"]


def enumerate_runs(data: Dataset, algorithm: Algorithm, budget: int, ids: Int[np.ndarray, " id"] | None = None) -> Runs:
    """The exact law of the policy and the spending of one run.

    All that the algorithm draws is averaged over, exactly: orders of ties, a context, an arm by weights. Pulls follow
    the float64 tables; the simulator's 32-bit thresholds differ by 2**-33.

    Args:
        data: a small finite world.
        algorithm: any algorithm that draws by the functions of `sim.draws`; words used in another way are refused.
        budget: completions T.
        ids: the training queries; all when None.

    Raises:
        ValueError: the algorithm uses random words in another way, the budget is too small for it, or the world is
            too large.
    """
    spec = data.environment().spec
    if algorithm.sees_truth:
        truth = jnp.asarray(exact.values(data, ids), jnp.float32)
        spec = eqx.tree_at(lambda s: s.truth, spec, truth, is_leaf=lambda leaf: leaf is None)
    runner.check_budget(algorithm, spec, budget)
    check_queries(algorithm)
    laws = PullLaws(data, exact.query_law(data, ids), algorithm)
    steps = _Steps(algorithm, spec)
    state = jax.tree.map(lambda leaf: np.asarray(leaf)[None], algorithm.init(spec, jnp.int32(budget)))
    spent, chance = np.zeros(1, np.int64), np.ones(1)
    ended = []
    while True:
        over = steps.finished(state)
        ended.append((pick(state, over), spent[over], chance[over]))
        state, spent, chance = pick(state, ~over), spent[~over], chance[~over]
        if len(chance) == 0:
            break
        state, spent, chance = _one_round(steps, laws, state, spent, chance)
    states, spents, chances = zip(*ended, strict=True)
    state = jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
    spent, chance = np.concatenate(spents), np.concatenate(chances)
    origin, policy, weight = steps.recommend.branch(state)
    spent, policy, chance = merge(spent[origin], policy, weight * chance[origin])
    return Runs(policy.prompt, policy.scale, spent, chance)


def failure_probability(
    runs: Runs, values: Float[np.ndarray, "context prompt scale"], tolerance: float = 0.0
) -> tuple[float, Float64[np.ndarray, " context"]]:
    """Probability that the answer falls short of the best value: in any context, and in each.

    Args:
        runs: the law of the policy.
        values: exact value of every arm (`theory.exact.values`).
        tolerance: regret that still counts as right.
    """
    contexts = np.arange(values.shape[0])
    regret = exact.gaps(values)[contexts, runs.prompt, runs.scale - 1]
    wrong = regret > tolerance + evaluate.tolerance(values)
    return float(runs.probability[wrong.any(axis=1)].sum()), runs.probability @ wrong


class _Steps:
    """An algorithm's four steps on many states at once, averaged over its own draws."""

    def __init__(self, algorithm: Algorithm, spec: Spec) -> None:
        name = type(algorithm).__name__
        self.common = algorithm.queries == "common"
        self.is_over = jax.jit(jax.vmap(lambda state: algorithm.finished(spec, state)))
        self.allocate = Draws(lambda key, state: algorithm.allocate(key, spec, state), name)
        self.update = Draws(lambda key, given: algorithm.update(key, spec, *given), name)
        self.recommend = Draws(lambda key, state: algorithm.recommend(key, spec, state), name)

    def finished(self, states: Any) -> np.ndarray:
        """Which of the states are final."""
        rows = np.arange(2 ** int(np.ceil(np.log2(size(states)))))  # padded to few sizes: fewer compilations
        return np.asarray(self.is_over(pick(states, np.minimum(rows, size(states) - 1))))[: size(states)]


def _one_round(
    steps: _Steps, laws: PullLaws, state: Any, spent: np.ndarray, chance: np.ndarray
) -> tuple[Any, np.ndarray, np.ndarray]:
    """States after one more round of allocate, pull and update."""
    origin, allocations, weight = steps.allocate.branch(state)
    chance = chance[origin] * weight
    plan = np.stack([leaf for leaf in allocations], axis=1)
    plans, group = np.unique(plan.reshape(len(plan), -1), axis=0, return_inverse=True)
    found = []
    for number, leaves in enumerate(plans.reshape(-1, *plan.shape[1:])):
        allocation = Allocation(*leaves)
        stats, probability = laws.stats(allocation, steps.common)
        members = np.flatnonzero(group.ravel() == number)
        if len(members) * len(probability) > MAX_BRANCHES:
            raise ValueError(
                f"one round has more than {MAX_BRANCHES} branches; exact enumeration needs a smaller budget or world"
            )
        which = np.repeat(members, len(probability))
        result = np.tile(np.arange(len(probability)), len(members))
        given = (pick(state, origin[which]), pick(allocations, which), pick(stats, result))
        rows, following, weight = steps.update.branch(given)
        cost = int(allocation.completions)
        weight = weight * chance[which[rows]] * probability[result[rows]]
        found.append(merge(spent[origin[which[rows]]] + cost, following, weight))
    spents, states, chances = zip(*found, strict=True)
    state = jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
    spent, state, chance = merge(np.concatenate(spents), state, np.concatenate(chances))
    return state, spent, chance
