"""Completions for the shell: registered names, read from the source and not imported, so that Tab is quick."""

import ast
from importlib.util import find_spec
from pathlib import Path

from sim import defaults


def algorithms(incomplete: str) -> list[str]:
    """Registered algorithms that begin so."""
    return _beginning(incomplete, registered("sim.algorithms", "ALGORITHMS"))


def contenders(incomplete: str) -> list[str]:
    """The same, and the name that stands for all."""
    return [*algorithms(incomplete), *_beginning(incomplete, [defaults.EVERY])]


def environments(incomplete: str) -> list[str]:
    """Registered environments that begin so; where there are none the shell completes files."""
    return _beginning(incomplete, registered("sim.envs", "ENVS"))


def families(incomplete: str) -> list[str]:
    """Families of worlds that `iapo verify` knows, and that begin so."""
    return _beginning(incomplete, registered("theory.checks.families", "FAMILIES"))


def figures(incomplete: str) -> list[str]:
    """Registered figures that begin so."""
    return _beginning(incomplete, registered("figures.registry", "FIGURES"))


def registered(module: str, registry: str) -> list[str]:
    """The names in a registry, a dict that a module spells out, without running the module."""
    package, _, name = module.partition(".")
    found = find_spec(package)  # which runs nothing but the package's own few lines
    for root in () if found is None else found.submodule_search_locations or ():
        at = Path(root, *name.split("."))
        for path in (at.with_suffix(".py"), at / "__init__.py"):
            if path.is_file():
                return _keys(ast.parse(path.read_text(encoding="utf-8")), registry)
    return []


def _keys(tree: ast.Module, registry: str) -> list[str]:
    for node in tree.body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == registry and isinstance(node.value, ast.Dict):  # pyright: ignore[reportAttributeAccessIssue]
            keys = node.value.keys  # pyright: ignore[reportAttributeAccessIssue]
            return [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return []


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
