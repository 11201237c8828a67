"""Bring your own: the object behind `name`, `module:Name` or `path/file.py:Name`, each with options after a colon.

    psst:ties=index          a registered name, or one that an installed package gives as an entry point
    mine.py:Rule:rho=0.3     a name in a file; the files beside it can be imported there
    lab.rules:Rule           a name in a module that can be imported, or that lies in the working folder

The registries (`sim.algorithms`, `sim.envs`, `sim.adapters.scorers.registry`, `figures.registry`) say what an object of
their kind is. A file is run once, under a module name that follows from its path and its text (and those of the files
beside it that it imports): another process finds the same, and an edited file is another module. A mistake in somebody
else's code becomes a `Mistake`, one sentence with file, line and reason.
"""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sim import origins
from sim.mistakes import Mistake, bring, telling

KINDS = {
    "algorithm": "iapo.algorithms",
    "environment": "iapo.environments",
    "scorer": "iapo.scorers",
    "bound": "iapo.bounds",
    "figure": "iapo.figures",
    "claim": "iapo.claims",
}
"""Kinds that can be brought along -> their groups of entry points."""

_modules: dict[Path, tuple[str, ModuleType, list[Path]]] = {}
"""Files that were run -> the module name they had, the module, and the files beside them that they import."""


class Address(NamedTuple):
    """A text that names something, in parts.

    Attributes:
        place: a file or a module; empty for a plain name.
        name: in that place; empty for the only one there.
        options: what follows.
    """

    place: str
    name: str
    options: str

    @property
    def is_file(self) -> bool:
        """Whether the place is a file."""
        return self.place.endswith(".py")

    @property
    def base(self) -> str:
        """The text without its options."""
        return ":".join(filter(None, (self.place, self.name)))


def split(text: str, known: Collection[str] = ()) -> Address:
    """Split a text into place, name and options; anything that is neither a file nor a module is a plain name.

    Args:
        text: the address.
        known: names that are registered: what follows them are options.
    """
    if text.partition(":")[0] in known:
        return Address("", *text.partition(":")[::2])
    file = re.match(r"(.+?\.py)(?::|$)", text, re.DOTALL)
    if file is not None:
        rest = text[file.end() :]
        name, _, options = rest.partition(":")
        return Address(file[1], "", rest) if "=" in name else Address(file[1], name, options)
    module = re.fullmatch(r"([^\W\d][\w.]*):([^\W\d][\w.]*)(?::(.*))?", text)
    if module is not None:
        return Address(module[1], module[2], module[3] or "")
    name, _, options = text.partition(":")
    return Address("", name, options)


def is_code(text: str) -> bool:
    """Whether a text names a file or a module, rather than something that is registered."""
    return bool(split(text).place)


def everywhere(text: str, folder: str | Path = "") -> str:
    """The same with the path of its file made absolute, for processes in other folders.

    Args:
        text: the address.
        folder: where the path starts; the working folder by default.
    """
    place = split(text).place
    return f"{(Path(folder) / place).absolute()}{text[len(place) :]}" if place.endswith(".py") else text


def label(text: str) -> str:
    """A short name for people: that of the object, without its place and options."""
    found = split(text)
    return found.name or Path(found.place).stem


def labels(texts: Collection[str]) -> dict[str, str]:
    """A short name for each text without its options; with more of its place where others would be called the same."""
    bases = dict.fromkeys(split(text).base for text in texts)

    def forms(base: str) -> list[str]:
        found = split(base)
        if not found.is_file:
            return [label(base), base]
        parts = Path(found.place).parts
        return [
            label(base),
            *(":".join(filter(None, ("/".join(parts[-n:]), found.name))) for n in range(1, len(parts))),
            base,
        ]

    chosen = {base: 0 for base in bases}
    named = {base: forms(base) for base in bases}
    while True:
        said = {base: named[base][at] for base, at in chosen.items()}
        counts = list(said.values())
        again = [b for b in bases if counts.count(said[b]) > 1 and split(b).place and chosen[b] + 1 < len(named[b])]
        if not again:
            return {text: said[split(text).base] for text in texts}
        chosen |= {base: chosen[base] + 1 for base in again}


def load(kind: str, text: str, fits: Callable[[Any], bool], known: Collection[str] = ()) -> Any:
    """The object that a text names in a file, in a module or as an entry point; options are left to the caller.

    Args:
        kind: one of `KINDS`.
        text: the address.
        fits: whether an object is of the kind: picks the only one where a file is named alone.
        known: names that are registered, for a hint.

    Raises:
        ValueError: there is none, or its code cannot be run (`Mistake`).
    """
    found = find(kind, text, fits, known)
    if found is None:
        name = split(text).name
        raise ValueError(f"no {kind} is called {name!r}; {nearest(name, known)}known are {', '.join(known)}")
    return found


