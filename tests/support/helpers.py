"""What several test files share: one rule for statistical tests, tiny worlds and scripted worlds."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import stats

from sim import instances
from sim.conformance.arena import arena as arena
from sim.conformance.arena import same as same
from sim.core import Algorithm, Environment, Key, Pull, Queries, Source, Spec
from sim.engine import runner
from sim.engine.turn import Observe
from sim.envs.dataset import Dataset
from sim.envs.tabular import TabularWorld
from sim.kernels import completions, counter, subsets
from sim.raw import Raw, Rewards
from sim.utilities import Strategy

SIGMAS = 5
"""Standard errors within which an estimate must agree."""
TAIL = float(2 * stats.norm.sf(SIGMAS))
"""Probability that a correct estimate fails."""


def agrees(estimate: Any, exact: Any, se: Any) -> bool:
    """Whether |estimate - exact| <= 5 standard errors, everywhere."""
    return bool(np.all(np.abs(np.asarray(estimate, np.float64) - exact) <= SIGMAS * np.asarray(se, np.float64)))


def chi_square(observed: np.ndarray, expected: Any) -> bool:
    """Whether counts of independent draws agree with their expectations: the same tail as `agrees`."""
    observed = np.asarray(observed, np.float64)
    expected = np.broadcast_to(expected, observed.shape)
    return bool(((observed - expected) ** 2 / expected).sum() <= stats.chi2.isf(TAIL, observed.size - 1))


def majority(seed: int = 0, queries: int = 4, weighted: bool = False) -> Dataset:
    """Majority voting: 3 prompts, 3 answers, N <= 4, three cost levels, prompts of different cost."""
    rng = np.random.default_rng(seed)
    return Dataset(
        name="majority",
        aggregate=("mv",),
        probs=rng.dirichlet(np.ones(3), (3, queries)),
        answers=rng.integers(0, 3, queries),
        objective_weights=np.ones((3, 1)),
        cost_weights=np.array([0.0, 0.4, 1.0]),
        costs=np.array([0.03, 0.05, 0.11]),
        max_scale=4,
        query_weights=rng.uniform(1, 3, queries) if weighted else None,
    )


def best_of(seed: int = 0) -> Dataset:
    """Best of N over two objectives: two tasks in four contexts, 3 prompts, 4 outcomes, N <= 4."""
    rng = np.random.default_rng(seed)
    return Dataset(
        name="best-of",
        aggregate=("bon", "bon"),
        probs=rng.dirichlet(np.ones(4), (3, 5)),
        values=rng.uniform(-1, 1, (3, 5, 4, 2)),
        objective_weights=np.array([[0.9, 0.1], [0.3, 0.7], [1.8, 0.2], [0.3, 0.7]]),
        cost_weights=np.array([0.0, 0.5, 1.0, 2.0]),
        costs=np.array([0.03, 0.05, 0.11]),
        max_scale=4,
    )


def mixed(seed: int = 0) -> Dataset:
    """A vote, a best-of and a mean objective together, on 5 queries of different weight, N <= 4."""
    rng = np.random.default_rng(seed)
    values = np.stack([rng.integers(0, 3, (3, 5, 4)), *rng.uniform(-1, 2, (2, 3, 5, 4))], axis=-1)
    return Dataset(
        name="mixed",
        aggregate=("mv", "bon", "mean"),
        probs=rng.dirichlet(np.ones(4), (3, 5)),
        values=values.astype(np.float64),
        answers=rng.integers(0, 3, 5),
        objective_weights=np.array([[1.0, 0.5, 0.2], [2.0, 1.0, 0.4], [0.1, 1.0, -0.3]]),
        cost_weights=np.array([0.0, 0.5, 1.0]),
        costs=np.array([0.03, 0.05, 0.11]),
        max_scale=4,
        query_weights=rng.uniform(1, 3, 5),
    )


class Given(Source):
    """One world with a given split for every trial."""

    environment: Environment
    context_probs: Float[Array, " context"]
    train: Queries
    test: Queries

    def world(self, key: Key) -> Environment:
        return self.environment

    def split(self, key: Key) -> tuple[Queries, Queries]:
        return self.train, self.test


def given(data: Dataset, train: np.ndarray | None = None, test: np.ndarray | None = None) -> Given:
    """Trials on given training and test queries; by default all queries for both."""
    everything = np.arange(data.num_queries)
    parts = [data.queries(everything if ids is None else ids) for ids in (train, test)]
    return Given(data.environment(), jnp.asarray(data.context_distribution, jnp.float32), *parts)


class Drawn(Source):
    """A fresh majority-vote world for every trial, of the shape and strategy of a given one."""

    fresh: ClassVar[bool] = True

    like: TabularWorld
    context_probs: Float[Array, " context"]

    def world(self, key: Key) -> Environment:
        *shape, last = self.like.thresholds.shape
        raw = counter.uniform(counter.fold(key, 1), (*shape, last + 1)) ** 2
        cost = counter.uniform(counter.fold(key, 2), self.like.known.cost.shape) * jnp.float32(0.2)
        below = jnp.cumsum(raw / jnp.sum(raw, axis=-1, keepdims=True), axis=-1)[..., :-1]
        thresholds = jnp.minimum(below * 2.0**24, 2.0**24 - 1).astype(jnp.uint32) << 8
        return eqx.tree_at(lambda w: (w.thresholds, w.known.cost), self.like, (thresholds, cost))

    def split(self, key: Key) -> tuple[Queries, Queries]:
        order = counter.permutation(key, self.like.num_queries)
        return Queries(order[1:]), Queries(order[:1])


def drawn(data: Dataset) -> Drawn:
    """Fresh worlds of the shape of a majority-vote data set."""
    return Drawn(data.environment(), jnp.asarray(data.context_distribution, jnp.float32))


class Scripted(Environment):
    """Answers from a tape: a prompt's completions on a query are always the same."""

    tape: Float[Array, "prompt query max_scale objective"]
    strategy: Strategy
    known: Spec

    @property
    def spec(self) -> Spec:
        return self.known

    @property
    def num_queries(self) -> int:
        return self.tape.shape[1]

    def pull(self, key: Key, prompt: Int[Array, ""], query: Int[Array, ""], scale: Int[Array, ""]) -> Pull:
        return Pull(prompt, query, scale, self.tape[prompt, query])

    def block_units(self, pull: Pull, estimator: str = "blocks") -> Int[Array, "task num_scales"]:
        return subsets.one_pull(self.strategy, pull, estimator, self.known.max_scale)

    def raw(self, pull: Pull) -> Raw:
        return completions.one(self.strategy, pull)


