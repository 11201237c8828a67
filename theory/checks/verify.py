"""Guarantees put to the test: exact truth, bounds, simulation and rare-event estimates side by side, with verdicts.

Worlds are in `theory.checks.families`, algorithms in `theory.checks.rules`, guarantees in `theory.checks.claims`, and
what a verdict is in `theory.checks.verdicts`. Work is cut into cells (world, rule, budget) that are kept on disk when
they are done: a run that was killed goes on where it was, and ends with the same numbers. Bounds allow for the rounding
of simulated estimates (proofs.md, section 1): a gap that rounding hides makes a bound say nothing, and never violated.

    >>> from theory import verify
    >>> plan = verify.Plan(quick=True, families=("two-arm",))
    >>> callable(verify.verify), plan.seed  # verify.verify(plan, folder) takes a minute
    (True, 0)
"""

import difflib
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, as_completed
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim import evaluate, mistakes, origins, program
from sim.comparison import store, tables
from sim.comparison.store import Interrupted
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.envs.sources import fixed
from theory import exact
from theory.checks import brought, claims, families, rules, table
from theory.runs import rare
from theory.runs.enumerate import enumerate_runs

if TYPE_CHECKING:
    import pandas as pd

FILES = ("verify.parquet", "verify.csv", "verdicts.csv", "provenance.json")
"""What a run writes."""
QUICK, FULL = 4_000_000, 60_000_000
"""Completions simulated per cell."""
QUICK_PARTICLES = 500
_MOST_TRIALS = (200_000, 1_000_000)
_PART = 2 * 10**9
"""Completions simulated by one task of a pool, or a cell more: minutes."""
_CHUNK = 64
_BATCH = 2**16
_PROGRAMS = {
    "claims": ("theory.checks.claims",),
    "enumeration": ("theory.runs.enumerate",),
    "simulation": ("sim.engine.runner", "sim.envs.sources"),
    "splitting": ("theory.runs.rare", "theory.runs.halving"),
}
"""What the result of each kind of cell depends on, besides the rules and this file."""
_ANSWER = 63
"""Stands for a failure after the last round; no rule has so many."""


