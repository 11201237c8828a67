"""Widths without asymptotics, from known bounds of rewards: betting on new queries, empirical Bernstein on these.

Each of the comparisons of the best arm with another has its share of the error (Bonferroni); only those with the chosen
arm are computed, since that arm may be any.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from sim.certify.contrasts import Contrasts
from sim.certify.evidence import QueryEvidence
from sim.certify.sequences import bernstein_half_width, betting_upper


class Widths(NamedTuple):
    """Bounds on all arms, seen from the chosen one.

    Attributes:
        most: upper bound of an arm's lead, were it the best; infinite where nothing can be said.
        excluded: arms that are not the best.
        lead, lead_low, lead_high: estimated lead of every arm and its interval.
        value, low, high: value of every arm and its interval.
        common: queries in common with the chosen arm.
    """

    most: Float64[np.ndarray, " arm"]
    excluded: Bool[np.ndarray, " arm"]
    lead: Float64[np.ndarray, " arm"]
    lead_low: Float64[np.ndarray, " arm"]
    lead_high: Float64[np.ndarray, " arm"]
    value: Float64[np.ndarray, " arm"]
    low: Float64[np.ndarray, " arm"]
    high: Float64[np.ndarray, " arm"]
    common: Int[np.ndarray, " arm"]


def widths(evidence: QueryEvidence, context: int, chosen: int, error: float, target: str, anytime: bool) -> Widths:
    """Bounds that hold, all at once, with probability 1 - `error` at any number of queries.

    Args:
        evidence: all that was measured; queries in the order in which they were met.
        context: number of the context.
        chosen: the arm that was chosen, counted by prompt, then N.
        error: of all comparisons together.
        target: "new" or "these".
        anytime: hold at all times at once.

    Raises:
        ValueError: rewards have no known bounds; exactly these queries are meant and not all of them were met.
    """
    ends = evidence.range(context)
    if ends is None:
        raise ValueError(
            "a statement without asymptotics needs bounds of the rewards, and costs that are known; use the grade "
            "'asymptotic' or 'anytime'"
        )
    contrasts = Contrasts(evidence, context, "new")
    if target == "these" and any(sheet.met.sum() < evidence.list_length for sheet in contrasts.sheets):
        raise ValueError(
            f"a statement without asymptotics on exactly these queries needs all {evidence.list_length} of them met by "
            "every prompt that was asked; say it of new queries, or use the grade 'asymptotic' or 'anytime'"
        )
    known = contrasts.evidence.measured.any(axis=1).ravel()
    num_arms, own = int(known.sum()), next(sheet for sheet in contrasts.sheets if chosen in sheet.arms)
    most, lead, lead_low, lead_high, value, low, high = np.full((7, contrasts.num_arms), np.nan)
    common_of, scales = np.zeros(contrasts.num_arms, int), evidence.max_scale
    for sheet in contrasts.sheets:
        arms = sheet.arms
        values = contrasts.values[sheet.prompt][sheet.met][:, arms % scales]
        value[arms] = values.mean(axis=0)
        shift = _shift(evidence, context, arms)
        low[arms] = (
            -upper_bound(-(values - shift), (-ends[1], -ends[0]), error / (2 * num_arms), target, anytime) + shift
        )
        high[arms] = upper_bound(values - shift, ends, error / (2 * num_arms), target, anytime) + shift
        common = sheet.met & own.met
        common_of[arms] = common.sum()
        if common_of[arms[0]] < 2:
            most[arms] = lead_high[arms] = np.inf
            lead_low[arms] = -np.inf
            continue
        series = contrasts.values[sheet.prompt][common][:, arms % scales]
        series = series - contrasts.values[own.prompt][common][:, [chosen % scales]]
        lead[arms] = series.mean(axis=0)
        shift = shift - _shift(evidence, context, np.array([chosen]))
        width = ends[1] - ends[0]
        both, one, each = (-width, width), error / max(num_arms - 1, 1), error / max(num_arms * (num_arms - 1), 1)
        most[arms] = upper_bound(series - shift, both, one, target, anytime) + shift
        lead_high[arms] = upper_bound(series - shift, both, each, target, anytime) + shift
        lead_low[arms] = -upper_bound(shift - series, both, each, target, anytime) + shift
    return Widths(most, most < 0, lead, lead_low, lead_high, value, low, high, common_of)


def _shift(evidence: QueryEvidence, context: int, arms: np.ndarray) -> np.ndarray:
    """Known part of the utility of arms: offset less cost."""
    own, (prompt, scale) = evidence.contexts[context], np.divmod(arms, evidence.max_scale)
    cost = evidence.cost if evidence.cost.ndim == 1 else np.zeros(evidence.num_prompts)  # measured: of no weight here
    return own.offset - own.cost_weight * cost[prompt] * (scale + 1)


def upper_bound(series: np.ndarray, ends: tuple[float, float], error: float, target: str, anytime: bool) -> np.ndarray:
    """Upper bounds on the means of bounded series, each by itself; `ends` where nothing can vary."""
    if ends[1] <= ends[0]:
        return np.full(series.shape[1], ends[1])
    inside = np.clip(series, *ends)  # of rounding
    if target == "these":
        return np.minimum(inside.mean(axis=0) + bernstein_half_width(inside, ends[1] - ends[0], error), ends[1])
    return betting_upper(inside, ends, error, anytime)
