"""A tuning run from Python, from configuration to policy file, as `iapo tune --yes` does it."""

import csv
import io
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from sim.adapters import certified, doubts, judge_probe, planning, until
from sim.adapters import config as reading
from sim.adapters import policy as files
from sim.adapters import session as sessions
from sim.adapters import tune as driver
from sim.adapters.display import display
from sim.adapters.policy import Chosen
from sim.adapters.progress import RunProgress, spent_parts, watching
from sim.adapters.run_file import queries as query_files
from sim.adapters.run_file.settings import Config, Endpoint
from sim.adapters.run_file.toml_table import read_toml
from sim.adapters.scorers.reader import UNDAUNTED
from sim.adapters.scoring import Item
from sim.adapters.session import Session
from sim.adapters.wire.protocol import Client
from sim.adapters.wire.redact import Secrets
from sim.core import Algorithm
from sim.envs.rows import quoted
from sim.origins import version
from sim.writing import write_whole

Tell = Callable[[RunProgress], None]
IN_PYTHON = "(in Python)"
"""In place of a run file's name where there is none."""
_STOPPED = "the run was stopped"


class Tuned(NamedTuple):
    """The end of a tuning run.

    Attributes:
        file: the policy file, for `Policy.load`.
        choices: the arm of every context, with its interval and the runner-up.
        rounds: whole rounds.
        stopped: the cap that ended the run before its policy, in words, which is then the best so far; else None.
        spent: completions, tokens and money, of all runs in this folder.
        seen: how many completions were read, and how many of them were truncated, filtered or unreadable.
        notes: what is odd about the run or its probe, a sentence each.
        statements: how sure the choice of each context is, as the policy file holds it; its text is in words.
    """

    file: Path
    choices: tuple[Chosen, ...]
    rounds: int
    stopped: str | None
    spent: dict[str, float | int]
    seen: dict[str, int]
    notes: tuple[str, ...]
    statements: dict[str, dict[str, Any]]


def tune(
    run: str | Path | Mapping[str, Any] | Config,
    *,
    algorithm: Algorithm | None = None,
    queries: Sequence[Mapping[str, Any]] | None = None,
    on_round: Tell | None = None,
    progress: bool = True,
    accept_unreadable: bool = False,
) -> Tuned:
    """Choose a prompt and a scale for a live model, within the caps of the run. Nothing is asked: calling it spends.

    Everything paid for is kept in OUT/journal.sqlite before it is used: the same call goes on where it was stopped.
    Writes OUT/policy.json and OUT/arms.csv. Also for notebooks, whose event loop it leaves alone.

    Args:
        run: a run file; its tables as a dictionary, with files beside the current folder; or a checked `Config`.
        algorithm: in the place of the one that the run names.
        queries: rows in the place of the run's query file; they are written to OUT/queries.jsonl.
        on_round: is told the progress at the end of every round.
        progress: whether to show it: one that renews itself in a notebook, else a line a round on standard error.
        accept_unreadable: go on though most of the first completions are empty, cut off or unreadable.

    Raises:
        ValueError: something is wrong with the run, before anything is asked; or (`Stopped`) the run cannot go on.

    Example:
        >>> from sim import live
        >>> live.tune({"strategy": "mv"})
        Traceback (most recent call last):
        ValueError: (in Python): endpoint is missing; it is needed
    """
    made = _made(run, algorithm, queries)
    items = driver.load_items(made)
    notes = query_files.unfilled(made.queries, made.prompts)
    notes += filter(None, [driver.replaced(made) or driver.assumed(made)])
    driver.check(made)
    connect = sessions.connector(made, Secrets(made.dot_env))
    show = display() if progress else None

    def tell(step: RunProgress) -> None:
        if show is not None:
            show(step)
        if on_round is not None and step.whole:
            on_round(step)

    def work(live: Session[Config], told: Tell) -> Tuned:
        return _rounds(live, items, notes, accept_unreadable, told)

    return _apart(made, connect, work, tell)


def _made(
    run: str | Path | Mapping[str, Any] | Config,
    algorithm: Algorithm | None,
    queries: Sequence[Mapping[str, Any]] | None,
) -> Config:
    """The checked run."""
    if isinstance(run, Config):
        if algorithm is not None or queries is not None:
            raise ValueError("algorithm and queries go with a run file or its tables, not with a run that is checked")
        return run
    path, content = Path(IN_PYTHON), dict[str, Any](name="run", out="results/run")
    if isinstance(run, Mapping):
        content |= run
    else:
        path, content = Path(run), read_toml(Path(run))
    if algorithm is not None:  # a policy file holds no name for it
        table = dict(content.get("tune", {}))
        table.pop("algorithm", None)
        content["tune"] = table
    if queries is not None:
        out = path.resolve().parent / str(content.get("out", f"results/{path.stem}"))
        content["queries"] = _write_queries(out / "queries.jsonl", content.get("queries", {}), queries)
    return reading.of_content(path, content, algorithm)


