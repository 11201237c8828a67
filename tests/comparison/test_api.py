"""Comparison from Python: objects give the numbers that names give, under names that tell them apart."""

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sim
from sim import algorithms, compare, envs, run_one, run_trials, tables
from sim.algorithms.psst import PSST
from sim.algorithms.random_arm import RandomArm
from sim.algorithms.uniform import Uniform
from sim.comparison import cells, given
from sim.comparison.compare import Step
from sim.core import Algorithm
from sim.engine.runner import Trials
from sim.envs.dataset import Dataset
from sim.envs.sources import FixedSource, NamedSource, fixed
from sim.envs.synthetic import SynthBernoulli
from theory.exact import values
from theory.truth import exact_values

NUMBERS = ["acr", "regret", "error", "spent"]


def two_arm() -> Dataset:
    data = envs.get("two-arm").data
    assert data is not None
    return data


def here(rules: Any, places: Any = ("two-arm",), budgets: Any = (20, 50), **more: Any) -> Any:
    return compare(rules, places, budgets, **({"trials": 6, "seed": 3, "exact": exact_values} | more))


def rows(result: Any, algorithm: str) -> np.ndarray:
    return result.trials.loc[result.trials["algorithm"] == algorithm, NUMBERS].to_numpy()


class Other(Executor):
    """Computes as another process would: from what was written down, with nothing remembered."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        for known in (cells._named, cells._agrees, cells._warm_up, cells.exact_values):
            known.cache_clear()
        future: Future[Any] = Future()
        future.set_result(pickle.loads(pickle.dumps(fn))(*pickle.loads(pickle.dumps(args)), **kwargs))
        return future


def test_objects_give_the_numbers_of_their_names():
    """Seen to fail with the first object's results for all algorithms."""
    found = here([Uniform, PSST(ties="index"), "uniform", "psst:ties=index", lambda: algorithms.get("random")])
    assert found.summary["algorithm"].unique().tolist() == [
        *("Uniform", "PSST:ties=index", "uniform", "psst:ties=index", "RandomArm")
    ]
    np.testing.assert_array_equal(rows(found, "Uniform"), rows(found, "uniform"))
    np.testing.assert_array_equal(rows(found, "PSST:ties=index"), rows(found, "psst:ties=index"))
    assert not np.array_equal(rows(found, "RandomArm"), rows(found, "uniform"))
    assert found.summary.loc[found.summary["algorithm"] == "Uniform", "p_holm"].isna().all()  # the reference


def test_environments_are_taken_as_they_are():
    """The world of a function is its own query law, a data set's queries are split, a source is a source."""
    world = envs.get("two-arm")
    mine = {"named": world, "source": lambda: world.source, "made": two_arm, "text": "two-arm"}
    found = here("uniform", mine)
    assert found.held_out == dict.fromkeys(mine, False)
    parts = [part[NUMBERS].to_numpy() for _, part in found.trials.groupby("env")]
    for part in parts:  # a source alone holds chances of outcomes in 32 bits
        np.testing.assert_allclose(part, parts[0], atol=1e-8)
    data = envs.get("bon-query-effects").data
    assert data is not None
    assert here("uniform", data, 40).held_out == {data.name: True}
    assert here("uniform", fixed(data, 1.0), 40).held_out == {data.name: False}


def test_files_are_named_by_paths(tmp_path: Path):
    sim.save(two_arm(), tmp_path / "a.npz")
    with pytest.raises(ValueError, match="holds one query; a split into train and test needs at least two"):
        here("uniform", tmp_path / "a.npz")


def test_what_is_kept_is_found_again_by_object_and_by_name(tmp_path: Path):
    """A cell depends on the numbers and the program, not on who named it. Seen to fail with the name in the key."""
    first = here([Uniform()], [two_arm], out=tmp_path)
    assert (first.reused, sorted(path.name for path in tmp_path.iterdir())[:2]) == (0, ["cells", "contexts.csv"])
    assert here(["uniform"], ["two-arm"], out=tmp_path).reused == 2
    assert here({"mine": Uniform}, [two_arm], (20, 30), out=tmp_path).reused == 1
    assert pd.read_csv(tmp_path / "summary.csv")["algorithm"].unique().tolist() == ["mine"]
    before = sorted(path.name for path in (tmp_path / "cells").iterdir())
    here(["random"], [two_arm])
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == before


