"""Budget planning: the budget that each guarantee asks for, and the one that simulation says suffices.

Three aims. Miss: some context's answer is not a best arm, the event that guarantees are about. Near miss: some
context's simple regret exceeds epsilon, the aim that makes sense where the best arms are near ties. Mean regret: the
expected simple regret, averaged over contexts, exceeds epsilon. All are about one query law: that of all queries.

    >>> from theory import plan
    >>> plan.smallest_budget(lambda budget: 100 / budget, 0.5)
    200
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sim import evaluate, mistakes
from sim.comparison import contenders
from sim.core import Algorithm
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.envs.sources import fixed
from theory import exact
from theory.checks import claims
from theory.checks.claims import Case, Claim
from theory.checks.verdicts import FEW, clopper_pearson

LARGEST = 10**16
"""No budget beyond this is looked for."""
MOST = 1_000_000
"""Largest budget that simulation tries by default."""
CONFIDENCE = 0.99
"""With which all intervals that a search may look at cover together."""
AIMS = ("miss", "near miss", "mean regret")
_COMPLETIONS = 100_000_000
_MOST_TRIALS = 8192
_LEAST_TRIALS = 64
_LOOKS = ((16, 1 / 8), (4, 1 / 8), (1, 3 / 4))
"""Looks of a search at a budget: trials are all of them over this, and the interval has this part of the level."""
_CLOSE = 1.1


class GuaranteedBudget(NamedTuple):
    """Budget that one guarantee asks for.

    Attributes:
        claim: its name.
        rule: the algorithm that it is about.
        budget: smallest budget found (to 1 %) at which it promises enough; None where there is none, as where gaps lie
            below what simulated estimates resolve (`Problem.unresolved`).
        bound: what it promises there, or at a given budget; NaN where it says nothing.
        note: why there is none.
    """

    claim: str
    rule: str
    budget: int | None
    bound: float
    note: str


class Probe(NamedTuple):
    """Simulation at one budget: per aim an estimate with its interval.

    Intervals are simultaneous, by Bonferroni: with confidence `CONFIDENCE` those of all aims cover, and in a search
    those of all looks at all budgets that it might have tried (`reachable`). Those of probabilities are Clopper and
    Pearson's, which are exact. Of the mean, the upper end is exact below `FEW` misses and at every look but the last:
    no regret exceeds the largest gap, of which it takes the upper end of a miss. At the last look it is approximate,
    for misses that cost as much as those seen (`mean_end`); the lower end is normal.

    A search stops at the first look that decides. What it saw there leans towards the decision: the intervals allow
    for that, the estimates do not.

    Attributes:
        budget: completions T.
        trials: runs.
        value: probability of a miss, probability of a near miss, mean regret.
        low: lower ends.
        high: upper ends.
    """

    budget: int
    trials: int
    value: tuple[float, float, float]
    low: tuple[float, float, float]
    high: tuple[float, float, float]


class SimulatedBudget(NamedTuple):
    """Budget that simulation finds for one aim.

    Attributes:
        aim: one of `AIMS`.
        target: what is to be reached.
        fails: largest budget tried at which the interval lies above the target; None if at none.
        suffices: smallest budget tried, above that, from which on it lies below; None if it is not reached.
        probe: what was seen there, or at the largest budget tried.
    """

    aim: str
    target: float
    fails: int | None
    suffices: int | None
    probe: Probe


def asked(case: Case, delta: float, epsilon: float = 0.0) -> list[GuaranteedBudget]:
    """The budget that each guarantee asks for so that a miss (or near miss) has probability at most delta.

    A guarantee against misses is one against near misses. With a tolerance there are also some about those alone, and
    some on the mean regret, in mean over contexts: they ask for at most epsilon (`theory.checks.claims.at`).

    Args:
        case: the world.
        delta: in (0, 1).
        epsilon: regret that may be ignored.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; a probability strictly between 0 and 1 is needed")
    found = []
    for name, claim in _guarantees(epsilon).items():
        rule, target = claim.rule, claim.event.target(delta, epsilon)
        try:
            at = partial(claims.promise, name, claim, case.up_to(target))
            budget = smallest_budget(at, target, case.problem.num_arms + 1)
            bound = math.nan if budget is None else claims.promise(name, claim, case, budget)
            none = case.problem.unresolved or f"more than {LARGEST:.0e} completions"
            found.append(GuaranteedBudget(name, rule, budget, bound, "" if budget else none))
        except mistakes.Mistake:
            raise
        except ValueError as error:
            found.append(GuaranteedBudget(name, rule, None, math.nan, str(error)))
    return found


def promised(case: Case, budget: int, epsilon: float = 0.0) -> list[GuaranteedBudget]:
    """Promise of each guarantee at a budget.

    Args:
        case: the world.
        budget: completions T.
        epsilon: regret that may be ignored.
    """
    found = []
    for name, claim in _guarantees(epsilon).items():
        try:
            bound = claims.promise(name, claim, case, budget)
            found.append(
                GuaranteedBudget(name, claim.rule, budget, bound, case.problem.unresolved if bound >= 1 else "")
            )
        except mistakes.Mistake:
            raise
        except ValueError as error:
            found.append(GuaranteedBudget(name, claim.rule, None, math.nan, str(error)))
    return found


