"""`iapo compare` and `iapo algorithms`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim import defaults
from sim.cli import common, completion, interrupt, options, ranking, workers
from sim.reports import page

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import Console

    from sim.comparison.compare import Plan, Result, Step
    from sim.envs.sources import NamedSource

ENVS = ["synth-bernoulli", "synth-categorical"]
BUDGETS = [500, 1000, 2000, 5000, 10000]


@common.command
def compare(
    place: options.EnvPlaces = None,
    env: options.Envs = None,
    algorithm: options.Algorithms = None,
    budget: Annotated[
        list[int],
        typer.Option(
            parser=options.whole,
            metavar="T",
            help="Completions that a trial may spend, as 5000 or 5k; once per budget.",
        ),
    ] = BUDGETS,
    trials: Annotated[
        int, typer.Option(parser=options.whole, metavar="N", help="Trials per environment, algorithm and budget.")
    ] = 200,
    seed: options.Seed = 0,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the results.")] = Path("results/compare"),
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="ALGORITHM",
            help="The others are tested against it.",
            show_default=f"{defaults.REFERENCE}, or else the first",
            autocompletion=completion.algorithms,
        ),
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(
            parser=options.whole,
            metavar="N",
            help="Trials in progress at a time: speed, never results.",
            show_default="the algorithm decides",
        ),
    ] = None,
    processes: workers.Workers = None,
    dask: workers.Dask = None,
    cache_dir: workers.CacheDir = None,
    report: options.Report = None,
) -> None:
    """Compare algorithms on environments, with exact scores.

    Where no algorithm is named, a few are compared: mixture-racing, which is recommended, psst and five to judge them
    by. Policies are scored by exact values on held-out queries. The small worlds with known answers have no split:
    train and test are the whole query law. Every algorithm meets the same worlds, splits and seeds. Writes
    trials.parquet, summary.csv, contexts.csv, compare.png, compare.pdf and provenance.json. What is finished is kept:
    the same command goes on where it was stopped, and further budgets or algorithms only add what is missing.

    Example: iapo compare MATH_final.pkl --algorithm psst --algorithm ucb --budget 1k --budget 5k --out math
    """
    named = [*(place or ()), *(env or ())] or ENVS
    page.check_place(report, out)
    options.check_names(named, (text for text in algorithm or () if text != defaults.EVERY))
    from sim import plugins
    from sim.comparison import compare as driver
    from sim.comparison import given

    texts = _contenders(named, algorithm or ())
    if reference is None:
        reference = defaults.REFERENCE if defaults.REFERENCE in texts else texts[0]
    rules, places, out = texts, tuple(named), out if dask is None else out.resolve()
    if dask is not None:
        rules = tuple(given.placed(text, plugins.everywhere(text)) for text in texts)
        places = tuple(given.placed(name, workers.everywhere(name, dask)) for name in named)
    plan = driver.Plan(places, rules, tuple(budget), trials, seed, reference, chunk)
    result = carry_out(plan, out, processes, dask, cache_dir)
    from figures.results import compare as figure
    from sim import envs
    from sim.cli.pages import comparison, parts
    from sim.cli.worlds import bases, say_basis

    worlds = [envs.get(str(name)) for name in plan.envs]
    drawn = figure.draw(result.summary, bases(worlds))
    pictures = save_pictures(drawn, out, "compare")
    _show(plan, result)
    unresolved = [*driver.replaced(plan), *_unresolved(worlds)]
    for sentence in unresolved:
        common.console().print(common.plain(sentence))
    for world in worlds:
        say_basis(common.console(), world, world.name)
    if not algorithm:
        recommended = (
            f"{defaults.RECOMMENDED} is recommended: {defaults.WHY}; " if defaults.RECOMMENDED in texts else ""
        )
        typer.echo(f"{recommended}--algorithm all compares all")
    typer.echo(f"\nIn {out}: {', '.join((*driver.FILES, *pictures))}")
    if report is not None:
        notes = [*unresolved, *(f"{name}: {said}" for name, said in bases(worlds).items())]
        parts.write(comparison.report(plan, result, drawn, notes, out), report)


def _contenders(environments: list[str], named: list[str] | tuple[()]) -> tuple[str, ...]:
    """Contenders of a comparison: as named, all in the place of `all`, or a few; says which of those cannot run."""
    from sim.comparison import compare as driver

    if named and defaults.EVERY not in named:
        return tuple(named)
    able, unable = driver.able(environments, None if named else defaults.COMPARISON)
    for name, why in unable.items():
        instead = f"; use {defaults.REFERENCE} there" if name == defaults.RECOMMENDED else ""
        typer.echo(f"{name} is left out; {common.plain(why)}{instead}", err=True)
    parts = [able if text == defaults.EVERY else (text,) for text in named or (defaults.EVERY,)]
    return tuple(dict.fromkeys(text for part in parts for text in part))


def carry_out(
    plan: "Plan", out: Path, processes: int | None, dask: str | None = None, cache_dir: str | None = None
) -> "Result":
    """Run a plan with progress on stderr, and write its tables; a run that is ended says what is kept."""
    from sim.comparison import compare as driver
    from theory.truth import exact_values

    standing = common.LastWords(out)
    interrupt.last_words(standing)
    try:
        with workers.pool(processes, dask, cache_dir) as pool, progress() as report:
            return driver.compare(plan, out, exact_values, executor=pool, report=standing.watching(report))
    except driver.Interrupted as stopped:
        kept = f"{stopped.kept} of {stopped.total} cells are kept in {out}"
        common.stop(f"stopped: {kept}; the same command goes on from there", common.INTERRUPTED)


def save_pictures(picture: "Figure", out: Path, name: str, **look: Any) -> list[str]:
    """Write a picture as .png and .pdf; the names of the files. `look` is as in `figures.style.save`."""
    from figures import style

    return [style.save(picture, out / f"{name}.{kind}", **look).name for kind in ("png", "pdf")]


def _unresolved(worlds: "Sequence[NamedSource]") -> list[str]:
    """Sentences about what trials on fixed worlds cannot tell apart."""
    from sim.comparison import cells
    from theory.truth import unresolved, whole_values

    fixed = [world for world in worlds if not world.source.fresh]
    return [
        f"{world.name}: {sentence}"
        for world in fixed
        for sentence in unresolved(world, whole_values(world), cells.context_names(world))
    ]


@contextmanager
def progress() -> "Iterator[Callable[[Step], None]]":
    """Reporter of steps: a bar on a terminal, else a line per environment and algorithm."""
    if not sys.stderr.isatty():
        lines = _Lines()
        yield lines
        lines.flush()
        return

    with common.bar("cells") as bar:
        task = bar.add_task("compiling", total=None)

        def report(step: "Step") -> None:
            done = f"{step.env}: {step.algorithm or 'exact values'} done"
            bar.update(task, completed=step.done, total=step.total, description=common.plain(done))

        yield report


class _Lines:
    """Reports steps line by line, those of one algorithm on one environment together."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, step: "Step") -> None:
        if self.steps and (step.env, step.algorithm) != (self.steps[-1].env, self.steps[-1].algorithm):
            self.flush()
        self.steps.append(step)

    def flush(self) -> None:
        """Say what was done since the last line."""
        if not self.steps:
            return
        last = self.steps[-1]
        exact, compiling, running = (sum(part) for part in zip(*(step.seconds for step in self.steps), strict=True))
        if last.algorithm is None:
            spent = f"exact values in {exact:.1f} s"
        else:
            spent = f"{last.algorithm} compiled in {compiling:.1f} s, ran in {running:.1f} s"
        typer.echo(f"{common.plain(last.env)}: {spent} ({last.done} of {last.total} cells)", err=True)
        self.steps = []


