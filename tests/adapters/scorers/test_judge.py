"""A model as judge: asked once per distinct completion, paid for under the same caps, read like any other answer."""

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from live_runs import JUDGE, SCORED, iapo
from live_server import KEY, Model, serving, words

from sim.adapters import config, planning
from sim.adapters import session as sessions
from sim.adapters import tune as driver
from sim.adapters.paid.entries import SETTLED, Asked, Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount
from sim.adapters.paid.sampler import REFUSED, consecutive
from sim.adapters.run_file.settings import Concurrency, Endpoint
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import registry
from sim.adapters.scorers.judge import Judge
from sim.adapters.scoring import TIMEOUT, Item, Scored
from sim.adapters.wire.protocol import Offline

pytest.importorskip("openai", reason="the extra [llm] is not installed")

RUN = SCORED.replace("SCORER", JUDGE)


def both(prompt: str, number: int) -> str:
    """Answers of three kinds, and judgements of them: long ones are better."""
    judged = re.match(r"Q: .* A: (.*) Score", prompt)
    if judged:
        return {"x": "I say 0.1", "xx": "0.5, say I", "xxx": "1"}.get(judged[1], "no score")
    return "x" * (1 + words(prompt, number) % 2 + (prompt[0] == "l"))


def test_a_judge_decides_and_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    (tmp_path / "q.jsonl").write_text('{"query": "a {completion}"}\n{"query": "b"}\n')
    model, file = Model(answer=both), tmp_path / "run.toml"
    with serving(model) as url:
        file.write_text(RUN.replace("URL", url))
        result = iapo("tune", file, "--yes")
        assert result.exit_code == 0, result.output
        asked = len(model.requests)
        assert iapo("tune", file, "--yes").exit_code == 0
        assert len(model.requests) == asked
        (tmp_path / "held.jsonl").write_text('{"query": "c"}\n')
        planned = iapo("evaluate", tmp_path / "out" / "policy.json", "--queries", tmp_path / "held.jsonl", "--plan")
        assert len(model.requests) == asked
    judgements = [body["messages"][0]["content"] for body in model.requests if body["model"] == "j"]
    assert len(judgements) == len(set(judgements)) == 2 * 3
    assert "Q: a {completion} A: x Score 0 to 1." in judgements
    assert all("seed" not in body for body in model.requests if body["model"] == "j")
    content = json.loads((tmp_path / "out" / "policy.json").read_text())
    (choice,) = content["policy"].values()
    assert choice["chosen"]["prompt"] == "long"
    assert 0.5 <= choice["chosen"]["value"] <= 1
    journal = Journal(tmp_path / "out" / "journal.sqlite")
    assert journal.charged().completions == model.completions == 6 + content["run"]["seen"]["completions"]
    journal.close()
    for shown, whole in ((result, "the budget times the dearest"), (planned, "the sum over every missing")):
        said = " ".join(shown.stdout.split())
        assert f"At most: {whole} completion and its judgement" in said, "seen to be missing from one"
        assert "A judgement is taken to read four bytes for each token of the longest answer; a few tokens are" in said


def test_a_plan_counts_judgements_that_a_stopped_run_did_not_reach(tmp_path: Path):
    """Of completions that are kept, equal ones once. Seen to cost nothing, and to be paid without consent."""
    (tmp_path / "q.jsonl").write_text('{"query": "a"}\n')
    (tmp_path / "run.toml").write_text(RUN.replace("URL", "http://127.0.0.1:9/v1").replace("LIVE_TEST_KEY", ""))
    run = config.load(tmp_path / "run.toml")
    items = driver.load_items(run)
    with sessions.session(run, Offline, ":memory:") as live:
        (want,) = consecutive("evaluate", run.endpoint, run.prompts[:1], [Item("a")], 4, 0)
        judge = run.objectives[0].scorer
        assert isinstance(judge, Judge)

        async def answer(cell: Asked, *draws: Draw) -> None:
            attempt = await live.journal.begin(cell, 0, len(draws), None, Amount())
            await live.journal.end(attempt, SETTLED, Amount(), draws)

        live.loop.run(answer(want.cell, *(Draw(text, "stop") for text in ("x", "x", "xx")), Draw("", REFUSED)))
        found = planning.need(live, [want], items)
        each = [live.sampler.worst(*judge.request(items[0], text), 1) for text in ("x", "xx")]
        assert (found.kept, found.worst) == (4, each[0].plus(each[1]))
        live.loop.run(answer(judge.request(items[0], "x")[1], Draw("1", "stop")))
        assert planning.need(live, [want], items).worst == each[1]


