"""Candidates of a run: the prompts of its file, of text files and folders, at every setting of a grid."""

import itertools
import os.path  # whose questions any text may be asked, however long it is
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sim.adapters.run_file import prompt_formats
from sim.adapters.run_file.endpoints import ONLY, place_of
from sim.adapters.run_file.prompts import SLOT, Prompt, PromptTable, of_messages, with_fields
from sim.adapters.run_file.settings import EndpointTable, QueryFile
from sim.adapters.run_file.toml_table import TomlTable, missing

TEXTS = (".txt", ".md")
"""Ends of files that hold the text of a prompt."""
LISTS = (".jsonl", ".csv", ".parquet")
"""Ends of files that hold a list of prompts."""
_GRID = ("max_tokens", "temperature", "top_p")
Wrong = Callable[[str, str], ValueError]


def read(
    top: TomlTable,
    made: Sequence[PromptTable],
    endpoints: Mapping[str, EndpointTable],
    columns: QueryFile,
    whole: bool = True,
) -> tuple[Prompt, ...]:
    """All candidates, in the order of the file; those of a folder in that of their names.

    Args:
        top: the run file.
        made: its tables of prompts.
        endpoints: by name; each names the model of prompts that name none, and the highest temperature.
        columns: of the query file.
        whole: whether every field that is listed must have a slot in some prompt.

    Raises:
        ValueError: what is wrong, with file and key.
    """
    hidden = {columns.gold: "right answers", columns.reference: "references"}
    found: list[Prompt] = []
    for place, one in enumerate(made):
        table = TomlTable(top.file, f"prompts[{place}]", {})
        for made_here, wrong in _texts(table, one, columns):
            known = {name: what for name, what in hidden.items() if name is not None}
            prompt = with_fields(made_here, columns.fields, known, wrong)
            for name in _asked(table, one, endpoints):
                model = one.model or endpoints[name].model
                own = replace(prompt.checked(wrong, model, place_of(name)), cost=one.cost, endpoint=name)
                for candidate in _settings(own, one):
                    _check_temperature(wrong, candidate, endpoints[name])
                    _check_different(wrong, candidate, found)
                    found.append(candidate)
    if len({prompt.cost is None for prompt in found}) > 1:
        raise top.wrong("prompts", "give a cost to some prompts only; give it to all or to none (the probe measures)")
    for name in (columns.fields or ()) if whole else ():
        if not any(name in prompt.fields for prompt in found):
            raise top.wrong("queries.fields", f"names {name!r}, and no prompt has a {{{name}}} slot")
    return tuple(found)


def _asked(table: TomlTable, one: PromptTable, endpoints: Mapping[str, EndpointTable]) -> tuple[str, ...]:
    """Names of the endpoints that a table's prompts are asked at."""
    known = ", ".join(endpoints)
    if not one.endpoint and len(endpoints) > 1:
        raise table.wrong("endpoint", f"is missing; with several it names one of {known}, or a list of them")
    for name in one.endpoint:
        if ONLY in endpoints:
            raise table.wrong("endpoint", f"is {name!r}, but there is one [endpoint], which has no name; leave it out")
        if name not in endpoints:
            raise table.wrong("endpoint", f"is {name!r}; known are {known}")
    return one.endpoint or tuple(endpoints)


def _texts(table: TomlTable, one: PromptTable, columns: QueryFile) -> Iterator[tuple[Prompt, Wrong]]:
    """The prompts that a table stands for, without their settings, each with what makes an error about it."""
    for key, needs in (("role", "path"), ("top", "path")):
        if getattr(one, key) is not None and one.path is None:
            raise table.wrong(key, f"goes with {needs}, which is missing")
    if one.messages:
        for key in ("text", "system", "path"):
            if getattr(one, key) is not None:
                raise table.wrong(key, "stands beside messages, which hold all that is said")
        yield of_messages(_named(table, one), one.messages, table.wrong), table.wrong
    elif one.path is not None:
        yield from _filed(table, one, columns)
    else:
        yield Prompt(_named(table, one), one.text or SLOT, one.system or ""), table.wrong


def _named(table: TomlTable, one: PromptTable) -> str:
    if one.name is None:
        raise table.wrong("name", missing("name", ()))
    return one.name


