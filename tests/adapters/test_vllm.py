"""Servers that people run, with tiny models: vLLM and `transformers serve`. Run with `pytest -m vllm`.

The interpreter that has them is named by IAPO_VLLM_PYTHON; by default it is that of the tests.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import SIGMAS
from live_runs import iapo
from live_server import KEY
from nursery import ROOT

from sim.adapters.paid.batches import Batches, Waiting
from sim.adapters.paid.entries import Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.paid.sampler import Sampler, Want, cell_of
from sim.adapters.run_file.settings import BatchOptions, Concurrency, Endpoint, Prices, Prompt
from sim.adapters.scorers.rewards import Classify
from sim.adapters.scoring import OK, Item
from sim.adapters.tiny import demo, task, weights
from sim.adapters.tiny.generate import NEVER, ROWS, Draft, complete
from sim.adapters.tiny.tokenizer import SUMS
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.retry import Stopped, real_clock
from sim.envs import files

pytestmark = pytest.mark.vllm
pytest.importorskip("openai", reason="the extra [llm] is not installed")

PYTHON = os.environ.get("IAPO_VLLM_PYTHON", sys.executable)
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
PATIENCE = 300
"""Seconds for a server to come up."""
VLLM = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "256"]
TINY = [*VLLM[:-1], "64"]


def needs(package: str) -> None:
    """Skip where the interpreter lacks a package."""
    if subprocess.run([PYTHON, "-c", f"import {package}"], capture_output=True).returncode:
        pytest.skip(f"{PYTHON} has no {package}; name one that has in IAPO_VLLM_PYTHON")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("transformers")
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [PYTHON, str(ROOT / "tests" / "support" / "made_model.py"), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def server(command: list[str], port: int, path: str, log: Path) -> Iterator[str]:
    """Run a server until its path answers, and end it afterwards."""
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=os.environ | QUIET, stdout=said, stderr=said, start_new_session=True)
        try:
            for _ in range(PATIENCE):
                assert process.poll() is None, log.read_text()[-3000:]
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
                    break
                except OSError:
                    time.sleep(1)
            else:
                pytest.fail(f"no answer in {PATIENCE} s: {log.read_text()[-3000:]}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def vllm(models: Path) -> Iterator[str]:
    needs("vllm")
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(models / "chat")]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", "8123", "--api-key", KEY, *VLLM]
    with server(command, 8123, "/health", models / "vllm.txt") as url:
        yield f"{url}/v1"


def sample(
    url: str, max_n: int, model: str = "tiny", key: str = KEY, path: Path | str = ":memory:", count: int = 8,
    batch: BatchOptions | None = None,
) -> tuple[list[list[Draw]], Amount, int]:  # fmt: skip
    """Two pulls of one query; draws, what was spent, choices that a request may ask for."""
    prompt = Prompt("p", "what is the digit of {query}?", "", model, 12, 1.0, None, None)

    async def everything() -> tuple[list[list[Draw]], Amount, int]:
        where = Endpoint(url, "", 120.0, 300.0, max_n, "max_tokens", True, 64, Concurrency(4, 1, 4), {}, batch)
        journal, client = Journal(path), OpenAIClient(where, key)
        ledger, clock = Ledger(None, journal.charged()), real_clock(asyncio.get_running_loop(), 0)
        sampler = Sampler(client, where, {model: Prices(1, 1)}, journal, ledger, clock)
        if batch is not None:
            sampler.fetch = Batches(sampler, client, batch, Path(path).parent / "batches").fetch
        cell = cell_of("tune", where, prompt, "seven")
        asked = [Want(prompt, cell, place * count, count, 1000 + place * count) for place in range(2)]
        try:
            await sampler.gather(asked)
            return [await sampler.draws(want) for want in asked], ledger.spent, sampler.most_choices(model)
        finally:
            await client.close()
            journal.close()

    return asyncio.run(everything())


def test_vllm_gives_the_same_draws_however_they_are_cut(vllm: str):
    whole, spent, limit = sample(vllm, 8)
    assert limit == 8
    texts = [draw.text for pull in whole for draw in pull]
    assert len(set(texts)) == len(texts) == 16
    assert spent.completions == 16
    assert 16 < spent.tokens < 16 * 60
    assert sample(vllm, 1)[0] == whole == sample(vllm, 3)[0]
    with pytest.raises(Stopped, match="HTTP 401"):
        sample(vllm, 8, key="another")


def test_vllm_runs_batches_from_files(vllm: str, models: Path, tmp_path: Path):
    offline, url = BatchOptions("24h", 1.0, True, 50_000, 10**8), "http://x/v1"
    model = str(models / "chat")
    with pytest.raises(Waiting, match="2 requests wait in") as waiting:
        sample(url, 8, model, path=tmp_path / "j", batch=offline)
    source, target = re.search(r"-i (\S+) -o (\S+)", str(waiting.value)).groups()  # type: ignore[union-attr]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.run_batch", "-i", source, "-o", target, "--model", model, *VLLM]
    done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found, spent, _ = sample(url, 8, model, path=tmp_path / "j", batch=offline)
    assert found == sample(vllm, 8)[0]
    assert spent.completions == 16


def test_vllm_gives_raw_rewards(models: Path):
    needs("vllm")
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(models / "reward")]
    command += ["--served-model-name", "reward", "--host", "127.0.0.1", "--port", "8124", "--runner", "pooling", *VLLM]

    async def score(scorer: Classify, texts: list[str]) -> list[float | None]:
        await scorer.start()
        found = await scorer.score(Item("q"), "p", texts)
        assert {one.status for one in found} == {OK}
        return [one.value for one in found]

    with server(command, 8124, "/health", models / "reward.txt") as url:
        texts = ["seven", "eight", "a much longer answer"]
        raw = asyncio.run(score(Classify(f"{url}/classify", "{query}: {completion}", model="reward"), texts))
        seen = asyncio.run(
            score(Classify(f"{url}/classify", "{query}: {completion}", model="reward", raw=False), texts)
        )
    assert len({*raw}) == 3
    assert all(0 <= one <= 1 for one in seen if one is not None)
    assert raw != seen


def test_transformers_serve_ignores_n_and_every_draw_is_there(models: Path):
    needs("fastapi, accelerate")
    chat = str(models / "chat")
    command = [PYTHON, "-m", "transformers.cli.transformers", "serve", chat]
    command += ["--host", "127.0.0.1", "--port", "8125", "--device", "cpu"]
    with server(command, 8125, "/health", models / "serve.txt") as url:
        found, spent, limit = sample(f"{url}/v1", 8, chat, count=4)
    assert limit == 1
    texts = [draw.text for pull in found for draw in pull]
    assert len(texts) == spent.completions == 8
    assert len(set(texts)) > 4


PROMPTS = (*task.MODES, "think hard")
"""System prompts of the example run, in its order."""
DRAWS = 8


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example run of the tiny model, its endpoint that of the preset "vllm" but for the address."""
    folder = tmp_path_factory.mktemp("example") / "run"
    demo.write(folder)
    text = (folder / "tiny.toml").read_text()
    bias = ", ".join(f"{token} = -100" for token in np.flatnonzero(NEVER))  # markers, which no completion holds
    given = f'preset = "vllm"\nbase_url = "URL"\nextra = {{ logit_bias = {{ {bias} }} }}\n'
    wrote = f'base_url = "{demo.ADDRESS}"\n'
    assert wrote in text
    (folder / "tiny.toml").write_text(text.replace(wrote, given).replace('key_variable = ""\n', ""))
    held_out = (folder / "held-out.jsonl").read_text().splitlines()[::4]
    (folder / "held-out.jsonl").write_text("\n".join(held_out))
    return folder


