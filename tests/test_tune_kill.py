"""kill -9 of whole tuning runs: the end is that of a run which nobody disturbed."""

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_server import BatchModel, batching
from live_runs import RUN, batch_run, digit, queries
from live_server import KEY
from nursery import Nursery
from test_kill import query

pytest.importorskip("openai", reason="the extra [llm] is not installed")

CAP = 2000
"""Completions that may be charged in all; the run needs about 400."""
PRICED = RUN.replace("max_tokens", "cost = 5\nmax_tokens") + f"[caps]\ncompletions = {CAP}\n"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Children share what is compiled, and carry the server's key."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")), "LIVE_TEST_KEY": KEY}
    with Nursery("tune_child", cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}) as made:
        yield made


def run(nursery: Nursery, mode: str, chance: int, kills: int, folder: Path) -> tuple[int, dict, list]:
    """A run that is killed up to `kills` times; how often it was, its policy and its draws."""
    folder.mkdir(exist_ok=True)
    queries(folder)
    rng, model, killed, kill_at = random.Random(chance), BatchModel(answer=digit), 0, -1

    def kill() -> None:
        nursery.kill()

    def fault(number: int, body: dict) -> str | None:
        if number != kill_at:
            return None
        kill()
        return rng.choice(["reset", "billed-reset"])

    def moment(number: int, said: str) -> str | None:
        return rng.choice(["before", "after"]) if number == kill_at else None

    model.fault, model.moment, model.broken = fault, moment, kill
    errors, base = folder / "errors.txt", folder / "out" / "journal.sqlite"
    with batching(model) as url:
        file = folder / "run.toml"
        file.write_text((batch_run(url, text=PRICED) if mode == "batch" else PRICED).replace("URL", url))
        most = 5 if mode == "batch" else 40
        for left in reversed(range(kills + 1)):
            at, kill_at = rng.choice(["request", "before", "after"]) if left else "", -1
            if at == "request":
                kill_at = len(model.log if mode == "batch" else model.requests) + rng.randrange(1, most)
            nursery.begin(errors, str(file), at, rng.randrange(1, most))
            code, said = nursery.end(), errors.read_text()
            assert model.completions <= CAP
            if code == 0:
                break
            assert code == -signal.SIGKILL, said
            killed += 1
    charged, again = query(base, "SELECT sum(completions), sum((state = 'lost') * completions) FROM attempts")[0]
    draws = query(base, "SELECT seed, text FROM draws ORDER BY seed")
    assert len(draws) + again == charged >= model.completions
    assert again <= killed * 8 * 4, "requests under way, each of up to four completions"
    if mode == "batch":
        assert (again, charged) == (0, model.completions)
    return killed, json.loads((folder / "out" / "policy.json").read_text())["policy"], draws


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_a_killed_run_ends_with_the_policy_of_an_undisturbed_one(nursery: Nursery, mode: str, tmp_path: Path):
    """Twenty kills in each mode, up to five a run."""
    _, policy, draws = run(nursery, mode, 0, 0, tmp_path / "calm")
    killed = number = 0
    while killed < 20:
        number += 1
        more, *found = run(nursery, mode, number, min(5, 20 - killed), tmp_path / str(number))
        assert found == [policy, draws]
        killed += more
