"""A scorer of one's own that asks a model: planned, priced, capped and shared as a judge is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_server import BatchModel, batching
from live_runs import JUDGE, SCORED, iapo
from live_server import KEY, Model, serving
from own_code import forgotten
from typer.testing import Result

from sim.adapters import config, planning, session
from sim.adapters import tune as driver
from sim.adapters.paid.ledger import Amount
from sim.adapters.scorers import registry
from sim.adapters.scoring import Item
from sim.adapters.wire.protocol import Offline
from sim.conformance import checks
from sim.conformance import scorers as scorer_checks

pytest.importorskip("openai", reason="the extra [llm] is not installed")

MINE = '''
from dataclasses import dataclass
from sim.adapters.scorers.model_scorer import ModelScorer
from sim.adapters.scoring import OK, Requests, Scored, Scorer

class Mine(ModelScorer):
    def question(self, item, completion):
        return f"Q: {item.text} A: {completion} Score 0 to 1."

    def number(self, text):
        return float(text) if text[:1].isdigit() else None

class Twice(Mine):
    """Asks about the query too, and says so."""

    requests = property(lambda self: Requests(models=(self.model, self.model)))

    def wants(self, item, completion):
        return [one._replace(count=2) for one in Mine.wants(self, item, completion)]

class Hidden(Mine):
    """Names nothing that it asks."""

    def wants(self, item, completion):
        return ()

    async def score(self, item, prompt, texts):
        for text in texts:
            for want in Mine.wants(self, item, text):
                await self._sampler[0].draws(want)
        return [Scored(OK, None, 1.0) for _ in texts]

class Sly(Mine):
    """Asks twice, and says once."""

    wants = Twice.wants

    async def score(self, item, prompt, texts):
        for text in texts:
            for want in self.wants(item, text):
                await self._sampler[0].draws(want)
        return [Scored(OK, None, 1.0) for _ in texts]

@dataclass(frozen=True)
class Elsewhere(Scorer):
    votes = needs_gold = False
    requests = Requests(servers=(("http://rewards.example/score", "MY_KEY"),))

    async def score(self, item, prompt, texts):
        return [Scored(OK, None, float(len(text) % 2)) for text in texts]
'''
OWN = 'scorer = "mine.py:Mine"\nmodel = "j"\nmax_tokens = 9'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with queries and the scorers, which is the working folder; the key's variable is set."""
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "q.jsonl").write_text('{"query": "a"}\n{"query": "bb"}\n')
    with forgotten():
        yield tmp_path


def write(scorer: str, more: str = "", url: str = "http://127.0.0.1:9/v1") -> Path:
    Path("run.toml").write_text(SCORED.replace("URL", url).replace("SCORER", scorer) + more)
    return Path("run.toml")


def plan(scorer: str, more: str = "") -> Result:
    return iapo("tune", write(scorer, more), "--plan")


def answer(prompt: str, number: int) -> str:
    """Answers of two lengths, and judgements of them."""
    judged = re.match(r"Q: .* A: (.*) Score", prompt)
    if judged:
        return f"0.{len(judged[1])}"
    return "x" * (2 if prompt[0] == "l" else 1)


def test_a_plan_shows_its_requests_and_their_cost_like_those_of_a_judge():
    """To the last figure. Seen to fail when only judges were asked: its requests cost nothing."""
    dear = "[prices.models.j]\nprompt = 30\ncompletion = 60\n"
    prices = f"[prices]\nprompt = 1\ncompletion = 2\n{dear}[caps]\nmoney = 1.5\n"
    judged, own = plan(JUDGE, prices), plan(OWN, prices)
    assert judged.exit_code == own.exit_code == 0, own.output
    assert own.stdout == judged.stdout
    assert "completion and its judgement" in " ".join(own.stdout.split())
    free = plan('scorer = "mine.py:Elsewhere"', prices.replace(dear, ""))
    assert free.exit_code == 0, free.output
    assert free.stdout != own.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[caps]\ncompletions = 119\n", "caps.completions is 119, below what the rounds need (120)"),
        ("[prices.models.k]\nprompt = 1\n", "prices.models.k is no model of a prompt; those are j, m"),
        (
            "[prices.models.m]\nprompt = 1\ncompletion = 1\n[caps]\nmoney = 1\n",
            "[prices] names no price of a prompt token of 'j', so that nothing would count against the cap",
        ),
    ],
)
def test_caps_and_prices_hold_for_it(more: str, said: str):
    for scorer in (JUDGE, OWN):
        refused = plan(scorer, more)
        assert refused.exit_code == 2
        assert said in " ".join(refused.stderr.split())


