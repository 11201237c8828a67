"""Fixed-budget guarantees: upper bounds on the probability that a policy misses the best arm. One function a result.

A bound is a plain number, reported as the formula gives it: above 1 it says nothing. A violated assumption is a
ValueError that names it. The best arm is the first where several tie; its rivals then have gap 0 and every bound of
ours is vacuous, as it must be. Failure means that in some context the answer is another arm than that one.

What holds for what:

| algorithm | bounds |
| --- | --- |
| PSST, fresh data every round | `theorem1_corrected`, `theorem_a` |
| PSST with accumulated data, every pull weighing the same | `theorem_b`, `theorem_b_closed` |
| PSST with accumulated data, every block weighing the same (the default here) | `theorem_b_blocks` |
| the first two with queries common to all prompts, drawn with replacement | `theorem_c` |
| halving prompts instead of arms, all pulls at Nmax | `theorem_d` |
| the same on queries common to all prompts, met again or none twice (`prompt-halving`) | `theorem_d_common` |
| racing prompts on common queries and a fixed schedule (`proven-racing`) | `theorem_f` |
| one batch at Nmax | `uniform` |
| near misses of PSST, on fresh or accumulated data | `near_misses.near_miss` (Theorem E) |
| classical bandits (Nmax = 1, one context) | `sequential_halving`, `successive_rejects`, `ucb_e` |

Exponents come from `theory.chernoff`; a much tighter bound, computed rather than closed, is `theory.lcpb.lcpb`. Proofs:
theory/proofs.md. Simulated estimates are rounded: bounds count that for a problem and exponents with `simulated=True`.

    >>> from sim import envs
    >>> from theory import bounds, chernoff, problem_of
    >>> data = envs.get("two-arm").data
    >>> bound = bounds.theorem_a(problem_of(data), chernoff.exponents(data).chernoff, 2000)
    >>> print(f"{bound:.1e}")
    4.3e-05
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from theory import exact, hardness
from theory.chernoff import fitting
from theory.classical import sequential_halving, successive_rejects, ucb_e
from theory.problem import (
    Problem,
    allowances,
    bandit,
    checked,
    halving_sizes,
    num_rounds,
    over,
    problem_of,
    pulls_at_least,
    racing_pulls,
    racing_sizes,
)

__all__ = [
    "Problem",
    "bandit",
    "markov",
    "problem_of",
    "sequential_halving",
    "successive_rejects",
    "theorem1_corrected",
    "theorem1_printed",
    "theorem_a",
    "theorem_a_terms",
    "theorem_b",
    "theorem_b_blocks",
    "theorem_b_closed",
    "theorem_c",
    "theorem_d",
    "theorem_d_common",
    "theorem_f",
    "ucb_e",
    "uniform",
]

ExponentArray = Float64[np.ndarray, "context prompt scale"]


def theorem1_printed(problem: Problem, budget: int) -> float:
    """Theorem 1 of the paper exactly as printed. FALSE: kept to be tested, not to be used.

    3 |C| R exp(-T / (R min(2 |P| H1, 8 |C| H2))), R = ceil(log2 |A|), H1 and H2 from `hardness.printed` (the worst
    context's).

    Source: Mahmud et al. (arXiv 2508.10030), Theorem 1. Assumes objectives in [-1, 1] and a unique best arm.

    Counterexample: two prompts, Nmax = 1, one context, rewards +1 and -1 with P(+1) = .55 and .45 (gap .2). Each prompt
    gets T / 2 pulls, ties are broken at random:

        T       exact P(fail)   as printed    Hoeffding, B = 2
        400     2.255e-2        5.495e-2      1.353e-1
        800     2.294e-3        1.006e-3      1.832e-2
        2,000   3.683e-6        6.183e-9      4.540e-5
        4,000   1.148e-10       1.275e-17     2.061e-9

    From T = 614 on the claim is below the truth. It is not invariant either: multiplying all weights by s leaves the
    algorithm as it is and multiplies the exponent by s^2. `theorem1_corrected` repairs it.
    """
    if problem.largest_objective > 1:
        size = problem.largest_objective
        raise ValueError(f"Theorem 1 assumes objectives in [-1, 1]; this world has one of size {size:.6g}")
    tied = (problem.profile == 0).any(axis=1)
    if tied.any():
        why = problem.unresolved or f"context {int(tied.argmax())} has several"
        raise ValueError(f"Theorem 1 assumes a unique best arm; {why}")
    h1, h2 = (float(part.max()) for part in hardness.printed(problem.values))
    return _closed(3.0, problem, budget, h1, h2)


def theorem1_corrected(problem: Problem, budget: int) -> float:
    """3 sqrt(e) |C| R exp(-T / (R min(2 |P| H1', 8 |C| H2'))): Theorem 1 repaired (proofs.md, section 3).

    For PSST on fresh data in every round that keeps ceil(n / 2) arms; rewards of any range B, dependent or not. H1' and
    H2' are `hardness.cost_h1` and `cost_h2` (the worst context's): Nmax in place of Nbar, gaps over B and at most 1.

    Example:
        >>> from theory import bounds
        >>> round(bounds.theorem1_corrected(bounds.bandit([0.6, 0.4, 0.4, 0.4]), 800), 3)
        1.339
    """
    return _closed(3.0 * math.sqrt(math.e), problem, budget, *_cost_hardness(problem))


def theorem_a(problem: Problem, exponents: ExponentArray, budget: int) -> float:
    """Theorem A, the instance bound for fresh data: the sum of `theorem_a_terms`.

    With Chernoff exponents this is the union-Chernoff bound.
    """
    return float(theorem_a_terms(problem, exponents, budget).sum())


def theorem_a_terms(problem: Problem, exponents: ExponentArray, budget: int) -> Float64[np.ndarray, "context round"]:
    """Bound on the probability that a context's best arm falls in a round, PSST on fresh data.

    min over q < m_r of 1 / (m_r - q) sum_{q < j < n_r} exp(-lam_r^min I_(j)), I_(1) <= I_(2) <= ... the context's
    exponents, n_r active arms, m_r = ceil(n_r / 2) kept (proofs.md, section 2).

    Args:
        problem: the world.
        exponents: per pull, valid for every pull that serves both arms (`chernoff.exponents` with blocks "one").
            Exponents that are known to be of another kind are refused, here and below; a plain array is taken as it is.
        budget: T, in completions.
    """
    return _fresh_terms(problem, fitting(exponents, problem.max_scale, "one", "independent", "Theorem A"), budget)


def _fresh_terms(problem: Problem, exponents: ExponentArray, budget: int) -> Float64[np.ndarray, "context round"]:
    rivals, sizes = _rivals(problem, exponents), halving_sizes(problem.num_arms)
    pulls = pulls_at_least(problem, budget, sizes)
    terms = [
        markov(np.exp(-_times(lam, rivals))[:, : n - 1], (n + 1) // 2) for lam, n in zip(pulls, sizes, strict=True)
    ]
    return np.stack(terms, axis=1)


def theorem_b(problem: Problem, exponents: ExponentArray, budget: int) -> float:
    """Theorem B, the instance bound for accumulated data with every pull weighing the same.

    As `theorem_a_terms` with L_r^min = sum_{s <= r} lam_s^min for lam_r^min, and all |A| - 1 competitors in every
    round, since survivors depend on the data (proofs.md, section 4). Nothing is lost to adaptive sample sizes.
    """
    return _accumulated(problem, fitting(exponents, problem.max_scale, "one", "independent", "Theorem B"), budget)


def _accumulated(problem: Problem, exponents: ExponentArray, budget: int) -> float:
    rivals, sizes = _rivals(problem, exponents), halving_sizes(problem.num_arms)
    together = np.cumsum(pulls_at_least(problem, budget, sizes))
    return float(
        sum(markov(np.exp(-_times(lam, rivals)), (n + 1) // 2).sum() for lam, n in zip(together, sizes, strict=True))
    )


def theorem_b_closed(problem: Problem, budget: int) -> float:
    """8 sqrt(e) |C| |A| exp(-T / (R min(2 |P| H1', 8 |C| H2'))): Theorem B in closed form (proofs.md, section 4)."""
    factor = 8 * math.sqrt(math.e) * problem.num_arms
    return _closed(factor / num_rounds(problem.num_arms), problem, budget, *_cost_hardness(problem))


def theorem_b_blocks(problem: Problem, exponents: ExponentArray, budget: int) -> float:
    """Theorem B where every *block* weighs the same, as PSST here and in the released code does by default.

    Where neither arm's number of blocks per pull can change, blocks weigh as pulls do and the comparison is that of
    `theorem_b`. Elsewhere estimates are ratios with data-dependent weights; splitting the comparison in the middle of
    the gap gives, with W_a = lam_1^min + sum_{1 < s <= r} lam_s^min / floor(Nmax / k) for an arm of scale k,
    P(i beats the best) <= exp(-W_1 Delta^2 / (2 B^2)) + exp(-W_i Delta^2 / (2 B^2)) (proofs.md, section 4).

    Args:
        problem: the world.
        exponents: per pull, valid for every pull that serves both arms (`chernoff.exponents` with blocks "one").
        budget: T, in completions.
    """
    exponents = fitting(exponents, problem.max_scale, "one", "independent", "Theorem B")
    _rivals(problem, exponents)
    sizes = halving_sizes(problem.num_arms)
    pulls = np.array(pulls_at_least(problem, budget, sizes), np.float64)
    scales = np.arange(1, problem.max_scale + 1)
    blocks = problem.max_scale // scales
    gap, (prompt, scale) = problem.gaps, exact.best_arms(problem.values)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(gap > 0, gap**2 / (2 * problem.width[:, None, None] ** 2), 0.0)
    own_prompt = np.arange(problem.num_prompts) == prompt[:, None]
    largest = np.maximum(scales, scale[:, None]) == problem.max_scale  # a prompt with it active has full pulls only
    single = (blocks == 1) & (blocks[scale - 1] == 1)[:, None]
    steady = single[:, None, :] | (own_prompt[:, :, None] & largest[:, None, :])
    total = 0.0
    for r, size in enumerate(sizes):
        weight = pulls[0] + pulls[1 : r + 1].sum() / blocks
        own = weight[scale - 1][:, None, None]
        beaten = np.exp(-_times(own, rate)) + np.exp(-_times(weight, rate))
        beaten = np.where(steady, np.minimum(beaten, np.exp(-_times(pulls[: r + 1].sum(), exponents))), beaten)
        total += markov(-np.sort(-_without_best(problem, beaten), axis=1), (size + 1) // 2).sum()
    return float(total)


def theorem_c(
    problem: Problem, exponents: ExponentArray, budget: int, *, fresh: bool = True, replacement: bool = True
) -> float:
    """Theorem C: Theorems A and B where all prompts of a round see the same queries (proofs.md, section 5).

    Args:
        problem: the world.
        exponents: of paired differences (`chernoff.exponents` with queries "common").
        budget: T, in completions.
        fresh: whether each round forgets the data before it.
        replacement: whether queries are drawn with replacement; without it rounds depend on each other.

    Raises:
        ValueError: for queries without replacement.
    """
    if not replacement:
        raise ValueError("Theorem C assumes queries drawn with replacement; without it rounds are not independent")
    exponents = fitting(exponents, problem.max_scale, "one", "common", "Theorem C")
    return float(_fresh_terms(problem, exponents, budget).sum()) if fresh else _accumulated(problem, exponents, budget)


def theorem_d(problem: Problem, exponents: ExponentArray, budget: int, *, fresh: bool = False) -> float:
    """Theorem D: halving prompts, each scored by its best scale, all pulls at Nmax (proofs.md, section 6).

    R = ceil(log2 |P|) rounds and n_r prompts; a prompt beats the best arm only if one of its scales does. At the end
    the scale is chosen from all data of the round (fresh) or of all rounds. For estimates by U-statistics or blocks.

    Args:
        problem: the world.
        exponents: for pulls at Nmax (`chernoff.exponents` with blocks "all").
        budget: T, in completions.
        fresh: whether each round forgets the data before it.
    """
    exponents = fitting(exponents, problem.max_scale, "all", "independent", "Theorem D")
    return _halved_prompts(problem, exponents, _rounds_of_prompts(problem, exponents, budget, fresh), fresh)


def theorem_d_common(
    problem: Problem, exponents: ExponentArray, budget: int, *, replacement: bool = True, fresh: bool = False
) -> float:
    """Theorem D where all prompts of a round see the same queries (proofs.md, section 6).

    Without replacement, on all data and equally likely queries, a comparison counts for every number of pulls that
    prompts may have by then: at most so many as there may be, and as the geometric series from the smallest.

    Args:
        problem: the world.
        exponents: of paired differences in pulls at Nmax (`chernoff.exponents` with blocks "all", queries "common").
        budget: T, in completions.
        replacement: whether queries are drawn with replacement.
        fresh: whether each round forgets the data before it.

    Raises:
        ValueError: for fresh data without replacement, where rounds depend on each other.
    """
    if fresh and not replacement:
        raise ValueError(
            "Theorem D on fresh data assumes queries drawn with replacement; without, rounds depend on others"
        )
    exponents = fitting(exponents, problem.max_scale, "all", "common", "Theorem D on common queries")
    if replacement:
        return _halved_prompts(problem, exponents, _rounds_of_prompts(problem, exponents, budget, fresh), fresh)
    sizes, least, numbers, chances = halving_sizes(problem.num_prompts), 0, 1, []
    for share, size in zip(allowances(budget, len(sizes)), sizes, strict=True):
        most = min(problem.num_prompts, problem.num_contexts * size)
        possible = {share // (problem.max_scale * left) for left in range(size, most + 1)}
        least, numbers = least + min(possible), numbers * len(possible)
        with np.errstate(divide="ignore"):
            times = np.minimum(numbers, 1 / -np.expm1(-exponents))
        chances.append(times * np.exp(-_times(least, exponents)))
    return _halved_prompts(problem, exponents, chances, fresh)


def _rounds_of_prompts(problem: Problem, exponents: np.ndarray, budget: int, fresh: bool) -> list[np.ndarray]:
    """Bound on the probability that each arm beats the best one in each round, from the smallest number of pulls."""
    pulls = pulls_at_least(problem, budget, halving_sizes(problem.num_prompts))
    return [np.exp(-_times(lam, exponents)) for lam in (pulls if fresh else np.cumsum(pulls))]


def _halved_prompts(problem: Problem, exponents: np.ndarray, chances: Sequence[np.ndarray], fresh: bool) -> float:
    """Theorem D from the probabilities that arms beat the best one in each round."""
    _rivals(problem, exponents)
    sizes = halving_sizes(problem.num_prompts)
    total = _other_scales(problem, chances[-1])
    for chance, size in zip(chances, sizes, strict=True):
        beaten = _prompts_beat(problem, chance)
        total += markov(beaten[:, : size - 1] if fresh else beaten, (size + 1) // 2).sum()
    return float(total)


def theorem_f(problem: Problem, exponents: ExponentArray, budget: int) -> float:
    """Theorem F: racing prompts for all contexts together on a schedule that no data moves (proofs.md, section 11).

    sum_c [sum over the cuts of min_{q < s} 1 / (s - q) sum_{j > q} w_(j)(L_r), s = floor(k_(r+1) / |C|), + sum_j
    w_(j)(L_R) + sum_k exp(-L_R I_(p1, k))], w_p(L) = min(1, sum_k exp(-L I_(p, k))). For estimates by U-statistics or
    blocks, on queries with replacement or, where they are equally likely, without.

    Args:
        problem: the world.
        exponents: of paired differences in pulls at Nmax (`chernoff.exponents` with blocks "all", queries "common").
        budget: T, in completions.
    """
    exponents = fitting(exponents, problem.max_scale, "all", "common", "Theorem F")
    _rivals(problem, exponents)
    pulls = racing_pulls(problem, budget)
    kept = [size // problem.num_contexts for size in racing_sizes(problem)[1:]]
    chances = [np.exp(-_times(number, exponents)) for number in pulls]
    total = _other_scales(problem, chances[-1])
    for chance, least in zip(chances, [*kept, 1], strict=True):  # at the end a single prompt ahead is too many
        total += markov(_prompts_beat(problem, chance), least).sum()
    return float(total)


def _prompts_beat(problem: Problem, chance: np.ndarray) -> Float64[np.ndarray, "context competitor"]:
    """Bound on the probability that a scale of each other prompt beats the best arm, largest first."""
    others = np.ones((problem.num_contexts, problem.num_prompts), bool)
    others[np.arange(problem.num_contexts), exact.best_arms(problem.values)[0]] = False
    beaten = np.minimum(chance.sum(axis=2), 1.0)[others].reshape(problem.num_contexts, -1)
    return -np.sort(-beaten, axis=1)


def _other_scales(problem: Problem, chance: np.ndarray) -> float:
    """Sum over contexts of the bounds that a scale of the best prompt beats the best arm, whose own entry is 0."""
    return float(chance[np.arange(problem.num_contexts), exact.best_arms(problem.values)[0]].sum())


def uniform(problem: Problem, exponents: ExponentArray, budget: int) -> float:
    """One batch, every prompt floor(T / (|P| Nmax)) pulls at Nmax: sum over contexts and arms of exp(-lam I).

    Source: a union bound; for bandits Bubeck, Munos and Stoltz (Theoretical Computer Science 2011), section 4.

    Args:
        problem: the world.
        exponents: for pulls at Nmax (`chernoff.exponents` with blocks "all").
        budget: T, in completions.
    """
    lam = checked(budget) // (problem.num_prompts * problem.max_scale)
    exponents = fitting(exponents, problem.max_scale, "all", "independent", "the union bound of one batch")
    return float(np.exp(-_times(lam, _rivals(problem, exponents))).sum())


def markov(beaten: Float64[np.ndarray, "context competitor"], kept: int) -> Float64[np.ndarray, " context"]:
    """Bound on the probability that at least `kept` competitors beat the best arm.

    min over q < kept of 1 / (kept - q) sum_{j > q} p_j: leave out the q likeliest, Markov's inequality for the rest.

    Args:
        beaten: probability that each competitor beats it, largest first.
        kept: m, at least 1.
    """
    tail = np.cumsum(beaten[:, ::-1], axis=1)[:, ::-1]
    tail = np.concatenate([tail, np.zeros((len(beaten), 1))], axis=1)[:, :kept]
    return np.min(tail / (kept - np.arange(tail.shape[1])), axis=1)


def _closed(factor: float, problem: Problem, budget: int, h1: float, h2: float) -> float:
    """Value of factor |C| R exp(-T / (R min(2 |P| h1, 8 |C| h2)))."""
    rounds = num_rounds(problem.num_arms)
    complexity = min(2 * problem.num_prompts * h1, 8 * problem.num_contexts * h2)
    return factor * problem.num_contexts * rounds * math.exp(-over(checked(budget), rounds * complexity))


def _cost_hardness(problem: Problem) -> tuple[float, float]:
    profile = problem.profile
    return (
        float(hardness.cost_h1(profile, problem.width, problem.max_scale).max()),
        float(hardness.cost_h2(profile, problem.width, problem.max_scale).max()),
    )


def _rivals(problem: Problem, exponents: np.ndarray) -> np.ndarray:
    """Exponents of each context's competitors, smallest first."""
    if exponents.shape != problem.values.shape:
        raise ValueError(f"exponents have shape {exponents.shape}; the world's arms have {problem.values.shape}")
    if not np.isfinite(problem.values).all():
        raise ValueError("the world's values hold a NaN or an infinity; bounds need finite values")
    if not (exponents >= 0).all():
        raise ValueError("exponents hold a negative number or a NaN; exponents are >= 0")
    return np.sort(_without_best(problem, exponents), axis=1)


def _without_best(problem: Problem, table: np.ndarray) -> np.ndarray:
    """A table of arms as (context, competitor)."""
    return table[problem.competitors].reshape(problem.num_contexts, -1)


def _times(pulls: float | int | np.number | np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Product in which 0 pulls of an exponent inf are worth 0."""
    with np.errstate(invalid="ignore"):
        return np.where(np.asarray(pulls) > 0, np.asarray(pulls) * exponents, 0.0)
