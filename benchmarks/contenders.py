"""Sides of the benchmark: this package, PSST in Numba and twice in NumPy, and the released code where it is given.

All run in one process. Core-time is the processor time of the process, summed over cores.
"""

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import authors
import numpy as np
import numpy_trials

from sim import algorithms
from sim.engine import runner
from sim.envs.sources import NamedSource
from theory import exact


class Competitor(NamedTuple):
    """One side of the benchmark.

    Attributes:
        name: a column's head.
        run: from a seed and a number of trials the prompts and scales, (trial, context), and completions spent.
        trials: trials of one measurement.
    """

    name: str
    run: Callable[[int, int], tuple[Any, Any, Any]]
    trials: int

    def cost(self, seed: int) -> float:
        """Core-seconds of one trial."""
        start = time.process_time()
        self.run(seed, self.trials)
        return (time.process_time() - start) / self.trials


class Timed(NamedTuple):
    """A contender that times itself, one trial at a time.

    Attributes:
        name: a column's head.
        cost: core-seconds of a trial, by seed.
    """

    name: str
    cost: Callable[[int], float]


def ours(named: NamedSource, algorithm: str, budget: int, trials: int) -> Competitor:
    """This package; compiled here."""
    rule = algorithms.get(algorithm)
    runner.warm_up(named.source, rule, trials, fused=True)

    def run(seed: int, trials: int) -> tuple[Any, Any, Any]:
        found = runner.run_trials(named.source, rule, budget, seed=seed, trials=trials, fused=True)
        return found.prompt, found.scale, found.spent

    return Competitor("sim", run, trials)


def rivals(named: NamedSource, budget: int, trials: int) -> list[Competitor]:
    """PSST written without this package: Numba with words as cheap as they get and with those of `sim`, NumPy twice."""
    data: Any = named.data
    source: Any = named.source
    if data is None or tuple(data.aggregate) != ("mv",):
        return []
    probs, _ = data.gold_first()
    cost, weight = data.cost_weights[:, None] * data.costs, data.objective_weights[:, 0]
    found = _numba(named, budget, trials)

    def over_trials(seed: int, trials: int) -> tuple[Any, Any, Any]:
        return numpy_trials.psst(probs, source.num_train, cost, weight, data.max_scale, budget, trials, seed)

    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    plain = importlib.import_module("reference").psst_numpy

    def one_by_one(seed: int, trials: int) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(seed)
        parts = []
        for _ in range(trials):
            train = rng.permutation(probs.shape[1])[: source.num_train]
            parts.append(plain(probs[:, train], cost, weight, data.max_scale, budget, rng))
        prompts, scales, spent = zip(*parts, strict=True)
        return np.stack(prompts), np.stack(scales), np.array(spent)

    found.append(Competitor("NumPy, over trials", over_trials, min(trials, 128)))
    return [*found, Competitor("NumPy, one by one", one_by_one, min(trials, 20))]


def _numba(named: NamedSource, budget: int, trials: int) -> list[Competitor]:
    """The twins in Numba, where it is installed; compiled here."""
    if importlib.util.find_spec("numba") is None:
        return []
    import numba_psst

    problem = numba_psst.problem_of(named)
    numba_psst.run(problem, budget, 0, 1)

    def using(draws: str) -> Callable[[int, int], tuple[Any, Any, Any]]:
        return lambda seed, trials: numba_psst.run(problem, budget, seed, trials, draws)

    return [Competitor("Numba", using("mixed"), trials), Competitor("Numba, our words", using("threefry"), trials)]


def released(folder: Path | None, named: NamedSource, algorithm: str, budget: int) -> list[Timed]:
    """The released code, where its folder is given and it has the algorithm."""
    if folder is None:
        return []
    try:
        return [Timed("released", authors.trainer(folder, named, algorithm, budget))]
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return []


def disagreement(named: NamedSource, left: Competitor, right: Competitor, trials: int = 400) -> float:
    """Difference of two contenders' mean returns in standard errors, over trials of different seeds.

    Returns are exact values on all queries, averaged over contexts.
    """
    if named.data is None:
        raise ValueError(f"{named.name}: only returns of a data set are known exactly")
    values = exact.values(named.data)
    means, variances = [], []
    for seed, side in ((1, left), (2, right)):
        prompt, scale, _ = side.run(seed, trials)
        found = values[np.arange(values.shape[0]), np.asarray(prompt), np.asarray(scale) - 1].mean(axis=1)
        means.append(found.mean())
        variances.append(found.var() / trials)
    return float(abs(means[0] - means[1]) / np.sqrt(sum(variances)))
