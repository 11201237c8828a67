"""What `iapo env import` guesses of a log: columns, how answers are read, N and contexts; what it shows and refuses."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cli_runs import iapo, refused
from tool_logs import lines

from sim.cli import guesses
from sim.envs import files

NOTHING = guesses.SaidColumns(None, None, False, None, None, None, None, None, None)


def guessed(rows: list[dict[str, Any]], **known: Any) -> dict[str, str]:
    """Options and values that are guessed from rows."""
    found = guesses.columns(pd.DataFrame(rows, dtype=object), NOTHING._replace(**known), "log")
    assert len({one.option for one in found}) == len(found)
    return {one.option: one.value for one in found}


ROW = {"prompt": "p", "query": "q"}


def test_names_in_spaces_are_names() -> None:
    """As after commas and spaces. Seen to make one prompt of all, named by the file."""
    row = {" prompt": "p", "query ": "q", "answer": "4", " gold": "4"}
    assert guessed([row]) == {"prompt": " prompt", "query": "query ", "gold": " gold", "objective": "answer:mv"}


def test_right_answers_that_are_missing_are_refused() -> None:
    """Seen to count every answer there as wrong; a column without any is none of right answers."""
    rows = [{"prompt": "p", "query": query, "answer": "4", "gold": gold} for query, gold in (("a", "4"), ("b", " "))]
    with pytest.raises(ValueError, match=r"log: row 2 has no right answer \('gold' is empty there\)"):
        guessed(rows)
    assert guessed([ROW | {"gold": "", "score": 0.5}]) == {"objective": "score:bon"}


def test_names_of_columns_alone_are_refused() -> None:
    """Seen to end with "min() arg is an empty sequence"."""
    empty = pd.DataFrame({"prompt": [], "query": [], "answer": [], "gold": []})
    with pytest.raises(ValueError, match=r"log: holds no completion, only the names of columns \(prompt, query,"):
        guesses.columns(empty, NOTHING, "log")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([{"answer": "4", "gold": "4"}], {"gold": "gold", "objective": "answer:mv"}),
        ([{"answer": "4", "right": "5"}], {"gold": "right", "objective": "answer:mv"}),
        ([{"answer": "4", "right": 1}], {"objective": "right:bon"}),
        ([{"right": "1"}, {"right": "0"}], {"objective": "right:bon"}),
        ([{"right": "1"}, {"right": "1"}], {"objective": "right:bon"}),
        ([{"reward": 0.5, "tokens": 3}], {"cost": "tokens", "objective": "reward:bon"}),
        (
            [{"completion": "It is 1,200.", "gold": "1,200"}],
            {"gold": "gold", "answers": "number", "objective": "answer:mv"},
        ),
        (
            [{"Response": "(C)", "Target": "C", "cost": "0.1", "tokens": 5}],
            {"cost": "cost", "gold": "Target", "text": "Response", "answers": "choice", "objective": "answer:mv"},
        ),
        (
            [{"completion": "(F)", "gold": "F"}],
            {"gold": "gold", "answers": "choice", "letters": "ABCDEF", "objective": "answer:mv"},
        ),
        ([{"completion": "Lima", "gold": "Lima"}], {"gold": "gold", "answers": "exact", "objective": "answer:mv"}),
        (
            [{"completion": "It is 4", "answer": "4"}, {"completion": "5", "answer": "4"}],
            {"gold": "answer", "answers": "number", "objective": "answer:mv"},
        ),
        (
            [{"score exact_match": 1.0, "completion_tokens": 3}],
            {"cost": "completion_tokens", "objective": "score exact_match:bon"},
        ),
        ([{"score": [0.5, 0.25]}], {"objective": "score:bon"}),
    ],
)
def test_columns_are_guessed_by_name_and_content(more: list[dict[str, Any]], expected: dict[str, str]) -> None:
    """Seen to fail where "right" was the right answer whatever it held, and where 0 and 1 alone were no score."""
    rows = [ROW | one for one in more]
    assert guessed(rows) == expected


def test_prompts_and_queries_are_guessed_where_columns_group_rows_alike() -> None:
    rows = [
        {"template": t, "question": x, "question_id": x[-1], "score": 1.0} for t in ("a", "b") for x in ("q1", "q2")
    ]
    assert guessed(rows) == {"query": "question", "prompt": "template", "objective": "score:bon"}
    rows[0]["question_id"] = "2"
    with pytest.raises(ValueError, match="log: 'question' and 'question_id' could each be meant, and differ"):
        guessed(rows)
    assert guessed(rows, query="question_id")["prompt"] == "template"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"answer": "4", "target": "4", "label": "5"}, "'target' and 'label' could each .* as --gold target"),
        ({"reward": 0.1, "rating": 3}, "'reward' and 'rating' could each .* as --objective reward:bon"),
        ({"predicted": "4", "pred": "5", "gold": "4"}, "'predicted' and 'pred' could each .* --objective predicted:mv"),
        ({"response": "4", "output": "5", "gold": "4"}, "'response' and 'output' could each .* as --text response"),
        (
            {"remark": "x"},
            "log: no column can be told to hold answers with right ones, or scores; it has prompt",
        ),
    ],
)
def test_two_columns_that_differ_are_named(more: dict[str, Any], sentence: str) -> None:
    """Seen to take the first without a word."""
    with pytest.raises(ValueError, match=sentence):
        guessed([ROW | more])
    same = {key: "4" for key in more}
    if "gold" in more or "target" in more:
        assert guessed([ROW | same])["objective"].endswith(":mv")


def test_what_was_said_is_not_guessed() -> None:
    row = ROW | {"answer": "4", "target": "4", "label": "5", "tokens": 1, "reward": 0.5}
    assert guessed([row], gold="label", cost="reward") == {"objective": "answer:mv"}
    assert guessed([row], objective=["reward:mean"], cost="tokens") == {}
    assert guessed([ROW | {"completion": "4"}], golds=True, answers="number") == {"objective": "answer:mv"}


def test_scales_and_contexts() -> None:
    """By hand: .1 of a range of 2 for 8 completions of cost 50 is .0005 each."""
    assert guesses.scale([4, 4]) == ("max-scale", "4", "completions of a pair")
    assert guesses.scale([4, 2])[1:] == ("2", "fewest completions of a pair, which has up to 4")
    assert [one.value for one in guesses.contexts(2, 2.0, 50.0, 8)] == ["free=1,1,0", "dear=1,1,0.0005"]
    assert [one.value for one in guesses.contexts(1, 1.0, None, 8)] == ["free=1,0"]


def write(path: Path) -> Path:
    rows = [
        {"template": t, "question": x, "response": f"it's {n % 3}", "target": 1, "tokens": 10 + n}
        for t in ("a", "b c")
        for x in ("q1", "q2")
        for n in range(4)
    ]
    return lines(path, rows)


def test_a_guess_is_shown_with_rows_and_the_command_that_repeats_it(tmp_path: Path) -> None:
    """The command writes the same bytes, and guesses nothing. Seen to fail without --text."""
    log = write(tmp_path / "my log.jsonl")
    result = iapo("env", "import", log, "--out", tmp_path / "g.npz", "--tie", "half")
    assert result.exit_code == 0, result.output
    shown = result.stdout.splitlines()
    for option in ("query question", "prompt template", "cost tokens", "gold target", "text response", "max-scale 4"):
        assert any(line.split()[:2] == [f"--{option.split()[0]}", option.split()[1]] for line in shown), option
    assert sum(line.split()[:2] == ["a", "q1"] for line in shown) == 3
    command = shlex.split(next(line for line in shown if line.startswith("iapo env import ")))
    first = (tmp_path / "g.npz").read_bytes()
    (tmp_path / "g.npz").unlink()
    again = iapo(*command[1:])
    assert again.exit_code == 0, again.output
    assert "guessed" not in again.stdout
    assert (tmp_path / "g.npz").read_bytes() == first
    data = files.load(tmp_path / "g.npz")
    assert (data.prompt_names, data.context_names, data.max_scale, data.tie) == (
        ("a", "b c"),
        ("free", "dear"),
        4,
        "half",
    )


def test_a_log_that_cannot_be_guessed_is_refused_in_a_sentence(tmp_path: Path) -> None:
    log = lines(tmp_path / "log.jsonl", [ROW | {"answer": "4", "target": "4", "label": "5"}])
    told = iapo("env", "import", log, "--out", tmp_path / "x.npz")
    refused(told, "log.jsonl: 'target' and 'label' could each be meant, and differ; say which, as --gold target")
    assert not (tmp_path / "x.npz").exists()
    assert iapo("env", "import", log, "--out", tmp_path / "x.npz", "--gold", "label").exit_code == 0
