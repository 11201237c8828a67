"""Counts of programs that a change must not raise unseen: operations of every algorithm's, kernels of a few.

The world has MATH's shape. Counts belong to a version of JAX and jaxlib; the test in `tests/benchmarks` compares with
`counts.json` where the versions are the same. After a change that is meant to move them:

    python benchmarks/counts.py --write
"""

import json
from pathlib import Path
from typing import Annotated, Any

import jax
import jaxlib.version
import programs
import typer
import worlds
from rich.console import Console
from rich.table import Table

from sim import algorithms
from sim.core import Source

KEPT = Path(__file__).with_name("counts.json")
COMPILED = ("psst", "uniform")
"""Algorithms whose optimised programs are counted: compiling takes ten times as long as lowering."""
SLACK = 0.02
"""Share by which a count may differ from what is kept."""


def source() -> Source:
    """The world of MATH's shape that all counts are of."""
    return worlds.voting(None).source


def versions() -> dict[str, str]:
    """Versions of JAX that the counts belong to."""
    return {"jax": jax.__version__, "jaxlib": jaxlib.version.__version__}


def of_lowered(world: Source) -> dict[str, dict[str, int]]:
    """Operations of every algorithm's lowered program, and how often an equal instance makes JAX trace anew.

    The entry "all" counts different programs and their operations together.
    """
    counts, texts = {}, set()
    for name in sorted(algorithms.ALGORITHMS):
        text = programs.lowered(world, algorithms.get(name)).as_text()
        again = programs.traces(world, algorithms.get(name), budget=2, seed=1)
        counts[name] = {"operations": programs.operations(text), "traced again": again}
        texts.add(text)
    counts["all"] = {"programs": len(texts), "operations": sum(programs.operations(text) for text in texts)}
    return counts


def of_compiled(world: Source, name: str) -> dict[str, int]:
    """Kernels, loops and branches of an algorithm's optimised program."""
    found = programs.lowered(world, algorithms.get(name)).compile()
    return programs.kernels(found.compiled.as_text())._asdict()


def count() -> dict[str, Any]:
    """All counts, as they are kept."""
    world = source()
    compiled = {name: of_compiled(world, name) for name in COMPILED}
    return {**versions(), "lowered": of_lowered(world), "compiled": compiled}


def moved(kept: dict[str, int], now: dict[str, int]) -> list[str]:
    """A sentence for every count that differs from what is kept by more than `SLACK`."""
    said = []
    for what, old in kept.items():
        new = now[what]
        if abs(new - old) > SLACK * old:
            advice = "find out why" if new > old else "good; keep the new count (python benchmarks/counts.py --write)"
            said.append(f"{what}: {old:,} kept, {new:,} now: {advice}")
    return said


def main(
    write: Annotated[bool, typer.Option("--write", help=f"Keep the counts in {KEPT.name}.")] = False,
) -> None:
    """Count all programs, compare with what is kept, or keep them."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    now = count()
    table = Table("algorithm", "program", "count", "kept", "now")
    for kind in ("lowered", "compiled"):
        for name, counts in now[kind].items():
            for what, number in counts.items():
                old = kept.get(kind, {}).get(name, {}).get(what)
                table.add_row(name, kind, what, "-" if old is None else f"{old:,}", f"{number:,}")
    Console(width=100).print(table)
    if write:
        KEPT.write_text(json.dumps(now, indent=2) + "\n")
        typer.echo(f"In {KEPT}")


if __name__ == "__main__":
    typer.run(main)
