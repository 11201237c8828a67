"""The benchmark: core-time of a trial, beside that of Numba, NumPy, the released code and the machine's limit.

One process; all contenders run in turn, again and again, so that ratios survive a machine whose speed drifts. What is
written without this package is first held to give the same returns. Run it as

    python benchmarks/table.py --world MATH_final.pkl --reference FOLDER
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import contenders
import jax
import numpy as np
import roofline
import typer
import worlds
from contenders import Competitor, Timed
from rich.console import Console
from rich.table import Table

from sim.envs.sources import NamedSource

NAMES = ("psst", "psst+k4", "uniform", "triple-n1", "ucb", "epsilon-greedy", "softmax", "prompt-halving")
APART = 5.0
"""Standard errors that a rival's mean return may be from ours."""
console = Console(width=max(120, Console().width))


def spread(numbers: list[float], digits: int = 0, sign: str = "x") -> str:
    """Median and range."""
    if not numbers:
        return "-"
    low, middle, high = (f"{number:,.{digits}f}" for number in (min(numbers), float(np.median(numbers)), max(numbers)))
    return f"{middle}{sign} ({low}-{high})"


def measure(sides: Sequence[Competitor | Timed], repeats: int) -> dict[str, list[float]]:
    """Core-seconds of a trial of every side, once a repeat, in turn; the first side goes first and last."""
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for repeat in range(repeats):
        for side in sides:
            found[side.name].append(side.cost(repeat))
        found[sides[0].name][-1] = (found[sides[0].name][-1] + sides[0].cost(repeat)) / 2
    return found


def check(named: NamedSource, sides: list[Competitor]) -> None:
    """Stop unless every rival's mean return is ours."""
    if len(sides) == 1:
        console.print("no rival in Numba or NumPy for this world")
    for rival in sides[1:]:
        apart = contenders.disagreement(named, sides[0], rival)
        console.print(f"{rival.name}: mean return {apart:.1f} standard errors from ours")
        if apart > APART:
            raise typer.Exit(1)


def main(
    world: Annotated[
        Path | None, typer.Option(exists=True, help="A voting world's file; by default MATH-shaped.")
    ] = None,
    reference_code: Annotated[Path | None, typer.Option("--reference", exists=True, help="The released code.")] = None,
    budget: Annotated[int, typer.Option(min=1, help="Completions T.")] = 5000,
    trials: Annotated[int, typer.Option(min=1, help="Trials per measurement.")] = 1024,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each side, in turn.")] = 9,
    algorithm: Annotated[list[str], typer.Option(help="Only this one; may be repeated.")] = list(NAMES),  # noqa: B006
    best_of_n: Annotated[bool, typer.Option("--best-of-n", help="The best-of-N world with 27 contexts too.")] = False,
) -> None:
    """Print core-time per trial, ratios with their spread, and the fraction of the machine's limit."""
    os.environ.setdefault("NPROC", "1")  # one thread of XLA, as `iapo` has it
    rate = roofline.rates()
    for named in [worlds.voting(world), *([worlds.best_of_n()] if best_of_n else [])]:
        speed = Table("algorithm", "core-us a trial", "released / ours", "least", "reached", title=named.name)
        title = f"{named.name}: least work, core-us of it"
        least = Table("algorithm", *roofline.Work._fields, title=title)
        for name in algorithm:
            sides = [contenders.ours(named, name, budget, trials)]
            if name == "psst":
                sides += contenders.rivals(named, budget, trials)
                check(named, sides)
            found = measure(sides + contenders.released(reference_code, named, name, budget), repeats)
            ours = found["sim"]
            ratios = {side: [a / b for a, b in zip(costs, ours, strict=True)] for side, costs in found.items()}
            need = roofline.work(named, name, budget)
            parts = {} if need is None else roofline.seconds(need, rate)
            limit = sum(parts.values())
            shown = (f"{limit * 1e6:,.0f}", f"{limit / np.median(ours):.1%}") if parts else ("-", "-")
            speed.add_row(name, spread([c * 1e6 for c in ours], sign=""), spread(ratios.get("released", [])), *shown)
            if need is not None:
                least.add_row(name, *(f"{a:,.0f}: {b * 1e6:.1f}" for a, b in zip(need, parts.values(), strict=True)))
            for side in sides[1:]:
                console.print(f"{name}, {side.name} / ours: {spread(ratios[side.name], 2)}")
        console.print(speed, least)
    console.print(f"T = {budget:,}; {trials} trials a measurement, {repeats} measurements in turn: median (range).")
    each = ", ".join(f"{part} {cost * 1e9:.3f}" for part, cost in rate._asdict().items())
    console.print(f"JAX {jax.__version__}; core-ns each: {each}")


if __name__ == "__main__":
    typer.run(main)
