"""Events of a live run for machines, a line of JSON each on standard output."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from sim.cli import common

if TYPE_CHECKING:
    from sim.adapters.judge_probe import ProbedJudge
    from sim.adapters.paid.ledger import Amount
    from sim.adapters.planning import RunPlan
    from sim.adapters.progress import RunProgress
    from sim.adapters.run_file.settings import Config
    from sim.adapters.tune import RunResult

STEPS = 20
"""Events of progress there are about so many besides those at the end of a round."""


def emit(event: str, **parts: Any) -> None:
    """Say that something happened."""
    typer.echo(json.dumps({"event": event} | parts, ensure_ascii=True, allow_nan=False))


@contextmanager
def ending(wanted: bool) -> Iterator[None]:
    """Say as the last event how the command ends: its exit code, and why where that is not 0.

    A process that is killed, or interrupted before its session is open, says nothing more.
    """
    try:
        yield
    except typer.Exit as stopped:
        if wanted:
            emit("end", code=stopped.exit_code, why=" ".join(getattr(stopped, "__notes__", ())))
        raise
    except (ValueError, OSError) as error:
        if wanted:
            emit("end", code=common.USER_ERROR, why=str(error))
        raise
    if wanted:
        emit("end", code=0, why="")


def run(config: "Config", num_queries: int) -> None:
    """Say what is run."""
    from sim.adapters.run_file.settings import MONEY

    caps = config.caps
    sizes = {"prompts": len(config.prompts), "queries": num_queries, "contexts": len(config.contexts)}
    emit(
        "run",
        name=config.name,
        file=str(config.file),
        algorithm=config.algorithm_text,
        budget=config.budget,
        max_scale=config.max_scale,
        **sizes,
        caps={
            "completions": caps.completions,
            "tokens": caps.tokens,
            "money": None if caps.money is None else caps.money / MONEY,
        },
    )


def plan(planned: "RunPlan", spent: "Amount", probed: "Sequence[ProbedJudge]" = ()) -> None:
    """Say what the rounds take: of a dry run, at most, and about where a probe was made; and what it says of judges."""
    from sim.adapters.progress import spent_parts

    emit(
        "plan",
        rounds=[step._asdict() for step in planned.rounds],
        most=spent_parts(planned.worst),
        about=None if planned.about is None else spent_parts(planned.about),
        judgements=spent_parts(planned.judgements),
        judges=[one._asdict() for one in probed],
        kept=planned.kept,
        spent=spent_parts(spent),
    )


def progress(budget: int) -> "Callable[[RunProgress], None]":
    """Reporter of progress: at the end of every round, and whenever a further part of the budget is used."""
    told = 0

    def tell(step: "RunProgress") -> None:
        nonlocal told
        part = STEPS * step.completions // budget
        if step.whole or part > told:
            told = part
            emit("progress", **step.event())

    return tell


def policy(
    config: "Config",
    result: "RunResult",
    spent: "Amount",
    charged: "Amount",
    seen: dict[str, int],
    statements: dict[str, dict[str, Any]],
) -> None:
    """Say what was chosen, how sure that is, and where it is."""
    from sim.adapters.policy import Arm
    from sim.adapters.progress import spent_parts

    choices = {
        one.context: {name: arm._asdict() for name, arm in one._asdict().items() if isinstance(arm, Arm)}
        for one in result.choices
    }
    emit(
        "policy",
        file=str(config.out / "policy.json"),
        stopped=result.stopped,
        rounds=result.rounds,
        choices=choices,
        statements=statements,
        spent=spent_parts(spent),
        charged=spent_parts(charged),
        seen=seen,
        sure=None if result.sure is None else result.sure.facts(),
    )
