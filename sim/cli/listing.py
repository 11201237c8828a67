"""Options of registered algorithms read from the source of their classes, which is not run: a list comes at once."""

import ast
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from sim import algorithms, references


class Listed(NamedTuple):
    """A contender in the list: the first line of what it says of itself, and its options with their defaults."""

    summary: str
    options: dict[str, Any]


class _NotWrittenOut(Exception):
    """A default that the source does not show as a literal: only the object knows it."""


def contender(name: str) -> Listed:
    """A registered algorithm or reference.

    Raises:
        ValueError: it is of an installed package that is broken.
    """
    maker = algorithms.ALGORITHMS.get(name)
    if isinstance(maker, algorithms.Maker):
        module, _, kind = maker.home.partition(":")
        with suppress(_NotWrittenOut):
            said, options = _class(f"sim.algorithms.{module}", kind)
            return Listed(said, options | dict(maker.options))
    if name in references.REFERENCES:
        return Listed(_first(references.REFERENCES[name].__doc__), {})
    made = algorithms.get(name)  # whose code is run: somebody else's, or one with a default that is worked out
    return Listed(_first(type(made).__doc__), algorithms.options(name))


def _class(module: str, name: str) -> tuple[str, dict[str, Any]]:
    """First line of a class's docstring, and its fields with their defaults, those of its bases first."""
    homes, classes = _parsed(module)
    if name not in classes:
        return _class(homes[name], name) if homes.get(name, "").startswith("sim.") else ("", {})
    made, options = classes[name], {}
    for base in reversed(made.bases):
        options |= _class(module, base.id)[1] if isinstance(base, ast.Name) else {}
    for field in made.body:
        if not isinstance(field, ast.AnnAssign) or field.value is None or "ClassVar" in ast.unparse(field.annotation):
            continue
        options[ast.unparse(field.target)] = _default(field.value)
    return _first(ast.get_docstring(made)), options


def _first(text: str | None) -> str:
    return (text or "").partition("\n")[0]


@cache
def _parsed(module: str) -> tuple[dict[str, str], dict[str, ast.ClassDef]]:
    """What a module imports, name -> module, and the classes in it."""
    package, _, inner = module.partition(".")
    found = find_spec(package)  # which runs nothing but the package's own few lines
    roots = () if found is None else found.submodule_search_locations or ()
    path = next(Path(root, *inner.split(".")).with_suffix(".py") for root in roots)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    homes = {alias.name: str(node.module) for node in imports for alias in node.names}
    return homes, {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _default(value: ast.expr) -> Any:
    """The default of a field: the value, or that of `field(default=...)`; `_NotWrittenOut` where it is no literal."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        value = next((one.value for one in value.keywords if one.arg == "default"), value)
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise _NotWrittenOut from None
