"""Guarantees put to the test: exact truth, bounds, simulation and rare-event estimates side by side, with verdicts.

Worlds are in `theory.checks.families`, algorithms in `theory.checks.rules`, guarantees in `theory.checks.claims`, and
what a verdict is in `theory.checks.verdicts`. Work is cut into tasks (world, rule, budget) that are kept on disk when
they are done: a run that was killed goes on where it was, and ends with the same numbers. Bounds allow for the rounding
of simulated estimates (proofs.md, section 1): a gap that rounding hides makes a bound say nothing, and never violated.

    >>> from theory import verify
    >>> plan = verify.VerifyPlan(quick=True, families=("two-arm",))
    >>> callable(verify.verify), plan.seed  # verify.verify(plan, folder) takes a minute
    (True, 0)
"""

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim import evaluate, mistakes, origins, program
from sim.comparison import store, tables
from sim.comparison.store import Interrupted
from sim.core import Algorithm
from sim.engine import runner
from sim.engine.turn import Observe
from sim.envs.dataset import Dataset
from sim.envs.sources import fixed
from theory import exact
from theory.checks import brought, claims, families, rules, table
from theory.checks.events import MISS, Answered, Event
from theory.checks.tasks import Kind, Task
from theory.runs import rare, tapes
from theory.runs.enumerate import enumerate_runs

if TYPE_CHECKING:
    import pandas as pd

FILES = ("verify.parquet", "verify.csv", "verdicts.csv", "provenance.json")
"""Files that a run writes."""
QUICK, FULL = 4_000_000, 60_000_000
"""Completions simulated per task."""
QUICK_PARTICLES = 500
_MOST_TRIALS = (8192, 1_000_000)
"""Of a task, in the quick and in the full run."""
_FEWER = 8
"""The quick run simulates so many times less where the failure probability is known exactly: a verdict rests on that,
and the simulation only shows that it agrees."""
_PART = 2 * 10**9
"""Completions that a process of a pool simulates at a time, or a task more: minutes."""
_BATCH = 2**16
_PROGRAMS = {
    Kind.CLAIMS: ("theory.checks.claims",),
    Kind.ENUMERATION: ("theory.runs.enumerate",),
    Kind.SIMULATION: ("sim.engine.runner", "sim.envs.sources"),
    Kind.SPLITTING: ("theory.runs.rare", "theory.runs.halving"),
}
"""Modules that the result of each kind of task depends on, besides the rules and this file."""
_HALVING = {"psst, fresh": True, "psst": False}
"""Rules that on independent arms are halving: whether they forget."""
_ANSWER = 63
"""Stands for a failure after the last round; no rule has so many."""


class VerifyPlan(NamedTuple):
    """Plan of a verification.

    Attributes:
        quick: a minute of work instead of an hour.
        seed: root of all randomness.
        math: path of the MATH environment; None leaves it out.
        families: names in `families.FAMILIES`; all of the run when empty.
        least: number of trials of a simulated point, at least.
        bounds: bounds of one's own, as `theory.checks.brought` reads them.
    """

    quick: bool = False
    seed: int = 0
    math: str | None = None
    families: tuple[str, ...] = ()
    least: int = 64
    bounds: tuple[str, ...] = ()


class VerifyStep(NamedTuple):
    """Progress of a run: tasks of which kind and family were done in how many seconds, and how many of how many."""

    kind: Kind
    family: str
    rule: str
    seconds: float
    done: int
    total: int


class VerifyResult(NamedTuple):
    """Result of a verification.

    Attributes:
        table: a row per world, rule and budget, and per claim, context and round; see `theory.checks.table`.
        verdicts: a row per claim and world, see `theory.checks.table.summary`.
        intervals: how many simultaneous intervals the verdicts rest on.
        reused: tasks that were there before.
        wall: seconds.
    """

    table: "pd.DataFrame"
    verdicts: "pd.DataFrame"
    intervals: int
    reused: int
    wall: float


def verify(
    plan: VerifyPlan, out: Path, *, executor: Executor | None = None, report: Callable[[VerifyStep], None] | None = None
) -> VerifyResult:
    """Do what is missing of a plan, judge every claim and write the tables.

    Args:
        plan: what to test.
        out: folder for the results, made if need be; cells are kept in `out`/cells.
        executor: where tasks are computed; in this process when None.
        report: told about each step.

    Raises:
        ValueError: the plan cannot be carried out, or `out` cannot be written to.
        Interrupted: on Ctrl-C.
    """
    start = perf_counter()
    brought.bring(plan.bounds)
    with tables.kept_cells(out) as folder:
        found, intervals, tasks, missing = _carried_out(plan, folder, executor, report)
    verdicts = table.summary(found)
    result = VerifyResult(found, verdicts, intervals, len(tasks) - len(missing), perf_counter() - start)
    settings = {**plan._asdict(), "math": plan.math and Path(plan.math).name, "intervals": intervals}
    provenance = tables.provenance(settings, {"wall_seconds": round(result.wall, 3), "cells_reused": result.reused})
    for name, content in zip(FILES, (found, found, verdicts, provenance), strict=True):
        tables.save(content, out / name)
    return result


