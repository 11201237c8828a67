"""A process that runs `iapo tune` to its end, or is killed."""

import importlib

from kill_child import die_at

from sim.cli import app

for name in ("sim.adapters.config", "sim.adapters.tune", "sim.adapters.openai_client", "jax", "pandas", "rich.table"):
    importlib.import_module(name)


def main(file: str, moment: str, count: int) -> None:
    """One run; see `kill_child.die_at`."""
    die_at(moment, count)
    code = app(["tune", file, "--yes"], standalone_mode=False)
    if code:
        raise SystemExit(code)