def command(*arguments: object) -> str:
    """Run `iapo`; what it printed. It succeeds."""
    result = iapo(*arguments)
    print("\n".join(["$ iapo " + " ".join(map(str, arguments)), *result.output.splitlines()[-12:]]))
    assert result.exit_code == 0, result.output
    return result.output


def check_recorded(world: Path, queries: Path, draws: int) -> None:
    """Right answers are as often right as where the project's own server draws them, prompt by prompt.

    Both draws of a query are independent of each other: standard errors are those of differences by query. The bug to
    be caught is a server that has other weights or another layout of the chat: then hardly anything is right.
    """
    recorded, params = files.load(world), weights.load()[0]
    rows = [json.loads(line) for line in queries.read_text().splitlines()]
    assert recorded.answers is not None
    right = np.asarray(recorded.probs)[:, np.arange(len(rows)), recorded.answers]
    for place, system in enumerate(PROMPTS):
        asked = [Draft(tuple(SUMS.chat(system, row["query"])), 0, 1.8, max_tokens=40) for row in rows]
        many = [one._replace(seed=1000 * number + k) for number, one in enumerate(asked) for k in range(draws)]
        said = [one.text for first in range(0, len(many), ROWS) for one in complete(params, many[first : first + ROWS])]
        hits = [re.findall(r"\d+", text)[-1:] == [str(rows[k // draws]["gold"])] for k, text in enumerate(said)]
        off = right[place] - np.reshape(hits, (len(rows), draws)).mean(axis=1)
        error = off.std(ddof=1) / np.sqrt(len(rows))
        print(f"{system}: {right[place].mean():.3f}, differs by {off.mean():+.4f} (standard error {error:.4f})")
        assert abs(off.mean()) <= SIGMAS * max(error, 1 / len(rows))


def test_a_whole_run_on_vllm_with_its_preset(models: Path, example: Path):
    """Plan, tune, evaluate, ask and record the model that comes with the project; draws follow its law."""
    needs("vllm")
    start = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(models / "tiny")]
    start += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", "8126", *TINY]
    run, policy = example / "tiny.toml", example / "results" / "tiny" / "policy.json"
    with server(start, 8126, "/health", models / "tiny.txt") as url:
        run.write_text(run.read_text().replace("URL", f"{url}/v1"))
        command("tune", run, "--plan", "--yes")
        command("tune", run, "--yes")
        command("evaluate", policy, "--queries", example / "held-out.jsonl", "--yes")
        assert re.search(r"\d", command("ask", policy, "2+3+6+1", "--context", "cost 0"))
        command("record", run, "-n", DRAWS, "--out", example / "world.npz", "--yes")
    content = json.loads(policy.read_text())
    assert content["run"]["complete"]
    chosen = [one["chosen"] for one in content["policy"].values()]
    assert {one["prompt"] for one in chosen} <= {"direct", "steps", "twice"}, "the fourth has words that it never read"
    check_recorded(example / "world.npz", example / "queries.jsonl", DRAWS)


def test_a_batch_run_goes_through_vllm_run_batch(models: Path, example: Path, tmp_path: Path):
    """Recorded by the command that the run says, with vLLM's own program; the same call then reads its output."""
    needs("vllm")
    model = str(models / "tiny")
    text = re.sub(r"base_url = .*\n", "", (example / "tiny.toml").read_text())
    text = text.replace('preset = "vllm"', 'preset = "vllm"\nmode = "batch"')
    text = text.replace("[cost]", "[endpoint.batch]\noffline = true\n[cost]").replace('"tiny"', f'"{model}"')
    run = tmp_path / "batch.toml"
    run.write_text(text.replace(f'name = "{model}"', 'name = "batch"', 1))
    (tmp_path / "queries.jsonl").write_text("\n".join((example / "queries.jsonl").read_text().splitlines()[::4]))
    record = ("record", run, "-n", DRAWS, "--out", tmp_path / "world.npz", "--yes")
    waiting = iapo(*record)
    assert waiting.exit_code != 0
    source, target = re.search(r"-i (\S+) -o (\S+)", waiting.output).groups()  # type: ignore[union-attr]
    by = [PYTHON, "-m", "vllm.entrypoints.openai.run_batch", "-i", source, "-o", target, "--model", model]
    done = subprocess.run([*by, *TINY], env=os.environ | QUIET, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    command(*record)
    check_recorded(tmp_path / "world.npz", tmp_path / "queries.jsonl", DRAWS)
