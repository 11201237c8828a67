"""Verdicts: a bound against what is known of the probability that it bounds.

A verdict rests on the exact probability where it is known, else on an interval: Clopper-Pearson's from simulation, or,
where simulation saw too few failures, Student's t over the replicates of a splitting estimate that nothing speaks
against. Intervals are simultaneous by Bonferroni over all those that a verdict could rest on, both kinds of each: with
confidence 95 % every one of them covers, and so no verdict that rests on them is wrong. Clopper and Pearson's are
exact; Student's t, over skewed replicates, is approximate.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from theory.runs import rare

ALPHA = 0.05
"""Probability that some verdict is wrong."""
FEW = 10
"""Fewer failures in simulation than this, and splitting has the word."""
_ROUNDING = 1e-9


class Verdict(StrEnum):
    """Verdicts on a bound, by the names that tables use; of many verdicts the first of these is the whole's."""

    VIOLATED = "violated"
    HOLDS = "holds"
    OPEN = "not resolved"
    VACUOUS = "vacuous"


class Basis(StrEnum):
    """Sources of a verdict, by the names that tables use."""

    EXACT = "exact"
    SPLITTING = "splitting"
    SIMULATION = "simulation"
    NOTHING = ""


VIOLATED, HOLDS, OPEN, VACUOUS = ORDER = tuple(Verdict)


class Truth(NamedTuple):
    """Knowledge of one failure probability.

    Attributes:
        exact: None where it is not known.
        failures: in simulation.
        trials: of the simulation, 0 for none.
        replicates: of a splitting estimate that may be believed; None without one.
    """

    exact: float | None = None
    failures: int = 0
    trials: int = 0
    replicates: np.ndarray | None = None

    @property
    def source(self) -> Basis:
        """Source of a verdict: exact, splitting, simulation or nothing."""
        if self.exact is not None:
            return Basis.EXACT
        if self.replicates is not None and self.failures < FEW:
            return Basis.SPLITTING
        return Basis.SIMULATION if self.trials else Basis.NOTHING

    def interval(self, alpha: float) -> tuple[float, float]:
        """An interval that covers the probability with confidence 1 - alpha."""
        if self.exact is not None:
            return self.exact, self.exact
        if self.source is Basis.SPLITTING and self.replicates is not None:
            return rare.t_interval(self.replicates, 1 - alpha)
        return clopper_pearson(self.failures, self.trials, 1 - alpha)

    @property
    def estimate(self) -> float:
        """The exact value or the point estimate; NaN without one."""
        if self.exact is not None:
            return self.exact
        if self.source is Basis.SPLITTING and self.replicates is not None:
            return float(self.replicates.mean())
        return self.failures / self.trials if self.trials else float("nan")


def clopper_pearson(failures: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval for a probability; all of [0, 1] without a trial."""
    from scipy import special  # `scipy.stats` takes longer to import than a table to judge

    tail = (1 - confidence) / 2
    low = special.betaincinv(failures, trials - failures + 1, tail) if failures else 0.0
    high = special.betainccinv(failures + 1, trials - failures, tail) if failures < trials else 1.0
    return float(low), float(high)


def level(truths: Iterable[Truth]) -> tuple[float, int]:
    """The level of each interval so that all hold together, and how many there are.

    Args:
        truths: all that verdicts rest on, each once; where it is the data that choose between simulation and splitting,
            both intervals count.
    """
    unknown = [truth for truth in truths if truth.exact is None]
    number = sum((truth.trials > 0) + (truth.replicates is not None) for truth in unknown)
    return ALPHA / max(number, 1), number


def verdict(bound: float, truth: Truth, alpha: float) -> Verdict:
    """Whether a bound holds, by an interval of confidence 1 - alpha.

    Args:
        bound: claimed upper bound; 1 or more says nothing.
        truth: what is known of the probability.
        alpha: from `level`.
    """
    if bound >= 1:
        return VACUOUS
    low, high = truth.interval(alpha)
    if low > bound * (1 + _ROUNDING):
        return VIOLATED
    return HOLDS if high <= bound * (1 + _ROUNDING) else OPEN


def together(verdicts: Iterable[str]) -> Verdict:
    """The verdict over many budgets and worlds: violated by one is violated, else held by one is held."""
    return min(map(Verdict, verdicts), key=ORDER.index)


def agree(truth: Truth, replicates: np.ndarray, confidence: float = 0.999) -> bool:
    """Whether splitting agrees with the exact value, or with simulation that saw enough: intervals overlap."""
    low, high = rare.t_interval(replicates, confidence)
    least, most = truth._replace(replicates=None).interval(1 - confidence)
    return low <= most and least <= high


def exponent(first: float, second: float, first_se: float, second_se: float, step: int) -> tuple[float, float]:
    """Error exponent -(log p2 - log p1) / step per completion, and its standard error by the delta method.

    Args:
        first: failure probability p1 at the smaller budget.
        second: failure probability p2 at the larger one.
        first_se: standard error of p1 (0 where it is exact).
        second_se: that of p2.
        step: T2 - T1.
    """
    slope = -(np.log(second) - np.log(first)) / step
    return float(slope), float(np.hypot(first_se / first, second_se / second) / step)
