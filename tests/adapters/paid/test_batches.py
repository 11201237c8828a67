"""Rounds as batches: whatever the server makes of them, every draw once, every bill covered, nothing asked twice."""

import asyncio
import json
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from batch_server import BatchModel, batching
from draw_runs import FREE, PRICES, PROMPT, PULLS, right, wants
from live_runs import RUN, batch_run, digit, iapo, write
from live_server import KEY

from sim.adapters.paid.batches import PATIENCE, Batches, Waiting
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.paid.sampler import REFUSED, Sampler
from sim.adapters.run_file.settings import BatchOptions, Caps, Concurrency, Endpoint
from sim.adapters.wire.batch_api import read_lines, result_of
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.protocol import Ambiguous, Fatal, Reply, Transient
from sim.adapters.wire.retry import Clock, Stopped
from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")

OPTIONS = BatchOptions("24h", 30.0, False, 50_000, 10**8)


def sample(
    model: BatchModel,
    pulls: Sequence[tuple[str, int]] = PULLS,
    path: Path | str = ":memory:",
    caps: Caps = FREE,
    options: BatchOptions = OPTIONS,
    max_n: int = 16,
    said: Callable[[str], None] = lambda text: None,
    at: str | None = None,
) -> tuple[list, Amount]:
    """All pulls as one round, of the server there or of one that is started; draws and what was spent.

    Waits take no time, but are counted against the deadline.
    """

    async def quick(seconds: float) -> None:
        now[0] += seconds
        await asyncio.sleep(0)

    now = [0.0]

    async def everything(url: str) -> tuple[list, Amount]:
        where = Endpoint(url, "", 600.0, 1000.0, max_n, "max_tokens", True, 64, Concurrency(16, 1, 64), {}, options)
        journal, client = Journal(path), OpenAIClient(where, KEY)
        ledger = Ledger(caps, journal.charged())
        sampler = Sampler(client, where, PRICES, journal, ledger, Clock(lambda: now[0], quick, random.Random(0)))
        folder = Path(path).parent if path != ":memory:" else Path("nowhere")
        sampler.fetch = Batches(sampler, client, options, folder, said).fetch
        asked = wants(where, pulls)
        try:
            await sampler.gather(asked)
            found = [await sampler.draws(want) for want in asked]
            assert ledger.held == Amount()
            assert journal.charged() == ledger.spent
            assert journal.unfinished(url) == []
            return found, ledger.spent
        finally:
            await client.close()
            journal.close()

    if at is not None:
        return asyncio.run(everything(at))
    with batching(model) as url:
        return asyncio.run(everything(url))


def texts(found: list) -> list[list[str]]:
    return [[draw.text for draw in pull] for pull in found]


def many(count: int = 12) -> list[tuple[str, int]]:
    return [(f"q{k}", 1 + k % 5) for k in range(count)]


@pytest.mark.parametrize("max_n", [1, 3, 16])
def test_a_round_is_one_batch(max_n: int):
    """Out of order, and nothing goes through the endpoint for single requests."""
    model = BatchModel()
    found, spent = sample(model, max_n=max_n)
    assert texts(found) == right(model)
    assert len(model.batches) == 1
    assert model.requests == []
    assert spent == Amount(29, model.tokens, spent.money)
    assert spent.completions == model.completions
    assert model.batches[0]["completion_window"] == "24h"


@pytest.mark.parametrize(
    ("quirk", "batches", "paid_twice"),
    [
        ("late", 1, 0),
        ("repeat", 1, 0),
        ("strange", 1, 0),
        ("expire", 2, 0),
        ("errors", 2, 3),
        ("one", 2, 0),
        ("missing", 2, 3),
    ],
)
def test_the_quirks_of_a_batch_lose_nothing_and_repeat_no_more_than_they_must(
    quirk: str, batches: int, paid_twice: int
):
    """`paid_twice`: requests without a line, or with an error that may have been billed, are charged and asked anew."""
    model = BatchModel(quirks=lambda number: {quirk} if number == 0 else set())
    found, spent = sample(model, many())
    assert texts(found) == right(model, many())
    assert len(model.batches) == batches
    whole = sum(scale for _, scale in many())
    again = [json.loads(line)["body"]["n"] for line in model.files["file-1"].splitlines()] if batches == 2 else []
    if quirk == "one":
        assert again == [1] * (whole - 12)
    if paid_twice:
        assert len(again) == paid_twice
        assert spent.completions == whole + sum(again)
    else:
        assert spent.completions == model.completions == whole
    assert spent.tokens >= model.tokens