class Plan(NamedTuple):
    """Plan of a verification.

    Attributes:
        quick: two minutes of work instead of an hour.
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


class Cell(NamedTuple):
    """One piece of work, plain data so that any process can do it.

    Attributes:
        kind: "claims" (bounds and exact values, all rules), "enumeration", "simulation" or "splitting".
        family: name of the family.
        number: of the instance.
        rule: name of the rule; empty for claims.
        budget: completions T.
        effort: trials, or particles.
        seed: root of all randomness.
        math: path of the MATH environment.
        folder: where results are kept.
        program: key of the program that computes it (`program_of`), taken where the run began: a process that knows
            another refuses.
        bounds: bounds of one's own, which every process has to bring.
    """

    kind: str
    family: str
    number: int
    rule: str
    budget: int
    effort: int
    seed: int
    math: str | None
    folder: str
    program: str
    bounds: tuple[str, ...] = ()

    @property
    def data(self) -> Dataset:
        """The world."""
        return families.world(self.family, self.number, self.math)

    @property
    def path(self) -> Path:
        """Where the result is kept: under a digest of all it depends on."""
        what = (self.kind, self.data, self.rule, self.budget, self.effort, self.seed, self.program)
        return Path(self.folder) / f"{store.digest(what)}.npz"


class Step(NamedTuple):
    """Progress of a run: cells of which kind and family were done in how many seconds, and how many of how many."""

    kind: str
    family: str
    rule: str
    seconds: float
    done: int
    total: int


class Result(NamedTuple):
    """Result of a verification.

    Attributes:
        table: a row per world, rule and budget, and per claim, context and round; see `theory.checks.table`.
        verdicts: a row per claim and world, see `theory.checks.table.summary`.
        intervals: how many simultaneous intervals the verdicts rest on.
        reused: cells that were there before.
        wall: seconds.
    """

    table: "pd.DataFrame"
    verdicts: "pd.DataFrame"
    intervals: int
    reused: int
    wall: float


def verify(
    plan: Plan, out: Path, *, executor: Executor | None = None, report: Callable[[Step], None] | None = None
) -> Result:
    """Do what is missing of a plan, judge every claim and write the tables.

    Args:
        plan: what to test.
        out: folder for the results, made if need be; cells are kept in `out`/cells.
        executor: where cells are computed; in this process when None.
        report: told about each step.

    Raises:
        ValueError: the plan cannot be carried out, or `out` cannot be written to.
        Interrupted: on Ctrl-C.
    """
    start = perf_counter()
    brought.bring(plan.bounds)
    folder = tables.cell_folder(out)
    cells = list(cells_of(plan, str(folder)))
    passing = [cell for cell in cells if not program.lasts(cell.program)]
    program.begin({rule or "the bounds": program_of(kind, rule) for kind, rule in {(c.kind, c.rule) for c in cells}})
    missing = [cell for cell in cells if not cell.path.exists()]
    done = len(cells) - len(missing)
    try:
        for group, seconds in _run(missing, executor):
            done += len(group)
            if report is not None:
                joined = " + ".join(dict.fromkeys(cell.rule for cell in group))
                report(Step(group[0].kind, group[0].family, joined, seconds, done, len(cells)))
        found, intervals = table.build(cells, _load)
    except KeyboardInterrupt:
        kept = sum(cell.path.exists() for cell in cells if program.lasts(cell.program))
        raise Interrupted(kept, len(cells)) from None
    finally:
        for cell in passing:
            cell.path.unlink(missing_ok=True)
    verdicts = table.summary(found)
    result = Result(found, verdicts, intervals, len(cells) - len(missing), perf_counter() - start)
    settings = {**plan._asdict(), "math": plan.math and Path(plan.math).name, "intervals": intervals}
    provenance = tables.provenance(settings, {"wall_seconds": round(result.wall, 3), "cells_reused": result.reused})
    for name, content in zip(FILES, (found, found, verdicts, provenance), strict=True):
        tables.save(content, out / name)
    return result


def cells_of(plan: Plan, folder: str) -> Iterator[Cell]:
    """All the cells of a plan."""
    runner.check_seed(plan.seed)
    chosen = families.chosen(plan.quick, plan.math)
    if unknown := [name for name in plan.families if name not in chosen]:
        near = difflib.get_close_matches(unknown[0], chosen, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"family {unknown[0]!r} is not part of this run; {hint}known are {', '.join(chosen)}")
    if plan.math is not None:
        families.world(families.MATH, 0, plan.math)  # a file that cannot be read is said now
    keys: dict[tuple[str, str], str] = {}
    for name in plan.families or chosen:
        family = chosen[name]
        budgets = family.quick if plan.quick else family.budgets
        splitting = family.quick_splitting if plan.quick else family.splitting
        for number in range(family.instances[not plan.quick]):

            def cell(kind: str, rule: str, budget: int, effort: int, name: str = name, number: int = number) -> Cell:
                if (kind, rule) not in keys:
                    keys[kind, rule] = program_of(kind, rule).key
                key, own = keys[kind, rule], plan.bounds if kind == "claims" else ()
                return Cell(kind, name, number, rule, budget, effort, plan.seed, plan.math, folder, key, own)

            data = families.world(name, number, plan.math)
            skipped = family.unhurried if plan.quick else ()
            laws = dict.fromkeys(families.law(rule, data) for rule in family.rules if rule not in skipped)
            extra = [budget for _, budget in splitting]
            for budget in sorted({*budgets, *extra}):
                yield cell("claims", "", budget, 0)
                share = family.share * (family.hurry if plan.quick else 1.0)
                trials = max(_trials(plan.quick, share, budget), plan.least)
                yield from (cell("simulation", rule, budget, trials) for rule in laws)
                if family.enumerated:
                    yield from (cell("enumeration", rule, budget, 0) for rule in laws)
            particles = QUICK_PARTICLES if plan.quick else family.particles
            yield from (cell("splitting", rule, budget, particles) for rule, budget in splitting)


def program_of(kind: str, rule: str) -> program.Program:
    """All that the result of a kind of cell depends on besides its world: of bounds every one in `claims.CLAIMS`."""
    here = origins.find(__name__)  # its text alone: which worlds there are and how tables look changes no cell
    texts = [here and here.text, inspect.getsource(claims.bernoulli_means) if kind == "splitting" else ""]
    what = (claims.CLAIMS, tuple(rules.RULES)) if kind == "claims" else (rules.RULES[rule],)
    return program.behind(
        *what, texts, modules=(*_PROGRAMS[kind], "theory.checks.rules", "theory.exact", "sim.evaluate")
    )


def foreign_programs() -> dict[tuple[str, str], str]:
    """Keys of the programs of bounds ("claims", "") and rules ("simulation", name) that are not of this project."""
    found = {("simulation", rule): program_of("simulation", rule) for rule in rules.RULES}
    found["claims", ""] = program_of("claims", "")
    return {name: known.key for name, known in found.items() if known.foreign}


@mistakes.tells()
def run_group(group: list[Cell]) -> float:
    """Compute cells that share a compilation, and keep each when it is done; the seconds it took.

    Raises:
        ValueError: the program here is not the one that the run began with.
    """
    start = perf_counter()
    brought.bring(dict.fromkeys(text for cell in group for text in cell.bounds))
    here = {(kind, rule): program_of(kind, rule) for kind, rule in {(cell.kind, cell.rule) for cell in group}}
    for cell in group:
        if not program.agrees(cell.program, here[cell.kind, cell.rule]):
            what = cell.rule or "a bound"
            raise ValueError(
                f"{what}: is not what it was when the run began (edited since, or not the same in every process)"
            )
        arrays, record = _KINDS[cell.kind](cell)
        store.save(cell.path, arrays, record)
    return perf_counter() - start


def _claims_cell(cell: Cell) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Every guarantee, and the exact failure probability of every rule that has one."""
    record: dict[str, Any] = {"claims": claims.values_of(claims.case_of(cell.data), cell.budget)}
    arrays = {}
    for rule in rules.RULES:
        known = claims.exact_failure(rule, cell.data, cell.budget)
        if known is not None:
            arrays[rule] = np.append(known.total, known.by_round)
    return arrays, record