def _filed(table: TomlTable, one: PromptTable, columns: QueryFile) -> Iterator[tuple[Prompt, Wrong]]:
    """Prompts of a file or a folder."""
    path = table.file.resolve().parent / str(one.path)
    if not os.path.exists(path):
        raise table.wrong("path", f"names {path}, which does not exist")
    if os.path.isdir(path):
        files = sorted(file for file in path.iterdir() if file.suffix in TEXTS and not file.name.startswith("."))
        if not files:
            raise table.wrong("path", f"names {path}, a folder without a .txt or .md file")
        if one.name is not None:
            raise table.wrong("name", "is for one prompt; those of a folder are named by their files")
    elif path.suffix in TEXTS:
        files = [path]
    else:
        yield from _foreign(table, one, path, columns)
        return
    if one.top is not None:
        raise table.wrong("top", "is for lists of prompts; path names texts")
    for file in files:
        yield _of_text(one, one.name or file.stem, text_of(file)), _about(table, file)


def _foreign(table: TomlTable, one: PromptTable, path: Path, columns: QueryFile) -> Iterator[tuple[Prompt, Wrong]]:
    """Prompts of another tool's file."""
    is_list, is_dspy = path.suffix in LISTS, path.suffix == ".json"
    if path.suffix not in (*LISTS, ".json", ".yaml", ".yml"):
        raise table.wrong("path", f"names {path}; expected a folder, or a .txt, .md, .yaml, .json, .jsonl or .csv file")
    for key, fits in (("top", is_list), ("role", is_list), ("text", is_list), ("name", is_dspy)):
        if getattr(one, key) is not None and not fits:
            raise table.wrong(key, f"does not go with the prompts of {path.name}")
    if is_list:
        found = [_of_text(one, name, text, system) for name, text, system in prompt_formats.listed(path, one.top)]
    elif is_dspy:
        made = prompt_formats.dspy(path, (columns.text, *(columns.fields or ())))
        found = [replace(made, name=one.name or made.name)]
    else:
        found = prompt_formats.promptfoo(path)
    for prompt in found:
        if one.system is not None and not is_list:
            raise table.wrong("system", f"does not go with the prompts of {path.name}")
        yield prompt, _about(table, path)


def _of_text(one: PromptTable, name: str, text: str, system: str | None = None) -> Prompt:
    """A prompt with a text as the user's message, or as the system's."""
    if one.role == "system":
        return Prompt(name, one.text or SLOT, text)
    return Prompt(name, text, system or one.system or "")


def _about(table: TomlTable, file: Path) -> Wrong:
    """What makes errors about a prompt in a file of its own."""
    return lambda key, problem: table.wrong("path", f"names {file}, whose {key} {problem}")


def text_of(file: Path) -> str:
    """The text of a prompt's file, without empty lines around it.

    Raises:
        ValueError: it is empty, or no text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read as UTF-8 text ({error})") from None
    if not text.strip():
        raise ValueError(f"{file}: is empty; expected the text of a prompt")
    return text


def _settings(prompt: Prompt, one: PromptTable) -> Iterator[Prompt]:
    """The prompt at every setting of the table's grid, named by what varies."""
    varied = [key for key in _GRID if len(getattr(one, key)) > 1]
    where = f"endpoint {prompt.endpoint}" if len(one.endpoint) > 1 else ""
    for values in itertools.product(*(getattr(one, key) for key in _GRID)):
        own: dict[str, Any] = dict(zip(_GRID, values, strict=True))
        told = ", ".join([where] * bool(where) + [f"{key} {own[key]:g}" for key in varied])
        yield replace(prompt, name=f"{prompt.name} ({told})" if told else prompt.name, **own)


def _check_temperature(wrong: Wrong, prompt: Prompt, endpoint: EndpointTable) -> None:
    most = endpoint.max_temperature
    if most is not None and prompt.temperature is not None and prompt.temperature > most:
        whose = "the server" if endpoint.preset is None else f"the preset {endpoint.preset!r}"
        said = (
            f"is {prompt.temperature:g}; {whose} takes at most {most:g} ({place_of(prompt.endpoint)}.max_temperature)"
        )
        raise wrong("temperature", said)


def _check_different(wrong: Wrong, prompt: Prompt, earlier: Sequence[Prompt]) -> None:
    for other in earlier:
        if other.name == prompt.name:
            raise wrong("name", f"is {prompt.name!r}, the name of an earlier prompt; names must differ")
        if replace(other, name=prompt.name, cost=prompt.cost) == prompt:
            raise wrong("text", f"and decoding are those of {other.name!r}; prompts must differ")