@pytest.mark.parametrize("kind", ["html", "null"])
def test_a_file_that_came_as_something_else_is_downloaded_again(kind: str):
    """Seen to pay for the whole batch twice. The second download lacks a line that the server does not have."""
    left = [kind]
    model = BatchModel(quirks=lambda number: {"missing"} if number == 0 else set())
    model.moment = lambda number, said: left.pop() if left and said.startswith("GET /v1/files/") else None
    found, spent = sample(model, many())
    assert texts(found) == right(model, many())
    assert spent.completions == model.completions == sum(scale for _, scale in many()) + model.wasted
    assert len(model.batches) == 2


def test_choices_that_break_are_asked_for_again_in_the_next_batch():
    """Seen to fail where a part of a completion counts as one."""
    model = BatchModel(breaks=lambda prompt, text, before: "error" if "answer 7" in text and before < 2 else None)
    found, spent = sample(model)
    assert texts(found) == right(BatchModel())
    assert sum(model.broke.values()) > 0
    assert spent.completions == model.completions == 29 + sum(model.broke.values())
    assert len(model.batches) == 3


def test_a_refused_prompt_is_an_outcome():
    model = BatchModel(quirks=lambda number: {"filter"})
    found, spent = sample(model, many())
    assert [pull[0].finish == REFUSED for pull in found] == [place % 5 == 0 for place in range(12)]
    assert spent.completions == sum(scale for _, scale in many())


def test_a_malformed_request_ends_the_run_and_the_rest_is_kept(tmp_path: Path):
    model = BatchModel(quirks=lambda number: {"bad"} if number == 0 else set())
    with pytest.raises(Stopped, match="temperature is too high"):
        sample(model, many(), tmp_path / "j")
    journal = Journal(tmp_path / "j")
    kept = journal.rows("SELECT count(*) FROM draws")[0][0]
    assert kept == model.completions == sum(scale for _, scale in many()) - 1
    journal.close()


@pytest.mark.parametrize(("quirk", "said"), [("failed", "too many tokens are queued"), ("cancelled", "was cancelled")])
def test_a_batch_that_ends_badly_stops_the_run_and_costs_nothing(quirk: str, said: str, tmp_path: Path):
    model = BatchModel(quirks=lambda number: {quirk} if number == 0 else set())
    with pytest.raises(Stopped, match=f"batch_0 .*{said}.* the same command asks for the rest"):
        sample(model, many(), tmp_path / "j")
    journal = Journal(tmp_path / "j")
    assert journal.charged() == Amount()
    assert journal.rows("SELECT count(*) FROM batches WHERE state != 'done'") == [(0,)]
    journal.close()


def test_a_round_that_keeps_failing_is_given_up():
    model = BatchModel(quirks=lambda number: {"errors"})
    with pytest.raises(Stopped, match="8 batches in a row"):
        sample(model, [("a", 1)])
    assert len(model.batches) == 8


def test_a_large_round_becomes_several_batches_under_one_reservation():
    model = BatchModel()
    found, _ = sample(model, many(), options=BatchOptions("24h", 30.0, False, 5, 10**8))
    assert texts(found) == right(model, many())
    assert sorted(batch["counts"]["total"] for batch in model.batches) == [2, 5, 5]
    small = BatchModel()
    sample(small, many(), options=BatchOptions("24h", 30.0, False, 50_000, 1500))
    assert max(len(content) for name, content in small.files.items() if name.startswith("file")) <= 1500
    assert len(small.batches) > 2
    with pytest.raises(ValueError, match=r"max_bytes is 200; the request for prompt 'p', query 'q0' alone takes"):
        sample(BatchModel(), many(), options=BatchOptions("24h", 30.0, False, 50_000, 200))


