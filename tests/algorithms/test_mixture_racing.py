"""Mixture racing against its plain version, on one tape of completions; its schedules by hand; every loop alike."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import plain_racing
import pytest
from helpers import given, make_spec

from sim import extrapolation, instances
from sim.algorithms import mixture_racing
from sim.algorithms.mixture_racing import MixtureRacing
from sim.core import Allocation, Key, Spec, Stats
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


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("budget", [9, 61, 400])
def test_a_race_is_the_plain_one_on_the_same_completions(name: str, budget: int) -> None:
    """Survivors, matrices, answers and costs are equal, values to .002: EM weights have 12 digits.

    From one completion of each prompt to all queries met many times. Seen to fail with completions that are counted
    twice where a phase deepens, with a place's completions keyed by row, and with costs left out.
    """
    data, rule = world(name), MixtureRacing()
    environment, train, _ = instances.instance(given(data), instances.trial_key(3, 0))
    spec = dataclasses.replace(environment.spec, num_queries=train.ids.shape[0])
    run_key = counter.fold(instances.trial_key(budget, 0), instances.RUN)
    queries, states = [turn.queries_of(rule.queries, train, run_key)], []
    order, width = np.asarray(queries[0].ids), rule.max_pull(spec)

    def pull(key: Key, asked: Allocation) -> Stats:
        found = runner.host_round(environment, queries[-1], key, asked, rule)
        queries.append(rounds.advance(queries[-1], asked))
        return found

    found = runner.run_rounds(spec, rule, budget, run_key, pull, states.append)
    ends = [after for after in states[1:] if after.done == 0]
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
    plain = plain_racing.race(game, tape, budget, width, rule.seats)
    assert int(found.spent) == plain.spent <= budget
    assert len(ends) == len(plain.phases) - 1
    for after, phase in zip(ends, plain.phases, strict=False):
        assert np.flatnonzero(after.value[0, :, 0] > -np.inf).tolist() == phase.prompts
        assert (int(after.had.size), int(after.had.pulls)) == (phase.size, phase.pulls)
        value = np.asarray(after.value)[:, phase.prompts]
        np.testing.assert_allclose(value, phase.values, rtol=0, atol=0.002)
    assert list(zip(*(part.tolist() for part in found.policy), strict=True)) == plain.policy


LAYOUTS = {
    (32, 960): ([32, 16, 8, 4, 2], [(2, 5), (3, 6), (3, 13), (4, 20), (6, 28)], 956),
    (32, 1000): ([32, 16, 8, 4, 2], [(2, 5), (3, 6), (3, 13), (4, 20), (6, 31)], 992),
    (32, 5000): ([32, 16, 8, 4, 2], [(4, 13), (5, 20), (6, 34), (7, 59), (10, 86)], 4994),
    (5, 1000): ([5, 3, 2], [(5, 23), (6, 32), (7, 41)], 996),
    (1, 1000): ([1], [(10, 100)], 1000),
    (32, 20): ([9, 5, 3, 2], [(1, 1), (1, 1), (1, 3), (1, 5)], 19),
    (2, 20000): ([2], [(25, 400)], 20000),
    (2, 100000): ([2], [(32, 1562)], 99968),
    (2, 1): ([1], [(1, 1)], 1),
}
"""Prompts and budget -> prompts before each cut, completions and queries then, completions spent. By hand: 416 training
queries, votes, N up to 32. T = 1,000: B = floor(1000 / (32 * 3)) = 10, then 20, 41, 83; 6 * 31 of the last 190.
9 prompts are the most with 9 * 2.178 <= 20. With 2 prompts T = 20,000 is 10,000 each: 416 pulls of 24 spend 9,984, 400
of 25 all; T = 100,000 is 50,000 each: 1,562 pulls of 32 spend 49,984, 1,563 of 31 fewer."""


VARIANTS = {
    "seats": (MixtureRacing(), 32, 1000, [32, 16, 8, 4, 3], [(2, 5), (3, 6), (3, 13), (4, 20), (5, 30)], 990, 30),
    "least": (MixtureRacing(seats=1, least=4), 32, 100, [10, 5, 3, 2], [(2, 2), (2, 4), (2, 7), (3, 8)], 98, 8),
    "equal": (MixtureRacing(seats=1, equal_rounds=True), 5, 900, [5, 3, 2], [(4, 15), (5, 32), (7, 44)], 896, 44),
    "apart": (MixtureRacing(seats=1, nested=False), 5, 1000, [5, 3, 2], [(5, 23), (4, 19), (5, 19)], 993, 61),
}
"""Rule, prompts and budget -> as above, and queries met. Three seats: 220 are left for three prompts that have 80 each.
Four completions at least: 10 * 2.233 * 4 <= 100 < 11 * 2.288 * 4. Equal rounds: 300 for each, 60 then 100 a prompt.
Not nested: 115, then 192 - 115 and what is left, each of its own: the queries met add up."""


class Raced(NamedTuple):
    """A race on made-up values: prompts before each cut, layouts, completions, queries met, who entered, who won."""

    sizes: list[int]
    layouts: list[tuple[int, int]]
    spent: int
    met: int
    entered: set[int]
    won: list[int]


def raced(rule: MixtureRacing, num_prompts: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> Raced:
    """Values are made up: the higher the prompt's number, the better."""

    def made_up(spec: Spec, sums: Any, size: Any, pulls: Any, inside: Any, fitted: bool) -> Any:
        worth = jnp.where(inside, jnp.arange(spec.num_prompts, dtype=jnp.float32), -jnp.inf)
        return jnp.broadcast_to(worth[None, :, None], (spec.num_contexts, spec.num_prompts, spec.max_scale))

    monkeypatch.setattr(extrapolation, "value", made_up)
    spec, key = dataclasses.replace(make_spec(num_prompts, 32), num_queries=416), counter.from_seed(budget)
    state = rule.init(spec, jnp.int32(budget))
    sizes, layouts, entered = [], [], set()

    @jax.jit
    def go_on(state: Any) -> Any:
        asked = rule.allocate(key, spec, state)
        raw = rounds.nothing(spec, asked.pulls.shape, rounds.Pulling.of(rule, spec))
        return asked, rule.update(key, spec, state, asked, raw)

    while not rule.finished(spec, state):
        racing = int(rule._racing(state))
        asked, after = go_on(state)
        assert int(asked.completions) <= int(state.left)
        entered |= set(np.asarray(asked.prompt)[np.asarray(asked.pulls) > 0].tolist())
        if int(after.done) == 0:
            sizes.append(racing)
            layouts.append((int(after.had.size), int(after.had.pulls)))
        state = after
    won = rule.recommend(key, spec, state).prompt.tolist()
    return Raced(sizes, layouts, budget - int(state.left), int(state.met), entered, won)


