"""The deployment check: values of what the model said, unbiased sharing, exact intervals, nothing asked twice."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from live_runs import RUN, digit, iapo, queries, write
from live_server import Model, serving
from scipy import stats

from sim.adapters import config, evaluation
from sim.adapters import policy as policy_file
from sim.adapters import session as sessions
from sim.adapters.evaluation import interval
from sim.adapters.paid.entries import SETTLED, Draw
from sim.adapters.paid.ledger import Amount
from sim.adapters.paid.sampler import Want, consecutive
from sim.adapters.scoring import Item
from sim.adapters.summing import unit_sums
from sim.adapters.wire.protocol import Offline, Usage
from sim.cli import common
from sim.envs.contexts import Outcomes, describe

pytest.importorskip("openai", reason="the extra [llm] is not installed")

COSTS = {"weak": 5, "strong": 6, "wrong": 7}
TEXT = RUN.replace("[tune]", "[caps]\ncompletions = 2000\n[tune]")
HELD_OUT = 12


def policy() -> dict:
    """A policy that needs blocks of 3; "weak" is best alone in both contexts."""

    def arm(prompt: str, scale: int) -> dict:
        return {"prompt": prompt, "scale": scale, "value": 0.5, "low": None, "high": None, "pulls": 9}

    text = {"weak": "[0.45] {query}", "strong": "[0.75] {query}"}
    prompts = {
        name: {"name": name, "text": text[name], "system": "", "model": "m", "max_tokens": 10, "temperature": None}
        | {"top_p": None, "cost": None}
        for name in text
    }
    return {
        "schema": "iapo-policy",
        "version": 2,
        "name": "digits",
        "source": {},
        "prices": {},
        "contexts": {},
        "prompts": prompts,
        "policy": {
            "cost 0": {"chosen": arm("strong", 3), "single": arm("weak", 1)},
            "cost 1": {"chosen": arm("weak", 3), "single": arm("weak", 1)},
        },
        "spent": {},
    }


@pytest.fixture
def folder(folder: Path) -> Path:
    queries(folder, HELD_OUT, 30, "held.jsonl")
    (folder / "policy.json").write_text(json.dumps(policy() | {"config": str(folder / "run.toml")}))
    return folder


def prepare(folder: Path, url: str, text: str = TEXT) -> Path:
    """Write the configuration, and into the policy what it says."""
    tuned = config.load(file := write(folder, url, text))
    held = {"source": tuned.source, "prices": {"m": [10**6, 2 * 10**6]}, "contexts": {}}
    for one in tuned.contexts:
        held["contexts"][one.name] = {"weights": [1.0], "cost_weight": one.cost_weight, "probability": 0.5}
    place = folder / "policy.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | held))
    return file


def run(folder: Path, *options: object):
    return iapo("evaluate", folder / "policy.json", "--queries", folder / "held.jsonl", *options)


def credit(texts: list[str], gold: int) -> float:
    """Majority vote by hand: unreadable answers are one wrong answer."""
    votes = Counter(text[6] if text.startswith("It is ") else "?" for text in texts)
    most = max(votes.values())
    return (votes[str(gold)] == most) / sum(count == most for count in votes.values())


def joined(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Student's interval of values with two more at either end of their range."""
    return tuple(stats.ttest_1samp([*values, low, low, high, high], 0).confidence_interval(0.95))


