"""`iapo figures` and `iapo claims`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli import common, completion, interrupt, options, workers
from sim.cli.compare import progress

if TYPE_CHECKING:
    import pandas as pd

    from figures.build import Built, Wanted
    from figures.inputs import Lab
    from theory.checks.verify import VerifyStep

Data = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE-or-FOLDER",
        help="Where the authors' released files are (MATH_final.pkl, ...); environments without one are left out.",
        show_default="the folder of `iapo data fetch`, which is looked in besides",
    ),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="Tiny sweeps of everything, in three minutes, in a folder apart.")]
Trials = Annotated[
    int | None,
    typer.Option(
        parser=options.positive, metavar="N", help="Trials per point.", show_default="those of each figure's SWEEP"
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder for tables/ and rendered/.",
        show_default="figures, or results/smoke with --smoke",
    ),
]
SMOKE_OUT = Path("results/smoke")
CELLS = Path("results/figures")


@common.command
def figures(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIGURE",
            help="Figures, from --list, or files: mine.py; entries of their SWEEP after a colon: rho:trials=50.",
            show_default="all of them",
            autocompletion=completion.figures,
        ),
    ] = None,
    data: Data = None,
    smoke: Smoke = False,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw kept tables; compute nothing.")] = False,
    recompute: Annotated[bool, typer.Option("--recompute", help="Make tables again that are up to date.")] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Say which figures there are and whether they are made.")
    ] = False,
    trials: Trials = None,
    processes: workers.Workers = None,
    out: Out = None,
    cache_dir: workers.CacheDir = None,
) -> None:
    """Make the figures of the paper and more, from kept tables.

    A table is computed where it is missing, or was made from another sweep or other files; pictures (.pdf for print,
    .png) are always drawn. Making all of them ends with the ledger of claims, as `iapo claims` writes it. Finished
    parts are kept in results/figures: the same command goes on where it was stopped, and a table that was deleted comes
    back with the same numbers. From an installed package everything is written to the folder figures here, and the
    tables that come with the package are read.

    Example: iapo figures exploration --data MATH_final.pkl
    """
    from figures import build, registry

    folder, kept = build.home(SMOKE_OUT if smoke and out is None else out)
    asked = build.Wanted(folder, smoke, trials, recompute, redraw, kept)
    lab_here = lab(data, asked)
    own = [registry.bring(one) for one in name or []]
    names = registry.with_needs(own) if list_ else own
    if list_:
        rows = [(one, *build.state(one, asked, lab_here), registry.FIGURES[one].shows) for one in names]
        common.show(common.console(), None, ("name", "table", "~why", "~what it shows"), rows)
        return
    made, tables = make(names, asked, data, processes, cache_dir)
    for one in made:
        said = [f"{one.name}:", f"table in {one.seconds:.0f} s;" if one.seconds else "table kept;"]
        said += [f"({one.note});"] if one.note else []
        typer.echo(" ".join([*said, *(str(path) for path in one.files)]))
    if not names:
        typer.echo(f"claims: {write_ledger(tables, asked)}")


@common.command
def claims(
    data: Data = None,
    smoke: Smoke = False,
    trials: Trials = None,
    processes: workers.Workers = None,
    out: Out = None,
    cache_dir: workers.CacheDir = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also put the short table between the marks <!-- claims --> of this text."),
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE:NAME", help="Judge a claim of your own too, as mine.py:C11; once per claim."),
    ] = None,
) -> None:
    """Judge the paper's claims C1 to C10 by the figures' tables.

    Writes tables/claims.md. Tables that are missing or old are made first, as by `iapo figures`; each claim has a
    stated test. Environments whose files are not at hand are not testable here, and are judged as soon as --data
    has them.

    Example: iapo claims --data MATH_final.pkl
    """
    from figures import build
    from figures import claims as rooms
    from sim.writing import write_whole

    rooms.bring(claim or ())
    folder, kept = build.home(SMOKE_OUT if smoke and out is None else out)
    asked = build.Wanted(folder, smoke, trials, kept=kept)
    text = None if into is None else into.read_text(encoding="utf-8")
    if text is not None:
        rooms.into(text, "")  # complain before the work
    made, tables = make(rooms.needs(), asked, data, processes, cache_dir)
    for note in dict.fromkeys(one.note for one in made if one.note):
        typer.echo(f"{', '.join(one.name for one in made if one.note == note)}: {note}", err=True)
    path = write_ledger(tables, asked)
    if into is not None and text is not None:
        changed = rooms.into(text, rooms.short(tables))
        write_whole(into, lambda file: file.write(changed.encode()))
    found = rooms.judge(tables)
    rows = [(name, claim.says, rooms.overall(claim, found[name])) for name, claim in rooms.CLAIMS.items()]
    common.show(common.console(), None, ("claim", "~what is claimed", "verdict"), rows)
    typer.echo(f"\nIn {path}: numbers, intervals, tests")


def write_ledger(tables: "dict[str, pd.DataFrame]", asked: "Wanted") -> Path:
    """Write the ledger of claims beside the tables; its path."""
    from figures import build, claims
    from sim.writing import write_whole

    path = asked.out / "tables" / "claims.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = claims.ledger(tables, build.origins(claims.needs(), asked))
    write_whole(path, lambda file: file.write(whole.encode()))
    return path


def lab(data: list[Path] | None, asked: "Wanted") -> "Lab":
    """Means of making figures, without processes."""
    from figures import inputs as room
    from sim.envs.fetch import data_folder

    places = [folder for folder in [data_folder()] if folder.is_dir()]
    return room.Lab(room.files_in([*places, *(data or [])]), SMOKE_OUT if asked.smoke else CELLS, {})


def make(
    names: list[str], asked: "Wanted", data: list[Path] | None, processes: int | None, cache_dir: str | None
) -> "tuple[list[Built], dict[str, pd.DataFrame]]":
    """Make figures with progress on stderr; Ctrl-C says what is kept."""
    from figures import build
    from sim.comparison.store import Interrupted

    plain = lab(data, asked)
    kept = "tables that are finished are kept, and cells of the others are in"
    interrupt.last_words(lambda: common.plain(f"stopped: {kept} {plain.folder}; the same command goes on from there"))
    try:
        with workers.pool(processes, None, cache_dir) as pool, progress() as report:
            ready = plain._replace(executor=pool, report=report, report_other=_step_of_verify)
            return build.build(names, asked, ready, lambda name: typer.echo(f"{name}: computing", err=True))
    except Interrupted as stopped:
        kept = f"{stopped.kept} of {stopped.total} cells of the figure are kept in {plain.folder}"
        common.stop(f"stopped: {kept}; the same command goes on from there", common.INTERRUPTED)


def _step_of_verify(step: "VerifyStep") -> None:
    typer.echo(f"{step.family}: {step.kind} {step.rule} ({step.done} of {step.total} cells)", err=True)
