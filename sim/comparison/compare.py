"""Every algorithm on every environment at every budget: the driver of `iapo compare`.

Trial t has the same world, split and seeds for every algorithm and budget: differences are paired. Work is cut into
cells (environment, algorithm, budget, block of trials) that are kept on disk as soon as they are done
(`sim.comparison.cells`): a run that was killed goes on where it was, and ends with the same numbers.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from itertools import groupby, zip_longest
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim import evaluate, program
from sim.comparison import cells, contenders, given, tables
from sim.comparison.cells import Block, Cell, ExactValues, Seconds
from sim.comparison.given import Given, Held
from sim.comparison.store import Interrupted
from sim.constants import MAX_BUDGET
from sim.engine import runner
from sim.envs.sources import NamedSource, holds_out

if TYPE_CHECKING:
    import pandas as pd

FILES = ("trials.parquet", "summary.csv", "contexts.csv", "provenance.json")
"""Files that a comparison writes."""

_BLOCK_TRIALS = runner.CALL
_BLOCK_BYTES = 2**29
"""A block of trials is so small that its exact values need no more memory."""


class Plan(NamedTuple):
    """Plan of a comparison.

    Attributes:
        envs: names or paths, as `envs.get` reads them, or objects under a name.
        algorithms: names with options, as `contenders.get` reads them, or algorithms under a name.
        budgets: completions T.
        trials: trials per (environment, algorithm, budget).
        seed: root of all randomness.
        reference: the algorithm that the others are tested against.
        chunk: trials in progress at a time, as in `runner.run_trials`; never shows in results.
    """

    envs: tuple[str | Given, ...]
    algorithms: tuple[str | Given, ...]
    budgets: tuple[int, ...]
    trials: int
    seed: int
    reference: str
    chunk: int | None = None


class Step(NamedTuple):
    """Progress of a comparison: what was done, in what time, and how many cells are finished of how many.

    Attributes:
        env: name of the environment.
        algorithm: None where exact values were computed.
        budget: None where exact values were computed.
        seconds: time it took.
        done: finished cells.
        total: cells of the plan.
    """

    env: str
    algorithm: str | None
    budget: int | None
    seconds: Seconds
    done: int
    total: int


class Result(NamedTuple):
    """Result of a comparison.

    Attributes:
        trials, contexts, summary: tables, see `sim.comparison.tables`.
        held_out: per environment, whether it is scored on queries that are not trained on.
        seconds: per (environment, algorithm), spent when its cells were computed.
        reused: cells that were finished before.
        exact: seconds that this call spent on exact values.
        wall: seconds that this call took.
        provenance: settings, versions and timing.
    """

    trials: "pd.DataFrame"
    contexts: "pd.DataFrame"
    summary: "pd.DataFrame"
    held_out: dict[str, bool]
    seconds: dict[tuple[str, str], Seconds]
    reused: int
    exact: float
    wall: float
    provenance: dict[str, Any]


def compare(
    plan: Plan,
    out: Path,
    exact: ExactValues,
    *,
    executor: Executor | None = None,
    report: Callable[[Step], None] | None = None,
) -> Result:
    """Run what is missing of a plan; write trials.parquet, summary.csv, contexts.csv and provenance.json.

    Args:
        plan: what to compare.
        out: folder for the results, made if need be; cells are kept in `out`/cells.
        exact: computes exact values.
        executor: where cells are computed; in this process when None. A task is one algorithm on one block of trials
            at every budget, so that it is compiled once. What a script registers, other processes must register too: at
            its top, outside `if __name__ == "__main__"`.
        report: told about each step.

    Raises:
        ValueError: the plan cannot be carried out, or `out` cannot be written to.
        Interrupted: on Ctrl-C.
    """
    result = run(plan, out, exact, executor=executor, report=report)
    written = (result.trials, result.summary, result.contexts, result.provenance)
    for name, table in zip(FILES, written, strict=True):
        tables.save(table, out / name)
    return result


def run(
    plan: Plan,
    out: Path,
    exact: ExactValues,
    *,
    executor: Executor | None = None,
    report: Callable[[Step], None] | None = None,
) -> Result:
    """`compare` without writing its tables: only cells are kept, in `out`/cells, where several plans may share them."""
    start = perf_counter()
    worlds = check(plan)
    with tables.kept_cells(out) as folder:
        result, blocks = _carried_out(plan, worlds, folder, exact, executor, report)
    result = result._replace(wall=perf_counter() - start)
    return result._replace(provenance=_provenance(plan, blocks, worlds, result))


def _carried_out(
    plan: Plan,
    worlds: dict[str, NamedSource],
    folder: Path,
    exact: ExactValues,
    executor: Executor | None,
    report: Callable[[Step], None] | None,
) -> tuple[Result, dict[str, list[Block]]]:
    """What came out, without its wall time and provenance, and the blocks of every environment."""
    learners = {text: contender.program for text, contender in _contenders(plan).items()}
    places = {env: cells.environment_program(world, exact) for env, world in worlds.items()}
    program.begin(learners | {worlds[env].name: place for env, place in places.items()})
    rules = {str(one): _Rule(learners[str(one)].key, given.held(one)) for one in plan.algorithms}
    blocks = {str(env): list(_blocks(plan, env, worlds[str(env)], places[str(env)].key, folder)) for env in plan.envs}
    everything = [cell for env in worlds for cell in _cells(plan, blocks[env], rules)]
    missing = {cell for cell in everything if cells.load(cell) is None}
    done, spent = len(everything) - len(missing), Seconds()
    try:
        for item, seconds in _run(plan, blocks, worlds, rules, missing, exact, executor):
            spent = spent.plus(seconds)
            env, algorithm, budget = item[:3] if isinstance(item, Cell) else (item, None, None)
            done += algorithm is not None
            if report is not None:
                report(Step(worlds[env.env].name, algorithm, budget, seconds, done, len(everything)))
        result = _collect(plan, blocks, worlds, rules)
    except KeyboardInterrupt:
        kept = sum(cell.path.exists() for cell in everything if _lasts(cell))
        raise Interrupted(kept, len(everything)) from None
    finally:
        for cell in everything:
            if not _lasts(cell):
                cell.path.unlink(missing_ok=True)
    return result._replace(reused=len(everything) - len(missing), exact=spent.exact), blocks


def check(plan: Plan) -> dict[str, NamedSource]:
    """The environments of a plan, by the names it gives them; a plan that cannot be carried out is refused."""
    numbers = [("trials", plan.trials, 2**31 - 1), ("chunk", plan.chunk, 2**31 - 1)]
    numbers += [("budget", budget, MAX_BUDGET) for budget in plan.budgets]
    for name, number, largest in numbers:
        if number is not None and not 1 <= number <= largest:
            raise ValueError(f"{name} is {number}; it must lie in 1..{largest}")
    runner.check_seed(plan.seed)
    for kind, items in (("environment", plan.envs), ("algorithm", plan.algorithms), ("budget", plan.budgets)):
        if not items:
            raise ValueError(f"no {kind} is given; at least one is needed")
        _no_repeats(kind, [str(one) if isinstance(one, Given) else one for one in items])
    learners = _contenders(plan)
    if plan.reference not in learners:
        raise ValueError(f"the reference {plan.reference!r} is not among the algorithms {', '.join(learners)}")
    worlds = {str(env): given.world(str(env), given.held(env)) for env in plan.envs}
    _no_repeats("environment", [world.name for world in worlds.values()])
    for world in worlds.values():
        shape = runner.shape_of(world.source)
        for text, learner in learners.items():
            try:
                learner.check_world(shape)
                learner.check_budget(shape, min(plan.budgets))
                learner.check_budget(shape, max(plan.budgets))
            except ValueError as error:
                raise ValueError(f"{text} on {world.name}: {error}") from None
            learner.check_contract(f"{text} on {world.name}", shape)
    return worlds


def able(names: Sequence[str], wanted: Sequence[str] | None = None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Contenders that can be read and run on environments of these names, and why others cannot.

    Args:
        names: of the environments.
        wanted: names of the contenders in question; all that are registered when None.
    """
    wanted = contenders.names() if wanted is None else wanted
    shapes = {world.name: runner.shape_of(world.source) for world in (given.world(name, None) for name in names)}
    unable: dict[str, str] = {}
    for text in wanted:
        about = ""
        try:
            contender = contenders.get(text)
            for name, shape in shapes.items():
                about = f"on {name}: "
                contender.check_world(shape)
        except ValueError as error:
            unable[text] = f"{about}{error}"
    return tuple(text for text in wanted if text not in unable), unable


