r"""The open file format for environments, and reading any environment file.

An environment file is a .npz archive (a zip of .npy arrays) that holds no pickle, so that any language
can read and write it:

* `header`: bytes (uint8) of a JSON object in UTF-8 with the keys schema ("iapo-environment"), version
  (3), name, aggregate, max_scale, checksums and, optionally, tie, prompt_names, context_names, provenance.
* the arrays of `Dataset`, under the names of its fields. probs, objective_weights, cost_weights and
  costs are needed; values, context_probs, query_weights and pair_costs are optional; all are float64. answers
  and completions (whole numbers) and test (bool) are optional too.

`checksums` holds the SHA-256, in hexadecimal, of every entry but the header: of the bytes of its .npy file. A file
whose entries are not exactly those is refused, so that a damaged directory of the archive loses nothing unnoticed.
Version 1, which had neither checksums nor completions, and version 2, without pair_costs, are still read. Entries are
stored or deflated; all together unpack to at most 1 GiB.

Fields mean what `Dataset` says. What is optional and absent has the default of `Dataset`. Text that UTF-8 cannot hold,
the lone surrogates of UTF-16, is written as its escape: the six characters \ud83d.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from sim.envs.archives import MAX_UNPACKED, check_directory, readable_file
from sim.envs.dataset import Dataset
from sim.envs.released import build_dataset, read_released
from sim.writing import escape, write_whole

SCHEMA = "iapo-environment"
VERSION = 3

_READ = (1, 2, 3)
_NEEDED = ("probs", "objective_weights", "cost_weights", "costs")
_OPTIONAL = ("values", "answers", "context_probs", "query_weights", "test", "completions", "pair_costs")
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
    "checksums": (dict, "an object"),
}
_HEADER_NEEDED = ("name", "aggregate", "max_scale")


def read(path: str | Path) -> Dataset:
    """Read an environment file: .npz in the open format, .pkl as released by the paper's authors.

    Args:
        path: the file; its ending says which.

    Raises:
        ValueError: it cannot be read, or something in it is wrong; the sentence names the file and what that is.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from sim import envs, load, save
        >>> with TemporaryDirectory() as folder:
        ...     save(envs.get("crossover").data, Path(folder) / "mine.npz")
        ...     load(Path(folder) / "mine.npz").name
        'crossover'
    """
    suffix = Path(path).suffix
    if suffix == ".npz":
        return load(path)
    if suffix == ".pkl":
        return read_released(path)
    if Path(path).is_dir():
        raise ValueError(f"{path}: is a folder; name a file in it, .npz or .pkl")
    raise ValueError(f"{path}: the name of an environment file ends in .npz or .pkl, not in {suffix!r}")


def save(data: Dataset, path: str | Path) -> None:
    """Write an environment in the open format; the file appears whole or not at all.

    Args:
        data: the environment.
        path: the file, whose name ends in .npz; one that is there is replaced.

    Raises:
        ValueError: the name ends otherwise, or the environment holds what the format cannot.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from sim import envs, save
        >>> with TemporaryDirectory() as folder:
        ...     save(envs.get("crossover").data, Path(folder) / "mine.npz")
        ...     [path.name for path in Path(folder).iterdir()]
        ['mine.npz']
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: the name of an environment file must end in .npz")
    fields = ("name", "aggregate", "max_scale", "tie", "prompt_names", "context_names", "provenance")
    arrays: dict[str, Any] = {}
    for name in _NEEDED + _OPTIONAL:
        array = getattr(data, name)
        if array is not None:
            _check_dtype(path, name, array)
            arrays[name] = array
    header = {"schema": SCHEMA, "version": VERSION} | {name: getattr(data, name) for name in fields}
    header["checksums"] = {name: _checksum(array) for name, array in arrays.items()}
    try:
        text = json.dumps(_escaped(header), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the header (names, provenance) cannot be written as JSON ({error})") from None
    arrays = {"header": np.frombuffer(text, np.uint8)} | arrays
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def load(path: str | Path) -> Dataset:
    """Read an environment in the open format.

    Args:
        path: the file.

    Raises:
        ValueError: it cannot be read, or something in it is wrong; the sentence names the file and what that is.
    """
    path = Path(path)
    arrays, checksums = _read_arrays(path)
    if "header" not in arrays:
        raise ValueError(f"{path}: lacks the entry 'header' (JSON text as uint8 bytes)")
    header = _parse_header(path, arrays.pop("header"))
    if "checksums" in header:
        del checksums["header"]
        _check_entries(path, header.pop("checksums"), checksums)
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


def _escaped(value: Any) -> Any:
    """All text in a JSON value, escaped."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(one) for key, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list | tuple) else value


class _Digested:
    """A stream of bytes with the SHA-256 of what went through it."""

    def __init__(self, source: zipfile.ZipExtFile | None = None) -> None:
        self.source, self.digest = source, hashlib.sha256()

    def read(self, size: int) -> bytes:
        assert self.source is not None
        part = self.source.read(size)
        self.digest.update(part)
        return part

    def write(self, part: bytes) -> int:
        self.digest.update(part)
        return len(part)


def _checksum(array: np.ndarray) -> str:
    """SHA-256 of the .npy file of an array."""
    stream = _Digested()
    np.lib.format.write_array(cast(IO[bytes], stream), array, allow_pickle=False)
    return stream.digest.hexdigest()


def _read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of an archive, and the checksum of each."""
    readable_file(path, MAX_UNPACKED)
    entry = "zip directory"
    arrays, checksums = {}, {}
    try:
        with zipfile.ZipFile(path) as archive:
            check_directory(path, archive)
            for info in archive.infolist():
                entry = info.filename
                name = entry.removesuffix(".npy")
                with archive.open(info) as file:
                    stream = _Digested(cast(zipfile.ZipExtFile, file))
                    arrays[name] = np.lib.format.read_array(cast(IO[bytes], stream), allow_pickle=False)
                    if file.read(1):
                        raise ValueError("holds more than one array")
                checksums[name] = stream.digest.hexdigest()
    except Exception as error:  # whatever a malformed archive makes its readers raise
        problem = " ".join(f"{entry}: {error}".split())[:200]
        raise ValueError(f"{path}: is no complete .npz archive of plain arrays ({problem})") from None
    return arrays, checksums


def _check_entries(path: Path, said: dict[str, Any], found: dict[str, str]) -> None:
    """Complain unless a file holds exactly the entries that its header names, as they were written."""
    for name in sorted(said.keys() | found.keys()):
        if name not in found:
            raise ValueError(f"{path}: lacks the entry {name!r}, which its header names; the file is damaged")
        if name not in said:
            raise ValueError(f"{path}: holds the entry {name!r}, which its header does not name; the file is damaged")
        if said[name] != found[name]:
            raise ValueError(f"{path}: {name} is not what was written (its SHA-256 differs); the file is damaged")


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
    if version not in _READ:
        raise ValueError(f"{path}: has version {version!r} of the format; this program reads versions 1 to {VERSION}")
    for name in _HEADER_NEEDED + (("checksums",) if version > 1 else ()):
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
    if name in ("answers", "completions"):
        fits, words = array.dtype.kind in "iu", "whole numbers"
    elif name == "test":
        fits, words = array.dtype == bool, "bool"
    else:
        fits, words = array.dtype.kind == "f" and array.dtype.itemsize == 8, "float64"
    if not fits:
        raise ValueError(f"{path}: {name} has dtype {array.dtype}; expected {words}")