def _show(plan: "Plan", result: "Result") -> None:
    console = common.console()
    for env, rows in result.summary.groupby("env", sort=False):
        console.print()
        show_table(console, str(env), rows, plan, result)
        over = rows[rows["spent_max"] > rows["budget"]]
        for text, budget, spent in zip(over["algorithm"], over["budget"], over["spent_max"], strict=True):
            console.print(f"{text} spent up to {spent:,} completions with a budget of {budget:,}")
    compiling, running = (sum(getattr(one, part) for one in result.seconds.values()) for part in ("compile", "run"))
    console.print(
        f"\nThis call took {result.wall:.1f} s, of which exact values {result.exact:.1f} s; {result.reused} cells were "
        f"there before. All cells together: compiling {compiling:.1f} s, running {running:.1f} s."
    )


def show_table(
    console: "Console", env: str, rows: "pd.DataFrame", plan: "Plan", result: "Result", seconds: bool = True
) -> None:
    """Print mean ACR and standard error, algorithm by budget, best first, with the seconds of every algorithm.

    Args:
        console: where to.
        env: name of the environment.
        rows: of its summary.
        plan: what was compared.
        result: what came out.
        seconds: whether to show them.
    """
    from rich.text import Text

    found = ranking.ranked(env, rows, plan, result, seconds)
    body = [[name, *(Text(text, "bold" if ranking.BEST in text else "") for text in own)] for name, *own in found.rows]
    columns = (found.columns[0], *(f">{column}" for column in found.columns[1:]))
    common.show(console, found.title, columns, body, found.caption)


@common.command
def algorithms() -> None:
    """List the algorithms and their options.

    Options are set with NAME:option=value,... as in psst:budget_rule=reference,ties=index
    """
    from rich.text import Text

    from sim import algorithms as registry
    from sim import references
    from sim.cli import listing

    def about(name: str) -> Text:
        try:
            found = listing.contender(name)
        except ValueError as error:  # of a package that is broken: the others are listed
            return Text(str(error))
        options = ", ".join(f"{option}={value}" for option, value in found.options.items())
        return Text(f"{found.summary}\n  {options}" if options else found.summary)

    rows = [(name, about(name)) for name in (*registry.names(), *references.REFERENCES)]
    common.show(common.console(), None, ("name", "~what it does, and its options with their defaults"), rows)
