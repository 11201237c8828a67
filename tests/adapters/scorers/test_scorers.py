"""Scorers: what they read, what they cannot read, and how a pull becomes outcomes."""

import asyncio
import re
import threading
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.run_file.settings import Objective
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import patterns, processes, registry
from sim.adapters.scorers.code import Code
from sim.adapters.scorers.patterns import Patterns
from sim.adapters.scorers.processes import _Process
from sim.adapters.scorers.reader import Reader
from sim.adapters.scorers.text import Exact, JsonField, Letter, Number, Regex, canonical_number
from sim.adapters.scoring import OK, TIMEOUT, UNREADABLE, AnswerScorer, Item, Scored, Scorer

CELL = Asked("tune", "u", "m", "{}", (("user", "hello"),), "p", "q")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 42.", "42"),
        ("1,000.50 dollars", "1000.5"),
        ("x = -3", "-3"),
        ("10-3", "3"),
        ("f(2)-7", "7"),
        ("so \u22125", "-5"),
        ("1.5e3", "1500"),
        ("0.000", "0"),
        ("-0", "0"),
        (".5", "0.5"),
        ("1,00", None),
        ("12,345,678", "12345678"),
        ("7.", "7"),
        ("007", "7"),
        ("none at all", None),
        ("", None),
        ("1e999999999", None),
        ("9" * 1000, None),
        ("\u0663", "3"),
    ],
)
def test_numbers_are_read_and_made_canonical(text: str, answer: str | None):
    assert Number().answer(text) == answer


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=6))
def test_every_number_is_read_back(number: Decimal):
    assert Decimal(Number().answer(f"it is {number:,f} indeed") or "nan") == number
    assert canonical_number(str(number)) == canonical_number(f"{number:f}00" if "." in f"{number:f}" else str(number))


def test_numbers_can_be_rounded():
    assert Number(2).answer("3.14159") == Number(2).answer("3.141") == "3.14"
    assert Number(0).answer("2.5") == "2"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B", "B"),
        (" b ", "B"),
        ("(C)", "C"),
        ("The answer is (D).", "D"),
        ("Answer: **A**", "A"),
        (r"\boxed{\text{B}}", "B"),
        ("A is wrong, so the answer is B", "B"),
        ("First (A), then (B)", "B"),
        ("A bad day", None),
        ("Every Dog", None),
        ("E", None),
        ("I can't", None),
        ("The answer is a combination of both, so D", "D"),
        ("The answer is a.", "A"),
        ("the answer is b", "B"),
        ("Answer: c\n", "C"),
        ("The answer is b \nbecause A is not", "B"),
        ("The answer is (d) because", "D"),
        ("The answer is option B", "B"),
        ("The right option is **c**", "C"),
        ("Option A is wrong. So it must be B.", "B"),
        ("(A) is bad. Option B.", "B"),
        ("Option C is bad, so (D), as A good reader sees", "D"),
        ("I take option b.", "B"),
        ("An answer a child would give", None),
        ("", None),
    ],
)
def test_letters_of_a_choice_are_read(text: str, answer: str | None):
    assert Letter().answer(text) == answer


def test_other_answers_are_read():
    assert Exact().answer("  Paris\n") == "Paris"
    assert Exact(ignore_case=True).answer("PARIS") == Exact(ignore_case=True).right("paris")
    assert Exact().answer(" \n") is None
    tagged = Regex(r"<a>(.*?)</a>")
    assert tagged.answer("<a>x</a> no, <a> y </a>") == "y"
    assert tagged.answer("<a></a>") is None
    assert tagged.right(" y") == "y"
    field = JsonField("result.value")
    assert field.answer('I think {"a": 1} hm {"result": {"value": [1, {"b": 2}]}} {"x": 1}') == '[1, {"b": 2}]'
    assert field.answer('{"result": {"value": "text "}}') == "text"
    assert field.answer("{" * 100_000) is None
    assert field.answer('{"result": 3}') is None


