"""Chernoff exponents of one comparison: I with P(the estimate of arm i reaches the best arm's) <= exp(-lam I).

lam is the number of pulls that both estimates rest on, each pull on a query of its own, every pull weighing the same.
Blocks of one pull are never counted as independent: they share the query. With D the difference, in one pull, of the
best arm's block mean and arm i's (known costs included), E D = Delta:

* Hoeffding: Delta^2 / B^2 where the two prompts have independent queries, Delta^2 / (2 B^2) under any dependence
  (two scales of one prompt, common queries), with B the range of the random part.
* Bernstein: Delta^2 / (2 (Var D + M Delta / 3)) with M the largest amount by which a term can fall short of its mean.
* Chernoff: I = -log inf_{theta > 0} E exp(-theta D), from the law of a block's reward on every query. The best of the
  three, and the right exponent where D's law is exact. Two scales of one prompt share completions: their joint law is
  enumerated where it can be, for every size that a pull may have; elsewhere Cauchy-Schwarz given the query stands in
  for it, with one block each, which holds for every size (proofs.md, section 1).

Sources: Hoeffding (JASA 1963); Bernstein's inequality as in Boucheron, Lugosi and Massart (2013), section 2.8;
Chernoff's bound. Proofs of what is ours: theory/proofs.md, section 1.

    >>> from sim import envs
    >>> from theory import chernoff
    >>> found = chernoff.exponents(envs.get("two-arm").data)
    >>> bool(found.chernoff[0, 1, 0] > found.hoeffding[0, 1, 0])
    True
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from sim.envs.dataset import Dataset
from sim.utilities import tasks_of
from theory.exact import average, best_arms, values
from theory.hardness import clear_gaps
from theory.joint_laws import DifferenceLaw, difference_laws
from theory.reward_laws import Parts, parts_of, reward_range
from theory.rounding import rounding

BLOCKS = ("one", "all")
QUERIES = ("independent", "common")

_LARGEST_TILT = 30.0
"""Largest theta times range per part: beyond it the tables' rounding shows. Any theta gives a true bound."""
_STEPS = 16
"""Golden-section steps over log theta: leaves a relative error of about 1e-5 in I."""


class Exponent(np.ndarray):
    """An array of exponents that knows what it is of: a bound refuses one that does not fit it.

    Attributes:
        blocks: how much of a pull the estimates use, one of `BLOCKS`; "" where it is not known, as after arithmetic.
        queries: whether prompts see queries of their own, one of `QUERIES`; "" where it is not known.
    """

    blocks: str
    queries: str

    def __array_finalize__(self, other: Any) -> None:
        """Results of arithmetic are no longer known to be what the operands were."""
        self.blocks = self.queries = ""

    @classmethod
    def of(cls, values: np.ndarray, blocks: str, queries: str) -> "Exponent":
        """Values that are known to be exponents of this kind."""
        found = values.view(cls)
        found.blocks, found.queries = blocks, queries
        return found


def fitting(values: np.ndarray, max_scale: int, blocks: str, queries: str, theorem: str) -> np.ndarray:
    """Exponents as a plain array.

    Raises:
        ValueError: for exponents that are known to be of another kind than the theorem assumes. With Nmax = 1 a pull is
            one block, and it is all.
    """
    if not isinstance(values, Exponent) or not values.queries:
        return np.asarray(values)
    if values.queries != queries or (values.blocks != blocks and max_scale > 1):
        raise ValueError(
            f"{theorem} assumes exponents of {queries} queries with blocks {blocks!r} (`chernoff.exponents`); "
            f"these are of {values.queries} queries with blocks {values.blocks!r}"
        )
    return np.asarray(values)


class Exponents(NamedTuple):
    """Exponents per pull against the best arm of each context, inf for the best arm itself and 0 at a tie.

    Attributes:
        gap: Delta.
        hoeffding, bernstein, chernoff: the three exponents, each an `Exponent` that knows its blocks and queries.
    """

    gap: Float64[np.ndarray, "context prompt scale"]
    hoeffding: Float64[np.ndarray, "context prompt scale"]
    bernstein: Float64[np.ndarray, "context prompt scale"]
    chernoff: Float64[np.ndarray, "context prompt scale"]


