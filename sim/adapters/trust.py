"""Trust in a user's code: a policy names Python functions, and importing their module runs whatever is in it.

A configuration that the user names on the command line may import what it says. A policy, or a configuration that only
a policy or a journal names, may come from anywhere: every module that it asks for is looked up without importing it,
its file is told, and somebody has to agree.
"""

import builtins
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import BuiltinImporter, FrozenImporter
from pathlib import Path

from sim import plugins
from sim.adapters.run_file.kinds import TEXT
from sim.adapters.run_file.toml_table import TomlTable

Trust = Callable[[str, str], bool]
"""Whether a module (first argument) may be imported from a place (second, in words)."""


def all_modules(module: str, place: str) -> bool:
    """Trust every module."""
    return True


def only(modules: Collection[str] = ()) -> Trust:
    """Trust these modules and no others."""
    return lambda module, place: module in modules


def asking(modules: Collection[str] = ()) -> Trust:
    """Trust these modules; who sits at a terminal or a notebook is asked once for every other one."""
    said: dict[tuple[str, str], bool] = {}

    def asked(module: str, place: str) -> bool:
        if module in modules:
            return True
        if not hasattr(builtins, "__IPYTHON__") and not (sys.stdin and sys.stdin.isatty()):
            return False
        if (module, place) not in said:
            question = f"The policy names Python code of {module!r}, from {place!r}. Importing runs all code there."
            try:
                said[module, place] = input(f"{question} Import it? [y/N] ").strip().lower() in ("y", "yes")
            except (EOFError, NotImplementedError):  # the second in a notebook that nobody sits at
                return False
        return said[module, place]

    return asked


def check(table: TomlTable, trust: Trust) -> None:
    """Refuse a scorer's table that names code which is not trusted. Imports nothing.

    Raises:
        ValueError: the sentence names the file, the module, where it lies, and what allows it.
    """
    if table.content.get("scorer") == "callable":
        module, name = split(table)
        _check(table, trust, "function", "a Python function", module, name)
    else:
        check_code(table, "scorer", trust)


def check_code(table: TomlTable, key: str, trust: Trust) -> None:
    """Refuse a key that names a file or a module of code which is not trusted, as `check` does."""
    address = plugins.split(str(table.content.get(key, "")))
    if address.place:
        _check(table, trust, key, "Python code", address.place, address.name)


def _check(table: TomlTable, trust: Trust, key: str, what: str, module: str, name: str) -> None:
    place = located(module, folder_of(table))
    if not trust(module, place):
        problem = (
            f"is {':'.join(filter(None, (module, name)))!r}, {what}: using it imports {module} from {place}, which "
            f"runs all code there; read it, then allow it with --trust or --module {module} (in Python: trust)"
        )
        raise table.wrong(key, problem)


def split(table: TomlTable) -> tuple[str, str]:
    """The module and the name of a table's `function`."""
    target = table.value("function", TEXT)
    module, colon, name = target.partition(":")
    if not colon or not name or not all(part.isidentifier() for part in module.split(".")):
        raise table.wrong("function", f"is {target!r}; write module:function")
    return module, name


def folder_of(table: TomlTable) -> str:
    """The folder of a table's file, where modules are looked for first."""
    return str(Path(table.file).resolve().parent)


@contextmanager
def search_path(folder: str) -> Iterator[None]:
    """Look for modules in a folder first, and not where the command happens to be called."""
    before = sys.path[:]
    sys.path[:] = _path(folder)
    try:
        yield
    finally:
        sys.path[:] = before


def located(module: str, folder: str) -> str:
    """Place that a module, or a file, would be imported from, in words. Nothing is imported."""
    if module.endswith(".py"):
        return str((Path(folder) / module).resolve())
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or "Python itself"
    parts, path, origin = module.split("."), _path(folder), ""
    if BuiltinImporter.find_spec(parts[0]) or FrozenImporter.find_spec(parts[0]):
        return "Python itself"
    for depth in range(1, len(parts) + 1):
        origin, path = _found(".".join(parts[:depth]), path)
        if not origin:
            return "a place that is not found"
    return origin


def _found(name: str, path: Sequence[str]) -> tuple[str, list[str]]:
    """The file of a module on a path, empty if there is none; and where its submodules lie.

    `PathFinder` would import the package that holds a module when that package has no __init__.
    """
    portions: list[str] = []  # of a package without __init__, which may lie in several folders
    for place in path:
        finder = pkgutil.get_importer(place)
        spec = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return str(spec.origin), list(spec.submodule_search_locations or ())
        portions += [] if spec is None else spec.submodule_search_locations or ()
    return ", ".join(portions), portions


def _path(folder: str) -> list[str]:
    """The folder, then Python's own path without the current folder, unless PYTHONPATH names it."""
    here, wanted = os.getcwd(), os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [folder, *(place for place in sys.path if place not in ("", here) or (place in wanted and place))]
