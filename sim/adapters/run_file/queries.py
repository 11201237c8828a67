"""The user's queries: JSONL, CSV or Parquet, one row each."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sim.adapters.run_file.settings import Prompt, QueryFile
from sim.adapters.scoring import Item
from sim.envs import rows


def read(source: QueryFile) -> tuple[Item, ...]:
    """The queries of a file, in its order; a ValueError names the file, the row and what is wrong."""
    found = rows_of(source.file)
    if not found:
        raise ValueError(f"{source.file}: holds no query")
    items, seen = [], {}
    for number, row in enumerate(found[: source.limit], start=1):
        text = _text(source, row, source.text, number)
        gold = None if source.gold is None else _text(source, row, source.gold, number)
        if text in seen:
            raise ValueError(f"{source.file}: row {number} repeats the query of row {seen[text]}; each must come once")
        seen[text] = number
        reference = None if source.reference is None else _reference(source, row, number)
        fields = tuple((name, _text(source, row, name, number)) for name in source.fields or ())
        items.append(Item(text, gold, reference, fields))
    return tuple(items)


def unfilled(source: QueryFile, prompts: Iterable[Prompt]) -> list[str]:
    """Sentences on prompts that hold a column's name in braces, which is no slot of theirs and is sent as it is."""
    columns = dict.fromkeys(next(iter(rows_of(source.file)), {}))
    said = []
    for prompt in prompts:
        text = "".join((prompt.system, prompt.text, *(shot.content for shot in prompt.shots)))
        for name in columns:
            if f"{{{name}}}" in text and name not in ("query", *prompt.fields):
                said.append(
                    f"the prompt {prompt.name!r} holds {{{name}}}, a column of {source.file.name}, and sends it as it "
                    f'stands; "{name}" in queries.fields fills it'
                )
    return said


def _reference(source: QueryFile, row: dict[str, Any], number: int) -> Any:
    """The reference in a row; an empty cell is none."""
    value = _cell(source, row, str(source.reference), number)
    try:
        text = Item("", None, value).reference_text or ""
    except RecursionError:
        raise ValueError(f"{source.file}: row {number} is nested too deeply as {source.reference!r}") from None
    if text.encode("utf-8", "replace").decode() != text:
        raise ValueError(f"{source.file}: row {number} holds no valid Unicode as {source.reference!r}")
    return None if value == "" or value != value else value


def _text(source: QueryFile, row: dict[str, Any], column: str, number: int) -> str:
    value = _cell(source, row, column, number)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value != value or not str(value).strip():
        raise ValueError(f"{source.file}: row {number} holds {value!r} as {column!r}; expected text or a number")
    text = str(value)
    if text.encode("utf-8", "replace").decode() != text:
        raise ValueError(f"{source.file}: row {number} holds {value!r} as {column!r}, which is no valid Unicode")
    return text


def _cell(source: QueryFile, row: dict[str, Any], column: str, number: int) -> Any:
    if column not in row:
        have = ", ".join(map(str, row))
        keys = "queries.text, queries.gold, queries.reference"
        why = f"for which prompts have a {{{column}}} slot" if column in (source.fields or ()) else keys
        raise ValueError(f"{source.file}: row {number} has no {column!r} ({why}); it has {have}")
    return row[column]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a .jsonl, .csv or .parquet file; a ValueError names it and what is wrong."""
    if path.suffix == ".jsonl":
        return _json_rows(path)
    if path.suffix == ".csv":
        return [{str(key): value for key, value in row.items()} for row in rows.csv(path).to_dict("records")]
    # Without pandas, which makes arrays of lists, and 7.0 of 7 beside an empty cell.
    table = rows.parquet(path)
    try:
        return table.to_pylist()
    except Exception as error:  # values that Python cannot hold
        raise ValueError(f"{path}: cannot be read as a table ({' '.join(str(error).split())[:200]})") from None


def _json_rows(path: Path) -> list[dict[str, Any]]:
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is no JSON ({error})") from None
        except RecursionError:
            raise ValueError(f"{path}: line {number} is nested too deeply") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}: line {number} is no JSON object")
        found.append(row)
    return found