@pytest.mark.parametrize("name", ["Mine", "Hidden"])
def test_in_batch_mode_it_asks_in_batches(name: str):
    """And what it asks besides is not sent at all, at other prices. Seen to be sent."""
    model = BatchModel(answer=answer)
    with batching(model) as url:
        file = write(OWN.replace("Mine", name), url=url)
        text = file.read_text().replace("timeout = 900", 'mode = "batch"\ntimeout = 900')
        file.write_text(f"{text}[endpoint.batch]\npoll = 0.001\n")
        result = iapo("tune", file, "--yes")
    assert model.requests == []
    assert result.exit_code == (0 if name == "Mine" else 2), result.output
    said = "'j' is asked what was in no batch, 'Q: "
    assert (said in " ".join(result.stderr.split())) == (name == "Hidden")


def test_a_run_asks_once_for_equal_completions_and_counts_what_it_asks():
    model = Model(answer=answer)
    with serving(model) as url:
        file = write(OWN, url=url)
        result = iapo("tune", file, "--yes")
        assert result.exit_code == 0, result.output
        asked = len(model.requests)
        assert iapo("tune", file, "--yes").exit_code == 0
        assert len(model.requests) == asked, "what was paid for is not asked again"
    judgements = [body["messages"][0]["content"] for body in model.requests if body["model"] == "j"]
    assert sorted(judgements) == [
        f"Q: {query} A: {text} Score 0 to 1." for query in ("a", "bb") for text in ("x", "xx")
    ]
    assert f"In all: {model.completions} completions" in " ".join(result.stdout.split())


def test_two_requests_about_a_completion_count_twice(here: Path):
    """And more than it says of itself is refused by the plan."""
    run = config.load(write(OWN.replace("Mine", "Twice")))
    once, items = config.load(write(OWN)), driver.load_items(run)
    assert run.caps.completions - once.caps.completions == 60 + 6
    found = []
    for one in (config.load(write('scorer = "mine.py:Elsewhere"')), once, run):
        with session.session(one, Offline, ":memory:") as live:
            found.append(planning.bound(one, items, live.sampler))
    answers, judged, twice = found
    assert twice.minus(answers) == Amount(*(2 * part for part in judged.minus(answers)))
    sly = plan(OWN.replace("Mine", "Sly"))
    assert sly.exit_code == 2
    said = "the scorer Sly wants 2 completions of 'j' about one, and its `requests` name 'j' 1 times"
    assert said in " ".join(sly.stderr.split())


def test_a_policy_says_which_servers_of_ones_own_it_asks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with serving(Model(answer=answer)) as url:
        file = write('scorer = "mine.py:Elsewhere"', url=url)
        made = iapo("tune", file, "--yes")
        assert made.exit_code == 0, made.output
        Path("held.jsonl").write_text('{"query": "c"}\n')
        planned = iapo("evaluate", "out/policy.json", "--queries", "held.jsonl", "--plan", "--trust")
    assert planned.exit_code == 0, planned.output
    ours, other = f"{url} with the key in LIVE_TEST_KEY", "http://rewards.example/score with the key in MY_KEY"
    assert f"note: requests go to {ours}, and to {other}, as" in " ".join(planned.stderr.split())


def test_checks_answer_it_and_find_what_it_does_not_say():
    """Seen to fail without the check: the scorer that asks twice passed."""

    def problems(name: str) -> list[str | None]:
        text = f"mine.py:{name}:model=j"
        return [one.problem for one in checks.run(scorer_checks.CHECKS, lambda: registry.get(text), text)]

    assert problems("Mine") == [None] * 5
    assert problems("Sly")[-1] == "it asks 'j' for 2 completions about one, which `requests.models` does not say"


def test_what_it_says_of_itself():
    scorer = registry.get("mine.py:Mine:model=j,max_tokens=7")
    assert scorer.requests.models == ("j",)
    assert registry.get("number").requests == type(scorer.requests)()
    assert registry.get("number").wants(Item("q"), "1") == ()
