"""kill -9 between upload, create, record, poll and download: every batch is adopted, none is paid for twice.

The end is the same as without a kill.
"""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_server import BatchModel, batching
from journal_files import query
from kill_child import PULLS
from nursery import Nursery

pytest.importorskip("openai", reason="the extra [llm] is not installed")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery("batch_child") as made:
        yield made


def campaign(nursery: Nursery, plan: list[tuple[str, str]], path: Path) -> int:
    """Kill a child at each moment of the plan.

    A moment is before or after the next request whose "METHOD path" begins so, or a commit of the journal.

    Returns:
        How many kills there were: the rounds may be over before the plan is.
    """
    model, left = BatchModel(looks=1), list(plan)
    errors = path.with_suffix(".txt")

    def moment(number: int, said: str) -> str | None:
        if left and said.startswith(left[0][0]):
            return left.pop(0)[1]
        return None

    def kill() -> None:
        nursery.kill()

    model.moment, model.broken = moment, kill
    with batching(model) as url:
        while True:
            commit = left.pop(0) if left and left[0][0] == COMMIT else ("", "")
            nursery.begin(errors, url, str(path), commit[1], 1 + len(left))
            code, said = nursery.end(), errors.read_text()
            if code == 0:
                assert said == ""
                break
            assert code == -signal.SIGKILL, said
    rows = query(path, "SELECT seed, text FROM draws ORDER BY seed")
    expected = []
    for asked, scale in PULLS:
        first = 1000 + len(expected)
        expected += [(seed, model.answer(f"{asked}?", seed).encode()) for seed in range(first, first + scale)]
    assert rows == expected
    assert model.completions == len(rows), "no draw was paid for twice"
    assert query(path, "SELECT sum(completions), sum(tokens) FROM attempts") == [(model.completions, model.tokens)]
    assert query(path, "SELECT DISTINCT state FROM batches") == [("done",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    return len(plan) - len(left)


COMMIT = "commit"
STEPS = ("POST /v1/files", "POST /v1/batches", "GET /v1/batches/", "GET /v1/files/")


def test_kills_at_creation_and_download_lose_nothing_and_pay_nothing_twice(nursery: Nursery, tmp_path: Path):
    """After the creation, before the batch's name is known here; and when its output is on the way."""
    plan = [("POST /v1/batches", "after"), ("GET /v1/files/", "after")]
    assert campaign(nursery, plan, tmp_path / "j.sqlite") == 2


@pytest.mark.slow
def test_a_kill_at_every_step_loses_nothing_and_pays_nothing_twice(nursery: Nursery, tmp_path: Path):
    """In this order: between upload and creation, in the look for what may have been created, while it is polled."""
    plan = [(step, moment) for step in STEPS for moment in ("before", "after")]
    plan.insert(4, ("GET /v1/batches", "after"))
    assert campaign(nursery, plan, tmp_path / "j.sqlite") == len(plan)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_two_hundred_kills_lose_nothing_and_pay_nothing_twice(nursery: Nursery, seed: int, tmp_path: Path):
    """Ten each, at steps and moments that chance decides."""
    rng, killed, number = random.Random(seed), 0, 0
    while killed < 10:
        plan = [(rng.choice((*STEPS, COMMIT)), rng.choice(["before", "after"])) for _ in range(10 - killed)]
        killed += campaign(nursery, plan, tmp_path / f"{number}.sqlite")
        number += 1
