"""Runs on two endpoints at different prices, through all commands: each with its own key, limits and prices."""

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from batch_server import BatchModel, batching
from journal_files import query
from live_runs import digit, iapo, queries
from live_server import KEY
from two_endpoints import KEYS, OTHER_KEY, UNITS, charged_at, write_two

from sim import live
from sim.adapters.live import in_parallel, jobs_of
from sim.adapters.paid.batches import Waiting
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.paid.sampler import Ending, Sampler, consecutive
from sim.adapters.run_file.settings import Caps, Concurrency, Endpoint, Prompt
from sim.adapters.scoring import Item
from sim.adapters.wire.protocol import Offline
from sim.adapters.wire.retry import real_clock
from sim.envs import files

pytest.importorskip("openai", reason="the extra [llm] is not installed")


class Two(NamedTuple):
    """Both servers, their addresses, and the run file that names them."""

    near: BatchModel
    far: BatchModel
    near_url: str
    far_url: str
    file: Path

    @property
    def out(self) -> Path:
        """The folder of results."""
        return self.file.parent / "out"

    def asked(self) -> tuple[int, int]:
        """Requests that each has got."""
        return len(self.near.requests), len(self.far.requests)


@pytest.fixture
def two(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    """Two servers, of which each takes its own key alone, and says the other's in every answer."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    near = BatchModel(answer=lambda prompt, number: f"{digit(prompt, number)} {OTHER_KEY}")
    far = BatchModel(answer=lambda prompt, number: f"{digit(prompt, number)} {KEY}", key=OTHER_KEY)
    with batching(near) as near_url, batching(far) as far_url:
        yield Two(near, far, near_url, far_url, write_two(folder, near_url, far_url))


def tuned(two: Two) -> Path:
    """The policy of a tuning run."""
    done = iapo("tune", two.file, "--yes")
    assert done.exit_code == 0, done.output
    assert "3 prompts at 2 endpoints" in " ".join(done.output.split())
    assert "Endpoints of the chosen: far (cost 0), near (cost 3000)." in " ".join(done.output.split())
    return two.out / "policy.json"


def test_a_run_on_two_endpoints_from_plan_to_answer(two: Two):
    """One budget, one journal: each server is charged for what it billed, at its own prices; no key is in any file.

    The dear one is chosen where costs weigh nothing, the cheap one where they do.
    """
    policy = tuned(two)
    journal = two.out / "journal.sqlite"
    for name, model, url in (("near", two.near, two.near_url), ("far", two.far, two.far_url)):
        charged, (before, after) = charged_at(journal, url), UNITS[name]
        assert charged[:2] == (model.completions, model.tokens)
        assert model.completions > 0
        rows = query(
            journal,
            f"SELECT prompt_tokens, completion_tokens FROM attempts JOIN cells USING (cell) WHERE endpoint = '{url}'",
        )
        assert charged.money == sum(before * asked + after * said for asked, said in rows)
    made = json.loads(policy.read_text())
    chosen = {name: made["prompts"][one["chosen"]["prompt"]]["endpoint"] for name, one in made["policy"].items()}
    assert chosen == {"cost 0": "far", "cost 3000": "near"}
    assert made["prices"] == {name: {"m": list(pair)} for name, pair in UNITS.items()}
    assert made["spent"]["completions"] == two.near.completions + two.far.completions
    before = two.asked()
    assert iapo("tune", two.file, "--yes").exit_code == 0
    assert two.asked() == before, "everything is in the journal"
    for path in filter(Path.is_file, two.file.parent.rglob("*")):
        for key in KEYS.values():
            for form in (key, base64.b64encode(key.encode()).decode(), key.replace("/", "\\/")):
                assert form.encode() not in path.read_bytes(), path
    answered = iapo("ask", policy, "query 3 has the digit 3", "--context", "cost 3000")
    assert answered.exit_code == 0, answered.output
    assert f"to {two.near_url} with the key in LIVE_TEST_KEY, and to {two.far_url} with" in answered.stderr
    assert two.asked() == (before[0] + 1, before[1])
    with live.Policy.load(policy) as loaded:
        assert loaded.answer("query 5 has the digit 5", "cost 0").text.endswith(" ***")
    assert two.asked() == (before[0] + 1, before[1] + 1)


def test_a_policy_needs_the_keys_of_the_endpoints_that_it_chose(two: Two, monkeypatch: pytest.MonkeyPatch):
    """Not that of an endpoint which only a runner-up or the single best prompt has."""
    policy = tuned(two)
    made = json.loads(policy.read_text())
    made["policy"]["cost 0"] = made["policy"]["cost 3000"]
    policy.write_text(json.dumps(made))
    monkeypatch.delenv("OTHER_TEST_KEY")
    with live.Policy.load(policy) as loaded:
        assert loaded.answer("query 5 has the digit 5", "cost 0").text
    refused = iapo("tune", two.file, "--yes")
    assert refused.exit_code == 2
    said = "the environment variable OTHER_TEST_KEY (endpoints.far.key_variable) holds no key"
    assert said in " ".join(refused.stderr.split())


def test_a_policy_is_evaluated_at_its_endpoints(two: Two):
    """Costs of held-out queries are those of each endpoint; what the run file says otherwise by now is said."""
    policy = tuned(two)
    queries(two.file.parent, 12, 40, "new.jsonl")
    before = two.asked()
    done = iapo("evaluate", policy, "--queries", two.file.parent / "new.jsonl", "--yes")
    assert done.exit_code == 0, done.output
    assert "differs" not in done.stderr
    assert all(now > then for now, then in zip(two.asked(), before, strict=True))
    rows = (two.out / "evaluation.csv").read_text().splitlines()[1:]
    assert len(rows) == 9, "two contexts and the mean, three arms each"
    two.file.write_text(two.file.read_text().replace("prompt = 10.0", "prompt = 11.0").replace("most = 4", "most = 5"))
    again = iapo("evaluate", policy, "--queries", two.file.parent / "new.jsonl", "--plan")
    assert again.exit_code == 0, again.output
    assert "in endpoint, prices; what the policy holds" in " ".join(again.stderr.split())


def test_a_record_holds_the_costs_of_each_endpoint(two: Two):
    """Costs are those charged at each endpoint, of the same prompt too. A replay of the same draws agrees."""
    out = two.file.parent / "mine.npz"
    done = iapo("record", two.file, "-n", 4, "--out", out, "--yes")
    assert done.exit_code == 0, done.output
    data = files.load(out)
    assert data.prompt_names == ("weak (endpoint near)", "weak (endpoint far)", "strong")
    for cost, name, url in zip(data.costs, UNITS, (two.near_url, two.far_url), strict=False):
        table = "FROM attempts JOIN cells USING (cell) WHERE prompt LIKE 'weak%' AND endpoint ="
        rows = query(two.out / "journal.sqlite", f"SELECT prompt_tokens, completion_tokens, n {table} '{url}'")
        before, after = UNITS[name]
        asked = before * np.mean([row[0] for row in rows])  # each completion alone would take its prompt
        said = after * sum(row[1] for row in rows) / sum(row[2] for row in rows)
        assert cost == pytest.approx((asked + said) / 1e12)
    assert data.provenance["endpoints"] == sorted([two.near_url, two.far_url])
    seen = two.file.parent / "seen.npz"
    assert iapo("replay", two.out, "--stream", "record", "--out", seen).exit_code == 0
    np.testing.assert_array_equal(files.load(seen).probs, data.probs)


def test_a_journal_tells_endpoints_apart(two: Two):
    """Both addresses are listed; every completion of an export has its own."""
    tuned(two)
    shown = " ".join(iapo("journal", "list", two.out).output.split())
    assert all(address.removeprefix("http://") in shown for address in (two.near_url, two.far_url))
    assert "weak (endpoint far)" in " ".join(iapo("journal", "show", two.out).output.split())
    lines = two.file.parent / "all.jsonl"
    assert iapo("journal", "export", two.out, "--out", lines).exit_code == 0
    rows = list(map(json.loads, lines.read_text().splitlines()))
    assert {row["endpoint"] for row in rows if row["prompt"] == "strong"} == {two.far_url}
    assert {row["endpoint"] for row in rows} == {two.near_url, two.far_url}


def test_a_cap_on_money_holds_over_both_endpoints(two: Two):
    """By hand: 400 completions at 0.0001 on average need 0.04."""
    cap = 10**10
    two.file.write_text(f"{two.file.read_text()}[caps]\nmoney = {cap / 10**12}\n")
    done = iapo("tune", two.file, "--yes", "--accept-unreadable")
    assert done.exit_code == 3, done.output
    assert "caps.money is 0.01" in " ".join(done.stderr.split())
    journal = two.out / "journal.sqlite"
    charged = charged_at(journal, two.near_url).plus(charged_at(journal, two.far_url))
    assert 0.7 * cap < charged.money <= cap


def test_what_ends_the_run_at_one_endpoint_ends_it_at_the_other(two: Two, monkeypatch: pytest.MonkeyPatch):
    """A wrong key; the other has 16 requests of the probe, one at a time."""
    monkeypatch.setenv("OTHER_TEST_KEY", KEY)
    two.near.delay = 0.2
    text = two.file.read_text().replace("start = 8, most = 8 }", "start = 1, most = 1 }\nmax_n = 1")
    two.file.write_text(text)
    done = iapo("tune", two.file, "--yes")
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "401" in said
    assert re.search(r"prompt '(weak \(endpoint far\)|strong)'", said)
    assert two.near.completions <= 4
    assert two.far.completions == 0


BATCH = 'mode = "batch"\nbatch = { poll = 0.001, max_requests = 20 }\ntimeout = 900'


@pytest.mark.parametrize("which", ["near", "far", "both"])
def test_batches_go_to_both_endpoints(two: Two, which: str):
    """Alone, both at a time, and beside one that is asked directly; the policy is that of a run without.

    Of "both", batches that begin side by side have numbers of their own.
    """
    parts = two.file.read_text().split("[endpoints.far]")
    made = [
        part.replace("timeout = 900", BATCH) if which in (name, "both") else part
        for name, part in zip(("near", "far"), parts, strict=True)
    ]
    plain, batched = two.file.parent / "plain.toml", two.file.parent / "batched.toml"
    plain.write_text(two.file.read_text().replace('out = "out"', 'out = "plain"'))
    batched.write_text("[endpoints.far]".join(made))
    done = iapo("tune", batched, "--yes")
    assert done.exit_code == 0, done.output
    for model, name in ((two.near, "near"), (two.far, "far")):
        assert bool(model.batches) == (which in (name, "both"))
        assert bool(model.requests) != bool(model.batches)
    journal = two.out / "journal.sqlite"
    assert query(journal, "SELECT count(*) FROM batches WHERE state != 'done'") == [(0,)]
    assert charged_at(journal, two.near_url)[:2] == (two.near.completions, two.near.tokens)
    assert charged_at(journal, two.far_url)[:2] == (two.far.completions, two.far.tokens)
    assert iapo("tune", plain, "--yes").exit_code == 0
    ends = [json.loads((two.file.parent / out / "policy.json").read_text())["policy"] for out in ("out", "plain")]
    assert ends[0] == ends[1]


JUDGED = """
strategy = "bon"
out = "out"
[endpoints.near]
base_url = "NEAR"
model = "m"
key_variable = "LIVE_TEST_KEY"
prices = { prompt = 1.0, completion = 2.0 }
[endpoints.far]
base_url = "FAR"
key_variable = "OTHER_TEST_KEY"
prices = { prompt = 10.0, completion = 20.0 }
[[prompts]]
name = "short"
text = "short {query}"
endpoint = "near"
max_tokens = 20
[[prompts]]
name = "long"
text = "long {query}"
endpoint = "near"
max_tokens = 20
[queries]
file = "q.jsonl"
[[objectives]]
scorer = "judge"
model = "j"
endpoint = "far"
template = "Q: {query} A: {completion} Score 0 to 1."
max_tokens = 9
marked = false
[contexts]
cost_weights = [0.0]
[tune]
algorithm = "psst"
budget = 60
max_scale = 2
"""


def test_a_judge_has_an_endpoint_of_its_own(two: Two):
    """Completions come from the one, judgements from the other, at its prices."""
    two.far.answer = lambda prompt, number: f"{0.75 if 'long' in prompt else 0.25}"
    two.near.answer = lambda prompt, number: prompt.split()[0]
    done = iapo("tune", write_two(two.file.parent, two.near_url, two.far_url, JUDGED), "--yes")
    assert done.exit_code == 0, done.output
    assert {body["model"] for body in two.near.requests} == {"m"}
    assert {body["model"] for body in two.far.requests} == {"j"}
    rows = query(two.out / "journal.sqlite", "SELECT DISTINCT stream, endpoint FROM cells")
    assert set(rows) == {("probe", two.near_url), ("tune", two.near_url), ("judge", two.far_url)}
    policy = two.out / "policy.json"
    assert json.loads(policy.read_text())["prices"]["far"] == {"j": [10_000_000, 20_000_000]}
    assert iapo("ask", policy, "anything").exit_code == 0


def test_a_slow_endpoint_holds_up_no_other():
    """All requests to the one hang until the last of the other is answered. Seen to fail with one queue for both."""
    line = SimpleNamespace(endpoint=SimpleNamespace(concurrency=Concurrency(1, 1, 1)))
    sampler: Any = SimpleNamespace(stopping=None, at=lambda name: line)
    names, endpoints = ["near"] * 8 + ["far"] * 8, {name: Endpoint(f"http://{name}/v1") for name in ("near", "far")}
    wants = consecutive("tune", endpoints, [Prompt("p", endpoint=name) for name in names], [Item("q")], 1, 0)

    async def run() -> None:
        over = asyncio.Event()

        async def work(place: int) -> None:
            if place == len(names) - 1:
                over.set()
            if names[place] == "near":
                await over.wait()

        async with asyncio.timeout(10):
            await in_parallel(jobs_of(wants, work), sampler)

    asyncio.run(run())


def test_a_batch_that_waits_for_room_ends_when_the_other_is_left_to_the_next_process():
    """What that one holds is not settled here. Seen to fail by waiting for ever."""
    journal, loop = Journal(":memory:"), asyncio.Runner()
    ledger = Ledger(Caps(10, None, None))
    endpoints = {name: Endpoint(f"http://{name}/v1") for name in ("near", "far")}
    samplers = {
        name: Sampler(Offline(), one, {}, journal, ledger, real_clock(loop.get_loop(), 0), ending=Ending())
        for name, one in endpoints.items()
    }

    async def near(wants: Any) -> None:
        await ledger.reserve(Amount(8))
        await asyncio.sleep(0)
        raise Waiting("run this program")

    async def far(wants: Any) -> None:
        await ledger.reserve(Amount(8), "batch")

    samplers["near"].fetch, samplers["far"].fetch = near, far
    prompts = [Prompt("p", endpoint=name) for name in ("near", "far")]
    wants = consecutive("tune", endpoints, prompts, [Item("q")], 8, 0)

    async def run() -> None:
        async with asyncio.timeout(10):
            await EndpointSamplers(samplers).gather(wants)

    with loop, pytest.raises(Waiting, match="run this program"):
        loop.run(run())
    journal.close()
