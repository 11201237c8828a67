"""Prompts in files of other tools, read and written: promptfoo's YAML, DSPy's saved programs, lists in tables.

* promptfoo (https://promptfoo.dev/docs/configuration/prompts): `prompts` with texts, {raw, label}, file:// names, or
  chat messages as JSON; `{{name}}` is a slot. What else its templates can do is refused.
* DSPy (https://dspy.ai, saving a program's state): instructions become the system message, demonstrations are shown as
  turns, and a field is a line of its prefix and value. Which fields are inputs the file does not say.
* Lists: a row per prompt with `prompt`, `text` or `instruction`, and perhaps `name`, `system` and `score`, as
  promptolution's `step_results` have them (https://github.com/automl/promptolution, utils/callbacks.py).
"""

import csv
import importlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sim.adapters.run_file.prompts import Message, Prompt, of_messages

_FILLED = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\s*([A-Za-z_]\w*)\s*")
_CHAT = re.compile(r"\s*(\[\s*\{\s*[\"'\w]|- role)")
"""Beginning of chat messages in JSON or YAML; a text may begin with a bracket, too."""
_TEXT_COLUMNS, _NAME_COLUMNS = ("prompt", "text", "instruction"), ("name", "label", "id")
_DSPY_FIELD = re.compile(r"\$\{(\w+)\}")


def _wrong(path: Path, problem: str) -> ValueError:
    return ValueError(f"{path}: {problem}")


def promptfoo(path: Path) -> list[Prompt]:
    """The prompts of a promptfoo file.

    Raises:
        ValueError: it is none, or holds what has no counterpart here.
    """
    content = _yaml(path, _read(path))
    listed = content.get("prompts") if isinstance(content, dict) else content
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, list) or not listed:
        raise _wrong(path, "holds no list of prompts, as promptfoo's files have under `prompts`")
    found: list[Prompt] = []
    for one in listed:
        found += _promptfoo_entry(path, one, len(found) + 1)
    return found


def _promptfoo_entry(path: Path, one: Any, number: int) -> Iterator[Prompt]:
    named = one if isinstance(one, dict) else {}
    label = next((str(named[key]) for key in ("label", "id", "name") if isinstance(named.get(key), str)), None)
    raw = named.get("raw", named.get("id")) if named else one
    if not isinstance(raw, str) or not raw.strip():
        raise _wrong(path, f"prompt {number} is {one!r:.80}; expected a text, a file:// name or {{raw, label}}")
    if not raw.startswith("file://"):
        yield _nunjucks(path, label or f"prompt {number}", raw)
        return
    file = path.parent / raw.removeprefix("file://")
    if file.suffix not in (".txt", ".md", ".json", ".yaml", ".yml"):
        raise _wrong(path, f"prompt {number} is {raw!r}; .txt, .md, .json and .yaml files are read")
    texts = re.split(r"(?m)^---\s*$", _read(file)) if file.suffix == ".txt" else [_read(file)]
    texts = [text.strip("\r\n") for text in texts if text.strip()]
    stem = file.stem if label is None or label == raw else label
    for place, text in enumerate(texts, start=1):
        yield _nunjucks(file, f"{stem} {place}" if len(texts) > 1 else stem, text)


