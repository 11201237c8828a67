"""Reads the pickles of released environments without running what they say.

A pickle is a program. Here a machine of our own runs it, which knows few instructions and builds nothing but numbers,
text, containers, `Record` and `Array`: no class of the authors, no function of NumPy and no random generator is ever
built or called from a file, and what a program names (`_Name`) is a word that it cannot change. Every load starts with
nothing of an earlier one. Nothing is hashed but short keys, and nothing is followed inwards, so that the time of a load
is in proportion to instructions and bytes, however deep things are nested. Arrays are views of the bytes in the file.
`sim.envs.released` turns the result into a `Dataset`.
"""

import math
import pickletools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sim.envs.archives import readable_file

MAX_BYTES = 2**30
"""Larger files are refused unread; the released ones hold at most some tens of megabytes."""

_MAX_INSTRUCTIONS = 200_000
"""The released environments need some hundred; more take too long to run."""
_MAX_ODD_KEYS = 1000
"""Keys other than text: a file may choose them so that their hashes agree, and each is then compared with all."""
_RECORDS = ("CategoricalMVEnv", "CategoricalBoNEnv", "SyntheticBernoulliEnv", "CostContext", "Context")
_PUSHES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""Instructions that push their argument."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def unpickle(path: Path) -> Any:
    """Read a pickle, with `Record` and `Array` in the place of objects and arrays."""
    readable_file(path, MAX_BYTES)
    content = path.read_bytes()
    try:
        return _Machine().run(content)
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # whatever a malformed program makes the machine raise
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: is cut short or is no pickle of an environment ({problem})") from None


class _Refused(ValueError):
    """What a file may not do. Carries the problem; the file's name is put in front of it."""


