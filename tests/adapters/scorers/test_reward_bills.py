"""Rewards are paid for as completions are: planned, reserved under the caps, journaled before use, resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
from journal_files import query
from live_runs import SCORED, iapo
from live_server import KEY, Model
from live_server import serving as answering
from reward_server import serving

from sim.adapters import config

pytest.importorskip("openai", reason="the extra [llm] is not installed")

REWARD = 'scorer = "get_reward"\nurl = "REWARDS/get_reward"\ntemplate = "{query}|{completion}"\nprice = 5\nhigh = 9'
RUN = SCORED.replace("SCORER", REWARD)
CHARGES = (
    "SELECT stream, sum(completions), sum(tokens), sum(money), sum(state != 'settled') "
    "FROM attempts JOIN cells USING (cell) GROUP BY 1 ORDER BY 1"
)


def answer(prompt: str, number: int) -> str:
    return "x" * (1 + number % 4 + (prompt[0] == "l"))


def reward(body: dict[str, Any], number: int) -> Any:
    """A number a text, and the tokens that they took."""
    texts = body["query"]
    return {"rewards": [float(len(text) - 2) for text in texts], "usage": {"prompt_tokens": 3 * len(texts)}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    (tmp_path / "q.jsonl").write_text('{"query": "a"}\n{"query": "b"}\n')
    return tmp_path


def test_every_text_is_charged_once_by_the_count_of_the_server(folder: Path):
    """A server that is busy once is charged nothing for that, one that breaks off in full.

    A text that is to be scored again, whose pull was cut off between the reward and its score, is not sent again.
    """
    seen: list[Any] = []

    def odd(body: dict[str, Any], number: int) -> Any:
        return {0: 429, 1: "no json"}.get(number, reward(body, number))

    journal, file, model = folder / "out" / "journal.sqlite", folder / "run.toml", Model(answer=answer)
    with answering(model) as url, serving(odd, seen) as rewards:
        file.write_text(RUN.replace("REWARDS", rewards).replace("URL", url))
        done = iapo("tune", file, "--yes")
        assert done.exit_code == 0, done.output
        asked = len(seen)
        query_file = query(journal, "SELECT count(*) FROM scores")
        assert query_file[0][0] > 0
        query(journal, "DELETE FROM scores")
        again = iapo("tune", file, "--yes")
        assert again.exit_code == 0, again.output
        assert len(seen) == asked
    (_, texts, tokens, money, unsettled), (_, completions, *_) = query(journal, CHARGES)
    whole = [len(body["query"]) for _, _, body in seen[2:]]
    broken = [text for _, _, body in seen[1:2] for text in body["query"]]
    assert texts == sum(whole) + len(broken)
    assert unsettled == 2
    assert tokens == 3 * sum(whole) + sum(len(text) + 8 for text in broken)
    assert money == 5 * 10**6 * tokens
    assert completions == model.completions
    assert f"In all: {texts + completions} completions" in " ".join(again.stdout.split())
    sent = [(body["query"][0], tuple(body["query"])) for _, _, body in seen[2:]]
    assert len(sent) == len(set(sent)), "equal completions share a request"


def test_a_plan_counts_texts_and_their_price(folder: Path):
    """Each as a completion; a text has at most four bytes for each token of the longest answer. Seen to be left out."""
    file = folder / "run.toml"
    file.write_text(RUN.replace("REWARDS", "http://127.0.0.1:9").replace("URL", "http://127.0.0.1:9/v1"))
    planned = iapo("tune", file, "--plan", "--no-probe")
    assert planned.exit_code == 0, planned.output
    tokens = 60 * (len("a|") + 4 * 20 + 8)
    assert f"of these judgements 60 {tokens:,} {tokens * 5 / 1e6:.4f}" in " ".join(planned.stdout.split())
    assert config.load(file).caps.completions == 120 + 12 + 256 + 2 * 16


def test_a_cap_stops_rewards_before_they_are_sent(folder: Path):
    """On tokens, which completions alone do not meet. Seen to fail where rewards do not count."""
    seen: list[Any] = []
    free, file = Model(answer=answer), folder / "run.toml"
    with answering(free) as url, serving(reward, seen) as rewards:
        text = RUN.replace("REWARDS", rewards).replace("URL", url)
        file.write_text(text)
        assert iapo("tune", file, "--yes").exit_code == 0
        (_, _, scored, *_), (_, _, answered, *_) = query(folder / "out" / "journal.sqlite", CHARGES)
        cap = answered + scored - 20
        file.write_text(text.replace('out = "out"', 'out = "capped"') + f"[caps]\ntokens = {cap}\n")
        stopped = iapo("tune", file, "--yes")
    assert stopped.exit_code in (2, 3)
    assert f"caps.tokens is {cap:,}" in " ".join(stopped.stderr.split())
    rows = query(folder / "capped" / "journal.sqlite", CHARGES)
    assert sum(row[2] for row in rows) <= cap


def test_a_server_that_reports_more_than_it_can_have_read_ends_the_run(folder: Path):
    seen: list[Any] = []
    greedy = lambda body, number: reward(body, number) | {"usage": {"prompt_tokens": 10**6}}  # noqa: E731
    file = folder / "run.toml"
    with answering(Model(answer=answer)) as url, serving(greedy, seen) as rewards:
        file.write_text(RUN.replace("REWARDS", rewards).replace("URL", url))
        ended = iapo("tune", file, "--yes")
    assert ended.exit_code == 2
    assert "the server reports 1,000,000 tokens for texts of at most" in " ".join(ended.stderr.split())


def test_a_journal_shows_rewards_among_what_was_paid(folder: Path):
    seen: list[Any] = []
    file = folder / "run.toml"
    with answering(Model(answer=answer)) as url, serving(reward, seen) as rewards:
        file.write_text(RUN.replace("REWARDS", rewards).replace("URL", url))
        assert iapo("tune", file, "--yes").exit_code == 0
    listed = iapo("journal", "list", folder / "out")
    assert "reward" in listed.stdout
    exported = folder / "all.jsonl"
    assert iapo("journal", "export", folder / "out", "--out", exported).exit_code == 0
    rows = [json.loads(line) for line in exported.read_text().splitlines()]
    assert {float(row["text"]) for row in rows if row["stream"] == "reward"} <= set(map(float, range(9)))
