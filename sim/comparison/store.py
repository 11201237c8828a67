"""Results kept on disk under the digest of all they depend on, so that a run that was killed can go on.

A result is a .npz archive without pickles, named by a SHA-256: of the environment and the algorithm down to every
number, of seed and trials, and of the program that is run (`sim.program`). Whatever changes leads to another name.
A result appears whole or not at all, and carries a checksum: one that does not match counts as absent.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sim.digests import digest
from sim.writing import write_whole

SCHEMA = 1


class Interrupted(KeyboardInterrupt):
    """Work was stopped by the user with `kept` of `total` cells on disk."""

    def __init__(self, kept: int, total: int):
        super().__init__(f"stopped with {kept} of {total} cells finished")
        self.kept, self.total = kept, total


class Content(NamedTuple):
    """Content of a kept file.

    Attributes:
        arrays: the numbers.
        record: how they came about (seconds, say).
    """

    arrays: dict[str, np.ndarray]
    record: dict[str, Any]


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
