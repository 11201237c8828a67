"""Lower bounds that no fixed-budget algorithm can beat: for orientation, never as a test of a result.

What was checked: `swapped_bernoullis`, `two_gaussians` and `two_bernoullis` are derived here. The constants of
`permuted_bernoulli` (5), `known_complexity` (120, 1/6) and `unknown_complexity` (400, 1/6), and the conditions of the
last two, are quoted and not derived; of these only the 400 was found quoted in other work as well (Wang, Tzeng and
Proutiere, NeurIPS 2023, section 2). `permuted_bernoulli` was checked for K = 2, where `swapped_bernoullis` implies it.

Three reasons for care. (1) All are for classical bandits: one context, every arm drawn on its own, one completion a
pull. Sharing a pull among contexts and scales is outside them; read T as pulls at best. (2) They say that *some*
problem of a family is hard, or what holds as T grows: an algorithm may well do better on the problem at hand.
(3) Little better is to be had: no complexity governs all fixed-budget problems (Degenne, COLT 2023), and with two
Bernoulli arms no algorithm is as good as equal allocation everywhere and better somewhere (Wang, Ariu and Proutiere,
ICML 2024).
"""

import math
from collections.abc import Sequence

from theory import hardness
from theory.problem import bandit, checked, over


def permuted_bernoulli(means: Sequence[float], budget: int) -> float:
    """exp(-5 T / (p (1 - p) H2)): on some permutation of these Bernoulli arms every algorithm errs about this often.

    Orientation only: the theorem has 5 + o(1), with an o(1) that depends on K, p and T, is not explicit and is left
    out here; and it is about the worst permutation, with all means in [p, 1 - p] (the largest such p is used).

    Checked for K = 2: H2 = 2 / Delta^2, and d(x, y) <= (x - y)^2 / (y (1 - y)), so that the exponent here is at least
    2.5 times that of `swapped_bernoullis`. For K > 2 the 5 is quoted, not derived.

    Source: Audibert, Bubeck and Munos (COLT 2010), Theorem 4.

    Raises:
        ValueError: where no p > 0 fits or the best arm is not unique.
    """
    profile = bandit(means).profile[0]
    if not profile.size or profile[0] == 0:
        raise ValueError("the lower bound of Audibert et al. needs at least two arms and a unique best one")
    share = min(min(means), 1 - max(means))
    if share <= 0:
        raise ValueError("the lower bound of Audibert et al. needs means strictly between 0 and 1")
    return math.exp(-5 * checked(budget) / (share * (1 - share) * float(hardness.h2(profile))))


def known_complexity(complexity: float | int, num_arms: int, budget: int) -> float:
    """exp(-120 T / a) / 6: what every algorithm suffers on some problem with H <= a, even if told a.

    H = sum over suboptimal arms of 1 / Delta^2, arms in [0, 1]. Orientation only: the hard problem is of the authors'
    making, and the constant is generous. The statement, its constants and its condition on T are quoted: neither
    derived here nor confirmed by another source.

    Source: Carpentier and Locatelli (COLT 2016), Theorem 1, for T >= (a / 60)^2 4 log(6 T K).

    Raises:
        ValueError: for a budget too small for the theorem.
    """
    _long_enough(complexity, num_arms, budget)
    return math.exp(-120 * over(budget, complexity)) / 6


def unknown_complexity(complexity: float | int, num_arms: int, bound: float | int, budget: int) -> float:
    """exp(-400 T / (log(K) H)) / 6: what every algorithm not told H suffers on some problem, H being that problem's.

    The log(K) is the price of not knowing H: rounds cost it in Sequential Halving and Successive Rejects, so that it is
    no artefact of theirs. Orientation only: "some problem" with H at most `bound`, not this one. Quoted, not derived;
    the exponent is the one that Wang, Tzeng and Proutiere (NeurIPS 2023) quote, the 1/6 and the conditions were not
    found elsewhere.

    Source: Carpentier and Locatelli (COLT 2016), Theorem 1, for a >= 11 K^2 and T >= (a / 60)^2 4 log(6 T K).

    Args:
        complexity: H of the problem in mind.
        num_arms: K >= 2.
        bound: a, the largest H in the family.
        budget: T.

    Raises:
        ValueError: where a condition of the theorem fails.
    """
    if num_arms < 2 or bound < 11 * num_arms**2 or complexity > bound:
        raise ValueError(
            f"the lower bound of Carpentier and Locatelli needs K >= 2, a >= 11 K^2 and H <= a; "
            f"got K = {num_arms}, a = {bound:.6g}, H = {complexity:.6g}"
        )
    _long_enough(bound, num_arms, budget)
    return math.exp(-400 * over(budget, math.log(num_arms) * complexity)) / 6