def hoeffding(
    gap: Float64[np.ndarray, "*arms"], width: Float64[np.ndarray, "*arms"] | float | int, dependent: bool = False
) -> Float64[np.ndarray, "*arms"]:
    """Delta^2 / B^2 for arms on independent queries, Delta^2 / (2 B^2) under any dependence; inf where B = 0 < Delta.

    Args:
        gap: Delta >= 0.
        width: range B of one estimate.
        dependent: whether the two estimates may depend on each other.
    """
    _at_least_zero(gap=gap, width=width)
    return _ratio(gap**2, (2.0 if dependent else 1.0) * np.asarray(width) ** 2 + 0 * gap)


def bernstein(
    gap: Float64[np.ndarray, "*arms"], variance: Float64[np.ndarray, "*arms"], shortfall: Float64[np.ndarray, "*arms"]
) -> Float64[np.ndarray, "*arms"]:
    """Delta^2 / (2 (V + M Delta / 3)); inf where V = M = 0 < Delta.

    Args:
        gap: Delta >= 0.
        variance: V = Var D of one pull.
        shortfall: M, the most by which one independent term can fall short of its mean.
    """
    _at_least_zero(gap=gap, variance=variance, shortfall=shortfall)
    return _ratio(gap**2, 2 * (variance + shortfall * gap / 3))


def _at_least_zero(**given: Any) -> None:
    for name, numbers in given.items():
        if not np.all(np.asarray(numbers) >= 0):
            raise ValueError(f"{name} holds a negative number or a NaN; it must be >= 0 everywhere")


def exponents(
    data: Dataset,
    ids: Int[np.ndarray, " id"] | None = None,
    *,
    blocks: str = "one",
    queries: str = "independent",
    simulated: bool = False,
    estimator: str = "blocks",
) -> Exponents:
    """Exponents of every comparison with the best arm, in every context.

    Args:
        data: a finite environment whose strategy has one aggregate.
        ids: the queries of the split; all queries when None.
        blocks: how much of a pull an estimate uses. "one" block of each arm's scale is what every pull in PSST
            offers at least; "all" floor(Nmax / k) blocks where every pull has Nmax completions. U-statistics over
            the same completions only do better.
        queries: "independent" per prompt, or "common" to all prompts, pull by pull.
        simulated: whether the rival counts as winning where its estimate, as the simulator rounds, may: exponents are
            then those of D less what rounding can make up for.
        estimator: whose rounding that is, "blocks" or "subsets"; exact exponents are the same.

    Raises:
        ValueError: for an unknown option or a strategy that mixes aggregates.
    """
    for given, allowed, name in ((blocks, BLOCKS, "blocks"), (queries, QUERIES, "queries")):
        if given not in allowed:
            raise ValueError(f"{name} is {given!r}; allowed are {', '.join(allowed)}")
    tasks = tasks_of(data.objective_weights)
    laws = {task: parts_of(data, task, ids) for task in set(tasks.index)}
    value = values(data, ids)
    low, high = reward_range(data, ids)
    gap, (best_prompt, best_scale) = clear_gaps(value), best_arms(value)
    slack = [blur.width for blur in rounding(data, estimator)] if simulated else [0.0] * data.num_contexts
    num_blocks = _blocks(data.max_scale, blocks)
    cost = data.cost_weights[:, None] * data.costs
    found = [
        _context_exponents(
            laws[tasks.index[c]],
            tasks.factor[c],
            num_blocks,
            cost[c][:, None] * np.arange(1, data.max_scale + 1),
            gap[c],
            (int(best_prompt[c]), int(best_scale[c]) - 1),
            (low[c], high[c]),
            queries == "common",
            difference_laws(data, tasks.index[c], ids, int(best_prompt[c]), int(best_scale[c])),
            blocks == "all",
            slack[c],
        )
        for c in range(data.num_contexts)
    ]
    found_gap, *kinds = (np.stack(part) for part in zip(*found, strict=True))
    return Exponents(found_gap, *(Exponent.of(kind, blocks, queries) for kind in kinds))