def test_the_whole_round_is_reserved_before_anything_is_sent():
    """Its worst case is exact: a cap one token below it refuses, the cap itself does not."""
    worst = sum(len(f"{query}?") + 8 + 64 + 30 * scale for query, scale in many())
    refused = BatchModel()
    with pytest.raises(Stopped, match=r"caps.tokens is .*, and the next batch could exceed it"):
        sample(refused, many(), caps=Caps(10**9, worst - 1, None))
    assert refused.log == []
    sample(BatchModel(), many(), caps=Caps(10**9, worst, None))


STEPS = ("POST /v1/files", "POST /v1/batches", "GET /v1/batches/batch_0", "GET /v1/files/output-0/content")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after", "503", "500"])
def test_a_step_that_breaks_is_repeated_and_never_creates_twice(step: str, moment: str):
    broken: list[int] = []

    def fails(number: int, said: str) -> str | None:
        if said == step and len(broken) < 2:
            broken.append(number)
            return moment
        return None

    model = BatchModel(moment=fails)
    found, spent = sample(model, many())
    assert len(broken) == (1 if (step, moment) == ("POST /v1/batches", "after") else 2)
    assert len(model.batches) == 1
    assert texts(found) == right(model, many())
    assert spent.completions == model.completions


@pytest.mark.parametrize("step", STEPS)
def test_a_wrong_key_at_any_step_loses_nothing(step: str, tmp_path: Path):
    model = BatchModel(moment=lambda number, said: "401" if said == step else None)
    with batching(model) as url:
        with pytest.raises(Stopped, match="HTTP 401"):
            sample(model, many(), tmp_path / "j", at=url)
        journal = Journal(tmp_path / "j")
        assert journal.charged().completions == model.completions
        journal.close()
        model.moment = lambda number, said: None
        found, spent = sample(model, many(), tmp_path / "j", at=url)
    assert texts(found) == right(model, many())
    assert len(model.batches) == 1
    assert spent.completions == model.completions


@pytest.mark.parametrize("what", ["batches", "files"])
def test_a_batch_that_the_server_does_not_show_for_a_day_counts_as_billed(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where one 404 gave it up: the next command asked for all of it again."""
    now = [1e9]
    monkeypatch.setattr("sim.adapters.paid.batches.time", lambda: now[0])
    model = BatchModel(moment=lambda number, said: "404" if said.startswith(f"GET /v1/{what}/") else None)
    with batching(model) as url:
        for _ in range(2):
            with pytest.raises(Stopped, match=r"HTTP 404: .* batch batch_0 goes on, and the same command takes it up"):
                sample(model, many(), tmp_path / "j", at=url)
            now[0] += PATIENCE - 1
        shutil.copy(tmp_path / "j", tmp_path / "k")
        with pytest.raises(Stopped, match=r"no longer has batch batch_0 .* count as billed"):
            sample(model, many(), tmp_path / "k", at=url)
        journal = Journal(tmp_path / "k")
        assert journal.charged().tokens >= model.tokens > 0
        journal.close()
        model.moment = lambda number, said: None
        found, spent = sample(model, many(), tmp_path / "j", at=url)
    assert texts(found) == right(model, many())
    assert len(model.batches) == 1
    assert spent.completions == model.completions


def test_an_output_that_is_named_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Seen to fail where ten looks were enough to send everything anew."""
    now = [1e9]
    monkeypatch.setattr("sim.adapters.paid.batches.time", lambda: now[0])
    model = BatchModel(quirks=lambda number: {"nothing"} if number == 0 else set())
    with batching(model) as url:
        with pytest.raises(Stopped, match="batch_0 is completed and does not name its output yet"):
            sample(model, many(), tmp_path / "j", at=url)
        assert len(model.batches) == 1
        now[0] += PATIENCE
        found, spent = sample(model, many(), tmp_path / "j", at=url)
    assert texts(found) == right(model, many())
    assert len(model.batches) == 2
    assert spent.completions == 2 * sum(scale for _, scale in many())


def test_offline_a_file_is_written_and_its_output_read(tmp_path: Path):
    """As `vllm run-batch` works: the program here is the tests' model."""
    model, options = BatchModel(), BatchOptions("24h", 30.0, True, 50_000, 10**8)
    with pytest.raises(Waiting, match=r"12 requests wait in .*; run them, as by: vllm run-batch -i .* --model m"):
        sample(model, many(), tmp_path / "j", options=options, at="http://x/v1")
    with pytest.raises(Waiting, match="12 requests wait"):
        sample(model, many(), tmp_path / "j", options=options, at="http://x/v1")
    (source,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    made = [
        {
            "id": str(k),
            "custom_id": line["custom_id"],
            "response": {"status_code": 200, "body": model.reply(line["body"])},
        }
        for k, line in enumerate(lines)
    ]
    target = source.with_name(f"{source.stem}-output.jsonl")
    target.write_text("\n".join(json.dumps(line) for line in made[:7]))
    with pytest.raises(Stopped, match=r"lacks 5 of 12 requests of .*; let the program end"):
        sample(model, many(), tmp_path / "j", options=options, at="http://x/v1")
    target.write_text("\n".join(json.dumps(line) for line in made))
    found, spent = sample(model, many(), tmp_path / "j", options=options, at="http://x/v1")
    assert texts(found) == right(model, many())
    assert spent.completions == model.completions
    assert model.log == []


def body(*contents: str, tokens: int = 4) -> dict:
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in contents]
    return {"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": tokens}}


