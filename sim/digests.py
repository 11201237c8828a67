"""Digests: a SHA-256 of anything, down to every number and to what functions compute.

Results are kept under the digest of all that they depend on (`sim.comparison.store`).
"""

import dataclasses
import enum
import functools
import hashlib
import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import jax
import numpy as np

from sim.origins import installed, own, plain

_LABELS = ("name", "provenance", "prompt_names", "context_names")
"""Fields that people read and no number depends on."""
_HEAP = 1 << 9
"""The flag of classes that are made while a program runs."""


def digest(thing: Any) -> str:
    """SHA-256 (hexadecimal) of the description of anything."""
    return hashlib.sha256(json.dumps(describe(thing), sort_keys=True).encode()).hexdigest()


def describe(thing: Any, opaque: Callable[[Any], Any] | None = None) -> Any:
    """A JSON value that two things share only if they agree in every number and in what their functions compute.

    A function is described by its compiled code, its defaults and what it encloses, not by what it calls
    (`sim.program` follows that); one of an installed package, or of a module of this project, by its name.

    Args:
        thing: made of dataclasses (an algorithm, a source, a data set), arrays, containers, scalars and functions.
        opaque: describes what has contents that cannot be seen.

    Raises:
        TypeError: something in it has contents that cannot be seen, and there is no `opaque`.
    """
    return _described(thing, (), opaque or _refuse)


def _refuse(thing: Any) -> Any:
    raise TypeError(f"a {type(thing).__name__} cannot be described in full; keep it out of what identifies results")


def _described(thing: Any, around: tuple[int, ...], opaque: Callable[[Any], Any]) -> Any:
    if isinstance(thing, enum.Enum):
        return {"enum": f"{name_of(type(thing))}.{thing.name}"}
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.generic):
        return thing.item()
    if id(thing) in around:
        return {"around": around.index(id(thing))}
    inner = (*around, id(thing))

    def of(part: Any) -> Any:
        return _described(part, inner, opaque)

    if isinstance(thing, jax.Array) and jax.numpy.issubdtype(thing.dtype, jax.dtypes.prng_key):
        return {"key": of(jax.random.key_data(thing))}
    if isinstance(thing, np.ndarray | jax.Array):
        array = np.ascontiguousarray(thing)
        if array.dtype.hasobject:
            return {"array": f"{array.dtype.str}{array.shape}", "items": of(array.ravel().tolist())}
        return {"array": f"{array.dtype.str}{array.shape}", "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
    wrapped = None if isinstance(thing, type | types.FunctionType) else getattr(thing, "__wrapped__", None)
    if wrapped is not None:  # jitted, cached
        return {"wrapped": of(wrapped), "by": name_of(type(thing))}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return {"class": name_of(type(thing))} | {name: of(getattr(thing, name)) for name in _fields(thing)}
    if isinstance(thing, Mapping):
        return {key if isinstance(key, str) else f"{type(key).__name__} {of(key)}": of(thing[key]) for key in thing}
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return {"class": name_of(type(thing)), "items": list(map(of, thing))}
    if isinstance(thing, tuple | list):
        return [of(item) for item in thing]
    if isinstance(thing, set | frozenset):
        return {"set": sorted(json.dumps(of(item), sort_keys=True) for item in thing)}
    if isinstance(thing, bytes | complex | range | slice | PurePath | np.dtype | type(...)):
        return {type(thing).__name__: repr(thing)}
    if isinstance(thing, types.ModuleType):
        return {"module": plain(thing.__name__)}
    if isinstance(thing, type):
        return {"type": name_of(thing)}
    if isinstance(thing, functools.partial):
        return {"partial": of(thing.func), "args": of(thing.args), "keywords": of(thing.keywords)}
    if isinstance(thing, types.MethodType):
        return {"method": of(thing.__func__), "of": of(thing.__self__)}
    if isinstance(thing, types.FunctionType):
        if own(thing.__module__) and "<" not in thing.__qualname__:  # however decorated here: its text counts
            return {"function": f"{plain(thing.__module__)}:{thing.__qualname__}"}
        return {"function": name_of(thing)} | ({} if installed(thing.__code__.co_filename) else _function(thing, of))
    if isinstance(thing, types.BuiltinFunctionType | np.ufunc):
        return {"function": getattr(thing, "__qualname__", repr(thing))}
    if _plain(type(thing)):
        return {"object": name_of(type(thing)), "holds": of(vars(thing))}
    return opaque(thing)


def _plain(kind: type) -> bool:
    """Whether objects of a class hold their `__dict__` alone: it is written in Python, and in no installed package."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    written = all(base is object or (base.__flags__ & _HEAP and "__slots__" not in vars(base)) for base in kind.__mro__)
    return kind is not object and written and kind.__module__ != "builtins" and not installed(file)


def _fields(thing: Any) -> list[str]:
    """Fields of a dataclass that count: of this project's own the labels do not."""
    labels = _LABELS if own(type(thing).__module__) else ()
    return [field.name for field in dataclasses.fields(thing) if field.name not in labels]


def name_of(thing: Any) -> str:
    """Name that tells a class or function from all others: with its module unless it is of this project."""
    name, module = getattr(thing, "__qualname__", type(thing).__qualname__), plain(str(thing.__module__))
    return name if own(module) else f"{module}:{name}"


def _function(function: types.FunctionType, of: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        "code": code_digest(function.__code__),
        "defaults": of([function.__defaults__, function.__kwdefaults__]),
        "encloses": [of(cell.cell_contents) for cell in function.__closure__ or () if _filled(cell)],
    }


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # of a function that is still being defined
        return False


def code_digest(code: types.CodeType) -> str:
    """SHA-256 of compiled code: what it computes, wherever its lines stand."""
    return hashlib.sha256(repr(_code(code)).encode()).hexdigest()


def _code(code: types.CodeType) -> tuple[Any, ...]:
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    sizes = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    table = getattr(code, "co_exceptiontable", b"")
    return (code.co_code, *names, *sizes, table, *(_constant(constant) for constant in code.co_consts))


def _constant(constant: Any) -> Any:
    if isinstance(constant, types.CodeType):
        return _code(constant)
    if isinstance(constant, tuple):
        return tuple(map(_constant, constant))
    if isinstance(constant, frozenset):  # in the order of hashes, which differ from process to process
        return ("frozenset", *sorted(map(repr, constant)))
    return repr(constant)