def _enumeration_cell(cell: Cell) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The exact failure probability, and its parts by the round of the first failure, from every run there is."""
    algorithm = rules.witness(rules.rule_of(cell.rule, cell.data, cell.budget), right_arms(cell.data))
    runs = enumerate_runs(cell.data, algorithm, cell.budget)
    first = _first_failure(runs.prompt.astype(bool), runs.scale)
    law = np.bincount(first, runs.probability, minlength=_ANSWER + 2)
    return {"exact": np.append(law[1 : _ANSWER + 1].sum(), np.trim_zeros(law[1:_ANSWER], "b"))}, {}


def _simulation_cell(cell: Cell) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Failures in all, by context, and by the round of the first failure (place 0: in the answer)."""
    data = cell.data
    algorithm = rules.witness(rules.rule_of(cell.rule, data, cell.budget), right_arms(data))
    source = fixed(data, 1.0).source
    by_context, by_round, failures = np.zeros(data.num_contexts, np.int64), np.zeros(_ANSWER, np.int64), 0
    for first in range(0, cell.effort, _BATCH):
        trials = min(_BATCH, cell.effort - first)
        found = runner.run_trials(
            source, algorithm, cell.budget, seed=cell.seed, trials=trials, first=first, chunk=_CHUNK
        )
        wrong = found.prompt.astype(bool)
        failures += int(wrong.any(axis=1).sum())
        by_context += wrong.sum(axis=0)
        seen = np.bincount(_first_failure(wrong, found.scale), minlength=_ANSWER + 2)
        by_round += np.append(seen[_ANSWER], seen[1:_ANSWER])
    counts = {"by_context": by_context, "by_round": by_round}
    return counts, {"failures": failures, "trials": cell.effort}