@pytest.mark.parametrize("said", ["5", "5.0", '"5"', '" 5.00"', "0.5e1"])
def test_a_number_in_json_is_one_answer_however_it_is_written(said: str):
    """Seen to be wrong where the model wrote 5.0 and the right answer is 5."""
    field = JsonField("x")
    assert field.answer(f'{{"x": {said}}}') == field.right("5") == field.right("5.0") == "5"


def test_codes_and_other_values_in_json_stay_as_they_are():
    field = JsonField("x")
    found = [field.answer(f'{{"x": {said}}}') for said in ('"007"', "true", "NaN", "[1.0]", '"1e999"', '"-0.0"')]
    assert found == ["007", "true", "NaN", "[1.0]", "1e999", "0"]


def objective(scorer: Scorer, aggregate: str = "mv", low: float = 0.0, high: float = 1.0) -> Objective:
    return Objective("o", aggregate, scorer, low, high, low)


def read(objectives: list[Objective], texts: list[str], item: Item, finish: str = "stop") -> tuple[np.ndarray, Reader]:
    async def go() -> tuple[np.ndarray, Reader]:
        with closing(Journal(":memory:")) as journal:
            reader = Reader(objectives, journal)
            found = await reader.read(CELL, 0, item, "p", [Draw(text, finish) for text in texts])
            return reader.outcomes(item, found), reader

    return asyncio.run(go())


def test_a_vote_numbers_answers_with_the_right_one_first():
    outcomes, reader = read([objective(Number())], ["7", "4.0", "none", "7.00", "4", "8", "??"], Item("2+2", "4"))
    assert outcomes.T.tolist() == [[1, 0, 2, 1, 0, 3, 2]]
    assert reader.seen == {"completions": 7, "truncated": 0, "filtered": 0, "o: unreadable": 2}


def test_what_cannot_be_read_has_the_declared_score():
    worst = Objective("o", "mean", Number(), -1.0, 1.0, -0.5)
    outcomes, _ = read([worst, objective(Exact(), "bon")], ["4", "x", "5"], Item("2+2", "4"))
    assert outcomes.tolist() == [[1.0, 1.0], [-0.5, 0.0], [0.0, 0.0]]


def test_filtered_and_truncated_answers_are_outcomes():
    _, reader = read([objective(Number())], ["4", ""], Item("2+2", "4"), "length")
    assert reader.seen["truncated"] == 2
    outcomes, reader = read([objective(Number())], ["4", ""], Item("2+2", "4"), "content_filter")
    assert outcomes.T.tolist() == [[1, 1]]
    assert reader.seen["filtered"] == 2


class Fixed(Scorer):
    """Gives what it was told to give, and counts calls."""

    kept = True

    def __init__(self, *found: Scored):
        self.found, self.calls = list(found), 0

    def __repr__(self) -> str:
        return "Fixed()"

    async def score(self, item: Item, prompt: str, texts) -> list[Scored]:
        self.calls += 1
        return self.found[: len(texts)]


@pytest.mark.parametrize(
    ("scored", "aggregate", "said"),
    [
        (Scored(OK, None, 1.5), "bon", r"the score 1.5 lies outside the declared bounds \[0, 1\]"),
        (Scored(OK, None, float("nan")), "mean", "the score nan lies outside"),
        (Scored(OK, None, float("inf")), "mean", "the score inf lies outside"),
        (Scored(OK, "x", None), "mean", "an answer without a score"),
        (Scored(OK, None, 0.5), "mv", "the scorer gave a number"),
    ],
)
def test_a_scorer_that_breaks_its_contract_is_an_error(scored: Scored, aggregate: str, said: str):
    with pytest.raises(ValueError, match=said):
        read([objective(Fixed(scored), aggregate)], ["a"], Item("q", "g"))
    with pytest.raises(ValueError, match="gave 1 results for 2 completions"):
        read([objective(Fixed(scored), aggregate)], ["a", "b"], Item("q", "g"))


