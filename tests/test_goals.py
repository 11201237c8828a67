"""Goals of live runs that no single module answers for: estimates under faults, the key."""

import base64
import json
import logging
import random
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from batch_server import BatchModel, batching
from live_runs import RUN, batch_run, digit, iapo, quick, write
from live_server import KEY, Model
from scipy.stats import binomtest
from test_sampler import sample

from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")

ALPHA = 1e-4


def test_faults_that_follow_the_right_answer_leave_the_estimate_unbiased():
    """Requests whose answers are right fail more often. Dropping what failed, or scoring it zero, would show."""
    chance, failed, first = 0.75, set[int](), set[int]()

    def right(prompt: str, seed: int) -> bool:
        return digit(prompt, seed) == f"It is {prompt[-2]}."

    def fault(number: int, body: dict) -> str | None:
        prompt, seed = body["messages"][0]["content"], body["seed"]
        share = sum(right(prompt, seed + k) for k in range(body["n"])) / body["n"]
        again = seed in first
        first.add(seed)
        if again or random.Random(seed).random() >= 0.6 * share:
            return None
        failed.update(range(seed, seed + body["n"]))
        return random.Random(seed).choice(["429", "billed-500", "half", "reset"])

    pulls = [(f"[{chance}] query {k} has the digit {k % 10}", 2) for k in range(1500)]
    found = sample(Model(answer=digit, fault=fault), pulls)
    marks = [
        text == f"It is {query[-1]}." for (query, _), pull in zip(pulls, found.texts, strict=True) for text in pull
    ]
    kept = [mark for seed, mark in enumerate(marks, start=1000) if seed not in failed]
    assert len(marks) == 3000
    assert 500 < len(failed) < 2500
    assert binomtest(sum(marks), len(marks), chance).pvalue > ALPHA
    assert binomtest(sum(kept), len(kept), chance).pvalue < ALPHA
    assert binomtest(sum(kept), len(marks), chance).pvalue < ALPHA


def encodings(key: str) -> set[bytes]:
    """A key raw, quoted, escaped, and inside base64 at every one of its three offsets."""
    found = {key, quote(key), quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1], repr(key)[1:-1]}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            whole = encode(b"." * before + key.encode()).decode()
            found.add(whole[4 if before else 0 : len(whole) // 4 * 4 - 4])
    return {form.encode() for form in found}


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_the_key_is_nowhere(folder: Path, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """Not in any file of any command, in logs at DEBUG, in what is shown, or in tracebacks of what failed.

    The server repeats the header in some replies. Seen to fail where the client hands on replies as they came.
    """
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("sim.adapters.tune.real_clock", quick)
    said: list[str] = []

    def shown(*arguments: object) -> int:
        result = iapo(*arguments)
        said.extend([result.output, result.stderr])
        if result.exc_info is not None:
            said.append("".join(traceback.format_exception(result.exception, chain=True)))
        return result.exit_code

    answer = lambda prompt, number: f"{digit(prompt, number)} {KEY if number % 5 == 0 else ''}"  # noqa: E731
    model = BatchModel(answer=answer, fault=lambda number, body: "echo" if number % 11 == 3 else None)
    model.moment = lambda number, path: "500" if number % 7 == 2 else None
    text = RUN.replace('scorer = "number"', 'scorer = "regex"\npattern = "is (\\\\d)"') + "[caps]\ncompletions = 5000\n"
    with batching(model) as url:
        file = write(folder, url, batch_run(url, text=text) if mode == "batch" else text)
        assert shown("tune", file, "--yes") == 0, said
        out = folder / "out"
        assert shown("ask", out / "policy.json", "what has the digit 7", "--context", "cost 0") == 0
        assert shown("record", file, "-n", "4", "--to", folder / "mine.npz", "--yes") == 0
        assert shown("journal", "export", out, "--to", folder / "all.jsonl") == 0
        assert shown("journal", "export", out, "--to", folder / "all.parquet") == 0
        model.key = "another"
        (folder / "q.jsonl").write_text('{"query": "other 1", "gold": 1}')
        assert shown("tune", file, "--yes") == common.USER_ERROR
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    contents += [text.encode() for text in (*said, caplog.text)]
    assert len(contents) > 15
    assert b"***" in b"".join(contents), "the key did come back"
    hits = [form for form in encodings(KEY) for content in contents if form in content]
    assert hits == []