def _carried_out(
    plan: VerifyPlan, folder: Path, executor: Executor | None, report: Callable[[VerifyStep], None] | None
) -> "tuple[pd.DataFrame, int, list[Task], list[Task]]":
    """The table, how many intervals its verdicts rest on, all tasks, and those that were missing."""
    tasks = list(tasks_of(plan, str(folder)))
    passing = [task for task in tasks if not program.lasts(task.program)]
    program.begin(
        {needs[1] or "the bounds": program_of(*needs) for needs in dict.fromkeys(task.needs for task in tasks)}
    )
    missing = [task for task in tasks if not task.path.exists()]
    done = len(tasks) - len(missing)
    try:
        for group, seconds in _run(missing, executor):
            done += len(group)
            if report is not None:
                joined = " + ".join(dict.fromkeys(task.rule for task in group))
                report(VerifyStep(group[0].kind, group[0].family, joined, seconds, done, len(tasks)))
        found, intervals = table.build(tasks, _load)
    except KeyboardInterrupt:
        kept = sum(task.path.exists() for task in tasks if program.lasts(task.program))
        raise Interrupted(kept, len(tasks)) from None
    finally:
        for task in passing:
            task.path.unlink(missing_ok=True)
    return found, intervals, tasks, missing


def tasks_of(plan: VerifyPlan, folder: str) -> Iterator[Task]:
    """All the tasks of a plan."""
    runner.check_seed(plan.seed)
    chosen = families.chosen(plan.quick, plan.math)
    if unknown := [name for name in plan.families if name not in chosen]:
        near = difflib.get_close_matches(unknown[0], chosen, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"family {unknown[0]!r} is not part of this run; {hint}known are {', '.join(chosen)}")
    if plan.math is not None:
        families.world(families.MATH, 0, plan.math)  # a file that cannot be read is said now
    keys: dict[tuple[Kind, str, Event], str] = {}
    for name in plan.families or chosen:
        family = chosen[name]
        budgets = family.quick if plan.quick else family.budgets
        splitting = family.quick_splitting if plan.quick else family.splitting
        for number in range(family.instances[not plan.quick]):

            def task(
                kind: Kind,
                rule: str,
                budget: int,
                effort: int,
                event: Event = MISS,
                name: str = name,
                number: int = number,
            ) -> Task:
                needs = kind, rule, event
                if needs not in keys:
                    keys[needs] = program_of(*needs).key
                own = plan.bounds if kind is Kind.CLAIMS else ()
                return Task(
                    kind, name, number, rule, budget, effort, plan.seed, plan.math, folder, keys[needs], event, own
                )

            data = families.world(name, number, plan.math)
            skipped = family.unhurried if plan.quick else ()
            laws = dict.fromkeys(families.law(rule, data) for rule in family.rules if rule not in skipped)
            others = dict.fromkeys((families.law(claim.rule, data), claim.event) for claim in claims.at().values())
            others = [(rule, event) for rule, event in others if rule in laws and event != MISS]
            extra = [budget for _, budget in splitting]
            for budget in sorted({*budgets, *extra}):
                yield task(Kind.CLAIMS, "", budget, 0)
                share = family.share * (family.hurry if plan.quick else 1.0)
                trials = max(_trials(plan.quick, share, budget), plan.least)
                fewer = max(trials // _FEWER, plan.least)
                known = {rule for rule in laws if plan.quick and claims.exactly_known(rule, data, budget)}
                yield from (task(Kind.SIMULATION, rule, budget, fewer if rule in known else trials) for rule in laws)
                yield from (task(Kind.SIMULATION, rule, budget, trials, event) for rule, event in others)
                if family.enumerated:
                    each = [rule for rule in laws if rules.RULES[rule].queries != "common-wor"]
                    yield from (task(Kind.ENUMERATION, rule, budget, 0) for rule in each)
            particles = QUICK_PARTICLES if plan.quick else family.particles
            yield from (task(Kind.SPLITTING, rule, budget, particles) for rule, budget in splitting)


def program_of(kind: Kind, rule: str, event: Event = MISS) -> program.Program:
    """All that the result of a kind of task depends on besides its world: of bounds every one in `claims.CLAIMS`."""
    here = origins.find(__name__)  # its text alone: which worlds there are and how tables look changes no task
    texts = [here and here.text, inspect.getsource(claims.bernoulli_means) if kind is Kind.SPLITTING else ""]
    what = (claims.CLAIMS, tuple(rules.RULES)) if kind is Kind.CLAIMS else (rules.RULES[rule], event)
    return program.behind(
        *what, texts, modules=(*_PROGRAMS[kind], "theory.checks.rules", "theory.exact", "sim.evaluate")
    )


def foreign_programs() -> dict[tuple[Kind, str], str]:
    """Keys of the programs of bounds ("claims", "") and rules ("simulation", name) that are not of this project."""
    found = {(Kind.SIMULATION, rule): program_of(Kind.SIMULATION, rule) for rule in rules.RULES}
    found[Kind.CLAIMS, ""] = program_of(Kind.CLAIMS, "")
    return {name: known.key for name, known in found.items() if known.foreign}


@mistakes.tells()
def run_group(group: list[Task]) -> float:
    """Compute tasks that share a compilation, and keep each when it is done; the seconds it took.

    Raises:
        ValueError: the program here is not the one that the run began with.
    """
    start = perf_counter()
    brought.bring(dict.fromkeys(text for task in group for text in task.bounds))
    here = {needs: program_of(*needs) for needs in {task.needs for task in group}}
    for task in group:
        if not program.agrees(task.program, here[task.needs]):
            what = task.rule or "a bound"
            raise ValueError(
                f"{what}: is not what it was when the run began (edited since, or not the same in every process)"
            )
        arrays, record = _KINDS[task.kind](task, group)
        store.save(task.path, arrays, record)
    return perf_counter() - start


def _claims_task(task: Task, group: Sequence[Task]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Every guarantee, and the exact failure probability of every rule that has one."""
    record: dict[str, Any] = {"claims": claims.values_of(claims.case_of(task.data), task.budget)}
    arrays = {}
    for rule in rules.RULES:
        known = claims.exact_failure(rule, task.data, task.budget)
        if known is not None:
            arrays[rule] = np.append(known.total, known.by_round)
    return arrays, record


def _enumeration_task(task: Task, group: Sequence[Task]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The exact failure probability, and its parts by the round of the first failure, from every run there is."""
    algorithm, right = rules.rule_of(task.rule, task.data, task.budget), right_arms(task.data)
    witness = rules.witness(algorithm, task.data.environment().spec, right)
    runs = enumerate_runs(task.data, algorithm, task.budget, observe=witness)
    wrong = _wrong(right, runs.prompt, runs.scale)
    first = _first_failure(wrong, rules.fell(runs.seen, wrong))
    law = np.bincount(first, runs.probability, minlength=_ANSWER + 2)
    return {"exact": np.append(law[1 : _ANSWER + 1].sum(), np.trim_zeros(law[1:_ANSWER], "b"))}, {}


def _simulation_task(task: Task, group: Sequence[Task]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Failures in all; misses also by context, and by the round of the first failure (place 0: in the answer)."""
    if task.event != MISS:
        return {}, {"failures": _failures(task, group), "trials": task.effort}
    data, right = task.data, right_arms(task.data)
    algorithm = rules.rule_of(task.rule, data, task.budget)
    witness = rules.witness(algorithm, data.environment().spec, right)
    by_context, by_round, failures = np.zeros(data.num_contexts, np.int64), np.zeros(_ANSWER, np.int64), 0
    for _, found in _trials_of(task, group, algorithm, witness):
        wrong = _wrong(right, found.prompt, found.scale)
        failures += int(wrong.any(axis=1).sum())
        by_context += wrong.sum(axis=0)
        seen = np.bincount(_first_failure(wrong, rules.fell(found.seen, wrong)), minlength=_ANSWER + 2)
        by_round += np.append(seen[_ANSWER], seen[1:_ANSWER])
    counts = {"by_context": by_context, "by_round": by_round}
    return counts, {"failures": failures, "trials": task.effort}


def _failures(task: Task, group: Sequence[Task]) -> int:
    """Trials of the rule itself that fail by the task's event."""
    data, values, failures = task.data, exact.values(task.data), 0
    gaps, tie, worst = exact.gaps(values), evaluate.tolerance(values), claims.case_of(task.data).worst
    for first, found in _trials_of(task, group, rules.rule_of(task.rule, data, task.budget)):
        regret = gaps[np.arange(data.num_contexts), found.prompt, found.scale - 1]
        answered = Answered(regret, tie, data.context_distribution, worst)
        failures += int(task.event.failed(answered, np.random.default_rng([task.seed, first])).sum())
    return failures


def _trials_of(
    task: Task, group: Sequence[Task], algorithm: Algorithm, observe: Observe | None = None
) -> Iterator[tuple[int, runner.Trials]]:
    """The trials of a simulation in batches, each with the number of its first.

    The program that many trials of the group need runs few of them too: one compilation and not two.
    """
    source = fixed(task.data, 1.0).source
    many = runner.many(sum(one.effort for one in group if one.rule == task.rule))
    for first in range(0, task.effort, _BATCH):
        numbers: dict[str, Any] = {
            "seed": task.seed,
            "trials": min(_BATCH, task.effort - first),
            "first": first,
            "fused": True if many else None,
        }
        yield first, runner.run_trials(source, algorithm, task.budget, observe=observe, **numbers)


def _splitting_task(task: Task, group: Sequence[Task]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Replicates of a splitting estimate, and what speaks against it."""
    means = claims.bernoulli_means(task.data)
    if means is not None and task.rule in _HALVING:
        pulls = {one.budget: claims.halving_pulls(len(means), one.budget, spread=True) for one in (task, *group)}
        room = max(map(tapes.num_groups, pulls.values()))  # one program for all budgets of the group
        tape: rare.Tape = rare.halving_tape(means, pulls[task.budget], _HALVING[task.rule], room)
    else:
        tape = rare.run_tape(task.data, rules.rule_of(task.rule, task.data, task.budget), task.budget)
    found = rare.splitting(tape, seed=task.seed, particles=task.effort, moves=10 if task.effort < 1000 else 20)
    return {"replicates": found.replicates}, {"doubts": list(found.doubts)}


def _wrong(right: np.ndarray, prompt: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """In which contexts the answers of runs are no right arms, shape (run, context)."""
    return ~right[np.arange(len(right)), prompt, scale - 1]


def _first_failure(wrong: np.ndarray, fell: np.ndarray) -> np.ndarray:
    """Round in which a run's first context failed: `_ANSWER` for its answer, one more for a run that succeeded."""
    return np.where(wrong, np.where(fell == 0, _ANSWER, fell), _ANSWER + 1).min(axis=1)


_KINDS = {
    Kind.CLAIMS: _claims_task,
    Kind.ENUMERATION: _enumeration_task,
    Kind.SIMULATION: _simulation_task,
    Kind.SPLITTING: _splitting_task,
}


def right_arms(data: Dataset) -> np.ndarray:
    """Mask (context, prompt, scale) of the arms that attain the best value."""
    return evaluate.clear_gaps(exact.values(data)) == 0


def _trials(quick: bool, share: float, budget: int) -> int:
    """Trials of a task: whole calls of the runner where there is more than one."""
    wanted = min(int(share * (QUICK if quick else FULL)) // budget, _MOST_TRIALS[not quick])
    return wanted if wanted < runner.CALL else wanted // runner.CALL * runner.CALL


def _run(missing: list[Task], executor: Executor | None) -> Iterator[tuple[list[Task], float]]:
    """Compute tasks, those that share a compilation in one process; the longest first."""

    def program(task: Task) -> str:
        shape = (task.family, task.number) if task.kind is Kind.CLAIMS else (task.data.probs.shape, task.data.max_scale)
        voted, rule = "mv" in task.data.aggregate, task.rule and rules.program(task.rule)
        return repr((task.kind, rule, voted, shape, task.data.num_contexts, task.event == MISS))

    def before(task: Task) -> tuple[str, int]:
        return program(task), -task.cost

    whole = [list(group) for _, group in groupby(sorted(missing, key=before), key=program)]
    parts = (part for group in whole for part in _parts(group))
    groups = sorted(parts, key=lambda part: (part[0].kind is Kind.SIMULATION, -_cost(part)))
    if executor is None:
        yield from ((group, run_group(group)) for group in groups)
        return
    waiting = {executor.submit(run_group, group): group for group in groups}
    for one in as_completed(waiting):
        yield waiting[one], one.result()


def _cost(group: list[Task]) -> int:
    """Simulated completions."""
    return sum(task.cost for task in group)


def _parts(group: list[Task]) -> Iterator[list[Task]]:
    """Cells of one compilation in parts of at most `_PART`: what a process does at a time."""
    part: list[Task] = []
    for task in group:
        if part and _cost(part) + task.cost > _PART:
            yield part
            part = []
        part.append(task)
    yield part


def _load(task: Task) -> store.Content:
    content = store.load(task.path)
    if content is None:
        task.path.unlink(missing_ok=True)
        raise ValueError(f"{task.path}: was damaged and is removed; the same command computes it again")
    return content