def smallest_budget(of: Callable[[int], float], target: float, least: int = 1, largest: int = LARGEST) -> int | None:
    """Smallest budget, to 1 %, at which a bound that falls with the budget is at most a target; None up to `largest`.

    Args:
        of: the bound at a budget.
        target: what is wanted.
        least: where to begin: several guarantees need more pulls than arms.
        largest: where to give up.
    """
    low, high = least - 1, least
    while of(high) > target:
        low, high = high, 2 * high
        if high > largest:
            return None
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if of(middle) <= target else (middle, high)
    return high


class Simulation:
    """One algorithm on one world, simulated at one budget after another, each once.

    Attributes:
        data: the world; all its queries are the query law.
        algorithm: what is run.
        epsilon: regret that a near miss exceeds.
        seed: root of all randomness.
    """

    def __init__(
        self,
        data: Dataset,
        algorithm: Algorithm,
        epsilon: float,
        seed: int = 0,
        report: Callable[[Probe], None] | None = None,
    ) -> None:
        if not epsilon >= 0:
            raise ValueError(f"epsilon is {epsilon}; a regret of at least 0 is needed")
        runner.check_seed(seed)
        self._learner = contenders.Learner(algorithm)
        self.data, self.algorithm, self.epsilon, self.seed, self.report = data, algorithm, epsilon, seed, report
        self._source, self._values = fixed(data, 1.0).source, exact.values(data)
        self._spec = runner.spec_of(self._source)
        self._most = float(exact.gaps(self._values).max(axis=(1, 2)) @ data.context_distribution)
        self._seen: dict[int, _Seen] = {}
        self._many = False

    def probe(self, budget: int, intervals: int = len(AIMS), decides: Callable[[Probe], bool] | None = None) -> Probe:
        """Simulate a budget, with fewer trials the larger it is.

        Args:
            budget: completions T.
            intervals: how many are to cover together, looks not counted; by default those of this budget.
            decides: whether what was seen is enough: then there are several looks, each at more trials, the last at
                all, and none after one that decides. One look at all trials when None.
        """
        looks = ((1, 1.0),) if decides is None else _LOOKS
        before, found = self._seen.get(budget), None
        for part, share in looks:
            self._run(budget, part)
            found = self._judged(budget, intervals / share, last=part == 1)
            if decides is None or decides(found):
                break
        assert found is not None
        if self.report is not None and self._seen[budget] is not before:
            self.report(found)
        return found

    def find(self, aim: str, target: float, most: int = MOST) -> SimulatedBudget:
        """The budget that suffices for an aim: doubling, then halving the ratio of what fails to what suffices.

        A budget suffices where the interval lies below the target, and fails where it lies above. In between it is not
        known, and counts as not sufficient. Trials at a budget end as soon as that is decided.

        Args:
            aim: one of `AIMS`.
            target: what is to be reached.
            most: largest budget tried.

        Raises:
            ValueError: the algorithm needs more than `most`.
        """
        place = AIMS.index(aim)
        runner.check_budget(self.algorithm, self._spec, most)
        low = high = min(max(self.algorithm.min_budget(self._spec), self.data.num_prompts), most)
        possible = reachable(high, most)

        def decides(seen: Probe) -> bool:
            return seen.high[place] <= target or seen.low[place] > target

        probed: dict[int, Probe] = {}

        def suffices(budget: int) -> bool:
            probed[budget] = self.probe(budget, len(AIMS) * len(possible), decides)
            return probed[budget].high[place] <= target

        while not suffices(high) and high < most:
            low, high = high, min(2 * high, most)
        reached = suffices(high)
        while reached and not _close(low, high):
            middle = _between(low, high)
            low, high = (low, middle) if suffices(middle) else (middle, high)
        fails = [t for t, seen in probed.items() if seen.low[place] > target and (t < high or not reached)]
        return SimulatedBudget(aim, target, max(fails, default=None), high if reached else None, probed[high])

    @property
    def _about(self) -> str:
        return f"{type(self.algorithm).__name__} on {self.data.name}"

    def _rehearse(self, budget: int) -> None:
        """Refuse an algorithm of somebody else that cannot be run, at the first budget."""
        if self._learner.brought and not self._seen:
            self._learner.check_contract(self._about, runner.shape_of(self._source))
            numbers: dict[str, Any] = {"seed": self.seed, "trials": _LEAST_TRIALS, "chunk": None, "many": self._many}
            self._learner.rehearse(self._about, self._source, budget, **numbers)

    def _run(self, budget: int, part: int) -> None:
        """Simulate a budget until so many trials are there: all that it gets over `part`, in whole batches."""
        runner.check_budget(self.algorithm, self._spec, budget)
        most = int(np.clip(_COMPLETIONS // budget, _LEAST_TRIALS, _MOST_TRIALS))
        wanted = min(-(-most // (part * _LEAST_TRIALS)) * _LEAST_TRIALS, most)
        self._many = self._many or runner.many(most)  # and so from then on: larger budgets need no other program
        self._rehearse(budget)
        seen = self._seen.get(budget)
        first = 0 if seen is None else seen.trials
        if first < wanted:
            more = self._simulate(budget, first, wanted - first)
            self._seen[budget] = more if seen is None else seen.joined(more)

    def _simulate(self, budget: int, first: int, trials: int) -> "_Seen":
        numbers: dict[str, Any] = {"seed": self.seed, "trials": trials, "first": first}
        found = runner.run_trials(self._source, self.algorithm, budget, fused=self._many or None, **numbers)
        self._learner.check_answers(self._about, self._values.shape[1:], budget, found)
        scores = evaluate.score(found.prompt, found.scale, self._values[None], self.data.context_distribution)
        tie = evaluate.tolerance(self._values)
        missed = [(scores.context_regret > limit + tie).any(axis=1) for limit in (0.0, self.epsilon)]
        misses, near = (int(one.sum()) for one in missed)
        regret = scores.regret
        return _Seen(trials, misses, near, float(regret.mean()), float(regret.var()), float(regret.max()))

    def _judged(self, budget: int, intervals: float, last: bool) -> Probe:
        """What was seen at a budget, with intervals at the level of so many that cover together."""
        from scipy import special

        trials, misses, near_misses, mean, variance, largest = self._seen[budget]
        confidence = 1 - (1 - CONFIDENCE) / intervals
        (miss_low, miss_high), (near_low, near_high) = (
            clopper_pearson(k, trials, confidence) for k in (misses, near_misses)
        )
        half = -float(special.ndtri((1 - confidence) / 2)) * math.sqrt(variance / (trials - 1))
        # Few misses or trials are blind to regrets not seen: no mean exceeds that of all misses at their worst.
        mean_high = self._most * miss_high
        if last and misses >= FEW and largest > 0:
            mean_high = min(mean_high, mean_end(trials, mean, variance, largest, (1 - confidence) / 2))
        low, high = (miss_low, near_low, max(mean - half, 0.0)), (miss_high, near_high, mean_high)
        return Probe(budget, trials, (misses / trials, near_misses / trials, mean), low, high)


class _Seen(NamedTuple):
    """Trials at one budget: misses, near misses, and the regret's mean, mean squared deviation and largest value."""

    trials: int
    misses: int
    near_misses: int
    mean: float
    variance: float
    largest: float

    def joined(self, more: "_Seen") -> "_Seen":
        """With further trials."""
        trials = self.trials + more.trials
        share = more.trials / trials
        apart = more.mean - self.mean
        variance = (1 - share) * self.variance + share * more.variance + share * (1 - share) * apart**2
        misses, near_misses = self.misses + more.misses, self.near_misses + more.near_misses
        largest = max(self.largest, more.largest)
        return _Seen(trials, misses, near_misses, self.mean + share * apart, variance, largest)


def mean_end(trials: int, mean: float, variance: float, largest: float, tail: float) -> float:
    """Upper end of a mean of regrets, from a skewed law: a gamma interval, after Fay and Feuer (1997).

    The total is taken for a gamma variable with the mean and variance of what was seen and one more regret as large as
    the largest. Where few are not zero and those are equal, that is the exact end of a Poisson count. Else it is
    approximate, and blind to regrets larger than those seen: where 1 % of 8,192 regrets are .05 and .3 % are .2, the
    mean lies above it with 2.0 times the probability 1.7e-5 that it is meant to.

    Args:
        trials: how many regrets.
        mean: theirs.
        variance: their mean squared deviation.
        largest: the largest of them, above 0.
        tail: probability that the mean lies above the end.
    """
    from scipy import special

    total, spread = trials * mean + largest, trials * variance + largest**2
    return float(special.gammainccinv(total**2 / spread, tail)) * spread / total / trials


def reachable(least: int, most: int) -> frozenset[int]:
    """All budgets that a search from `least` to `most` can try, whatever it sees: known before it starts."""
    found = {least}
    low = least
    while low < most:
        high = min(2 * low, most)
        found |= {high, *_inside(low, high)}
        low = high
    return frozenset(found)


def _inside(low: int, high: int) -> set[int]:
    """All budgets that halving the ratio of two budgets can try."""
    if _close(low, high):
        return set()
    middle = _between(low, high)
    return {middle, *_inside(low, middle), *_inside(middle, high)}


def _close(low: int, high: int) -> bool:
    return high <= max(_CLOSE * low, low + 1)


def _between(low: int, high: int) -> int:
    return round(math.sqrt(low * high))


def _guarantees(epsilon: float) -> dict[str, Claim]:
    """What is known of misses; with a tolerance, also of near misses alone, and of the mean regret."""
    return {name: claim for name, claim in claims.at(epsilon).items() if claim.event.serves(epsilon)}