def minimum_log_mgf(
    log_mgf: Callable[[Float64[np.ndarray, "*arms"]], Float64[np.ndarray, "*arms"]],
    guess: Float64[np.ndarray, "*arms"],
    largest: Float64[np.ndarray, "*#arms"] | float,
) -> Float64[np.ndarray, "*arms"]:
    """Smallest value of convex functions with log_mgf(0) = 0, by golden section over log theta; at most 0.

    Searches theta within a factor of 10 of the guess and up to `largest`. Values anywhere are upper bounds of the
    minimum, so that the result is safe wherever the search ends.
    """
    golden = (np.sqrt(5) - 1) / 2
    upper = np.log(np.minimum(guess * 10, largest))
    lower = np.log(np.minimum(guess / 10, largest / 2))
    left, right = upper - golden * (upper - lower), lower + golden * (upper - lower)
    at_left, at_right = log_mgf(np.exp(left)), log_mgf(np.exp(right))
    smallest = np.minimum(np.minimum(at_left, at_right), log_mgf(np.exp(upper)))
    for _ in range(_STEPS):
        down = at_left < at_right
        lower, upper = np.where(down, lower, left), np.where(down, right, upper)
        fresh = np.where(down, upper - golden * (upper - lower), lower + golden * (upper - lower))
        at_fresh = log_mgf(np.exp(fresh))
        left, right = np.where(down, fresh, right), np.where(down, left, fresh)
        at_left, at_right = np.where(down, at_fresh, at_right), np.where(down, at_left, at_fresh)
        smallest = np.minimum(smallest, at_fresh)
    return np.minimum(smallest, 0.0)


def worst_exponent(laws: Sequence[DifferenceLaw]) -> float:
    """Largest I with E exp(-theta D) <= exp(-I) at one theta for every law of D."""
    mean = min(float(values @ chance) for values, chance in laws)
    spread = max(float(((values - mean) ** 2) @ chance) for values, chance in laws)
    span = max(float(np.ptp(values)) for values, _ in laws)
    if mean <= 0 or span == 0:
        return 0.0 if mean <= 0 else math.inf

    def log_worst(theta: np.ndarray) -> np.ndarray:
        return np.max([_log_expectation(-theta[:, None] * values, chance) for values, chance in laws], axis=0)

    guess = np.array([mean / max(spread, 1e-300)])
    return float(-minimum_log_mgf(log_worst, np.minimum(guess, _LARGEST_TILT / span), _LARGEST_TILT / span)[0])


def _log_expectation(power: np.ndarray, chance: np.ndarray) -> np.ndarray:
    top = power.max(axis=1, keepdims=True)
    return np.log(np.exp(power - top) @ chance) + top[:, 0]