def swapped_bernoullis(success: float, other: float, budget: int) -> float:
    """exp(-T max(d(p, q), d(q, p))) / 4: how often any algorithm errs on two Bernoulli arms or on the same two swapped.

    d is the Bernoulli relative entropy. It holds at every T, so that a rule that treats both arms alike (equal
    allocation, halving, ties at random) errs at least this often on either. In general only the worse order does.

    Proof. Let A be the event that the second arm is answered, P the law of a run of T pulls when the first arm is best,
    P' when they are swapped: the errors are P(A) and P'(not A). Bretagnolle and Huber's inequality gives
    P(A) + P'(not A) >= exp(-KL(P, P')) / 2, and KL(P, P') = E[T_1] d(p, q) + E[T_2] d(q, p) <= T max(d(p, q), d(q, p)),
    T_1 and T_2 being the pulls of the arms. One of the two is at least half the sum.

    Example:
        >>> from theory.lower_bounds import swapped_bernoullis
        >>> f"{swapped_bernoullis(0.55, 0.45, 400):.2e}"
        '8.16e-05'
    """
    _means_of_two(success, other)
    return math.exp(-checked(budget) * max(_entropy(success, other), _entropy(other, success))) / 4


def two_gaussians(gap: float, deviation: float, other: float) -> float:
    """Delta^2 / (2 (sigma_1 + sigma_2)^2): the largest error exponent per pull with two Gaussian arms.

    For known variances, reached by pulls in proportion to the standard deviations. Orientation only: it is a limit for
    T -> infinity over consistent algorithms and exactly Gaussian rewards; a finite T or bounded rewards may differ
    either way.

    Checked: a world in which the best arm is another one makes a consistent algorithm answer that one; by a change of
    measure the exponent is at most the larger of the two relative entropies from it, (mean_i - z_i)^2 / (2 sigma_i^2),
    which is least at z_1 = z_2 with both equal: the formula.

    Source: Kaufmann, Cappe and Garivier (JMLR 2016), section 5.

    Args:
        gap: Delta > 0.
        deviation: standard deviation of one pull of the one arm.
        other: the same of the other arm.
    """
    if gap <= 0 or deviation < 0 or other < 0 or deviation + other == 0:
        raise ValueError("two Gaussian arms need a gap > 0 and standard deviations >= 0, not both 0")
    return gap**2 / (2 * (deviation + other) ** 2)


def two_bernoullis(success: float, other: float) -> float:
    """d(z, p) with z between the means such that d(z, p) = d(z, q): the largest exponent per pull, two Bernoulli arms.

    d is the Bernoulli relative entropy. Orientation only: a limit for T -> infinity over consistent algorithms, reached
    by equal allocation where q = 1 - p and in general not. Checked as `two_gaussians`: z makes both entropies equal.

    Source: Kaufmann, Cappe and Garivier (JMLR 2016), section 5.

    Example:
        >>> from theory.lower_bounds import two_bernoullis
        >>> round(two_bernoullis(0.55, 0.45), 6)
        0.005025
    """
    low, high = _means_of_two(success, other)
    up, down = math.log(high / low), math.log((1 - low) / (1 - high))
    return _entropy(down / (up + down), low)


def _means_of_two(success: float, other: float) -> tuple[float, float]:
    """Both means, the smaller first."""
    low, high = sorted((success, other))
    if not 0 < low < high < 1:
        raise ValueError(f"two Bernoulli arms need different means strictly between 0 and 1; got {success}, {other}")
    return low, high


def _entropy(mean: float, other: float) -> float:
    """d(mean, other), the relative entropy of Bernoulli laws."""
    return mean * math.log(mean / other) + (1 - mean) * math.log((1 - mean) / (1 - other))


def _long_enough(complexity: float | int, num_arms: int, budget: int) -> None:
    if num_arms < 2:
        raise ValueError(f"the lower bound of Carpentier and Locatelli needs at least 2 arms; got {num_arms}")
    least = (complexity / 60) ** 2 * 4 * math.log(6 * checked(budget) * num_arms)
    if not math.isfinite(complexity) or complexity <= 0 or budget < least:
        raise ValueError(
            f"the lower bound of Carpentier and Locatelli needs 0 < a < inf and "
            f"T >= (a / 60)^2 4 log(6 T K) = {least:.6g}; "
            f"got a = {complexity:.6g} and T = {budget}"
        )
