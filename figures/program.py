"""The program that a figure's table depends on: what `compute` uses, however indirectly, and nothing that only draws.

Of `figures` the definitions count that `compute` reaches by name; of `sim` and `theory` the modules that those use,
with all that they import. Of a figure that lies elsewhere everything counts that `sim.program` finds behind it.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from sim import algorithms, envs, origins, program
from sim.comparison import cells, store
from theory import truth
from theory.checks import verify

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
    if origins.top(module) != "figures":
        return program.behind(import_module(module).compute, modules=(module,)).key
    texts, others = reached(module, "compute")
    return store.digest(texts | {"modules": program.of_modules(*others)})


def registered(module: str, sweep: Any) -> dict[str, str]:
    """Keys of the programs that a table depends on and that lie elsewhere, "program of ..." -> key.

    They are those of the figure, of algorithms and environments that its SWEEP names, and of bounds and rules where
    it names families of worlds, or rules.

    Args:
        module: that of the figure.
        sweep: its SWEEP.
    """
    found = {} if origins.top(module) == "figures" else {module: digest(module)}
    for text in sorted(set(_texts(sweep))):
        name = text.partition(":")[0]
        if name in algorithms.ALGORITHMS and not _ours(algorithms.ALGORITHMS[name]):
            found[text] = cells.algorithm_program(algorithms.get(text)).key
        if name in envs.ENVS and not _ours(envs.ENVS[name].build):
            found[text] = cells.environment_program(envs.get(text), truth.exact_values).key
    if {"families", "rules"} & set(sweep):
        found |= {f"{kind}{rule and ' of '}{rule}": key for (kind, rule), key in verify.foreign_programs().items()}
    return {f"program of {name}": key for name, key in found.items()}


def _ours(build: Any) -> bool:
    """Whether what builds an algorithm or an environment is part of this project, which `digest` follows."""
    return origins.own(str(getattr(build, "__module__", "")))


def _texts(thing: Any) -> Iterator[str]:
    """Every text in a SWEEP."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, dict):
        yield from (text for item in thing.items() for part in item for text in _texts(part))
    elif isinstance(thing, tuple | list):
        yield from (text for part in thing for text in _texts(part))


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
    """The module of a dotted name of `sim` or `theory`: as much of the name as is one."""
    around = (name, *origins.parents(name))
    return next((one for one in around if origins.find(one) is not None), name)


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
