"""Hardness of a selection problem: gap profiles, the classical H1 and H2, and their cost-aware analogues.

Everything is a function of the values that `theory.exact.values` computes, per context. Arms that tie with the best
have gap 0 and hardness inf: no budget makes a bound on the probability of missing *the* best arm small. Where ties are
expected, as on real data, read the number of arms within epsilon and plan for simple regret instead.

    >>> from sim import envs
    >>> from theory import hardness, values
    >>> profile = hardness.gap_profile(values(envs.get("two-arm").data))
    >>> profile.round(6).tolist(), hardness.h1(profile).round(6).tolist()
    ([[0.2]], [50.0])
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from sim import evaluate
from theory.exact import best_arms


class Hardness(NamedTuple):
    """Hardness of each context.

    Attributes:
        prompt, scale: the best arm (the first where several are best); prompts from 0, scales from 1.
        smallest_gap: gap of the runner-up; 0 at a tie, inf with a single arm.
        num_best: arms that attain the best value.
        num_near: arms within `near` of the best value, the best included.
        h1, h2: hardness of the classical bandit, `h1` and `h2`, in gaps as they are.
        cost_h1, cost_h2: H1' and H2', in completions.
    """

    prompt: Int[np.ndarray, " context"]
    scale: Int[np.ndarray, " context"]
    smallest_gap: Float64[np.ndarray, " context"]
    num_best: Int[np.ndarray, " context"]
    num_near: Int[np.ndarray, " context"]
    h1: Float64[np.ndarray, " context"]
    h2: Float64[np.ndarray, " context"]
    cost_h1: Float64[np.ndarray, " context"]
    cost_h2: Float64[np.ndarray, " context"]


class Printed(NamedTuple):
    """The paper's H1 and H2 (with Nbar) per context."""

    h1: Float64[np.ndarray, " context"]
    h2: Float64[np.ndarray, " context"]


def clear_gaps(values: Float64[np.ndarray, "context prompt scale"]) -> Float64[np.ndarray, "context prompt scale"]:
    """`sim.evaluate.clear_gaps`: gaps in which rounding does not break ties.

    Raises:
        ValueError: for values that are not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("values hold a NaN or an infinity; gaps need finite values")
    return evaluate.clear_gaps(values)


def gap_profile(values: Float64[np.ndarray, "context prompt scale"]) -> Float64[np.ndarray, "context competitor"]:
    """Gaps of all arms but one best arm, smallest first; |A| - 1 per context."""
    return np.sort(clear_gaps(values).reshape(len(values), -1), axis=1)[:, 1:]


def h1(profile: Float64[np.ndarray, "*rows competitor"]) -> Float64[np.ndarray, "*rows"]:
    """H1 = sum over all K arms of 1 / Delta_i^2, where the best arm counts with the smallest gap.

    Source: Audibert, Bubeck and Munos (COLT 2010), section 2. That the best arm counts is needed: the proof for UCB-E
    asks for (36/25) a / Delta_min^2 pulls of it as well.

    Args:
        profile: gaps, smallest first, without the best arm's.
    """
    inverse = _inverse_squares(profile)
    return np.asarray(inverse.sum(axis=-1) + inverse[..., :1].sum(axis=-1))


def h2(profile: Float64[np.ndarray, "*rows competitor"]) -> Float64[np.ndarray, "*rows"]:
    """H2 = max over i >= 2 of i / Delta_(i)^2, gaps ascending and i = 1 the best arm; 0 with a single arm.

    Source: Audibert, Bubeck and Munos (COLT 2010), section 2.
    """
    return _largest(_inverse_squares(profile) * _ranks(profile))


def cost_h1(
    profile: Float64[np.ndarray, "context competitor"], width: Float64[np.ndarray, " context"], max_scale: int
) -> Float64[np.ndarray, " context"]:
    """H1' = max over i of Nmax B^2 / min(Delta_i, B)^2, in completions.

    Args:
        profile: gaps, smallest first, without the best arm's.
        width: range B of the random part of the utility in each context (known costs do not count).
        max_scale: Nmax, the completions of one pull.
    """
    return max_scale * _largest(_inverse_squares(clipped(profile, width)))


def cost_h2(
    profile: Float64[np.ndarray, "context competitor"], width: Float64[np.ndarray, " context"], max_scale: int
) -> Float64[np.ndarray, " context"]:
    """H2' = max over i >= 2 of i Nmax B^2 / min(Delta_(i), B)^2, in completions; see `cost_h1`."""
    return max_scale * _largest(_inverse_squares(clipped(profile, width)) * _ranks(profile))


def printed(values: Float64[np.ndarray, "context prompt scale"]) -> Printed:
    """H1 = max Nbar / Delta_i^2 and H2 = max i Nbar / Delta_(i)^2 as in the paper, Nbar = (N_1 + Nmax) / 2.

    Source: Mahmud et al. (arXiv 2508.10030), Theorem 1; N_1 is the scale of the best arm. The paper says that arms are
    "indexed ascending"; only i = 1 for the best arm makes sense, as in Karnin et al. (ICML 2013).
    """
    mean_scale = (best_arms(values)[1] + values.shape[2]) / 2
    inverse = _inverse_squares(gap_profile(values))
    return Printed(mean_scale * _largest(inverse), mean_scale * _largest(inverse * _ranks(inverse)))


def hardness(
    values: Float64[np.ndarray, "context prompt scale"],
    width: Float64[np.ndarray, " context"],
    near: float | int = 0.01,
) -> Hardness:
    """All of it, per context.

    Args:
        values: exact value of every arm.
        width: range B of the random part of the utility in each context.
        near: arms that fall short by at most this count as near the best.
    """
    profile = gap_profile(values)
    prompt, scale = best_arms(values)
    smallest = profile[:, 0] if profile.shape[1] else np.full(len(profile), np.inf)
    return Hardness(
        prompt=prompt,
        scale=scale,
        smallest_gap=smallest,
        num_best=(profile == 0).sum(axis=1) + 1,
        num_near=(profile <= near).sum(axis=1) + 1,
        h1=h1(profile),
        h2=h2(profile),
        cost_h1=cost_h1(profile, width, values.shape[2]),
        cost_h2=cost_h2(profile, width, values.shape[2]),
    )


def _inverse_squares(profile: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 1 / profile**2


def clipped(
    profile: Float64[np.ndarray, "context competitor"], width: Float64[np.ndarray, " context"]
) -> Float64[np.ndarray, "context competitor"]:
    """min(Delta, B) / B; a context without randomness (B = 0) is as hard as one with the largest gap."""
    if (width < 0).any():
        raise ValueError("width is negative; the range of a reward is >= 0")
    share = np.divide(profile, width[:, None], out=np.ones_like(profile), where=~(width[:, None] <= 0))
    return np.where(profile > 0, np.minimum(share, 1.0), 0.0)


def _ranks(profile: np.ndarray) -> np.ndarray:
    return np.arange(2.0, profile.shape[-1] + 2)


def _largest(array: np.ndarray) -> np.ndarray:
    return np.asarray(array.max(axis=-1, initial=0.0))
