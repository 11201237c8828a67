"""Logs named on the command line to one table of completions."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from sim.adapters.scoring import AnswerScorer

UNREAD = "(unreadable)"
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,15})(?:\.\d+)?")
_AT_ONCE = 1000
"""Texts that are given to a pattern at a time."""


def table(
    sources: Sequence[str],
    asked: Path | None,
    ids: str | None,
    golds: Path | None,
    text: str,
    answers: str | None,
    gold: str | None,
    votes: Sequence[str] = (),
) -> "pd.DataFrame":
    """All completions of some logs, with right answers joined and answers read where that is asked for.

    Args:
        sources: files, or NAME=FILE to name the prompt that a file holds.
        asked: input file of a batch output.
        ids: pattern of its custom_id.
        golds: JSONL file with a `query` and a `gold` in every line.
        text: column of the completions.
        answers: "number", "choice", "exact" or a regular expression with a group: what reads them into `answer`.
        gold: column of the right answer, brought into the same form; `right` says which completions have it.
        votes: columns of answers. One of a CSV file that holds numbers only is one of numbers: 4.0 is 4 there.
    """
    import pandas as pd

    if ids is not None:
        _check_ids(ids)
    _check_names(sources)
    votes = votes if answers is None else ()
    frames = [_one(*_named(source), asked, ids, votes) for source in sources]
    frame = pd.concat(frames, ignore_index=True)
    if golds is not None:
        frame["gold"] = _objects(_golds(frame, golds))
    if answers is not None:
        _read_answers(frame, _reader(answers), text, gold)
    return frame


def _named(source: str) -> tuple[str, Path]:
    name, mark, rest = source.partition("=")
    if mark and not Path(source).exists():
        return name, Path(rest)
    return Path(source).stem, Path(source)


def _check_names(sources: Sequence[str]) -> None:
    """Refuse two logs of one prompt each whose files have the same name: their completions would be pooled."""
    from sim.envs import imports

    seen: dict[str, list[str]] = {}
    for source in sources:
        name, path = _named(source)
        if path != Path(source):
            continue
        alike = seen.setdefault(name, [])
        if alike and imports.one_prompt(path) and (pooled := [one for one in alike if imports.one_prompt(Path(one))]):
            raise ValueError(
                f"{pooled[0]} and {source} would both be the prompt {name!r}; name them apart, as in a={pooled[0]} "
                f"b={source}"
            )
        alike.append(source)


def _objects(entries: Sequence[Any]) -> "pd.Series":
    """A column of any text; pandas' own cannot hold lone surrogates."""
    import pandas as pd

    return pd.Series(list(entries), dtype=object)


def _one(name: str, path: Path, asked: Path | None, ids: str | None, votes: Sequence[str]) -> "pd.DataFrame":
    from sim.envs import imports, rows

    if path.suffix in imports.KINDS:
        return imports.read(path, name, asked, None if ids is None else lambda names: _split(ids, names))
    frame = rows.frame(path)
    if path.suffix == ".parquet":
        return frame
    for column in set(votes) & set(frame.columns):
        if all(map(_PLAIN.fullmatch, frame[column])):
            frame[column] = _objects([float(cell) if "." in cell else int(cell) for cell in frame[column]])
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
    task = {"pattern": ids, "groups": ["prompt", "query"]}
    return asyncio.run(_matched(f"--ids is {ids!r}", task, names))


async def _matched(option: str, task: dict[str, Any], texts: Sequence[str]) -> list[Any]:
    """What a pattern finds in texts.

    Raises:
        ValueError: it takes too long for one of them.
    """
    from sim.adapters.scorers.patterns import TIMEOUT, Patterns

    found, patterns = [], Patterns()
    try:
        while len(found) < len(texts):
            part = texts[len(found) : len(found) + _AT_ONCE]
            found += await patterns.some([task | {"text": text} for text in part], TIMEOUT)
            if found[-1] is None:
                text = texts[len(found) - 1][:60]
                raise ValueError(f"{option}, which takes more than {TIMEOUT:g} s on {text!r}; use a simpler pattern")
    finally:
        await patterns.close()
    return [one["found"] for one in found]


def _golds(frame: "pd.DataFrame", golds: Path) -> "list[Any]":
    from sim.envs.imports import json_lines

    if not golds.is_file():
        raise ValueError(f"{golds}: no such file")
    if "query" not in frame.columns:
        has = ", ".join(map(str, frame.columns))
        raise ValueError(f"{golds}: is joined by 'query', but the log has no such column; it has {has}")
    known: dict[str, Any] = {}
    for number, row in enumerate(json_lines(golds), start=1):
        if "query" not in row or "gold" not in row:
            raise ValueError(f"{golds}: row {number} has no 'query' or no 'gold'; it has {', '.join(row)}")
        query, gold = str(row["query"]), row["gold"] if isinstance(row["gold"], int | float) else str(row["gold"])
        if str(known.setdefault(query, gold)) != str(gold):
            raise ValueError(f"{golds}: row {number} gives the query {query[:80]!r} another right answer than before")
    for query in frame["query"]:
        if str(query) not in known:
            raise ValueError(f"{golds}: has no right answer for the query {str(query)[:80]!r}")
    return [known[str(query)] for query in frame["query"]]


def _reader(answers: str) -> "AnswerScorer":
    from sim.adapters.scorers.text import Choice, Exact, Number, Regex

    simple = {"number": Number, "choice": Choice, "exact": Exact}
    if answers in simple:
        return simple[answers]()
    try:
        groups = re.compile(answers).groups
    except re.error as error:
        raise ValueError(f"--answers is {answers!r}, which is no regular expression ({error})") from None
    if groups < 1:
        raise ValueError(f"--answers is {answers!r}; expected number, choice, exact or a pattern with a group")
    return Regex(answers)


def _read_answers(frame: "pd.DataFrame", reader: "AnswerScorer", text: str, gold: str | None) -> None:
    from sim.adapters.scorers.text import Regex

    if text not in frame.columns:
        raise ValueError(
            f"--text is {text!r}, but the log has no such column; it has {', '.join(map(str, frame.columns))}"
        )
    texts = ["" if completion is None or completion != completion else str(completion) for completion in frame[text]]
    if isinstance(reader, Regex):
        found = asyncio.run(
            _matched(f"--answers is {reader.pattern!r}", {"pattern": reader.pattern, "group": 1}, texts)
        )
    else:
        found = [reader.answer(one) for one in texts]
    frame["answer"] = _objects([one or UNREAD for one in found])
    if gold is not None and gold in frame.columns:
        frame[gold] = _objects(_rights(list(frame[gold]), gold, reader))
        frame["right"] = (frame["answer"] == frame[gold]).astype(float)


def _rights(column: Sequence[Any], gold: str, reader: "AnswerScorer") -> list[str]:
    """The right answers in the form in which the reader gives answers."""
    known: dict[Any, str] = {}
    for number, entry in enumerate(column, start=1):
        text = str(entry)
        try:
            if text not in known:
                known[text] = reader.right(text)
        except ValueError as error:
            raise ValueError(f"column {gold!r}, row {number}: {error}") from None
    return [known[str(entry)] for entry in column]