def scripted(tape: np.ndarray, like: Dataset) -> Scripted:
    """A world that replays `tape`, with the contexts, costs and strategy of a data set; gold answers are 0."""
    world = like.environment()
    return Scripted(jnp.asarray(world.strategy.measured(np.asarray(tape, np.float64))), world.strategy, world.known)


def make_spec(
    num_prompts: int,
    max_scale: int,
    cost: np.ndarray | None = None,
    task: tuple[int, ...] = (0,),
    unit: float = 2.0**-16,
) -> Spec:
    """What a learner knows of a world that need not exist."""
    num_contexts = len(task)
    cost = np.zeros((num_contexts, num_prompts)) if cost is None else cost
    return Spec(
        num_contexts=num_contexts,
        num_prompts=num_prompts,
        max_scale=max_scale,
        task=task,
        task_weight=jnp.ones(num_contexts, jnp.float32),
        cost=jnp.asarray(cost, jnp.float32),
        unit=jnp.full(max(task) + 1, unit, jnp.float32),
        grid=jnp.full(num_contexts, unit / 16, jnp.float32),
        offset=jnp.zeros((2, num_contexts), jnp.float32),
        spared=jnp.zeros(num_contexts, jnp.float32),
        excess=jnp.zeros((num_contexts, num_prompts), jnp.float32),
        rewards=Rewards(("mv",), 2, "uniform", jnp.ones(max(task) + 1, jnp.float32)),
    )


def host_trials(
    source: Source, algorithm: Algorithm, budget: int, seed: int, trials: int, observe: Observe | None = None
) -> runner.Trials:
    """`runner.run_trials` by the host loop."""
    rows = []
    for number in range(trials):
        key = instances.trial_key(seed, number)
        world, train, _ = instances.instance(source, key)
        found = runner.run_trial(world, train, algorithm, budget, counter.fold(key, instances.RUN), observe)
        rows.append(runner.Trials(*found.policy, found.spent, found.seen))  # pyright: ignore
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *rows)


def bernoulli(means: list[float]) -> Dataset:
    """Prompts that are right with the given probabilities; one completion a pull."""
    success = np.array(means)[:, None]
    return Dataset(
        name="bernoulli",
        aggregate=("mv",),
        probs=np.stack([success, 1 - success], axis=2),
        answers=np.zeros(1, int),
        objective_weights=np.ones((1, 1)),
        cost_weights=np.zeros(1),
        costs=np.zeros(len(means)),
        max_scale=1,
    )