class Record:
    """Takes the place of an environment or a context: its class by name, its attributes, and no behaviour."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state: dict[Any, Any] = {}

    def build(self, state: Any) -> None:
        """Take over the attributes."""
        if not isinstance(state, dict):
            raise _Refused(f"the state of {self.kind} is a {type(state).__name__}; a dict is expected")
        self.state = state


class Array:
    """Takes the place of an array while it is read; `value` is a view of the file's bytes."""

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = value

    def build(self, state: Any) -> None:
        """Take over type, shape and content."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("describes an array in a way that cannot be read")
        _, shape, dtype, fortran, raw = state
        self.value = _view(raw, dtype, shape, "F" if fortran is True else "C")


class _DType:
    """Takes the place of numpy.dtype: plain numbers and text, no objects and no records."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]|[US][0-9]{1,6}", code):
            asked = code[:40] if isinstance(code, str) else type(code).__name__
            raise _Refused(f"asks for the array type {asked!r}; only numbers and text can be read")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        """Take over the order of bytes."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if not isinstance(order, str) or order not in ("<", ">", "|", "="):
            raise _Refused("describes an array type in a way that cannot be read")
        self.dtype = self.dtype.newbyteorder(order)


class _Inert:
    """Takes the place of a random generator and its parts: swallows everything, keeps nothing."""

    def build(self, _: Any) -> None:
        """Nothing."""


class _Name(NamedTuple):
    """A name that a program looked up. It has no state, and only REDUCE and NEWOBJ do something with it.

    Attributes:
        role: "record", "inert", "dtype", "ndarray", "reconstruct", "frombuffer" or "scalar".
        name: as the program spells it.
    """

    role: str
    name: str


_GLOBALS: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.random.bit_generator", "SeedSequence"): "inert",
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): "inert",
}
for _core in ("numpy.core", "numpy._core"):  # before and from NumPy 2
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = "reconstruct"
    _GLOBALS[f"{_core}.multiarray", "scalar"] = "scalar"
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = "frombuffer"
for _constructor in ("__generator_ctor", "__bit_generator_ctor", "__randomstate_ctor"):
    _GLOBALS["numpy.random._pickle", _constructor] = "inert"
for _generator in ("PCG64", "MT19937", "Philox", "SFC64"):
    _GLOBALS[f"numpy.random._{_generator.lower()}", _generator] = "inert"


class _Machine:
    """Runs one program. It has a stack, a stack of marked stacks below it, and a memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.odd_keys = 0

    def run(self, content: bytes) -> Any:
        """Run the program; the object that it leaves."""
        for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if count >= _MAX_INSTRUCTIONS:
                raise _Refused("is a longer program than any environment needs; it is refused")
            if instruction.name == "STOP":
                break
            self.step(instruction.name, argument)
        return self.stack.pop()

    def step(self, name: str, argument: Any) -> None:
        """Execute one instruction."""
        stack = self.stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marked.append(stack)
            self.stack = []
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in _TUPLES:
            self.push(tuple(self.pop(_TUPLES[name])))
        elif name == "TUPLE":
            self.push(tuple(self.pop_marked()))
        elif name in ("APPEND", "APPENDS"):
            items = self.pop(1) if name == "APPEND" else self.pop_marked()
            self.top(list, name).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self.pop(2) if name == "SETITEM" else self.pop_marked()
            self.set_items(self.top(dict, name), items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, called = argument.split(" ", 1) if name == "GLOBAL" else self.pop(2)
            self.push(_find(module, called))
        elif name == "NEWOBJ":
            kind, arguments = self.pop(2)
            self.push(_made(kind, arguments))
        elif name == "REDUCE":
            function, arguments = self.pop(2)
            self.push(_called(function, arguments))
        elif name == "BUILD":
            (state,) = self.pop(1)
            built = stack[-1]
            if isinstance(built, _Name):
                raise _Refused(f"tries to change {built.name!r}, which it may only use; it is refused as unsafe")
            if not isinstance(built, Record | Array | _DType | _Inert):
                raise _Refused(f"sets the state of a {type(built).__name__.lstrip('_')}; only objects have one")
            built.build(state)
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(f"uses the pickle instruction {name}, which no released environment needs; it is refused")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """The last `count` things of the stack."""
        if len(self.stack) < count:
            raise ValueError("takes more from the stack than there is")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def pop_marked(self) -> list[Any]:
        """All things above the last mark."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def top(self, kind: type, name: str) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"{name} to a {type(self.stack[-1]).__name__.lstrip('_')}")
        return self.stack[-1]

    def set_items(self, target: dict[Any, Any], items: Sequence[Any]) -> None:
        if len(items) % 2:
            raise ValueError("SETITEMS of a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                self.odd_keys += 1
                if not _is_key(key) or self.odd_keys > _MAX_ODD_KEYS:
                    raise _Refused("holds a dict with keys other than text, numbers and short tuples of them")
            target[key] = value


def _is_key(key: Any) -> bool:
    """Whether something other than text may be hashed: a number, bytes, a record, or a flat, short tuple of such."""
    if isinstance(key, tuple) and not isinstance(key, _Name):
        return len(key) <= 8 and all(isinstance(one, str) or _is_scalar(one) for one in key)
    return _is_scalar(key) or isinstance(key, Record)


def _is_scalar(key: Any) -> bool:
    return key is None or isinstance(key, int | float | bytes)


def _find(module: Any, name: Any) -> _Name:
    """The stand-in for a name; anything else is refused. Imports nothing."""
    if isinstance(module, str) and isinstance(name, str):
        if module.startswith("Envs.") and name in _RECORDS:
            return _Name("record", name)
        if (module, name) in _GLOBALS:
            return _Name(_GLOBALS[module, name], name)
        asked = f"{module}.{name}"[:100]
        raise _Refused(f"asks for {asked!r}, which no released environment needs; it is refused as unsafe")
    raise ValueError("asks for a name that is no text")


def _made(kind: Any, arguments: Any) -> Any:
    """NEWOBJ: an empty record, or what swallows the state of a random generator."""
    if isinstance(kind, _Name) and kind.role == "record" and isinstance(arguments, tuple) and not arguments:
        return Record(kind.name)
    if isinstance(kind, _Name) and kind.role == "inert":
        return _Inert()
    raise _Refused("makes an object of something that is no class of an environment")


def _called(function: Any, arguments: Any) -> Any:
    """REDUCE: what the few functions give that a program may name."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise _Refused("calls something that is no function")
    match function.role:
        case "inert":
            return _Inert()
        case "dtype" if arguments:
            return _DType(arguments[0])
        case "reconstruct" if arguments:
            if not isinstance(arguments[0], _Name) or arguments[0].role != "ndarray":
                raise _Refused("builds an array of a class other than numpy.ndarray")
            return Array()
        case "scalar" if len(arguments) == 2:
            return _view(arguments[1], arguments[0], (), "C").item()
        case "frombuffer" if len(arguments) in (4, 5):
            raw, dtype, shape, order, *axes = arguments
            view = _view(raw, dtype, shape, "F" if isinstance(order, str) and order == "F" else "C")
            return Array(view.transpose(_axes(axes[0], view.ndim)) if axes and axes[0] is not None else view)
    raise _Refused(f"calls {function.name} in a way that cannot be read")


def _axes(axes: Any, ndim: int) -> tuple[int, ...]:
    if not isinstance(axes, tuple) or not all(type(axis) is int for axis in axes) or sorted(axes) != [*range(ndim)]:
        raise _Refused("gives an array an order of axes that cannot be read")
    return axes


def _view(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
        raise _Refused("describes an array in a way that cannot be read")
    if len(shape) > 8 or not all(type(length) is int and 0 <= length <= MAX_BYTES for length in shape):
        raise _Refused("gives an array a shape that cannot be read")
    if math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise _Refused(f"gives an array of {len(raw)} bytes the shape {shape} of {dtype.dtype} numbers")
    return np.ndarray(shape, dtype.dtype, raw, order="F" if order == "F" else "C")