def test_kept_scores_are_not_computed_again():
    async def go() -> None:
        journal, scorer = Journal(":memory:"), Fixed(Scored(OK, None, 0.1), Scored(OK, None, 0.2))
        reader, item = Reader([objective(scorer, "mean")], journal), Item("q")
        draws = [Draw("a", "stop"), Draw("b", "stop")]
        first = await reader.read(CELL, 0, item, "p", draws)
        assert await reader.read(CELL, 0, item, "p", draws) == first
        assert scorer.calls == 1
        await reader.read(CELL, 0, Item("q", "another answer"), "p", draws)
        assert scorer.calls == 2
        journal.close()

    asyncio.run(go())


def test_a_larger_timeout_reads_again_what_took_too_long(monkeypatch: pytest.MonkeyPatch):
    """With the same one it stays what it was: rounds that a run has paid for were chosen by it."""
    seconds = []

    async def last(self: Patterns, pattern: str, group: int, texts: Sequence[str], timeout: float) -> list[str | None]:
        seconds.append(timeout)
        return ["b" if timeout > 2 else None] * len(texts)

    async def go() -> list[Scored]:
        journal, found = Journal(":memory:"), []
        for timeout in (1.0, 1.0, 9.0):
            reader = Reader([objective(Regex("(.)", timeout=timeout), "mean")], journal)
            found += (await reader.read(CELL, 0, Item("q", "b"), "p", [Draw("b", "stop")]))[0]
        journal.close()
        return found

    monkeypatch.setattr(Patterns, "last", last)
    assert asyncio.run(go()) == [Scored(TIMEOUT), Scored(TIMEOUT), Scored(OK, "b", 1.0)]
    assert seconds == [1.0, 9.0]


