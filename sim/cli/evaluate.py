"""`iapo evaluate`: a policy against a live model on queries that it was not tuned on."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli import common, options, programs, statements
from sim.cli.live import Unreadable, connected, read_text, say_policy
from sim.cli.progress import pulls_progress
from sim.cli.spending import amount_text, check_cap, show_need

if TYPE_CHECKING:
    from sim.adapters.evaluation import Interval, Row
    from sim.adapters.run_file.settings import Config
    from sim.adapters.scoring import Item


@common.command
def evaluate(
    policy: options.PolicyPath,
    queries: Annotated[
        Path, typer.Option(metavar="FILE", help="Held-out queries, with the columns that the configuration names.")
    ],
    limit: Annotated[
        int | None,
        typer.Option(parser=options.whole, metavar="N", help="Use the first so many queries.", show_default="all"),
    ] = None,
    pulls: Annotated[
        int, typer.Option(parser=options.whole, metavar="N", help="Pulls of every prompt on every query.")
    ] = 1,
    triple_scale: Annotated[
        int | None,
        typer.Option(
            parser=options.whole,
            metavar="N",
            help="N of TRIPLE's choice.",
            show_default="the policy's, context by context",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The .csv or .parquet file to write.", show_default="evaluation.csv of the run"
        ),
    ] = None,
    plan: options.Plan = False,
    yes: options.Yes = False,
    trust: options.Trust = False,
    module: options.Modules = None,
    accept_unreadable: Unreadable = False,
) -> None:
    """Evaluate a policy live, on held-out queries.

    It is paired with what it competes with, and what that cost is said. In every context against the prompt that
    tuning found best for a single completion, deployed with N = 1 (single) and with a given N (triple, as TRIPLE
    chooses). The caps of the configuration hold, in its journal: the same command goes on where it was stopped, and
    asks for nothing twice. What is evaluated is what the policy file holds (prompts, endpoint, scorers, contexts,
    prices); where the configuration differs by now, that is said.

    Example: iapo evaluate results/capitals/policy.json --queries held-out.jsonl --plan
    """
    from sim.adapters import config as reading
    from sim.adapters import doubts, evaluation, planning
    from sim.adapters import policy as file
    from sim.adapters import tune as driver

    if pulls < 1:
        raise ValueError(f"--pulls is {pulls}; it must be at least 1")
    if limit is not None and limit < 1:
        raise ValueError(f"--limit is {limit}; it must be at least 1")
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out is {out}; the name of a table ends in .csv or .parquet")
    if out is not None and not out.resolve().parent.is_dir():
        raise ValueError(f"--out is {out}; its folder {out.resolve().parent} does not exist")
    programs.keep()
    chosen = file.load(policy)
    tuned, changed = reading.of_tuning(chosen, common.may_import(trust, module))
    if changed:
        told = f"{chosen.config} differs from {policy} in {', '.join(changed)}; what the policy holds is evaluated"
        typer.echo(common.plain(f"note: {told}"), err=True)
    run = _held_out(tuned, queries, limit)
    items = driver.load_items(run)
    _check_new(items, driver.load_items(tuned), queries)
    arms = evaluation.arms_of(chosen, run, triple_scale)
    say_policy(chosen, run)
    with connected(run) as live:
        live.reader.look = None if accept_unreadable else doubts.first_look
        width, wants = evaluation.wants_of(live, arms, items, pulls)
        expected = planning.need(live, wants, [*items] * (len(wants) // len(items)))
        show_need(run, expected, live, len(items))
        if plan:
            return
        check_cap(run, expected, live.ledger.spent)
        if not yes and expected.worst.completions and not common.agreed("Spend it?"):
            common.stop("stopped before the first request", common.INTERRUPTED)
        before = live.ledger.spent
        with pulls_progress() as report:
            measured = evaluation.measure(live, items, width, wants, pulls, report)
        spent, charged, seen = live.ledger.spent, live.ledger.spent.minus(before), dict(live.reader.seen)
    rows = evaluation.compare(run, arms, measured, pulls)
    place = out or run.out / "evaluation.csv"
    _save(rows, place)
    _show(run, rows, len(items))
    statements.show(statements.of_evaluation(run, arms, measured, pulls))
    typer.echo(f"\n{read_text(seen)}")
    typer.echo(f"This call: {amount_text(charged)}. In all: {amount_text(spent)}.\n\nwrote {common.plain(place)}")


def _held_out(tuned: "Config", queries: Path, limit: int | None) -> "Config":
    """The run with the held-out queries."""
    if queries.suffix not in (".jsonl", ".csv", ".parquet") or not queries.is_file():
        raise ValueError(f"--queries is {queries}; expected a .jsonl, .csv or .parquet file that exists")
    return replace(tuned, queries=replace(tuned.queries, file=queries, limit=limit))


def _check_new(items: "tuple[Item, ...]", tuned: "tuple[Item, ...]", file: Path) -> None:
    known = {item.text for item in tuned}
    old = [number for number, item in enumerate(items, start=1) if item.text in known]
    if old:
        raise ValueError(
            f"{file}: row {old[0]} is a query of the tuning run ({len(old)} such rows); held-out queries must be new"
        )


def _show(run: "Config", rows: "list[Row]", num_queries: int) -> None:
    if len(run.contexts) == 1:  # its own mean
        rows = rows[: len(rows) // 2]
    refused = any(row.refused for row in rows)
    cells = [
        (
            row.context,
            row.role,
            row.prompt or "",
            row.scale or "",
            _text(row.value),
            "-" if row.role == "policy" else "the same" if row.gain is None else _text(row.gain),
            *(("" if row.refused is None else row.refused,) if refused else ()),
        )
        for row in rows
    ]
    columns = ["context", "arm", "prompt", ">N", ">value (95 % interval)", ">policy's gain (95 % interval)"]
    columns += [">refused"] if refused else []
    caption = (
        f"Means over {common.count(num_queries, 'query')}. single: the prompt that tuning found best at N = 1, used "
        "so; triple: the same prompt with the N shown. Gains are paired over queries. Intervals, each on its own: "
        "Student's t over queries; of votes with two made-up queries at either end, of other scores corrected for "
        "skewness; none below 10 queries, nor where all agree on scores that are no votes."
    )
    if refused:
        caption += " Refused: queries on which a filter refused the prompt; they count as unreadable answers."
    console = common.console()
    console.print()
    common.show(console, f"{run.name}: held-out utility", columns, cells, caption)


def _text(one: "Interval") -> str:
    from sim.cli.digits import shown

    if one.low is None or one.high is None:
        return shown([one.mean])(one.mean)
    text = shown([one.mean, one.low, one.high])
    return f"{text(one.mean)} ({text(one.low)} to {text(one.high)})"


def _save(rows: "list[Row]", place: Path) -> None:
    import pandas as pd

    from sim.comparison import tables

    ends = ("", "_low", "_high")
    columns = ["context", "arm", "prompt", "scale", *(f"value{end}" for end in ends), *(f"gain{end}" for end in ends)]
    lines = [(*row[:4], *row.value, *(row.gain or (None,) * 3), row.refused) for row in rows]
    frame = pd.DataFrame(lines, columns=pd.Index([*columns, "refused"]))
    tables.save(frame.astype({"scale": "Int64", "refused": "Int64"}), place)
