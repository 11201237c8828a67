"""Until sure: its statements against `sim.certify` on the same pulls, whom it pulls, and how often it is wrong."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TAIL, make_spec
from jaxtyping import Float
from scipy import stats
from scipy.linalg import hadamard

from sim import Algorithm, Spec, algorithms
from sim.algorithms import until_sure
from sim.algorithms.until_sure import UntilSure
from sim.certify import Confidence, ContextTerms, QueryEvidence, certify
from sim.certify.statement import FEWEST
from sim.conformance.arena import source_of
from sim.core import Policy, Stats
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.kernels import counter, rounds
from theory import exact

QUERIES, PROMPTS, SCALES = 40, 4, 2
COSTS = np.stack([np.zeros(PROMPTS), np.array([0.3, 0.0, 0.1, 0.0])])
KEYS = jax.vmap(counter.fold, in_axes=(None, 0))(counter.from_seed(0), jnp.arange(64))


def known() -> Spec:
    """Four prompts, N <= 2, 40 queries, two contexts of one task that differ in cost and weight."""
    spec = make_spec(PROMPTS, SCALES, COSTS, task=(0, 0))
    return dataclasses.replace(spec, task_weight=jnp.float32([1.0, 0.5]), num_queries=QUERIES)


@eqx.filter_jit
def turn(rule: Algorithm, spec: Spec, state: Any, key: jax.Array, rewards: jax.Array) -> tuple[Any, Any]:
    """A round in which the pull of prompt p at place x earns rewards[p, x] at every N."""
    ask = rule.allocate(key, spec, state)
    assert ask.places is not None
    blocks = rounds.block_counts(ask, rounds.Pulling.of(rule, spec))
    own = rewards[ask.prompt, ask.places.start + state.places]
    return ask, rule.update(key, spec, state, ask, Stats(own[:, None] * blocks[:, None], blocks))


def evidence(values: Float[np.ndarray, "prompt visit pull scale"], met: np.ndarray) -> QueryEvidence:
    """The same pulls for `certify`: half of the difference of two pulls on a query is the noise of their mean."""
    there = np.arange(values.shape[1]) < met[:, None]
    means = np.where(there[..., None], values.mean(axis=2), np.nan)[None]
    noise = None
    if values.shape[2] == 2:
        noise = np.where(there[..., None, None], (values[:, :, :1] - values[:, :, 1:]) / 2, np.nan)[None]
    contexts = (ContextTerms("free", cost_weight=0.0), ContextTerms("dear", weight=0.5, cost_weight=1.0))
    return QueryEvidence(
        means, np.where(there, SCALES, 0), contexts, COSTS[1], residuals=noise, population=values.shape[1]
    )


@pytest.mark.parametrize("target", ["new", "these"])
def test_reaches_are_those_of_certify(target: str) -> None:
    """Prompt by prompt, at every round, but for rounding; prompts that another than the leader excludes aside.

    The noise of two prompts is orthogonal over every eight queries: `certify` takes their completions for independent.
    """
    rng, pulls = np.random.default_rng(5), 1 + (target == "these")
    chance = rng.uniform(0.2, 0.8, (1, QUERIES, 1, 1)) + np.array([0.12, 0.0, 0.1, -0.2])[:, None, None, None]
    chance = chance + rng.uniform(-0.15, 0.15, (PROMPTS, QUERIES, 1, SCALES))
    signs = hadamard(8)[1 : PROMPTS + 1, np.arange(QUERIES) % 8, None, None] * np.array([1, -1])[:pulls, None]
    values = np.rint((chance + signs * rng.uniform(0.05, 0.2, (PROMPTS, 1, 1, SCALES))) * 2**15) / 2**15
    rewards = np.moveaxis(values, 2, 1).reshape(PROMPTS, pulls * QUERIES, SCALES)  # places: cycle by cycle
    spec, rule = known(), UntilSure(target=target, eps=0.01, batch=8)
    state, compared = rule.init(spec, jnp.int32(10**6)), 0
    for key in KEYS:
        _, state = turn(rule, spec, state, key, jnp.asarray(rewards, jnp.float32))
        met = np.asarray(state.met)
        if met.max() > QUERIES - 1:
            break
        found, eps = evidence(values, met), np.asarray(until_sure.eps(spec, state))
        for context, weight in enumerate([1.0, 0.5]):
            terms = Confidence(grade="anytime", target=target, together=2)
            prompt, scale = (int(part[context]) for part in state.leader)
            if met[prompt] < FEWEST:
                assert eps[context] == np.inf
                continue
            most = certify(found, context, prompt, scale, terms).most.max(axis=1)
            reach = np.asarray(state.reach[context]) * float(spec.grid[context])
            assert np.all(reach > most - 1e-3 * weight)
            kept = np.isfinite(most)
            np.testing.assert_allclose(reach[kept], most[kept], atol=2e-3 * weight)
            compared += kept.sum()
        largest, said = np.maximum(np.asarray(state.reach).max(axis=1), 0) * np.asarray(spec.grid), np.isfinite(eps)
        np.testing.assert_allclose(eps[said], largest[said])
        if state.over:
            break
    assert compared > 8


def test_pulls_the_pairs_that_keep_eps_up() -> None:
    """Reaches of two contexts by hand: leaders are prompts 0 and 3, met alike but for prompts 1 (ahead) and 2 (behind).

    In the first context prompt 1 has the largest reach and is ahead of its leader, who is pulled alone; prompt 2 is at
    less than half of it. In the second prompt 2 is behind and pulled alone; prompt 1 is sure enough.
    """
    spec, rule = known(), UntilSure(eps=0.1)
    grid = float(spec.grid[0])
    reach = np.array([[0.0, 0.5, 0.2, 0.11], [-0.4, 0.09, 0.12, 0.0]])
    state = rule.init(spec, jnp.int32(1000))._replace(
        met=jnp.int32([20, 30, 10, 20]),
        places=jnp.int32(30),
        leader=Policy(jnp.int32([0, 3]), jnp.int32([1, 2])),
        reach=jnp.asarray(reach / grid, jnp.int32),
    )
    ask = rule.allocate(KEYS[0], spec, state)
    assert ask.places is not None
    pulled = {(int(p), int(x)) for p, n, x in zip(ask.prompt, ask.pulls, ask.places.start, strict=True) if n}
    assert pulled == {(0, x) for x in range(-10, 0)} | {(2, x) for x in range(-20, -10)}
    poor = rule.allocate(KEYS[0], spec, state._replace(left=jnp.int32(7)))  # three pulls of two
    assert (poor.pulls.sum(), int(poor.completions)) == (3, 6)
    assert poor.places is not None
    assert sorted(np.asarray(poor.places.start)[np.asarray(poor.pulls) > 0].tolist()) in (
        [-20, -19, -10],
        [-20, -10, -9],
    )


def test_stops_where_the_list_ends() -> None:
    """New queries: all prompts alike, so that nobody is sure; 40 queries, met once by each."""
    spec, rule = known(), UntilSure(eps=0.0)
    rewards = jnp.asarray(np.random.default_rng(0).integers(0, 2, (PROMPTS, QUERIES, 1)), jnp.float32)
    state, spent = rule.init(spec, jnp.int32(10**6)), 0
    while not state.over:
        ask, state = turn(rule, spec, state, KEYS[0], jnp.broadcast_to(rewards, (PROMPTS, QUERIES, SCALES)))
        spent += int(ask.completions)
    assert state.met.max() == QUERIES
    assert spent == int(state.met.sum()) * SCALES
    assert np.all(np.asarray(until_sure.eps(spec, state)) > 0)


def turns() -> Dataset:
    """Votes of up to 2 of three prompts on 20 queries of two kinds; one prompt is worth .7, the others .6."""
    right = np.array([[0.95, 0.45], [0.6, 0.6], [0.3, 0.9]])[:, np.arange(20) % 2]
    return Dataset(
        name="turns",
        aggregate=("mv",),
        probs=np.stack([right, 1 - right], axis=2),
        answers=np.zeros(20, int),
        objective_weights=np.ones((1, 1)),
        cost_weights=np.array([1.0]),
        costs=np.zeros(3),
        max_scale=2,
    )


def test_is_wrong_as_rarely_as_it_says_on_exactly_these_queries() -> None:
    """Level .8, eps .08, 200 runs; the list of 20 queries may be gone through 50 times, and is more than once.

    A wrong prompt costs .1.
    """
    data = turns()
    rule = UntilSure(target="these", eps=0.08, level=0.8, cycles=50, visits=1000)
    found = runner.run_trials(source_of(data), rule, 10**6, seed=0, trials=200)
    values = np.asarray(exact.values(data))[0]
    regret = values.max() - values[found.prompt[:, 0], found.scale[:, 0] - 1]
    assert stats.binom.sf((regret > 0.08).sum() - 1, 200, 0.2) > TAIL
    assert found.spent.max() < 3 * 20 * 50 * 4, "some run was not sure"
    assert found.spent.mean() > 3 * 20 * 4


def test_refuses_options_that_make_no_sense() -> None:
    for text, problem in (
        ("until-sure:target=all", "target is 'all'; it must be 'new' or 'these'"),
        ("until-sure:level=1.0", "level is 1.0; it must lie between 0 and 1"),
        ("until-sure:batch=0", "batch is 0; it must be at least 1"),
        ("until-sure:eps=-0.1", r"eps is -0.1, near 0.5; they must be at least 0"),
    ):
        with pytest.raises(ValueError, match=problem):
            algorithms.get(text)


def test_a_round_has_the_queries_that_a_statement_needs() -> None:
    assert UntilSure().batch == FEWEST
