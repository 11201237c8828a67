"""Comparison from Python: algorithms and environments as objects or by name, and one trial in the host loop."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sim import algorithms as rooms
from sim import defaults, envs, instances
from sim.comparison import cells, given
from sim.comparison import compare as driver
from sim.comparison.compare import Plan, Result, Step
from sim.core import Algorithm, Source, Trial
from sim.engine import runner
from sim.envs.sources import NamedSource, holds_out
from sim.kernels import counter

_NO_EXACT = (
    "answers are scored by exact values, and none are given: pass exact=theory.exact_values (from `import theory`), a "
    "table of values (context, prompt, scale), or a mapping from the name of an environment to its table"
)


def compare(
    algorithms: Any,
    environments: Any,
    budgets: int | float | Iterable[Any],
    *,
    trials: int = 200,
    seed: int = 0,
    exact: cells.ExactValues | np.ndarray | Mapping[str, Any] | None = None,
    reference: Any = None,
    out: str | Path | None = None,
    workers: int | Executor = 1,
    chunk: int | None = None,
    report: Callable[[Step], None] | None = None,
) -> Result:
    """Compare algorithms on environments: every algorithm at every budget, on the same worlds, splits and seeds.

    Objects are taken as they are. In tables an algorithm is called by its class and the options that differ from their
    defaults (`TwoStages:parts=4`), a data set by its own name, a source as an algorithm is, and what a function returns
    by the function; two of one name are refused. A mapping, name -> object, gives names of your own.

    A data set splits its queries 80/20 in every trial, as one from a file does. `fixed` decides otherwise; one that a
    function without arguments returns is its own query law, as where it is registered.

    Args:
        algorithms: a sequence of names with options (`"psst:ties=index"`), instances or subclasses of `Algorithm`, or
            functions that return one; or a mapping from names to these.
        environments: a sequence of names, paths of .npz or .pkl files, data sets, sources, or functions that return
            one; or a mapping from names to these.
        budgets: completions T that a trial may spend, one or several.
        trials: trials per environment, algorithm and budget.
        seed: decides everything that is random.
        exact: computes exact values, `theory.exact_values`; or the values themselves, (context, prompt, scale) in
            float64, where no queries are held out: a table, or one per name of an environment.
        reference: the algorithm that the others are tested against, given as in `algorithms`; `psst` or else the first
            when None.
        out: folder that keeps what is finished (a stopped comparison goes on there, another budget adds only what is
            missing) and gets trials.parquet, summary.csv, contexts.csv and provenance.json. Nothing is kept when None.
        workers: processes that share the work, or an executor of your own. Objects must then be defined in a file, and
            a script must guard what it does by `if __name__ == "__main__":`.
        chunk: trials in progress at a time: memory and speed, never results.
        report: told about each finished step.

    Returns:
        Tidy tables `trials`, `summary` and `contexts` (`sim.comparison.tables` names their columns), with timings and
        provenance.

    Raises:
        ValueError: something cannot be used; one sentence says what, and what would be right.

    Example:
        >>> import theory
        >>> from sim import compare
        >>> from sim.algorithms.uniform import Uniform
        >>> found = compare([Uniform, "random"], ["two-arm"], 20, trials=8, exact=theory.exact_values)
        >>> found.summary["algorithm"].tolist(), found.trials.shape
        (['Uniform', 'random'], (16, 8))
    """
    rules = given.algorithms_of(algorithms)
    places = given.environments_of(environments)
    plan = Plan(places, rules, _budgets(budgets), trials, seed, _reference(reference, rules), chunk)
    score = _exact(exact, places)
    if workers != 1:
        given.check_travels((*rules, *places))
    with _folder(out) as folder, _pool(workers) as executor:
        run = driver.run if out is None else driver.compare
        try:
            return run(plan, folder, score, executor=executor, report=report)
        except BrokenProcessPool:
            raise ValueError(
                "a worker process ended before its work did: a script must do what it does under "
                '`if __name__ == "__main__":`, and all workers need memory (less with fewer, or with a smaller chunk)'
            ) from None


def run_one(
    source: Source | NamedSource | str, algorithm: Algorithm | str, budget: int, *, seed: int, trial: int = 0
) -> Trial:
    """Run one trial in the host loop, one pull at a time, as a live model needs it.

    It equals the same trial of `run_trials` bit for bit.

    Args:
        source: where the trial's world and split come from; or the name of an environment.
        algorithm: what is run; or its name with options.
        budget: completions T.
        seed: root of all randomness.
        trial: number of the trial.

    Returns:
        The policy (an arm per context: prompts from 0, scales from 1) and the completions spent.

    Raises:
        ValueError: the budget is below what the algorithm needs, or a name is unknown.

    Example:
        >>> from sim import run_one
        >>> one = run_one("two-arm", "uniform", 40, seed=0)
        >>> one.policy.scale.tolist(), int(one.spent)
        ([1], 40)
    """
    place = envs.get(source) if isinstance(source, str) else source
    rule = rooms.get(algorithm) if isinstance(algorithm, str) else algorithm
    runner.check_seed(seed)
    key = instances.trial_key(seed, trial)
    faced = instances.instance(place.source if isinstance(place, NamedSource) else place, key)
    return runner.run_trial(faced.world, faced.train, rule, budget, counter.fold(key, instances.RUN))


def _budgets(budgets: Any) -> tuple[int, ...]:
    listed = list(budgets) if isinstance(budgets, Iterable) and not isinstance(budgets, str) else [budgets]
    for one in listed:
        if isinstance(one, bool) or not isinstance(one, int | float | np.number) or one != np.floor(one):
            raise ValueError(f"a budget is {one!r}; it must be a whole number of completions")
    return tuple(map(int, listed))


def _reference(reference: Any, rules: tuple[str | given.Given, ...]) -> str:
    """The name of the algorithm that the others are tested against."""
    names = list(map(str, rules))
    if reference is None:
        return defaults.REFERENCE if defaults.REFERENCE in names or not names else names[0]
    return str(given.algorithms_of(reference)[0])


@dataclass(frozen=True, eq=False)
class _Known:
    """Exact values that a caller has, environment by environment.

    Attributes:
        values: name -> values (context, prompt, scale).
    """

    values: dict[str, np.ndarray]

    def __call__(self, world: NamedSource, seed: int, first: int, trials: int) -> tuple[np.ndarray, np.ndarray]:
        """The table of an environment, for training and for testing."""
        own = self.values[world.name][None]
        return own, own


def _exact(exact: Any, places: tuple[str | given.Given, ...]) -> cells.ExactValues:
    """What computes exact values."""
    if exact is None:
        raise ValueError(_NO_EXACT)
    if callable(exact):
        function: Any = exact
        return function
    worlds = [given.world(str(one), given.held(one)) for one in places]
    if not isinstance(exact, Mapping):
        if len(worlds) != 1:
            raise ValueError(f"exact is one table for {len(worlds)} environments; give a mapping, name -> table")
        exact = {worlds[0].name: exact}
    values = {}
    for world in worlds:
        if world.name not in exact:
            raise ValueError(f"exact holds no table for {world.name}; it has {', '.join(map(str, exact)) or 'none'}")
        if world.source.fresh or holds_out(world.source):
            raise ValueError(
                f"exact is a table, but every trial on {world.name} has a world or a split of queries of its own; pass "
                "a function such as theory.exact_values"
            )
        spec, table = runner.spec_of(world.source), np.asarray(exact[world.name], np.float64)
        shape = (spec.num_contexts, spec.num_prompts, spec.max_scale)
        if table.shape != shape or not np.isfinite(table).all():
            raise ValueError(
                f"exact values of {world.name} have the shape {table.shape}; finite numbers of the shape {shape} "
                "(context, prompt, scale) are needed"
            )
        values[world.name] = table
    return _Known(values)


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """The folder for results: one that goes again, and of which nobody is told that it keeps nothing, when None."""
    if out is not None:
        yield Path(out)
        return
    with TemporaryDirectory(prefix="iapo-", ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*its results are not kept", UserWarning)
        yield Path(folder)


@contextmanager
def _pool(workers: int | Executor) -> Iterator[Executor | None]:
    """What computes cells; None for this process."""
    if isinstance(workers, Executor):
        yield workers
        return
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers is {workers!r}; it must be a whole number of processes from 1, or an Executor")
    if workers == 1:
        yield None
        return
    from multiprocessing import get_context

    threads = os.environ.get("NPROC", "1")  # of XLA: more only keep other processes waiting
    pool = ProcessPoolExecutor(workers, get_context("spawn"), os.putenv, ("NPROC", threads))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
