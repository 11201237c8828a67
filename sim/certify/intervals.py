"""Confidence intervals for means over queries, each by itself: Student's t, made to cover where few queries decide.

* Rewards of a known range, as of votes, lie between two ends. Two made-up queries at either end join those that were
  met (Agresti and Coull, 1998, for shares; Agresti and Caffo, 2000, for differences). With 20 queries that are each
  right or wrong, t covers with .02 to .96, with them .954 or more, whatever the law (.942 or more with 10 to 1,000
  queries).
* Other scores: the hull of Student's interval and of Hall's (1992), which corrects it for skewness. Neither sees what
  no query shows, such as a rare jackpot.

An interval does not allow for other intervals, nor for an arm's being chosen by its value.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sim.certify.evidence import QueryEvidence

LEVEL = 0.95
FEWEST = 10
"""Queries below which no interval is given: Student's t is not relied on."""
MADE_UP = 2
"""Made-up queries at either end of a known range."""


class Estimates(NamedTuple):
    """Estimated values; NaN beyond the completions of a pair.

    Attributes:
        value: mean over queries.
        low: lower end of the interval; NaN too with fewer than `FEWEST` queries, or where scores of no known range
            never differ.
        high: upper end.
    """

    value: Float64[np.ndarray, "*arms"]
    low: Float64[np.ndarray, "*arms"]
    high: Float64[np.ndarray, "*arms"]


class Utilities(NamedTuple):
    """Utilities of one context on every query.

    Attributes:
        each: rewards less costs, NaN beyond the completions of a pair.
        ends: of mean utilities, the rewards' least and largest less mean costs; None where nobody knows.
        known: whether those costs are known, so that no mean can lie beyond the ends.
    """

    each: Float64[np.ndarray, "*prompts query scale"]
    ends: Float64[np.ndarray, "end *prompts scale"] | None
    known: bool


def intervals(utilities: Utilities, law: Float64[np.ndarray, " query"], level: float = LEVEL) -> Estimates:
    """Means over queries, with intervals for the mean over all queries of this kind.

    Args:
        utilities: of every query.
        law: frequencies of the queries, which sum to 1.
        level: chance that one interval covers.
    """
    from scipy import special

    each, ends, known = utilities
    number = float(1 / (law**2).sum())  # of queries, where all weigh the same
    mean = np.matmul(law, each)
    if number < FEWEST - 1e-9:
        return Estimates(mean, np.full(mean.shape, np.nan), np.full(mean.shape, np.nan))
    if ends is None:
        return Estimates(mean, *_skewed(law, each, mean, number, level))
    joined = number + 2 * MADE_UP
    centre = (number * mean + MADE_UP * ends.sum(axis=0)) / joined
    squares = number * np.matmul(law, (each - centre[..., None, :]) ** 2) + MADE_UP * ((ends - centre) ** 2).sum(0)
    half = special.stdtrit(joined - 1, (1 + level) / 2) * np.sqrt(squares / (joined - 1) / joined)
    low, high = centre - half, centre + half
    if known:
        low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
    return Estimates(mean, low, high)


def of_evidence(evidence: QueryEvidence) -> Estimates:
    """Means of all arms over the queries that each has met, with intervals; shape (context, prompt, scale).

    Args:
        evidence: all that was measured; rewards of a known range are those that it has bounds for.
    """
    contexts = range(len(evidence.contexts))
    found = np.full((3, len(contexts), evidence.num_prompts, evidence.max_scale), np.nan)
    for context in contexts:
        each, limits = evidence.utilities(context), np.stack(evidence.limits(context))
        known = evidence.cost.ndim == 1 or evidence.contexts[context].cost_weight == 0
        for prompt, place in np.ndindex(each.shape[0], each.shape[2]):
            own, ends = each[prompt, :, place, None], limits[:, prompt, place, None]
            met = np.isfinite(own[:, 0])
            if met.any():
                law = evidence.weights[met] / evidence.weights[met].sum()
                one = Utilities(own[met], ends if np.isfinite(ends).all() else None, known)
                found[:, context, prompt, place] = np.ravel(intervals(one, law))
    return Estimates(*found)


def _skewed(
    law: np.ndarray, each: np.ndarray, mean: np.ndarray, number: float, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the hull of Student's interval and of Hall's, which inverts T + g T^2 / 3 + g^2 T^3 / 27 + g / (6 n)."""
    from scipy import special

    centred = each - mean[..., None, :]
    spread = np.sqrt(np.matmul(law, centred**2) * number / (number - 1))
    known = spread > 1e-12 * np.abs(each).max(axis=-2)
    spread = np.where(known, spread, np.nan)
    skew = np.matmul(law, centred**3) / spread**3
    flat = np.abs(skew) < 1e-6
    some = np.where(flat, 1.0, skew)
    quantile = float(special.stdtrit(number - 1, (1 + level) / 2)) / np.sqrt(number)
    found = []
    for end in (quantile, -quantile):
        turned = np.where(flat, end, 3 / some * (np.cbrt(1 + some * (end - some / (6 * number))) - 1))
        wider = np.maximum if end > 0 else np.minimum
        found.append(mean - spread * wider(turned, end))
    return found[0], found[1]
