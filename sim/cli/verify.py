"""`iapo verify`: every guarantee against exact truth, simulation and rare-event estimates."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli import common, completion, interrupt, options, workers
from sim.cli.compare import save_pictures
from sim.reports import page

if TYPE_CHECKING:
    from rich.console import Console

    from theory.checks.verify import VerifyResult, VerifyStep


@common.command
def verify(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="A minute of work instead of an hour: fewer budgets and trials, no uniform, no successive rejects and "
            "no prompt halving on common queries, prompt halving and racing on best of N alone.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the results.")] = Path("results/verify"),
    seed: options.Seed = 0,
    math: Annotated[
        str | None, typer.Option(metavar="PATH", help="The authors' MATH_final.pkl: test on its real gaps as well.")
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this family of worlds; once per family.",
            show_default="all of them",
            autocompletion=completion.families,
        ),
    ] = None,
    bound: options.Bounds = None,
    processes: workers.Workers = None,
    dask: workers.Dask = None,
    cache_dir: workers.CacheDir = None,
    report: options.Report = None,
) -> None:
    """Verify every guarantee against exact error and simulation.

    Exact error, bounds, simulation and rare-event estimates stand side by side. Says per bound and family of worlds
    whether it holds, is violated, is vacuous (1 or more wherever it was tried) or is not resolved. Writes
    verify.parquet, verify.csv, verdicts.csv, verify.png, verify.pdf and provenance.json. What is finished is kept:
    the same command goes on where it was stopped.

    Example: iapo verify --quick --out checked
    """
    page.check_place(report, out)
    from sim import plugins
    from theory.checks import verify as driver

    math, out = workers.everywhere(math, dask) if math else None, out if dask is None else out.resolve()
    own = tuple(plugins.everywhere(one) if dask is not None else one for one in bound or ())
    plan = driver.VerifyPlan(quick, seed, math, tuple(family or ()), bounds=own)
    standing = common.LastWords(out)
    interrupt.last_words(standing)
    try:
        with workers.pool(processes, dask, cache_dir) as pool, _progress() as told:
            result = driver.verify(plan, out, executor=pool, report=standing.watching(told))
    except driver.Interrupted as stopped:
        kept = f"{stopped.kept} of {stopped.total} cells are kept in {out}"
        common.stop(f"stopped: {kept}; the same command goes on from there", common.INTERRUPTED)
    from figures.results import verify as figure

    drawn = figure.draw(result.table)
    pictures = save_pictures(drawn, out, "verify")
    _show(result)
    typer.echo(f"\nIn {out}: {', '.join((*driver.FILES, *pictures))}")
    if report is not None:
        from sim.cli.pages import parts, verification

        parts.write(verification.report(result, drawn, _basis(result), out), report)


@contextmanager
def _progress() -> "Iterator[Callable[[VerifyStep], None]]":
    """What reports steps: a bar on a terminal, else a line per step."""
    if not sys.stderr.isatty():

        def line(step: "VerifyStep") -> None:
            typer.echo(
                f"{common.plain(_about(step))} in {step.seconds:.1f} s ({step.done} of {step.total} cells)", err=True
            )

        yield line
        return
    with common.bar("cells") as bar:
        task = bar.add_task("compiling", total=None)
        yield lambda step: bar.update(
            task, completed=step.done, total=step.total, description=common.plain(_about(step))
        )


def _about(step: "VerifyStep") -> str:
    done = {"simulation": "simulated", "enumeration": "enumerated", "splitting": "split"}
    return f"{step.family}: {'bounds' if step.kind == 'claims' else f'{step.rule} {done[step.kind]}'}"


def _show(result: "VerifyResult") -> None:
    console = common.console()
    _table(console, result)
    console.print(f"\n{_basis(result)}\nThis call took {result.wall:.1f} s; {result.reused} cells were there before.")


def _basis(result: "VerifyResult") -> str:
    return (
        f"Verdicts rest on exact probabilities or on {result.intervals} simultaneous (Bonferroni) intervals:\n"
        "all of them are right with confidence 95 % (splitting's intervals are approximate)."
    )


def _table(console: "Console", result: "VerifyResult") -> None:
    """Verdicts, claim by family, with how loose each bound was at its tightest."""
    from rich.text import Text

    from theory.checks.table import by_family

    cells = by_family(result.verdicts).set_index(["claim", "family"])
    families = list(dict.fromkeys(result.table["family"]))
    colors = {"violated": "bold red", "holds": "green", "vacuous": "dim", "not resolved": "yellow"}
    body = []
    for claim in dict.fromkeys(result.verdicts["claim"]):
        entries = []
        for family in families:
            if (claim, family) not in cells.index:
                entries.append("")
                continue
            cell = cells.loc[claim, family]
            loose = "" if not cell["ratio"] < float("inf") else f" {_times(cell['ratio'])}"
            said, left = cell["verdict"], cell["not resolved"]
            open_ = f", {left} open" if left and said != "not resolved" else ""
            entries.append(Text.assemble((said, colors[said]), loose, (open_, colors["not resolved"])))
        body.append((claim, *entries))
    common.show(
        console,
        "Verdicts over all budgets and worlds of a family",
        ("bound", *families),
        body,
        "holds: at every budget at which that could be told; open: at how many it could not. x: the smallest bound / "
        "failure probability among the former. vacuous: 1 or more wherever it was tried. Empty: not for such worlds.",
    )


def _times(ratio: float) -> str:
    return f"{ratio:.2g}x" if 0.01 <= ratio < 100 else f"{ratio:.0e}x"
