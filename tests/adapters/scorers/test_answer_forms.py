# ruff: noqa: RUF001
"""Numbers and letters are read in the forms in which completions state them."""

import pytest
from answer_forms import LATER_LETTERS, LATER_NUMBERS, LETTERS, NUMBERS, PARTS, TEN, WHOLE

from sim.adapters.scorers.text import Letter, Number
from sim.adapters.scoring import AnswerScorer

FORMS = [
    *((Number(), rows) for rows in (NUMBERS, LATER_NUMBERS)),
    *((Letter(), rows) for rows in (LETTERS, LATER_LETTERS)),
    (Letter("ABCDEFGHIJ"), TEN),
]
NOT_READ = {"The answer is __D__."}
"""Of the forms held out: underscores belong to words."""


def failures(part: slice) -> set[str]:
    """The forms of which something else is read than a person would."""
    return {text for scorer, rows in FORMS for text, answer in rows[part] if scorer.answer(text) != answer}


def test_the_table_is_large_and_half_of_it_is_held_out():
    forms = [text for _, rows in FORMS for text, _ in rows]
    assert len(forms) == len(set(forms)) >= 150
    assert sum(len(rows[1::2]) for _, rows in FORMS[::2]) >= 75


def test_forms_that_the_readers_were_made_for_are_read():
    assert failures(slice(0, None, 2)) == set()


def test_forms_held_out_are_read_but_for_those_named():
    """What is not mended is not read at all: nothing wrong is read in its place."""
    assert failures(slice(1, None, 2)) == NOT_READ
    assert [Letter().answer(text) for text in NOT_READ] == [None]


@pytest.mark.parametrize("text", PARTS)
def test_a_part_of_a_number_is_no_answer(text: str):
    """Seen: 3/4 as 4, 0,5 as 5, 10^6 as 6, 5 million as 5."""
    assert Number().answer(text) is None


@pytest.mark.parametrize("text", WHOLE)
def test_whole_numbers_beside_parts_are_read(text: str):
    assert Number().answer(text) == WHOLE[text]


@pytest.mark.parametrize(
    ("scorer", "text"),
    [
        (Number(), one)
        for one in (
            "1,00,",
            "1 234 ",
            "234 ",
            "1.000.",
            "1.1",
            "1e",
            "1_234_",
            "- ",
            "{,}",
            "9",
            "1/",
            "1^",
            "1 \\text{ ",
            "\\boxed{",
        )
    ]
    + [
        (Letter(), one)
        for one in (
            "answer ",
            "answer is ",
            "选",
            "\\boxed{",
            "\\text{",
            "A ",
            "A\n",
            "**",
            "<b",
            "(",
            "{",
            "A, ",
            "A) ",
            "not ",
        )
    ],
)
def test_long_texts_take_time_in_proportion(scorer: AnswerScorer, text: str):
    """Thousands of one piece after the other: seen to take hours where its ends can be shared out in several ways."""
    scorer.answer(text * (60_000 // len(text)) + "x")


@pytest.mark.parametrize(
    ("scorer", "gold", "right"),
    [
        (Number(), "9{,}500", "9500"),
        (Number(), r"$10\,000$", "10000"),
        (Number(), "1\u202f250 €", "1250"),
        (Number(), "\u22125", "-5"),
        (Number(), "-$40", "-40"),
        (Letter(), "**C**", "C"),
        (Letter(), r"\textbf{D}", "D"),
        (Letter(), "$B$", "B"),
        (Letter(), "Ｃ", "C"),
    ],
)
def test_right_answers_are_read_in_the_same_forms(scorer: AnswerScorer, gold: str, right: str):
    assert scorer.right(gold) == right


@pytest.mark.parametrize("gold", ["100 200 300", "1.2.3", "5 or 7"])
def test_right_answers_that_may_be_several_numbers_are_refused(gold: str):
    with pytest.raises(ValueError, match="cannot be read as one number"):
        Number().right(gold)