def replaced(plan: Plan) -> Iterator[str]:
    """Sentences on contenders of a plan that run with another option than asked for on some environment."""
    for text, learner in _contenders(plan).items():
        for env in plan.envs:
            world = given.world(str(env), given.held(env))
            instead = learner.instead(runner.shape_of(world.source))
            if instead:
                yield f"{text} on {world.name} takes {instead}: its table would be too large there"


def _contenders(plan: Plan) -> dict[str, contenders.Contender]:
    """The contenders of a plan, by their names."""
    return {str(one): given.contender(str(one), given.held(one)) for one in plan.algorithms}


def _no_repeats(kind: str, items: Sequence[Any]) -> None:
    name, times = Counter(items).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{kind} {name!r} is given {times} times; give each once, under a name of its own")


class _Rule(NamedTuple):
    """The key of an algorithm's program, and the algorithm where its name alone is not enough."""

    key: str
    held: Held | None


def _blocks(plan: Plan, env: str | Given, world: NamedSource, digest: str, folder: Path) -> Iterator[Block]:
    spec = runner.spec_of(world.source)
    size = _BLOCK_BYTES // (16 * spec.num_contexts * spec.num_arms)  # train and test, float64
    size = min(max(size, 1), _BLOCK_TRIALS, plan.trials)
    many = runner.many(plan.trials * len(plan.budgets))  # of an algorithm here, which is compiled once
    for first in range(0, plan.trials, size):
        trials = min(size, plan.trials - first)
        yield Block(str(env), digest, str(folder), plan.seed, first, trials, plan.chunk, given.held(env), many)