@pytest.mark.slow
@pytest.mark.parametrize(("num_prompts", "budget"), LAYOUTS)
def test_a_race_has_the_layouts_of_the_design(num_prompts: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ties the best prompt wins; one seat, so that the prompts left are those of the plan.

    Seen to fail with shares rounded down, with n from the root rounded down, and without the second meeting of queries.
    """
    found = raced(MixtureRacing(seats=1), num_prompts, budget, monkeypatch)
    assert (found.sizes, found.layouts, found.spent) == LAYOUTS[num_prompts, budget]
    assert len(found.entered) == found.sizes[0]
    assert found.won == [max(found.entered)]


@pytest.mark.parametrize("name", VARIANTS)
def test_options_of_a_race_change_its_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with each option ignored, and with phases that are not nested on queries from the first on."""
    rule, num_prompts, budget, *expected = VARIANTS[name]
    found = raced(rule, num_prompts, budget, monkeypatch)
    assert [found.sizes, found.layouts, found.spent, found.met] == expected
    assert len(found.entered) == found.sizes[0]
    assert found.won == [max(found.entered)]


@pytest.mark.parametrize(
    ("wanted", "had", "width", "num_queries", "layout"),
    [
        (41, (0, 0), 2, 2, (2, 20)),  # 40 of 41; 21 pulls of one would leave 20
        (50, (0, 0), 32, 1, (25, 2)),  # all; one pull of 32 would leave 18
        (217, (25, 2), 32, 1, (31, 7)),  # all, two pulls deepened; six of 32 leave 25
        (896, (31, 7), 32, 1, (32, 28)),
        (200, (5, 20), 32, 30, (7, 28)),  # 196; 30 pulls of six would spend 180
        (400, (7, 28), 32, 30, (14, 28)),  # 392; 30 pulls of 13 would spend 390
        (400, (6, 30), 32, 30, (13, 30)),  # 28 pulls are fewer than there are
        (230, (7, 30), 32, 30, (7, 30)),  # as it is: 30 pulls of eight would take 240
        (420, (7, 32), 32, 30, (13, 32)),  # what there is can be deepened
    ],
)
def test_queries_used_up_are_deepened_with_little_left_over(
    wanted: int, had: tuple[int, int], width: int, num_queries: int, layout: tuple[int, int]
) -> None:
    """Of the two nearest layouts the one that spends more. Seen to fail with the one of more pulls."""
    before = mixture_racing.Matrix(*map(jnp.int32, had))
    found = mixture_racing.matrix(jnp.int32(wanted), before, width, jnp.int32(num_queries), True)
    assert (int(found.size), int(found.pulls)) == layout


def test_a_cut_keeps_the_best_of_every_context_and_then_the_nearest() -> None:
    """Two contexts, eight prompts of which the last is out; four are to stay, each context has its seats.

    Seen to fail with seats of the first context only, and with gaps to the worst context.
    """
    spec = make_spec(8, 1, task=(0, 1))
    score = np.array([[9.0, 8.0, 5.0, 1.0, 7.5, 2.0, 3.0, 99.0], [1.0, 2.0, 8.0, 9.0, 3.0, 6.0, 7.0, 99.0]])
    active = jnp.broadcast_to(jnp.arange(8) < 7, (2, 8))

    def kept(**options: Any) -> list[list[int]]:
        value, key = jnp.asarray(score[:, :, None], jnp.float32), counter.from_seed(0)
        found = np.asarray(MixtureRacing(**options)._cut(key, spec, value, active, jnp.int32(4)))
        return [np.flatnonzero(own).tolist() for own in found]

    assert kept(seats=1) == [[0, 1, 2, 3]] * 2  # leaders 0 and 3, then the gaps of 1
    assert kept(seats=3) == [[0, 1, 2, 3, 4, 6]] * 2
    assert kept(seats=9) == [list(range(7))] * 2
    assert kept(together=False) == [[0, 1, 2, 4], [2, 3, 5, 6]]


@pytest.mark.parametrize("name", ["seats", "least"])
def test_a_race_without_seats_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is 0; it must be at least 1$"):
        MixtureRacing(**{name: 0})
