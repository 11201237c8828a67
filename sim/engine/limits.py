"""Limits of a run: allocations, rounds and answers that can be, held on the host before a round is pulled.

Rules of this project keep them; somebody's own may not, and jitted code would run on, with numbers that look like any.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sim.core import Algorithm, Allocation, Spec
from sim.kernels.rounds import PASS_COMPLETIONS
from sim.raw import RAW

IDLE = 1_000
"""Rounds running in which nothing is pulled, after which a run counts as endless where its rule says no `num_rounds`. A
rule may pass over a round whose share of the budget is too small, arm by arm at the most: so many rounds, or as many as
there are arms. It has drawn nothing new since, and is where it was."""


class Broken(ValueError):
    """A limit that a run does not keep: the end of a sentence that names the algorithm."""


@contextmanager
def naming(about: str, budget: int) -> Iterator[None]:
    """Say whose run it is, and with what budget, that does not keep a limit."""
    try:
        yield
    except Broken as problem:
        raise Broken(f"{about} with T = {budget:,}, {problem}; `iapo check` says more") from None


class RoundWatch:
    """Looks at every allocation of a run, or of runs that go together, before it is pulled."""

    def __init__(self, algorithm: Algorithm, spec: Spec, budget: int, strict: bool = False) -> None:
        """Begin before the first round.

        Args:
            algorithm: whose allocations.
            spec: what it knows of the world.
            budget: completions T.
            strict: hold one to the budget that says it may spend more.
        """
        self._spec, self._budget, self._widest = spec, budget, algorithm.max_pull(spec)
        self._rounds, self._capped = algorithm.num_rounds(spec), strict or not algorithm.overspends
        self._summed = PASS_COMPLETIONS if algorithm.estimator == RAW else None
        self._idlest = max(IDLE, spec.num_arms)
        self._round, self._idle, self._spent = 0, 0, np.zeros(1, np.int64)

    def __call__(self, asked: Allocation) -> None:
        """See the next round; leaves may have a leading axis of runs.

        Raises:
            Broken: it asks for what cannot be, or there should be no further round.
        """
        self._round += 1
        prompt, scale, pulls = (np.atleast_2d(np.asarray(leaf, np.int64)) for leaf in asked[:3])
        had = 0 if asked.places is None else np.atleast_2d(np.asarray(asked.places.had, np.int64))
        problem = (
            self._number() or self._insane(prompt, scale, pulls, scale - had) or self._costs((scale - had) * pulls)
        )
        if problem:
            raise Broken(f"round {self._round:,}: {problem}")

    def _number(self) -> str | None:
        """Problem with there being a round of this number."""
        done = f"it is not finished after {self._round - 1:,} rounds"
        if self._rounds is not None:
            return f"{done}; num_rounds says {self._rounds:,}" if self._round > self._rounds else None
        return done if not self._capped and self._round > self._budget + self._idlest else None

    def _insane(self, prompt: np.ndarray, scale: np.ndarray, pulls: np.ndarray, new: np.ndarray) -> str | None:
        """Problem with the numbers of an allocation."""
        if pulls.min() < 0:
            return f"a row asks for {pulls.min()} pulls"
        for name, column, low, high in (
            ("prompt", prompt, 0, self._spec.num_prompts - 1),
            ("scale", scale, 1, self._widest),
            ("completions that are new", new, 0, self._widest),
        ):
            used = column[pulls != 0]
            if len(used) and (used.min() < low or used.max() > high):
                return f"a row with pulls has {name} {used.min()} to {used.max()}; it must lie in {low}..{high}"
        row = int((scale * pulls).max())
        if self._summed is not None and row > self._summed:
            return f"a row asks for {row:,} completions as they are; sums of more than {self._summed:,} may overflow"
        return None

    def _costs(self, completions: np.ndarray) -> str | None:
        """Problem with what a round costs: more than is left, or nothing for too long."""
        cost = completions.sum(axis=1)
        left = self._budget - self._spent
        self._spent = self._spent + cost
        if self._capped and np.any(cost > left):
            worst = int(np.argmax(cost - left))
            of = f"{np.broadcast_to(left, cost.shape)[worst]:,} of {self._budget:,}"
            return f"it asks for {cost[worst]:,} completions where {of} are left"
        self._idle = 0 if cost.any() else self._idle + 1
        if self._rounds is None and self._idle > self._idlest:
            return f"it has pulled nothing for {self._idlest:,} rounds, and is not finished"
        return None


def check_answers(arms: tuple[int, int], budget: int, overspends: bool, prompt: Any, scale: Any, spent: Any) -> None:
    """Refuse answers of runs that cannot be, or that were paid with more than the budget.

    Args:
        arms: number of prompts, and the largest scale.
        budget: completions T.
        overspends: whether they may spend more.
        prompt: recommended prompts, of any shape.
        scale: recommended scales.
        spent: completions spent.

    Raises:
        Broken: the sentence says which.
    """
    (num_prompts, max_scale), (prompt, scale, spent) = arms, map(np.asarray, (prompt, scale, spent))
    if not prompt.size:
        return
    if prompt.min() < 0 or prompt.max() >= num_prompts:
        there = f"there are prompts 0 to {num_prompts - 1}"
        raise Broken(f"it recommends prompt {prompt.min()} to {prompt.max()} where {there}")
    if scale.min() < 1 or scale.max() > max_scale:
        raise Broken(f"it recommends N = {scale.min()} to {scale.max()} where N lies in 1..{max_scale}")
    if spent.min() < 0 or (spent.max() > budget and not overspends):
        worst = spent.min() if spent.min() < 0 else spent.max()
        raise Broken(f"it spends {worst:,} completions with a budget of {budget:,}")


def may_overflow(algorithm: Algorithm, budget: int) -> bool:
    """Whether a budget pays more completions of a row than an algorithm that takes them as they are may sum."""
    return algorithm.estimator == RAW and budget > PASS_COMPLETIONS
