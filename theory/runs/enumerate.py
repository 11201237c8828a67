"""Exact error probabilities: Sequential Halving on independent arms, and every run of a small world.

`enumerate_runs` follows a run round by round through every outcome of every pull and every order of ties; states that
agree are made one, so that what grows is the number of distinct states and not of tapes. It drives the algorithm by
the body of a round that all loops share (`sim.engine.turn`), and scores pulls by the plain version of the reward, so
that agreement with `sim.engine.runner.run_trials` checks the kernels in between.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, Int

from sim import evaluate
from sim.core import Algorithm, Allocation, Spec
from sim.engine import runner, turn
from sim.engine.turn import Observe, Observer
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
        seen: what was observed of every round, leading axes outcome and round, as in `sim.engine.turn.Observer`; None
            where nobody looked.
    """

    prompt: Int[np.ndarray, "outcome context"]
    scale: Int[np.ndarray, "outcome context"]
    spent: Int[np.ndarray, " outcome"]
    probability: Float64[np.ndarray, " outcome"]
    seen: Any = None


def enumerate_runs(
    data: Dataset,
    algorithm: Algorithm,
    budget: int,
    ids: Int[np.ndarray, " id"] | None = None,
    observe: Observe | None = None,
) -> Runs:
    """The exact law of the policy and the spending of one run.

    All that the algorithm draws is averaged over, exactly: orders of ties, a context, an arm by weights. Pulls follow
    the float64 tables; the simulator's 32-bit thresholds differ by 2**-33.

    Args:
        data: a small finite world.
        algorithm: any algorithm that draws by the functions of `sim.draws`; words used in another way are refused.
        budget: completions T.
        ids: the training queries; all when None.
        observe: looks at every round, as in `sim.engine.runner.run_trials`; entries are as many as its rounds.

    Raises:
        ValueError: the algorithm uses random words in another way, the budget is too small for it, or the world is
            too large.

    Example:
        >>> from sim import algorithms, envs
        >>> from theory import enumerate_runs
        >>> runs = enumerate_runs(envs.get("two-arm").data, algorithms.get("uniform"), 4)
        >>> runs.prompt[:, 0].tolist(), round(float(runs.probability.sum()), 12)
        ([0, 1], 1.0)
    """
    spec = data.environment().spec
    runner.check_budget(algorithm, spec, budget)
    check_queries(algorithm)
    laws = PullLaws(data, exact.query_law(data, ids), algorithm)
    observer = runner.observer_of(algorithm, spec, budget, observe)
    steps = _Steps(algorithm, spec, observer)
    first = turn.begin(algorithm, spec, jnp.int32(budget), None, observer)
    at, chance = jax.tree.map(lambda leaf: np.asarray(leaf)[None], first), np.ones(1)
    ended = []
    while True:
        over = steps.finished(at)
        ended.append((pick(at, over), chance[over]))
        at, chance = pick(at, ~over), chance[~over]
        if len(chance) == 0:
            break
        at, chance = _one_round(steps, laws, at, chance)
    turns, chances = zip(*ended, strict=True)
    at = jax.tree.map(lambda *leaves: np.concatenate(leaves), *turns)
    chance = np.concatenate(chances)
    origin, trial, weight = steps.answer.branch(at)
    _, trial, chance = merge(np.zeros(len(origin), np.int64), trial, weight * chance[origin])
    return Runs(trial.policy.prompt, trial.policy.scale, trial.spent.astype(np.int64), chance, trial.seen)


def failure_probability(
    runs: Runs, values: Float[np.ndarray, "context prompt scale"], tolerance: float = 0.0
) -> tuple[float, Float64[np.ndarray, " context"]]:
    """Probability that the answer falls short of the best value: in any context, and in each.

    Args:
        runs: the law of the policy.
        values: exact value of every arm (`theory.exact.values`).
        tolerance: regret that still counts as right.

    Example:
        >>> from sim import algorithms, envs
        >>> from theory import enumerate_runs, failure_probability, values
        >>> data = envs.get("two-arm").data
        >>> anywhere, by_context = failure_probability(enumerate_runs(data, algorithms.get("uniform"), 2), values(data))
        >>> round(anywhere, 6)  # one pull of each: .45 * .45 wrong, and half of the ties
        0.45
    """
    contexts = np.arange(values.shape[0])
    regret = exact.gaps(values)[contexts, runs.prompt, runs.scale - 1]
    wrong = regret > tolerance + evaluate.tolerance(values)
    return float(runs.probability[wrong.any(axis=1)].sum()), runs.probability @ wrong


class _Steps:
    """The steps of a round (`sim.engine.turn`) for many runs at once, averaged over the algorithm's own draws."""

    def __init__(self, algorithm: Algorithm, spec: Spec, observer: Observer | None) -> None:
        name, yes = type(algorithm).__name__, jnp.ones((), bool)
        self.common = algorithm.queries == "common"
        self.is_over = jax.jit(jax.vmap(lambda at: ~turn.going(algorithm, spec, at)))
        self.ask = Draws(lambda key, at: turn.ask(algorithm, spec, key, at, yes), name)
        self.tell = Draws(lambda key, given: turn.tell(algorithm, spec, key, *given, observer=observer), name)
        self.answer = Draws(lambda key, at: turn.answer(algorithm, spec, key, at), name)

    def finished(self, turns: Any) -> np.ndarray:
        """Mask of the runs that are over."""
        rows = np.arange(2 ** int(np.ceil(np.log2(size(turns)))))  # padded to few sizes: fewer compilations
        return np.asarray(self.is_over(pick(turns, np.minimum(rows, size(turns) - 1))))[: size(turns)]


def _one_round(steps: _Steps, laws: PullLaws, at: Any, chance: np.ndarray) -> tuple[Any, np.ndarray]:
    """Where runs stand after one more round."""
    origin, allocations, weight = steps.ask.branch(at)
    if allocations.places is not None:
        raise ValueError("an allocation names places of queries; only runs with queries 'common-wor' have them")
    chance = chance[origin] * weight
    plan = np.stack(jax.tree.leaves(allocations), axis=1)
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
        given = (pick(at, origin[which]), pick(allocations, which), pick(stats, result))
        rows, following, weight = steps.tell.branch(given)
        found.append(_merged(following, weight * chance[which[rows]] * probability[result[rows]]))
    turns, chances = zip(*found, strict=True)
    return _merged(jax.tree.map(lambda *leaves: np.concatenate(leaves), *turns), np.concatenate(chances))


def _merged(turns: Any, chance: np.ndarray) -> tuple[Any, np.ndarray]:
    """Runs that stand alike made one, their probabilities added."""
    _, turns, chance = merge(np.zeros(len(chance), np.int64), turns, chance)
    return turns, chance
