"""Runs until sure, and finished runs that go on: what they change of a run file, and how sure they are at their end."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sim.adapters import config as reading
from sim.adapters import policy
from sim.adapters.run_file.settings import Config
from sim.algorithms import until_sure
from sim.core import Spec

POLICY = "policy.json"
"""The policy of a run that came to its end, or met a cap, in its folder."""
SO_FAR = "policy-so-far.json"
"""The policy of a run under way, after its last whole round."""

VISITS = 4096
"""Visits of a prompt of which a live run keeps what they brought."""


class Sure(NamedTuple):
    """Statement of a run until sure about its policy; it holds at all rounds at once.

    Attributes:
        eps: by how much another arm may be better in each context, in utility; infinite where nothing can be said.
        wanted: the eps asked for.
        level: probability with which that holds in all contexts at once.
        target: "new" queries of this kind, or exactly "these".
        num_arms: arms of which it speaks.
        visits: queries that the prompt met most often has met; a query that was met again counts again.
        exhausted: whether the list of queries is through, as often as it is gone through.
    """

    eps: tuple[float, ...]
    wanted: float
    level: float
    target: str
    num_arms: int
    visits: int
    exhausted: bool

    @property
    def reached(self) -> bool:
        """Whether every context is as sure as asked for."""
        return max(self.eps) <= self.wanted

    def facts(self) -> dict[str, Any]:
        """The same for a file; None for what is infinite."""
        return self._asdict() | {"eps": [one if np.isfinite(one) else None for one in self.eps]}


class StateSeen(NamedTuple):
    """Part of a state that is looked at: eps of every context, and visits of the prompt met most often."""

    eps: Any
    visits: Any


def observe(spec: Spec, before: Any, after: until_sure.State) -> StateSeen:
    """Look at a round of a run until sure (`engine.turn.Observe`)."""
    return StateSeen(until_sure.eps(spec, after), after.met.max())


def statement(config: Config, spec: Spec, seen: StateSeen) -> Sure:
    """The statement that a state makes."""
    rule = config.algorithm
    assert isinstance(rule, until_sure.UntilSure)
    visits = int(seen.visits)
    eps = tuple(np.asarray(seen.eps, np.float64).tolist())
    arms = spec.num_prompts * spec.max_scale
    return Sure(eps, float(rule.eps), rule.level, rule.target, arms, visits, visits >= rule.num_visits(spec))


def load(path: Path, eps: float | None = None, target: str = "new", more: int | None = None) -> Config:
    """The configuration of a run, until sure, or going on after its end.

    Args:
        path: the configuration.
        eps: run the algorithm "until-sure" with this eps in place of the file's algorithm.
        target: of which queries it is to be sure: "new" or "these".
        more: completions on top of the budget of the run that has ended in the same folder, whose algorithm is kept.

    Raises:
        ValueError: the configuration is wrong, eps is not above 0, or no run has ended there.
    """
    run, changed = reading.load(path), dict[str, Any]()
    if more is not None:
        changed = _after(run, more)
    if eps is not None:
        if not 0 < eps < np.inf:
            raise ValueError(f"--until is {eps:g}; it must be above 0: by how much another arm may be better")
        changed["algorithm"] = f"until-sure:target={target},eps={eps!r},visits={VISITS}"
    return reading.load(path, tune=changed) if changed else run


def _after(run: Config, more: int) -> dict[str, Any]:
    """Algorithm and budget of the run that has ended, with more of it."""
    place = run.out / POLICY
    if not place.is_file():
        raise ValueError(f"--more goes on from a run that has ended, and {place} is not there; run it without --more")
    before = policy.load(place)
    if before.stopped is not None:
        raise ValueError(
            f"--more goes on from a run that has ended, and that of {place} had not ({before.stopped}); "
            "the same command without --more goes on with it, within its caps"
        )
    if before.budget is None or before.algorithm is None:
        raise ValueError(f"{place}: run.budget or run.algorithm is missing, which --more goes on from")
    return {"algorithm": before.algorithm, "budget": before.budget + more}
