"""Answers read out of the completions of logs, and held against right answers and the logs' own scores."""

import ast
import re
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim.cli import common

if TYPE_CHECKING:
    import pandas as pd

    from sim.adapters.scoring import AnswerScorer

UNREAD = "(unreadable)"
Say = Callable[[str], None]
_OWN = ("correct", "is_correct", "exact_match", "acc", "accuracy", "passed", "success")
"""Columns of rows in which a log says itself which completions are right, besides `score NAME`."""
_TRUTH = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}


class Reading(NamedTuple):
    """A way to read completions of a log.

    Attributes:
        scorer: reads one, and right answers.
        all_of: answers of many completions, None where there is none.
        lists: whether a completion that is a list can be one answer.
        hint: end of a sentence about a right answer that it cannot read.
    """

    scorer: "AnswerScorer"
    all_of: Callable[[Sequence[str]], Sequence[str | None]]
    lists: bool
    hint: str = ""


def reader(answers: str, letters: str | None) -> Reading:
    """The way to read answers that the option --answers names.

    Raises:
        ValueError: an option is none of those that can be.
    """
    from sim.adapters.scorers import patterns
    from sim.adapters.scorers.text import Exact, Letter, Number, Regex

    def singly(scorer: "AnswerScorer", lists: bool = False, hint: str = "") -> Reading:
        return Reading(scorer, lambda texts: [scorer.answer(one) for one in texts], lists, hint)

    if answers == "choice":
        known = Letter.letters if letters is None else letters.upper()
        if len(set(known)) != len(known) or not known.isalpha() or len(known) < 2:
            raise ValueError(f"--letters is {letters!r}; expected two or more different letters, as in ABCDEFGHIJ")
        return singly(Letter(known), hint="; --letters names other letters")
    if answers in ("number", "exact"):
        return singly(Number()) if answers == "number" else singly(Exact(), lists=True)
    try:
        groups = re.compile(answers).groups
    except re.error as error:
        raise ValueError(f"--answers is {answers!r}, which is no regular expression ({error})") from None
    if groups < 1:
        raise ValueError(f"--answers is {answers!r}; expected number, choice, exact or a pattern with a group")
    task = {"pattern": answers, "group": 1}
    return Reading(Regex(answers), lambda texts: patterns.matched(f"--answers is {answers!r}", task, texts), lists=True)


def spread(frame: "pd.DataFrame", drawn: Sequence[str], say: Say) -> "pd.DataFrame":
    """A row per completion, where a row holds a list of them: every entry is a completion of its own.

    Args:
        frame: the log.
        drawn: the columns that are of a completion: its text, its scores, its cost.
        say: is told so.
    """
    import pandas as pd

    drawn = [column for column in drawn if column in frame.columns]
    listed = {column: [_is_list(cell) for cell in frame[column]] for column in drawn}
    first = next((column for column in drawn if any(listed[column])), None)
    if first is None:
        return frame
    rows, places = frame.to_dict("list"), []
    cells: dict[str, list[Any]] = {column: [] for column in drawn}
    for row in range(len(frame)):
        lists = [column for column in drawn if listed[column][row]]
        count = len(rows[lists[0]][row]) if lists else 1
        if count == 0:
            raise ValueError(
                f"column {lists[0]!r} holds an empty list in row {row + 1}, no completion; ask for it again"
            )
        for column in drawn:
            cell = rows[column][row]
            if lists and not listed[column][row]:
                raise ValueError(
                    f"column {column!r} holds one value in row {row + 1}, where {lists[0]!r} lists {count} "
                    "completions; give a list with the value of each"
                )
            if lists and len(cell) != count:
                raise ValueError(
                    f"column {column!r} lists {len(cell)} values in row {row + 1} and {lists[0]!r} "
                    f"{count}; one each is needed"
                )
            cells[column] += list(cell) if lists else [cell]
        places += [row] * count
    say(f"column {first!r} holds lists: each of their entries is a completion, {len(places)} in {len(frame)} rows")
    wide = frame.iloc[places].reset_index(drop=True)
    for column in drawn:
        wide[column] = pd.Series(cells[column], dtype=object)
    return wide


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple | np.ndarray)


def accepted(column: Sequence[Any], gold: str, say: Say) -> list[Any]:
    """Right answers as text, numbers, or lists of those that count each; a list written as text is a list, too."""
    from sim.envs.eval_logs import listed

    found, written = [], 0
    for row, cell in enumerate(column, start=1):
        if isinstance(cell, str) and (several := listed(cell)) is not None:
            written += 1
            found.append([*several, cell])
            continue
        several = list(cell) if _is_list(cell) else [cell]
        for one in several:
            if not isinstance(one, str) and not _is_number(one):
                raise ValueError(
                    f"column {gold!r} holds {_shown(one)} in row {row}; a right answer is text, a number or a list of "
                    "these"
                )
        if not several:
            raise ValueError(f"column {gold!r} holds an empty list in row {row}; a right answer is needed")
        found.append(several if len(several) > 1 else several[0])
    if written:
        say(f"column {gold!r} holds lists written as text: each of their entries counts as right, and so does the text")
    return found


