"""Live runs end to end against a local server: the right answer, the same after a stop, and every refusal before it."""

import json
import os
import random
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import SIGMAS
from live_runs import RACING, RUN, TUNE, digit, iapo, write
from live_server import KEY, Model, serving, words

from sim.adapters import config as reading
from sim.adapters import live, policy, tune
from sim.adapters import session as sessions
from sim.adapters.evidence import Evidence
from sim.adapters.paid.entries import Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.policy import Arm, combine
from sim.adapters.run_file.settings import Context, Objective
from sim.adapters.scorers.text import Exact
from sim.adapters.scoring import OK, UNREADABLE, Scored
from sim.adapters.wire.protocol import Offline
from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")


def rows(folder: Path) -> pd.DataFrame:
    """Draws and their seeds, in order: what two runs must agree in."""
    journal = Journal(folder / "out" / "journal.sqlite")
    found = journal._base.execute("SELECT hex(cell), draw, seed, finish, text FROM draws ORDER BY 1, 2").fetchall()
    journal.close()
    return pd.DataFrame(found)


def test_a_run_finds_the_better_prompt_and_says_what_it_cost(folder: Path):
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url)
        planned = iapo("tune", file, "--plan", "--yes")
        assert planned.exit_code == 0, planned.output
        probing = 3 * 4 * 4
        assert model.completions == probing
        assert "rounds, estimated from the probe" in planned.stdout
        left = re.findall(r"^ *([1-4]) +(\d+) +[1-3] +[1-4] +\d+ +\d+ *$", planned.stdout, flags=re.M)
        assert left == [("1", "12"), ("2", "6"), ("3", "3"), ("4", "2")]
        longest = len("[0.45] query 29 has the digit 9") + 8 + 64  # bytes, the message's frame, the template
        assert f"rounds, at most {400} {400 * (longest + 10):,} {400 * (longest + 2 * 10) / 1e6:.4f}" in " ".join(
            planned.stdout.split()
        )
        result = iapo("tune", file, "--yes")
        assert result.exit_code == 0, result.output
        asked = len(model.requests)
        again = iapo("tune", file, "--yes")
        assert again.exit_code == 0
        assert len(model.requests) == asked, "nothing is asked twice"
        content = json.loads((folder / "out" / "policy.json").read_text())
        assert content["spent"]["completions"] == model.completions <= probing + 400
        assert content["spent"]["tokens"] == model.tokens
        free = content["policy"]["cost 0"]
        assert free["chosen"]["prompt"] == "strong"
        assert free["chosen"]["low"] < free["chosen"]["value"] < free["chosen"]["high"]
        assert free["single"]["prompt"] == "strong"
        assert content["policy"]["cost 1"]["chosen"]["scale"] == 1
        assert content["run"]["seen"]["right: unreadable"] > 0
        arms = pd.read_csv(folder / "out" / "arms.csv")
        best = arms[(arms["context"] == "cost 0") & (arms["prompt"] == "strong") & (arms["scale"] == 1)].iloc[0]
        assert abs(best["value"] - 0.75) <= 5 * best["se"]
        answered = iapo("ask", folder / "out" / "policy.json", "what has the digit 7", "--context", "cost 0")
        assert answered.exit_code == 0, answered.output
        assert re.fullmatch(r"(It is \d\.|no idea)\n", answered.stdout)
        refused = iapo("ask", folder / "out" / "policy.json", "what has the digit 7")
        assert refused.exit_code == common.USER_ERROR
        assert "--context is needed" in refused.stderr


def test_values_are_less_what_all_completions_took(folder: Path):
    """Tokens of probe and rounds. Seen to be less what the probe alone had measured."""
    text = RUN.replace("cost_weights = [0.0, 1.0]", "cost_weights = [0.0, 0.01]").replace(
        "budget = 400", "budget = 800"
    )
    model = Model(answer=lambda prompt, number: digit(prompt, number) + " x" * (words(prompt, number) % 9))
    with serving(model) as url:
        result = iapo("tune", write(folder, url, text), "--yes")
    assert result.exit_code == 0, result.output
    assert "Values are less what completions took in the probe and the rounds" in " ".join(result.stdout.split())
    journal = Journal(folder / "out" / "journal.sqlite")
    query = "SELECT prompt, avg(prompt_tokens), total(completion_tokens) / total(completions) FROM attempts JOIN cells "
    taken = {name: before + after for name, before, after in journal.rows(query + "USING (cell) GROUP BY 1")}
    journal.close()
    arms = pd.read_csv(folder / "out" / "arms.csv").set_index(["context", "prompt", "scale"])
    assert len(arms) == 24
    for (prompt, scale), free in arms.loc["cost 0"].iterrows():
        priced = arms.loc["cost 0.01", prompt, scale]
        assert priced["value"] == pytest.approx(free["value"] - 0.01 * scale * taken[prompt])
        assert priced["se"] != free["se"]
    for arm in json.loads((folder / "out" / "policy.json").read_text())["policy"]["cost 0"].values():
        assert 0 <= arm["low"] < arm["value"] < arm["high"] <= 1