def _cells(plan: Plan, blocks: list[Block], rules: dict[str, _Rule]) -> list[Cell]:
    return [Cell(block, text, budget, *rules[text]) for text in rules for budget in plan.budgets for block in blocks]


def _lasts(cell: Cell) -> bool:
    """Whether its results can be found again."""
    return program.lasts(cell.program) and program.lasts(cell.block.digest)


def _run(
    plan: Plan,
    blocks: dict[str, list[Block]],
    worlds: dict[str, NamedSource],
    rules: dict[str, _Rule],
    missing: set[Cell],
    exact: ExactValues,
    executor: Executor | None,
) -> Iterator[tuple[Cell | Block, Seconds]]:
    """Compute the missing cells and the exact values they need; each comes out with its time when it is done."""
    _rehearse(plan, missing, exact, executor)
    for wave in zip_longest(*blocks.values()):  # the first block of every environment, then the second, ...
        groups = [
            [cell for budget in plan.budgets if (cell := Cell(block, text, budget, *rule)) in missing]
            for block in wave
            if block is not None
            for text, rule in rules.items()
        ]
        groups = [group for group in groups if group]
        needed = dict.fromkeys(group[0].block for group in groups)
        if executor is None:
            yield from _here(groups, exact)
        else:
            fresh = {executor.submit(cells.prepare, b, exact): b for b in needed if worlds[b.env].source.fresh}
            yield from ((fresh[task], task.result()) for task in as_completed(fresh))
            tasks = {executor.submit(cells.run_group, group, exact): group for group in _in_order(groups, worlds)}
            for task in as_completed(tasks):
                yield from zip(tasks[task], task.result(), strict=True)
        for block in needed:
            if len(blocks[block.env]) > 1 or not program.lasts(block.digest):  # of many trials they would fill the disk
                block.exact_path.unlink(missing_ok=True)


