"""Completions as they are: a rule that estimates by itself gets a plain count of what was drawn, in every loop."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import given, host_trials, same
from jax import Array

from sim import envs, instances
from sim.core import Algorithm, Allocation, Places, Policy, Source, Spec, Stats
from sim.engine import runner, turn
from sim.envs.dataset import Dataset
from sim.kernels import counter, rounds
from sim.raw import RAW, Raw


class Notes(NamedTuple):
    """Rounds done, and what the last one brought."""

    round: Array
    raw: Raw


class Reader(Algorithm):
    """A toy: 2 completions of every prompt on two queries, then 3 on one more and, two rows later, on the first."""

    queries: ClassVar[str] = "common-wor"
    estimator: ClassVar[str] = RAW

    def max_pull(self, spec: Spec) -> int:
        return 3

    def num_rows(self, spec: Spec) -> int:
        return 2 * spec.num_prompts

    def num_rounds(self, spec: Spec) -> int:
        return 2

    def init(self, spec: Spec, budget: Array) -> Notes:
        found = rounds.nothing(spec, (self.num_rows(spec),), rounds.Pulling.of(self, spec)).raw
        assert found is not None
        return Notes(jnp.int32(0), found)

    def finished(self, spec: Spec, state: Notes) -> Array:
        return state.round >= 2

    def allocate(self, key: Array, spec: Spec, state: Notes) -> Allocation:
        row, later = jnp.arange(self.num_rows(spec), dtype=jnp.int32), state.round == 1
        prompt = jnp.where(later, (row // 2 + 1) % spec.num_prompts, row // 2)
        place = jnp.where(later, 2 - 2 * (row % 2), row % 2)
        pulls = jnp.broadcast_to((state.round < 2).astype(jnp.int32), row.shape)
        had = jnp.where(later & (place == 0), 2, 0)
        return Allocation(
            prompt,
            jnp.broadcast_to(jnp.where(later, 3, 2), row.shape),
            pulls,
            Places(place - jnp.where(later, 2, 0), had),
        )

    def update(self, key: Array, spec: Spec, state: Notes, allocation: Allocation, stats: Stats) -> Notes:
        assert stats.raw is not None
        running = state.round < 2
        kept = [jnp.where(running, new, old) for new, old in zip(stats.raw, state.raw, strict=True)]
        return Notes(jnp.minimum(state.round + 1, 2), Raw(*kept))

    def recommend(self, key: Array, spec: Spec, state: Notes) -> Policy:
        return Policy(jnp.zeros(spec.num_contexts, jnp.int32), jnp.ones(spec.num_contexts, jnp.int32))


def kept(spec: Spec, before: Any, after: Any) -> Raw:
    return after.raw


def world(*aggregate: str) -> Dataset:
    rng = np.random.default_rng(len(aggregate))
    draw = {"mv": lambda: rng.integers(0, 3, (3, 4, 5)), "bon": lambda: rng.uniform(-1, 1, (3, 4, 5))}
    draw["mean"] = draw["bon"]
    return Dataset(
        name="raw",
        aggregate=aggregate,
        probs=rng.dirichlet(np.ones(5), (3, 4)),
        values=np.stack([draw[how]() for how in aggregate], axis=-1).astype(float),
        answers=np.zeros(4, int) if "mv" in aggregate else None,
        objective_weights=rng.uniform(0.1, 1, (2, len(aggregate))),
        cost_weights=np.array([0.0, 1.0]),
        costs=np.ones(3),
        max_scale=4,
    )


SOURCES: dict[str, Source] = {
    "votes": given(world("mv")),
    "mixed": given(world("mv", "bon", "bon", "mean")),
    "continuous": envs.get("beta-bon").source,
}


@pytest.mark.parametrize("name", SOURCES)
def test_completions_are_counted_the_same_in_every_loop(name: str) -> None:
    """Deepened pulls are made again in another row: their first completions are those of before.

    Seen to fail with pulls that are made again keyed by row, in one loop and in both.
    """
    source, rule = SOURCES[name], Reader()
    numbers: Any = {"seed": 1, "trials": 5, "observe": kept}
    found = runner.run_trials(source, rule, 100, fused=True, chunk=2, **numbers)
    assert same(found, runner.run_trials(source, rule, 100, fused=False, chunk=5, **numbers))
    assert same(found, host_trials(source, rule, 100, 1, 5, kept))
    spec = runner.spec_of(source)
    assert (found.spent == spec.num_prompts * (2 * 2 + 3 + 1)).all()
    for trial in range(5):
        first, second = (Raw(*(part[trial, number] for part in found.seen)) for number in (0, 1))
        check(source, rule, trial, first, [(p, place, 2) for p in range(spec.num_prompts) for place in (0, 1)])
        after = [(p + 1) % spec.num_prompts for p in range(spec.num_prompts)]
        check(source, rule, trial, second, [(p, place, 3) for p in after for place in (2, 0)])


def check(source: Source, rule: Algorithm, trial: int, found: Raw, rows: list[tuple[int, int, int]]) -> None:
    """Each row is (prompt, place, completions): counted by hand from what the world draws there."""
    environment, train, _ = instances.instance(source, instances.trial_key(1, trial))
    run_key = counter.fold(instances.trial_key(1, trial), instances.RUN)
    queries = turn.queries_of(rule.queries, train, run_key)
    strategy, spec = environment.strategy, environment.spec  # pyright: ignore
    columns = {how: list(strategy.columns(how)) for how in ("mv", "bon", "mean")}
    scale = np.asarray(strategy.in_units)
    for row, (prompt, place, size) in enumerate(rows):
        key = rounds.pull_key(counter.fold(run_key, 0, turn.PULL), jnp.int32(prompt), jnp.int32(place))
        query = rounds.draw_query(key, queries, jnp.int32(place))
        drawn = np.asarray(environment.pull(key, jnp.int32(prompt), query, jnp.int32(size)).outcomes)[:size]
        if columns["mv"]:
            votes = np.bincount(drawn[:, columns["mv"][0]].astype(int), minlength=strategy.num_answers)
            np.testing.assert_array_equal(found.votes[row], votes)
        for task in range(spec.num_tasks):
            if columns["bon"]:
                score = sum(np.rint(scale[task, k] * drawn[:, k]) for k in columns["bon"])
                np.testing.assert_array_equal(found.ranked[row, task, :size], np.sort(score))
                assert not found.ranked[row, task, size:].any()
            if columns["mean"]:
                total = sum(np.rint(scale[task, k] * drawn[:, k]) for k in columns["mean"]).sum()
                assert found.total[row, task] == total
