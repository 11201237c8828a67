"""Logs of other tools, imported by the command."""

from pathlib import Path
from typing import Any

from tool_logs import iapo

from sim.envs import files
from sim.envs.dataset import Dataset
from theory import exact


def imported(log: Path, *options: object) -> tuple[Dataset, Any]:
    """The environment of a log, and what the command said."""
    to = log.with_name("made.npz")
    done = iapo("env", "import", log, "--out", to, *options)
    assert done.exit_code == 0, done.output
    return files.load(to), done


def first_values(data: Dataset) -> list[float]:
    """Of the first prompt in the first context, by N."""
    return exact.values(data)[0, 0].tolist()
