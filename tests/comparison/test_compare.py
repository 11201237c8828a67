"""The comparison: right values, resumed runs, damaged results, chunks, blocks and executors change no byte."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import given, majority
from plans import PLAN

from sim import algorithms, envs, evaluate, instances, references, run_one
from sim.comparison import cells, compare, contenders
from sim.comparison.compare import Plan, Step
from sim.core import Environment
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.envs.files import save
from sim.envs.synthetic import SynthBernoulli
from sim.envs.tabular import TabularWorld
from sim.kernels import portions
from theory import exact
from theory.truth import exact_values, uniform_credit

NUM_CELLS = 6
TABLES = ("trials.parquet", "summary.csv", "contexts.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a comparison that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    compare.compare(PLAN, out, exact_values)
    return out


def same(out: Path, other: Path) -> bool:
    return all((out / name).read_bytes() == (other / name).read_bytes() for name in TABLES)


def interrupt_after(steps: int) -> Callable[[Step], None]:
    seen: list[Step] = []

    def report(step: Step) -> None:
        seen.append(step)
        if len(seen) == steps:
            raise KeyboardInterrupt

    return report


class Mute(TabularWorld):
    """A world that gives block sums only."""

    raw = Environment.raw


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: Mute(one.thresholds, one.atoms, one.strategy, one.known), "Mute has no method raw"),
        (lambda one: replace(one, known=replace(one.known, rewards=None)), "Spec.rewards of TabularWorld is None"),
    ],
)
def test_rules_that_take_completions_need_a_world_that_gives_them(
    change: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything runs, and left out where nobody named them. Seen to fail midway without the question."""
    source = given(majority())
    source = replace(source, environment=change(source.environment))
    monkeypatch.setitem(envs.ENVS, "mute", envs.Entry("", lambda: source))
    sentence = f"the algorithm takes completions as they are, which this world does not give: {said}"
    plan = Plan(("two-arm", "mute"), ("psst", "mixture-racing"), (50,), trials=2, seed=0, reference="psst")
    with pytest.raises(ValueError, match=f"^mixture-racing on mute: {sentence}$"):
        compare.check(plan)
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        runner.run_trials(source, algorithms.get("mixture-racing"), 50, seed=0, trials=2)
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        run_one(source, "mixture-racing", 50, seed=0)
    texts, unable = compare.able(("two-arm", "mute"))
    assert unable == {"mixture-racing": f"on mute: {sentence}"}
    assert set(texts) == set(contenders.names()) - {"mixture-racing"}
    assert compare.able(("two-arm",)) == (contenders.names(), {})
    assert list(compare.check(plan._replace(algorithms=texts))) == ["two-arm", "mute"]


def test_files_and_steps(whole: Path, tmp_path: Path):
    assert sorted(path.name for path in whole.iterdir()) == sorted((*compare.FILES, "cells"))
    steps: list[Step] = []
    result = compare.compare(PLAN, tmp_path, exact_values, report=steps.append)
    assert same(whole, tmp_path)
    assert [step.done for step in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert [step.algorithm for step in steps] == [None, *np.repeat(PLAN.algorithms, 2)]
    assert result.reused == 0
    assert len(result.trials) == NUM_CELLS * PLAN.trials
    assert result.trials["trial"].tolist() == list(range(PLAN.trials)) * NUM_CELLS


def test_what_is_finished_is_not_done_again(whole: Path, tmp_path: Path):
    steps: list[Step] = []
    result = compare.compare(PLAN, whole, exact_values, report=steps.append)
    assert (result.reused, steps) == (NUM_CELLS, [])
    more = PLAN._replace(budgets=(20, 30, 50))
    compare.compare(more, whole, exact_values, report=steps.append)
    assert {step.budget for step in steps} == {None, 30}
    compare.compare(PLAN, whole, exact_values)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_an_interrupted_run_goes_on_and_ends_the_same(whole: Path, tmp_path: Path, steps: int):
    with pytest.raises(compare.Interrupted) as stopped:
        compare.compare(PLAN, tmp_path, exact_values, report=interrupt_after(steps))
    assert (stopped.value.kept, stopped.value.total) == (steps - 1, NUM_CELLS)
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]
    result = compare.compare(PLAN, tmp_path, exact_values)
    assert result.reused == steps - 1
    assert same(whole, tmp_path)


def test_cells_depend_on_how_they_are_scored():
    """Seen to fail with the module of the function alone."""
    for name in ("two-arm", "crossover"):
        world = envs.get(name)
        one, other = (cells.environment_program(world, exact) for exact in (exact_values, uniform_credit))
        assert one.key != other.key


def test_damaged_cells_are_computed_again(whole: Path, tmp_path: Path):
    compare.compare(PLAN, tmp_path, exact_values)
    torn, forged, *_ = sorted((tmp_path / "cells").iterdir())
    torn.write_bytes(torn.read_bytes()[:-100])
    with np.load(forged) as archive:
        arrays = dict(archive)
    np.savez(forged, **(arrays | {"acr": arrays["acr"] + 1.0}))
    result = compare.compare(PLAN, tmp_path, exact_values)
    assert result.reused == NUM_CELLS - 2
    assert same(whole, tmp_path)


