"""Events that guarantees bound: a miss, a near miss, and the mean simple regret as if it were one.

To add one: a class with the methods of `Event`. A trial fails or it does not; where a mean is bounded, a trial
fails with a probability that is its share of the worst, so that failures are counted, and judged, alike.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Answered(NamedTuple):
    """Answers of trials.

    Attributes:
        regret: simple regret of every trial in every context.
        tie: regret in each context up to which an answer is as good as the best.
        weights: share of every context, in means over contexts.
        worst: the largest mean regret that any answer has.
    """

    regret: Float[np.ndarray, "trial context"]
    tie: Float[np.ndarray, " context"]
    weights: Float[np.ndarray, " context"]
    worst: float


@dataclass(frozen=True)
class Event:
    """Event that a guarantee bounds. Abstract."""

    def share(self, bound: float, worst: float) -> float:
        """The bound on a scale on which 1 or more says nothing."""
        return bound

    def regret(self, bound: float, worst: float) -> float:
        """The bound on the mean simple regret, over trials and contexts, that follows."""
        raise NotImplementedError

    def at(self, tolerance: float) -> "Event":
        """The event for someone who ignores so much regret."""
        return self

    def serves(self, tolerance: float) -> bool:
        """Whether a bound on this is a guarantee for someone who ignores so much regret."""
        return True

    def target(self, delta: float, tolerance: float) -> float:
        """Value that the bound is to have, for someone who wants failures to have probability delta."""
        return delta

    def failed(self, answered: Answered, rng: np.random.Generator) -> Bool[np.ndarray, " trial"]:
        """Mask of the trials that count as failures."""
        raise NotImplementedError


@dataclass(frozen=True)
class NearMiss(Event):
    """In some context the answer falls short of the best arm by more than a tolerance.

    Attributes:
        tolerance: regret that is ignored, in units of utility.
    """

    tolerance: float

    def regret(self, bound: float, worst: float) -> float:
        """The tolerance, and the worst where it is exceeded."""
        return min(worst, self.tolerance + worst * min(bound, 1.0))

    def at(self, tolerance: float) -> "NearMiss":
        """A near miss of that tolerance."""
        return NearMiss(tolerance)

    def serves(self, tolerance: float) -> bool:
        """The regret that it ignores, held to be no larger."""
        return self.tolerance <= tolerance

    def failed(self, answered: Answered, rng: np.random.Generator) -> Bool[np.ndarray, " trial"]:
        """Those with more regret in some context."""
        return np.any(answered.regret > self.tolerance + answered.tie, axis=1)


@dataclass(frozen=True)
class Miss(Event):
    """In some context the answer is no best arm."""

    def regret(self, bound: float, worst: float) -> float:
        """The worst, where one is missed."""
        return worst * min(bound, 1.0)

    def failed(self, answered: Answered, rng: np.random.Generator) -> Bool[np.ndarray, " trial"]:
        """Near misses of no tolerance."""
        return NearMiss(0.0).failed(answered, rng)


@dataclass(frozen=True)
class MeanRegret(Event):
    """The expected simple regret, in mean over contexts and in units of utility: judged as a share of the worst."""

    def share(self, bound: float, worst: float) -> float:
        """The share of the worst."""
        return bound / worst if worst > 0 else 1.0

    def regret(self, bound: float, worst: float) -> float:
        """The same event: it has no tolerance."""
        return min(bound, worst)

    def serves(self, tolerance: float) -> bool:
        """Whether it says something where so much regret is allowed: it promises that the mean is no more."""
        return tolerance > 0

    def target(self, delta: float, tolerance: float) -> float:
        """A mean of what is ignored in one answer."""
        return tolerance

    def failed(self, answered: Answered, rng: np.random.Generator) -> Bool[np.ndarray, " trial"]:
        """Each trial with the probability that is its share: as many in the mean, and independent."""
        return rng.random(len(answered.regret)) * answered.worst < answered.regret @ answered.weights


MISS = Miss()
