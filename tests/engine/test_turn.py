"""One body of a round for every loop: the same observations, the same queries met again, the same costs."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from helpers import arena, given, host_trials, same
from jax import Array

from sim import algorithms, draws
from sim.core import Algorithm, Allocation, Places, Policy, Source, Spec, Stats
from sim.designed import Designed
from sim.engine import runner
from sim.engine.turn import Observe
from sim.envs.dataset import Dataset
from sim.kernels import portions


def three_ways(
    rule: Algorithm, budget: int, trials: int, lanes: int, observe: Observe, source: Source | None = None
) -> runner.Trials:
    """Trials fused, call by call and in the host loop, which must all be equal."""
    source = given(arena()) if source is None else source
    numbers: Any = {"seed": 0, "trials": trials, "chunk": lanes, "observe": observe}
    found = [runner.run_trials(source, rule, budget, fused=fused, **numbers) for fused in (True, False)]
    assert same(found[0], found[1])
    assert same(found[0], host_trials(source, rule, budget, 0, trials, observe))
    return found[0]


def steps(spec: Spec, before: Any, after: Any) -> dict[str, Any]:
    """A mark of the round, what it cost, and the best estimate after it."""
    return {"mark": jnp.int32(1), "cost": before.left - after.left, "best": jnp.max(after.value, axis=(1, 2))}


def test_observations_are_the_same_in_every_loop_and_end_with_the_trial() -> None:
    """Runs of unequal length on lanes that are taken over. As many entries as completions: only the budget tells.

    Seen to fail with the rounds of finished trials noted too, and with the state before a round seen after it.
    """
    found = three_ways(algorithms.get("ucb"), 12, 5, 2, steps)
    mark, cost = found.seen["mark"], found.seen["cost"]
    assert mark.shape == (5, 12)
    assert found.seen["best"].shape == (5, 12, 3)
    lengths = mark.sum(axis=1)
    assert len(set(lengths)) > 1
    np.testing.assert_array_equal(mark, np.arange(12) < lengths[:, None])
    assert (cost[mark == 1] > 0).all()
    np.testing.assert_array_equal(cost.sum(axis=1), found.spent)
    assert not found.seen["best"][mark == 0].any()


def active(spec: Spec, before: Any, after: Any) -> Any:
    """Arms in the running before and after the round."""
    rule = algorithms.get("psst")
    both = [rule.standing(spec, state) for state in (before, after)]
    return [one.active for one in both if one is not None]


def test_a_rule_tells_how_many_rounds_are_observed_and_where_it_stands() -> None:
    """PSST on 16 arms: halved in each of four rounds, and the last arm is the answer. Nothing else changes."""
    found = three_ways(algorithms.get("psst"), 45, 3, 3, active)
    before, after = found.seen
    assert before.shape == after.shape == (3, 4, 3, 16)
    np.testing.assert_array_equal(before.sum(axis=3), np.broadcast_to([[16], [8], [4], [2]], (3, 4, 3)))
    np.testing.assert_array_equal(before[:, 1:], after[:, :-1])
    np.testing.assert_array_equal(after[:, -1].argmax(axis=2), found.prompt * 4 + found.scale - 1)
    unseen = runner.run_trials(given(arena()), algorithms.get("psst"), 45, seed=0, trials=3, chunk=3, fused=False)
    assert same(found._replace(seen=None), unseen)


class Evidence(NamedTuple):
    """What a deepening rule knows of every prompt on every query, by scale, and of the single completions alone."""

    left: Array
    round: Array
    totals: Array
    blocks: Array
    singles: Array


class Deepening(Designed):
    """A toy: one completion of every prompt on three queries, then two more where the first was worth most.

    It keeps its evidence per query: a row for every prompt and query.
    """

    queries: str = eqx.field(static=True, default="common-wor", kw_only=True)
    num_queries: int = eqx.field(static=True, default=3)
    most: int = eqx.field(static=True, default=3)

    def max_pull(self, spec: Spec) -> int:
        return self.most

    def num_rows(self, spec: Spec) -> int:
        return spec.num_prompts * self.num_queries

    def num_rounds(self, spec: Spec) -> int:
        return 2

    def init(self, spec: Spec, budget: Array) -> Evidence:
        rows = self.num_rows(spec)
        totals, blocks = jnp.zeros((rows, spec.num_tasks, self.most)), jnp.zeros((rows, self.most))
        return Evidence(budget, jnp.int32(0), totals, blocks, totals[:, :, 0])

    def finished(self, spec: Spec, state: Evidence) -> Array:
        return state.round >= 2

    def allocate(self, key: Array, spec: Spec, state: Evidence) -> Allocation:
        rows = jnp.arange(self.num_rows(spec), dtype=jnp.int32)
        place, deepens = rows % self.num_queries, state.round == 1
        rank = jnp.argsort(jnp.argsort(-state.totals[:, 0, 0], stable=True)).astype(jnp.int32)
        had, added = jnp.where(deepens, state.blocks[:, 0].astype(jnp.int32), 0), jnp.where(deepens, self.most - 1, 1)
        order = jnp.where(deepens, rank, rows)
        pulls = (((order + 1) * added <= state.left) & (~deepens | (had > 0)) & (state.round < 2)).astype(jnp.int32)
        start = place - jnp.where(deepens, self.num_queries, 0)
        return Allocation(rows // self.num_queries, had + added, pulls, Places(start, had))

    def update(self, key: Array, spec: Spec, state: Evidence, allocation: Allocation, stats: Stats) -> Evidence:
        new = (allocation.pulls > 0)[:, None]
        totals = jnp.where(new[:, :, None], stats.total, state.totals)
        singles = jnp.where(state.round == 0, stats.total[:, :, 0], state.singles)
        left = state.left - allocation.completions
        return Evidence(left, state.round + 1, totals, jnp.where(new, stats.blocks, state.blocks), singles)

    def recommend(self, key: Array, spec: Spec, state: Evidence) -> Policy:
        by_prompt = (spec.num_prompts, self.num_queries, -1)
        mean = state.totals[:, 0].reshape(by_prompt).sum(1) / jnp.maximum(state.blocks.reshape(by_prompt).sum(1), 1)
        arm = jnp.full(spec.num_contexts, jnp.argmax(mean), jnp.int32)
        return Policy(arm // self.most, arm % self.most + 1)


def kept(spec: Spec, before: Any, after: Any) -> Any:
    return after


def test_pulls_can_be_deepened_and_evidence_kept_by_query_in_every_loop() -> None:
    """A world in which a query earns 0, 4 or 16 for certain, and 1 more by chance, once for each completion.

    Old completions are among the new ones, on the query where they were, and only new ones are paid. Seen to fail with
    the round's own key for pulls that are made again, with places counted from the round's first query, and with all
    completions paid.
    """
    values = np.tile(np.array([0.0, 4.0, 16.0])[None, :, None, None] + np.array([0.0, 1.0])[:, None], (4, 1, 1, 1))
    data = Dataset(
        name="deep",
        aggregate=("mean",),
        probs=np.full((4, 3, 2), 0.5),
        values=values,
        objective_weights=np.ones((3, 1)),
        cost_weights=np.zeros(3),
        costs=np.zeros(4),
        max_scale=4,
    )
    found = three_ways(Deepening(), 26, 4, 3, kept, given(data))
    assert found.spent.tolist() == [26] * 4  # 12 single completions, then 2 more in each of 7 rows
    totals, blocks, singles = (part[:, -1] for part in found.seen[2:])
    deepened = blocks[:, :, 0] == 3
    assert deepened.sum(axis=1).tolist() == [7] * 4
    query, old = singles[:, :, 0] // 4 * 4, singles[:, :, 0] % 4
    added = (totals[:, :, 0, 0] - 3 * query - old)[deepened]
    assert set(added) == {0, 1, 2}
    np.testing.assert_array_equal(totals[:, :, 0, 0][~deepened], singles[:, :, 0][~deepened])
    assert sorted(query[0]) == [0.0] * 4 + [4.0] * 4 + [16.0] * 4


class EndsEarly(Algorithm):
    """A rule of at most four rounds that draws in its first one how many they are, and answers with that number."""

    class State(NamedTuple):
        """Rounds done, and rounds to do."""

        round: Array
        rounds: Array

    def num_rounds(self, spec: Spec) -> int:
        return 4

    def init(self, spec: Spec, budget: Array) -> State:
        return self.State(jnp.int32(0), jnp.int32(4))

    def finished(self, spec: Spec, state: State) -> Array:
        return state.round >= state.rounds

    def allocate(self, key: Array, spec: Spec, state: State) -> Allocation:
        prompts = jnp.arange(spec.num_prompts, dtype=jnp.int32)
        return Allocation(prompts, jnp.ones_like(prompts), jnp.full_like(prompts, ~self.finished(spec, state)))

    def update(self, key: Array, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        drawn = 1 + draws.integer(draws.words(key, (1,))[0], 4)
        going = (~self.finished(spec, state)).astype(jnp.int32)
        return self.State(state.round + going, jnp.where(state.round == 0, drawn, state.rounds))

    def recommend(self, key: Array, spec: Spec, state: State) -> Policy:
        return Policy(*jnp.tile(state.rounds - 1, (2, spec.num_contexts)).at[1].set(1))


def test_trials_that_start_together_may_end_apart(monkeypatch) -> None:
    """Three batches of two lanes for a call of five trials: the last is not full.

    Seen to fail with answers of five rows (the last batch then moves up), and with batches that end with their first
    trial.
    """
    monkeypatch.setattr(portions, "CPU", portions.CPU._replace(call=5))
    found = three_ways(EndsEarly(), 100, 8, 2, lambda spec, before, after: after.round)
    rounds = found.prompt[:, 0] + 1
    assert len(set(rounds.tolist())) > 2
    assert found.spent.tolist() == (rounds * arena().num_prompts).tolist()
    assert (found.seen == np.where(np.arange(4) < rounds[:, None], np.arange(1, 5), 0)).all()
