"""The paper's released code, from a folder that the user gives, as something to time. None of it is kept here."""

import contextlib
import importlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sim.core import Environment
from sim.envs.sources import NamedSource
from sim.envs.tabular import TabularWorld

AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "psst": ("Agents.PSST", "PSSTAgent", {}),
    "psst+k4": ("Agents.PSST_HB", "PSSTHAgent", {"burn": 0.2, "K": 4}),
    "uniform": ("Agents.Uniform", "UniformAgent", {}),
    "triple-n1": ("Agents.TRIPLE", "TRAgent", {"h": "one"}),
    "ucb": ("Agents.UCB", "UCBAgent", {}),
    "epsilon-greedy": ("Agents.adaptiv_sampling", "AdaptiveAgent", {"action_mode": "epsilon", "epsilon": 0.15}),
    "softmax": ("Agents.adaptiv_sampling", "AdaptiveAgent", {"action_mode": "softmax", "tau": 0.05}),
}
"""Our name -> module, class and options of the released code."""


def trainer(folder: Path, named: NamedSource, algorithm: str, budget: int) -> Callable[[int], float]:
    """A function that trains one trial of the released code with a seed and returns its core-seconds.

    Raises:
        ValueError: the folder does not hold the code.
    """
    if algorithm not in AGENTS:
        raise ValueError(f"the released code has no {algorithm}; it has {', '.join(AGENTS)}")
    module, name, options = AGENTS[algorithm]
    if not (folder / (module.replace(".", "/") + ".py")).exists():
        raise ValueError(f"{folder}: holds no {module.replace('.', '/')}.py; give the root of the released code")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    agent = getattr(importlib.import_module(module), name)
    build, strategy = _world(named)

    def train(seed: int) -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            world, learner = build(seed), agent(strategy=strategy, **options)
            start = time.process_time()
            learner.train(env=world, budget=budget)
            return time.process_time() - start

    return train


def _world(named: NamedSource) -> tuple[Callable[[int], Any], str]:
    """A builder of their environment with our tables, and their name of its strategy."""
    source: Any = named.source
    environment: Environment = source.environment
    if not isinstance(environment, TabularWorld):
        raise ValueError(f"{named.name}: only tabular worlds can be given to the released code")
    below = np.asarray(environment.thresholds, np.float64) / 2.0**32
    ends = np.concatenate([below, np.ones((*below.shape[:2], 1))], axis=2)
    probs = np.diff(ends, axis=2, prepend=0.0)
    train = source.num_train
    spec, weights = environment.spec, np.asarray(environment.strategy.weights, np.float64)
    if named.data is not None and environment.atoms is None:
        mv = importlib.import_module("Envs.catMV.catMV").CategoricalMVEnv
        levels = dict(zip(("low", "mid", "high"), np.asarray(named.data.cost_weights), strict=True))
        gold = np.zeros(probs.shape[1], int)

        def voting(seed: int) -> Any:
            halves = (probs[:, :train], gold[:train], probs[:, train:], gold[train:])
            costs = np.asarray(named.data.costs) if named.data is not None else None
            return mv(*halves, cost_per_prompt=costs, cost_coeffs=levels, N_max=spec.max_scale, rng=seed)

        return voting, "mv"
    bon = importlib.import_module("Envs.catBoN.catBoN").CategoricalBoNEnv
    if environment.atoms is None:
        raise ValueError(f"{named.name}: a voting world needs its data set")
    atoms = np.asarray(environment.atoms, np.float64)
    vectors = np.broadcast_to(atoms, (*probs.shape[:2], *atoms.shape)) if atoms.ndim == 2 else atoms
    factor, cost = np.asarray(spec.task_weight), np.asarray(spec.cost, np.float64)
    per_context = factor[:, None] * weights[list(spec.task)]
    per_unit = cost.max(axis=1) / cost.max()

    def best_of_n(seed: int) -> Any:
        return bon(
            vectors[:, :train],
            probs[:, :train],
            outcome_vectors_test=vectors[:, train:],
            outcome_probs_test=probs[:, train:],
            cost_per_prompt=cost[per_unit.argmax()],
            weights=[(*w, -c) for w, c in zip(per_context, per_unit, strict=True)],
            context_distribution=np.full(spec.num_contexts, 1.0 / spec.num_contexts),
            N_max=spec.max_scale,
            rng=seed,
        )

    return best_of_n, "bon"
