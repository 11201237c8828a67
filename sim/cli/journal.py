"""`iapo record`, `iapo replay` and `iapo journal`: what a live model answered, kept and made an environment of."""

from pathlib import Path
from typing import Annotated

import typer

from sim.cli import common
from sim.cli.live import Unreadable, connected, progress
from sim.cli.spending import amount_text, check_cap, show_need

Place = Annotated[Path, typer.Argument(help="A journal.sqlite, or the folder that holds it.", metavar="JOURNAL")]


@common.command
def record(
    config: Annotated[Path, typer.Argument(help="The run, a TOML file as for `iapo tune`.", metavar="CONFIG")],
    to: Annotated[Path, typer.Option(help="The .npz file to write.")],
    completions: Annotated[int, typer.Option("--completions", "-n", help="Of every prompt on every query.")] = 128,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would cost, and stop. Asks nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")] = False,
    accept_unreadable: Unreadable = False,
) -> None:
    """Ask for all prompts x queries x completions, and write an environment that the whole testbed can study.

    The caps of CONFIG hold. Everything is kept in the journal: the same command goes on where it was stopped.

    Example: iapo record run.toml -n 64 --to mine.npz, then iapo values mine.npz
    """
    from sim.adapters import config as reading
    from sim.adapters import doubts, planning
    from sim.adapters import record as room
    from sim.adapters import tune as driver
    from sim.envs import files

    _check_name(to)
    if completions < 1:
        raise ValueError(f"completions is {completions}; it must be at least 1")
    run = reading.load(config)
    items = driver.load_items(run)
    total = len(run.prompts) * len(items) * completions
    if total > run.caps.completions:
        raise ValueError(
            f"{run.file}: caps.completions is {run.caps.completions:,}; {len(run.prompts)} prompts x {len(items)} "
            f"queries x {completions} completions are {total:,}"
        )
    with connected(run) as live:
        live.reader.look = None if accept_unreadable else doubts.first_look
        wants = room.wants_of(live, items, completions)
        needed = planning.need(live, wants, [*items] * len(run.prompts))
        show_need(run, needed, live, len(items))
        if plan:
            return
        check_cap(run, needed, live.ledger.spent)
        if not yes and needed.worst.completions and not common.agreed("Spend it?"):
            common.stop("stopped before the first request", common.INTERRUPTED)
        with progress(rounds=False) as report:
            data = room.record(live, items, wants, report)
        spent = live.ledger.spent
    files.save(data, to)
    typer.echo(f"wrote {to}: {common.sizes(data)}; in all {amount_text(spent)}")


@common.command
def replay(
    journal: Place,
    to: Annotated[Path, typer.Option(help="The .npz file to write.")],
    stream: Annotated[str, typer.Option(help="tune, record, or another that `iapo journal list` shows.")] = "tune",
    trust: common.TrustOption = False,
    module: common.ModuleOption = None,
) -> None:
    """Make an environment of what a run saw, with the scorers of its configuration as it is now.

    Prompts and queries are left out until every prompt has completions of every query. Arms that the run dropped early
    have few completions: an exact value of such an environment says what was seen, not what is true.

    Example: iapo replay results/capitals --to seen.npz
    """
    from sim.adapters import config as reading
    from sim.adapters import record as room
    from sim.adapters import tune as driver
    from sim.adapters.paid import journal_tables
    from sim.adapters.wire.protocol import Offline
    from sim.envs import files

    _check_name(to)
    kept = journal_tables.open_existing(journal)
    place, file = kept.note("config"), str(kept.path)
    kept.close()
    if place is None:
        raise ValueError(f"{file}: names no configuration; it was not made by a run")
    run = reading.load(place, file, common.may_import(trust, module))
    with driver.session(run, Offline, file, capped=False) as live:
        data, left = room.replay(live, driver.load_items(run), stream)
    files.save(data, to)
    typer.echo(f"wrote {to}: {common.sizes(data)}; left out: {common.plain(left)}")


@common.command
def list_(journal: Place) -> None:
    """Show what was asked and what it cost, by stream and prompt."""
    from sim.adapters.paid import journal_tables
    from sim.adapters.run_file.settings import MONEY

    kept = journal_tables.open_existing(journal)
    found, total = journal_tables.spending(kept), kept.charged()
    kept.close()
    rows = [
        (
            one.stream,
            one.model,
            one.prompt,
            one.requests,
            one.ambiguous,
            one.void,
            f"{one.draws:,}",
            f"{one.copies:,} ({one.copies / one.draws:.0%})" if one.copies else 0,
            f"{one.completions:,}",
            f"{one.tokens:,}",
            f"{one.money / MONEY:,.4f}",
        )
        for one in found
    ]
    columns = (
        "stream",
        "model",
        "prompt",
        ">requests",
        ">maybe billed",
        ">unbilled",
        ">completions",
        ">copies",
        ">charged",
        ">tokens",
        ">money",
    )
    caption = "maybe billed: without a reply, charged at their worst. copies: completions with the text of another one."
    console = common.console()
    common.show(console, None, columns, rows, caption)
    console.print(f"\nIn all: {amount_text(total)}.")


@common.command
def export(journal: Place, to: Annotated[Path, typer.Option(help="The .jsonl or .parquet file to write.")]) -> None:
    """Write every completion, a row each. JSONL keeps any text as it was, Parquet all that UTF-8 can hold."""
    from sim.adapters.paid import journal_tables

    kept = journal_tables.open_existing(journal)
    try:
        count = journal_tables.export(kept, to)
    finally:
        kept.close()
    typer.echo(f"wrote {to}: {count:,} completions")


@common.command
def compact(journal: Place) -> None:
    """Forget requests that cost nothing, and give room back to the disk. Completions and charges stay."""
    from sim.adapters.paid import journal_tables

    kept = journal_tables.open_existing(journal)
    try:
        before, after = journal_tables.compact(kept)
    finally:
        kept.close()
    typer.echo(f"{before:,} bytes before, {after:,} after")


def _check_name(to: Path) -> None:
    if to.suffix != ".npz":
        raise ValueError(f"--to is {to}; the name of an environment file ends in .npz")
    if not to.parent.is_dir():
        raise ValueError(f"--to is {to}; the folder {to.parent} does not exist")