def _nunjucks(path: Path, name: str, text: str) -> Prompt:
    """A prompt of a promptfoo template: a text, or chat messages as JSON or YAML."""
    chat = None
    if _CHAT.match(text):
        chat = _yaml(path, text)  # JSON is YAML
    if isinstance(chat, list) and all(isinstance(one, dict) and "role" in one for one in chat):
        messages = [Message(str(one["role"]), str(one.get("content", ""))) for one in chat]
        if any(one.role not in ("system", "user", "assistant") for one in messages) or not messages:
            raise _wrong(path, f"prompt {name!r} has roles other than system, user and assistant")
        prompt = of_messages(name, messages, lambda key, problem: _wrong(path, f"prompt {name!r}: {key} {problem}"))
    else:
        prompt = Prompt(name, text)
    whole = "\n".join([prompt.system, prompt.text, *(turn.content for turn in prompt.shots)])
    if "{%" in whole or "{#" in whole:
        raise _wrong(path, f"prompt {name!r} holds a statement of a template ({{% or {{#), which is not read")
    names = [_slot(path, name, inner) for inner in _FILLED.findall(whole)]
    bare = _FILLED.sub("", whole)
    for slot in names:
        if f"{{{slot}}}" in bare:
            raise _wrong(
                path, f"prompt {name!r} holds both {{{{{slot}}}}} and {{{slot}}}, which would be one slot here"
            )

    def single(content: str) -> str:
        return _FILLED.sub(lambda found: f"{{{_slot(path, name, found[1])}}}", content)

    return _changed(prompt, single, tuple(dict.fromkeys(slot for slot in names if slot != "query")))


def _slot(path: Path, name: str, inner: str) -> str:
    found = _NAME.fullmatch(inner)
    if found is None:
        raise _wrong(path, f"prompt {name!r} holds {{{{{inner[:60]}}}}}; names alone are read, no filters or paths")
    return found[1]


def _changed(prompt: Prompt, change: Callable[[str], str], fields: tuple[str, ...]) -> Prompt:
    """A prompt with all its texts changed."""
    shots = tuple(replace(turn, content=change(turn.content)) for turn in prompt.shots)
    return replace(prompt, text=change(prompt.text), system=change(prompt.system), shots=shots, fields=fields)


def dspy(path: Path, inputs: Sequence[str]) -> Prompt:
    """The prompt of a DSPy program with one predictor, saved as its state in JSON.

    Args:
        path: the file.
        inputs: fields that are inputs, where the signature has them; else its first field alone is.

    Raises:
        ValueError: it is no such program.
    """
    try:
        content = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"is no JSON ({error})") from None
    states = {"": content} if isinstance(content, dict) and "signature" in content else content
    states = states if isinstance(states, dict) else {}
    found = {name: one for name, one in states.items() if isinstance(one, dict) and "signature" in one}
    if len(found) != 1:
        told = f"{len(found)} predictors ({', '.join(found)})" if found else "no predictor with a signature"
        raise _wrong(path, f"holds {told}; a saved DSPy program with one is a prompt")
    ((_, state),) = found.items()
    signature = state["signature"]
    fields = signature.get("fields") if isinstance(signature, dict) else None
    instructions = signature.get("instructions") if isinstance(signature, dict) else None
    if not isinstance(instructions, str) or not isinstance(fields, list) or not fields:
        raise _wrong(path, "has a signature without instructions or fields")
    prefixes = dict(_dspy_field(path, one) for one in fields)
    asked = [name for name in prefixes if name in inputs] or [next(iter(prefixes))]
    messages = [Message("system", instructions)] if instructions.strip() else []
    for demo in state.get("demos") or []:
        messages += _dspy_demo(path, demo, prefixes, asked)
    messages.append(Message("user", "\n".join(f"{prefixes[name]} {{{name}}}" for name in asked)))
    prompt = of_messages(path.stem, messages, lambda key, problem: _wrong(path, f"{key} {problem}"))
    return replace(prompt, fields=tuple(name for name in asked if name != "query"))


def _dspy_field(path: Path, one: Any) -> tuple[str, str]:
    prefix = one.get("prefix") if isinstance(one, dict) else None
    if not isinstance(prefix, str) or not prefix.strip():
        raise _wrong(path, "has a field without a prefix")
    named = _DSPY_FIELD.fullmatch(str(one.get("description", one.get("desc", ""))))
    name = named[1] if named else re.sub(r"\W+", "_", prefix.partition(":")[0].strip().lower()).strip("_")
    return name, prefix.strip()