@pytest.mark.slow
def test_chunks_change_no_byte(whole: Path, tmp_path: Path):
    compare.compare(PLAN._replace(chunk=5), tmp_path, exact_values)
    assert same(whole, tmp_path)


def test_blocks_change_no_byte(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compare, "_BLOCK_TRIALS", 5)
    compare.compare(PLAN, tmp_path, exact_values)
    assert len(list((tmp_path / "cells").iterdir())) == 3 * NUM_CELLS
    assert same(whole, tmp_path)


def test_many_trials_in_all_run_in_one_program_and_change_no_byte(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Trials are counted over budgets and blocks: 24 of an algorithm. Seen to fail with those of a block counted."""
    run, ways = runner.run_trials, []

    def noted(*args: Any, fused: bool | None = None, **settings: Any) -> runner.Trials:
        ways.append(fused)
        return run(*args, fused=fused, **settings)

    monkeypatch.setattr(runner, "run_trials", noted)
    monkeypatch.setattr(compare, "_BLOCK_TRIALS", 5)
    for most, way in ((23, True), (24, None)):
        monkeypatch.setattr(portions, "CPU", portions.CPU._replace(by_round=most))
        compare.compare(PLAN, tmp_path / str(most), exact_values)
        assert same(whole, tmp_path / str(most))
        assert set(ways) == {way}
        ways.clear()


def test_an_executor_changes_no_byte(whole: Path, tmp_path: Path):
    with ThreadPoolExecutor(1) as executor:
        compare.compare(PLAN, tmp_path, exact_values, executor=executor)
    assert same(whole, tmp_path)


def test_tasks_travel_between_processes():
    block = cells.Block("two-arm", "d", "folder", seed=0, first=0, trials=3, chunk=None)
    task = ([cells.Cell(block, "psst", 10, "p")], exact_values)
    assert pickle.loads(pickle.dumps(task)) == task


def test_trials_are_scored_on_their_own_test_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    data = Dataset(
        name="mine",
        aggregate=("mv",),
        probs=rng.dirichlet(np.ones(3), (4, 10)),
        answers=rng.integers(0, 3, 10),
        objective_weights=np.ones((2, 1)),
        cost_weights=np.array([0.0, 1.0]),
        costs=rng.uniform(0, 0.1, 4),
        max_scale=3,
        context_probs=np.array([0.3, 0.7]),
        query_weights=rng.uniform(1, 2, 10),
    )
    path = tmp_path / "mine.npz"
    save(data, path)
    plan = Plan((str(path),), ("random", "oracle"), (7,), trials=6, seed=1, reference="oracle")
    result = compare.compare(plan, tmp_path / "out", exact_values)
    acr = result.trials.set_index(["algorithm", "trial"])["acr"]

    world = envs.get(path)
    policies = runner.run_trials(world.source, algorithms.get("random"), 7, seed=1, trials=6)
    for trial in range(6):
        one = instances.instance(world.source, instances.trial_key(1, trial))
        train, test = (exact.values(data, np.asarray(split.ids)) for split in (one.train, one.test))
        chosen = [test[c, policies.prompt[trial, c], policies.scale[trial, c] - 1] for c in range(2)]
        assert acr["random", trial] == pytest.approx(0.3 * chosen[0] + 0.7 * chosen[1], abs=1e-12)
        best = [test[c].ravel()[train[c].argmax()] for c in range(2)]
        assert acr["oracle", trial] == pytest.approx(0.3 * best[0] + 0.7 * best[1], abs=1e-12)
    contexts = pd.read_csv(tmp_path / "out" / "contexts.csv")
    assert contexts["context"].tolist() == [0, 1, 0, 1]
    assert (contexts["regret_mean"] >= 0).all()

    monkeypatch.setattr(compare, "_BLOCK_TRIALS", 4)
    compare.compare(plan, tmp_path / "blocks", exact_values)
    assert same(tmp_path / "out", tmp_path / "blocks")


@pytest.mark.slow
def test_fresh_worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = SynthBernoulli(num_prompts=4, max_scale=3, num_queries=10)
    monkeypatch.setitem(envs.ENVS, "fresh", envs.Entry("a small one", lambda: source))
    plan = Plan(("fresh",), ("random", "oracle"), (7,), trials=5, seed=2, reference="random")
    one, other = tmp_path / "one", tmp_path / "other"
    result = compare.compare(plan, one, exact_values)
    assert len(list((one / "cells").iterdir())) == 3  # exact values are kept: computing them takes long
    train, test = exact_values(envs.get("fresh"), seed=2, first=0, trials=5)
    assert train.shape == test.shape == (5, 3, 4, 3)
    for trial in range(5):
        drawn = instances.instance(source, instances.trial_key(2, trial))
        np.testing.assert_allclose(test[trial], exact.world_values(drawn.world, drawn.test), atol=1e-12)
    expected = evaluate.score(*references.oracle(train), test, np.full(3, 1 / 3))
    oracle = result.trials[result.trials["algorithm"] == "oracle"]
    np.testing.assert_allclose(oracle["acr"], expected.acr, atol=1e-12)

    monkeypatch.setattr(compare, "_BLOCK_TRIALS", 2)
    compare.compare(plan, other, exact_values)
    assert same(one, other)
    assert len(list((other / "cells").iterdir())) == 3 * 2  # three blocks, whose exact values are dropped


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trials": 0}, r"trials is 0; it must lie in 1\.\."),
        ({"chunk": 0}, "chunk is 0"),
        ({"budgets": (50, -1)}, "budget is -1"),
        ({"budgets": ()}, "no budget is given"),
        ({"budgets": (20, 20)}, "budget 20 is given 2 times"),
        ({"budgets": (2**24 + 1,)}, r"budget is 16777217; it must lie in 1\.\.16777216"),
        ({"trials": 2**31}, r"trials is 2147483648; it must lie in 1\.\.2147483647"),
        ({"seed": -1}, r"seed is -1; it must lie in 0\.\."),
        ({"seed": 2**64}, "seed is"),
        ({"algorithms": ("unifrom",)}, "did you mean 'uniform'"),
        ({"envs": ("two-armed",)}, "did you mean 'two-arm'"),
        ({"envs": ("two-arm", "two-arm")}, "'two-arm' is given 2 times"),
        ({"reference": "psst"}, "the reference 'psst' is not among the algorithms"),
    ],
)
def test_plans_that_cannot_be_carried_out_are_refused_before_any_work(tmp_path: Path, change: dict, sentence: str):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=sentence):
        compare.compare(PLAN._replace(**change), out, exact_values)
    assert not out.exists()


def test_two_environments_of_one_name_are_refused(tmp_path: Path):
    data = envs.get("crossover").data
    assert data is not None
    save(data, tmp_path / "a.npz")
    with pytest.raises(ValueError, match="environment 'crossover' is given 2 times"):
        compare.check(PLAN._replace(envs=("crossover", str(tmp_path / "a.npz"))))


@pytest.mark.slow
def test_estimators_that_need_too_large_a_table_run_with_random_orders_and_say_so(tmp_path: Path):
    """Eight answers and pulls of 64; trials in other chunks, and round by round, are the same."""
    probs = np.full((2, 3, 8), 1 / 8)
    fields = {"costs": np.zeros(2), "max_scale": 64, "answers": np.zeros(3, int)}
    path = tmp_path / "wide.npz"
    save(Dataset("wide", ("mv",), probs, np.ones((1, 1)), np.zeros(1), **fields), path)
    plan = PLAN._replace(
        envs=(str(path), "two-arm"), algorithms=("uniform", "uniform:estimator=subsets", "oracle"), budgets=(300,)
    )
    assert list(compare.replaced(plan)) == [
        "uniform:estimator=subsets on wide takes estimator=subsets-8 instead of subsets: its table would be too large "
        "there"
    ]
    source, rule = envs.get(str(path)).source, algorithms.get("uniform:estimator=subsets")
    whole = runner.run_trials(source, rule, 300, seed=3, trials=6)
    parts = runner.run_trials(source, rule, 300, seed=3, trials=6, chunk=2, fused=True)
    named = runner.run_trials(source, algorithms.get("uniform:estimator=subsets-8"), 300, seed=3, trials=6)
    for other in (parts, named):
        for first, second in zip(whole[:3], other[:3], strict=True):
            np.testing.assert_array_equal(first, second)


def test_the_tables_of_a_rule_that_keeps_one_scale_of_a_pull_hold_all_scales():
    """One scale of 256 would fit a table; all do not."""
    rest = {"costs": np.zeros(1), "max_scale": 256, "values": np.zeros((1, 1, 1, 1))}
    long = Dataset("long", ("bon",), np.ones((1, 1, 1)), np.ones((1, 1)), np.zeros(1), **rest)
    alone = algorithms.get("sequential-halving:estimator=plug-in")
    assert runner.estimator_for(alone, long.environment()) == "plug-in-8"


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be made a folder"):
        compare.compare(PLAN, tmp_path / "file", exact_values)


def test_every_environment_is_begun_before_any_goes_on_and_large_ones_go_first():
    """Seen to fail with groups in the order of the plan, and with small environments first."""
    worlds = {name: envs.get(name) for name in ("two-arm", "crossover")}
    blocks = [cells.Block(env, "", "", 0, 0, 1, None) for env in worlds]
    groups = [[cells.Cell(block, name, 50, "")] for block in blocks for name in ("uniform", "random", "oracle")]
    order = compare._in_order(groups, worlds)
    assert [group[0].block.env for group in order] == ["crossover", "two-arm", *("crossover",) * 2, *("two-arm",) * 2]
    assert sorted(groups) == sorted(order)
