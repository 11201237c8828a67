"""Mixture racing against its plain version, on one tape of completions; its schedules by hand; every loop alike."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import plain_racing
import pytest
from helpers import given, host_trials, make_spec, same

from sim import algorithms, extrapolation
from sim.algorithms import mixture_racing
from sim.algorithms.mixture_racing import Matrix, MixtureRacing
from sim.core import Spec
from sim.engine import runner, turn
from sim.envs.dataset import Dataset
from sim.kernels import counter, mixture, rounds

WORLDS = {
    "votes": (("mv",), 3, 6),
    "best": (("bon",), 1, 9),
    "mixed": (("mv", "bon", "mean"), 2, 5),
}


def world(name: str, seed: int = 0, num_queries: int = 4) -> Dataset:
    """Five prompts that differ in costs, so that no two values are equal."""
    aggregate, num_answers, max_scale = WORLDS[name]
    rng = np.random.default_rng(seed)
    values = np.stack(
        [
            rng.integers(0, num_answers, (5, num_queries, 4)) if how == "mv" else rng.uniform(0, 2, (5, num_queries, 4))
            for how in aggregate
        ],
        axis=-1,
    ).astype(float)
    values[:, :, :num_answers, 0] = np.arange(num_answers) if "mv" in aggregate else values[:, :, :num_answers, 0]
    return Dataset(
        name=name,
        aggregate=aggregate,
        probs=rng.dirichlet(np.ones(4), (5, num_queries)),
        values=values,
        answers=np.zeros(num_queries, int) if "mv" in aggregate else None,
        objective_weights=np.array([[1.0, 0.5, 0.25], [0.5, 1.0, 0.5], [3.0, 1.5, 0.75]])[:, : len(aggregate)],
        cost_weights=np.array([0.5, 1.0, 4.0]),
        costs=rng.uniform(0.005, 0.02, 5),
        max_scale=max_scale,
    )


class Seen(runner.NamedTuple):
    """State after a round."""

    size: Any
    active: Any
    had: Any
    value: Any


def look(spec: Spec, before: Any, after: Any) -> Seen:
    return Seen(after.size, before.active, after.had, after.value)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("budget", [9, 61, 400, 3000])
def test_a_race_is_the_plain_one_on_the_same_completions(name: str, budget: int) -> None:
    """Survivors, matrices, answers and costs are equal, values to .002: EM weights have 12 digits.

    From one completion of each prompt to all queries met many times. Seen to fail with completions that are counted
    twice where a phase deepens, with a place's completions keyed by row, and with costs left out of the gaps.
    """
    data = world(name, seed=budget)
    source, rule = given(data), MixtureRacing()
    key = runner.trial_key(3, 0)
    environment, train, _ = runner.instance(source, key)
    run_key = counter.fold(key, runner.RUN)
    found = runner.run_trial(environment, train, rule, budget, run_key, look)
    spec, width = environment.spec, rule.max_pull(environment.spec)
    order = np.asarray(turn.queries_of(rule.queries, train, run_key).ids)
    drawn: dict[tuple[int, int], np.ndarray] = {}

    def tape(prompt: int, place: int) -> np.ndarray:
        if (prompt, place) not in drawn:
            own = rounds.pull_key(counter.fold(run_key, 0, turn.PULL), jnp.int32(prompt), jnp.int32(place))
            query = jnp.int32(order[place % len(order)])
            pull = environment.pull(own, jnp.int32(prompt), query, jnp.int32(width))
            drawn[prompt, place] = np.asarray(pull.outcomes, np.float64)
        return drawn[prompt, place]

    strategy = environment.strategy
    game = plain_racing.Game(
        data.aggregate,
        data.num_answers,
        data.tie,
        np.asarray(strategy.weights, np.float64),
        spec.task,
        np.asarray(spec.task_weight, np.float64),
        np.asarray(spec.cost, np.float64),
        spec.max_scale,
        len(order),
        mixture.answer_laws(data.num_answers),
    )
    plain = plain_racing.race(game, tape, budget, width)
    ends = np.flatnonzero(np.diff(np.asarray(found.seen.size), prepend=5) != 0)[: len(plain.phases)]
    assert int(found.spent) == plain.spent <= budget
    assert len(ends) == len(plain.phases)
    for end, phase in zip(ends, plain.phases, strict=True):
        assert np.flatnonzero(found.seen.active[end]).tolist() == phase.prompts
        assert (int(found.seen.had.size[end]), int(found.seen.had.pulls[end])) == (phase.size, phase.pulls)
        value = np.asarray(found.seen.value[end])[:, phase.prompts]
        np.testing.assert_allclose(value, phase.values, rtol=0, atol=0.002)
    assert list(zip(*(part.tolist() for part in found.policy), strict=True)) == plain.policy