def _dspy_demo(path: Path, demo: Any, prefixes: Mapping[str, str], asked: Sequence[str]) -> list[Message]:
    """A demonstration as two turns; none where it lacks an input or all outputs."""
    if not isinstance(demo, dict):
        raise _wrong(path, "has a demonstration that is no object")
    told = {name: f"{prefixes[name]} {demo[name]}" for name in prefixes if demo.get(name) not in (None, "")}
    outputs = [text for name, text in told.items() if name not in asked]
    if not outputs or not all(name in told for name in asked):
        return []
    for name in asked:
        if f"{{{name}}}" in "".join(told.values()):
            raise _wrong(path, f"has a demonstration that holds {{{name}}}, which would be taken for a slot")
    return [Message("user", "\n".join(told[name] for name in asked)), Message("assistant", "\n".join(outputs))]


def listed(path: Path, top: int | None) -> list[tuple[str, str, str | None]]:
    """Name, text and system message of the different prompts of a list, the best first where it has scores.

    Raises:
        ValueError: it is no list of prompts.
    """
    from sim.adapters.run_file.queries import rows_of  # arrays, which a policy needs none of

    rows = rows_of(path)
    column = next((name for name in _TEXT_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        have = ", ".join(map(str, rows[0])) if rows else "no row"
        raise _wrong(path, f"has no column {', '.join(map(repr, _TEXT_COLUMNS))} in its first row; it has {have}")
    named = next((name for name in _NAME_COLUMNS if name in rows[0]), None)
    best: dict[tuple[str, str | None], tuple[float, str | None]] = {}
    for number, row in enumerate(rows, start=1):
        text, system, score = row.get(column), row.get("system"), row.get("score")
        if not isinstance(text, str) or not text.strip():
            raise _wrong(path, f"row {number} holds {text!r:.80} as {column!r}; expected the text of a prompt")
        system = system if isinstance(system, str) and system.strip() else None
        ranked = _score(score)
        name = str(row[named]) if named is not None and row.get(named) not in (None, "") else None
        if (text, system) not in best or ranked > best[text, system][0]:
            best[text, system] = (ranked, name)
    order = sorted(best.items(), key=lambda one: -one[1][0])[:top]
    return [(name or f"prompt {k}", text, system) for k, ((text, system), (_, name)) in enumerate(order, start=1)]


def _score(cell: Any) -> float:
    """A score, which is text in CSV files; the lowest where there is none."""
    try:
        found = float(cell)
    except (TypeError, ValueError, OverflowError):
        return -math.inf
    return -math.inf if math.isnan(found) else found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"cannot be read as UTF-8 text ({error})") from None


def _yaml(path: Path, text: str) -> Any:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise _wrong(path, "is YAML, which the package pyyaml reads; install iapo-testbed[llm]") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _wrong(path, f"is no YAML ({' '.join(str(error).split())[:200]})") from None


WRITTEN = (".yaml", ".json", ".jsonl", ".csv", ".txt", ".md")
"""Ends of files that `written` knows."""


def written(prompt: Prompt, scale: int, base_url: str, suffix: str) -> str:
    """A prompt as a file of another tool: promptfoo (.yaml), DSPy (.json), a list (.jsonl, .csv), its text (.txt, .md).

    Args:
        prompt: the prompt.
        scale: N, which no other tool's file has a place for beyond a description.
        base_url: of the server.
        suffix: the end of the file's name.

    Raises:
        ValueError: the format has no place for what the prompt says.
    """
    if suffix == ".yaml":
        return _as_promptfoo(prompt, scale, base_url)
    if suffix == ".json":
        return _as_dspy(prompt)
    if suffix in (".jsonl", ".csv"):
        _no_shots(prompt, suffix)
        row = {"name": prompt.name, "prompt": prompt.text, "system": prompt.system, "scale": scale}
        row |= {key: getattr(prompt, key) for key in ("model", "max_tokens", "temperature", "top_p")}
        if suffix == ".jsonl":
            return json.dumps(row, ensure_ascii=False) + "\n"
        text = io.StringIO(newline="")
        rows = csv.DictWriter(text, list(row), lineterminator="\n")
        rows.writeheader()
        rows.writerow(row)
        return text.getvalue()
    _no_shots(prompt, suffix)
    if prompt.system and prompt.text.strip("{}") in ("query", *prompt.fields):
        return prompt.system + "\n"  # read again with role = "system"
    if prompt.system:
        raise ValueError(
            f"a {suffix} file holds one text, and {prompt.name!r} has a system message beside it; use .yaml"
        )
    return prompt.text + "\n"


def _no_shots(prompt: Prompt, suffix: str) -> None:
    if prompt.shots:
        raise ValueError(f"a {suffix} file has no place for the turns that {prompt.name!r} shows; use .yaml or .json")


def _as_promptfoo(prompt: Prompt, scale: int, base_url: str) -> str:
    slots = re.compile(rf"\{{({'|'.join(map(re.escape, ('query', *prompt.fields)))})\}}")

    def doubled(content: str) -> str:
        if "{{" in content or "{%" in content or "{#" in content:
            raise ValueError(f"{prompt.name!r} holds {{{{, {{% or {{#, which promptfoo would take for its own")
        return slots.sub(lambda slot: f"{{{{{slot[1]}}}}}", content)

    told = _changed(prompt, doubled, ())
    raw = told.text
    if told.system or told.shots:
        chat = [("system", told.system)] if told.system else []
        chat += [*((turn.role, turn.content) for turn in told.shots), ("user", told.text)]
        raw = json.dumps([{"role": role, "content": content} for role, content in chat], ensure_ascii=False)
    decoding = {key: getattr(prompt, key) for key in ("temperature", "top_p", "max_tokens")}
    config = {"apiBaseUrl": base_url} | {key: value for key, value in decoding.items() if value is not None}
    content = {
        "description": f"{prompt.name}, N = {scale}: ask {scale} times and aggregate",
        "prompts": [{"label": prompt.name, "raw": raw}],
        "providers": [{"id": f"openai:chat:{prompt.model}", "config": config}],
    }
    yaml: Any = importlib.import_module("yaml")
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _as_dspy(prompt: Prompt) -> str:
    """State of a `dspy.Predict`: system text and template as instructions, turns as demonstrations."""
    names = [name for name in ("query", *prompt.fields) if f"{{{name}}}" in prompt.text]
    pairs = list(zip(prompt.shots[::2], prompt.shots[1::2], strict=False))
    if len(prompt.shots) % 2 or any((a.role, b.role) != ("user", "assistant") for a, b in pairs):
        raise ValueError(
            f"{prompt.name!r} shows turns that are no pairs of user and assistant, as DSPy's are; use .yaml"
        )
    if pairs and len(names) != 1:
        raise ValueError(
            f"{prompt.name!r} shows turns and asks by {len(names)} fields, which DSPy keeps apart; use .yaml"
        )
    alone = len(names) == 1 and re.fullmatch(r"(?:[^{}\n]*:\s)?\{\w+\}", prompt.text) is not None
    instructions = prompt.system if alone else "\n\n".join(filter(None, (prompt.system, prompt.text)))
    before = prompt.text.partition("{")[0].strip() if alone else ""
    fields = [{"prefix": before or f"{name.capitalize()}:", "description": f"${{{name}}}"} for name in names]
    fields.append({"prefix": "Answer:", "description": "${answer}"})

    def bare(content: str, prefix: str) -> str:
        return content.removeprefix(prefix).strip()

    demos = [{names[0]: bare(a.content, before), "answer": bare(b.content, "Answer:")} for a, b in pairs]
    state = {"traces": [], "train": [], "demos": demos}
    state |= {"signature": {"instructions": instructions, "fields": fields}, "lm": None}
    return json.dumps(state, indent=2, ensure_ascii=False) + "\n"
