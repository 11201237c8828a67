"""`iapo tune --until` and `--more`: options, the policy so far, and the sentence on how sure a run is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli import common, options

if TYPE_CHECKING:
    from sim.adapters.run_file.settings import Config
    from sim.adapters.tune import RunResult
    from sim.adapters.until import Sure

Until = Annotated[
    float | None,
    typer.Option(
        "--until",
        parser=options.number,
        metavar="EPS",
        help="Stop when no other arm is better by more than EPS, with 95 % confidence; tune.budget is the most.",
    ),
]
Target = Annotated[
    str, typer.Option("--target", metavar="new|these", help="With --until: on new queries, or on exactly these.")
]
More = Annotated[
    int | None,
    typer.Option(
        "--more",
        parser=options.positive,
        metavar="T",
        help="Go on from the run that has ended, with T completions more; it keeps what it has.",
    ),
]


def check(until: float | None, target: str) -> None:
    """Refuse a target that does not exist, or has nothing to go with."""
    if target not in ("new", "these"):
        raise ValueError(f"--target is {target!r}; it must be 'new' or 'these'")
    if target != "new" and until is None:
        raise ValueError("--target goes with --until: of which queries the run is to be sure")


def show(run: "Config", result: "RunResult") -> None:
    """Say how sure a run until sure is."""
    if result.sure is not None:
        common.console().print()
    for sentence in lines(run, result):
        common.console().print(common.plain(sentence))


def lines(run: "Config", result: "RunResult") -> list[str]:
    """Sentences on how sure a run until sure is; none for other runs."""
    if result.sure is None:
        return []
    by = "The run went by this, with costs as its probe measured them:"
    return [by, *sentences(result.sure, [one.name for one in run.contexts], result.stopped is not None)]


def sentences(sure: "Sure", contexts: Sequence[str], stopped: bool) -> list[str]:
    """Sentences on how sure a run is, context by context, and on why it is no surer."""
    from sim.certify.wording import no_better, number, upwards

    where = "on new queries" if sure.target == "new" else "on exactly these queries"
    found = []
    for name, eps in zip(contexts, sure.eps, strict=True):
        said = "nothing can be said: some prompt has met fewer than 10 queries in common with the chosen one"
        if eps < float("inf"):
            said = f"{no_better(eps)} {where}"
        found.append(f"{name}: with {100 * sure.level:.10g} % confidence {said}.")
    shared = f", {len(contexts)} contexts at once" if len(contexts) > 1 else ""
    visits = common.count(sure.visits, "query") if sure.target == "new" else f"{sure.visits:,} visits of queries"
    grade = f"({sure.num_arms} arms, {visits}; asymptotic, valid at any time{shared}; eps asked for: {sure.wanted:g})"
    if sure.reached:
        return [*found, grade]
    why = "a cap stopped the run" if stopped else "the budget is spent; --more goes on"
    if sure.exhausted and not stopped:
        why = f"queries exhausted, eps = {number(*upwards(max(sure.eps)))}"
    return [*found, grade, f"Not as sure as asked for: {why}."]
