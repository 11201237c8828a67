"""Fair play: algorithms are chosen on development worlds, and judged on test worlds that nobody has seen before.

Development: the library's worlds, worlds of every kind in `drawn_worlds` from `DEVELOPMENT_SEED`, and one half of
MATH's queries. Try as many configurations there as you like; the file of results counts them. Then freeze the code and
its options by a commit, and only then take a seed for the test: worlds of the same kinds drawn from it, fresh trials of
the synthetic families, and the other half of MATH's queries. Trial t of a world is the same for all: differences are
paired.

    python benchmarks/fair_play.py --out results/fair --algorithm psst --algorithm mixture-racing --math MATH_final.pkl
    python benchmarks/fair_play.py --out results/fair --algorithm ... --split test --seed SEED

Each world's finished cells are kept under the folder: stop it, and the same command goes on. The file
`development.csv` or `test-SEED.csv` has a row per (world, algorithm, budget, trials, program); rows of earlier calls
stay, unless they are made again. A rule that was edited is another program, counted as another configuration.
"""

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import drawn_worlds
import numpy as np
import pandas as pd
import typer

import theory
from sim import compare, envs
from sim.comparison import contenders
from sim.envs import hard, racing_traps
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource, fixed
from sim.writing import write_whole

DEVELOPMENT_SEED = 0
"""Root of the development worlds and of all their trials."""
MATH_HALVES = 20261130
"""Seed that divides MATH's queries into two halves."""
FRESH = ("synth-bernoulli", "synth-categorical")
"""Families of the library that draw a world for every trial: the seed of the trials tells the splits apart."""
FAMILIES = ("mv-three-scales", "crossover", "bon-query-effects", "beta-bon")
"""Small worlds of the library for development."""
NUMBER = 3
"""Worlds of every drawn kind."""
BUDGETS = (60, 250, 1000, 5000, 20000)
KEY = ["split", "world", "algorithm", "budget", "trials", "program"]
"""Columns that tell rows apart: a rule that was edited, or tried with more trials, has rows beside the old ones."""
COLUMNS = [
    *(*KEY, "seed", "regret_mean", "regret_sem"),
    *("reference", "less_reference_mean", "less_reference_sem", "spent_mean"),
]


class Split(StrEnum):
    """Worlds to choose on, or to judge on."""

    development = "development"
    test = "test"


def worlds(split: Split, seed: int, math: Path | None) -> Iterator[NamedSource]:
    """Worlds of a split, in a fixed order.

    Args:
        split: which.
        seed: that of the drawn worlds.
        math: the released file of MATH, of which each split has a half; left out when None.
    """
    if split is Split.development:
        yield from (envs.get(name) for name in (*FAMILIES, *hard.HARD, *racing_traps.TRAPS))
    yield from map(envs.get, FRESH)
    for kind in drawn_worlds.KINDS:
        for number in range(NUMBER):
            yield fixed(drawn_worlds.draw(kind, seed, number))
    if math is not None:
        data = envs.get(str(math)).data
        if data is None:
            raise ValueError(f"{math} holds no data set; --math takes the released file of MATH")
        yield fixed(half(data, split))


def half(data: Dataset, split: Split) -> Dataset:
    """One half of a data set's queries, drawn once; the other split has the rest."""
    order = np.random.default_rng(MATH_HALVES).permutation(data.num_queries)
    middle = data.num_queries // 2
    ids = np.sort(order[:middle] if split is Split.development else order[middle:])
    return replace(data.subset(ids), name=f"{data.name}-{split}")


def rows(
    split: Split, world: NamedSource, algorithms: list[str], budgets: list[int], trials: int, seed: int, out: Path
) -> pd.DataFrame:
    """Mean regret of every algorithm at every budget on a world, and less that of the first: columns `COLUMNS`."""
    found = compare(
        algorithms,
        {world.name: world},
        budgets,
        trials=trials,
        seed=seed,
        exact=theory.exact_values,
        reference=algorithms[0],
        out=out / "cells" / world.name,
    )
    table: Any = found.trials.pivot(index=["budget", "trial"], columns="algorithm", values="regret")
    spent: Any = found.trials.groupby(["algorithm", "budget"])["spent"].mean()
    made = []
    for name in algorithms:
        program = contenders.get(name).program.key[:12]
        for budget in budgets:
            regret, other = (table.loc[budget, column].to_numpy() for column in (name, algorithms[0]))
            head = (split.value, world.name, name, budget, trials, program, seed, *mean(regret))
            made.append((*head, algorithms[0], *mean(regret - other), spent[name, budget]))
    return pd.DataFrame(made, columns=COLUMNS)


def mean(numbers: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(len(numbers)))


def merged(file: Path, new: pd.DataFrame) -> pd.DataFrame:
    """The rows of a file with new ones, which replace those of the same cell."""
    if file.exists():
        old = pd.read_csv(file, dtype={"program": str})  # digits, which may all be decimal
        new = pd.concat([old, new]).drop_duplicates(KEY, keep="last", ignore_index=True)
    text = new.to_csv(index=False).encode()
    write_whole(file, lambda opened: opened.write(text))
    return new


def main(
    out: Annotated[Path, typer.Option(help="Folder that keeps what is finished and gets the tables.")],
    algorithm: Annotated[list[str], typer.Option(help="Configuration, with options; the first is the reference.")],
    split: Annotated[Split, typer.Option(help="Worlds to choose on, or to judge on.")] = Split.development,
    seed: Annotated[int | None, typer.Option(min=1, help="Of the test: taken after the freeze.")] = None,
    math: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The released file of MATH.")] = None,
    budget: Annotated[list[int], typer.Option(min=1, help="Completions T.")] = list(BUDGETS),  # noqa: B006
    trials: Annotated[int, typer.Option(min=2, help="Trials per world, algorithm and budget.")] = 100,
    world: Annotated[list[str] | None, typer.Option(help="Only worlds of these names.")] = None,
) -> None:
    """Run configurations on all worlds of a split, paired, and keep mean regrets with standard errors."""
    if (split is Split.test) != (seed is not None):
        raise typer.BadParameter("the test split takes a seed, the development split has its own: --split test --seed")
    seed = DEVELOPMENT_SEED if seed is None else seed
    file = out / ("development.csv" if split is Split.development else f"test-{seed}.csv")
    try:
        chosen = [one for one in worlds(split, seed, math) if not world or one.name in world]
        if not chosen:
            raise ValueError(f"no world of the {split} split is called {', '.join(world or ())}")
        for name in algorithm:
            contenders.get(name)
        out.mkdir(parents=True, exist_ok=True)
        for one in chosen:
            table = merged(file, rows(split, one, algorithm, budget, trials, seed, out))
            typer.echo(f"{one.name}: done")
    except ValueError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    tried = len(table[["algorithm", "program"]].drop_duplicates())
    typer.echo(f"In {file}: {len(table)} rows, {tried} configurations tried on the {split} split so far")


if __name__ == "__main__":
    typer.run(main)
