"""Goals of live runs that no single module answers for: estimates under faults, the key."""

import base64
import json
import logging
import random
import traceback
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import numpy as np
import pandas as pd
import pytest
from batch_server import BatchModel, batching
from draw_runs import sample
from live_runs import RUN, batch_run, digit, iapo, queries, quick, write
from live_server import KEY, Model
from pyarrow import parquet
from reward_server import serving as rewarding
from scipy.stats import binomtest

from sim.adapters.wire.redact import Redactor
from sim.cli import common
from sim.writing import write_whole

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


REWARDED = """scorer = "regex"
aggregate = "mv"
pattern = "is (\\\\d)"
[[objectives]]
name = "liked"
aggregate = "bon"
scorer = "get_reward"
url = "OTHER/get_reward"
key_variable = "REWARD_TEST_KEY"
template = "{query} {completion}"
"""
REWARD_KEY = "rm-sentinel-7c1e+9/Yw=="
"""The key of the reward model."""


def encodings(key: str) -> set[bytes]:
    """A key raw, quoted, escaped, in hexadecimal, and inside base64 at every one of its three offsets."""
    found = {
        key,
        key.encode().hex(),
        "".join(f"%{sign:02x}" for sign in key.encode()),
        quote(key),
        quote(key, safe=""),
        quote_plus(key),
        json.dumps(key)[1:-1],
        repr(key)[1:-1],
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            whole = encode(b"." * before + key.encode()).decode()
            found.add(whole[4 if before else 0 : len(whole) // 4 * 4 - 4])
    return {form.encode() for form in found}


def contents(path: Path) -> bytes:
    """What a file holds, unpacked where it is a table or an archive: packed, a key would not be found."""
    if path.suffix == ".parquet":
        table = parquet.read_table(path)
        return f"{table.schema} {table.schema.metadata} {table.to_pylist()}".encode()
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return b"".join(archive.read(name) for name in archive.namelist())
    return path.read_bytes()


def test_a_key_in_a_packed_file_is_found(tmp_path: Path):
    write_whole(tmp_path / "a.npz", lambda file: np.savez_compressed(file, a=np.frombuffer(100 * KEY.encode(), "u1")))
    pd.DataFrame({"text": [KEY] * 100}).to_parquet(tmp_path / "a.parquet", compression="zstd")
    for path in (tmp_path / "a.npz", tmp_path / "a.parquet"):
        assert contents(path).count(KEY.encode()) == 100


@pytest.mark.parametrize("key", [KEY, "k+/=-tail", "sk-0123456789"])
def test_a_key_that_comes_back_in_another_form_is_taken_out(key: str):
    """Seen to be left in hexadecimal, as percent signs, and in the base64 of user:key."""
    forms = [f"{form.hex()} {form.hex().upper()}" for form in [key.encode()]]
    forms += ["".join(f"{sign}{one:02{case}}" for one in key.encode()) for sign in ("%", "%25") for case in "xX"]
    forms += [f"%{ord(key[0]):02X}{key[1:]}", quote(key, safe=""), quote_plus(key)]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms += [
            encode(f"{user}:{key}{rest}".encode()).decode() for user in ("", "me", "you", "user") for rest in ("", "@h")
        ]
    for form in forms:
        cleaned = Redactor(key).text(f"a {form} b")
        assert "***" in cleaned, form
        assert not any(one.decode() in cleaned for one in encodings(key)), form
        assert Redactor(key).clean(f'{{"a": "{form}"}}'.encode()).count(b"***") >= 1
    assert Redactor(key).text("100 % of 50%2 and %41%42") == "100 % of 50%2 and %41%42"


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_the_keys_are_nowhere(
    folder: Path, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Not in any file of any command, in logs at DEBUG, in what is shown, or in tracebacks of what failed.

    Both servers, the model's and the reward model's, repeat the header in some replies. Seen to fail where a client of
    either hands on replies as they came.
    """
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("REWARD_TEST_KEY", REWARD_KEY)
    for place in ("sim.adapters.session", "sim.adapters.scorers.rewards"):
        monkeypatch.setattr(f"{place}.real_clock", quick)
    said: list[str] = []
    asked: list[Any] = []

    def shown(*arguments: object) -> int:
        result = iapo(*arguments)
        said.extend([result.output, result.stderr])
        if result.exc_info is not None:
            said.append("".join(traceback.format_exception(result.exception, chain=True)))
        return result.exit_code

    def reward(body: dict, number: int) -> object:
        if spoilt:
            return spoilt[-1]
        if number % 5 == 1:
            return 503, '{"error": {"message": "busy, {key}"}}'
        return 200, json.dumps({"rewards": [len(text) / 1000 for text in body["query"]], "asked with": "{key}"})

    answer = lambda prompt, number: f"{digit(prompt, number)} {KEY if number % 5 == 0 else ''}"  # noqa: E731
    model = BatchModel(answer=answer, fault=lambda number, body: "echo" if number % 11 == 3 else None)
    model.moment = lambda number, path: "500" if number % 7 == 2 else None
    spoilt: list[object] = []
    with batching(model) as url, rewarding(reward, asked) as other:
        text = RUN.replace('strategy = "mv"', 'strategy = "mixed"') + "[caps]\ncompletions = 5000\n"
        text = text.replace('scorer = "number"', REWARDED.replace("OTHER", other))
        file = write(folder, url, batch_run(url, text=text) if mode == "batch" else text)
        assert shown("tune", file, "--yes") == 0, said
        out = folder / "out"
        assert shown("ask", out / "policy.json", "what has the digit 7", "--context", "cost 0") == 0
        assert shown("record", file, "-n", "4", "--out", folder / "mine.npz", "--yes") == 0
        queries(folder, 20, 30, "held.jsonl")
        evaluate = ("evaluate", out / "policy.json", "--queries", folder / "held.jsonl", "--yes")
        assert shown(*evaluate) == 0, said
        assert (out / "evaluation.csv").exists()
        assert shown("journal", "export", out, "--out", folder / "all.jsonl") == 0
        assert shown("journal", "export", out, "--out", folder / "all.parquet") == 0
        sent = len(asked)
        for wrong in (
            (401, '{"error": {"message": "wrong key {key}"}}'),
            (200, '{"rewards": "{key}"}'),
            (200, "{key}"),
        ):
            spoilt.append(wrong)
            assert shown("ask", out / "policy.json", "what has the digit 8", "--context", "cost 0") == common.USER_ERROR
            assert "reward model at" in said[-2]
        assert len(asked) > sent > 100
        assert {key for _, key, _ in asked} == {f"Bearer {REWARD_KEY}"}
        model.key = "another"
        queries(folder, 20, 60, "held.jsonl")
        assert shown(*evaluate) == common.USER_ERROR
        (folder / "q.jsonl").write_text('{"query": "other 1", "gold": 1}')
        assert shown("tune", file, "--yes") == common.USER_ERROR
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert {".npz", ".parquet", ".jsonl", ".json", ".csv", ".sqlite"} <= {path.suffix for path in paths}
    written = [contents(path) for path in paths] + [text.encode() for text in (*said, caplog.text)]
    assert len(written) > 25
    assert b"***" in b"".join(written), "the key did come back"
    assert b"***" in contents(folder / "all.parquet")
    hits = [form for key in (KEY, REWARD_KEY) for form in encodings(key) for content in written if form in content]
    assert hits == []
