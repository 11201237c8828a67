r"""The open file format for environments, and reading any environment file.

An environment file is a .npz archive (a zip of .npy arrays) that holds no pickle, so that any language
can read and write it:

* `header`: bytes (uint8) of a JSON object in UTF-8 with the keys schema ("iapo-environment"), version
  (1), name, aggregate, max_scale and, optionally, tie, prompt_names, context_names, provenance.
* the arrays of `Dataset`, under the names of its fields. probs, objective_weights, cost_weights and
  costs are needed; values, context_probs and query_weights are optional; all are float64. answers
  (whole numbers) and test (bool) are optional too.

Fields mean what `Dataset` says. What is optional and absent has the default of `Dataset`. Text that UTF-8 cannot hold,
the lone surrogates of UTF-16, is written as its escape: the six characters \ud83d.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from sim.envs.dataset import Dataset
from sim.envs.released import build_dataset, read_released
from sim.envs.unpickle import MAX_BYTES, readable_file

T = TypeVar("T")

SCHEMA = "iapo-environment"
VERSION = 1

_NEEDED = ("probs", "objective_weights", "cost_weights", "costs")
_OPTIONAL = ("values", "answers", "context_probs", "query_weights", "test")
_STRING_LISTS = ("aggregate", "prompt_names", "context_names")
_HEADER: dict[str, tuple[type, str]] = {
    "schema": (str, "a string"),
    "version": (int, "a whole number"),
    "name": (str, "a string"),
    "aggregate": (list, "a list of strings"),
    "max_scale": (int, "a whole number"),
    "tie": (str, "a string"),
    "prompt_names": (list, "a list of strings"),
    "context_names": (list, "a list of strings"),
    "provenance": (dict, "an object"),
}
_HEADER_NEEDED = ("name", "aggregate", "max_scale")


def read(path: str | Path) -> Dataset:
    """Read an environment file: .npz in the open format, .pkl as released by the paper's authors."""
    suffix = Path(path).suffix
    if suffix == ".npz":
        return load(path)
    if suffix == ".pkl":
        return read_released(path)
    raise ValueError(f"{path}: the name of an environment file ends in .npz or .pkl, not in {suffix!r}")


def save(data: Dataset, path: str | Path) -> None:
    """Write an environment in the open format; the file appears whole or not at all."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: the name of an environment file must end in .npz")
    fields = ("name", "aggregate", "max_scale", "tie", "prompt_names", "context_names", "provenance")
    header = {"schema": SCHEMA, "version": VERSION} | {name: getattr(data, name) for name in fields}
    try:
        text = json.dumps(_escaped(header), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the header (names, provenance) cannot be written as JSON ({error})") from None
    arrays: dict[str, Any] = {"header": np.frombuffer(text, np.uint8)}
    for name in _NEEDED + _OPTIONAL:
        array = getattr(data, name)
        if array is not None:
            _check_dtype(path, name, array)
            arrays[name] = array
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def load(path: str | Path) -> Dataset:
    """Read an environment in the open format; a ValueError names the file and what is wrong in it."""
    path = Path(path)
    arrays = _read_arrays(path)
    if "header" not in arrays:
        raise ValueError(f"{path}: lacks the entry 'header' (JSON text as uint8 bytes)")
    header = _parse_header(path, arrays.pop("header"))
    unknown = sorted(set(arrays) - set(_NEEDED + _OPTIONAL))
    if unknown:
        raise ValueError(f"{path}: holds the unknown array {unknown[0]!r}; known are {', '.join(_NEEDED + _OPTIONAL)}")
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise ValueError(f"{path}: lacks the array {missing[0]!r}; {', '.join(_NEEDED)} are needed")
    for name, array in arrays.items():
        _check_dtype(path, name, array)
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    lists = {name: tuple(header.pop(name)) for name in _STRING_LISTS if name in header}
    return build_dataset(path, **header, **lists, **arrays)


PARTS: set[Path] = set()
"""What `write_whole` is writing: to be removed by whoever ends the process in the middle of it."""


def write_whole(path: Path, write: Callable[[BinaryIO], T]) -> T:
    """Write a file that appears whole or not at all: beside its place first, then renamed; what `write` gave."""
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    PARTS.add(part)
    try:
        with part.open("wb") as file:
            given = write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        return given
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)
        PARTS.discard(part)


def escape(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates become the six characters of their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(value: Any) -> Any:
    """All text in a JSON value, escaped."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(one) for key, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list | tuple) else value


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    readable_file(path, MAX_BYTES)
    entry = "zip directory"
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > 2 * MAX_BYTES:
                raise ValueError(f"unpacks to more than {2 * MAX_BYTES} bytes")
            for entry in archive.namelist():
                with archive.open(entry) as file:
                    arrays[entry.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # whatever a malformed archive makes its readers raise
        problem = " ".join(f"{entry}: {error}".split())[:200]
        raise ValueError(f"{path}: is no complete .npz archive of plain arrays ({problem})") from None
    return arrays


def _parse_header(path: Path, array: np.ndarray) -> dict[str, Any]:
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(
            f"{path}: header has dtype {array.dtype} and {array.ndim} axes; expected uint8 bytes, one axis"
        )
    try:
        header = json.loads(array.tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: header is not JSON text in UTF-8 ({error})") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: header must be a JSON object")
    schema, version = header.get("schema"), header.get("version")
    if schema != SCHEMA:
        raise ValueError(f"{path}: header names the schema {schema!r}; expected {SCHEMA!r}")
    if version != VERSION:
        raise ValueError(f"{path}: has version {version!r} of the format; this program reads version {VERSION}")
    for name in _HEADER_NEEDED:
        if name not in header:
            raise ValueError(f"{path}: header lacks {name!r}")
    for name, value in header.items():
        if name not in _HEADER:
            raise ValueError(f"{path}: header holds the unknown key {name!r}; known are {', '.join(_HEADER)}")
        kind, words = _HEADER[name]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if fits and isinstance(value, list):
            fits = all(isinstance(item, str) for item in value)
        if not fits:
            raise ValueError(f"{path}: header holds {name!r} that is not {words}")
    del header["schema"], header["version"]
    return header


def _check_dtype(path: Path, name: str, array: np.ndarray) -> None:
    if name == "answers":
        fits, words = array.dtype.kind in "iu", "whole numbers"
    elif name == "test":
        fits, words = array.dtype == bool, "bool"
    else:
        fits, words = array.dtype.kind == "f" and array.dtype.itemsize == 8, "float64"
    if not fits:
        raise ValueError(f"{path}: {name} has dtype {array.dtype}; expected {words}")
