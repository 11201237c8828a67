"""The program behind an object: what a kept result depends on besides numbers.

It holds

* the text of the module of every class (its bases too) and function that the object is made of, whether options,
  defaults or enclosed values, and of all modules that those import, however indirectly and wherever they lie;
* of classes and functions that are not of this project also what is loaded: compiled code, class attributes, enclosed
  values and the values of the globals that they use. A file edited after it was imported, two classes made by one
  function and a global set by a script are therefore told apart.

Of packages that are named (`piecewise`) neither holds: their modules mix what computes with what draws, so the
definitions count that the object uses, however indirectly, and the values of the constants.

The standard library and installed packages are left out, but for a package that the object itself comes from. Code
that has no readable text (made by `exec`, typed at a prompt) makes an object unreadable: its results must not be kept.

Not seen: modules that are imported by a computed name inside a function, files that code reads while it runs, values
in installed packages or in this project that a program overwrites, and compiled extensions beyond their own file.
"""

import inspect
import json
import secrets
import sys
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, cached_property, partial, partialmethod
from hashlib import sha256
from importlib import import_module
from textwrap import dedent
from typing import Any, NamedTuple, get_args

import jax
import numpy as np

from sim import digests, origins
from sim.origins import Origin, own, plain, top

_DIGITS = 64
_GENERATED = {"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__new__", "__replace__"}
_DATA = (np.ndarray, np.generic, jax.Array, jax.ShapeDtypeStruct, str, bytes, int, float, complex, type(None))
_INERT = (types.MemberDescriptorType, types.GetSetDescriptorType, type(NamedTuple("_", [("a", int)]).a))  # pyright: ignore

_taken: dict[str, str] = {}
"""Keys that were taken in this process -> the SHA-256 of the options."""
_begun: dict[tuple[str, ...], set[str]] = {}
"""Modules that are not of this project -> the code that was last run with them."""


class Program(NamedTuple):
    """Program that a result depends on besides numbers.

    Attributes:
        key: names it: a SHA-256, with a random part where something cannot be read, so that it is never met again.
        code: SHA-256 of code alone.
        options: SHA-256 of the object without the code behind it.
        unread: what cannot be read, for people; empty where results can be kept.
        foreign: modules that are not of this project.
    """

    key: str
    code: str
    options: str
    unread: tuple[str, ...]
    foreign: tuple[str, ...]


def behind(*things: Any, modules: tuple[str, ...] = (), shapes: Any = None, piecewise: tuple[str, ...] = ()) -> Program:
    """The program behind objects (algorithms, sources, functions, classes), with their options.

    Args:
        things: the objects. They may hold functions and each other.
        modules: names of modules of this project that count too.
        shapes: another object whose code counts, but whose arrays are not at hand.
        piecewise: packages of this project of which single definitions count and not whole modules.
    """
    walk = _Walk(piecewise)
    for thing in things:
        walk.root(thing)
    walk.visit(shapes)
    for name in modules:
        walk.module(name)
    try:
        options = digests.describe(list(things))
    except TypeError as error:
        options, walk.unread = None, walk.unread | {str(error): None}
    loaded = {name: sorted(map(json.dumps, values)) for name, values in walk.loaded.items()}
    code = digests.digest({"texts": walk.texts_digest(), "loaded": loaded})
    key, unread, foreign = digests.digest([options, code]), tuple(walk.unread), tuple(sorted(walk.foreign))
    found = Program(f"{key}-{secrets.token_hex(8)}" if unread else key, code, digests.digest(options), unread, foreign)
    _taken[found.key] = found.options
    return found


def agrees(key: str, found: Program) -> bool:
    """Whether what was found behind an object is the program of a key.

    In the process that the key was taken in, what is loaded is what it was, though files may be edited and globals may
    change while it works: there the object itself must be the same.
    """
    if key in _taken:
        return _taken[key] == found.options
    return found.key[:_DIGITS] == key[:_DIGITS]


def lasts(key: str) -> bool:
    """Whether results under this key can be found again."""
    return len(key) == _DIGITS


def begin(programs: Mapping[str, Program]) -> None:
    """Before work with them: say of what no results are kept, and forget what was compiled from code that was replaced.

    A class whose helper was reloaded is the same to the compiler, which would go on running the old helper.

    Args:
        programs: what they belong to, in words -> the program.
    """
    codes: dict[tuple[str, ...], set[str]] = {}
    for name, program in programs.items():
        if program.unread:
            warnings.warn(f"{name}: {program.unread[0]}; its results are not kept", stacklevel=3)
        if program.foreign:
            codes.setdefault(program.foreign, set()).add(program.code)
    if any(_begun.setdefault(modules, code) != code for modules, code in codes.items()):
        jax.clear_caches()
        _begun.update(codes)


