"""Mathematical answers: what is equal, what is not, and that no expression can hold up the run."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sim.adapters.scorers import maths, maths_worker
from sim.adapters.scoring import OK, TIMEOUT, UNREADABLE, Item, Scored

pytest.importorskip("math_verify", reason="the extra [math] is not installed")

STUB = """
import json, os, sys, time
for line in sys.stdin:
    task = json.loads(line)
    if task["text"] == "hang":
        time.sleep(3600)
    if task["text"] == "die":
        os._exit(3)
    if task["text"] == "eat":
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        try:
            [bytes(2**20) for _ in range(2**20)]
        except MemoryError:
            os._exit(4)
    print(json.dumps({"label": task["text"], "right": task["text"] == task["gold"]}), flush=True)
"""


def score(scorer: maths.Math, gold: str, texts: Sequence[str]) -> list[Scored]:
    async def go() -> list[Scored]:
        try:
            return await scorer.score(Item("q", gold), "p", texts)
        finally:
            await scorer.close()

    return asyncio.run(go())


def test_equal_answers_are_right_and_votes_go_to_canonical_strings():
    texts = [
        r"So it is $\frac{1}{2}$.",
        r"The answer is \boxed{0.5}",
        "the answer is 1/2",
        r"\boxed{\frac{3}{4}}",
        "no mathematics here",
        "x" * 10_000 + r" so \boxed{\frac{1}{2}}",
    ]
    found = score(maths.Math(timeout=60.0), r"\frac{1}{2}", texts)
    assert [one.value for one in found] == [1.0, 1.0, 1.0, 0.0, None, 1.0]
    assert [one.label for one in found] == ["1/2", "1/2", "1/2", "3/4", None, "1/2"]
    assert found[4].status == UNREADABLE
    assert maths.Math().right(r"\frac{1}{2}") == maths.Math().right("0.5") == "1/2"
    with pytest.raises(ValueError, match="no mathematics"):
        maths.Math().right("none")


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that misbehave on demand instead of the real ones."""
    file = tmp_path / "stub.py"
    file.write_text(STUB)
    monkeypatch.setattr(maths_worker, "__file__", str(file))


@pytest.mark.parametrize("bad", ["hang", "die", "eat"])
def test_a_worker_that_hangs_dies_or_eats_memory_costs_one_completion(bad: str, stub: None):
    texts = ["1", bad, "2", "1", bad, "3"]
    found = score(maths.Math(timeout=5.0, processes=2), "1", texts)
    assert [one.status for one in found] == [TIMEOUT if text == bad else OK for text in texts]
    assert [one.value for one in found if one.status == OK] == [1.0, 0.0, 1.0, 0.0]


def test_no_worker_outlives_the_scorer(stub: None, monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []
    real = asyncio.create_subprocess_exec

    async def noted(*command: Any, **options: Any) -> Any:
        made.append(await real(*command, **options))
        return made[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    score(maths.Math(timeout=1.0, processes=3), "1", ["1", "hang", "2", "3"])
    assert len(made) >= 3
    assert all(process.returncode is not None for process in made)
