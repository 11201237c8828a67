"""Replays of the tiny model's record: the budget at which mean regret is small at every cost level, by algorithm.

The bundled model answers the 200 queries of its example with each of its four prompts 32 times, through the command and
its server as `iapo record` does it with any model. Trials then draw from these completions; values are exact for the
record. A budget is enough where the mean regret of every context is at most `--level`, there and at all larger ones.

    python benchmarks/tiny_replays.py --out results/tiny
    python benchmarks/tiny_replays.py --out results/tiny --algorithm mixture-racing --budget 500 --budget 1k

What is recorded, and finished cells, are kept in the folder; `replays.csv` has a row per (algorithm, budget, context).
"""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import theory
from sim import compare, defaults
from sim.adapters.tiny import demo, server, tasks, weights
from sim.envs import files
from sim.envs.sources import fixed
from sim.whole import whole
from sim.writing import write_whole

BUDGETS = [250, 350, 500, 700, 1000, 1400, 2000, 2800, 4000, 5600, 8000, 11_200]
COMPLETIONS = 32
"""Of each prompt on each query."""
COLUMNS = ["algorithm", "budget", "context", "regret_mean", "regret_sem"]


def recorded(folder: Path, of: tasks.TinyTask = tasks.SUMS, completions: int = COMPLETIONS) -> Path:
    """The record of a tiny model in a folder, made where it is not there yet."""
    world = folder / "world.npz"
    if world.exists():
        return world
    made = server.serve(weights.load(of.weights)[0], task=of)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        if not (folder / "run").exists():
            demo.write(folder / "run", of=of)
        file = folder / "run" / f"{of.model}.toml"
        file.write_text(file.read_text(encoding="utf-8").replace(demo.ADDRESS, server.url(made)), encoding="utf-8")
        command = [sys.executable, "-m", "sim.cli", "record", file, "-n", completions, "--out", world, "--yes"]
        subprocess.run(list(map(str, command)), check=True)
    finally:
        made.shutdown()
        made.server_close()
    return world


def enough(rows: pd.DataFrame, level: float) -> int | None:
    """The least budget from which on no context has more mean regret; None where the largest is too small.

    Args:
        rows: of one algorithm, a row per budget and context.
        level: mean regret that is allowed.

    Example:
        >>> rows = {"budget": [1, 2, 4, 8], "regret_mean": [0.1, 0.3, 0.2, 0.1]}
        >>> enough(pd.DataFrame(rows), 0.2)
        4
    """
    worst = rows.groupby("budget")["regret_mean"].max().sort_index(ascending=False)
    least = worst[(worst <= level).cummin()]
    return None if least.empty else int(least.index[-1])


def main(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the record, finished cells and the table.")],
    algorithm: Annotated[list[str] | None, typer.Option(help="Once per algorithm.")] = None,
    budget: Annotated[list[int] | None, typer.Option(parser=whole, metavar="T", help="Once per budget.")] = None,
    trials: Annotated[int, typer.Option(parser=whole, metavar="N", help="Replays per algorithm and budget.")] = 200,
    level: Annotated[float, typer.Option(help="Mean regret that is allowed in every context.")] = 0.002,
    seed: Annotated[int, typer.Option(parser=whole, metavar="S", help="Of the replays.")] = 0,
) -> None:
    """Compare algorithms on replays of the tiny model's record, context by context."""
    out.mkdir(parents=True, exist_ok=True)
    world = fixed(files.load(recorded(out)), train_fraction=1.0)
    names = algorithm or [defaults.RECOMMENDED, defaults.REFERENCE]
    found = compare(
        names, [world], budget or BUDGETS, trials=trials, seed=seed, exact=theory.exact_values, out=out / "cells"
    )
    table = found.contexts[COLUMNS]
    write_whole(out / "replays.csv", lambda file: file.write(table.to_csv(index=False).encode()))
    said = table.assign(
        said=[f"{mean:.4f} ({sem:.4f})" for mean, sem in table[["regret_mean", "regret_sem"]].to_numpy()]
    )
    for name in names:
        own = said[said["algorithm"] == name]
        typer.echo(f"\n{name}: mean regret (standard error), {trials} replays")
        typer.echo(own.pivot(index="budget", columns="context", values="said")[own["context"].unique()].to_string())
    for name in names:
        least = enough(table[table["algorithm"] == name], level)
        reached = "at no budget that was tried" if least is None else f"from T = {least:,}"
        typer.echo(f"{name}: at most {level:g} in every context {reached}")


if __name__ == "__main__":
    typer.run(main)
