"""Origins of modules: text, file, and the modules that they import. Nothing is imported in order to look.

The rooms of this project are its own wherever they are installed. What else lies in the standard library or among the
installed packages is others' work and stands still; the rest is the user's.
"""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOMS = ("sim", "theory", "figures")
"""The packages of this project."""
_INSTALLED = {"site-packages", "dist-packages"}
_BUILT_IN = ("built-in", "frozen")


class Origin(NamedTuple):
    """A module.

    Attributes:
        name: dotted name.
        text: its source. Where there is only compiled code: the SHA-256 of its file. Empty for a folder of modules.
            None where it has neither (a notebook, a module that a program built).
        file: its path, None where it has none.
        package: what its relative imports start from.
        python: whether `text` is source.
        others: whether it is others' work, which stands still: installed, and neither of this project nor followed.
    """

    name: str
    text: str | None
    file: str | None
    package: str
    python: bool
    others: bool


def plain(name: str) -> str:
    """The name of a module: the script of a program has another in the processes of its pool."""
    return "__main__" if name == "__mp_main__" else name


def top(name: str) -> str:
    """The package that a module is in, or the module."""
    return name.partition(".")[0]


def version() -> str | None:
    """The version of this program; None in a checkout that is not installed."""
    try:
        return metadata.version("iapo-testbed")
    except metadata.PackageNotFoundError:
        return None


def own(name: str) -> bool:
    """Whether a module is one of this project."""
    return top(name) in ROOMS


def parents(name: str) -> Iterator[str]:
    """The packages around a module, the nearest first."""
    while name := name.rpartition(".")[0]:
        yield name


@lru_cache(maxsize=4096)
def installed(file: str | None) -> bool:
    """Whether a file belongs to the standard library or to an installed package."""
    if file is None or file in _BUILT_IN:
        return file is not None
    path = Path(file).absolute()
    return not _INSTALLED.isdisjoint(path.parts) or any(path.is_relative_to(folder) for folder in _standard())


@cache
def _standard() -> tuple[Path, ...]:
    paths = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib")]
    return (*paths, *(path.resolve() for path in paths))


def find(
    name: str, namespace: Mapping[str, Any] | None = None, followed: Collection[str] = frozenset()
) -> Origin | None:
    """The module of this name as it lies on disk now; None for one that is nowhere.

    Args:
        name: dotted name.
        namespace: its globals, where they are at hand: two loaded modules may share a name.
        followed: installed packages that count as the user's. What is installed has no text otherwise.
    """
    return _own(name) if own(name) else _find(name, namespace, top(name) in followed)


@cache
def _own(name: str) -> Origin | None:
    """A module of this project, read once."""
    return _find(name, None, True)


def _find(name: str, namespace: Mapping[str, Any] | None, followed: bool) -> Origin | None:
    if namespace is None and (loaded := sys.modules.get(name)) is not None:
        namespace = vars(loaded)
    if namespace is None:
        spec = _spec(name)
        if spec is None:
            return None
        file, loader, package = spec.origin, spec.loader, spec.parent
    else:
        spec = namespace.get("__spec__")
        file = namespace.get("__file__") or getattr(spec, "origin", None)
        loader = namespace.get("__loader__") or getattr(spec, "loader", None)
        package = namespace.get("__package__")
    text, python, others = None, False, installed(file) and not followed
    if not others:
        text, python = _text(name, file, loader)
        if text is None and file is None and getattr(spec, "submodule_search_locations", None) is not None:
            text = ""
    return Origin(plain(name), text, file, package or "", python, others)


def _text(name: str, file: str | None, loader: Any) -> tuple[str | None, bool]:
    """The source of a module, or the digest of its compiled code, and whether it is source."""
    if file is None:
        return None, False
    if file.endswith(".py") and Path(file).is_file():
        return importlib.util.decode_source(Path(file).read_bytes()), True
    try:
        source = loader.get_source(name)  # out of an archive
    except Exception:  # whatever a loader raises that has none
        source = None
    if source is not None:
        return source, True
    try:
        content = Path(file).read_bytes() if Path(file).is_file() else loader.get_data(file)
    except Exception:
        return None, False
    return hashlib.sha256(content).hexdigest(), False


def _spec(name: str) -> Any:
    """The spec of a module that is not loaded, without running the packages it is in."""
    path = None
    for package in reversed(list(parents(name))):
        found = _spec_in(package, path)
        path = getattr(found, "submodule_search_locations", None)
        if path is None:
            return None
    return _spec_in(name, path)


def _spec_in(name: str, path: Any) -> Any:
    """What the import system finds for a name in the folders of the package around it."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a finder of others that cannot look without importing
            continue
        if spec is not None:
            return spec
    return None


def imports(origin: Origin, followed: Collection[str] = frozenset()) -> frozenset[str]:
    """The modules that the import statements of a module name, wherever they stand; others' are left out.

    Of this project the very modules count, also where one of its packages hands a name on (`from sim import Algorithm`
    counts as `sim.core`). Of a user's packages those around them count too, which are run before.
    """
    if origin.text is None or not origin.python:
        return frozenset()
    found: set[str] = set()
    for module, name in _statements(origin.text, origin.package):
        inside = f"{module}.{name}" if name and module else ""
        place = find(module, followed=followed)
        if place is not None and place.others:
            continue
        deepest = inside if inside and find(inside, followed=followed) is not None else _home(module, name)
        found |= {deepest} if own(deepest) else {deepest, module, *parents(module)}
    return frozenset(found)


def _home(module: str, name: str) -> str:
    """The module of this project that a public name of a package comes from; the module itself for any other name."""
    package = find(module) if module in ROOMS else None
    if package is None or package.text is None:
        return module
    source, inner = _handed_on(package.text).get(name, (module, ""))
    return f"{source}.{inner}" if find(f"{source}.{inner}") is not None else source


@lru_cache(maxsize=8)
def _handed_on(text: str) -> dict[str, tuple[str, str]]:
    """Name -> (module, name there) of every `from module import name as name`."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname: (str(node.module), alias.name) for node in nodes for alias in node.names if alias.asname}


@lru_cache(maxsize=2048)
def _statements(text: str, package: str) -> tuple[tuple[str, str], ...]:
    """(module, name taken from it or "") of every import statement."""
    found: dict[tuple[str, str], None] = {}
    try:
        tree = ast.parse(text)
    except SyntaxError:  # edited into something that cannot be run
        return ()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, ""): None for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*filter(None, around), *filter(None, [node.module])])
            found |= {(module, alias.name): None for alias in node.names if module}
    return tuple(found)
