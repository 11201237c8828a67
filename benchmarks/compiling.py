"""Core-seconds of compiling and kernels of every algorithm, each in a process of its own, nothing kept from before.

With `--cache-dir` programs are kept, or found, in a folder: the second run then shows what a warm start costs.
Run it as

    python benchmarks/compiling.py --world MATH_final.pkl --algorithm psst --algorithm ucb
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import programs
import typer
import worlds
from rich.console import Console
from rich.table import Table

from sim import algorithms
from sim.engine import runner

TRIALS = 256
"""Trials that are compiled for; how many hardly shows."""


def compiled(name: str, world: Path | None, stepwise: bool) -> dict[str, float]:
    """Core-seconds of compiling one algorithm in this process, after imports, and what its programs hold."""
    source = worlds.voting(world).source
    start = time.process_time()
    runner.warm_up(source, algorithms.get(name), TRIALS, fused=not stepwise)
    took = time.process_time() - start
    client: Any = jax.devices()[0].client
    texts = [module.to_string() for program in client.live_executables() for module in program.hlo_modules()]
    total = programs.Kernels(0, 0, 0, 0, 0)
    for text in texts:
        total = total + programs.kernels(text)
    return {"seconds": took, "programs": len(texts), **total._asdict()}


def in_child(name: str, world: Path | None, stepwise: bool, cache: Path | None) -> dict[str, float]:
    """The same in a fresh process, which keeps or finds programs in `cache` only."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    environment.setdefault("NPROC", "1")  # one thread of XLA, as `iapo` has it
    if cache is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(cache.resolve())
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    command = [sys.executable, __file__, "--child", "--algorithm", name, *(["--stepwise"] if stepwise else [])]
    command += [] if world is None else ["--world", str(world)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main(
    world: Annotated[
        Path | None, typer.Option(exists=True, help="A voting world's file; by default MATH-shaped.")
    ] = None,
    algorithm: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    stepwise: Annotated[
        bool, typer.Option("--stepwise", help="The programs of few trials, run round by round.")
    ] = False,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Folder that keeps programs; run twice for a warm start.")
    ] = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Print core-seconds of compiling, programs, kernels, loops and branches."""
    names = algorithm or list(algorithms.ALGORITHMS)
    if child:
        typer.echo(json.dumps(compiled(names[0], world, stepwise)))
        return
    heads = ("algorithm", "core-s", "programs", "kernels", "loops", "branches")
    table = Table(*heads)
    for name in names:
        found = in_child(name, world, stepwise, cache_dir)
        table.add_row(name, f"{found['seconds']:.1f}", *(f"{found[head]:,.0f}" for head in heads[2:]))
        typer.echo(f"{name}: {found['seconds']:.1f} core-s", err=True)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
