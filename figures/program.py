"""The program that a figure's table depends on: what `compute` uses, however indirectly, and nothing that only draws.

Of `figures` the definitions count that `compute` reaches by name; of `sim` and `theory` the modules that those use,
with all that they import.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sim import store

FOLDER = Path(__file__).resolve().parent


class Module(NamedTuple):
    """A module of `figures`: its definitions by name, their text, and what its names are imported from."""

    nodes: dict[str, ast.stmt]
    texts: dict[str, str]
    imports: dict[str, str]


def digest(module: str) -> str:
    """SHA-256 of the program that computes a figure's table.

    Args:
        module: that of the figure, e.g. "figures.exploration".
    """
    texts, others = reached(module, "compute")
    return store.digest(texts | {"modules": store.program_digest(*others)})


def reached(module: str, name: str) -> tuple[dict[str, str], set[str]]:
    """The definitions in `figures` that one needs, as dotted names with their text, and the other modules it needs."""
    texts, others, waiting = {}, set(), {f"{module}.{name}"}
    while waiting:
        at = waiting.pop()
        if not at.startswith("figures."):
            others.add(_module(at))
            continue
        room, _, own = at.rpartition(".")
        found = _read(FOLDER / f"{room.removeprefix('figures.')}.py")
        if own in found.nodes:
            texts[at] = found.texts[own]
            waiting |= set(_used(found.nodes[own], found.imports | _imports(found.nodes[own]), room)) - set(texts)
        elif own in found.imports:
            waiting.add(found.imports[own])
    return texts, others


def _used(node: ast.stmt, imports: dict[str, str], room: str) -> Iterator[str]:
    """The dotted names that a definition uses: of its own module, and of those that are imported."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in imports:
            yield f"{imports[part.value.id]}.{part.attr}"
        if isinstance(part, ast.Name):
            yield imports.get(part.id, f"{room}.{part.id}")


def _module(name: str) -> str:
    """The module of a dotted name of `sim` or `theory`."""
    place = FOLDER.parent.joinpath(*name.split("."))
    if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
        return name
    return _module(name.rpartition(".")[0])


@cache
def _read(path: Path) -> Module:
    if not path.is_file():
        return Module({}, {}, {})
    text = path.read_text(encoding="utf-8")
    tree, lines = ast.parse(text), text.splitlines()
    nodes: dict[str, ast.stmt] = {}
    for node in tree.body:
        nodes |= dict.fromkeys(_names(node), node)
    texts = {name: "\n".join(lines[_first(node) - 1 : node.end_lineno]) for name, node in nodes.items()}
    outside = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return Module(nodes, texts, _imports(ast.Module(outside, [])))


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return []


def _first(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return min([node.lineno, *(one.lineno for one in decorators)])


def _imports(node: ast.AST) -> dict[str, str]:
    """Name -> the dotted name in this project that an import statement in here gives it."""
    found = {}
    for part in ast.walk(node):
        if isinstance(part, ast.ImportFrom) and part.module:
            found |= {alias.asname or alias.name: f"{part.module}.{alias.name}" for alias in part.names}
        elif isinstance(part, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in part.names}
    return {name: what for name, what in found.items() if what.partition(".")[0] in ("figures", "sim", "theory")}
