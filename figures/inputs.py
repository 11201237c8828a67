"""Inputs of a figure's table: the environments at hand, kept cells, other figures' tables.

A SWEEP names environments as `iapo env list` does, and the authors' released ones as `iapo data fetch` does. Those
whose files are not at hand are left out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim import envs
from sim.comparison import cells, compare, tables
from sim.envs.blobs import RELEASED
from sim.envs.sources import NamedSource
from sim.instances import trial_key
from theory import truth
from theory.exact import combine

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = "_final.pkl"
_KEYS = ["env", "algorithm", "budget"]


class ContextRow(NamedTuple):
    """A context: its name, the share of the first objective's weight, the mean cost of a completion over prompts."""

    name: str
    share: float
    cost: float


class Lab(NamedTuple):
    """The means of a figure.

    Attributes:
        files: released environments at hand, name -> file.
        folder: where cells are kept, shared by all figures.
        tables: other figures' tables, by name.
        executor: where cells are computed; in this process when None.
        report: told about each finished step of a comparison.
        report_other: told about each finished step of a verification.
    """

    files: dict[str, Path]
    folder: Path
    tables: "dict[str, pd.DataFrame]"
    executor: Executor | None = None
    report: Callable[[Any], None] | None = None
    report_other: Callable[[Any], None] | None = None

    def at_hand(self, names: Iterable[str]) -> list[str]:
        """Those of the environments that can be used here."""
        return [name for name in names if _base(name) not in RELEASED or _base(name) in self.files]

    def get(self, name: str) -> NamedSource:
        """An environment by name."""
        return envs.get(self.text(name))

    def values(self, name: str) -> np.ndarray:
        """Exact values (context, prompt, scale) over all queries; of trial 0 where worlds are drawn afresh."""
        return truth.whole_values(self.get(name), SEED)

    def per_query(self, name: str, trial: int = 0) -> np.ndarray:
        """Exact values on each query, shape (context, prompt, scale, query), whose mean over queries is the value.

        Of one trial's world where worlds are drawn afresh.
        """
        world = self.get(name)
        known = truth.drawn_per_query(world, SEED, trial) if world.source.fresh else truth.per_query(world)
        each = np.moveaxis(known.rewards, 2, 0)  # combined query by query
        values = np.moveaxis(combine(each, known.task, known.task_weight, known.cost), 0, -1)
        return values * (known.weights / known.weights.mean())

    def queries_are_a_sample(self, name: str) -> bool:
        """Whether some are held out of training; else an environment's queries are all there are."""
        train, test = self.get(name).source.split(trial_key(SEED, 0))
        return not np.array_equal(np.sort(np.asarray(train.ids)), np.sort(np.asarray(test.ids)))

    def exact(self, name: str, trials: int) -> tuple[np.ndarray, np.ndarray]:
        """Exact values (trial, context, prompt, scale) on train and on test; those that `compare` kept, if it did."""
        digest = cells.environment_program(self.get(name), truth.exact_values).key
        folder = str(tables.cell_folder(self.folder))
        block = cells.Block(self.text(name), digest, folder, SEED, 0, trials, None)
        return cells.exact_values(block, truth.exact_values)

    def on_all_queries(self, name: str, trials: int) -> np.ndarray:
        """Exact values (trial, context, prompt, scale) of drawn worlds, whose queries are equally likely in a split."""
        sizes = [len(queries.ids) for queries in self.get(name).source.split(trial_key(SEED, 0))]
        return np.average(self.exact(name, trials), axis=0, weights=sizes)

    def contexts(self, name: str) -> list[ContextRow]:
        """The contexts of an environment; of trial 0 where worlds are drawn afresh."""
        world = self.get(name)
        drawn: Any = truth.draw_first(world, SEED).world  # every world of `sim.envs` has a strategy
        spec, known = drawn.spec, np.asarray(drawn.strategy.weights, np.float64)
        weights = known[list(spec.task)] * np.asarray(spec.task_weight, np.float64)[:, None]
        share = np.round(weights[:, 0] / np.abs(weights).sum(axis=1), 6)
        cost = np.asarray(spec.cost, np.float64).mean(axis=1)
        return list(map(ContextRow, cells.context_names(world), share.tolist(), cost.tolist()))

    def text(self, name: str) -> str:
        """The text that `envs.get` reads for a name."""
        base, colon, options = name.partition(":")
        return f"{self.files[base]}{colon}{options}" if base in RELEASED else name

    def compare(
        self, sweep: dict[str, Any], reference: str = "psst", exact: cells.ExactValues = truth.exact_values
    ) -> compare.Result:
        """Every algorithm of a sweep on its environments at hand, at every budget; tables name them as the sweep does.

        Args:
            sweep: with envs, algorithms, budgets and trials.
            reference: the algorithm that differences are taken to.
            exact: computes the exact values that choices are scored by.
        """
        named = {self.text(name): name for name in self.at_hand(sweep["envs"])}
        plan = compare.Plan(
            tuple(named), tuple(sweep["algorithms"]), tuple(sweep["budgets"]), sweep["trials"], SEED, reference
        )
        found = compare.run(plan, self.folder, exact, executor=self.executor, report=self.report)
        known = {envs.get(text).name: name for text, name in named.items()}
        renamed = [table.assign(env=table["env"].map(known)) for table in found[:3]]
        return found._replace(trials=renamed[0], contexts=renamed[1], summary=renamed[2])


