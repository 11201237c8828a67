"""Growth of the cost of a trial with |P|, Nmax, |C| and T: a table, the exponents and a figure.

Core-time of one trial of PSST on random majority-vote worlds, one size varied at a time. Run it as

    python benchmarks/scale.py --out results/scale
"""

import os
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from figures import style
from figures.results import scale
from sim import algorithms
from sim.comparison import tables
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource, fixed
from sim.kernels import portions

BASE = {"prompts": 32, "scales": 32, "contexts": 3, "budget": 5000}
SIZES = {
    "prompts": (8, 32, 125, 500, 1000),
    "scales": (4, 16, 32, 64, 128, 256),
    "contexts": (1, 3, 10, 100, 1000),
    "budget": (1_000, 5_000, 20_000, 100_000, 1_000_000, 10_000_000),
}
ELEMENTS = 2**22
"""Estimates held at a time: lanes are as many as fit, so that memory does not grow with the world."""


COMPLETIONS = 2**28
"""Completions that a call may spend, so that one with the largest budgets takes seconds."""


def world(prompts: int, scales: int, contexts: int) -> NamedSource:
    """A random world: five answers, 100 queries, cost levels spread evenly."""
    rng = np.random.default_rng(0)
    return fixed(
        Dataset(
            name="random",
            aggregate=("mv",),
            probs=rng.dirichlet(np.full(5, 0.5), (prompts, 100)),
            answers=rng.integers(0, 5, 100),
            objective_weights=np.ones((contexts, 1)),
            cost_weights=np.linspace(0.0, 1.0, contexts),
            costs=rng.uniform(0.002, 0.01, prompts),
            max_scale=scales,
        )
    )


def measure(algorithm: str, prompts: int, scales: int, contexts: int, budget: int, seconds: float) -> dict[str, float]:
    """Core-seconds of a trial and of compiling; as many trials as take about `seconds`."""
    named, rule = world(prompts, scales, contexts), algorithms.get(algorithm)
    lanes = max(1, min(portions.of_device().lanes, ELEMENTS // (prompts * scales * contexts), COMPLETIONS // budget))
    start = time.process_time()
    runner.warm_up(named.source, rule, lanes, lanes, fused=True)
    compiled = time.process_time() - start
    trials, spent = lanes, 0.0
    while True:
        start = time.process_time()
        runner.run_trials(named.source, rule, budget, seed=trials, trials=trials, chunk=lanes, fused=True)
        spent = time.process_time() - start
        if spent > seconds / 2 or trials >= 4096:
            return {"trial": spent / trials, "compile": compiled, "trials": trials, "lanes": lanes}
        trials *= 2 if spent > seconds / 8 else 4


def main(
    out: Annotated[Path, typer.Option(help="Folder for scale.csv, scale.png and scale.pdf.")] = Path("results/scale"),
    algorithm: Annotated[str, typer.Option(help="From `iapo algorithms`.")] = "psst",
    seconds: Annotated[float, typer.Option(min=0.01, help="Core-seconds per measurement, about.")] = 4.0,
    axis: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(SIZES)}; all when none.")] = None,
) -> None:
    """Measure, print the exponents, and draw cost against every size."""
    os.environ.setdefault("NPROC", "1")  # one thread of XLA, as `iapo` has it
    rows = []
    for name in axis or SIZES:
        for size in SIZES[name]:
            found = measure(algorithm, **{**BASE, name: size}, seconds=seconds)
            rows.append({"algorithm": algorithm, "axis": name, "size": size, **found})
            typer.echo(f"{name} = {size:,}: {found['trial'] * 1e6:,.0f} us a trial", err=True)
    table = pd.DataFrame(rows)
    out.mkdir(parents=True, exist_ok=True)
    tables.save(table, out / "scale.csv")
    for kind in ("png", "pdf"):
        style.save(scale.draw(table), out / f"scale.{kind}")
    shown = Table("size", "from", "to", "core-us a trial", "exponent", "exponent, upper half")
    for name, own in table.groupby("axis", sort=False):
        ends = f"{own['trial'].iloc[0] * 1e6:,.0f} to {own['trial'].iloc[-1] * 1e6:,.0f}"
        slopes = (f"{scale.exponent(part):.2f}" for part in (own, own.iloc[len(own) // 2 - 1 :]))
        shown.add_row(str(name), f"{own['size'].iloc[0]:,}", f"{own['size'].iloc[-1]:,}", ends, *slopes)
    Console().print(shown)
    typer.echo(f"In {out}: scale.csv, scale.png, scale.pdf")


if __name__ == "__main__":
    typer.run(main)
