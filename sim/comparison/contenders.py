"""Contenders of a comparison: algorithms, which pull and learn, and reference policies, which are told the truth."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from sim import algorithms, origins, program, references
from sim.core import Algorithm, Environment, Source
from sim.engine import limits, runner
from sim.engine.contract import contract
from sim.engine.runner import Trials
from sim.program import Program
from sim.references import REFERENCES

_REHEARSED = 200
"""Largest budget of a rehearsal that no larger one is needed for."""


class Learner(NamedTuple):
    """An algorithm, which never sees the truth."""

    algorithm: Algorithm

    @property
    def program(self) -> Program:
        """Program of the algorithm and of what runs it."""
        return algorithm_program(self.algorithm)

    @property
    def brought(self) -> bool:
        """Whether it is somebody else's, which nobody has checked."""
        return not origins.own(type(self.algorithm).__module__)

    @property
    def options(self) -> dict[str, Any]:
        """The algorithm's fields."""
        return {field.name: getattr(self.algorithm, field.name) for field in fields(self.algorithm)}

    def check_world(self, shape: Environment) -> None:
        """Refuse a world that does not give the completions that the algorithm takes."""
        runner.check_world(self.algorithm, shape)

    def check_budget(self, shape: Environment, budget: int) -> None:
        """Refuse a budget that is too small for the algorithm, or too large for all."""
        runner.check_budget(self.algorithm, shape.spec, budget)

    def instead(self, shape: Environment) -> str:
        """Option that replaces one too dear on worlds of this shape, for people; "" where there is none."""
        taken = runner.estimator_for(self.algorithm, shape)
        return "" if taken == self.algorithm.estimator else f"estimator={taken} instead of {self.algorithm.estimator}"

    def check_contract(self, about: str, shape: Environment) -> None:
        """Refuse an algorithm of somebody else whose answers have other shapes and types than they must have."""
        if self.brought:
            problem = contract(self.algorithm, shape.spec)
            if problem is not None:
                raise ValueError(f"{about}: {problem}; `iapo check` says more")

    def rehearse(
        self, about: str, source: Source, budget: int, *, seed: int, trials: int, chunk: int | None, many: bool = False
    ) -> None:
        """Refuse an algorithm of somebody else whose rounds or answers cannot be, by some trials that are watched.

        They have this budget, or a smaller one where it is large: the longest rules have a round per completion. Only
        the whole budget tells whether sums of completions as they are may overflow.
        """
        spec = runner.spec_of(source)
        if not limits.may_overflow(self.algorithm, budget):
            budget = min(budget, max(_REHEARSED, self.algorithm.min_budget(spec)))
        with limits.naming(about, budget):
            numbers: dict[str, Any] = {"seed": seed, "trials": trials, "chunk": chunk}
            found = runner.rehearse(source, self.algorithm, budget, **numbers, fused=many or None)
        self.check_answers(about, (spec.num_prompts, spec.max_scale), budget, found)

    def check_answers(self, about: str, arms: tuple[int, int], budget: int, found: Trials) -> None:
        """Refuse answers that cannot be where there are so many prompts and scales."""
        with limits.naming(about, budget):
            limits.check_answers(arms, budget, self.algorithm.overspends, found.prompt, found.scale, found.spent)

    def warm_up(self, source: Source, trials: int, chunk: int | None, many: bool) -> None:
        """Compile without running a trial."""
        runner.warm_up(source, self.algorithm, trials, chunk, fused=many or None)

    def trials(
        self,
        source: Source,
        budget: int,
        train: np.ndarray,
        *,
        seed: int,
        trials: int,
        first: int,
        chunk: int | None,
        many: bool,
    ) -> Trials:
        """Trials of the algorithm, to which `train` is not shown."""
        numbers: dict[str, Any] = {"seed": seed, "trials": trials, "first": first, "chunk": chunk}
        return runner.run_trials(source, self.algorithm, budget, **numbers, fused=many or None)


class Reference(NamedTuple):
    """A reference policy: it reads the truth, pulls nothing and spends nothing."""

    policy: Callable[[np.ndarray], references.PolicyArms]

    @property
    def program(self) -> Program:
        """Program of the policy and of how trials are scored."""
        return program.behind(self.policy, modules=("sim.evaluate",))

    @property
    def brought(self) -> bool:
        """No."""
        return False

    @property
    def options(self) -> dict[str, Any]:
        """None."""
        return {}

    def check_world(self, shape: Environment) -> None:
        """Any world will do."""

    def check_budget(self, shape: Environment, budget: int) -> None:
        """Any budget will do."""

    def instead(self, shape: Environment) -> str:
        """It has no options."""
        return ""

    def check_contract(self, about: str, shape: Environment) -> None:
        """Accept: it makes no answers inside jit."""

    def rehearse(
        self, about: str, source: Source, budget: int, *, seed: int, trials: int, chunk: int | None, many: bool = False
    ) -> None:
        """Accept: it has no rounds."""

    def check_answers(self, about: str, arms: tuple[int, int], budget: int, found: Trials) -> None:
        """Accept: its answers are arms of a table of values."""

    def warm_up(self, source: Source, trials: int, chunk: int | None, many: bool) -> None:
        """Compile nothing."""

    def trials(
        self,
        source: Source,
        budget: int,
        train: np.ndarray,
        *,
        seed: int,
        trials: int,
        first: int,
        chunk: int | None,
        many: bool,
    ) -> Trials:
        """Its arms in every trial."""
        prompt, scale = (np.broadcast_to(part, (trials, part.shape[1])) for part in self.policy(train))
        return Trials(prompt, scale, np.zeros(trials, np.int32))


Contender = Learner | Reference
"""Whatever a comparison runs under one name."""


def get(text: str) -> Contender:
    """The contender of a name with options.

    Raises:
        ValueError: unknown name or option, or a value of the wrong kind.
    """
    name = references.named(text)
    return Learner(algorithms.get(text)) if name is None else Reference(REFERENCES[name])


def rehearsed(contender: Contender, budgets: Sequence[int]) -> set[int]:
    """Budgets to rehearse: the smallest, and the largest where sums of completions as they are may overflow."""
    least, most = min(budgets), max(budgets)
    overflows = isinstance(contender, Learner) and limits.may_overflow(contender.algorithm, most)
    return {least, most} if overflows else {least}


def names() -> tuple[str, ...]:
    """All registered names: algorithms, then reference policies."""
    return (*algorithms.names(), *REFERENCES)


def algorithm_program(algorithm: Algorithm) -> Program:
    """All that results of an algorithm depend on, its options among them."""
    return program.behind(algorithm, modules=("sim.engine.runner", "sim.evaluate"))
