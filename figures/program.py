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
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Module(NamedTuple):
    """A module of `figures`: the statements that define each name, their text, and what its names are imported from."""

    nodes: dict[str, list[ast.stmt]]
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
            for node in found.nodes[own]:
                waiting |= set(_used(node, found.imports | _imports(node), room)) - set(texts)
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
    nodes: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for name in dict.fromkeys(_names(node)):
            nodes.setdefault(name, []).append(node)
    texts = {name: "\n".join(_text(node, lines) for node in of) for name, of in nodes.items()}
    outside: list[ast.stmt] = [node for node in tree.body if not isinstance(node, _DEFINITIONS)]
    return Module(nodes, texts, _imports(ast.Module(outside, [])))


def _names(node: ast.AST) -> list[str]:
    """The names that a statement of a module defines or changes, in its branches too."""
    if isinstance(node, _DEFINITIONS):
        return [node.name]
    targets = [*getattr(node, "targets", []), *filter(None, [getattr(node, "target", None)])]
    names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    inner = (
        one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt | ast.ExceptHandler | ast.match_case)
    )
    return names + [name for one in inner for name in _names(one)]


def _text(node: ast.stmt, lines: list[str]) -> str:
    return "\n".join(lines[_first(node) - 1 : node.end_lineno])


def _first(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, _DEFINITIONS) else []
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
