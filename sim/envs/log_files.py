"""Files of logs, packed (.gz) or not, and the parts of their JSON."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from sim.envs.archives import MAX_UNPACKED, readable_file

_GZIP = b"\x1f\x8b"
_MOST_TOKENS = 2**40


def kind(path: Path) -> str:
    """The ending that says what a file is: .jsonl of a.jsonl and of a.jsonl.gz."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def name(path: Path) -> str:
    """The name of a file without its ending."""
    return Path(path.stem).stem if path.suffix == ".gz" else path.stem


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked where they are packed by gzip."""
    readable_file(path, MAX_UNPACKED)
    try:
        with path.open("rb") as file:
            if file.read(2) != _GZIP:
                file.seek(0)
                return file.read()
        with gzip.open(path) as packed:
            found = packed.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(found) > MAX_UNPACKED:
        raise ValueError(f"{path}: unpacks to more than {MAX_UNPACKED} bytes")
    return found


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    try:
        lines = content(path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = parse(line, f"{path}: line {number}")
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number} is no JSON object")
            rows.append(row)
    if not rows:
        raise ValueError(f"{path}: is empty")
    return rows


def whole(path: Path) -> Any:
    """The content of a JSON file."""
    return parse(content(path).removeprefix(b"\xef\xbb\xbf"), str(path))


def parse(text: str | bytes, where: str) -> Any:
    """The value that JSON text is."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON ({error})") from None


def object_at(value: Any, where: str) -> dict[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no JSON object")
    return value


def filled(owner: dict[str, Any], key: str) -> bool:
    """Whether there is a list that holds something."""
    return isinstance(owner.get(key), list) and len(owner[key]) > 0


def part(owner: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """An object inside another one; empty where it may be absent and is."""
    value = owner.get(key)
    return {} if value is None else object_at(value, f"{where}: {key}")


def number(value: float | int, where: str) -> float:
    """A number as float64."""
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{where} is larger than any number of 64 bits") from None


def tokens(prompt: Any, completion: Any, choices: int) -> dict[str, float]:
    """Token counts where they make sense; a completion's are its share of the request's."""
    found = {}
    for column, value, parts in (("prompt_tokens", prompt, 1), ("completion_tokens", completion, choices)):
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
            found[column] = value / parts
    return found


def text_of(choice: Any, where: str, attachments: dict[str, str]) -> str:
    """The text of a choice of a chat completion."""
    message = choice.get("message") if isinstance(choice, dict) else None
    if isinstance(choice, dict) and message is None and isinstance(choice.get("text"), str):
        raise ValueError(
            f"{where} is output of /v1/completions (a choice with a text and no message), which is not read; output of "
            "/v1/chat/completions and /v1/responses is"
        )
    if not isinstance(message, dict):
        raise ValueError(f"{where} has a choice without a message")
    return message_text(message.get("content"), where, attachments)


def message_text(said: Any, where: str, attachments: dict[str, str]) -> str:
    """The text of a message: as it stands, in parts, or kept apart as an attachment."""
    if isinstance(said, list):
        texts = [
            one.get("text") for one in said if isinstance(one, dict) and one.get("type") in ("text", "output_text")
        ]
        return "".join(message_text(text, where, attachments) for text in texts)
    if said is None:
        return ""
    if not isinstance(said, str):
        raise ValueError(f"{where} has a message whose content is no text")
    return attachments.get(said.removeprefix("attachment://"), said) if "attachment://" in said[:13] else said