def read(frame: "pd.DataFrame", reading: Reading, text: str, gold: str | None, say: Say) -> None:
    """Read completions into `answer`, right answers likewise, and say in `right` which agree."""
    if text not in frame.columns:
        raise ValueError(
            f"--text is {text!r}, but the log has no such column; it has {', '.join(map(str, frame.columns))}"
        )
    texts = _texts(list(frame[text]), text, say)
    if all(map(_several, texts)):
        told = f"column {text!r} holds text that is a list in every row, as {texts[0][:60]!r}"
        if not reading.lists:
            raise ValueError(
                f"{told}: several completions, or none that is one answer; write a row per completion, or .jsonl with "
                "lists"
            )
        say(f"{told}: each is read as one completion")
    frame["answer"] = objects([one or UNREAD for one in reading.all_of(texts)])
    if gold is not None and gold in frame.columns:
        rights = _rights(list(frame[gold]), gold, reading)
        frame[gold] = objects([one if len(one) > 1 else one[0] for one in rights])
        frame["right"] = [float(one in right) for one, right in zip(frame["answer"], rights, strict=True)]


def objects(entries: Sequence[Any]) -> "pd.Series":
    """A column of any text; pandas' own cannot hold lone surrogates."""
    import pandas as pd

    return pd.Series(list(entries), dtype=object)


def _several(text: str) -> bool:
    """Whether a text is a list of texts or numbers, as JSON or Python writes it, of two or more."""
    if not (text.lstrip().startswith("[") and text.rstrip().endswith("]")):
        return False
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(found, list) and len(found) > 1 and all(isinstance(one, str | int | float) for one in found)


def _texts(column: Sequence[Any], name: str, say: Say) -> list[str]:
    """Completions, which are text; numbers are read as their text, and that is said."""
    numbers = [row for row, cell in enumerate(column, start=1) if _is_number(cell)]
    for row, cell in enumerate(column, start=1):
        if not isinstance(cell, str) and not _is_number(cell):
            raise ValueError(
                f"column {name!r} holds {_shown(cell)} in row {row}; a completion is text, also an empty one"
            )
    if numbers:
        say(f"column {name!r} holds numbers ({len(numbers)}, first in row {numbers[0]}): they are read as their text")
    return [str(cell) for cell in column]


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool) and cell == cell


def _shown(cell: Any) -> str:
    """A cell in words, for people."""
    return (
        "nothing"
        if cell is None or (isinstance(cell, Real) and cell != cell)
        else f"a {type(cell).__name__} ({str(cell)[:60]!r})"
    )


def _rights(column: Sequence[Any], gold: str, reading: Reading) -> list[list[str]]:
    """The right answers in the form in which the reader gives answers; of several, those that it can read."""
    known: dict[str, list[str]] = {}
    found = []
    for row, cell in enumerate(column, start=1):
        key = repr(cell)
        if key not in known:
            labels, problem = [], None
            for one in cell if isinstance(cell, list) else [cell]:
                try:
                    labels.append(reading.scorer.right(str(one)))
                except ValueError as error:
                    problem = error
            if not labels:
                raise ValueError(f"column {gold!r}, row {row}: {problem}{reading.hint}")
            known[key] = list(dict.fromkeys(labels))
        found.append(known[key])
    return found


def closing(frame: "pd.DataFrame", read_here: bool) -> str:
    """One line: completions read, unreadable, and how often the reading disagrees with the log's own score."""
    completions = common.count(len(frame), "completion")
    if not read_here:
        return f"{completions}, none of them read here: answers and scores are the log's"
    unread = sum(answer == UNREAD for answer in frame["answer"])
    line = f"{completions}: {len(frame) - unread} read, {unread} unreadable"
    if "right" not in frame:
        return f"{line}; no right answers to compare them with"
    parts = []
    for column in frame.columns:
        name = str(column).removeprefix("score ")
        if name == str(column) and column not in _OWN:
            continue
        own = [_truth(cell) for cell in frame[column]]
        compared = [(one, right) for one, right in zip(own, frame["right"], strict=True) if one is not None]
        if compared:
            apart = sum(one != right for one, right in compared)
            parts.append(f"{name!r} on {apart} of {len(compared)} ({apart / len(compared):.1%})")
    if not parts:
        return f"{line}; the log has no score of its own to compare with"
    return f"{line}; what is read here disagrees with the log's own {', '.join(parts)}"


def _truth(cell: Any) -> float | None:
    """Whether a score says right (1) or wrong (0); None for all between, and for what is no score."""
    return _TRUTH.get(str(cell).strip().lower())
