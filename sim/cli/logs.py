"""Logs named on the command line to one table of completions."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from sim.envs.logs import Columns

_QUESTIONS = ("question", "problem", "input")
"""Columns that say what a query asks."""
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,15})(?:\.\d+)?")


class LogFile(NamedTuple):
    """A log and its rows.

    Attributes:
        given: the file as it was named, NAME= included.
        name: of its prompt, where the log names none.
        named: whether that name was given.
        path: the file.
    """

    given: str
    name: str
    named: bool
    path: Path


class Options(NamedTuple):
    """Options by which logs are read.

    Attributes:
        asked: input file of a batch output.
        ids: pattern of its custom_id.
        golds: JSONL file with a `query` and a `gold` in every line.
        text: column of the completions.
        answers: "number", "choice", "exact" or a regular expression with a group: what reads them into `answer`.
        letters: the letters that "choice" chooses from.
        wanted: the filter of lm-evaluation-harness whose scores are taken.
        same: whether queries of one id are one, whatever they ask.
    """

    asked: Path | None = None
    ids: str | None = None
    golds: Path | None = None
    text: str = "completion"
    answers: str | None = None
    letters: str | None = None
    wanted: str | None = None
    same: bool = False


def table(sources: Sequence[str], columns: "Columns", options: Options, say: Callable[[str], None]) -> "pd.DataFrame":
    """All completions of some logs, with right answers joined and answers read where that is asked for.

    Args:
        sources: files, or NAME=FILE to name the prompt that a file holds.
        columns: which columns hold what. One that is voted on and of a CSV file that holds numbers only is one of
            numbers: 4.0 is 4. Right answers are brought into the form of the answers; `right` says who has one.
        options: how logs are read.
        say: is told what was guessed.
    """
    import pandas as pd

    from sim.cli import answers

    if options.ids is not None:
        _check_ids(options.ids)
    reader = None if options.answers is None else answers.reader(options.answers, options.letters)
    if options.letters is not None and options.answers != "choice":
        raise ValueError("--letters is for --answers choice; add it, or leave --letters out")
    numbers = [*columns.votes, columns.gold] if reader is None else []
    frames, unnamed, asks = [], [], []
    for source in map(named, sources):
        frame = _one(source.path, options, [one for one in numbers if one is not None], say)
        asks.append(_questions(frame, columns))
        if columns.prompt == "prompt" and "prompt" not in frame:
            frame.insert(0, "prompt", source.name)
            if not source.named:
                _check_name(source, unnamed)
                unnamed.append(source)
                say(f"{source.path.name}: names no prompt; its completions are those of the prompt {source.name!r}")
        elif source.named:
            raise ValueError(
                f"{source.path}: names its prompts itself (column {columns.prompt!r}); leave {source.name}= out"
            )
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True)
    if not options.same:
        _check_questions(frame, columns, [one for of_file in asks for one in of_file])
    if options.golds is not None:
        frame["gold"] = answers.objects(_golds(frame, options.golds))
    own = [one for one in columns.objectives if reader is None or one not in ("answer", "right")]
    drawn = [*own, *([] if reader is None else [options.text]), *([] if columns.cost is None else [columns.cost])]
    frame = answers.spread(frame, list(dict.fromkeys(drawn)), say)
    if columns.gold is not None and columns.gold in frame.columns:
        frame[columns.gold] = answers.objects(answers.accepted(list(frame[columns.gold]), columns.gold, say))
    if reader is not None:
        answers.read(frame, reader, options.text, columns.gold, say)
    return frame


def as_read(sources: Sequence[str], options: Options) -> "pd.DataFrame":
    """All rows of some logs as they stand, with right answers joined where they are: by these, columns can be told.

    Args:
        sources: as in `table`.
        options: how logs are read.
    """
    import pandas as pd

    from sim.cli import answers

    if options.ids is not None:
        _check_ids(options.ids)
    paths = [named(source).path for source in sources]
    frame = pd.concat([_one(path, options, (), lambda said: None) for path in paths], ignore_index=True)
    if options.golds is not None:
        frame["gold"] = answers.objects(_golds(frame, options.golds))
    return frame


def named(source: str) -> LogFile:
    """The log that is named on the command line, as FILE or NAME=FILE."""
    from sim.envs.log_files import name

    given, mark, rest = source.partition("=")
    if mark and not Path(source).exists():
        return LogFile(source, given, True, Path(rest))
    return LogFile(source, name(Path(source)), False, Path(source))


def _check_name(source: LogFile, others: Sequence[LogFile]) -> None:
    """Refuse two logs of one prompt each whose files have the same name: their completions would be pooled."""
    for one in others:
        if one.name == source.name:
            raise ValueError(
                f"{one.given} and {source.given} would both be the prompt {source.name!r}; name them apart, as in "
                f"a={one.given} b={source.given}"
            )


def _questions(frame: "pd.DataFrame", columns: "Columns") -> list[Any]:
    """The question of every row, where the log says it."""
    for column in _QUESTIONS:
        if column in frame.columns and column not in (columns.prompt, columns.query):
            return list(frame[column])
    return [None] * len(frame)


def _check_questions(frame: "pd.DataFrame", columns: "Columns", asks: Sequence[Any]) -> None:
    """Refuse queries of one id that ask two things, as subtasks, or shuffled data sets, have them."""
    if columns.query not in frame.columns or columns.prompt not in frame.columns:
        return
    known: dict[str, tuple[str, str]] = {}
    for query, prompt, ask in zip(frame[columns.query], frame[columns.prompt], asks, strict=True):
        if ask is None or ask != ask:
            continue
        said = " ".join(ask.split()) if isinstance(ask, str) else json.dumps(ask, sort_keys=True, default=str)
        before, of = known.setdefault(str(query), (said, str(prompt)))
        if before != said:
            raise ValueError(
                f"query {str(query)[:80]!r} is {_differing(before, said)!r} with prompt {of[:60]!r} and "
                f"{_differing(said, before)!r} with prompt {str(prompt)[:60]!r}; tell queries apart by what they ask "
                "(--query question, or its column), or say --same-ids where the ids are right"
            )


def _differing(text: str, other: str) -> str:
    """The part of a text where it differs from another one."""
    same = next((place for place, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - 30) if len(text) > 60 else 0
    return text[start : start + 60]


def _one(path: Path, options: Options, votes: Sequence[str], say: Callable[[str], None]) -> "pd.DataFrame":
    from sim.cli import answers
    from sim.envs import imports, rows
    from sim.envs.log_files import kind

    if kind(path) in imports.KINDS:
        ids = options.ids
        split = None if ids is None else lambda names: _split(ids, names)
        return imports.read(path, None, options.asked, split, options.wanted, say)
    frame = rows.frame(path)
    if kind(path) == ".parquet":
        return frame
    for column in set(votes) & set(frame.columns):
        if all(map(_PLAIN.fullmatch, frame[column])):
            frame[column] = answers.objects([float(cell) if "." in cell else int(cell) for cell in frame[column]])
    return frame


def _check_ids(ids: str) -> None:
    try:
        groups = re.compile(ids).groupindex
    except re.error as error:
        raise ValueError(f"--ids is {ids!r}, which is no regular expression ({error})") from None
    if not {"prompt", "query"} <= set(groups):
        raise ValueError(f"--ids is {ids!r}; it needs the groups (?P<prompt>...) and (?P<query>...)")


def _split(ids: str, names: list[str]) -> list[list[str] | None]:
    """Prompt and query of ids of requests."""
    from sim.adapters.scorers import patterns

    task = {"pattern": ids, "groups": ["prompt", "query"]}
    return patterns.matched(f"--ids is {ids!r}", task, names)


def _golds(frame: "pd.DataFrame", golds: Path) -> "list[Any]":
    from sim.envs.imports import json_lines

    if "query" not in frame.columns:
        has = ", ".join(map(str, frame.columns))
        raise ValueError(f"{golds}: is joined by 'query', but the log has no such column; it has {has}")
    known: dict[str, Any] = {}
    for number, row in enumerate(json_lines(golds), start=1):
        if "query" not in row or "gold" not in row:
            raise ValueError(f"{golds}: row {number} has no 'query' or no 'gold'; it has {', '.join(row)}")
        query, gold = str(row["query"]), row["gold"]
        if gold is None or isinstance(gold, bool | dict):
            raise ValueError(
                f"{golds}: row {number} has the gold {json.dumps(gold)[:60]}; expected text, a number or a list"
            )
        if str(known.setdefault(query, gold)) != str(gold):
            raise ValueError(f"{golds}: row {number} gives the query {query[:80]!r} another right answer than before")
    for query in frame["query"]:
        if str(query) not in known:
            raise ValueError(f"{golds}: has no right answer for the query {str(query)[:80]!r}")
    return [known[str(query)] for query in frame["query"]]
