"""A process that is the command `iapo`, as a shell begins it, with what it imports at hand."""

import importlib
import os
import sys
from pathlib import Path

from tune_child import PURE, remembered

from sim import cli

for name in ("sim.adapters.record", "sim.adapters.planning", "sim.adapters.policy", "sim.envs.files"):
    importlib.import_module(name)


def main(arguments: list[str], memory: str) -> None:
    """Run the command with these arguments; with a folder `memory`, JAX computes what no run before has computed."""
    for module, name in PURE if memory else ():
        setattr(module, name, remembered(getattr(module, name), f"{module.__name__}.{name}", Path(memory)))
    sys.argv, code = ["iapo", *arguments], 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stderr.flush()
    os._exit(code)
