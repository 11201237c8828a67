"""Results kept on disk under the digest of all they depend on, so that a run that was killed can go on.

A result is a .npz archive without pickles, named by a SHA-256: of the environment and the algorithm down to every
number, of seed and trials, and of the text of the program that is run. Whatever changes leads to another name.
A result appears whole or not at all, and carries a checksum: one that does not match counts as absent.
"""

import ast
import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sim.envs.files import write_whole

SCHEMA = 1
_LABELS = ("name", "provenance", "prompt_names", "context_names")
"""Fields that people read and no number depends on."""


class Interrupted(KeyboardInterrupt):
    """Work was stopped by the user with `kept` of `total` cells on disk."""

    def __init__(self, kept: int, total: int):
        super().__init__(f"stopped with {kept} of {total} cells finished")
        self.kept, self.total = kept, total


class Content(NamedTuple):
    """What is kept.

    Attributes:
        arrays: the numbers.
        record: how they came about (seconds, say).
    """

    arrays: dict[str, np.ndarray]
    record: dict[str, Any]


def digest(thing: Any) -> str:
    """SHA-256 (hexadecimal) of the description of anything."""
    return hashlib.sha256(json.dumps(describe(thing), sort_keys=True).encode()).hexdigest()


def describe(thing: Any) -> Any:
    """A JSON value that two things share only if they agree in every number.

    Args:
        thing: made of dataclasses (an algorithm, a source, a data set), arrays, containers and scalars.
    """
    if isinstance(thing, np.ndarray | jax.Array):
        array = np.ascontiguousarray(thing)
        return {"array": f"{array.dtype.str}{array.shape}", "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = (field.name for field in dataclasses.fields(thing) if field.name not in _LABELS)
        return {"class": type(thing).__qualname__} | {name: describe(getattr(thing, name)) for name in fields}
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, tuple | list):
        return [describe(item) for item in thing]
    if isinstance(thing, np.generic):
        return thing.item()
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    raise TypeError(f"a {type(thing).__name__} cannot be described in full; keep it out of what identifies results")


def program_digest(*modules: str) -> str:
    """SHA-256 of the text of modules of this project and of all they import from it, however indirectly.

    Results then depend on the program that made them, and on no other part of the project: an edited algorithm is run
    again, the ones beside it are not.

    Args:
        modules: dotted names; those of other projects are left out.
    """
    found: set[str] = set()
    waiting = {name for name in modules if _file(name)}
    while waiting:
        found |= waiting
        waiting = {name for module in waiting for name in _imports(module)} - found
    return digest({name: _text(name) for name in sorted(found)})


@cache
def _imports(module: str) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(_text(module))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = (f"{node.module}.{alias.name}" for alias in node.names)
            names |= {name if _file(name) else node.module for name in inside}
    return frozenset(name for name in names if _file(name))


@cache
def _text(module: str) -> str:
    path = _file(module)
    return "" if path is None else path.read_text(encoding="utf-8")


@cache
def _file(module: str) -> Path | None:
    """The file of a module of this project; None for what is not one."""
    room, *parts = module.split(".")
    if room not in ("sim", "theory"):
        return None
    place = Path(__file__).resolve().parents[1].joinpath(room, *parts)
    paths = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in paths if path.is_file()), None)


def save(path: Path, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Write a result; it appears whole or not at all."""
    header = {"schema": SCHEMA, "record": dict(record), "checksum": _checksum(arrays, record)}
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    write_whole(path, lambda file: np.savez(file, allow_pickle=False, header=text, **arrays))


def load(path: Path) -> Content | None:
    """Read a result; None if there is none or its checksum does not match."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {}
            for entry in archive.namelist():
                with archive.open(entry) as file:
                    arrays[entry.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
        header = json.loads(arrays.pop("header").tobytes())
        if header["schema"] == SCHEMA and header["checksum"] == _checksum(arrays, header["record"]):
            return Content(arrays, header["record"])
    except Exception:  # whatever a damaged archive makes its readers raise
        return None
    return None


def _checksum(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> str:
    return digest({"arrays": dict(sorted(arrays.items())), "record": dict(record)})
