"""Guesses at what `iapo env import` is not told: columns by names and contents, how answers are read, N, contexts.

A column is taken for what its name says where its content allows it. Where two could be meant that do not say the same,
nothing is guessed: one sentence names both, and the option that decides. What is guessed is shown, with rows of the log
and the command that says all of it.
"""

import math
import re
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

_PROMPT = ("prompt", "prompt_name", "prompt_id", "prompt_template", "template", "variant", "system_prompt")
_QUERY = ("query", "question", "problem", "query_id", "question_id", "problem_id", "task_id", "example_id", "input")
_TEXT = ("completion", "response", "output", "generation", "reply", "model_output", "text")
_TEXT += ("completions", "responses", "outputs", "generations", "samples", "raw_output", "raw_outputs")
_ANSWER = ("answer", "prediction", "predicted", "pred", "parsed_answer", "extracted_answer", "final_answer")
_GOLD = (
    *("gold", "right", "target", "reference", "correct_answer", "right_answer", "ground_truth", "gold_answer"),
    *("expected", "label", "truth", "solution"),
)
_SCORE = ("score", "reward", "rating", "grade", "correct", "is_correct", "exact_match", "accuracy", "acc", "passed")
_SCORE += ("success", "right")
_COST = ("cost", "price")
TOKENS = ("completion_tokens", "output_tokens", "tokens", "num_tokens", "total_tokens")
_TRUTHS = ("0", "1", "0.0", "1.0", "true", "false")
_LETTERS = "ABCDEFGHIJ"
_DEAR = 0.1
"""Share of an objective's range that the guessed dear context charges for N mean completions."""
_SHOWN = 3
"""Rows of the log that are shown."""


class Guess(NamedTuple):
    """One option that was guessed.

    Attributes:
        option: as on the command line, without the dashes.
        value: its value.
        reason: why, for people.
    """

    option: str
    value: str
    reason: str


class SaidColumns(NamedTuple):
    """Options about columns that were given, None where they were not.

    Attributes:
        objective: as COLUMN:STRATEGY.
        gold: column of right answers.
        golds: whether right answers come from a file.
        cost: column of costs.
        prompt: column of prompts.
        query: column of queries.
        text: column of completions.
        answers: how answers are read.
        letters: of choices.
    """

    objective: Sequence[str] | None
    gold: str | None
    golds: bool
    cost: str | None
    prompt: str | None
    query: str | None
    text: str | None
    answers: str | None
    letters: str | None


def columns(frame: "pd.DataFrame", known: SaidColumns, name: str) -> list[Guess]:
    """Guess what columns hold, and how answers are read, where that was not said.

    Args:
        frame: the log as it was read; lists of completions may stand in one row.
        known: what was said.
        name: of the log, with which errors begin.

    Raises:
        ValueError: two columns could be meant, or none could be answers or scores.
    """
    found: list[Guess] = []
    look = _Look(frame, name)
    if len(frame) == 0:
        raise ValueError(f"{name}: holds no completion, only the names of columns ({', '.join(look.names)})")
    query = known.query or _take(found, "query", look.group("query", _QUERY), "query", "tells queries apart")
    if known.prompt is None:
        _take(found, "prompt", look.group("prompt", _PROMPT), "prompt", "tells prompts apart")
    if known.cost is None:
        cost = look.first((*_COST, *TOKENS), look.numeric)
        _take(found, "cost", cost, None, "cost of a completion")
    if known.objective:
        return found
    gold = known.gold
    if gold is None and known.golds:
        gold = "gold"
    elif gold is None:
        same = look.one("gold", _GOLD, lambda column: look.may_be_gold(column, query))
        if same is None and look.of(_TEXT, lambda column: True):  # "answer" beside completions is the right one
            same = look.first(("answer",), lambda column: look.same_within(column, query))
        gold = _take(found, "gold", same, None, "right answers, the same in all rows of a query")
        if gold is not None:
            look.check_filled(gold)
    answer = None
    if gold is not None and known.answers is None:
        answer = look.one("objective", _ANSWER, lambda column: column != gold)
    if answer is not None:
        found.append(Guess("objective", f"{answer}:mv", "answers that are voted on"))
        return found
    text = known.text or look.one("text", _TEXT, lambda column: column != gold)
    if gold is not None and text is not None:
        if known.text is None and text != "completion":
            found.append(Guess("text", text, "completions"))
        if known.answers is None:
            found += _readers(look, gold, known)
        found.append(Guess("objective", "answer:mv", "answers read from completions are voted on"))
        return found
    scores = (*_SCORE, *(column for column in look.names if column.startswith("score ")))
    score = look.one("objective", scores, lambda column: column != gold and look.numeric(column))
    if score is None:
        raise ValueError(
            f"{name}: no column can be told to hold answers with right ones, or scores; it has "
            f"{', '.join(look.names)}: name them (--objective COLUMN:mv --gold COLUMN, or --objective "
            "COLUMN:bon), or give right answers (--golds FILE)"
        )
    found = [one for one in found if one.option != "gold"]
    found.append(Guess("objective", f"{score}:bon", "scores, by which the best of N completions is picked"))
    return found


