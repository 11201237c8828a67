"""`iapo record`, `iapo replay` and `iapo journal`: what a live model answered, kept and made an environment of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli import common, options
from sim.cli.live import Unreadable, connected
from sim.cli.progress import pulls_progress
from sim.cli.spending import amount_text, check_cap, show_need

if TYPE_CHECKING:
    from sim.adapters.look_back import Oddity
    from sim.adapters.trust import Trust

_SHOWN = 160
"""Signs of a completion that are shown."""
Place = Annotated[Path, typer.Argument(help="A journal.sqlite, or the folder that holds it.", metavar="JOURNAL")]


@common.command
def record(
    config: Annotated[Path, typer.Argument(help="The run, a TOML file.", metavar="CONFIG")],
    out: options.EnvironmentFile,
    completions: Annotated[
        int,
        typer.Option("--completions", "-n", parser=options.whole, metavar="N", help="Of every prompt on every query."),
    ] = 128,
    plan: options.Plan = False,
    yes: options.Yes = False,
    accept_unreadable: Unreadable = False,
) -> None:
    """Record a live model, as an environment.

    Asks for all prompts x queries x completions; the whole testbed can study the environment that it writes. The
    caps of CONFIG hold. Everything is kept in the journal: the same command goes on where it was stopped.

    Example: iapo record run.toml -n 64 --out mine.npz, then iapo values mine.npz
    """
    from sim.adapters import config as reading
    from sim.adapters import doubts, planning
    from sim.adapters import record as room
    from sim.adapters import tune as driver
    from sim.envs import files

    _check_name(out)
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
        with pulls_progress() as report:
            data = room.record(live, items, wants, report)
        spent = live.ledger.spent
    files.save(data, out)
    typer.echo(f"wrote {out}: {common.sizes(data)}; in all {amount_text(spent)}")


@common.command
def replay(
    journal: Place,
    out: options.EnvironmentFile,
    stream: Annotated[
        str, typer.Option(metavar="NAME", help="tune, record, or another that `iapo journal list` shows.")
    ] = "tune",
    trust: options.Trust = False,
    module: options.Modules = None,
) -> None:
    """Replay a run: make an environment of what it saw.

    Scorers are those of its configuration as it is now. Prompts and queries are left out until every prompt has
    completions of every query. Arms that the run dropped early have few completions, and what it asked for depends on
    what it saw: estimates from such an environment lean, towards low values of what was dropped.

    Example: iapo replay results/capitals --out seen.npz
    """
    from sim.adapters import config as reading
    from sim.adapters import record as room
    from sim.adapters import session as sessions
    from sim.adapters import tune as driver
    from sim.adapters.paid import journal_tables
    from sim.adapters.wire.protocol import Offline
    from sim.envs import files

    _check_name(out)
    kept = journal_tables.open_existing(journal)
    place, file = kept.note("config"), str(kept.path)
    kept.close()
    if place is None:
        raise ValueError(f"{file}: names no configuration; it was not made by a run")
    run = reading.load(place, file, common.may_import(trust, module))
    with sessions.session(run, Offline, file, capped=False) as live:
        data, left = room.replay(live, driver.load_items(run), stream)
    files.save(data, out)
    typer.echo(f"wrote {out}: {common.sizes(data)}; left out: {common.plain(left)}")


@common.command
def list_(journal: Place) -> None:
    """Show what was asked and what it cost, by stream and prompt."""
    from sim.adapters.paid import journal_tables
    from sim.adapters.run_file.settings import MONEY

    kept = journal_tables.open_existing(journal)
    found, total = journal_tables.spending(kept), kept.charged()
    kept.close()
    several = len({one.endpoint for one in found}) > 1
    rows = [
        (
            one.stream,
            one.model,
            one.prompt,
            *([one.endpoint] if several else []),
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
        *(["endpoint"] if several else []),
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
def show(
    journal: Place,
    examples: Annotated[
        int, typer.Option(parser=options.whole, metavar="K", help="Odd completions to show of every kind.")
    ] = 2,
    trust: options.Trust = False,
    module: options.Modules = None,
) -> None:
    """Show spending by prompt and round, and odd completions.

    Odd are those that were truncated, filtered, empty or unreadable; with examples. What is unreadable is for the
    scorers of its configuration to say, as it is now; those that ask a model are left out. Nothing is sent.

    Example: iapo journal show results/capitals
    """
    from sim.adapters import look_back
    from sim.adapters.paid import journal_tables
    from sim.adapters.run_file.settings import MONEY

    kept = journal_tables.open_existing(journal)
    spent, place, file = look_back.by_round(kept), kept.note("config"), str(kept.path)
    kept.close()
    rows = [
        (
            one.stream,
            one.model,
            one.prompt,
            "-" if one.round is None else one.round,
            one.requests,
            one.ambiguous,
            f"{one.completions:,}",
            f"{one.tokens:,}",
            f"{one.money / MONEY:,.4f}",
        )
        for one in spent
    ]
    columns = ("stream", "model", "prompt", ">round", ">requests", ">maybe billed", ">charged", ">tokens", ">money")
    console = common.console()
    common.show(console, "Spent by prompt and round", columns, rows, "Round '-': outside rounds, as the probe is.")
    odd, note = _oddities(file, place, max(examples, 0), common.may_import(trust, module))
    console.print()
    rows = [(one.stream, one.prompt, one.kind, f"{one.count:,} of {one.whole:,}") for one in odd]
    if rows:
        common.show(console, "Odd completions", ("stream", "prompt", "kind", ">completions"), rows)
    else:
        console.print("No odd completions.")
    if note:
        console.print(common.plain(f"What is unreadable is not known: {note}"))
    for one in odd:
        for example in one.examples:
            console.print(common.plain(f"{one.stream}, {one.prompt}, {one.kind}, draw {example.number}:"))
            console.print(common.plain(f"  query: {_short(example.query)}"))
            console.print(common.plain(f"  text:  {_short(example.text) or '(empty)'}"))


def _oddities(file: str, config: str | None, examples: int, may_import: "Trust") -> "tuple[list[Oddity], str]":
    """Odd completions of a journal, and why none of them could be read where that is so."""
    from dataclasses import replace

    from sim.adapters import config as reading
    from sim.adapters import look_back
    from sim.adapters import session as sessions
    from sim.adapters import tune as driver
    from sim.adapters.paid.journal import Journal
    from sim.adapters.scoring import Requests
    from sim.adapters.wire.protocol import Offline

    try:
        if config is None:
            raise ValueError(f"{file} names no configuration; it was not made by a run")
        run = reading.load(config, file, may_import)
        items = driver.load_items(run)
    except ValueError as error:
        kept = Journal(file)
        try:
            return look_back.oddities(kept, examples), str(error)
        finally:
            kept.close()
    silent = tuple(one for one in run.objectives if one.scorer.requests == Requests())
    with sessions.session(replace(run, objectives=silent), Offline, file, capped=False) as live:
        return look_back.oddities(live.journal, examples, live, items), ""


def _short(text: str) -> str:
    """A text in one line: its beginning and its end."""
    words = " ".join(text.split())
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN // 2]} ... {words[-_SHOWN // 2 :]}"


@common.command
def export(
    journal: Place,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .jsonl or .parquet file to write.")],
) -> None:
    """Write every completion to a file, a row each.

    JSONL keeps any text as it was, Parquet all that UTF-8 can hold.
    """
    from sim.adapters.paid import journal_tables

    kept = journal_tables.open_existing(journal)
    try:
        count = journal_tables.export(kept, out)
    finally:
        kept.close()
    typer.echo(f"wrote {out}: {count:,} completions")


@common.command
def compact(journal: Place) -> None:
    """Forget requests that cost nothing, and give room back.

    Completions and charges stay.
    """
    from sim.adapters.paid import journal_tables

    kept = journal_tables.open_existing(journal)
    try:
        before, after = journal_tables.compact(kept)
    finally:
        kept.close()
    typer.echo(f"{before:,} bytes before, {after:,} after")


def _check_name(out: Path) -> None:
    if out.suffix != ".npz":
        raise ValueError(f"--out is {out}; the name of an environment file ends in .npz")
    if not out.parent.is_dir():
        raise ValueError(f"--out is {out}; the folder {out.parent} does not exist")
