"""Reads the pickles of released environments without running what they say.

A pickle is a program. Here its instructions are checked against a short list before anything runs,
and every name that it may call is answered by an inert stand-in: no class of the authors, no function
of NumPy and no random generator is ever built from a file. Arrays are views of the bytes in the file.
`sim.envs.released` turns the result into a `Dataset`.
"""

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 2**31
"""Larger files are refused unread; the released ones hold at most some tens of megabytes."""

_MAX_INSTRUCTIONS = 5_000_000
_MAX_TUPLES = 50_000  # a tuple nested some 10**5 deep overflows the C stack when it is hashed
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE
    SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 TUPLE
    EMPTY_DICT SETITEM SETITEMS BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL NEWOBJ REDUCE BUILD
"""


def unpickle(path: Path) -> Any:
    """What a file holds, with `Record` and `Array` in the place of objects and arrays."""
    readable_file(path, MAX_BYTES)
    content = path.read_bytes()
    try:
        _check_instructions(content)
        return _Unpickler(io.BytesIO(content)).load()
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # whatever a malformed program makes the unpickler raise
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: is cut short or is no pickle of an environment ({problem})") from None


def readable_file(path: Path, max_bytes: int) -> None:
    """Complain in one sentence unless `path` is a file of at most `max_bytes` bytes."""
    if not path.is_file():
        raise ValueError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give the path of a file")
    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path}: has {path.stat().st_size} bytes; at most {max_bytes} are read")


class _Refused(ValueError):
    """What a file may not do. Carries the problem; the file's name is put in front of it."""


class _Inert:
    """Takes the place of a random generator and its parts: swallows everything, keeps nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


class Record:
    """Takes the place of an environment or a context: its attributes, and no behaviour."""

    state: dict[str, Any]

    def __new__(cls) -> "Record":
        """An empty record: unpickling creates objects without initialising them."""
        record = super().__new__(cls)
        record.state = {}
        return record

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise _Refused(f"the state of {type(self).__name__} is a {type(state).__name__}; a dict is expected")
        self.state = state


class _NDArray:
    """Takes the place of the name numpy.ndarray, which files only hand on."""


class _DType:
    """Takes the place of numpy.dtype: plain numbers and text, no objects and no records."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]|[US][0-9]{1,6}", code):
            raise _Refused(f"asks for the array type {str(code)[:40]!r}; only numbers and text can be read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise _Refused("describes an array type in a way that cannot be read")
        self.dtype = self.dtype.newbyteorder(order)


class Array:
    """Takes the place of an array while it is read; `value` is a view of the file's bytes."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("describes an array in a way that cannot be read")
        _, shape, dtype, fortran, raw = state
        self.value = _view(raw, dtype, shape, "F" if fortran else "C")


def _view(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
        raise _Refused("describes an array in a way that cannot be read")
    if not all(type(length) is int and 0 <= length <= MAX_BYTES for length in shape) or len(shape) > 8:
        raise _Refused("gives an array a shape that cannot be read")
    if math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise _Refused(f"gives an array of {len(raw)} bytes the shape {shape} of {dtype.dtype} numbers")
    return np.ndarray(shape, dtype.dtype, raw, order="F" if order == "F" else "C")


def _reconstruct(kind: Any, *_: Any) -> Array:
    if kind is not _NDArray:
        raise _Refused("builds an array of a class other than numpy.ndarray")
    return Array()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    array = Array()
    array.value = _view(raw, dtype, shape, order)
    if axes is not None:
        array.value = array.value.transpose(axes)
    return array


def _scalar(dtype: Any, raw: Any) -> Any:
    return _view(raw, dtype, (), "C").item()


RECORDS: dict[str, type[Record]] = {
    name: type(name, (Record,), {})
    for name in ("CategoricalMVEnv", "CategoricalBoNEnv", "SyntheticBernoulliEnv", "CostContext", "Context")
}
_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _DType,
    ("numpy.random.bit_generator", "SeedSequence"): _Inert,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): _Inert,
}
for _core in ("numpy.core", "numpy._core"):  # before and from NumPy 2
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _GLOBALS[f"{_core}.multiarray", "scalar"] = _scalar
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = _frombuffer
for _constructor in ("__generator_ctor", "__bit_generator_ctor", "__randomstate_ctor"):
    _GLOBALS["numpy.random._pickle", _constructor] = _Inert
for _generator in ("PCG64", "MT19937", "Philox", "SFC64"):
    _GLOBALS[f"numpy.random._{_generator.lower()}", _generator] = _Inert


class _Unpickler(pickle.Unpickler):
    """Knows the names above and no others."""

    def find_class(self, module: str, name: str, /) -> Any:
        """The stand-in for a name; anything else is refused. Imports nothing."""
        if module.startswith("Envs.") and name in RECORDS:
            return RECORDS[name]
        if (module, name) not in _GLOBALS:
            asked = f"{module}.{name}"[:100]
            raise _Refused(f"asks for {asked!r}, which no released environment needs; it is refused as unsafe")
        return _GLOBALS[module, name]


def _check_instructions(content: bytes) -> None:
    allowed, tuples = set(_INSTRUCTIONS.split()), 0
    for position, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        name = instruction.name
        if name not in allowed:
            raise _Refused(f"uses the pickle instruction {name}, which no released environment needs; it is refused")
        tuples += name.startswith("TUPLE")
        if position >= _MAX_INSTRUCTIONS or tuples > _MAX_TUPLES:
            raise _Refused("is a longer program than any environment needs; it is refused")
        if name == "LONG_BINPUT" and (argument or 0) > position:
            raise _Refused("numbers its objects in a way that would exhaust the memory; it is refused")