def _context_exponents(
    law: Parts,
    factor: float,
    num_blocks: np.ndarray,
    cost: np.ndarray,
    gap: np.ndarray,
    best: tuple[int, int],
    reward: tuple[float, float],
    common: bool,
    joint: dict[tuple[int, int], DifferenceLaw] | None,
    largest_pull: bool,
    slack: float,
) -> tuple[np.ndarray, ...]:
    """Gap, Hoeffding, Bernstein and Chernoff exponents (prompt, scale) of one context."""
    low, high = reward
    same = np.zeros(gap.shape, bool)
    same[best[0]] = True  # the best arm's own prompt: shared completions
    dependent = same | common
    parts = law.parts * num_blocks
    mean = np.einsum("pqa,pqsa->pqs", law.support, law.probs)
    within = np.maximum(np.einsum("pqa,pqsa->pqs", law.support**2, law.probs) - mean**2, 0) / parts * factor**2
    mean = mean * factor
    overall = average(mean, law.weight)
    between = mean - overall[:, None]
    own_within, own_between = (table[best[0], :, best[1]][None, :, None] for table in (within, between))
    total = average(between**2 + within, law.weight)
    own_total = total[best]
    shared = np.where(
        same[:, None],
        (own_between - between) ** 2 + (np.sqrt(own_within) + np.sqrt(within)) ** 2,
        (own_between - between) ** 2 + own_within + within,
    )
    variance = np.where(dependent, average(shared, law.weight), own_total + total)
    own_shortfall, shortfall = overall[best] - low, high - overall
    shortfall = np.where(dependent, own_shortfall + shortfall, np.maximum(own_shortfall, shortfall))
    shortfall = np.maximum(shortfall, 0.0)  # rounding
    ahead = np.maximum(gap - slack, 0.0)
    flat = hoeffding(ahead, high - low)
    flat = np.where(dependent, flat / 2, flat)
    bern = bernstein(ahead, variance, shortfall)

    own = Parts(law.support[best[0]][None], law.probs[best[0]][None, :, best[1] : best[1] + 1], law.parts, law.weight)
    own_parts = parts[best[1]]
    shift = cost - cost[best] - slack
    weight = law.weight[:, None]

    def difference(theta: np.ndarray) -> np.ndarray:
        share = np.where(same, 0.5, 1.0)  # Cauchy-Schwarz: square roots of mgfs at twice the tilt
        tilt = theta * factor / share
        mine = share[:, None] * own_parts * log_mgf(own, -tilt / own_parts)
        theirs = share[:, None] * parts * log_mgf(law, tilt / parts)
        joint = log_mean(mine + theirs, weight)
        apart = log_mean(mine, weight) + log_mean(theirs, weight)
        return np.where(dependent, joint, apart) - theta * shift

    exact = np.maximum(flat, bern)
    if high > low:
        largest = _LARGEST_TILT * np.minimum(own_parts, parts) / (high - low) / 2
        guess = _ratio(ahead, variance)
        guess = np.where((guess > 0) & np.isfinite(guess), guess, largest)
        exact = np.maximum(exact, -minimum_log_mgf(difference, guess, largest))
    for scale in range(1, len(num_blocks) + 1):
        if joint and scale != best[1] + 1:
            pulls = [len(num_blocks)] if largest_pull else range(max(scale, best[1] + 1), len(num_blocks) + 1)
            laws = [
                (factor * values + shift[best[0], scale - 1], chance)
                for values, chance in (joint[n, scale] for n in pulls)
            ]
            exact[best[0], scale - 1] = max(exact[best[0], scale - 1], worst_exponent(laws))
    found = [np.where(ahead > 0, one, 0.0) for one in (flat, bern, exact)]
    for one in found:
        one[best] = np.inf
    return gap, *found


def log_mgf(law: Parts, tilt: np.ndarray) -> np.ndarray:
    """Logarithm of E exp(tilt * part) for tilts (prompt, scale), as (prompt, query, scale)."""
    power = tilt[:, None, :, None] * law.support[:, :, None, :]
    probs = np.broadcast_to(law.probs, power.shape)
    power = np.where(probs > 0, power, -np.inf)  # an impossible value must not set the scale
    top = power.max(axis=-1, keepdims=True)
    mgf = np.einsum("pqsa,pqsa->pqs", probs, np.exp(power - top))
    return np.log(mgf) + top[..., 0]


def log_mean(log_values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Logarithm of the mean over queries of exp(log_values), axis 1."""
    top = log_values.max(axis=1, keepdims=True)
    return np.log((np.exp(log_values - top) * weight).sum(axis=1)) + top[:, 0]


def _blocks(max_scale: int, blocks: str) -> np.ndarray:
    scales = np.arange(1, max_scale + 1)
    return max_scale // scales if blocks == "all" else np.ones_like(scales)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient of numbers >= 0: inf for x / 0 and 0 for 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator > 0, numerator / denominator, 0.0)
