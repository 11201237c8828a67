"""Guarantees for classical bandits: unrelated arms, one completion a pull, one context, rewards of range B.

Each is a bound on the probability of a wrong answer, with gaps divided by B and at most 1: known costs can make a gap
exceed B, and a larger gap only helps. Above 1 a bound says nothing.
"""

import math

import numpy as np

from theory import hardness
from theory.problem import Problem, checked, num_rounds, over


def sequential_halving(problem: Problem, budget: int) -> float:
    """3 R exp(-T / (8 R H2)), R = ceil(log2 n), gaps over B.

    Source: Karnin, Koren and Somekh (ICML 2013), Theorem 4.1, printed with log2 n for R and rewards in [0, 1]. Rounds
    of floor(T / (n_r R)) fresh pulls cost nothing here (proofs.md, section 3): independent rewards have the exponent
    Delta^2, twice what that proof uses.
    """
    profile = _classical(problem, "Sequential Halving")
    rounds = num_rounds(problem.num_arms)
    return 3 * rounds * math.exp(-over(checked(budget), 8 * rounds * float(hardness.h2(profile)[0])))


def successive_rejects(problem: Problem, budget: int, *, whole: bool = False) -> float:
    """K (K - 1) / 2 exp(-(T - K) / (logbar(K) H2)), logbar(K) = 1/2 + sum_{i=2}^K 1/i, gaps over B.

    Source: Audibert, Bubeck and Munos (COLT 2010), Theorem 2, for rewards in [0, 1] and phases that end when each arm
    left has ceil((T - K) / (logbar(K) (K + 1 - k))) pulls; a budget below K is an error.

    Args:
        problem: a classical bandit.
        budget: T > K.
        whole: phases that share all of T and buy whole numbers of pulls of every arm, as `sim.algorithms` has it: the
            bound is then sum_k k exp(-n_k Delta_(K+1-k)^2) with the numbers n_k of `rejection_pulls`, before the closed
            form is taken (proofs.md, section 9).
    """
    profile = _classical(problem, "Successive Rejects")
    arms = problem.num_arms
    left = _more_than_arms(problem, budget)
    if whole:
        pulls = np.array(rejection_pulls(arms, budget))
        beaten = np.exp(-np.where(pulls > 0, pulls * profile[0, ::-1] ** 2, 0.0))  # phase 1: the largest gap
        return float(np.arange(1, arms) @ beaten)
    logbar = 0.5 + sum(1 / i for i in range(2, arms + 1))
    complexity = logbar * float(hardness.h2(profile)[0])
    return arms * (arms - 1) / 2 * math.exp(-over(left, complexity))


def rejection_pulls(num_arms: int, budget: int) -> tuple[int, ...]:
    """n_1, ..., n_{K-1}: pulls behind an arm's estimate at each rejection, of `sim.algorithms.SuccessiveRejects`.

    For unrelated arms of one completion a pull. Phases up to k may spend the share s_k of T together. Pulls
    are bought for all active arms at once; phases in which what is left affords no pull of all arms that were active
    when pulls were last bought have none, and their rejections are done on the data at hand. 0 where even the first
    phase affords no pull of every arm.

    Args:
        num_arms: K.
        budget: T.
    """
    # The simulator's arithmetic, float32, so that the numbers are its own.
    shares = np.cumsum([1.0, *(1.0 / (num_arms + 2 - k) for k in range(2, num_arms))])
    together = np.floor((shares / shares[-1]).astype(np.float32) * np.float32(budget)).astype(np.int64)
    if num_arms > 1 and together[0] < num_arms:
        return (0,) * (num_arms - 1)
    found, each, spent, phase = [], 0, 0, 0
    while phase < num_arms - 1:
        active = num_arms - phase
        bought = int(together[phase] - spent) // active
        each, spent = each + bought, spent + bought * active
        following = max(phase + 1, int((together - spent < active).sum()))
        found += [each] * (min(following, num_arms - 1) - phase)
        phase = following
    return tuple(found)


def ucb_e(problem: Problem, budget: int, exploration: float | int | None = None) -> float:
    """2 T K exp(-2 a / 25) for UCB-E with index mean + sqrt(a / pulls), 0 < a <= 25 (T - K) / (36 H1), gaps over B.

    Source: Audibert, Bubeck and Munos (COLT 2010), Theorem 1, for rewards in [0, 1]. H1 sums over all K arms, the best
    with the smallest gap (`hardness.h1`).

    Args:
        problem: a classical bandit.
        budget: T > K.
        exploration: a, for rewards divided by B; the largest allowed value when None, which needs H1 to be known.
    """
    largest = largest_exploration(problem, budget)
    chosen = largest if exploration is None else exploration
    if not (0 < chosen <= largest or chosen == largest == 0):
        raise ValueError(
            f"exploration is {chosen:.6g}; UCB-E's bound needs 0 < a <= 25 (T - K) / (36 H1) = {largest:.6g}"
        )
    return 2 * budget * problem.num_arms * math.exp(-2 * chosen / 25)


def largest_exploration(problem: Problem, budget: int) -> float:
    """25 (T - K) / (36 H1), the largest a for which the bound of UCB-E is proven; inf for a single arm."""
    profile = _classical(problem, "UCB-E")
    return over(25 * _more_than_arms(problem, budget), 36 * float(hardness.h1(profile)[0]))


def _classical(problem: Problem, name: str) -> np.ndarray:
    """Gaps over the range of rewards, at most 1, of a problem that is a classical bandit."""
    if problem.num_contexts != 1 or problem.max_scale != 1:
        raise ValueError(
            f"the bound of {name} is for unrelated arms that cost one completion in one context; "
            f"this world has {problem.num_contexts} contexts and scales up to {problem.max_scale}"
        )
    return hardness.clipped(problem.profile, problem.width)


def _more_than_arms(problem: Problem, budget: int) -> int:
    if checked(budget) <= problem.num_arms:
        raise ValueError(f"budget is {budget}; this bound needs more than the {problem.num_arms} arms")
    return budget - problem.num_arms