def _rehearse(plan: Plan, missing: set[Cell], exact: ExactValues, executor: Executor | None) -> None:
    """Refuse algorithms of somebody else that cannot be run on an environment, before anything is computed."""
    brought = {text: contender for text, contender in _contenders(plan).items() if contender.brought}
    own = sorted((cell for cell in missing if cell.algorithm in brought), key=lambda cell: -cell.block.first)
    firsts = {(cell.block.env, cell.algorithm): cell for cell in own}
    tried = [
        firsts[env, text]._replace(budget=budget)
        for env in map(str, plan.envs)
        for text, contender in brought.items()
        if (env, text) in firsts
        for budget in sorted(contenders.rehearsed(contender, plan.budgets))
    ]
    if executor is None:
        for cell in tried:
            cells.rehearse(cell, exact)
        return
    for task in as_completed([executor.submit(cells.rehearse, cell, exact) for cell in tried]):
        task.result()


def _in_order(groups: list[list[Cell]], worlds: dict[str, NamedSource]) -> list[list[Cell]]:
    """One group of every environment first: it compiles what the others share, which other processes then find.

    Then large worlds before small ones, whose short groups fill the end, when some processes have nothing left to do.
    """
    first = {group[0].block: group for group in reversed(groups)}

    def rank(group: list[Cell]) -> tuple[bool, int]:
        block = group[0].block
        spec = runner.spec_of(worlds[block.env].source)
        return first[block] is not group, -spec.num_contexts * spec.num_arms

    return sorted(groups, key=rank)


def _here(groups: list[list[Cell]], exact: ExactValues) -> Iterator[tuple[Cell | Block, Seconds]]:
    for block, own in groupby(groups, key=lambda group: group[0].block):
        yield block, cells.prepare(block, exact)
        yield from ((cell, cells.run_cell(cell, exact)) for group in own for cell in group)


def _collect(
    plan: Plan, blocks: dict[str, list[Block]], worlds: dict[str, NamedSource], rules: dict[str, _Rule]
) -> Result:
    import pandas as pd

    trials, contexts, seconds = [], [], {}
    for env, world in worlds.items():
        names = cells.context_names(world)
        for text in rules:
            seconds[world.name, text] = Seconds()
            for budget in plan.budgets:
                parts = [_load(Cell(block, text, budget, *rules[text])) for block in blocks[env]]
                joined = (np.concatenate(leaves) for leaves in zip(*(part.scores for part in parts), strict=True))
                scores = evaluate.Scores(*joined)
                spent = np.concatenate([part.spent for part in parts])
                trials.append(tables.trial_rows(world.name, text, budget, scores, spent))
                contexts.append(tables.context_rows(world.name, text, budget, names, scores))
                for part in parts:
                    seconds[world.name, text] = seconds[world.name, text].plus(part.seconds)
    rows = pd.concat(trials, ignore_index=True)
    summary = tables.summarise(rows, plan.reference)
    held_out = {world.name: holds_out(world.source) for world in worlds.values()}
    tidy = pd.concat(contexts, ignore_index=True)
    return Result(rows, tidy, summary, held_out, seconds, 0, 0.0, 0.0, {})


def _load(cell: Cell) -> cells.Outcome:
    outcome = cells.load(cell)
    if outcome is None:
        raise ValueError(f"{cell.path}: was damaged while the comparison ran; the same command computes it again")
    return outcome


def _provenance(
    plan: Plan, blocks: dict[str, list[Block]], worlds: dict[str, NamedSource], result: Result
) -> dict[str, Any]:
    settings = {
        "environments": [
            {"given": Path(env).name, "name": world.name, "sha256": blocks[env][0].digest}
            for env, world in worlds.items()
        ],
        "algorithms": {
            text: {name: _shown(value) for name, value in contender.options.items()}
            for text, contender in _contenders(plan).items()
        },
        "budgets": list(plan.budgets),
        "trials": plan.trials,
        "seed": plan.seed,
        "reference": plan.reference,
        "chunk": plan.chunk,
    }
    total = Seconds()
    for seconds in result.seconds.values():
        total = total.plus(seconds)
    timing = {
        "wall_seconds": round(result.wall, 3),
        "exact_values_seconds": round(result.exact, 3),
        "cells_reused": result.reused,
        "cells_compile_seconds": round(total.compile, 3),
        "cells_run_seconds": round(total.run, 3),
    }
    return tables.provenance(settings, timing)


def _shown(option: Any) -> Any:
    """An option of an algorithm as JSON can hold it."""
    try:
        json.dumps(option)
    except (TypeError, ValueError):
        return str(getattr(option, "__qualname__", option))
    return option