MODULE = """
def length(query, gold, text):
    return len(text) / 10

def letter(query, gold, text):
    return text[0] if text else None

def broken(query, gold, text):
    raise KeyError("nothing\\nthere")

def odd(query, gold, text):
    return [1]


def told(query, gold, text, reference):
    return float(text in reference)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TomlTable:
    (tmp_path / "my_scores.py").write_text(MODULE)
    monkeypatch.delitem(__import__("sys").modules, "my_scores", raising=False)
    return TomlTable(tmp_path / "run.toml", "objectives[0]", {"scorer": "callable"})


def user(module: TomlTable, name: str) -> Scorer:
    table = TomlTable(module.file, module.where, module.content | {"function": f"my_scores:{name}"})
    return registry.read(table)


def test_functions_of_the_user_score(module: TomlTable):
    outcomes, _ = read([objective(user(module, "length"), "mean")], ["abc", ""], Item("q"))
    assert outcomes.T.tolist() == [pytest.approx([0.3, 0.0])]
    outcomes, _ = read([objective(user(module, "letter"))], ["abc", "", "g"], Item("q", "g"))
    assert outcomes.T.tolist() == [[1, 2, 0]]


def test_a_function_with_a_parameter_for_it_is_told_the_reference(module: TomlTable):
    scores, _ = read([objective(user(module, "told"), "mean")], ["a", "c"], Item("q", None, ["a", "b"]))
    assert scores.T.tolist() == [[1, 0]]


@pytest.mark.parametrize(("name", "said"), [("broken", "failed on a completion"), ("odd", r"returned \[1\]; expected")])
def test_functions_of_the_user_that_fail_are_named(name: str, said: str, module: TomlTable):
    with pytest.raises(ValueError, match=rf"scorer my_scores:{name} .*{said}|{said}"):
        read([objective(user(module, name), "mean")], ["abc"], Item("q"))


def test_a_slow_function_delays_nothing_else():
    """Seen to fail where it runs on the event loop: replies under way were read too late, and asked for again."""
    started, go_on, calls, alone = threading.Event(), threading.Event(), [], threading.Lock()

    def slow(query: str, gold: str | None, text: str) -> float:
        assert alone.acquire(blocking=False), "one call at a time"
        started.set()
        calls.append(text)
        assert go_on.wait(60), "nothing else went on"
        alone.release()
        return 1.0

    async def go() -> list:
        scorer = Code("x:slow", "", slow)
        tasks = [asyncio.create_task(scorer.score(Item("q"), "p", ["a", "b"])) for _ in range(2)]
        while not started.is_set():
            await asyncio.sleep(0)
        assert len(calls) == 1
        go_on.set()
        return [one for task in tasks for one in await task]

    assert asyncio.run(go()) == [Scored(OK, None, 1.0)] * 4
    assert sorted(calls) == ["a", "a", "b", "b"]


def test_a_function_that_does_not_end_ends_the_run_and_nothing_after_it():
    """Seen to wait for it for ever."""
    end = threading.Event()

    def hangs(query: str, gold: str | None, text: str) -> float:
        end.wait(60)
        return 1.0

    with pytest.raises(ValueError, match=r"scorer x:hangs took more than 0.1 s on a completion \(its timeout\)"):
        asyncio.run(Code("x:hangs", "", hangs, timeout=0.1).score(Item("q"), "p", ["a"]))
    found = asyncio.run(Code("x:length", "", lambda query, gold, text: len(text)).score(Item("q"), "p", ["abc"]))
    end.set()
    assert found == [Scored(OK, None, 3.0)]


def test_a_pattern_that_takes_too_long_costs_its_completion_alone():
    """Exponential backtracking, which a limit ends."""

    async def go() -> list[Scored]:
        scorer = Regex("^(?:(a+)+|b(.))$", 2, timeout=3.0)
        try:
            return await scorer.score(Item("q", "1"), "p", ["b1", "a" * 60 + "c", "b2", "none"])
        finally:
            await scorer.close()

    right, late, wrong, none = asyncio.run(go())
    assert (right, wrong) == (Scored(OK, "1", 1.0), Scored(OK, "2", 0.0))
    assert (late.status, none.status) == (TIMEOUT, UNREADABLE)


def test_a_pattern_that_takes_too_long_takes_one_timeout_and_lets_others_go_on(monkeypatch: pytest.MonkeyPatch):
    """One process, two pulls. Seen to take twice the time for one completion, and to keep others waiting for all."""
    monkeypatch.setattr(patterns, "_PROCESSES", 1)
    asked, real = [], _Process.ask

    async def ask(process: _Process, tasks: Sequence[dict], timeout: float) -> list:
        found = await real(process, tasks, timeout)
        asked.extend((task["text"][:2], one is None) for task, one in zip(tasks, found, strict=False))
        return found

    async def go() -> None:
        scorer, hangs = Regex("^(?:(a+)+|b(.))$", 2, timeout=0.3), "a" * 60 + "c"
        try:
            await scorer.score(Item("q", "1"), "p", ["b0"])
            monkeypatch.setattr(_Process, "ask", ask)
            pulls = (["b1", hangs, "b2", hangs], ["b3"])
            await asyncio.gather(*(scorer.score(Item("q", "1"), "p", pull) for pull in pulls))
        finally:
            await scorer.close()

    asyncio.run(go())
    texts = [one for one in asked if one[0]]  # but for the first task of a process
    assert texts == [("b1", False), ("aa", True), ("b3", False), ("b2", False), ("aa", True)]


def test_an_answer_too_long_to_be_taken_costs_its_completion_alone(monkeypatch: pytest.MonkeyPatch):
    """Seen to end the run with a traceback, whenever it was started again."""
    monkeypatch.setattr(processes, "_LONGEST_LINE", 2**10)

    async def go() -> list[Scored]:
        scorer = Regex("^(.*)$", timeout=60.0)
        try:
            return await scorer.score(Item("q", "b"), "p", ["a" * 2**14, "b"])
        finally:
            await scorer.close()

    assert asyncio.run(go()) == [Scored(TIMEOUT), Scored(OK, "b", 1.0)]


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [("(?s)(.*)", "It is 4.", "It is 4."), ("(?<=is )(?=(.))", "is 3, is 4", "4"), ("a(.*)", "a1\na", None)],
)
def test_an_empty_match_is_not_the_last_one(pattern: str, text: str, answer: str | None):
    """Seen to make every text unreadable."""
    assert Regex(pattern).answer(text) == answer


def test_an_edited_function_is_another_scorer(module: TomlTable):
    before = repr(user(module, "length"))
    assert "0x" not in before
    file = Path(module.file).parent / "my_scores.py"
    file.write_text(MODULE + "# edited\n")
    assert repr(user(module, "length")) != before


def test_gold_that_cannot_be_read_is_an_error():
    with pytest.raises(ValueError, match="the right answer 'none' cannot be read"):
        read([objective(Number())], ["4"], Item("2+2", "none"))
    assert Scored(UNREADABLE).value is None


@pytest.mark.parametrize(
    ("scorer", "gold", "right"),
    [
        (Number(), " -1,234.50 ", "-1234.5"),
        (Number(), "1.5e3", "1500"),
        (Number(), "$20", "20"),
        (Number(), "$20$", "20"),
        (Number(), "20 %", "20"),
        (Number(), "7 .", "7"),
        (Number(), "48 / 2 = 24, so 72.\n#### 72", "72"),
        (Number(1), "0.25", "0.2"),
        (Letter(), "a", "A"),
        (Letter(), "(B)", "B"),
        (Letter(), "C.", "C"),
        (Letter(), "D) ", "D"),
        (Letter(), "[A]:", "A"),
        (Letter(), "b) Paris, since 1990", "B"),
        (Letter(), "C. All of\nthem", "C"),
        (Letter(), r"\boxed{D}", "D"),
        (Number(), "$18 per box", "18"),
        *[(Number(), f"5 {one}", "5") for one in ("cm", "per hour", "miles per hour.", "oranges", "hundredweight")],
        *[(Letter(), f"B) {one}", "B") for one in ("Paris", "Oregon", "neither A nor C", "f(a) = 2", "Rome, or b")],
    ],
)
def test_gold_is_a_number_or_a_letter(scorer: AnswerScorer, gold: str, right: str):
    assert scorer.right(gold) == right


@pytest.mark.parametrize("text", ["Answer:" + "\n" * 20_000, "The option is" + " " * 20_000, "\\boxed{" + " " * 20_000])
def test_blanks_without_end_take_no_time(text: str):
    """Seen to take hours for the first one: four neighbours shared the blanks out in every way."""
    assert Letter().answer(text) is None


@pytest.mark.parametrize(
    ("scorer", "gold"),
    [(Number(), one) for one in ("1/2", "5/6", "10^3", "3x", "5 or 7", "1,2", "12:30", "about 5", "", "nan", "1e999")]
    + [(Number(), f"5 {one}") for one in ("and a half", "or seven", "or", "Million", "thousands", "per half", "halves")]
    + [(Number(), f"5 {one}") for one in ("dozen", "dozen eggs", "per", "apples and pears", "to six", "$ million")]
    + [(Letter(), one) for one in ("A big dog", "E", "AB", "A, B", "", "A: or B", "A) b) c)", "A) Rome\nB) Paris")]
    + [(Letter(), one) for one in ("(A) and (B)", "[A] [B]", "(A)\nOr b", "C) Rome (d)")],
)
def test_gold_of_which_only_a_part_is_a_number_or_a_letter_is_refused(scorer: AnswerScorer, gold: str):
    """Seen to be read as its last number, 2 for 1/2, and as the letter A."""
    with pytest.raises(ValueError, match=rf"^the right answer {re.escape(repr(gold))} cannot be read as one "):
        scorer.right(gold)