SEED = 0
"""Root of all randomness of all figures: cells with the same environment, algorithm, budget and trials are shared."""


def _base(name: str) -> str:
    return name.partition(":")[0]


def files_in(places: Sequence[Path]) -> dict[str, Path]:
    """Released environments in files or folders, name -> file; a later place wins.

    Raises:
        ValueError: a place that does not exist, or a file that is not called as a released one.
    """
    found = {}
    for place in places:
        if not place.exists():
            raise ValueError(f"{place}: no such file or folder")
        for path in sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else [place]:
            name = path.name.removesuffix(SUFFIX)
            if name in RELEASED and path.name.endswith(SUFFIX):
                found[name] = path
            elif not place.is_dir():
                names = ", ".join(f"{known}{SUFFIX}" for known in RELEASED)
                raise ValueError(f"{place}: not called as a file that the authors released ({names})")
    return found


def records(table: "pd.DataFrame") -> Iterator[Any]:
    """Rows of a table, columns by attribute; a checker of types knows nothing of them."""
    yield from table.itertuples()


def summary(result: compare.Result, reference: str = "psst") -> "pd.DataFrame":
    """The summary of a comparison with paired differences to a reference, a row per environment, algorithm and budget.

    Columns beside those of `tables.SUMMARY`: `diff_mean` and `diff_sem`, mean and standard error over trials of the
    ACR less the reference's on the same trial; `gain` and `gain_sem`, mean ACR of the reference over the algorithm's,
    less one, with its standard error by the delta method; `spent_sem`, that of the mean spent.
    """
    import pandas as pd

    parts: dict[Any, pd.DataFrame] = dict(iter(result.trials.groupby(_KEYS)))
    cells = {key: part["acr"].to_numpy() for key, part in parts.items()}
    rows = []
    for env, algorithm, budget in result.summary[_KEYS].itertuples(index=False):
        own, other = cells[env, algorithm, budget], cells[env, reference, budget]
        gain = other.mean() / own.mean() - 1
        spread = (other - (1 + gain) * own) / own.mean()
        spent = tables.sem(parts[env, algorithm, budget]["spent"].to_numpy(float))
        rows.append(((own - other).mean(), tables.sem(own - other), gain, tables.sem(spread), spent))
    extra = pd.DataFrame(rows, columns=["diff_mean", "diff_sem", "gain", "gain_sem", "spent_sem"])
    return pd.concat([result.summary, extra.astype(float)], axis=1)
