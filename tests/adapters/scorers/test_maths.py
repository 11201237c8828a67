"""Mathematical answers: what is equal, what is not, and that no expression can hold up the run."""

import asyncio
import time
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
    print(json.dumps({"label": task["text"], "right": task["text"] == task["gold"]}), flush=True)
"""

HUNGRY = """
import importlib.util
spec = importlib.util.spec_from_file_location("worker", WORKER)
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker.MEMORY = 2**29

def answer(gold, text):
    eaten = [bytes(2**20) for _ in range(2**10 if text == "eat" else 1)]
    return {"label": text, "right": text == gold}

worker.answer = answer
worker.main()
"""
"""The real worker with a quarter of its memory, where to read one text takes twice that."""


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


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("3x", "3x", "3"),
        ("3n-1", "3n-1", "3"),
        ("2x+3", "3+2x", "2"),
        ("y = 2x + 1", "y=2x+1", "1"),
        ("1,2", "2,1", "1.2"),
        ("5 or 7", "5, 7", "7"),
        ("x+1", "1+x", "x"),
        ("(1,2)", "(1,2)", "2"),
        ("[0,1)", "[0,1)", "(0,1)"),
        ("2π", r"2\pi", "2"),
        ("50%", r"50\%", "5"),
        ("1,234", "1234", "1"),
        ("1/2", "0.5", "2"),
        ("1.5e3", "1500", "1.5"),
        ("1e-05", "0.00001", "1"),
        ("5 cm", "5", "c"),
        ("$5", "5", "6"),
        ("$3x", "3x", "3"),
        (r"\$5", "5", "6"),
        ("12.", "12", "1"),
        ("52_8", "52_8", "5"),
        ("48 / 2 = 24, so 72.\n#### 72", "72", "24"),
        (r"16\frac{1}{2}", r"\frac{33}{2}", r"\frac{1}{2}"),
        (r"\frac{\pi}{2}", r"\pi/2", "2"),
        ("$3x$", "3x", "3"),
        (r"\boxed{x+1}", "x+1", "x"),
        (r"\(x+1\)", "x+1", "x"),
    ],
)
def test_a_right_answer_is_read_as_a_whole(gold: str, right: str, wrong: str):
    """Seen to be read as the last number in it: 3 for 3x, so that what was right scored 0, and 3 scored 1.

    Scores that were kept under the earlier reading are of another scorer.
    """
    assert "version=2" in repr(maths.Math())
    assert maths.Math().right(gold)
    for marked in (f"${right}$", rf"So it is \boxed{{{right}}}."):
        assert maths_worker.answer(gold, marked)["right"] is True
    assert maths_worker.answer(gold, f"${wrong}$")["right"] is False


@pytest.mark.parametrize(
    "gold",
    [
        *("none", "Paris", "no", "pi/2", "2pi", "sin(x)", "(-oo, 3)", "3/4 cup", "5 dollars", "3 1/2", "1 000"),
        *("1_000", "10^-3", "2^-1", "10**3", "x**2", "2ab", "√2", "1e400", "1,,2", "?", " "),
    ],
)
def test_a_right_answer_that_would_be_read_as_something_else_is_refused(gold: str):
    """pi/2 as the product of i and p, 10^-3 as 10."""
    with pytest.raises(ValueError, match=r"^the right answer .* as a whole; write it in LaTeX between dollar signs"):
        maths.Math().right(gold)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that misbehave on demand instead of the real ones."""
    file = tmp_path / "stub.py"
    file.write_text(STUB)
    monkeypatch.setattr(maths_worker, "__file__", str(file))


@pytest.mark.parametrize("bad", ["hang", "die"])
def test_a_worker_that_hangs_or_dies_costs_one_completion(bad: str, stub: None):
    texts = ["1", bad, "2", "1", bad, "3"]
    found = score(maths.Math(timeout=5.0, processes=2), "1", texts)
    assert [one.status for one in found] == [TIMEOUT if text == bad else OK for text in texts]
    assert [one.value for one in found if one.status == OK] == [1.0, 0.0, 1.0, 0.0]


def test_a_text_that_eats_memory_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Seen to fail without the limit that the worker sets itself."""
    file = tmp_path / "hungry.py"
    file.write_text(HUNGRY.replace("WORKER", repr(maths_worker.__file__)))
    monkeypatch.setattr(maths_worker, "__file__", str(file))
    found = score(maths.Math(timeout=60.0, processes=1), "1", ["1", "eat", "2"])
    assert found == [Scored(OK, "1", 1.0), Scored(UNREADABLE), Scored(OK, "2", 0.0)]


def test_a_hanging_verifier_costs_its_timeout_and_holds_up_no_other_pull(stub: None):
    """Its timeout and a second at most; another pull ends meanwhile.

    Both workers are up before time is taken.
    """
    ended: list[str] = []

    async def pull(scorer: maths.Math, texts: Sequence[str]) -> list[Scored]:
        found = await scorer.score(Item("q", "1"), "p", texts)
        ended.append(texts[0])
        return found

    async def go() -> tuple[float, list[list[Scored]]]:
        scorer = maths.Math(timeout=3.0, processes=2)
        try:
            await scorer.score(Item("q", "1"), "p", ["1", "1"])
            began = time.monotonic()
            found = await asyncio.gather(pull(scorer, ["hang"]), pull(scorer, ["1", "2", "3"]))
            return time.monotonic() - began, found
        finally:
            await scorer.close()

    took, (late, others) = asyncio.run(go())
    assert ended == ["1", "hang"]
    assert late == [Scored(TIMEOUT)]
    assert [one.value for one in others] == [1.0, 0.0, 0.0]
    assert 3.0 <= took < 4.0


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
