"""Files of a run of `iapo tune` on a tiny model: the configuration, queries to tune on, and others to evaluate on."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sim.adapters.tiny import notes, task, tasks
from sim.adapters.tiny.tasks import TinyTask
from sim.writing import write_whole

HERE = Path(__file__).parent
ADDRESS = "http://127.0.0.1:8765/v1"
"""The address in the examples."""
TUNING, EVALUATION = {2: 28, 3: 86, 4: 86}, {2: 21, 3: 60, 4: 60}
"""Queries by how many numbers they have, in the two files."""
NOTES_TUNING, NOTES_EVALUATION = 200, 140
"""Queries of the notes, in the two files."""


def write(folder: Path, address: str = ADDRESS, of: TinyTask = tasks.SUMS) -> None:
    """Write the run file of a task, queries.jsonl, held-out.jsonl and what else it needs; no two queries are the same.

    Raises:
        ValueError: one of the files exists.
    """
    files = _sums() if of == tasks.SUMS else _notes()
    files[f"{of.model}.toml"] = _text(f"{of.model}.toml").replace(ADDRESS, address)
    for name in files:
        if (folder / name).exists():
            raise ValueError(f"{folder / name} exists; name a new folder for the example")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_whole(folder / name, lambda file, text=text: file.write(text.encode()))


def _sums() -> dict[str, str]:
    rng = np.random.default_rng(0)
    parts: tuple[list[str], list[str]] = ([], [])
    for count in task.COUNTS:
        every = rng.permutation(np.array(list(np.ndindex((task.MODULUS,) * count))))
        rows = [
            _row({"query": task.question(numbers), "gold": int(numbers.sum() % task.MODULUS)})
            for numbers in every[: TUNING[count] + EVALUATION[count]]
        ]
        parts[0].extend(rows[: TUNING[count]])
        parts[1].extend(rows[TUNING[count] :])
    return {"queries.jsonl": "".join(parts[0]), "held-out.jsonl": "".join(parts[1])}


def _notes() -> dict[str, str]:
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    while len(found) < NOTES_TUNING + NOTES_EVALUATION:
        found[_row({"query": notes.question(notes.draw(rng, int(rng.choice(notes.COUNTS))))})] = None
    rows = [*found]
    tuning, evaluation = rows[:NOTES_TUNING], rows[NOTES_TUNING:]
    return {
        "queries.jsonl": "".join(tuning),
        "held-out.jsonl": "".join(evaluation),
        "scores.py": _text("scores.py"),
    }


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _row(content: Mapping[str, str | int]) -> str:
    return json.dumps(content) + "\n"
