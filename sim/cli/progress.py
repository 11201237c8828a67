"""Progress of live commands on standard error: a bar on a terminal, else lines."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from sim.cli import common, events

if TYPE_CHECKING:
    from sim.adapters.live import RunStep
    from sim.adapters.paid.ledger import Ledger
    from sim.adapters.planning import RunPlan
    from sim.adapters.progress import RunProgress
    from sim.adapters.run_file.settings import Config


@contextmanager
def run_progress(
    run: "Config", plan: "RunPlan", ledger: "Ledger", as_json: bool
) -> "Iterator[Callable[[RunStep], None]]":
    """Reporter of a tuning run: a bar under a sentence on a terminal, else the sentence a round; or events."""
    from sim.adapters.progress import watching

    if as_json:
        yield watching(run, plan, ledger, events.progress(run.budget))
        return
    if not sys.stderr.isatty():

        def line(step: "RunProgress") -> None:
            if step.whole:
                typer.echo(str(step), err=True)

        yield watching(run, plan, ledger, line)
        return
    with common.line_of_progress() as bar:
        task = bar.add_task("asking", total=run.budget)

        def renew(step: "RunProgress") -> None:
            bar.update(task, completed=step.completions, description=str(step))

        yield watching(run, plan, ledger, renew)


@contextmanager
def pulls_progress() -> "Iterator[Callable[[RunStep], None]]":
    """Reporter of pulls that are asked for at once: a bar on a terminal, else a line at their end."""
    if not sys.stderr.isatty():

        def line(step: "RunStep") -> None:
            if step.done == step.pulls and step.pulls > 1:
                typer.echo(f"{step.pulls:,} pulls done", err=True)

        yield line
        return
    with common.bar("pulls") as bar:
        task = bar.add_task("asking", total=None)
        yield lambda step: bar.update(task, completed=step.done, total=step.pulls)
