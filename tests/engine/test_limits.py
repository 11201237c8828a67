"""Rules that never end or ask for what is not there are refused before they are run, and all answers that cannot be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from cli_runs import iapo, refused
from live_runs import RUN, queries
from own_code import forgotten

import sim
from sim import Allocation, Policy, algorithms, envs
from sim.algorithms.ucb import UCB
from sim.algorithms.uniform import Uniform
from sim.cli.new import Skeleton, skeleton
from sim.comparison import contenders
from sim.conformance import algorithms as conformance
from sim.conformance import checks
from sim.conformance.arena import LANES, arena, rehearse, run_trials, same, source_of
from sim.core import Algorithm, Places
from sim.engine import limits, runner
from sim.engine.contract import contract
from sim.engine.limits import Broken, RoundWatch
from sim.raw import RAW
from theory.checks import plan as planning
from theory.runs.enumerate import enumerate_runs

RULES = """
import jax.numpy as jnp
from mine import Mine
from sim import Policy


class Absent(Mine):
    def allocate(self, key, spec, state):
        asked = super().allocate(key, spec, state)
        return asked._replace(prompt=asked.prompt + spec.num_prompts)

class Outside(Mine):
    def recommend(self, key, spec, state):
        return Policy(super().recommend(key, spec, state).prompt + 99, jnp.ones(spec.num_contexts, jnp.int32))

class Idle(Mine):
    def allocate(self, key, spec, state):
        asked = super().allocate(key, spec, state)
        return asked._replace(pulls=asked.pulls * 0)
"""
COMPARE = ["compare", "--env", "two-arm", "--budget", "9", "--trials", "2", "--workers", "1", "--out", "kept"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a rule of one's own, and others that break it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(skeleton(Skeleton.algorithm, "mine.py"))
    (tmp_path / "rules.py").write_text(RULES)
    with forgotten():
        yield tmp_path


def asked(prompt: Any, scale: Any, pulls: Any, had: Any = None) -> Allocation:
    places = None if had is None else Places(np.zeros(2, np.int32), np.int32(had))  # type: ignore[arg-type]
    return Allocation(np.int32(prompt), np.int32(scale), np.int32(pulls), places)  # type: ignore[arg-type]


SPEC = runner.spec_of(envs.get("crossover").source)
"""Two prompts, N <= 10."""


class Free(Uniform):
    """As a rule of which only the budget tells how many rounds it has."""

    def num_rounds(self, spec: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("allocation", "sentence"),
    [
        (asked([0, 1], [1, 1], [1, -3]), "round 1: a row asks for -3 pulls"),
        (asked([0, 2], [1, 1], [1, 1]), "round 1: a row with pulls has prompt 0 to 2; it must lie in 0..1"),
        (asked([0, 1], [0, 1], [1, 1]), "round 1: a row with pulls has scale 0 to 1; it must lie in 1..10"),
        (asked([0, 1], [1, 11], [1, 1]), "round 1: a row with pulls has scale 1 to 11; it must lie in 1..10"),
        (asked([0, 1], [10, 10], [3, 2]), "round 1: it asks for 50 completions where 40 of 40 are left"),
        (asked([[0, 1]] * 2, [[10, 10]] * 2, [[2, 2], [3, 2]]), "round 1: it asks for 50 completions where 40 of 40"),
        (asked([0, 1], [2, 2], [1, 1], [3, 0]), "round 1: a row with pulls has completions that are new -1 to 2"),
        (asked([0, 1], [2**30, 1], [2**30, 1]), "round 1: a row with pulls has scale 1 to 1073741824"),
        (asked([7, 1], [99, 10], [0, 4]), None),
        (asked([0, 1], [10, 10], [4, 1], [5, 5]), None),
    ],
)
def test_an_allocation_that_cannot_be_is_refused_before_it_is_pulled(
    allocation: Allocation, sentence: str | None
) -> None:
    watch = RoundWatch(Free(), SPEC, 40)
    if sentence is None:
        watch(allocation)
        return
    with pytest.raises(Broken) as raised:
        watch(allocation)
    assert str(raised.value).startswith(sentence)


def test_a_run_that_pulls_nothing_for_long_is_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull in between begins the count again. Seen to fail where idle rounds were added up."""
    monkeypatch.setattr(limits, "IDLE", 30)
    watch, nothing, one = RoundWatch(Free(), SPEC, 40), asked([0, 1], [1, 1], [0, 0]), asked([0, 1], [1, 1], [0, 1])
    for allocation in [*[nothing] * 30, one] * 3 + [nothing] * 30:
        watch(allocation)
    with pytest.raises(Broken, match=r"^round 124: it has pulled nothing for 30 rounds, and is not finished$"):
        watch(nothing)
    watch = RoundWatch(Uniform(), SPEC, 40)
    watch(one)
    with pytest.raises(Broken, match=r"^round 2: it is not finished after 1 rounds; num_rounds says 1$"):
        watch(one)