@pytest.mark.parametrize("tuning", [TUNE, RACING])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(folder: Path, tuning: str):
    """Stopped three times by its cap, then by an outage of the key; then allowed to end.

    Mixture racing deepens pulls: both runs have asked for the same draws of every cell, none of them twice.
    """
    whole, parts = folder / "whole", folder / "parts"
    for part in (whole, parts):
        part.mkdir()
        (part / "q.jsonl").write_text((folder / "q.jsonl").read_text())
    model = Model(answer=digit)
    with serving(model) as url:
        text = RUN.replace("URL", url).replace(TUNE, tuning)
        priced = text.replace('name = "weak"', 'name = "weak"\ncost = 5').replace('"strong"', '"strong"\ncost = 5')
        priced = priced.replace('"wrong"', '"wrong"\ncost = 5')
        assert iapo("tune", write(whole, url, priced), "--yes").exit_code == 0
        undisturbed = model.completions
        for stop in (50, 30, 20):
            last = len(model.requests) + stop
            model.fault = lambda number, body, last=last: "quota" if number > last else None
            stopped = iapo("tune", write(parts, url, priced), "--yes")
            assert stopped.exit_code == common.USER_ERROR
            assert re.fullmatch(r"(round .*\n)*error: HTTP 429: no money left \(prompt .*\)\n", stopped.stderr)
            assert not (parts / "out" / "policy.json").exists()
        model.fault = lambda number, body: None
        assert iapo("tune", write(parts, url, priced), "--yes").exit_code == 0
        assert model.completions == 2 * undisturbed
    pd.testing.assert_frame_equal(rows(whole), rows(parts))
    left, right = (json.loads((part / "out" / "policy.json").read_text()) for part in (whole, parts))
    assert left["policy"] == right["policy"]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ["sub", "ignored"])