def test_values_and_gains_are_those_of_what_the_model_said(folder: Path):
    """By hand from the exported completions: blocks of 3 for the policy, of 1 and of 2 for its rivals."""
    model = Model(answer=digit)
    with serving(model) as url:
        prepare(folder, url)
        result = run(folder, "--yes", "--triple-scale", 2)
        assert result.exit_code == 0, result.output
        asked = len(model.requests)
        assert model.completions == HELD_OUT * (3 + 3)
        assert f"This call: {model.completions} completions, {model.tokens} tokens" in result.stdout
        said = next(line for line in result.stdout.splitlines() if line.startswith("cost 0: Use `strong` with N = 3"))
        assert "(6 arms, 12 queries; asymptotic, simultaneous, 2 contexts at once)" in said
        assert "cost 1: Use `weak` with N = 3" in result.stdout
        again = run(folder, "--yes", "--triple-scale", 2)
        assert "This call: 0 completions" in again.stdout
        assert len(model.requests) == asked
    iapo("journal", "export", folder / "out", "--out", folder / "all.jsonl")
    log = pd.read_json(folder / "all.jsonl", lines=True)
    assert set(log["stream"]) == {"evaluate"}

    def values(prompt: str, scale: int, width: int, cost_weight: float) -> np.ndarray:
        found = []
        for k in range(30, 30 + HELD_OUT):
            text = f"query {k} has the digit {k % 10}"
            own = list(log[(log["prompt"] == prompt) & (log["query"] == text)].sort_values("draw")["text"])
            assert len(own) == width
            blocks = [own[i * scale : (i + 1) * scale] for i in range(width // scale)]
            tokens = len(f"[0.45] {text}") // 4 + np.mean([len(one) // 4 for one in own])
            found.append(np.mean([credit(block, k % 10) for block in blocks]) - cost_weight * scale * tokens)
        return np.array(found)

    table = pd.read_csv(folder / "out" / "evaluation.csv").set_index(["context", "arm"])
    free = {
        "policy": values("strong", 3, 3, 0),
        "single": values("weak", 1, 3, 0),
        "triple": values("weak", 2, 3, 0),
    }
    dear = {
        "policy": values("weak", 3, 3, 1),
        "single": values("weak", 1, 3, 1),
        "triple": values("weak", 2, 3, 1),
    }
    for role in free:
        for name, one in [("cost 0", free), ("cost 1", dear)]:
            assert table.loc[(name, role), "value"] == pytest.approx(one[role].mean(), abs=2**-15)
        mean = (free[role] + dear[role]) / 2
        assert table.loc[("mean", role), "value"] == pytest.approx(mean.mean(), abs=2**-15)
    for role in ("single", "triple"):
        ends = table.loc[("cost 0", role), ["gain_low", "gain_high"]].to_numpy(float)
        assert ends == pytest.approx(joined(free["policy"] - free[role], -1, 1), abs=1e-4)
    low, high = joined(free["policy"], 0, 1)
    assert table.loc[("cost 0", "policy"), ["value_low", "value_high"]].to_numpy(float) == pytest.approx(
        [max(low, 0), min(high, 1)], abs=1e-4
    )
    both = (free["policy"] + dear["policy"] - free["triple"] - dear["triple"]) / 2
    dearer = np.mean(values("weak", 3, 3, 0) - dear["policy"] - values("weak", 2, 3, 0) + dear["triple"]) / 2
    ends = table.loc[("mean", "triple"), ["gain_low", "gain_high"]].to_numpy(float)
    assert ends == pytest.approx(joined(both, -1 - dearer, 1 - dearer), abs=1e-4)


def test_a_query_without_token_counts_costs_what_the_others_do(folder: Path):
    """Seen to end the run after it was paid for."""
    made = config.load(write(folder, "http://127.0.0.1:9/v1", TEXT))
    with sessions.session(made, Offline, ":memory:") as live:
        wants = consecutive("evaluate", made.endpoints, made.prompts[:1], [Item("a"), Item("b"), Item("c")], 1, 0)

        async def answer(want: Want, usage: Usage | None) -> None:
            attempt = await live.journal.begin(want.cell, 0, 1, None, Amount())
            await live.journal.end(attempt, SETTLED, Amount(1, 0, 0), [Draw("", "stop")], usage)

        live.loop.run(answer(wants[0], None))
        with pytest.raises(ValueError, match="no usable token counts for prompt 'weak', and the policy file holds no"):
            evaluation._cost(live, wants[0], wants)
        for want, tokens in zip(wants[1:], (2, 4), strict=True):
            live.loop.run(answer(want, Usage(10, tokens)))
        assert [evaluation._cost(live, want, wants) for want in wants] == [13, 12, 14]


def test_sharing_completions_between_scales_is_unbiased():
    """All 2^5 answers of a pull of 5, each with its probability: the blocks' mean is the vote's exact value."""
    chance, width = 0.7, 5
    _, strategy = describe(
        Outcomes(("mv",), np.zeros(1), np.ones(1)), np.ones((1, 1)), np.zeros(1), np.ones(1), width, num_answers=2
    )
    answers = np.array(list(itertools.product([0.0, 1.0], repeat=width)), np.float32)  # label 0 is right
    law = np.prod(np.where(answers == 0, chance, 1 - chance), axis=1)
    sums = unit_sums(strategy, answers[:, :, None], np.full(len(answers), width))
    for scale in range(1, width + 1):
        means = sums[:, 0, scale - 1] / (width // scale) * float(strategy.unit[0])
        votes = stats.binom(scale, chance)
        exact = votes.sf(scale / 2) + 0.5 * votes.pmf(scale / 2)
        assert law @ means == pytest.approx(exact, abs=1e-4)


def test_sums_of_blocks_make_no_use_of_the_number_of_answers_that_is_told():
    """Pulls with four answers, told two and nine. Seen to fail with that number for those that pulls show."""
    answers = np.random.default_rng(2).integers(0, 4, (40, 6)).astype(np.float32)
    rest = Outcomes(("mv",), np.zeros(1), np.ones(1)), np.ones((1, 1)), np.zeros(1), np.ones(1), 6
    few, many = (
        unit_sums(describe(*rest, num_answers=told)[1], answers[:, :, None], np.full(40, 6)) for told in (2, 9)
    )
    np.testing.assert_array_equal(few, many)


def test_an_interval_of_votes_joins_made_up_queries_and_one_of_scores_holds_students():
    """By independent code. Votes that all agree have an interval, too; scores that do have none."""
    values = np.random.default_rng(0).normal(size=20)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    mean, low, high = interval(values)
    assert (mean, high) == pytest.approx((values.mean(), expected.high))  # skewed to the left
    assert low < expected.low - 0.02
    right = (np.random.default_rng(1).random(20) < 0.6).astype(float)
    costs = np.array([-0.25, 0.75])
    ends = joined(right - 0.25, *costs)
    assert interval(right - 0.25, costs) == pytest.approx((right.mean() - 0.25, *ends))
    alike = joined(np.ones(20), 0, 1)
    assert interval(np.ones(20), np.array([0.0, 1.0])) == pytest.approx((1.0, alike[0], 1.0))
    assert interval(np.ones(20), np.array([0.0, 1.0]), known=False) == pytest.approx((1.0, *alike))
    assert interval(np.full(20, 0.1)) == (pytest.approx(0.1), None, None)
    assert interval(np.ones(9), np.array([0.0, 1.0])) == (1.0, None, None)


def test_caps_are_those_of_tuning(folder: Path):
    """Seen to be fewer by default, where the policy holds fewer prompts than the configuration."""
    file = prepare(folder, "http://127.0.0.1:9/v1", RUN)
    run, changed = config.of_tuning(policy_file.load(folder / "policy.json"))
    assert (run.caps, changed) == (config.load(file).caps, [])
    assert len(run.prompts) < len(config.load(file).prompts)


def test_a_plan_asks_nothing_and_a_stopped_check_goes_on(folder: Path):
    model = Model(answer=digit)
    with serving(model) as url:
        prepare(folder, url)
        planned = run(folder, "--plan", "--pulls", 2)
        assert planned.exit_code == 0, planned.output
        assert model.requests == []
        assert f"digits: {HELD_OUT * 2 * (3 + 3)} completions of {HELD_OUT} queries, 0 kept already" in planned.stdout
        longest = max(len(f"[0.75] query {k} has the digit 0") for k in range(30, 42)) + 8 + 64 + 10
        assert f"{144 * longest:,}" in planned.stdout
        model.fault = lambda number, body: "quota" if number > 7 else None
        stopped = run(folder, "--yes", "--pulls", 2)
        assert stopped.exit_code == common.USER_ERROR
        assert "no money left" in stopped.stderr
        assert not (folder / "out" / "evaluation.csv").exists()
        kept = model.completions
        assert kept > 0
        model.fault = lambda number, body: None
        ended = run(folder, "--yes", "--pulls", 2)
        assert f"{kept} kept already" in ended.stdout
        assert model.completions == HELD_OUT * 2 * (3 + 3)
        table = pd.read_csv(folder / "out" / "evaluation.csv").set_index(["context", "arm"])
        assert np.isnan(table.loc[("cost 1", "triple"), "gain"]), "the policy's arm itself"
        assert "the same" in ended.stdout
        starts = [body["seed"] for body in model.requests if body["seed"]]
        assert len(set(starts)) == 2 * HELD_OUT, "the same draws of the same prompts, whenever asked"


def test_what_the_policy_holds_is_evaluated_and_refusals_are_shown(folder: Path):
    """The configuration changed since. Seen to fail where its endpoint, scorer and contexts were taken."""
    refusing = "query 31 has the digit 1"
    model = Model(answer=digit)
    model.fault = lambda number, body: "filter" if refusing in body["messages"][0]["content"] else None
    with serving(model) as url:
        file = prepare(folder, url)
        (note,) = run(folder, "--plan").stderr.splitlines()
        assert note.startswith("note: requests go to")
        text = file.read_text().replace('"number"', '"exact"').replace("[0.0, 1.0]", "[0.0, 7.0]")
        text = text.replace("completion = 2.0", "completion = 3.0").replace("max_scale = 4", "max_scale = 2")
        file.write_text(text.replace('model = "m"', 'model = "m"\nextra = { top_k = 1 }'))
        result = run(folder, "--yes", "--limit", 4)
    assert result.exit_code == 0, result.output
    changed = "endpoint, objectives, contexts, max_scale, prices"
    differs = f"note: {file} differs from {folder / 'policy.json'} in {changed}; what the policy holds is evaluated\n"
    assert result.stderr.startswith(differs)
    assert all("top_k" not in body for body in model.requests)
    table = pd.read_csv(folder / "out" / "evaluation.csv").set_index(["context", "arm"])
    assert list(table.loc["cost 1", "refused"]) == [1, 1, 1]
    assert np.isnan(table.loc[("mean", "policy"), "refused"])
    assert "a filter refused the prompt" in " ".join(result.stdout.split())
    assert table.loc[("cost 0", "policy"), "value"] > 0.4, "read as numbers"


@pytest.mark.parametrize(
    ("options", "change", "said"),
    [
        (["--pulls", 0], {}, "--pulls is 0"),
        (["--limit", 0], {}, "--limit is 0"),
        (["--out", "x.txt"], {}, "ends in .csv or .parquet"),
        (["--out", "nowhere/x.csv"], {}, "--out is nowhere/x.csv; its folder"),
        ([], {"moved": True}, "policy.json: came from /nowhere/run.toml, which is not there any more"),
        (["--triple-scale", 5], {}, "between 1 and tune.max_scale (4)"),
        ([], {"old": True}, "row 1 is a query of the tuning run (1 such rows)"),
        ([], {"cap": 400}, "caps.completions is 400; 0 are spent and up to 432 are missing: it must be at least 432"),
        ([], {"context": "elsewhere"}, "policy.cost 0 is missing; it is needed"),
        ([], {"scale": 5}, "policy.cost 1.chosen.scale is 5, above tune.max_scale (4)"),
        ([], {"single": True}, "no best prompt at N = 1 in the context 'cost 0'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_first_request(
    options: list, change: dict, said: str, folder: Path
):
    model, made = Model(answer=digit), policy()
    if "context" in change:
        made["policy"][change["context"]] = made["policy"].pop("cost 0")
    if "single" in change:
        del made["policy"]["cost 0"]["single"]
    if "scale" in change:
        made["policy"]["cost 1"]["chosen"]["scale"] = change["scale"]
    config = "/nowhere/run.toml" if "moved" in change else str(folder / "run.toml")
    (folder / "policy.json").write_text(json.dumps(made | {"config": config}))
    if "old" in change:
        (folder / "held.jsonl").write_text((folder / "q.jsonl").read_text().split("\n")[0])
    with serving(model) as url:
        prepare(folder, url, TEXT.replace("completions = 2000", f"completions = {change.get('cap', 2000)}"))
        pulls = ["--pulls", 6] if "cap" in change else []
        refused = run(folder, "--yes", *options, *pulls)
    assert refused.exit_code == common.USER_ERROR, refused.output
    assert said in refused.stderr
    said_of_keys = refused.stderr.startswith("note: requests go to")
    assert refused.stderr.count("\n") == 1 + said_of_keys
    assert model.requests == []
