"""How sure a run is: evidence from its journal, statements in words, in policy.json and by `iapo advise`."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from live_runs import MINIMAL, RACING, RUN, TUNE, digit, iapo, write
from live_server import Model, serving

from sim.adapters import certified
from sim.adapters import config as reading
from sim.adapters import session as sessions
from sim.adapters import tune as driver
from sim.adapters.evaluation import Measured
from sim.adapters.wire.protocol import Offline
from sim.certify import QueryEvidence, certify_all
from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")

PROMPTS = ["weak", "strong", "wrong"]


def evidence_of(file: Path) -> QueryEvidence:
    run = reading.load(file)
    with sessions.session(run, Offline, str(run.journal), capped=False) as live:
        return certified.run_evidence(live, driver.load_items(run))


def test_a_run_says_how_sure_it_is(folder: Path) -> None:
    """By hand from the exported completions; the same in words, in the file and by `iapo advise`; nothing is asked."""
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url, RUN.replace(TUNE, RACING))
        result = iapo("tune", file, "--yes")
        assert result.exit_code == 0, result.output
    asked = len(model.requests)
    evidence = evidence_of(file)
    iapo("journal", "export", folder / "out", "--out", folder / "all.jsonl")
    log = pd.read_json(folder / "all.jsonl", lines=True)
    log = log[log["stream"] == "tune"]
    for p, prompt in enumerate(PROMPTS):
        for x in range(30):
            own = log[(log["prompt"] == prompt) & (log["query"] == f"query {x} has the digit {x % 10}")]["text"]
            assert evidence.completions[p, x] == len(own)
            right = (own == f"It is {x % 10}.").mean()
            assert evidence.rewards[0, p, x, 0] == pytest.approx(right, abs=1e-4, nan_ok=True)
            tokens = len(f"[0.45] query {x} has the digit {x % 10}") // 4 + np.mean([len(one) // 4 for one in own])
            assert evidence.cost[p, x] == pytest.approx(tokens)
    assert evidence.max_scale == 8
    content = json.loads((folder / "out" / "policy.json").read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", content["run"]["date"])
    assert content["run"]["cost_measure"] == "tokens"
    names = list(content["statements"])
    assert names == ["cost 0", "cost 1"]
    facts = [content["statements"][name] for name in names]
    terms = certified.confidence_of(reading.load(file), 30, content["run"]["rounds"])
    assert (terms.grade, terms.planned) == ("anytime", 30)
    arms = [(PROMPTS.index(one["prompt"]), one["scale"]) for one in facts]
    for one, own, again in zip(
        facts, content["policy"].values(), certify_all(evidence, *np.array(arms).T, terms), strict=True
    ):
        assert (one["prompt"], one["scale"]) == (own["chosen"]["prompt"], own["chosen"]["scale"])
        assert one["eps"] == pytest.approx(again.eps)
        assert one["grade"] == "anytime"
        assert one["queries"] == again.queries
        assert len(one["not_apart"]) == len(again.not_apart)
        assert one["text"].startswith(
            f"Use `{one['prompt']}` with N = {one['scale']} at {one['cost_per_query']:.3g} tok"
        )
    lines = result.stdout.splitlines()
    said = [next(line for line in lines if line.startswith(f"{name}: Use `")) for name in names]
    advice = iapo("advise", folder / "out", "--out", folder / "advice")
    assert advice.exit_code == 0, advice.output
    for sentence in said:
        assert sentence in advice.stdout.splitlines()
    assert "completions of a run's journal" in advice.stdout
    assert (folder / "advice" / "advice.png").exists()
    assert len(model.requests) == asked


def test_a_run_of_one_round_has_sizes_fixed_beforehand(folder: Path) -> None:
    """And a worth in money takes the place of its contexts; tokens need a price."""
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url, RUN.replace('"psst"', '"uniform"'))
        assert iapo("tune", file, "--yes").exit_code == 0
    content = json.loads((folder / "out" / "policy.json").read_text())
    assert {one["grade"] for one in content["statements"].values()} == {"asymptotic"}
    unpriced = iapo("advise", folder / "out", "--worth", 1)
    assert unpriced.exit_code == common.USER_ERROR
    assert "costs are tokens; --price P says what a million of them cost" in unpriced.stderr
    found = iapo("advise", folder / "out", "--worth", 1, "--price", 2, "--currency", "$", "--out", folder / "advice")
    assert found.exit_code == 0, found.output
    table = pd.read_csv(folder / "advice" / "values.csv")
    assert list(dict.fromkeys(table["context"])) == ["worth 1"]
    np.testing.assert_allclose(table["value"], table["reward"] - table["cost"], atol=1e-9)
    assert "Use `strong` with N = " in found.stdout
    (folder / "out" / "policy.json").unlink()
    gone = iapo("advise", folder / "out")
    assert gone.exit_code == common.USER_ERROR
    assert "policy.json: cannot be read" in gone.stderr


def test_evidence_of_an_evaluation_by_hand(tmp_path: Path) -> None:
    """Two pulls of 3 for "a", of 2 for "b": blocks of N are averaged, costs are those of N completions.

    Prompts come in the order of `width`, whatever the order of costs. Seen to fail where costs kept theirs: a statement
    gave the dear prompt the cost of the cheap one.
    """
    (tmp_path / "run.toml").write_text(MINIMAL)
    (tmp_path / "q.jsonl").write_text('{"query": "x", "gold": 1}')
    run = reading.load(tmp_path / "run.toml")
    spec, _ = driver.world(run, driver.Costs(*np.zeros((3, 2))))
    unit = float(spec.unit[0])
    sums = {"a": [[6, 2, 1], [3, 1, 2]], "b": [[4, 1], [0, 0]]}
    units = {name: np.array(own)[:, None, :] / unit for name, own in sums.items()}
    cost = {"b": np.array([3.0, 3.0]), "a": np.array([1.0, 2.0])}
    found = certified.evaluated(run, Measured({"a": 3, "b": 2}, units, cost, {"a": 0, "b": 0}), 2)
    np.testing.assert_allclose(found.rewards[0, 0], [[1.0, 1.0, 0.5], [0.5, 0.5, 1.0]])
    np.testing.assert_allclose(found.rewards[0, 1], [[1.0, 0.5, np.nan], [0.0, 0.0, np.nan]])
    np.testing.assert_allclose(found.utilities(1)[0], found.rewards[0, 0] - 0.1 * np.outer([1.0, 2.0], [1, 2, 3]))
    assert found.completions.tolist() == [[3, 3], [2, 2]]