class Deep(Algorithm):
    """Takes completions as they are, as many of every prompt as it can pay in one round."""

    estimator: ClassVar[str] = RAW

    def init(self, spec: Any, budget: Any) -> Any:
        return budget

    def finished(self, spec: Any, state: Any) -> Any:
        return state < 1

    def allocate(self, key: Any, spec: Any, state: Any) -> Allocation:
        one = jnp.ones(spec.num_prompts, jnp.int32)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), one, one * (state // spec.num_prompts))

    def update(self, key: Any, spec: Any, state: Any, allocation: Allocation, stats: Any) -> Any:
        return 0 * state

    def recommend(self, key: Any, spec: Any, state: Any) -> Policy:
        return Policy(jnp.zeros(spec.num_contexts, jnp.int32), jnp.ones(spec.num_contexts, jnp.int32))


def test_more_completions_as_they_are_than_can_be_summed_are_refused() -> None:
    """2**14 of a row, old ones among them; block sums have no such limit. Seen to fail with rows not summed."""
    many, most = asked([0, 1], [10, 1], [1639, 0]), asked([0, 1], [8, 1], [2048, 0])
    RoundWatch(Deep(), SPEC, 2**20)(most)
    RoundWatch(Free(), SPEC, 2**20)(many)
    with pytest.raises(Broken, match=r"asks for 16,390 completions as they are; sums of more than 16,384 may overflow"):
        RoundWatch(Deep(), SPEC, 2**20)(many)


def test_a_rehearsal_sees_the_budget_that_could_overflow() -> None:
    """A budget of 32,768 pays 2**14 of two prompts, and one of 32,770 more. Seen to fail with at most 200 rehearsed."""
    learner, source = contenders.Learner(Deep()), envs.get("crossover").source
    assert contenders.rehearsed(learner, (50, 20_000, 16_384)) == {50, 20_000}
    assert contenders.rehearsed(learner, (50, 16_384)) == {50}
    assert contenders.rehearsed(contenders.Learner(Free()), (50, 20_000)) == {50}
    numbers: dict[str, Any] = {"seed": 0, "trials": 1, "chunk": None, "many": True}
    learner.rehearse("Deep on it", source, 32_768, **numbers)
    with pytest.raises(Broken, match=r"Deep on it with T = 32,770, round 1: a row asks for 16,385 completions"):
        learner.rehearse("Deep on it", source, 32_770, **numbers)


def test_completions_are_counted_down_over_rounds() -> None:
    watch = RoundWatch(Free(), SPEC, 25)
    watch(asked([0, 1], [10, 1], [2, 3]))
    with pytest.raises(Broken, match=r"^round 2: it asks for 3 completions where 2 of 25 are left$"):
        watch(asked([0, 1], [1, 1], [3, 0]))
    over: Any = algorithms.get("psst:budget_rule=reference")
    RoundWatch(over, SPEC, 1)(asked([0, 1], [10, 10], [1, 1]))
    with pytest.raises(Broken, match="where 1 of 1 are left"):
        RoundWatch(over, SPEC, 1, strict=True)(asked([0, 1], [10, 10], [1, 1]))


@pytest.mark.parametrize("name", ["psst", "ucb"])
def test_trials_that_are_watched_are_those_that_are_not(name: str) -> None:
    rule = algorithms.get(name)
    found, whole = rehearse(arena(), rule, 45), run_trials(arena(), rule, 45, LANES, fused=False)
    assert len(found.prompt) == LANES
    assert same(found, whole)


class Lazy(UCB):
    """Pulls one arm at a time, but none."""

    def allocate(self, key: Any, spec: Any, state: Any) -> Allocation:
        found = super().allocate(key, spec, state)
        return found._replace(pulls=found.pulls * 0)


def test_rules_that_pull_one_arm_at_a_time_are_watched_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the host loop, which compiles no pulls. Seen to fail (a name twice in the sentence) by way of `run_rounds`."""
    monkeypatch.setattr(limits, "IDLE", 12)
    found = runner.rehearse(source_of(arena()), UCB(), 45, seed=0, trials=300)
    assert (found.prompt.shape, found.scale.shape, found.spent.tolist()) == ((1, 3), (1, 3), [45])
    with pytest.raises(Broken, match=r"^round 17: it has pulled nothing for 16 rounds, and is not finished$"):
        runner.rehearse(source_of(arena()), Lazy(), 45, seed=0, trials=300)


def test_answers_that_cannot_be_are_refused_of_every_algorithm() -> None:
    """Seen to fail (an IndexError, and for spent a table) where only brought ones were looked at."""
    learner = contenders.Learner(Uniform())
    prompt, scale, spent = np.array([[0, 1]]), np.array([[1, 10]]), np.array([40])
    learner.check_answers("it", (2, 10), 40, runner.Trials(prompt, scale, spent))
    for found, sentence in (
        ((prompt + 1, scale, spent), "it recommends prompt 1 to 2 where there are prompts 0 to 1"),
        ((prompt - 1, scale, spent), "it recommends prompt -1 to 0 where"),
        ((prompt, scale + 1, spent), "it recommends N = 2 to 11 where N lies in 1..10"),
        ((prompt, scale - 1, spent), "it recommends N = 0 to 9 where"),
        ((prompt, scale, spent + 1), "it spends 41 completions with a budget of 40"),
        ((prompt, scale, spent * -1), "it spends -40 completions with a budget of 40"),
    ):
        with pytest.raises(ValueError, match=r"^rule on two-arm with T = 40, ") as raised:
            learner.check_answers("rule on two-arm", (2, 10), 40, runner.Trials(*found))
        assert f"{sentence}" in str(raised.value)
        assert str(raised.value).endswith("; `iapo check` says more")
    over = contenders.Learner(algorithms.get("psst:budget_rule=reference"))
    over.check_answers("it", (2, 10), 39, runner.Trials(prompt, scale, spent))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Absent", "round 1: a row with pulls has prompt 2 to 3; it must lie in 0..1"),
        ("Outside", "it recommends prompt 99 to 100 where there are prompts 0 to 1"),
        ("Idle", "round 31: it has pulled nothing for 30 rounds, and is not finished"),
    ],
)
def test_a_comparison_refuses_a_rule_that_cannot_be_run(
    name: str, sentence: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do `iapo plan` and the host loop. Seen to fail: scored, with exit code 0, an IndexError; a hang."""
    monkeypatch.setattr(limits, "IDLE", 30)
    refused(
        iapo(*COMPARE, "--algorithm", f"rules.py:{name}"),
        f"rules.py:{name} on two-arm with T = 9, {sentence}; `iapo check` says",
    )
    assert not (here / "kept").exists()
    rule = algorithms.get(f"rules.py:{name}")
    with pytest.raises(Broken, match=f"^{name} with T = 9, .*; `iapo check` says more$"):
        sim.run_one("two-arm", rule, 9, seed=0)
    data = envs.get("two-arm").data
    assert data is not None
    with pytest.raises(ValueError, match=f"^{name} on two-arm with T = 9, "):
        planning.Simulation(data, rule, 0.01).probe(9)


def test_checks_of_a_rule_that_does_not_end_come_back(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail (no end) where answers were looked at before rounds were watched."""
    monkeypatch.setattr(limits, "IDLE", 30)
    found = list(checks.run(conformance.CHECKS, lambda: algorithms.get("rules.py:Idle"), "rules.py:Idle"))
    assert [one.check.name for one in found if one.tried] == ["contract", "allocations"]
    assert found[1].problem == "with T = 1, round 31: it has pulled nothing for 30 rounds, and is not finished"


def test_a_live_run_refuses_a_rule_before_anything_is_asked(here: Path) -> None:
    """Seen to fail (a plan, of another design) where contracts were not looked at."""
    (here / "odd.py").write_text("from mine import Mine\n\nclass Odd(Mine):\n    queries = 'commn'\n")
    queries(here)
    (here / "run.toml").write_text(RUN.replace("URL", "http://localhost:1/v1").replace('"psst"', '"odd.py:Odd"'))
    result = iapo("tune", "run.toml", "--plan", "--no-probe")
    refused(result, "tune.algorithm is 'odd.py:Odd': queries is 'commn'; allowed are independent, common, common-wor")


def test_a_standing_is_part_of_the_contract_where_there_is_one() -> None:
    class Odd(Uniform):
        def standing(self, spec: Any, state: Any) -> Any:
            return 3

    assert contract(Odd(), SPEC) == "standing returns a int; it must be a Standing or None"
    assert contract(Uniform(), SPEC) is None


def test_places_are_part_of_the_contract_where_there_are_any() -> None:
    """Seen to fail where the three columns of an allocation alone are looked at."""

    class Placed(Uniform):
        def allocate(self, key: Any, spec: Any, state: Any) -> Any:
            asked = super().allocate(key, spec, state)
            return asked._replace(places=Places(asked.pulls, asked.pulls[:1]))

    class Known(Uniform):
        def allocate(self, key: Any, spec: Any, state: Any) -> Any:
            asked = super().allocate(key, spec, state)
            return asked._replace(places=Places(asked.pulls * 0, asked.pulls * 0))

    said = contract(Placed(queries="common-wor"), SPEC)
    assert said is not None
    assert said.startswith("allocate returns Allocation.places.had of shape (1,)"), said
    assert contract(Known(queries="common-wor"), SPEC) is None
    said = contract(Known(), SPEC)
    assert said == "allocate names places, and queries is 'independent'; only 'common-wor' has them in order"
    with pytest.raises(ValueError, match="an allocation names places of queries; only runs with queries 'common-wor'"):
        enumerate_runs(envs.get("two-arm").data, Known(), 4)


def test_what_is_left_out_is_not_said_to_pass(here: Path) -> None:
    survivors = next(check for check in conformance.CHECKS if check.name == "survivors")
    (found,) = checks.run([survivors], lambda: algorithms.get("mine.py:Mine"), "mine.py:Mine")
    assert (found.problem, found.given) == (None, False)