def scale(counts: Sequence[int]) -> Guess:
    """Guess the largest N: the fewest completions of a pair, up to which values need no model."""
    from sim.constants import MAX_SCALE

    low, high = min(counts), max(counts)
    reason = "completions of a pair" if low == high else f"fewest completions of a pair, which has up to {high}"
    return Guess("max-scale", str(min(low, MAX_SCALE)), reason)


def contexts(objectives: int, spread: float, cost: float | None, max_scale: int) -> list[Guess]:
    """Guess contexts: one in which completions are free, and, where they have a cost, one in which they are dear.

    Args:
        objectives: how many; each has weight 1.
        spread: range of the first one.
        cost: mean of a completion; None where it has none.
        max_scale: largest N.
    """
    ones = ",".join(["1"] * objectives)
    found = [Guess("context", f"free={ones},0", "completions cost nothing")]
    if cost is not None and cost > 0 and spread > 0:
        weight = float(f"{_DEAR * spread / (cost * max_scale):.1g}")
        reason = f"{max_scale} completions of mean cost {cost:.4g} lose {weight * cost * max_scale:.2g}"
        found.append(Guess("context", f"dear={ones},{weight:g}", reason))
    return found


def rows(frame: "pd.DataFrame", used: Sequence[str]) -> list[tuple[str, ...]]:
    """The first rows of some columns, as text of bounded length."""
    return [tuple(_short(frame[column].iloc[place]) for column in used) for place in range(min(_SHOWN, len(frame)))]


def command(sources: Sequence[str], out: str, options: Sequence[tuple[str, str | None]]) -> str:
    """The command that says all options; one without a value is a flag."""
    parts = ["iapo", "env", "import", *sources, "--out", out]
    for option, value in options:
        parts += [f"--{option}"] if value is None else [f"--{option}", value]
    return shlex.join(parts)


