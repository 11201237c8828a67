"""Report of fair play: budget efficiency, cells with more regret than the reference, and bars, on the test worlds.

It reads the trials that `fair_play.py` kept of a test seed, and writes in `test-SEED-report`:

* `efficiency.csv`: by world, by kind of worlds and over all, for every algorithm.
* `cells.csv`: mean regret of every algorithm in every cell (world, budget), less the reference's, with a one-sided
  paired test, Holm-corrected over the cells of an algorithm.
* `report.md`: their summary, which `--into` puts between the marks of a text.

    python benchmarks/fair_report.py --out results/fair --seed SEED --into docs/results.md

Kinds of several worlds count by the geometric mean over worlds, each with draws of its own. Of a rule that was edited
after some trials the latest program counts. Best of the others is said with hindsight, in their favour.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import fair_play
import numpy as np
import pandas as pd
import typer
from fair_play import Split

from sim.comparison import efficiency, tables
from sim.comparison.efficiency import OVERALL, Efficiency, Ratios
from sim.writing import write_whole

ALGORITHM, REFERENCE = "mixture-racing", "psst"
STATIC = "uniform:queries=common-wor,estimator=subsets"
"""The static design: every prompt at Nmax on the same queries, valued by all subsets of its pulls."""
TARGETS = (2000, 5000, 20000)
HIGH, USUAL = 8.0, 3.0
BARS = {"MATH-test": HIGH, "query-noise": HIGH}
"""Kind of worlds -> the efficiency that was asked for, a geometric mean over all T0; `USUAL` elsewhere."""
LEVEL = 0.05
MARKS = "<!-- fair play -->\n", "<!-- /fair play -->"
_Z = 1.96


class Sides(NamedTuple):
    """Names of the algorithm that is judged, of the reference, and of the static design."""

    algorithm: str
    reference: str
    static: str


def trials_of(folder: Path) -> dict[str, pd.DataFrame]:
    """The trials of every world by the latest program of each algorithm, world -> rows of `tables.TRIALS`.

    Raises:
        ValueError: there are none.
    """
    found = {}
    for file in sorted(folder.glob("*.parquet")):
        table = pd.read_parquet(file)
        latest = table.groupby("algorithm", sort=False)["program"].last()
        found[file.stem] = table[table["program"] == table["algorithm"].map(latest)].reset_index(drop=True)
    if not found:
        raise ValueError(f"{folder}: no trials; benchmarks/fair_play.py --split test makes them")
    return found


def kind_of(world: str) -> str:
    """The kind of a drawn world, whose name ends with a seed and a number; any other is its own."""
    return re.sub(r"-\d+-\d+$", "", world)


def efficiencies(worlds: Mapping[str, pd.DataFrame], reference: str, targets: Sequence[int]) -> pd.DataFrame:
    """Efficiency by world, by kind and over all kinds: `efficiency.COLUMNS` after `level` (world, kind or all).

    `trials` is their number per world.
    """
    each = {world: efficiency.of_trials(rows, reference, targets) for world, rows in worlds.items()}
    number = {world: rows["trial"].nunique() for world, rows in worlds.items()}
    kinds = {
        kind: _pooled([each[world] for world in worlds if kind_of(world) == kind])
        for kind in dict.fromkeys(map(kind_of, worlds))
    }
    parts = [efficiency.table(world, number[world], found).assign(level="world") for world, found in each.items()]
    least = min(number.values())
    parts += [efficiency.table(kind, least, found).assign(level="kind") for kind, found in kinds.items()]
    parts.append(efficiency.table("all", least, _pooled(list(kinds.values()))).assign(level="all"))
    return pd.concat(parts, ignore_index=True)[["level", *efficiency.COLUMNS]]


def _pooled(found: Sequence[Mapping[tuple[str, int], Ratios]]) -> dict[tuple[str, int], Ratios]:
    """Geometric means over worlds, of what was run on all of them."""
    keys = [key for key in found[0] if all(key in of for of in found)]
    return {key: efficiency.geometric([of[key] for of in found]) for key in keys}


def cells(worlds: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """Mean regret of every algorithm in every cell, and less the reference's.

    Columns: world, algorithm, budget, trials, regret_mean, regret_sem, less_reference_mean, less_reference_sem,
    less_reference_p (one-sided: the mean is not above 0), less_reference_p_holm (over all cells of the algorithm).
    """
    rows = []
    for world, trials in worlds.items():
        table: Any = trials.pivot(index="trial", columns=["algorithm", "budget"], values="regret")
        for name, budget in table.columns:
            own = table[name, budget].to_numpy()
            differs = (
                own - table[reference, budget].to_numpy() if (reference, budget) in table.columns else own * np.nan
            )
            p = np.nan if name == reference or np.isnan(differs).any() else efficiency.more_p(differs)
            rows.append((world, name, budget, len(own), *fair_play.mean(own), *fair_play.mean(differs), p))
    less = [f"less_reference_{name}" for name in ("mean", "sem", "p")]
    found = pd.DataFrame(rows, columns=["world", "algorithm", "budget", "trials", "regret_mean", "regret_sem", *less])
    holm = found.groupby("algorithm", sort=False)[less[-1]].transform(lambda p: tables.holm(p.to_numpy()))
    return found.assign(less_reference_p_holm=holm)


def bars(found: pd.DataFrame, sides: Sides, level: str) -> pd.DataFrame:
    """Bars by kind or world: columns env, bar, algorithm, static, other (texts), best (its name), lasting, verdict."""
    overall = found[(found["level"] == level) & (found["target"] == OVERALL)]
    rows = []
    for env, own in overall.groupby("env", sort=False):
        of = {row.algorithm: of_row(row) for row in _records(own)}
        bar = BARS.get(kind_of(str(env)), USUAL)
        least = bar * (1 - 1e-9)  # means of logarithms round
        others = sorted((one for one in of if one not in sides), key=lambda name: (-of[name].least, -of[name].low))
        best = others[0] if others else ""
        beside = [of[name].least >= least for name in (sides.static, best) if name in of]
        verdict = "met" if of[sides.algorithm].least >= least else "missed"
        if verdict == "missed" and beside and not any(beside):
            verdict = "missed, by the others too"
        said = [str(of[name]) if name in of else "" for name in (sides.algorithm, sides.static, best)]
        rows.append((env, bar, *said, best, of[sides.algorithm].lasting, verdict))
    return pd.DataFrame(rows, columns=["env", "bar", "algorithm", "static", "other", "best", "lasting", "verdict"])


def of_row(row: Any) -> Efficiency:
    """The efficiency in a row of a table."""
    return Efficiency(*(getattr(row, name) for name in Efficiency._fields))


def tried(files: Iterable[Path]) -> dict[str, int]:
    """Configurations tried on the development split, by the name of the rule: (options, program) pairs."""
    parts = [pd.read_csv(file, dtype={"program": str})[["algorithm", "program"]] for file in files]
    if not parts:
        return {}
    pairs = pd.concat(parts).drop_duplicates()
    counted = pairs["algorithm"].str.partition(":")[0].value_counts().sort_index()
    return {str(name): int(number) for name, number in counted.items()}


def report(
    found: pd.DataFrame, of_cells: pd.DataFrame, sides: Sides, seed: int, configurations: Mapping[str, int]
) -> str:
    """The summary in Markdown."""
    targets = [int(one) for one in dict.fromkeys(found["target"]) if one != OVERALL]
    own = of_cells[of_cells["algorithm"] == sides.algorithm].dropna(subset=["less_reference_p"])
    more = own[own["less_reference_mean"] > 0].sort_values("less_reference_p")
    sure = int((own["less_reference_p_holm"] < LEVEL).sum())
    counted = ", ".join(f"{name} {number}" for name, number in configurations.items())
    counted = f"{sum(configurations.values())} ({counted})" if counted else "none on file"
    trials = " to ".join(f"{n:,}" for n in sorted({own["trials"].min(), own["trials"].max()}))
    goals = ", ".join(f"{target:,}" for target in targets)
    parts = [
        f"Test seed {seed}: {own['world'].nunique()} worlds, {trials} paired trials in each of {len(own)} cells "
        f"(world, budget), T = {own['budget'].min():,} to {own['budget'].max():,}. Configurations tried on the "
        f"development split: {counted}.",
        f"**Budget efficiency** against `{sides.reference}`, geometric mean over T0 = {goals} and worlds, 95 % paired "
        f"bootstrap intervals over trials: `{sides.algorithm}`, the static design (`{sides.static}`), and the best of "
        "all others, with hindsight.",
        _bars(bars(found, sides, "kind"), sides),
        "Lasting: of the smallest budget from which on all larger ones suffice too. World by world:",
        _bars(bars(found, sides, "world"), sides),
        f"`{sides.algorithm}` at each T0:",
        _by_target(found, sides.algorithm, targets),
        f"Over all kinds (geometric mean): {_overall(found)}.",
        f"**Mean regret above that of `{sides.reference}`**: in {len(more)} of {len(own)} cells, in {sure} of them "
        f"significantly (paired, one-sided, Holm over the cells, level {LEVEL:g})" + (":" if len(more) else "."),
    ]
    if len(more):
        head = ("world", "T", f"`{sides.algorithm}`", f"less `{sides.reference}`", "p", "p, Holm")
        parts.append(_markdown(head, map(_cell, _records(more))))
    parts += ["Mean regret of all, mean over worlds:", _regrets(of_cells)]
    return "\n\n".join(parts) + "\n"


def _bars(rows: pd.DataFrame, sides: Sides) -> str:
    head = ("worlds", "bar", f"`{sides.algorithm}`", "lasting", "static", "best of the others", "verdict")
    lines = [
        (
            one.env,
            f"{one.bar:g}",
            one.algorithm,
            f"{one.lasting:.1f}",
            one.static,
            f"{one.other} {one.best}",
            one.verdict,
        )
        for one in _records(rows)
    ]
    return _markdown(head, lines)


def _by_target(found: pd.DataFrame, algorithm: str, targets: Sequence[int]) -> str:
    own = found[(found["algorithm"] == algorithm) & (found["level"] == "world")]
    said = {(row.env, row.target): str(of_row(row)) for row in _records(own)}
    lines = [(env, *(said[env, target] for target in targets)) for env in dict.fromkeys(own["env"])]
    return _markdown(("world", *(f"T0 = {target:,}" for target in targets)), lines)


def _overall(found: pd.DataFrame) -> str:
    rows = found[(found["level"] == "all") & (found["target"] == OVERALL)].sort_values("least", ascending=False)
    return "; ".join(f"`{row.algorithm}` {of_row(row)}" for row in _records(rows))


def _cell(row: Any) -> tuple[str, ...]:
    mean, half = row.less_reference_mean, _Z * row.less_reference_sem
    shown = f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"
    p, holm = f"{row.less_reference_p:.3f}", f"{row.less_reference_p_holm:.3f}"
    return row.world, f"{row.budget:,}", f"{row.regret_mean:.4f}", shown, p, holm


def _regrets(of_cells: pd.DataFrame) -> str:
    table = of_cells.pivot_table(index="algorithm", columns="budget", values="regret_mean", aggfunc="mean", sort=False)
    table = table.sort_index(axis=1)
    lines = [(f"`{name}`", *("" if np.isnan(one) else f"{one:.4f}" for one in row)) for name, row in table.iterrows()]
    return _markdown(("algorithm", *(f"{budget:,}" for budget in table.columns)), lines)


def _records(table: pd.DataFrame) -> Iterator[Any]:
    """Rows, columns by attribute; a checker of types knows nothing of them."""
    yield from table.itertuples()


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *lines])


def put(text: str, table: str) -> str:
    """A text with the report between its two marks.

    Raises:
        ValueError: the marks are not there.
    """
    start, end = MARKS
    if start not in text or end not in text:
        raise ValueError(f"no marks {start.strip()} and {end} between which the report could go")
    head, rest = text.split(start, 1)
    return f"{head}{start}{table}{end}{rest.split(end, 1)[1]}"


def main(
    out: Annotated[Path, typer.Option(help="Folder that fair_play.py kept its trials in.")],
    seed: Annotated[int, typer.Option(min=1, help="Of the test.")],
    algorithm: Annotated[str, typer.Option(help="The one that is judged.")] = ALGORITHM,
    reference: Annotated[str, typer.Option(help="The one that efficiency is taken to.")] = REFERENCE,
    static: Annotated[str, typer.Option(help="The static design.")] = STATIC,
    target: Annotated[list[int], typer.Option(min=1, help="Budgets T0.")] = list(TARGETS),  # noqa: B006
    development: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Files of the development split.", show_default="that in --out"),
    ] = None,
    into: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Text with marks.")] = None,
) -> None:
    """Report on the test split: efficiency.csv, cells.csv and report.md."""
    sides, folder = Sides(algorithm, reference, static), out / f"test-{seed}-report"
    files = development or [fair_play.results_file(out, Split.development, seed)]
    try:
        worlds = trials_of(fair_play.trials_folder(out, Split.test, seed))
        for world, rows in worlds.items():
            if algorithm not in set(rows["algorithm"]):
                raise ValueError(f"{world}: no trials of {algorithm}")
        text = None if into is None else into.read_text(encoding="utf-8")
        if text is not None:
            put(text, "")  # complain before the work
        found, of_cells = efficiencies(worlds, reference, target), cells(worlds, reference)
        said = report(found, of_cells, sides, seed, tried([file for file in files if file.exists()]))
        folder.mkdir(exist_ok=True)
        tables.save(found, folder / "efficiency.csv")
        tables.save(of_cells, folder / "cells.csv")
        write_whole(folder / "report.md", lambda file: file.write(said.encode()))
        if into is not None and text is not None:
            write_whole(into, lambda file: file.write(put(text, said).encode()))
    except ValueError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    typer.echo(f"In {folder}: efficiency.csv, cells.csv, report.md")


if __name__ == "__main__":
    typer.run(main)
