"""`iapo env import` and `iapo data fetch`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import common, options

LOGS = (".csv", ".parquet", ".jsonl", ".json", ".eval")
"""Endings of logs; all but .parquet and .eval may be packed (.jsonl.gz)."""


def _present(sources: list[str]) -> list[str]:
    """The files that are named, of which none is missing: that is said before what else the command needs."""
    from sim.cli import logs
    from sim.envs.archives import readable_file

    for source in sources:
        try:
            readable_file(logs.named(source).path, sys.maxsize)
        except ValueError as error:
            common.stop(f"error: {error}", common.USER_ERROR)
    return sources


@common.command
def import_(
    file: Annotated[
        list[str],
        typer.Argument(
            help="A released .pkl, a .npz, or logs of completions: .csv, .parquet, .jsonl (rows, OpenAI batch output, "
            "lm-evaluation-harness samples), .json (a list of rows, Inspect, promptfoo), .eval (Inspect), also packed "
            "(.gz). NAME=FILE names the prompt of a file that names none.",
            metavar="FILE",
            callback=_present,
        ),
    ],
    out: options.EnvironmentFile,
    tie: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Credit of a tied majority vote: uniform (1/t) or half.",
            show_default="the file's, uniform for a log",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the environment.", show_default="that of the file", rich_help_panel="Logs"
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN:STRATEGY",
            help="COLUMN:mv, COLUMN:bon or COLUMN:mean; once per objective.",
            rich_help_panel="Logs",
        ),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LABEL=]WEIGHTS",
            help="[LABEL=]w1,...,wK,wCost: the weight of every objective and, >= 0, of the cost; once per context.",
            rich_help_panel="Logs",
        ),
    ] = None,
    max_scale: Annotated[
        int | None, typer.Option(parser=options.whole, metavar="N", help="Largest N.", rich_help_panel="Logs")
    ] = None,
    gold: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the right answer, for mv.", rich_help_panel="Logs")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of a completion's cost.", rich_help_panel="Logs")
    ] = None,
    prompt: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column that tells prompts apart.", rich_help_panel="Logs")
    ] = "prompt",
    query: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column that tells queries apart.", rich_help_panel="Logs")
    ] = "query",
    text: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of completions.", rich_help_panel="Logs")
    ] = "completion",
    answers: Annotated[
        str | None,
        typer.Option(
            metavar="READER",
            help="number, choice, exact, or a pattern with a group: reads completions into the column 'answer', the "
            "right answers likewise, and says in the column 'right' which agree.",
            rich_help_panel="Logs",
        ),
    ] = None,
    letters: Annotated[
        str | None,
        typer.Option(
            metavar="LETTERS", help="Letters of --answers choice.", show_default="ABCD", rich_help_panel="Logs"
        ),
    ] = None,
    golds: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Right answers, JSONL with query and gold.", rich_help_panel="Logs"),
    ] = None,
    asked: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Input file of a batch output.", rich_help_panel="Logs")
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Pattern of a batch's custom_id with groups prompt and query.",
            rich_help_panel="Logs",
        ),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="NAME",
            help="Filter of lm-evaluation-harness whose scores are taken.",
            show_default="the first",
            rich_help_panel="Logs",
        ),
    ] = None,
    same_ids: Annotated[
        bool,
        typer.Option(
            "--same-ids", help="Queries of one id are one, though what they ask differs.", rich_help_panel="Logs"
        ),
    ] = False,
) -> None:
    """Convert an environment, or logs, to the open format.

    Of a log, what is not said is guessed (columns, how answers are read, N, contexts); the guess is shown with the
    first rows and the command that says all of it.

    Example: iapo env import log.csv --out mine.npz --objective answer:mv --gold right --cost tokens
    --context free=1,0 --context dear=1,0.002 --max-scale 32

    Or: iapo env import plain=a.eval steps=b.eval --out mine.npz --answers number --gold gold --objective answer:mv
    --cost completion_tokens --context 1,0.001 --max-scale 16
    """
    from sim.cli import answers as room
    from sim.cli import log_import, logs
    from sim.constants import TIES
    from sim.envs import files
    from sim.envs.log_files import kind
    from sim.envs.log_files import name as title
    from sim.envs.logs import few_completions

    if tie not in (None, *TIES):
        raise ValueError(f"--tie is {tie!r}; allowed are {', '.join(TIES)}")
    path, closing = Path(file[0]), None
    if len(file) > 1 or kind(path) in LOGS:
        for one in file:
            if kind(Path(one)) not in LOGS:
                raise ValueError(f"{one} is no log of completions ({', '.join(LOGS)}); only logs can be put together")
        if golds is not None and gold is None:
            gold = "gold"
        said = logs.Options(asked, ids, golds, text, answers, letters, filter_, same_ids)
        told = log_import.Told(file, out, objective, context, max_scale, gold, cost, prompt, query, said, tie, name)
        data, frame, told = log_import.environment(told)
        data = replace(data, name=name or title(Path(file[0])))
        closing = room.closing(frame, told.reading.answers is not None)
    else:
        given = {
            "name": name,
            "objective": objective,
            "context": context,
            "max-scale": max_scale,
            "gold": gold,
            "cost": cost,
            "answers": answers,
            "letters": letters,
            "golds": golds,
            "asked": asked,
            "ids": ids,
            "filter": filter_,
            "same-ids": same_ids,
        }
        needless = [option for option, value in given.items() if value]
        if needless:
            raise ValueError(f"--{needless[0]} is for logs ({', '.join(LOGS)}); {path} says this itself")
        data = files.read(path)
    if tie is not None:
        if "mv" not in data.aggregate:
            raise ValueError(f"--tie is {tie!r}, but no objective of {path} is voted on ('mv')")
        data = replace(data, tie=tie)
    files.save(data, out)
    if closing is not None and (few := few_completions(data)) is not None:
        typer.echo(f"warning: {few}", err=True)
    typer.echo(f"wrote {out}: {common.plain(data.name)}, {common.sizes(data)}")
    if closing is not None:
        typer.echo(common.plain(closing))


@common.command
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="MATH, CQA, HH, SB, Summarization; all when none.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FOLDER-or-URL",
            help="A folder that holds the files, or a URL.",
            show_default="the authors' repository",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder to put them in.", show_default="this user's data folder"),
    ] = None,
) -> None:
    """Fetch released environments, and check that they are those.

    Example: iapo data fetch MATH --out data
    """
    from rich import progress
    from rich.console import Console

    from sim.envs import fetch as room
    from sim.envs.blobs import RELEASED

    columns = (common.description(), progress.BarColumn(), progress.DownloadColumn())
    silent = not sys.stderr.isatty()
    with progress.Progress(*columns, console=Console(stderr=True), transient=True, disable=silent) as bar:
        tasks: dict[str, progress.TaskID] = {}

        def report(name: str, received: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=received, total=total)

        paths = room.fetch(names or list(RELEASED), source, out, report)
    for path in paths:
        typer.echo(path)
    typer.echo(f"use one with: iapo compare {paths[0]}", err=True)
