"""Weights on disk in the safetensors format: eight bytes of length, a JSON header, then the arrays as they are.

Format: https://huggingface.co/docs/safetensors (float32 only here, little-endian).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from sim.adapters.tiny.model import Params
from sim.writing import write_whole

SUMS, NOTES = (Path(__file__).with_name(name) for name in ("weights.safetensors", "notes.safetensors"))
"""The weights that come with the project, by task."""


def save(path: Path, params: Params, notes: Mapping[str, str]) -> None:
    """Write weights, and `notes` as the metadata of the header."""
    header: dict[str, object] = {"__metadata__": dict(notes)}
    parts, start = [], 0
    for name, array in params._asdict().items():
        data = np.asarray(array, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, start + len(data)]}
        parts.append(data)
        start += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_whole(path, lambda file: file.write(b"".join([len(text).to_bytes(8, "little"), text, *parts])))


def load(path: Path = SUMS) -> tuple[Params, dict[str, str]]:
    """Weights, and the notes stored with them.

    Raises:
        ValueError: the file is not one that `save` wrote.
    """
    data = path.read_bytes()
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        notes = header.pop("__metadata__")
        arrays = {name: _array(entry, data[8 + size :]) for name, entry in header.items()}
        return Params(**arrays), notes
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold the weights of the tiny model ({error})") from None


def _array(entry: dict, data: bytes) -> jnp.ndarray:
    if entry["dtype"] != "F32":
        raise ValueError(f"numbers of type {entry['dtype']} where F32 is needed")
    start, end = entry["data_offsets"]
    return jnp.asarray(np.frombuffer(data[start:end], "<f4").reshape(entry["shape"]))
