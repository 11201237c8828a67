"""kill -9 while a judge is asked: no judgement is lost, none but what was under way is asked twice, no cap exceeded."""

import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchModel, batching
from journal_files import query
from live_runs import SCORED
from live_server import KEY, words
from nursery import Nursery

pytest.importorskip("openai", reason="the extra [llm] is not installed")

CAP = 600
"""Completions, judgements among them; a run needs 116."""
UNDER_WAY = 8 * 6
"""Completions that may be under way at a kill: requests at a time, times choices of a request."""
JUDGE = r'''scorer = "judge"
model = "j"
max_tokens = 40
template = "{completion}\n\nHow good an answer to {query} is this?"'''
RUN = (
    SCORED.replace("cost = 1\n", "")
    .replace("SCORER", JUDGE)
    .replace("timeout = 900", 'mode = "MODE"\nconcurrency = { start = 8, most = 8 }\ntimeout = 900')
    + f"[cost]\nprobe_queries = 2\nprobe_completions = 3\n[caps]\ncompletions = {CAP}\n"
)


def answer(prompt: str, number: int) -> str:
    """Answers of one to four signs; a judge that gives .1 a sign."""
    judged = re.search(r"<completion (\w+)>\n(x+)", prompt)
    if judged is None:
        return "x" * (1 + words(prompt, number) % 4)
    return f"verdict {judged[1]}: {len(judged[2]) / 10:g}"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery("judge_child", {"LIVE_TEST_KEY": KEY}) as made:
        yield made


def campaign(nursery: Nursery, mode: str, chance: int, kills: int, folder: Path) -> tuple[int, list[Any]]:
    """Kill a child so many times, if it lasts so long, then let it end; how many kills there were, and all draws.

    A kill comes when the server has a random request, billed or not, or before or after a random commit.
    """
    folder.mkdir()
    (folder / "q.jsonl").write_text("\n".join(f'{{"query": "q{k}"}}' for k in range(6)))
    rng, model, killed, kept = random.Random(chance), BatchModel(answer=answer, looks=1), 0, set[Any]()
    file, errors, base = folder / "run.toml", folder / "errors.txt", folder / "out" / "journal.sqlite"
    begun, most = (model.log, 5) if mode == "batch" else (model.requests, 16)
    kill_at = -1

    def fault(number: int, body: dict[str, Any]) -> str | None:
        if number != kill_at:
            return None
        nursery.kill()
        return rng.choice(["reset", "billed-reset"])

    model.fault, model.broken = fault, nursery.kill
    model.moment = lambda number, path: rng.choice(["before", "after"]) if number == kill_at else None
    with batching(model) as url:
        batch = "[endpoint.batch]\npoll = 0.001\nmax_requests = 10\n" if mode == "batch" else ""
        file.write_text(RUN.replace("URL", url).replace("MODE", mode) + batch)
        while True:
            at = rng.choice(["request", "before", "after"]) if killed < kills else ""
            kill_at = len(begun) + rng.randrange(most) if at == "request" else -1
            nursery.begin(errors, str(file), at, rng.randrange(1, most))
            code, said = nursery.end(), errors.read_text()
            if base.exists():
                rows = set(query(base, "SELECT cell, draw, text FROM draws"))
                ((completions, tokens),) = query(base, "SELECT total(completions), total(tokens) FROM attempts")
                assert kept <= rows
                assert model.completions <= completions <= CAP
                assert model.tokens <= tokens
                kept = rows
            if code == 0:
                break
            assert code == -signal.SIGKILL, said
            killed += 1
    ((charged,),) = query(base, "SELECT sum(completions) FROM attempts")
    ((lost,),) = query(base, "SELECT coalesce(sum(completions), 0) FROM attempts WHERE state = 'lost'")
    assert charged == len(kept) + lost
    assert mode == "sync" or model.requests == []
    assert lost <= (0 if mode == "batch" else killed * UNDER_WAY)
    assert query(base, "PRAGMA integrity_check") == [("ok",)]
    found = query(
        base, "SELECT stream, prompt, query, draw, text FROM draws JOIN cells USING (cell) ORDER BY 1, 2, 3, 4"
    )
    assert {row[0] for row in found} == {"judge", "probe", "tune"}
    return killed, found


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_three_kills_while_a_judge_is_asked_lose_nothing(nursery: Nursery, mode: str, tmp_path: Path):
    """Seen to fail, in batches, where judgements are sent outside them."""
    calm = campaign(nursery, mode, 0, 0, tmp_path / "calm")
    assert campaign(nursery, mode, 7, 3, tmp_path / "killed") == (3, calm[1])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_fifty_kills_while_a_judge_is_asked_lose_nothing(nursery: Nursery, mode: str, tmp_path: Path):
    """Up to five a run: each of them leaves up to 48 completions that count as billed."""
    expected, killed, number = campaign(nursery, mode, 0, 0, tmp_path / "calm")[1], 0, 0
    while killed < 50:
        more, found = campaign(nursery, mode, number, min(5, 50 - killed), tmp_path / str(number))
        assert found == expected
        killed, number = killed + more, number + 1
