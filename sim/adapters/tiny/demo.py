"""Files of a run of `iapo tune` on the tiny model: the configuration, queries to tune on, and others to evaluate on."""

import json
from pathlib import Path

import numpy as np

from sim.adapters.tiny import task
from sim.writing import write_whole

TOML = Path(__file__).with_name("tiny.toml")
ADDRESS = "http://127.0.0.1:8765/v1"
"""The address in the example."""
TUNING, EVALUATION = {2: 28, 3: 86, 4: 86}, {2: 21, 3: 60, 4: 60}
"""Queries by how many numbers they have, in the two files."""


def write(folder: Path, address: str = ADDRESS) -> None:
    """Write tiny.toml, queries.jsonl and held-out.jsonl; no two queries are the same.

    Raises:
        ValueError: one of the files exists.
    """
    rng = np.random.default_rng(0)
    parts: tuple[list[str], list[str]] = ([], [])
    for count in task.COUNTS:
        every = rng.permutation(np.array(list(np.ndindex((task.MODULUS,) * count))))
        rows = [_row(numbers) for numbers in every[: TUNING[count] + EVALUATION[count]]]
        parts[0].extend(rows[: TUNING[count]])
        parts[1].extend(rows[TUNING[count] :])
    files = {
        "tiny.toml": TOML.read_text(encoding="utf-8").replace(ADDRESS, address),
        "queries.jsonl": "".join(parts[0]),
        "held-out.jsonl": "".join(parts[1]),
    }
    for name in files:
        if (folder / name).exists():
            raise ValueError(f"{folder / name} exists; name a new folder for the example")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_whole(folder / name, lambda file, text=text: file.write(text.encode()))


def _row(numbers: np.ndarray) -> str:
    return json.dumps({"query": task.question(numbers), "gold": int(numbers.sum() % task.MODULUS)}) + "\n"
