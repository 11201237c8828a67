"""Every guarantee that is put to the test, in one registry: what it bounds and how it is computed.

To add a bound on misses, near misses or the mean regret: write a function of a `Case` and a budget, and add one entry
to `CLAIMS`, or `add` it from elsewhere. It is then part of `iapo verify`, of `iapo plan` and of the figures `bounds`
and `regret`. A ValueError from it says that an assumption does not hold on that world: it is then in no table there.
NaN or a negative number is refused.
"""

import copy
import math
from collections.abc import Callable
from enum import Enum
from functools import cached_property, lru_cache, partial
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from sim import mistakes
from sim.envs.dataset import Dataset
from theory import bounds, chernoff, exact, near_misses
from theory.checks import rules
from theory.checks.events import MISS, Event, MeanRegret, NearMiss
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
        enough: a probability above which it does not matter how large a bound is: what takes long stops there.
    """

    def __init__(self, data: Dataset) -> None:
        self.data, self.problem = data, problem_of(data, simulated=True)
        self.enough = math.inf
        self._exponents: dict[tuple[str, str, str], Exponents] = {}

    @cached_property
    def worst(self) -> float:
        """The largest gap of a context, mean over contexts: no answer has more regret."""
        return float(exact.gaps(exact.values(self.data)).max(axis=(1, 2)) @ self.data.context_distribution)

    def exponents(self, blocks: str = "one", queries: str = "independent", estimator: str = "blocks") -> Exponents:
        """Exponents of all comparisons, see `theory.chernoff.exponents`."""
        how = blocks, queries, estimator
        if how not in self._exponents:
            self._exponents[how] = chernoff.exponents(
                self.data, blocks=blocks, queries=queries, simulated=True, estimator=estimator
            )
        return self._exponents[how]

    def paired(self, replacement: bool = True) -> Float64[np.ndarray, "context prompt scale"]:
        """Exponents of all subsets of pulls at Nmax on common queries.

        Raises:
            ValueError: without replacement, for queries that are not equally likely.
        """
        if not replacement and self.data.query_weights is not None:
            raise ValueError(f"{self.data.name}: without replacement, the bound assumes equally likely queries")
        return self.exponents("all", "common", "subsets").chernoff

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
        known = lcpb.Known(self.problem, lambda blocks: self.exponents(blocks).chernoff)
        how: dict[str, Any] = {"survivors": survivors, "simulated": True, "enough": self.enough, "known": known}
        return lcpb.lcpb(self.data, budget, fresh=fresh, **how)

    def up_to(self, enough: float) -> "Case":
        """The same world, with all that is known of it, where larger bounds than this are as good as one another."""
        found = copy.copy(self)
        found.enough = enough
        return found


class Status(Enum):
    """Reason why a bound should hold."""

    STATED = "stated, and no more: verification tells"
    CITED = "proved in the literature"
    PROVED = "proved by this project"


class Claim(NamedTuple):
    """A bound on how a rule fails.

    Attributes:
        rule: the algorithm, a name in `theory.checks.rules.RULES`.
        of: the bound at a budget: a probability, or of `MeanRegret` a regret.
        status: why it should hold.
        event: what it bounds.
        asks: whether `of` takes as a third argument how much regret may be ignored; where that is not named, as in
            `iapo verify`, the claim then says nothing, and `event` is that of a tolerance of 0.
        drawn: whether the figures `bounds` and `regret` draw it; tables hold all.

    Example:
        >>> from theory import Claim
        >>> claim = Claim("uniform", lambda case, budget: 2.0 ** -(budget / case.problem.num_arms))
        >>> claim.rule, claim.status.name
        ('uniform', 'STATED')
    """

    rule: str
    of: Callable[..., float]
    status: Status = Status.STATED
    event: Event = MISS
    asks: bool = False
    drawn: bool = True

    def at(self, tolerance: float) -> "Claim":
        """The claim where so much regret may be ignored."""
        if not self.asks:
            return self
        return self._replace(of=partial(self.of, tolerance=tolerance), event=self.event.at(tolerance), asks=False)


def printed(case: Case, budget: int) -> float:
    """Theorem 1 as printed."""
    return bounds.theorem1_printed(case.problem, budget)


def uniform_near(case: Case, budget: int, tolerance: float) -> float:
    """The union bound over the arms that fall short by more: the answer's estimate has reached the best arm's."""
    given = case.exponents("all")
    return bounds.uniform(case.problem, np.where(given.gap > tolerance, given.chernoff, np.inf), budget)


def theorem_e(rule: str, data: str) -> dict[str, Claim]:
    """Theorem E on near misses, and on the mean regret, of a rule with such data (`near_misses.DATA`)."""

    def near(case: Case, budget: int, tolerance: float) -> float:
        return near_misses.near_miss(case.problem, budget, tolerance, data=data)

    def mean(case: Case, budget: int, tolerance: float) -> float:
        return near_misses.mean_regret(case.problem, budget, tolerance, data=data)

    return {
        f"theorem E, {data}": Claim(rule, near, Status.PROVED, NearMiss(0.0), asks=True, drawn=False),
        f"theorem E, {data}, mean regret": Claim(rule, mean, Status.PROVED, MeanRegret(), asks=True, drawn=False),
    }


CLAIMS: dict[str, Claim] = {
    "theorem 1 as printed": Claim("psst, fresh", printed),
    "theorem 1 as printed, accumulated": Claim("psst", printed),
    "theorem 1 corrected": Claim("psst, fresh", lambda c, t: bounds.theorem1_corrected(c.problem, t), Status.PROVED),
    "theorem A, Hoeffding": Claim(
        "psst, fresh",
        lambda c, t: bounds.theorem_a(c.problem, c.exponents().hoeffding, t),
        Status.PROVED,
        drawn=False,
    ),
    "theorem A, Bernstein": Claim(
        "psst, fresh",
        lambda c, t: bounds.theorem_a(c.problem, c.exponents().bernstein, t),
        Status.PROVED,
        drawn=False,
    ),
    "theorem A, Chernoff": Claim(
        "psst, fresh", lambda c, t: bounds.theorem_a(c.problem, c.exponents().chernoff, t), Status.PROVED
    ),
    "LCPB": Claim("psst, fresh", lambda c, t: c.lcpb(t, fresh=True), Status.PROVED),
    "LCPB, exact survivor law": Claim(
        "psst, fresh", lambda c, t: c.lcpb(t, fresh=True, survivors="law"), Status.PROVED, drawn=False
    ),
    "LCPB, accumulated": Claim("psst", lambda c, t: c.lcpb(t, fresh=False), Status.PROVED),
    "theorem B, blocks": Claim(
        "psst", lambda c, t: bounds.theorem_b_blocks(c.problem, c.exponents().chernoff, t), Status.PROVED, drawn=False
    ),
    "theorem B, Chernoff": Claim(
        "psst, equal pulls",
        lambda c, t: bounds.theorem_b(c.problem, c.exponents().chernoff, t),
        Status.PROVED,
        drawn=False,
    ),
    "theorem B, closed": Claim(
        "psst, equal pulls", lambda c, t: bounds.theorem_b_closed(c.problem, t), Status.PROVED, drawn=False
    ),
    "theorem C, Chernoff": Claim(
        "psst, common queries",
        lambda c, t: bounds.theorem_c(c.problem, c.exponents(queries="common").chernoff, t),
        Status.PROVED,
        drawn=False,
    ),
    "theorem D, Chernoff": Claim(
        "prompt halving",
        lambda c, t: bounds.theorem_d(c.problem, c.exponents("all").chernoff, t),
        Status.PROVED,
        drawn=False,
    ),
    "theorem D, common queries": Claim(
        "prompt halving, common queries",
        lambda c, t: bounds.theorem_d_common(c.problem, c.paired(), t),
        Status.PROVED,
        drawn=False,
    ),
    "theorem D, no query twice": Claim(
        "prompt halving, no query twice",
        lambda c, t: bounds.theorem_d_common(c.problem, c.paired(replacement=False), t, replacement=False),
        Status.PROVED,
        drawn=False,
    ),
    "theorem F": Claim(
        "proven racing", lambda c, t: bounds.theorem_f(c.problem, c.paired(), t), Status.PROVED, drawn=False
    ),
    "theorem F, no query twice": Claim(
        "proven racing, no query twice",
        lambda c, t: bounds.theorem_f(c.problem, c.paired(replacement=False), t),
        Status.PROVED,
        drawn=False,
    ),
    "uniform, Chernoff": Claim(
        "uniform",
        lambda c, t: bounds.uniform(c.problem, c.exponents("all").chernoff, t),
        Status.CITED,
        drawn=False,
    ),
    "Sequential Halving": Claim(
        "psst, fresh", lambda c, t: bounds.sequential_halving(c.problem, t), Status.CITED, drawn=False
    ),
    "Successive Rejects": Claim(
        "successive rejects",
        lambda c, t: bounds.successive_rejects(c.problem, t, whole=True),
        Status.CITED,
        drawn=False,
    ),
    "UCB-E": Claim("ucb-e", lambda c, t: bounds.ucb_e(c.problem, t), Status.CITED, drawn=False),
    "uniform, near misses": Claim("uniform", uniform_near, Status.CITED, NearMiss(0.0), asks=True, drawn=False),
    **theorem_e("psst, fresh", "fresh"),
    **theorem_e("psst", "blocks"),
    **theorem_e("psst, equal pulls", "pulls"),
}
"""Name -> guarantee."""


def add(name: str, claim: Claim) -> None:
    """Add a guarantee of another module or file to the registry; once more the same one changes nothing.

    Raises:
        ValueError: the name belongs to another one, or the rule has none.
    """
    if CLAIMS.get(name, claim) != claim:
        raise ValueError(f"claim {name!r} is there already, with another bound; give yours a name of its own")
    if claim.rule not in rules.RULES:
        raise ValueError(f"claim {name!r} is about the rule {claim.rule!r}; known are {'; '.join(rules.RULES)}")
    CLAIMS[name] = claim


def at(tolerance: float = 0.0) -> dict[str, Claim]:
    """All guarantees where so much regret may be ignored; at 0, those that need to be told are left out."""
    return {name: claim.at(tolerance) for name, claim in CLAIMS.items() if tolerance > 0 or not claim.asks}


def promise(name: str, claim: Claim, case: Case, budget: int) -> float:
    """A guarantee at one budget, held to be a number from 0 on; 1 or more, of a probability, says nothing.

    Args:
        name: that of the claim, for messages.
        claim: the guarantee.
        case: the world.
        budget: completions T.

    Raises:
        ValueError: an assumption does not hold on this world.
        Mistake: what the bound gives is no such number.
    """
    found: Any = claim.of(case, budget)
    number = isinstance(found, Real) or getattr(getattr(found, "dtype", None), "kind", "") in ("i", "u", "f")
    try:
        value = float(found) if number and not isinstance(found, bool) else math.nan
    except (TypeError, ValueError, OverflowError):  # several numbers, or one that is too large
        value = math.nan
    if not value >= 0:
        where = f"{name} at T = {budget} on {case.data.name}"
        raise mistakes.gave(where, claim.of, found, "a bound is a number of at least 0")
    return value


class ExactError(NamedTuple):
    """An exact failure probability, and its parts by round of failure where there are rounds."""

    total: float
    by_round: np.ndarray


def exact_failure(rule: str, data: Dataset, budget: int) -> ExactError | None:
    """Exact failure probability of a rule, None where it is not known: Bernoulli arms, fresh halving or one batch.

    Nor is it known where there are so many pulls that the simulator's rounding makes different means equal.
    """
    if not exactly_known(rule, data, budget):
        return None
    means = bernoulli_means(data)
    assert means is not None
    pulls_of, law = _EXACT[rule]
    return law(means, pulls_of(len(means), budget))


def exactly_known(rule: str, data: Dataset, budget: int) -> bool:
    """Whether `exact_failure` knows a rule's failure probability; takes no time."""
    means = bernoulli_means(data)
    if means is None or len(means) > MAX_ARMS or rule not in _EXACT:
        return False
    problem, pulls = case_of(data).problem, _EXACT[rule][0](len(means), budget)
    return bool(problem.slack[0] * max(pulls) < problem.width[0]) and problem.blurs[0].keeps_ties


def _halving(means: tuple[float, ...], pulls: tuple[int, ...]) -> ExactError:
    found = halving_error(means, pulls)
    return ExactError(found.total, found.by_round)


def _one_batch(means: tuple[float, ...], pulls: tuple[int, ...]) -> ExactError:
    return ExactError(one_batch_error(means, pulls[0]), np.zeros(0))


_EXACT: dict[str, tuple[Callable[[int, int], tuple[int, ...]], Callable[..., ExactError]]] = {
    "psst, fresh": (partial(halving_pulls, spread=True), _halving),
    "uniform": (lambda arms, budget: (budget // arms,), _one_batch),
}
"""Rule -> pulls of every arm in each round, of a number of arms and a budget, and the law of means and pulls."""


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
    for name, claim in at().items():
        try:
            found[name] = promise(name, claim, case, budget)
        except mistakes.Mistake:
            raise
        except ValueError as error:
            found[name] = str(error)
    return found
