"""A process that runs `iapo tune` to its end, or is killed."""

import hashlib
import importlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from kill_child import die_at

from sim import instances
from sim.adapters import live, summing, tune
from sim.cli import app
from sim.engine import compiling
from sim.kernels import counter, rounds, subsets

for name in (
    "sim.adapters.config",
    "sim.adapters.wire.openai_client",
    "pandas",
    "rich.console",
    "rich.markup",
    "rich.table",
):
    importlib.import_module(name)

PURE = [(instances, "trial_key"), (counter, "fold"), (rounds, "block_counts"), (rounds, "pass_limits")]
PURE += [(live, "_draw"), (summing, "_pull_units"), (summing, "_raw"), (subsets, "blocks_of"), (tune, "describe")]
PURE += [(rounds, "advance")]
"""What a run computes with JAX besides its turns: functions of their arguments alone, which know no journal and no
server."""


def main(file: str, moment: str, count: int, memory: str) -> None:
    """One run; see `kill_child.die_at`. With a folder `memory`, JAX computes there what no run before has computed."""
    for module, name in PURE if memory else ():
        setattr(module, name, remembered(getattr(module, name), f"{module.__name__}.{name}", Path(memory)))
    if memory:
        soon = compiling.soon
        compiling.soon = lambda function: remembered(
            soon(function), f"{function.__module__}.{function.__name__}", Path(memory)
        )
    die_at(moment, count)
    code = app(["tune", file, "--yes"], standalone_mode=False)
    if code:
        raise SystemExit(code)


def remembered(function: Callable[..., Any], name: str, folder: Path) -> Callable[..., Any]:
    """A pure function whose results are kept in files, under a hash of its name and all its arguments.

    JAX needs a second or two to trace and load its programs in every process, whatever they compute.
    """

    def call(*arguments: Any, **more: Any) -> Any:
        leaves, structure = jax.tree.flatten((arguments, more))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return function(*arguments, **more)
        said = [(type(leaf).__name__, str(np.asarray(leaf).dtype), np.asarray(leaf).tolist()) for leaf in leaves]
        place = folder / hashlib.sha256(repr((name, str(structure), said)).encode()).hexdigest()
        if not place.exists():
            found = jax.tree.map(np.asarray, function(*arguments, **more))
            part = place.with_suffix(f".{os.getpid()}")
            part.write_bytes(pickle.dumps(found))
            part.rename(place)  # a kill leaves no half of it
        return jax.tree.map(jnp.asarray, pickle.loads(place.read_bytes()))

    return call