def test_slots_are_filled_in_one_pass():
    judge = Judge("j", "{query}|{completion}|{gold}|{reference}")
    endpoint = Endpoint("http://x/v1", "", 5.0, 5.0, 1, "max_tokens", True, 0, Concurrency(1, 1, 1))
    judge._sampler[:] = [SimpleNamespace(endpoint=endpoint)]
    _, cell = judge.request(Item("{gold}", "g", ["{query}"]), "{reference}")
    assert cell.messages == (("user", '{gold}|{reference}|g|["{query}"]'),)
    with pytest.raises(ValueError, match=r"{reference} slot, but this query has no reference"):
        judge.request(Item("q", "g"), "c")


def read(judge: Judge, text: str) -> Scored:
    """What a judgement says."""

    async def go() -> Scored:
        try:
            return await judge.reading(text)
        finally:
            await judge.close()

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("pattern", "text", "number"),
    [
        (None, "7 of 10: 0.7", 0.7),
        (None, "none", None),
        (r"(\d*)", "7 of 10", 10),
        (r"score: (\S+)", "score: 0.25 of 1", 0.25),
        (r"score: (\S+)", "score: high", None),
        (r"score: (\S+)", "0.5", None),
    ],
)
def test_scores_are_read_from_judgements(pattern: str | None, text: str, number: float | None):
    assert read(Judge("j", "{query}{completion}", pattern=pattern), text).value == number


def test_a_pattern_that_takes_too_long_is_given_up():
    """Seen to block for ever."""
    judge = Judge("j", "{query}{completion}", pattern="^(?:(a+)+|b(.))$", timeout=0.2)
    assert read(judge, "a" * 60 + "c") == Scored(TIMEOUT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"template": "{query}"}, "template has no {completion} slot"),
        ({"pattern": "x"}, "pattern is 'x'; it needs a group"),
        ({"pattern": "("}, "no regular expression"),
        ({"timeout": 1}, "timeout is that of a pattern, and there is none"),
        ({"pattern": "(.)", "timeout": 0}, "timeout is 0; expected a finite number above 0 and at most 600"),
        ({"model": ""}, "model is empty"),
    ],
)
def test_bad_options_are_refused(change: dict, said: str):
    options = {"scorer": "judge", "model": "j", "template": "{query}{completion}"} | change
    with pytest.raises(ValueError, match=said):
        registry.read(TomlTable(Path("run.toml"), "objectives[0]", options))


def test_a_judge_that_says_nothing_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After eight judgements, with where its words are. Seen to pay for all of them."""
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    (tmp_path / "q.jsonl").write_text("\n".join(json.dumps({"query": f"q{k}"}) for k in range(9)))
    file, judged = tmp_path / "run.toml", []

    def dress(reply: dict) -> dict:
        if reply["model"] == "j":
            judged.append(reply)
            for choice in reply["choices"]:
                choice["message"] = {"content": None, "reasoning_content": "Well. 0.5"}
        return reply

    with serving(Model(answer=both, dress=dress)) as url:
        file.write_text(
            RUN.replace("URL", url).replace(
                'key_variable = "LIVE', 'concurrency = { start = 2, most = 2 }\nkey_variable = "LIVE'
            )
        )
        result = iapo("tune", file, "--yes")
    assert result.exit_code == 2
    said = "judge 'j': all of its first 8 judgements are empty (the server's text is in reasoning_content)"
    assert said in " ".join(result.stderr.split())
    assert 8 <= len(judged) < 16
