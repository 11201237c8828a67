"""Every guarantee that is put to the test, in one registry: what it bounds and how it is computed.

To add a bound: write a function of a `Case` and a budget, and add one entry to `CLAIMS`. A ValueError from it says that
an assumption does not hold on that world: the bound is then not part of the table there.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sim.envs.dataset import Dataset
from theory import bounds, chernoff
from theory.chernoff import Exponents
from theory.lcpb import lcpb
from theory.problem import problem_of
from theory.runs.halving import MAX_ARMS, halving_error, halving_pulls, top_set_law

LCPB_ARMS, LCPB_BUDGET = 64, 10_000
"""Most arms and completions for which LCPB is computed here where Nmax > 1: beyond them it takes minutes."""
LCPB_LONGEST = 1_000_000
"""Most completions where Nmax = 1: its laws hold a number per pull."""


class Case:
    """One world, with what bounds need to know of it computed once.

    Attributes:
        data: the world.
        problem: its values and ranges, with what the simulator's rounding may change: bounds here are held against
            simulated runs, and allow for it.
    """

    def __init__(self, data: Dataset) -> None:
        self.data, self.problem = data, problem_of(data, simulated=True)
        self._exponents: dict[tuple[str, str], Exponents] = {}

    def exponents(self, blocks: str = "one", queries: str = "independent") -> Exponents:
        """Exponents of all comparisons, see `theory.chernoff.exponents`."""
        if (blocks, queries) not in self._exponents:
            self._exponents[blocks, queries] = chernoff.exponents(
                self.data, blocks=blocks, queries=queries, simulated=True
            )
        return self._exponents[blocks, queries]

    def lcpb(self, budget: int, fresh: bool, survivors: str = "worst") -> float:
        """The LCPB bound, where it takes seconds; it says nothing where best arms tie."""
        if not self.problem.profile.all():
            return 1.0
        if budget > LCPB_LONGEST:
            raise ValueError(f"{self.data.name}: LCPB is computed for up to {LCPB_LONGEST} completions")
        if self.problem.max_scale > 1 and (self.problem.num_arms > LCPB_ARMS or budget > LCPB_BUDGET):
            raise ValueError(
                f"{self.data.name}: LCPB is computed for up to {LCPB_ARMS} arms and {LCPB_BUDGET} completions"
            )
        return lcpb.lcpb(self.data, budget, fresh=fresh, survivors=survivors, simulated=True)


class Claim(NamedTuple):
    """A bound on the probability that a rule misses the best arm in some context.

    Attributes:
        rule: the algorithm, a name in `theory.checks.rules.RULES`.
        of: the bound at a budget.
        ours: whether it is a result of this project.
    """

    rule: str
    of: Callable[[Case, int], float]
    ours: bool


def printed(case: Case, budget: int) -> float:
    """Theorem 1 as printed."""
    return bounds.theorem1_printed(case.problem, budget)


CLAIMS: dict[str, Claim] = {
    "theorem 1 as printed": Claim("psst, fresh", printed, False),
    "theorem 1 as printed, accumulated": Claim("psst", printed, False),
    "theorem 1 corrected": Claim("psst, fresh", lambda c, t: bounds.theorem1_corrected(c.problem, t), True),
    "theorem A, Hoeffding": Claim(
        "psst, fresh", lambda c, t: bounds.theorem_a(c.problem, c.exponents().hoeffding, t), True
    ),
    "theorem A, Bernstein": Claim(
        "psst, fresh", lambda c, t: bounds.theorem_a(c.problem, c.exponents().bernstein, t), True
    ),
    "theorem A, Chernoff": Claim(
        "psst, fresh", lambda c, t: bounds.theorem_a(c.problem, c.exponents().chernoff, t), True
    ),
    "LCPB": Claim("psst, fresh", lambda c, t: c.lcpb(t, fresh=True), True),
    "LCPB, exact survivor law": Claim("psst, fresh", lambda c, t: c.lcpb(t, fresh=True, survivors="law"), True),
    "LCPB, accumulated": Claim("psst", lambda c, t: c.lcpb(t, fresh=False), True),
    "theorem B, blocks": Claim(
        "psst", lambda c, t: bounds.theorem_b_blocks(c.problem, c.exponents().chernoff, t), True
    ),
    "theorem B, Chernoff": Claim(
        "psst, equal pulls", lambda c, t: bounds.theorem_b(c.problem, c.exponents().chernoff, t), True
    ),
    "theorem B, closed": Claim("psst, equal pulls", lambda c, t: bounds.theorem_b_closed(c.problem, t), True),
    "theorem C, Chernoff": Claim(
        "psst, common queries",
        lambda c, t: bounds.theorem_c(c.problem, c.exponents(queries="common").chernoff, t),
        True,
    ),
    "theorem D, Chernoff": Claim(
        "prompt halving", lambda c, t: bounds.theorem_d(c.problem, c.exponents("all").chernoff, t), True
    ),
    "uniform, Chernoff": Claim(
        "uniform", lambda c, t: bounds.uniform(c.problem, c.exponents("all").chernoff, t), False
    ),
    "Sequential Halving": Claim("psst, fresh", lambda c, t: bounds.sequential_halving(c.problem, t), False),
    "Successive Rejects": Claim(
        "successive rejects", lambda c, t: bounds.successive_rejects(c.problem, t, whole=True), False
    ),
    "UCB-E": Claim("ucb-e", lambda c, t: bounds.ucb_e(c.problem, t), False),
}
"""Name -> guarantee."""


class Exact(NamedTuple):
    """An exact failure probability, and its parts by round of failure where there are rounds."""

    total: float
    by_round: np.ndarray


def exact_failure(rule: str, data: Dataset, budget: int) -> Exact | None:
    """Exact failure probability of a rule, None where it is not known: Bernoulli arms, fresh halving or one batch.

    Nor is it known where there are so many pulls that the simulator's rounding makes different means equal.
    """
    means = bernoulli_means(data)
    if means is None or len(means) > MAX_ARMS or rule not in ("psst, fresh", "uniform"):
        return None
    problem = case_of(data).problem
    pulls = halving_pulls(len(means), budget, spread=True) if rule == "psst, fresh" else (budget // len(means),)
    if problem.slack[0] * max(pulls) >= problem.width[0] or not problem.blurs[0].keeps_ties:
        return None
    if rule == "psst, fresh":
        found = halving_error(means, pulls)
        return Exact(found.total, found.by_round)
    total = one_batch_error(means, pulls[0])
    return Exact(total, np.array([total]))


def bernoulli_means(data: Dataset) -> tuple[float, ...] | None:
    """Success probabilities, where pulls are single draws of rewards with two values in one context."""
    if (
        data.num_contexts > 1
        or data.max_scale > 1
        or data.probs.shape[2] != 2
        or np.any(data.cost_weights * data.costs)
    ):
        return None
    if data.values is None or data.aggregate[0] == "mv" or len(data.aggregate) > 1:
        return None
    low, high = data.values[0, 0, :, 0]
    same = (data.values[..., 0] == (low, high)).all()
    success = data.probs[:, :, 1] @ data.query_distribution
    if not same or low == high:
        return None
    return tuple((success if high > low else 1 - success).tolist())


def one_batch_error(means: tuple[float, ...], pulls: int) -> float:
    """Exact probability that the largest of the arms' means over so many pulls each is not a best arm's."""
    from scipy import stats

    success = np.array(means)
    law = stats.binom.pmf(np.arange(pulls + 1), pulls, success[:, None])
    return float(top_set_law(law, 1)[success < success.max()].sum())


@lru_cache(maxsize=8)
def case_of(data: Dataset) -> Case:
    """The case of a world, kept."""
    return Case(data)


def values_of(case: Case, budget: int) -> dict[str, float | str]:
    """Every guarantee at one budget: a number, or the sentence that says why it has none here."""
    found: dict[str, float | str] = {}
    for name, claim in CLAIMS.items():
        try:
            found[name] = claim.of(case, budget)
        except ValueError as error:
            found[name] = str(error)
    return found