def _write_queries(file: Path, table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write rows as a query file; the table that names it."""
    try:
        text = "".join(json.dumps(dict(row), ensure_ascii=True) + "\n" for row in rows)
    except (TypeError, ValueError) as error:
        raise ValueError(f"queries hold what no JSON can carry ({error})") from None
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda opened: opened.write(text.encode()))
    gold = {"gold": "gold"} if rows and "gold" in rows[0] else {}
    return gold | dict(table) | {"file": str(file)}


def _apart(
    run: Config,
    connect: Callable[[Endpoint], Client],
    work: Callable[[Session[Config], Tell], Tuned],
    tell: Tell,
) -> Tuned:
    """Work in a thread, which may have an event loop where the caller's has one; the caller's thread is told.

    When it is interrupted nothing more is sent, and what is under way is waited for.
    """
    told: SimpleQueue[RunProgress | None] = SimpleQueue()
    end: Future[Tuned] = Future()
    opened: list[Session[Config]] = []
    over = threading.Event()

    def body() -> None:
        try:
            with sessions.session(run, connect) as live:
                opened.append(live)
                if over.is_set():
                    live.sampler.stop(_STOPPED)
                found = work(live, told.put)
            end.set_result(found)
        except BaseException as error:
            end.set_exception(error)
        finally:
            told.put(None)

    thread = threading.Thread(target=body, name="iapo tune", daemon=True)
    thread.start()
    try:
        while (step := told.get()) is not None:
            tell(step)
    except BaseException:
        over.set()
        for live in opened:
            live.sampler.stop(_STOPPED)
        raise
    finally:
        thread.join()
    return end.result()


def _rounds(
    live: Session[Config], items: Sequence[Item], notes: list[str], accept_unreadable: bool, told: Tell
) -> Tuned:
    """Probe, plan, rounds and files of an open session."""
    run = live.config
    wants = driver.probe_wants(live, items)
    needed = planning.with_judgements(live, planning.need(live, wants), items)
    planning.check_cap(run, needed, items, live.sampler)
    costs = driver.probe(live, items)
    serious, odd = doubts.of_probe(live, items)
    if serious and not accept_unreadable:
        raise ValueError(f"{'; '.join(serious)}; {UNDAUNTED}")
    probed = judge_probe.measure(live, items)
    notes += serious + odd + [one.sentence for one in probed]
    if not wants and not accept_unreadable:
        live.reader.look = doubts.first_look
    spec, strategy = driver.world(run, costs, items)
    plan = planning.plan(run, spec, costs, items, live.sampler, probed)
    report = watching(run, plan, live.ledger, told)
    result = driver.rounds_of(live, items, spec, strategy, report, keeper(live, len(items)))
    sure = finish(live, items, costs, result)
    seen, spent = dict(live.reader.seen), spent_parts(live.ledger.spent)
    return Tuned(
        run.out / until.POLICY, result.choices, result.rounds, result.stopped, spent, seen, tuple(notes), sure.facts
    )


def keeper(live: Session[Config], num_items: int) -> Callable[[driver.RunResult], None]:
    """Writer of the policy so far, for `driver.rounds_of`."""
    return lambda result: _save_policy(live, result, num_items, until.SO_FAR)


def finish(
    live: Session[Config], items: Sequence[Item], costs: driver.Costs, result: driver.RunResult
) -> certified.RunStatements:
    """Write the policy and the table of arms of a run, and statements about its choices into the policy.

    The policy is there before its statements are made: they take a while. The policy so far goes.
    """
    run = live.config
    _save_policy(live, result, len(items), until.POLICY)
    (run.out / until.SO_FAR).unlink(missing_ok=True)
    _save_arms(run, result)
    evidence = certified.run_evidence(live, items, costs)
    sure = certified.of_run(run, evidence, result.choices, None if result.stopped else result.rounds)
    _save_policy(live, result, len(items), until.POLICY, sure.facts)
    return sure


def _save_policy(
    live: Session[Config],
    result: driver.RunResult,
    num_items: int,
    name: str,
    sure: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write a policy file of that name."""
    run, told = live.config, facts(live, result, num_items)
    files.save(run.out / name, run, result.choices, spent_parts(live.ledger.spent), told, sure)


def facts(live: Session[Config], result: driver.RunResult, num_items: int) -> dict[str, Any]:
    """Facts of a run besides its policy, as the policy file has them."""
    run = live.config
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "program": version(),
        "cost_measure": run.cost_measure,
        "currency": run.currency,
        "complete": result.stopped is None,
        "stopped": result.stopped,
        "rounds": result.rounds,
        "algorithm": run.algorithm_text,
        "budget": run.budget,
        "seed": run.seed,
        "queries": num_items,
        "seen": dict(live.reader.seen),
        "sure": None if result.sure is None else result.sure.facts(),
    }


def _save_arms(run: Config, result: driver.RunResult) -> None:
    """Write what is known of every arm that was pulled; without pandas, which takes 60 MB."""
    found, text = result.estimate, io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("context", "prompt", "scale", "value", "se", "pulls"))
    for context, prompt, scale in np.ndindex(found.value.shape):
        if found.pulls[prompt, scale] > 0:
            value, se = (float(part[context, prompt, scale]) for part in (found.value, found.se))
            names = (quoted(run.contexts[context].name), quoted(run.prompts[prompt].name), scale + 1)
            rows.writerow((*names, value, "" if math.isnan(se) else se, int(found.pulls[prompt, scale])))
    write_whole(run.out / "arms.csv", lambda file: file.write(text.getvalue().encode()))