class _Look:
    """Columns of a log by name and content."""

    def __init__(self, frame: "pd.DataFrame", name: str):
        self.frame, self.name = frame, name
        self.names = list(map(str, frame.columns))
        self._by_name: dict[str, list[str]] = {}
        for column in self.names:
            self._by_name.setdefault(column.strip().lower(), []).append(column)

    def of(self, wanted: Sequence[str], fits: Callable[[str], bool]) -> list[str]:
        """The columns of these names whose content fits, in the order of the names."""
        named = [column for one in dict.fromkeys(map(str.lower, wanted)) for column in self._by_name.get(one, [])]
        return [column for column in named if fits(column)]

    def first(self, wanted: Sequence[str], fits: Callable[[str], bool]) -> str | None:
        """The first of these columns; they differ in what they count, and the first is the best."""
        return next(iter(self.of(wanted, fits)), None)

    def one(self, option: str, wanted: Sequence[str], fits: Callable[[str], bool]) -> str | None:
        """The one column of these that fits; the first name is this package's own, and decides."""
        found = self.of(wanted, fits)
        if not found or found[0].lower() == wanted[0].lower():
            return found[0] if found else None
        apart = [column for column in found if self._cells(column) != self._cells(found[0])]
        return self._sure(option, [found[0], *apart])

    def group(self, option: str, wanted: Sequence[str]) -> str | None:
        """The one column of these that tells rows apart; several are one where they group rows alike."""
        found = self.of(wanted, lambda column: True)
        if not found or found[0].lower() == wanted[0].lower():
            return found[0] if found else None
        apart = [column for column in found if self._groups(column) != self._groups(found[0])]
        return self._sure(option, [found[0], *apart])

    def numeric(self, column: str) -> bool:
        """Whether all cells are finite numbers, or lists of them."""
        return all(math.isfinite(_number(cell)) for cell in _flat(self.frame[column]))

    def truth(self, column: str) -> bool:
        """Whether a column may say that completions are right or wrong: nothing but 0 and 1, or true and false."""
        return all(str(cell).strip().lower() in _TRUTHS for cell in self.frame[column])

    def is_score(self, column: str) -> bool:
        """Whether "right" says of completions that they are, and not what would be."""
        return column.lower() == "right" and self.truth(column)

    def may_be_gold(self, column: str, query: str) -> bool:
        """Whether a column may hold right answers: some, the same in all rows of a query, and no scores."""
        said = any(str(cell).strip() for cell in self.frame[column])
        return said and self.same_within(column, query) and not self.is_score(column)

    def check_filled(self, column: str) -> None:
        """Refuse right answers that are missing in some row: nothing would be right there."""
        for row, cell in enumerate(self.frame[column], start=1):
            if not str(cell).strip():
                raise ValueError(f"{self.name}: row {row} has no right answer ({column!r} is empty there)")

    def same_within(self, column: str, query: str) -> bool:
        """Whether all rows of a query have the same."""
        if query not in self.frame.columns:
            return True
        known: dict[str, str] = {}
        return all(
            known.setdefault(str(of), str(cell)) == str(cell)
            for of, cell in zip(self.frame[query], self.frame[column], strict=True)
        )

    def _cells(self, column: str) -> list[str]:
        return list(map(str, self.frame[column]))

    def _groups(self, column: str) -> list[int]:
        places: dict[str, int] = {}
        return [places.setdefault(cell, len(places)) for cell in self._cells(column)]

    def _sure(self, option: str, found: Sequence[str]) -> str:
        if len(found) > 1:
            value = f"{found[0]}:{'bon' if found[0].lower() in _SCORE else 'mv'}" if option == "objective" else found[0]
            both = f"{', '.join(map(repr, found[:-1]))} and {found[-1]!r} could each be meant, and differ"
            raise ValueError(f"{self.name}: {both}; say which, as --{option} {shlex.quote(value)}")
        return found[0]


def _take(found: list[Guess], option: str, column: str | None, default: str | None, reason: str) -> Any:
    """Note a guess, if there is one and it is not what the option has by default; the column, or the default."""
    if column is None:
        return default
    if column != default:
        found.append(Guess(option, column, reason))
    return column


def _readers(look: _Look, gold: str, known: SaidColumns) -> list[Guess]:
    """How completions are read, by the right answers."""
    rights = [str(cell).strip() for cell in _flat(look.frame[gold])] if gold in look.names else []
    if rights and all(re.fullmatch(rf"[{_LETTERS}{_LETTERS.lower()}]", right) for right in rights):
        last = max(right.upper() for right in rights)
        guesses = [Guess("answers", "choice", "right answers are letters")]
        if known.letters is None and last > "D":
            letters = _LETTERS[: _LETTERS.index(last) + 1]
            guesses.append(Guess("letters", letters, f"right answers go up to {last}"))
        return guesses
    if rights and all(math.isfinite(_number(right.replace(",", ""))) for right in rights):
        return [Guess("answers", "number", "right answers are numbers")]
    return [Guess("answers", "exact", "right answers are text")]


def _flat(cells: Any) -> list[Any]:
    return [one for cell in cells for one in (cell if isinstance(cell, list | tuple) else [cell])]


def _number(cell: Any) -> float:
    try:
        return math.nan if isinstance(cell, str) and "_" in cell else float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _short(cell: Any) -> str:
    text = " ".join(str(cell).split())
    return text if len(text) <= 30 else f"{text[:27]}..."
