"""Fixed-budget selection of a prompt and an inference scale together: worlds, algorithms, trials.

The public names are those in `__all__`. They are imported when they are first used: `import sim` costs nothing.

* Compare: `compare` (any algorithms on any environments, by name or as objects), `run_trials` and `run_one`, `tables`.
* Environments: `envs` (`envs.get` by name or file), `Dataset`, `Source`, `NamedSource`, `fixed`, `load`, `save`,
  `from_log` (with `Columns` and `Contexts`).
* Algorithms: `algorithms` (`algorithms.get` by name), and what one is made of: `Algorithm`, `Allocation`, `Policy`,
  `Spec`, `Stats`, `estimators`, `schedules`, `trim`. Scorers of your own are made of `AnswerScorer`.
* Live models: `live` (`live.tune`, `live.Policy`).
* Scores: `evaluate`. Exact values come from `theory`, which this package never imports: where they are needed, they are
  an argument.

What semantic versioning covers, from version 1.0 on (before, a minor version may change any of it, and says so): the
names in `sim.__all__`, `theory.__all__` and `figures.__all__`, of a module among them its functions and classes without
an underscore, with their parameters; the columns of the tables; the commands and options of `iapo`; files that are
written (environments, policies, tables: what one version wrote, later ones read). Not covered: every other module, the
text of messages, the order of fields that a class may get, and kept cells, which an update may have computed again. A
seed gives the same numbers within one version of this package and of JAX on one kind of device; where an update changes
them, the changelog says so.

Other rooms, for those who read the code: `core` (value types), `utilities` (completions to rewards), `kernels` (what is
clever, beside plain versions), `engine` (trials), `comparison` (cells, tables), `adapters` (live models), `certify`
(statements from a run's own data), `advice` (what to use by a log), `cli`.

    >>> import theory
    >>> from sim import compare
    >>> found = compare(["uniform", "random"], ["two-arm"], [20, 40], trials=8, seed=0, exact=theory.exact_values)
    >>> found.summary[["algorithm", "budget", "trials"]].values.tolist()
    [['uniform', 20, 8], ['uniform', 40, 8], ['random', 20, 8], ['random', 40, 8]]
"""

from typing import TYPE_CHECKING

from sim.public import lazily

if TYPE_CHECKING:
    from sim import algorithms as algorithms
    from sim import envs as envs
    from sim import estimators as estimators
    from sim import evaluate as evaluate
    from sim import live as live
    from sim import schedules as schedules
    from sim import trim as trim
    from sim.adapters.scoring import AnswerScorer as AnswerScorer
    from sim.comparison import tables as tables
    from sim.comparison.api import compare as compare
    from sim.comparison.api import run_one as run_one
    from sim.core import Algorithm as Algorithm
    from sim.core import Allocation as Allocation
    from sim.core import Policy as Policy
    from sim.core import Source as Source
    from sim.core import Spec as Spec
    from sim.core import Stats as Stats
    from sim.engine.runner import run_trials as run_trials
    from sim.envs.dataset import Dataset as Dataset
    from sim.envs.files import read as load
    from sim.envs.files import save as save
    from sim.envs.logs import Columns as Columns
    from sim.envs.logs import Contexts as Contexts
    from sim.envs.logs import from_log as from_log
    from sim.envs.sources import NamedSource as NamedSource
    from sim.envs.sources import fixed as fixed

__all__ = [
    "Algorithm",
    "Allocation",
    "AnswerScorer",
    "Columns",
    "Contexts",
    "Dataset",
    "NamedSource",
    "Policy",
    "Source",
    "Spec",
    "Stats",
    "algorithms",
    "compare",
    "envs",
    "estimators",
    "evaluate",
    "fixed",
    "from_log",
    "live",
    "load",
    "run_one",
    "run_trials",
    "save",
    "schedules",
    "tables",
    "trim",
]

_HOMES = {
    "Algorithm": "sim.core:Algorithm",
    "Allocation": "sim.core:Allocation",
    "AnswerScorer": "sim.adapters.scoring:AnswerScorer",
    "Columns": "sim.envs.logs:Columns",
    "Contexts": "sim.envs.logs:Contexts",
    "Dataset": "sim.envs.dataset:Dataset",
    "NamedSource": "sim.envs.sources:NamedSource",
    "Policy": "sim.core:Policy",
    "Source": "sim.core:Source",
    "Spec": "sim.core:Spec",
    "Stats": "sim.core:Stats",
    "algorithms": "sim.algorithms",
    "compare": "sim.comparison.api:compare",
    "envs": "sim.envs",
    "estimators": "sim.estimators",
    "evaluate": "sim.evaluate",
    "fixed": "sim.envs.sources:fixed",
    "from_log": "sim.envs.logs:from_log",
    "live": "sim.live",
    "load": "sim.envs.files:read",
    "run_one": "sim.comparison.api:run_one",
    "run_trials": "sim.engine.runner:run_trials",
    "save": "sim.envs.files:save",
    "schedules": "sim.schedules",
    "tables": "sim.comparison.tables",
    "trim": "sim.trim",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
