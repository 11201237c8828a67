"""A process that runs the `iapo` command, for whose imports nobody waits."""

import importlib
import os
import sys

ROOMS = (  # and not `theory`, whose import computes with JAX: a process with its threads cannot fork
    *(
        "sim.cli.commands",
        "sim.cli.streams",
        "sim.cli.processes",
        "sim.comparison.compare",
        "matplotlib.pyplot",
        "seaborn",
    ),
    *("matplotlib.backends.backend_pdf", "pyarrow.parquet", "scipy.stats", "rich.table", "rich.progress"),
)
for name in ROOMS:
    importlib.import_module(name)


def main(folder: str, *arguments: str) -> None:
    """Run `iapo` with these arguments in a folder, in a process group of its own. Never returns."""
    os.setpgid(0, 0)
    os.chdir(folder)
    sys.argv = ["iapo", *arguments]
    code = 1
    try:
        importlib.import_module("sim.cli").main()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