def test_completions_that_fail_leave_estimates_unbiased(folder: Path, seeds: str):
    """Right answers break off, and with them what they say. Seen to fail where parts count.

    With seeds they come back, and every value is as if none had failed. Without, the server draws anew: there the
    failures of one prompt say nothing of its answers.
    """
    text = RUN.replace('"psst"\nbudget = 400', '"uniform"\nbudget = 1200')
    text, chance = text.replace("max_tokens", "cost = 5\nmax_tokens"), random.Random(5)
    share = 0.5 if seeds == "sub" else 0.2

    def breaks(prompt: str, said: str, before: int) -> str | None:
        likely = said == f"It is {prompt[-1]}." if seeds == "sub" else prompt.startswith("[0.75]")
        return "error" if likely and before == 0 and chance.random() < share else None

    found = []
    for model in (Model(answer=digit, seeds=seeds), Model(answer=digit, seeds=seeds, breaks=breaks)):
        with serving(model) as url:
            result = iapo("tune", write(folder, url, text), "--yes")
        assert result.exit_code == 0, result.output
        assert len(rows(folder)) == 1200
        assert model.completions == 1200 + sum(model.broke.values())
        arms = pd.read_csv(folder / "out" / "arms.csv").query("context == 'cost 0' and scale == 1")
        found.append({row.prompt: (row.value, row.se) for row in arms.itertuples()})
        shutil.rmtree(folder / "out")
    assert sum(model.broke.values()) > 50
    if seeds == "sub":
        assert found[0] == found[1]
    for name, right in (("weak", 0.45), ("strong", 0.75), ("wrong", 0.10)):
        value, se = found[1][name]
        assert abs(value - right) <= SIGMAS * se


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cost_weights = [0.0, 1.0]", "cost_weights = [0.3]"),
        ('strategy = "mv"', 'strategy = "mv"\ntie = "half"'),
        ('scorer = "number"', 'scorer = "number"\ndigits = 2'),
        ("cost = 5", "cost = 6"),
        ('out = "out"', 'out = "out"\nseed = 4369888'),  # hashed, it is 420 below the hash of 0
    ],
)
def test_a_run_that_was_edited_shares_no_seed_with_what_it_was(
    old: str, new: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """It keeps draws and asks for others: servers that honour seeds would give copies. Seen to share all seeds."""
    text, starts = RUN.replace("max_tokens", "cost = 5\nmax_tokens"), []
    monkeypatch.setattr(tune, "Live", lambda *args: starts.append(args[-2].first_seed) or SimpleNamespace(answer=None))
    monkeypatch.setattr(tune.runner, "run_rounds", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    assert old in text
    for edited in (text, text.replace(old, new), text):
        run = reading.load(write(folder, "http://127.0.0.1:9/v1", edited))
        spec, strategy = tune.world(run, tune.unmeasured(run))
        with pytest.raises(KeyboardInterrupt), sessions.session(run, Offline) as live:
            tune.rounds_of(live, tune.load_items(run), spec, strategy, lambda step: None)
    assert abs(starts[1] - starts[0]) >= run.budget
    assert starts[2] == starts[0]


def test_the_key_is_in_no_file(folder: Path):
    model = Model(answer=digit, fault=lambda number, body: ("echo", "401", None)[min(number % 11, 2)])
    model.fault = lambda number, body: "echo" if number % 11 == 3 else None
    with serving(model) as url:
        result = iapo("tune", write(folder, url), "--yes")
    assert result.exit_code == 0, result.output
    shown = [
        result.output.encode(),
        result.stderr.encode(),
        *(p.read_bytes() for p in folder.rglob("*") if p.is_file()),
    ]
    assert len(shown) > 5
    assert not any(KEY.encode() in content for content in shown)
    assert b"***" in b"".join(shown)


def test_a_cap_below_the_budget_of_repeats_ends_with_the_best_policy_so_far(folder: Path):
    """Marked as such, with what the rest would cost; with the cap raised the run comes to the end of a calm one."""
    model = Model(answer=digit, fault=lambda number, body: "billed-500" if number % 3 == 0 else None)
    with serving(model) as url:
        result = iapo("tune", write(folder, url, RUN + "[caps]\ncompletions = 450\n"), "--yes")
        assert result.exit_code == common.CAPPED == 3, result.output
        said = " ".join(result.stderr.split("stopped by a cap: ")[1].split())
        assert re.match(r"caps\.completions is 450, and the next .* nothing is lost \(prompt .*\)", said)
        about = r"about (\d+) completions, [\d,]+ tokens, money [\d.]+"
        found = re.search(rf"after (\d) rounds; the rest of the run would take {about}, and at most (\d+) com", said)
        assert found is not None, said
        journal = Journal(folder / "out" / "journal.sqlite")
        ((kept,),) = journal.rows("SELECT count(*) FROM draws JOIN cells USING (cell) WHERE stream = 'tune'")
        journal.close()
        assert int(found[3]) == 400 - kept
        assert 0 < int(found[2]) <= 400 - kept
        assert 400 < model.completions <= 450
        content = json.loads((folder / "out" / "policy.json").read_text())
        assert (content["run"]["complete"], content["run"]["rounds"]) == (False, int(found[1]))
        assert "caps.completions is 450" in content["run"]["stopped"]
        assert content["policy"]["cost 0"]["chosen"]["prompt"] == "strong"
        assert content["spent"]["completions"] >= model.completions
        assert "the policy so far (a cap stopped the run)" in result.stdout
        assert policy.load(folder / "out" / "policy.json").choices.keys() == {"cost 0", "cost 1"}
        done = iapo("tune", write(folder, url, RUN + "[caps]\ncompletions = 2000\n"), "--yes")
        assert done.exit_code == 0, done.output
    content = json.loads((folder / "out" / "policy.json").read_text())
    assert (content["run"]["complete"], content["run"]["stopped"]) == (True, None)
    calm = folder / "calm"
    calm.mkdir()
    shutil.copy(folder / "q.jsonl", calm)
    with serving(Model(answer=digit)) as url:
        assert iapo("tune", write(calm, url), "--yes").exit_code == 0
    assert json.loads((calm / "out" / "policy.json").read_text())["policy"] == content["policy"]


def test_a_cap_in_the_first_round_leaves_the_best_of_the_whole_pulls(folder: Path):
    """The algorithm has seen nothing then. A run without a whole pull has no policy."""
    text = RUN.replace("max_tokens", "cost = 5\nmax_tokens").replace('"psst"\nbudget = 400', '"uniform"\nbudget = 360')
    each = len("[0.45] query 29 has the digit 9") + 8 + 64 + 4 * 10
    with serving(Model(answer=digit)) as url:
        result = iapo("tune", write(folder, url, f"{text}[caps]\ntokens = {each - 1}\n"), "--yes")
        assert result.exit_code == common.USER_ERROR, "not one request"
        assert not (folder / "out" / "policy.json").exists()
        result = iapo("tune", write(folder, url, f"{text}[caps]\ntokens = 1200\n"), "--yes")
    assert result.exit_code == common.CAPPED, result.output
    assert "The policy is the best so far, after 0 rounds; the rest of the run would take at most" in " ".join(
        result.stderr.split()
    )
    content = json.loads((folder / "out" / "policy.json").read_text())
    arms = pd.read_csv(folder / "out" / "arms.csv")
    assert sum(arms["pulls"].tolist()) > 3
    chosen = content["policy"]["cost 0"]["chosen"]
    assert chosen["pulls"] > 0
    assert chosen["low"] is not None
    assert content["spent"]["tokens"] <= 1200


def test_the_best_so_far_is_not_an_arm_with_a_lucky_pull(folder: Path):
    """One pull of value 1 against fifty of which forty are right."""
    run = reading.load(write(folder, "http://127.0.0.1:9/v1", RUN.replace("max_tokens", "cost = 0\nmax_tokens")))
    spec, _ = tune.world(run, tune.unmeasured(run))
    evidence = Evidence(spec, 1)
    one = np.full((1, spec.num_tasks, 1), round(1 / np.asarray(spec.unit).item()))
    evidence.add(np.array([0]), np.array([1]), one)
    evidence.add(np.full(50, 1), np.full(50, 1), np.concatenate([one] * 40 + [0 * one] * 10))
    found = evidence.estimate()
    assert found.value[0, 0, 0] > found.value[0, 1, 0]
    assert tune.best_so_far(run, found) == [(1, 1), (1, 1)]


def test_a_fatal_error_ends_a_run_in_which_a_request_hangs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """It is waited for so long and no longer, and counts as billed. Seen to fail where that is thirty seconds."""
    assert live.GRACE < 60, "seconds that a run may go on after a fatal error"
    monkeypatch.setattr(live, "GRACE", 0.2)
    model = Model(answer=digit, fault=lambda number, body: {2: "hang", 5: "401"}.get(number))
    with serving(model) as url:
        began = time.monotonic()
        result = iapo("tune", write(folder, url), "--yes")
        assert time.monotonic() - began < 25
    assert result.exit_code == common.USER_ERROR
    assert "HTTP 401" in result.stderr
    journal = Journal(folder / "out" / "journal.sqlite")
    ((lost,),) = journal.rows("SELECT count(*) FROM attempts WHERE state = 'lost'")
    assert 1 <= lost < 8, "the one that hangs, and what else was under way"
    journal.close()


def test_wrong_gold_and_missing_keys_are_refused_before_the_first_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url)
        monkeypatch.delenv("LIVE_TEST_KEY")
        assert "LIVE_TEST_KEY" in iapo("tune", file, "--yes").stderr
        monkeypatch.setenv("LIVE_TEST_KEY", KEY)
        (folder / "q.jsonl").write_text('{"query": "a 1", "gold": 1}\n{"query": "b 2", "gold": "two"}')
        refused = iapo("tune", file, "--yes")
        assert refused.exit_code == common.USER_ERROR
        assert "row 2: the right answer 'two' cannot be read" in refused.stderr
    assert model.requests == []


def test_random_orders_take_the_place_of_too_large_a_table_and_the_plan_says_so(folder: Path):
    """The table of votes would be that of pulls in which no two completions agree."""
    model = Model(answer=digit)
    old, new = '"psst"\nbudget = 400\nmax_scale = 4', '"psst:estimator=subsets"\nbudget = 90000\nmax_scale = 48'
    assert old in RUN
    with serving(model) as url:
        shown = iapo("tune", write(folder, url, RUN.replace(old, new)), "--plan", "--no-probe")
    said = " ".join((shown.stdout + shown.stderr).split())
    assert (
        "tune.algorithm is 'psst:estimator=subsets' and tune.max_scale 48: takes estimator=subsets-8 instead of "
        "subsets, whose table would be too large" in said
    )
    assert model.requests == []


def test_a_policy_answers_alone(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """Neither configuration nor queries nor journal are there any more. Seen to fail where `ask` reads the first."""
    model = Model(answer=digit)
    with serving(model) as url:
        assert iapo("tune", write(folder, url), "--yes").exit_code == 0
        place = tmp_path_factory.mktemp("service") / "policy.json"
        place.write_bytes((folder / "out" / "policy.json").read_bytes())
        shutil.rmtree(folder)
        before = model.completions
        answered = iapo("ask", place, "what has the digit 7", "--context", "cost 0")
        assert answered.exit_code == 0, answered.output
        chosen = policy.load(place).choices["cost 0"].chosen
        assert model.completions - before == chosen.scale
        body = model.requests[-1]
        assert (body["model"], body["max_tokens"]) == ("m", 10)
        assert body["messages"][0]["content"] == "[0.75] what has the digit 7"
        votes = re.search(rf"{chosen.prompt}, N = {chosen.scale}; (.*); {chosen.scale} completions", answered.stderr)
        assert votes is not None
        assert [path.name for path in place.parent.iterdir()] == ["policy.json"]
        content = json.loads(place.read_text())
        assert content["source"]["endpoint"]["key_variable"] == "LIVE_TEST_KEY"
        content["source"]["endpoint"]["base_url"] = "nowhere"
        place.write_text(json.dumps(content))
        refused = iapo("ask", place, "what has the digit 7", "--context", "cost 0")
        assert refused.exit_code == common.USER_ERROR
        assert refused.stderr.startswith(f"error: {place}: endpoint.base_url is 'nowhere'; expected http")


@pytest.mark.parametrize(
    "name", ["ucb", *(pytest.param(name, marks=pytest.mark.slow) for name in ("epsilon-greedy", "softmax"))]
)
def test_rules_that_pull_one_arm_at_a_time_say_so_and_work(folder: Path, name: str):
    model = Model(answer=digit)
    text = RUN.replace('"psst"\nbudget = 400', f'"{name}"\nbudget = 60').replace("max_tokens", "cost = 5\nmax_tokens")
    with serving(model) as url:
        file = write(folder, url, text)
        planned = iapo("tune", file, "--plan")  # every prompt has a cost: nothing to agree to
        assert planned.exit_code == 0, planned.output
        rounds, pulls = re.search(r"Rounds: (\d+), (\d+) pulls in all .*; each waits", planned.stdout).groups()  # type: ignore[union-attr]
        assert 15 <= int(rounds) == int(pulls) <= 60
        assert model.requests == []
        result = iapo("tune", file, "--yes")
        assert result.exit_code == 0, result.output
    assert 0 < model.completions <= 60
    assert json.loads((folder / "out" / "policy.json").read_text())["spent"]["completions"] == model.completions


def test_the_example_is_written_once(tmp_path: Path):
    assert iapo("tune", "--example", "--out", tmp_path / "new.toml").exit_code == 0
    assert "[[prompts]]" in (tmp_path / "new.toml").read_text()
    again = iapo("tune", "--example", "--out", tmp_path / "new.toml")
    assert again.exit_code == common.USER_ERROR
    assert "exists" in again.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no policy file"),
        ("[]", "names no schema"),
        ('{"schema": "iapo-policy", "version": 9}', "has version 9"),
        (r'{"schema": "iapo-policy", "version": 2, "\ud83d": 1}', r"p.json: holds '\\ud83d', half of a UTF-16 pair"),
    ],
)
def test_what_is_no_policy_is_refused(content: str, said: str, tmp_path: Path):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        policy.load(tmp_path / "p.json")