class _Walk:
    """What was found so far."""

    def __init__(self, piecewise: tuple[str, ...] = ()) -> None:
        self._piecewise = piecewise
        self.own: set[str] = set()
        """Modules of this project."""
        self.foreign: dict[str, dict[str, None]] = {}
        """Name -> texts; two loaded modules may share a name."""
        self.loaded: dict[str, Any] = {}
        self.unread: dict[str, None] = {}
        self._followed: set[str] = set()
        self._seen: dict[int, Any] = {}

    def texts_digest(self) -> str:
        """SHA-256 of all texts."""
        theirs = {name: sorted(map(_sha, texts)) for name, texts in self.foreign.items()}
        return digests.digest({name: _own_sha(name) for name in self.own} | theirs)

    def root(self, thing: Any) -> None:
        """Visit an object whose package counts even where it is installed."""
        kind = thing if isinstance(thing, type | types.FunctionType) else type(thing)
        ours = kind is thing or any(own(base.__module__) for base in inspect.getmro(type(thing)))
        if ours and top(kind.__module__) not in {*sys.stdlib_module_names, *origins.ROOMS}:
            self._followed.add(top(kind.__module__))
        self.visit(thing)

    def _find(self, name: str, namespace: Mapping[str, Any] | None = None) -> Origin | None:
        return origins.find(name, namespace, self._followed)

    def module(self, name: str, namespace: Mapping[str, Any] | None = None) -> None:
        """Add a module and all it imports."""
        waiting = [(name, namespace)]
        while waiting:
            at, globals_of = waiting.pop()
            if own(at):
                self.own |= _reach(at)
                continue
            origin = self._find(at, globals_of)
            if origin is None or origin.others:
                continue
            text, texts = origin.text or "", self.foreign.setdefault(origin.name, {})
            if text not in texts:
                texts[text] = None
                waiting += [(name, None) for name in (*origins.parents(at), *origins.imports(origin, self._followed))]
                self._globals(origin, globals_of)

    def visit(self, thing: Any) -> None:
        """Add the code that an object is made of."""
        if isinstance(thing, _DATA) or id(thing) in self._seen:
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, types.FunctionType):
            self._function(thing)
        elif isinstance(thing, types.ModuleType):
            self.module(thing.__name__, vars(thing))
        elif isinstance(thing, Mapping):
            self._each((*thing.keys(), *thing.values()))
        elif isinstance(thing, tuple | list | set | frozenset):
            self._each(thing)
            self.visit(type(thing))
        else:
            self._each(_parts(thing))
            self.visit(type(thing))

    def _each(self, things: Any) -> None:
        for thing in list(things):
            self.visit(thing)

    def _counts(self, name: str, namespace: Mapping[str, Any] | None) -> bool:
        """Whether a module is neither of this project nor others' work."""
        origin = None if own(name) else self._find(name, namespace)
        return not own(name) and (origin is None or not origin.others)

    def _class(self, kind: type) -> None:
        self._each(kind.__bases__)
        methods = list(_functions(vars(kind).values()))
        homes = (one.__globals__ for one in methods if one.__globals__.get("__name__") == kind.__module__)
        home = next(homes, None)
        if self._in_pieces(kind.__module__):
            self._definition(kind, [one for one in methods if one.__module__ == kind.__module__])
        elif own(kind.__module__):
            self.module(kind.__module__)
        elif self._counts(kind.__module__, home):
            self.module(kind.__module__, home)
            name, origin = f"class {digests.name_of(kind)}", self._find(kind.__module__, home)
            self.loaded.setdefault(name, []).append(
                [*map(digests.name_of, kind.__mro__), str(vars(kind).get("__annotations__"))]
            )
            for part, value in vars(kind).items():
                if not part.startswith("__") and part != "_abc_impl":
                    self._value(f"{name}.{part}", value, origin)
            for one in methods:
                if not (one.__name__ in _GENERATED and one.__code__.co_filename.startswith("<")):
                    self.visit(one)

    def _function(self, function: types.FunctionType) -> None:
        wrapped, file = getattr(function, "__wrapped__", None), function.__code__.co_filename
        self.visit(wrapped)
        if wrapped is not None and (file.startswith("<") or origins.installed(file)):
            return  # of a decorator that checks types, say
        self._each((function.__defaults__, function.__kwdefaults__, *_enclosed(function)))
        namespace = function.__globals__
        home = str(namespace.get("__name__"))
        if self._in_pieces(home):
            self._definition(function, [function])
        elif own(home):
            self.module(home)
        elif self._counts(home, namespace):
            self.module(home, namespace)
            name, origin = digests.name_of(function), self._find(home, namespace)
            if not _readable(function, origin):
                self.unread[f"the source of {name.removeprefix('__main__:')} cannot be read"] = None
            self._value(f"function {name}", function, origin)
            used = set(_names(function.__code__))
            for part in sorted(used & set(namespace)):
                self._use(f"{plain(home)}:{part}", namespace[part], used, origin)

    def _in_pieces(self, module: str) -> bool:
        return top(module) in self._piecewise

    def _definition(self, thing: Any, functions: list[types.FunctionType]) -> None:
        """Add a class or function by its text, and what its functions use."""
        text, namespace = dedent(inspect.getsource(thing)), vars(sys.modules[thing.__module__])
        self.loaded.setdefault(f"definition {thing.__module__}.{thing.__qualname__}", []).append(text)
        here = Origin(thing.__module__, text, None, namespace.get("__package__") or "", True, False)
        used = {name for one in functions for name in _names(one.__code__)}
        for part in sorted(used & set(namespace)):
            self._use(f"{thing.__module__}:{part}", namespace[part], used, here)
        for name in sorted(origins.imports(here)):  # import statements inside of it
            self._use(name, import_module(name), used, here)
        for one in (thing, *functions):
            self._each(part for kind in inspect.get_annotations(one).values() for part in (kind, *get_args(kind)))

    def _use(self, name: str, value: Any, used: set[str], origin: Origin | None) -> None:
        """Add a global that a function uses: a value, code, or a module of which it uses something."""
        if not isinstance(value, types.ModuleType):
            self._value(name, value, origin)
            return
        pieces = self._in_pieces(value.__name__)
        if not pieces:
            self.visit(value)
        if pieces or self._counts(value.__name__, vars(value)):
            for part in sorted(used & set(vars(value))):
                inner, content = f"{plain(value.__name__)}:{part}", vars(value)[part]
                if not isinstance(content, types.ModuleType):
                    self._value(inner, content, self._find(value.__name__, vars(value)))

    def _value(self, name: str, value: Any, origin: Origin | None) -> None:
        """Add what is loaded under a name, and the code that it is made of.

        What cannot be described is left to the text of its module, and is unread where that has none.
        """
        text = None if origin is None else origin.text

        def opaque(part: Any) -> str:
            if text is None and not isinstance(part, _INERT) and not list(_functions([part])):
                self.unread[f"what {name.removeprefix('class ').removeprefix('__main__:')} holds cannot be read"] = None
            return f"a {digests.name_of(type(part))}"

        try:
            described = digests.describe(value, opaque)
        except RecursionError:
            described = opaque(value)
        known = self.loaded.setdefault(name, [])
        if described not in known:
            known.append(described)
        self.visit(value)

    def _globals(self, origin: Origin, namespace: Mapping[str, Any] | None) -> None:
        """Add the modules that a loaded module has got its classes, functions and modules from."""
        if namespace is None:
            loaded = sys.modules.get(origin.name)
            namespace = {} if loaded is None else vars(loaded)
        for value in list(namespace.values()):
            if isinstance(value, types.ModuleType):
                self.module(value.__name__, vars(value))
            elif isinstance(value, type | types.FunctionType):
                inner = getattr(value, "__globals__", None)
                self.module(
                    str(value.__module__), inner if inner and inner.get("__name__") == value.__module__ else None
                )