def test_two_objects_of_one_name_one_after_the_other_are_told_apart():
    """Seen to fail with worlds remembered by name alone."""
    data = two_arm()
    turned = Dataset(
        **{name: getattr(data, name) for name in ("name", "aggregate", "objective_weights", "cost_weights", "costs")},
        probs=data.probs[::-1],
        values=None if data.values is None else data.values[::-1],
        answers=data.answers,
        max_scale=1,
    )
    one, other = (here("oracle", {"w": lambda data=data: data}, 20, trials=2) for data in (data, turned))
    assert one.trials["acr"].tolist() == other.trials["acr"].tolist() == pytest.approx([0.1, 0.1])
    both = [here(Uniform, {"w": lambda data=data: data}, 500, trials=4) for data in (data, turned)]
    assert [found.trials["error"].sum() for found in both] == [0, 0]


def test_other_processes_are_handed_the_objects():
    """Seen to fail (a name that nobody knows) with the object left out of a cell, and of a block."""
    rules, places = [Uniform(), RandomArm()], {"mine": fixed(two_arm(), 1.0)}
    alone, apart = here(rules, places), here(rules, places, workers=Other())
    pd.testing.assert_frame_equal(alone.trials, apart.trials)
    pd.testing.assert_frame_equal(alone.contexts, apart.contexts)


@pytest.mark.slow
def test_processes_change_no_number():
    rules, places = [Uniform(), PSST(ties="index")], {"mine": fixed(two_arm(), 1.0)}
    pd.testing.assert_frame_equal(here(rules, places).trials, here(rules, places, workers=2).trials)


class Mine(Uniform):
    """A rule with options of several kinds."""

    share: float = 0.5
    kind: str = "plain"
    sizes: tuple[int, ...] = (1, 2)
    how: Callable[[float], float] = abs
    must: Any = None


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (Mine, "Mine"),
        (Mine(), "Mine"),
        (Mine(share=0.25, sizes=(4, 8)), "Mine:share=0.25,sizes=4+8"),
        (Mine(how=float, kind="other"), "Mine:kind=other"),
        (Mine(must=np.float32(0.5)), "Mine:must=0.5"),
        (partial(Mine, kind="x"), "Mine:kind=x"),
    ],
)
def test_an_algorithm_is_called_by_its_class_and_changed_options(rule: Any, name: str):
    assert [str(one) for one in given.algorithms_of([rule])] == [name]
    assert str(given.algorithms_of(rule)[0]) == name


def test_a_source_is_called_by_its_class_and_changed_options():
    names = [str(one) for one in given.environments_of([SynthBernoulli, SynthBernoulli(num_prompts=4), two_arm])]
    assert names == ["SynthBernoulli", "SynthBernoulli:num_prompts=4", "two-arm"]
    world = envs.get("two-arm").source
    assert isinstance(world, FixedSource)
    (found,) = given.environments_of({"mine": world})
    assert isinstance(found, given.Given)
    assert isinstance(found.thing, NamedSource)
    assert (found.name, found.thing.name, found.thing.source) == ("mine", "mine", world)


