"""JSON schema of run files for editors: kinds and limits of all keys, what they mean, and the options of scorers."""

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from sim.adapters.run_file.settings import ObjectiveTable, RunFile
from sim.adapters.run_file.toml_table import adapter, alternatives, options_of
from sim.adapters.scorers.code import Code
from sim.adapters.scorers.registry import SCORERS

_HEADER = re.compile(r"#? ?\[+([\w.]+)\]")
_KEY = re.compile(r"#? ?(\w+) = .*?\s#\s+(.*)")


def json_schema() -> dict[str, Any]:
    """The schema of a run file, draft 2020-12, with the comments of the example as descriptions."""
    schema = adapter(RunFile).json_schema()
    schema["properties"]["objectives"]["items"] = {"oneOf": [*_objectives()]}
    for *path, key, said in _comments():
        for node in _tables(schema, path):
            if key in node.get("properties", {}):
                node["properties"][key]["description"] = said
    top = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A run of iapo tune"}
    one_of = [{"required": ["endpoint"]}, {"required": ["endpoints"]}]
    return top | _lean(schema) | {"oneOf": one_of}


def _lean(node: Any) -> Any:
    """A schema without the titles that pydantic makes of names, and without defaults that stand for absent keys."""
    if isinstance(node, list):
        return [_lean(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {"title": lambda value: isinstance(value, str), "default": lambda value: value in (None, [None])}
    return {key: _lean(value) for key, value in node.items() if key not in made or not made[key](value)}


def _objectives() -> Iterator[dict[str, Any]]:
    """A table of every scorer with its options; scorers of one's own, which a colon tells, may have any."""
    common = adapter(ObjectiveTable).json_schema()
    for name, read in SCORERS.items():
        made: Any = getattr(read, "__self__", read)
        given = ("target", "version", "function", "referring") if made is Code else ()
        own = adapter(options_of(made, given)).json_schema()
        keys = common["properties"] | own.get("properties", {}) | {"scorer": {"const": name}}
        needed = [*common["required"], *own.get("required", ())]
        if made is Code:
            keys, needed = keys | {"function": {"type": "string", "pattern": ":"}}, [*needed, "function"]
        yield {"type": "object", "properties": keys, "required": needed, "additionalProperties": False}
    yield {"type": "object", "properties": common["properties"] | {"scorer": {"type": "string", "pattern": ":"}}}


def _comments() -> Iterator[list[str]]:
    """Path and comment of every key of the example that has one."""
    table: list[str] = []
    for line in (resources.files("sim.adapters") / "example.toml").read_text(encoding="utf-8").splitlines():
        if header := _HEADER.match(line):
            table = header[1].split(".")
        elif key := _KEY.match(line):
            yield [*table, key[1], key[2]]


def _tables(schema: Mapping[str, Any], path: list[str]) -> list[Mapping[str, Any]]:
    """The schemas of the table at a path, whether there is one of it or a list."""
    nodes = alternatives(schema, schema)
    for part in path:
        inner = [node["properties"][part] for node in nodes if part in node.get("properties", {})]
        several = [one for node in inner for one in alternatives(node, schema)]
        nodes = [one for node in several for one in alternatives(node.get("items", node), schema)]
    return nodes