def test_one_answer_is_made_of_many_as_the_strategy_values_them():
    def objective(name: str, how: str) -> Objective:
        return Objective(name, how, Exact(), -1.0, 1.0, -1.0)

    draws = [Draw(text, "stop") for text in ("a0", "b1", "b2", "c3", "??")]
    labels = [Scored(OK, text[0]) if text[0] != "?" else Scored(UNREADABLE) for text, _ in draws]
    scores = [Scored(OK, None, value) for value in (0.9, 0.1, 0.2, 1.0, 0.5)]
    context = Context("c", (1.0, 1.0), 0.0, 1.0)
    both = combine([objective("v", "mv"), objective("s", "bon")], context, draws, [labels, scores])
    assert (both.text, both.label, both.votes) == ("b2", "b", {"b": 2, "a": 1, "c": 1})
    best = combine([objective("s", "bon")], Context("c", (-1.0,), 0.0, 1.0), draws, [scores])
    assert best.text == "b1"
    assert combine([objective("s", "mean")], context, draws, [scores]).text == "a0"
    nothing = combine([objective("v", "mv")], context, draws[4:], [labels[4:]])
    assert (nothing.text, nothing.label) == ("??", None)
    assert Arm("p", 1).value is None
    assert np.isfinite(context.cost_weight)
    assert os.environ.get("LIVE_TEST_KEY") is None