def _splitting_cell(cell: Cell) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Replicates of a splitting estimate, and what speaks against it."""
    means = claims.bernoulli_means(cell.data)
    if means is not None and cell.rule in ("psst", "psst, fresh"):
        pulls = claims.halving_pulls(len(means), cell.budget, spread=True)
        tape: rare.Tape = rare.halving_tape(means, pulls, fresh=cell.rule == "psst, fresh")
    else:
        tape = rare.run_tape(cell.data, rules.rule_of(cell.rule, cell.data, cell.budget), cell.budget)
    found = rare.splitting(tape, seed=cell.seed, particles=cell.effort, moves=10 if cell.effort < 1000 else 20)
    return {"replicates": found.replicates}, {"doubts": list(found.doubts)}


def _first_failure(wrong: np.ndarray, fell: np.ndarray) -> np.ndarray:
    """Round in which a run's first context failed: `_ANSWER` for its answer, one more for a run that succeeded."""
    return np.where(wrong, np.where(fell == 0, _ANSWER, fell), _ANSWER + 1).min(axis=1)


_KINDS = {
    "claims": _claims_cell,
    "enumeration": _enumeration_cell,
    "simulation": _simulation_cell,
    "splitting": _splitting_cell,
}


def right_arms(data: Dataset) -> np.ndarray:
    """Mask (context, prompt, scale) of the arms that attain the best value."""
    return evaluate.clear_gaps(exact.values(data)) == 0


def _trials(quick: bool, share: float, budget: int) -> int:
    """Trials of a cell: whole calls of the runner where there is more than one."""
    wanted = min(int(share * (QUICK if quick else FULL)) // budget, _MOST_TRIALS[not quick])
    return wanted if wanted < runner.CALL else wanted // runner.CALL * runner.CALL


def _run(missing: list[Cell], executor: Executor | None) -> Iterator[tuple[list[Cell], float]]:
    """Compute cells, those that share a compilation in one task; the longest first."""

    def program(cell: Cell) -> str:
        shape = (cell.family, cell.number) if cell.kind == "claims" else (cell.data.probs.shape, cell.data.max_scale)
        voted, rule = "mv" in cell.data.aggregate, cell.rule and rules.program(cell.rule)
        return repr((cell.kind, rule, voted, shape, cell.data.num_contexts))

    def before(cell: Cell) -> tuple[str, int]:
        return program(cell), -_cost(cell)

    whole = [list(group) for _, group in groupby(sorted(missing, key=before), key=program)]
    parts = (part for group in whole for part in _parts(group))
    groups = sorted(parts, key=lambda part: (part[0].kind == "simulation", -sum(map(_cost, part))))
    if executor is None:
        yield from ((group, run_group(group)) for group in groups)
        return
    tasks = {executor.submit(run_group, group): group for group in groups}
    for task in as_completed(tasks):
        yield tasks[task], task.result()


def _cost(cell: Cell) -> int:
    """Simulated completions."""
    return cell.budget * cell.effort if cell.kind == "simulation" else 0


def _parts(group: list[Cell]) -> Iterator[list[Cell]]:
    """Cells of one compilation in parts of at most `_PART`: what a process does at a time."""
    part: list[Cell] = []
    for cell in group:
        if part and sum(map(_cost, part)) + _cost(cell) > _PART:
            yield part
            part = []
        part.append(cell)
    yield part


def _load(cell: Cell) -> store.Content:
    content = store.load(cell.path)
    if content is None:
        cell.path.unlink(missing_ok=True)
        raise ValueError(f"{cell.path}: was damaged and is removed; the same command computes it again")
    return content
