"""The unit of work of a comparison: one algorithm at one budget on one block of trials of one environment.

Cells are plain data, so that any process can compute them, and their results are kept (`sim.comparison.store`). Exact
values come from outside, as a function: this package does not know how they are computed.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from sim import digests, evaluate, mistakes, plugins, program
from sim.comparison import given, store
from sim.comparison.given import Held
from sim.envs.sources import NamedSource
from sim.program import Program

ExactValues = Callable[[NamedSource, int, int, int], tuple[np.ndarray, np.ndarray]]
"""(environment, seed, first trial, trials) -> exact values on train and on test, each float64 of shape (trial, context,
prompt, scale), or with a leading axis of one where all trials have the same. A function that a module defines, so that
other processes find it."""
_CHANGED = "is not what it was when the comparison began (edited, or not the same in every process); start it again"


class Block(NamedTuple):
    """Some trials on one environment.

    Attributes:
        env: name or path of the environment.
        digest: key of its content and of the program of its worlds and exact values (`environment_program`).
        folder: where results are kept.
        seed: root of all randomness.
        first: number of the first trial.
        trials: how many.
        chunk: trials in progress at a time, as in `runner.run_trials`; results do not depend on it.
        held: the environment itself where `env` is no name that other processes know.
    """

    env: str
    digest: str
    folder: str
    seed: int
    first: int
    trials: int
    chunk: int | None
    held: Held | None = None

    def path(self, **what: Any) -> Path:
        """File of the result that depends on these trials and on `what` else."""
        parts = (self.digest, self.seed, self.first, self.trials)
        return Path(self.folder) / f"{digests.digest([parts, what])}.npz"

    @property
    def exact_path(self) -> Path:
        """File of its exact values, kept if they are slow to compute."""
        return self.path(exact=True)


class Cell(NamedTuple):
    """One algorithm at one budget on one block of trials.

    Attributes:
        block: the trials.
        algorithm: name with options, as `contenders.get` reads it, or the name of what is held.
        budget: completions T.
        program: key of the contender with its options and of the program that runs it, taken where the comparison
            began: a process that knows another refuses.
        held: the algorithm itself where `algorithm` is no name that other processes know.
    """

    block: Block
    algorithm: str
    budget: int
    program: str
    held: Held | None = None

    @property
    def path(self) -> Path:
        """File of its results."""
        return self.block.path(budget=self.budget, program=self.program)


class Seconds(NamedTuple):
    """Time by what it went to: exact values, compiling, running trials."""

    exact: float = 0.0
    compile: float = 0.0
    run: float = 0.0

    def plus(self, other: "Seconds") -> "Seconds":
        """The sum, entry by entry."""
        return Seconds(*(mine + its for mine, its in zip(self, other, strict=True)))


class Outcome(NamedTuple):
    """Results of a cell, leading axis trial."""

    scores: evaluate.Scores
    spent: np.ndarray
    seconds: Seconds


def _brought_along(cell: Cell, exact: ExactValues) -> str:
    """The algorithm of a cell where it is named by its code."""
    return cell.algorithm if plugins.is_code(cell.algorithm) else ""


@mistakes.tells(_brought_along)
def run_cell(cell: Cell, exact: ExactValues) -> Seconds:
    """Compute one cell and keep its results.

    Args:
        cell: what to compute.
        exact: computes exact values.

    Raises:
        ValueError: the environment or the algorithm is another than where the comparison began.
    """
    block, start = cell.block, perf_counter()
    world, contender = _world(block, exact), given.contender(cell.algorithm, cell.held)
    if not program.agrees(cell.program, contender.program):
        raise ValueError(f"{cell.algorithm}: {_CHANGED}")
    train, test = exact_values(block, exact)
    ready = perf_counter()
    _warm_up(world, cell.algorithm, cell.held, cell.program, block.trials, block.chunk)
    compiled = perf_counter()
    numbers = {"seed": block.seed, "trials": block.trials, "first": block.first, "chunk": block.chunk}
    found = contender.trials(world.source, cell.budget, train, **numbers)
    contender.check_answers(f"{cell.algorithm} on {world.name}", test.shape[2:], cell.budget, found)
    seconds = Seconds(ready - start, compiled - ready, perf_counter() - compiled)
    scores = evaluate.score(found.prompt, found.scale, test, context_probs(world))
    policies = {"prompt": found.prompt, "scale": found.scale, "spent": found.spent}
    store.save(cell.path, policies | scores._asdict(), seconds._asdict())
    return seconds


@mistakes.tells(_brought_along)
def rehearse(cell: Cell, exact: ExactValues) -> None:
    """Refuse an algorithm that cannot be run, before it is: what its first trials do is watched.

    Args:
        cell: the algorithm, the smallest budget, and the trials.
        exact: as for `run_cell`.

    Raises:
        ValueError: a limit is not kept (`sim.engine.limits`).
    """
    block, world = cell.block, _world(cell.block, exact)
    numbers = {"seed": block.seed, "trials": block.trials, "chunk": block.chunk}
    contender = given.contender(cell.algorithm, cell.held)
    contender.rehearse(f"{cell.algorithm} on {world.name}", world.source, cell.budget, **numbers)


def run_group(group: list[Cell], exact: ExactValues) -> list[Seconds]:
    """`run_cell` for cells that share a compilation: one task for another process."""
    return [run_cell(cell, exact) for cell in group]


def load(cell: Cell) -> Outcome | None:
    """The results of a cell; None if they are not there or damaged."""
    content = store.load(cell.path)
    if content is None:
        return None
    scores = evaluate.Scores(*(content.arrays[name] for name in evaluate.Scores._fields))
    return Outcome(scores, content.arrays["spent"], Seconds(**content.record))


@mistakes.tells()
def prepare(block: Block, exact: ExactValues) -> Seconds:
    """Have the exact values of a block at hand before its cells need them."""
    start = perf_counter()
    exact_values(block, exact)
    return Seconds(exact=perf_counter() - start)


def context_probs(world: NamedSource) -> np.ndarray:
    """Distribution over contexts in float64."""
    if world.data is not None:
        return world.data.context_distribution
    probs = np.asarray(world.source.context_probs, np.float64)
    return probs / probs.sum()


def context_names(world: NamedSource) -> tuple[str, ...]:
    """Labels of the contexts; their numbers, from 0, where they have none."""
    if world.data is not None and world.data.context_names:
        return world.data.context_names
    return tuple(str(context) for context in range(len(context_probs(world))))


@lru_cache(maxsize=1)
def exact_values(block: Block, exact: ExactValues) -> tuple[np.ndarray, np.ndarray]:
    """Exact values on train and test; those of fresh worlds take long and are kept on disk as well."""
    world = _world(block, exact)
    if not world.source.fresh:
        return exact(world, block.seed, block.first, block.trials)
    content = store.load(block.exact_path)
    if content is not None:
        return content.arrays["train"], content.arrays["test"]
    train, test = exact(world, block.seed, block.first, block.trials)
    store.save(block.exact_path, {"train": train, "test": test}, {})
    return train, test


def environment_program(world: NamedSource, exact: ExactValues) -> Program:
    """All that results on an environment depend on; names are no part of it."""
    drawn = eqx.filter_eval_shape(world.source.world, jnp.zeros(2, jnp.uint32))
    return program.behind(world.source, world.data, exact, shapes=drawn)


def _world(block: Block, exact: ExactValues) -> NamedSource:
    world = _named(block.env, block.held, block.digest)
    if not _agrees(world, exact, block.digest):
        raise ValueError(f"{block.env}: {_CHANGED}")
    return world


@lru_cache(maxsize=4)
def _named(env: str, held: Held | None, digest: str) -> NamedSource:
    """The environment, one object in every process; read again where its content is another."""
    return given.world(env, held)


@lru_cache(maxsize=8)
def _agrees(world: NamedSource, exact: ExactValues, digest: str) -> bool:
    """Whether an environment is the one that this digest names."""
    return program.agrees(digest, environment_program(world, exact))


@lru_cache
def _warm_up(world: NamedSource, algorithm: str, held: Held | None, key: str, trials: int, chunk: int | None) -> None:
    """Compile an algorithm for a world's shapes, once per process."""
    given.contender(algorithm, held).warm_up(world.source, trials, chunk)