def needs(prompts: int) -> Algorithm:
    return Uniform()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"exact": None}, "none are given: pass exact=theory.exact_values"),
        ({"rules": [Mine(how=float), Mine()]}, r"2 algorithms are called Mine; name them yourself: algorithms=\{"),
        ({"places": [two_arm, lambda: two_arm()]}, "2 environments are called two-arm; name them yourself: environm"),
        ({"places": [two_arm, "two-arm"]}, "2 environments are called two-arm"),
        ({"rules": [3]}, "an algorithm is 3; give a name, an instance or a subclass of sim.Algorithm, or a function"),
        ({"rules": [lambda: "uniform"]}, "an algorithm is <function"),
        (
            {"rules": [Algorithm]},
            "Algorithm has not all that an algorithm needs: init, finished, allocate, update, recomm",
        ),
        ({"rules": [needs]}, r"needs needs prompts to make an algorithm; give an algorithm that is made"),
        ({"places": [dict]}, "an environment is <class 'dict'>; give a name, a path, a sim.Dataset, a sim.Source"),
        ({"rules": {"": Uniform}}, "the name of an algorithm is ''; it must be text, and not empty"),
        ({"rules": []}, "no algorithm is given"),
        ({"places": {}}, "no environment is given"),
        ({"budgets": []}, "no budget is given"),
        ({"budgets": 20.5}, "a budget is 20.5; it must be a whole number of completions"),
        ({"budgets": [True]}, "a budget is True"),
        ({"budgets": "20"}, "a budget is '20'"),
        ({"places": 20}, "an environment is 20; give a name"),
        ({"reference": "psst"}, "the reference 'psst' is not among the algorithms uniform"),
        ({"reference": PSST}, "the reference 'PSST' is not among the algorithms uniform"),
        ({"workers": 0}, "workers is 0; it must be a whole number of processes from 1, or an Executor"),
        ({"rules": ["unifrom"]}, "did you mean 'uniform'"),
        ({"exact": np.zeros((1, 2, 3))}, r"have the shape \(1, 2, 3\); finite numbers of the shape \(1, 2, 1\)"),
        ({"exact": np.full((1, 2, 1), np.nan)}, "finite numbers of the shape"),
        ({"exact": {"other": 0}}, "exact holds no table for two-arm; it has other"),
        ({"exact": np.zeros(1), "places": ["two-arm", "crossover"]}, "one table for 2 environments; give a mapping"),
        ({"exact": np.zeros(1), "places": ["synth-bernoulli"]}, "has a world or a split of queries of its own"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence) as refused:
        here(**({"rules": ["uniform"], "out": tmp_path / "out"} | change))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_objects_that_cannot_travel_are_refused_before_any_work():
    class Local(Uniform):
        pass

    with pytest.raises(ValueError, match="Local is defined where other processes cannot find it"):
        here([Local()], workers=2)


def test_a_table_of_values_scores_as_the_function_does():
    data = two_arm()
    expected = here("uniform")
    for table in (values(data), {"two-arm": values(data), "another": 0}):
        pd.testing.assert_frame_equal(here("uniform", exact=table).trials, expected.trials)


def test_steps_are_reported_and_the_reference_may_be_an_object():
    steps: list[Step] = []
    found = here([Uniform, "random"], report=steps.append, reference=Uniform())
    assert [step.algorithm for step in steps] == [None, "Uniform", "Uniform", "random", "random"]
    assert found.summary["p_holm"].isna().tolist() == [True, True, False, False]
    assert found.provenance["settings"]["reference"] == "Uniform"
    here([Mine(how=float)], budgets=20.0)  # an option that JSON cannot hold


def test_one_trial_equals_the_same_of_many():
    source = envs.get("two-arm").source
    many = run_trials(source, Uniform(), 50, seed=4, trials=3)
    for trial in range(3):
        one = run_one(source, Uniform(), 50, seed=4, trial=trial)
        assert one.policy.prompt.tolist() == many.prompt[trial].tolist()
        assert int(one.spent) == many.spent[trial]
    assert run_one("two-arm", "uniform", 50, seed=4) == run_one(envs.get("two-arm"), Uniform(), 50, seed=4)
    with pytest.raises(ValueError, match="seed is -1"):
        run_one(source, Uniform(), 50, seed=-1)


def test_answers_as_a_table():
    found = Trials(np.array([[3, 1], [0, 2]]), np.array([[8, 1], [4, 15]]), np.array([200, 190]))
    table = tables.of_trials(found, first=5, contexts=("free", "dear"))
    assert tuple(table.columns) == tables.ANSWERS
    assert table["trial"].tolist() == [5, 5, 6, 6]
    assert table["context"].tolist() == ["free", "dear"] * 2
    assert table["prompt"].tolist() == found.prompt.ravel().tolist()
    assert table["scale"].tolist() == found.scale.ravel().tolist()
    assert table["spent"].tolist() == found.spent.repeat(2).tolist()
    with pytest.raises(ValueError, match="1 labels for 2 contexts"):
        tables.of_trials(found, contexts=("one",))