def find(kind: str, text: str, fits: Callable[[Any], bool], known: Collection[str] = ()) -> Any | None:
    """As `load`, but None for a plain name that no installed package gives."""
    address = split(text)
    if address.is_file:
        return _named(kind, address, load_file(address.place), fits)
    if address.place and address.place not in names(kind):
        return _named(kind, address, _load_module(address.place, kind, known), fits)
    address = split(text, [address.place])
    entry = names(kind).get(address.name)
    return None if entry is None else _load_entry(kind, entry)


def names(kind: str) -> dict[str, Any]:
    """Entry points of installed packages of a kind, by name. Reads their metadata, and imports nothing.

    They need not be of the standard library's class: other readers of metadata may be installed.
    """
    return {entry.name: entry for entry in sorted(entry_points(group=KINDS[kind]), key=lambda entry: entry.name)}


def nearest(name: str, known: Collection[str], cutoff: float = 0.4) -> str:
    """The beginning of a hint, "did you mean 'psst'? ", empty where nothing known is like it."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}? " if close else ""


def parameters(make: Callable[..., Any]) -> dict[str, Any]:
    """The options of a class or a function: parameters with their defaults, or the class that annotates them."""
    words = {"bool": bool, "int": int, "float": float, "str": str}
    return {
        name: words.get(one.annotation, one.annotation) if one.default is one.empty else one.default
        for name, one in inspect.signature(make).parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }


def missing(make: Callable[..., Any]) -> list[str]:
    """The options of a class or a function that have no default."""
    known = inspect.signature(make).parameters
    return [name for name in parameters(make) if known[name].default is inspect.Parameter.empty]


def read_options(name: str, text: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Options as `option=value,option=value` says them, each read as what it is by default.

    Args:
        name: what has the options, for messages.
        text: the options.
        known: option -> its default, or the class that it must have.

    Raises:
        ValueError: an unknown option (naming the nearest), one that is given twice, or a value of the wrong kind.
    """
    found = {}
    for item in filter(None, text.split(",")):
        option, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"option {item!r} of {name} has no value; write {name}:field=value,...")
        if option not in known:
            hint = f"{nearest(option, known)}known: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{name} has no option {option!r}; {hint}")
        if option in found:
            raise ValueError(f"{name} is given the option {option!r} twice; give it once")
        found[option] = _parsed(f"{name}:{option}", value, known[option])
    return found


def _parsed(name: str, text: str, default: Any) -> Any:
    kind = default if isinstance(default, type) else type(default)
    words = {"true": True, "false": False}
    kinds = {bool: "true or false", int: "a whole number", float: "a number", tuple: "numbers joined by +"}
    try:
        if kind is bool:
            return words[text.lower()]
        if kind is tuple:
            return tuple(map(float, text.split("+")))
        return kind(text) if kind in (int, float) else text
    except (KeyError, ValueError):
        raise ValueError(f"{name} is {text!r}; expected {kinds[kind]}") from None


def call(name: str, function: Callable[..., Any], options: str) -> Any:
    """Object that a class or a function from elsewhere makes, with options as text.

    Raises:
        ValueError: an option is unknown or missing; `Mistake` where it cannot be made.
    """
    return make(name, function, read_options(name, options, parameters(function)))