def test_lines_are_read_for_what_they_are():
    def one(*lines: tuple, status: str = "completed"):
        return result_of([*lines], status)

    good = {"status_code": 200, "body": body("x")}
    assert one((good, None)) == one((good, None), (good, None)), "the same line twice counts once"
    twice = one((good, None), ({"status_code": 200, "body": body("y", tokens=5)}, None))
    assert isinstance(twice, Reply)
    assert [choice.text for choice in twice.choices] == ["x", "y"]
    assert twice.usage is not None
    assert twice.usage[:2] == (6, 9), "two replies were worked for"
    assert isinstance(one(({"status_code": 500, "body": {}}, None), (good, None)), Reply)
    assert isinstance(one((None, {"code": "batch_expired", "message": "m"})), Transient)
    assert isinstance(one((None, {"code": "other", "message": "m"})), Ambiguous)
    assert isinstance(one((None, None)), Ambiguous)
    assert isinstance(one(({"status_code": "200"}, None)), Ambiguous)
    assert isinstance(one(({"status_code": 400, "body": None}, None)), Fatal)
    assert isinstance(one(status="expired"), Ambiguous)
    assert isinstance(one(status="failed"), Transient)
    lines = read_lines([b'{"custom_id": "a"}\n\n{"custom_id": ["a"]}\n\xff\n', b'{"custom_id": "z"}'], ["a", "b"])
    assert (lines.known, lines.strange) == ({"a": [(None, None)], "b": []}, 3)


def test_a_journal_of_one_model_and_prompt_names_every_request_once():
    model = BatchModel()
    sample(model, [("a", 2)] * 5)
    (content,) = [content for name, content in model.files.items() if name.startswith("file")]
    names = [json.loads(line)["custom_id"] for line in content.splitlines()]
    assert len(set(names)) == 5
    assert PROMPT.model == json.loads(content.splitlines()[0])["body"]["model"]


def test_a_tuning_run_in_batches_is_the_same_as_one_request_at_a_time(folder: Path):
    """Probe and rounds, one batch each; stopped in the middle by a batch that fails; ends with the same policy."""
    model, plain = BatchModel(answer=digit), BatchModel(answer=digit)
    with batching(plain) as url:
        assert iapo("tune", write(folder, url), "--yes").exit_code == 0
    expected = json.loads((folder / "out" / "policy.json").read_text())
    shutil.rmtree(folder / "out")
    model.quirks = lambda number: {"failed"} if number == 2 else set()
    with batching(model) as url:
        file = write(folder, url, batch_run(url))
        stopped = iapo("tune", file, "--yes")
        assert stopped.exit_code == common.USER_ERROR
        assert "batch_2 failed (too many tokens are queued)" in stopped.stderr
        result = iapo("tune", file, "--yes")
        assert result.exit_code == 0, result.output
        found = json.loads((folder / "out" / "policy.json").read_text())
        rounds = len(model.batches) - 2  # the probe's, and the one that failed
        assert rounds == 4
        assert model.requests == []
        assert "batch 1: 12 requests are under way as batch_0" in stopped.stderr
        assert iapo("ask", folder / "out" / "policy.json", "what has the digit 7", "--context", "cost 0").exit_code == 0
    assert found["policy"] == expected["policy"]
    assert found["spent"] == expected["spent"]
    assert found["spent"]["tokens"] == plain.tokens


