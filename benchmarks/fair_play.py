"""Fair play: algorithms are chosen on development worlds, and judged on test worlds that nobody has seen before.

Development: the library's worlds, worlds of every kind in `drawn_worlds` from `DEVELOPMENT_SEED`, and one half of
MATH's queries. Try as many configurations there as you like; the file of results counts them. Then freeze the code and
its options by a commit, and only then take a seed for the test: worlds of the same kinds drawn from it, fresh trials of
the synthetic families, and the other half of MATH's queries. Trial t of a world is the same for all: differences are
paired.

    python benchmarks/fair_play.py --out results/fair --algorithm psst --algorithm mixture-racing --math MATH_final.pkl
    python benchmarks/fair_play.py --out results/fair --algorithm ... --split test --seed SEED --workers 2
    python benchmarks/fair_report.py --out results/fair --seed SEED

Each world's finished cells are kept under the folder: stop it, and the same command goes on. The file
`development.csv` or `test-SEED.csv` has a row per (world, algorithm, budget, trials, program); rows of earlier calls
stay, unless they are made again. A rule that was edited is another program, counted as another configuration. The
regret of every trial is in the folder `development-trials` or `test-SEED-trials`, a file per world.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
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
from sim.cli.workers import pool
from sim.comparison import contenders, tables
from sim.envs import hard, racing_traps
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource, fixed

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
"""Of the development split: a glance."""
LADDER = (60, 80, 110, 155, 220, 310, 440, 625, 880, 1250, 1750, 2000, 2500, 3500, 5000, 7000, 10000, 20000)
"""Of the test split: factors of 1.4 and less up to 10,000, by which budget efficiency is read off."""
KEY = ["split", "world", "algorithm", "budget", "trials", "program"]
"""Columns that tell rows apart: a rule that was edited, or tried with more trials, has rows beside the old ones."""
CELL = ["algorithm", "program", "budget", "trial"]
"""Columns that tell trials of a world apart."""
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
    for kind, made in drawn_worlds.KINDS.items():
        for number in range(NUMBER):
            yield fixed(drawn_worlds.draw(kind, seed, number), train_fraction=made.train_fraction)
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


def compared(
    world: NamedSource,
    algorithms: list[str],
    budgets: list[int],
    trials: int,
    seed: int,
    out: Path,
    workers: Executor | None,
) -> pd.DataFrame:
    """Every trial of every algorithm at every budget on a world: columns `tables.TRIALS`, and program.

    Args:
        world: where.
        algorithms: configurations; the first is the reference.
        budgets: completions T.
        trials: of each.
        seed: of the trials.
        out: keeps finished cells.
        workers: where cells are computed; here when None.
    """
    found = compare(
        algorithms,
        {world.name: world},
        budgets,
        trials=trials,
        seed=seed,
        exact=theory.exact_values,
        reference=algorithms[0],
        out=out / "cells" / world.name,
        workers=workers or 1,
    ).trials
    programs = {name: contenders.get(name).program.key[:12] for name in algorithms}
    return found.assign(program=found["algorithm"].map(programs))


def rows(split: Split, seed: int, found: pd.DataFrame) -> pd.DataFrame:
    """Mean regret of every algorithm at every budget on a world, and less that of the first: columns `COLUMNS`."""
    made, (reference, *_) = [], found["algorithm"]
    cells: dict[Any, pd.DataFrame] = dict(iter(found.groupby(["algorithm", "budget"], sort=False)))
    for (name, budget), own in cells.items():
        regret, other = (of.sort_values("trial")["regret"].to_numpy() for of in (own, cells[reference, budget]))
        world, program = own["env"].iloc[0], own["program"].iloc[0]
        head = (split.value, world, name, budget, len(own), program, seed, *mean(regret))
        made.append((*head, reference, *mean(regret - other), own["spent"].mean()))
    return pd.DataFrame(made, columns=COLUMNS)


def mean(numbers: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(len(numbers)))


def merged(file: Path, new: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """The rows of a .csv or .parquet file with new ones, which replace those of the same key; the file then has all."""
    if file.exists():
        old = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"program": str})
        new = pd.concat([old, new]).drop_duplicates(key, keep="last", ignore_index=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    tables.save(new, file)
    return new


def results_file(out: Path, split: Split, seed: int) -> Path:
    """The file of a split's mean regrets."""
    return out / ("development.csv" if split is Split.development else f"test-{seed}.csv")


def trials_folder(out: Path, split: Split, seed: int) -> Path:
    """The folder of a split's trials, a file per world."""
    return out / f"{results_file(out, split, seed).stem}-trials"


def main(
    out: Annotated[Path, typer.Option(help="Folder that keeps what is finished and gets the tables.")],
    algorithm: Annotated[list[str], typer.Option(help="Configuration, with options; the first is the reference.")],
    split: Annotated[Split, typer.Option(help="Worlds to choose on, or to judge on.")] = Split.development,
    seed: Annotated[int | None, typer.Option(min=1, help="Of the test: taken after the freeze.")] = None,
    math: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The released file of MATH.")] = None,
    budget: Annotated[
        list[int] | None, typer.Option(min=1, help="Completions T.", show_default="five; of the test 18 from 60 on")
    ] = None,
    trials: Annotated[int, typer.Option(min=2, help="Trials per world, algorithm and budget.")] = 100,
    world: Annotated[list[str] | None, typer.Option(help="Only worlds of these names.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
) -> None:
    """Run configurations on all worlds of a split, paired, and keep mean regrets with standard errors."""
    if (split is Split.test) != (seed is not None):
        raise typer.BadParameter("the test split takes a seed, the development split has its own: --split test --seed")
    seed = DEVELOPMENT_SEED if seed is None else seed
    budgets = budget or list(BUDGETS if split is Split.development else LADDER)
    file = results_file(out, split, seed)
    try:
        chosen = [one for one in worlds(split, seed, math) if not world or one.name in world]
        if not chosen:
            raise ValueError(f"no world of the {split} split is called {', '.join(world or ())}")
        for name in algorithm:
            contenders.get(name)
        out.mkdir(parents=True, exist_ok=True)
        with pool(workers, None, None) as executor:
            for one in chosen:
                found = compared(one, algorithm, budgets, trials, seed, out, executor)
                merged(trials_folder(out, split, seed) / f"{one.name}.parquet", found, CELL)
                table = merged(file, rows(split, seed, found), KEY)
                typer.echo(f"{one.name}: done")
    except ValueError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    tried = len(table[["algorithm", "program"]].drop_duplicates())
    typer.echo(f"In {file}: {len(table)} rows, {tried} configurations tried on the {split} split so far")


if __name__ == "__main__":
    typer.run(main)