def make(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """As `call`, with options that were read."""
    lacking = [key for key in missing(function) if key not in options]
    if lacking:
        raise ValueError(f"{name} needs {', '.join(lacking)}; write {name}:{','.join(f'{key}=...' for key in lacking)}")
    with telling(name):
        return function(**options)


def load_file(file: str | Path) -> ModuleType:
    """The module of a Python file, run once for every text that it has had.

    Raises:
        ValueError: there is no such file; `Mistake` where it cannot be run.
    """
    path = Path(file).resolve()
    if path.is_dir():
        raise ValueError(f"{file}: is a folder; name a Python file in it")
    if not path.is_file():
        near = nearest(path.name, [one.name for one in path.parent.glob("*.py") if one.is_file()], 0.6)
        raise ValueError(f"{file}: no such file{near and f'; {near}'}".rstrip())
    beside = files_beside(path)
    name = _module_name(path, beside)
    known = _modules.get(path)
    if known is not None and known[0] == name:
        return known[1]
    return _run(path, name, beside)


def files_named(pickled: bytes) -> dict[str, str]:
    """Files that were run here and that a pickle refers to, or to what they import from beside: module name -> path."""
    return {
        name: str(path)
        for path, (name, _, beside) in _modules.items()
        if any(word.encode() in pickled for word in (name, *(one.stem for one in beside)))
    }


def files_beside(path: Path) -> list[Path]:
    """A file and those beside it that it imports, however indirectly, by what their import statements say."""
    folder, found, waiting = path.parent, {path: None}, [path]
    while waiting:
        try:
            tree = ast.parse(waiting.pop().read_bytes())
        except (SyntaxError, ValueError):  # said when it is run
            continue
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for top in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names:
                inside = sorted((folder / top).rglob("*.py")) if (folder / top).is_dir() else []
                new = [one for one in (folder / f"{top}.py", *inside) if one.is_file() and one not in found]
                found |= dict.fromkeys(new)
                waiting += new
    return list(found)


def _module_name(path: Path, beside: list[Path]) -> str:
    """A name that no other file has, nor this one with another text."""
    content = hashlib.sha256(str(path).encode(errors="surrogateescape"))
    for one in beside:
        content.update(hashlib.sha256(one.read_bytes()).digest())
    return f"{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{content.hexdigest()[:12]}"


def _run(path: Path, name: str, beside: list[Path]) -> ModuleType:
    """Run a file as a module of this name; helpers beside it are run again."""
    for loaded, module in list(sys.modules.items()):
        if _file_of(module) in beside[1:]:
            del sys.modules[loaded]
    _refuse_clash(path, beside)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: cannot be run as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    for place in beside if origins.installed(str(path)) else [path.parent]:  # not all that is installed beside it
        bring(place)
    importlib.invalidate_caches()
    try:
        with _searching(path.parent), telling(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    _modules[path] = (name, module, beside[1:])
    return module


def _refuse_clash(path: Path, beside: list[Path]) -> None:
    """Helpers of one name in two folders would be one module."""
    for helper in beside[1:]:
        home = helper.parent if helper.name == "__init__.py" else helper.with_suffix("")
        if home.parent == path.parent and home.name in sys.modules:
            file = _file_of(sys.modules[home.name])
            raise ValueError(f"{path} needs {helper.name} beside it, but {file} was loaded as {home.name}; rename one")


def _file_of(module: Any) -> Path | None:
    file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
    return Path(file) if isinstance(file, str) else None


class _Beside:
    """Finds modules in the folders of files that were run; they are found there later too, by lazy imports."""

    def __init__(self) -> None:
        self.folders: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of a top-level module, as the import system asks for it."""
        if path is not None or name.partition(".")[0] in sys.stdlib_module_names:
            return None
        return PathFinder.find_spec(name, self.folders, target)


_beside = _Beside()


@contextmanager
def _searching(folder: Path) -> Iterator[None]:
    """Look for modules in a folder first; after those of Python itself."""
    here = _Beside()
    here.folders = [str(folder)]
    finders: list[Any] = sys.meta_path
    finders.insert(0, here)
    try:
        yield
    finally:
        finders.remove(here)
        if str(folder) not in _beside.folders:
            _beside.folders.append(str(folder))
        if _beside not in finders:
            finders.append(_beside)


def _load_module(name: str, kind: str, registered: Collection[str]) -> ModuleType:
    """A module by its dotted name, looked for in the working folder last."""
    here = str(Path.cwd())
    finders: list[Any] = sys.meta_path
    if here not in _beside.folders:
        _beside.folders.append(here)
    if _beside not in finders:
        finders.append(_beside)
    try:
        with telling(name):
            module = importlib.import_module(name)
    except Mistake as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            hint = nearest(name, registered)
            raise ValueError(
                f"no module is called {cause.name!r}, and no {kind} {name!r}; {hint}".rstrip("; ")
            ) from None
        raise
    _note(module)
    return module


def _load_entry(kind: str, entry: Any) -> Any:
    package = "" if entry.dist is None else f" of the package {entry.dist.name}"
    try:
        with telling(entry.module):
            found = entry.load()
    except (Mistake, AttributeError) as error:
        raise Mistake(f"{kind} {entry.name!r}{package} cannot be loaded ({entry.value}): {error}") from error
    _note(sys.modules[entry.module])
    return found


def _note(module: ModuleType) -> None:
    """The code of a module, and of the package it is in, counts as brought along."""
    top = sys.modules.get(origins.top(module.__name__), module)
    if not origins.own(module.__name__):
        file = getattr(top, "__file__", None)
        folders = list(getattr(top, "__path__", ())) or ([file] if file else [])
        for folder in folders:
            bring(Path(folder))


def _named(kind: str, address: Address, module: ModuleType, fits: Callable[[Any], bool]) -> Any:
    """What a module holds under a name, or the only object in it that fits."""
    shown, home = {name: thing for name, thing in vars(module).items() if name[:1] != "_"}, module.__name__
    public = {n: one for n, one in shown.items() if isinstance(one, tuple) or getattr(one, "__module__", home) == home}
    own = {name: thing for name, thing in public.items() if fits(thing)}
    if not address.name:
        if len(own) != 1:
            which = f"write one of {', '.join(f'{address.place}:{name}' for name in own)}" if own else "define one"
            raise ValueError(f"{address.place} holds {len(own) or 'no'} {kind}s; {which}")
        return next(iter(own.values()))
    thing: Any = module
    for part in address.name.split("."):
        known = [name for name in vars(thing) if name[:1] != "_"] if hasattr(thing, "__dict__") else []
        if not hasattr(thing, part):
            named = own or {name: one for name, one in public.items() if not isinstance(one, ModuleType)}
            there = f"it holds {', '.join(named) or 'nothing of its own'}"
            if fits(module):  # as a file that is a figure
                known, held = list(own), f", which holds {', '.join(own)} besides" if own else ""
                there = f"the file itself is a {kind}: write {address.place}{held}"
            raise ValueError(f"{address.place} has no {address.name!r}; {nearest(part, known)}{there}")
        thing = getattr(thing, part)
    return thing