def _sha(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


@cache
def _own_sha(name: str) -> str:
    origin = origins.find(name)
    return _sha((origin and origin.text) or "")


@cache
def _reach(name: str) -> frozenset[str]:
    """A module of this project and all that it imports from there, however indirectly."""
    found, waiting = set(), {name}
    while waiting:
        found |= waiting
        waiting = {one for at in waiting for one in _imported(at) if own(one)} - found
    return frozenset(found)


@cache
def _imported(name: str) -> frozenset[str]:
    origin = origins.find(name)
    return frozenset() if origin is None else origins.imports(origin)


def _parts(thing: Any) -> Iterator[Any]:
    """What an object is made of, as far as it can be seen."""
    yield from _functions([thing])
    if isinstance(thing, partial | partialmethod):
        yield from (thing.func, thing.args, thing.keywords)
    elif isinstance(thing, types.MethodType):
        yield thing.__self__
    elif is_dataclass(thing):
        yield from (getattr(thing, field.name, None) for field in fields(thing))
    elif not origins.installed(getattr(sys.modules.get(type(thing).__module__), "__file__", "built-in")):
        yield from getattr(thing, "__dict__", {}).values()


def _functions(values: Iterable[Any]) -> Iterator[types.FunctionType]:
    """The functions in what a class holds: methods, properties, and what wraps one."""
    for value in values:
        inner = [value]
        if isinstance(value, property):
            inner = [value.fget, value.fset]
        elif isinstance(value, staticmethod | classmethod | types.MethodType):
            inner = [value.__func__]
        elif isinstance(value, cached_property | partialmethod):
            inner = [value.func]
        elif not isinstance(value, type | types.FunctionType):
            inner = [getattr(value, "__wrapped__", None)]
        yield from (one for one in inner if isinstance(one, types.FunctionType))


def _enclosed(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # of a function that is still being defined
            continue


def _names(code: types.CodeType) -> Iterator[str]:
    """Names of globals and attributes that code uses."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _readable(function: types.FunctionType, origin: Origin | None) -> bool:
    """Whether the text that a function was compiled from is at hand."""
    if origin is not None and origin.text is not None:  # of compiled code alone the file tells
        home = not origin.python or origin.file == function.__code__.co_filename
        if home:
            return True
    try:
        return bool(inspect.getsource(function))
    except (OSError, TypeError, SyntaxError):
        return False