def test_a_run_with_an_unfinished_batch_is_not_gone_on_with_request_by_request(folder: Path):
    """Seen to pay the batch's requests a second time, after which no batch could be read."""
    model = BatchModel(answer=digit, moment=lambda number, said: "401" if said.startswith("GET /v1/batches/") else None)
    with batching(model) as url:
        file = write(folder, url, batch_run(url))
        assert iapo("tune", file, "--yes").exit_code == common.USER_ERROR
        model.moment = lambda number, said: None
        paid = model.completions
        file.write_text(RUN.replace("URL", url))
        refused = iapo("tune", file, "--yes")
        assert refused.exit_code == common.USER_ERROR
        assert re.fullmatch(
            r"error: .*run.toml: endpoint.mode is 'sync', but batch 1 \(batch_0\) in .*journal.sqlite is not over and "
            r"its requests would be paid for twice; run in mode 'batch' until it is\n",
            refused.stderr,
        )
        assert model.completions == paid > 0
        result = iapo("tune", write(folder, url, batch_run(url)), "--yes")
        assert result.exit_code == 0, result.output
        file.write_text(RUN.replace("URL", url))
        assert iapo("tune", file, "--yes").exit_code == 0
    assert model.requests == []


def test_a_tuning_run_waits_for_a_program(folder: Path):
    """What a batch will bring needs no more room under the cap. Seen to be counted as spent and as missing."""
    text = f"{RUN}[caps]\ncompletions = {48 + 400}\n"
    file = write(folder, "http://127.0.0.1:9/v1", batch_run("http://127.0.0.1:9/v1", "offline = true", text))
    waiting = iapo("tune", file, "--yes")
    assert waiting.exit_code == common.USER_ERROR
    assert re.fullmatch(r"12 requests wait in .*-1.jsonl; run them, as by: vllm run-batch .* again.\n", waiting.stderr)
    (source,) = (folder / "out" / "batches").glob("*.jsonl")
    model = BatchModel(answer=digit)
    lines = []
    for line in map(json.loads, source.read_text().splitlines()):
        response = {"status_code": 200, "body": model.reply(line["body"])}
        lines.append(json.dumps({"custom_id": line["custom_id"], "response": response}))
    source.with_name(f"{source.stem}-output.jsonl").write_text("\n".join(lines))
    planned = iapo("tune", file, "--plan", "--yes")
    assert planned.exit_code == 0, planned.output
    assert "estimated from the probe" in planned.stdout
    rounds = iapo("tune", file, "--yes")
    assert re.search(r"requests wait in .*-2.jsonl; run them", rounds.stderr), "the first round waits, and no cap binds"


def test_rules_of_many_small_rounds_are_refused_in_batches(folder: Path):
    """Seen to fail with `top-two` and its like taken for rules of large rounds."""
    model = BatchModel(answer=digit)
    with batching(model) as url:
        for rule in ("ucb", "top-two", "almost-tracking", "surrogate"):
            text = batch_run(url).replace('"psst"', f'"{rule}"')
            refused = iapo("tune", write(folder, url, text), "--yes")
            assert refused.exit_code == common.USER_ERROR
            assert f"tune.algorithm is '{rule}', which pulls one arm or a few at a time" in refused.stderr
        idle = batch_run(url).replace('mode = "batch"', 'mode = "sync"')
        assert "endpoint.batch is for mode 'batch'" in iapo("tune", write(folder, url, idle), "--yes").stderr
    assert model.log == model.requests == []
