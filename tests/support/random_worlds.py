"""Budgets and verdicts for runs on random small worlds."""

from collections.abc import Callable

from scipy import stats

VISIBLE = 1e-3
"""Smaller bounds are beyond so many trials; each budget is chosen so that some bound is larger."""


LARGEST_BUDGET = 2_000_000


LEVEL = 1e-8
"""One-sided level at which a bound counts as violated; some 40,000 comparisons are made."""


def budget_for(bound: Callable[[int], float], target: float) -> int:
    """A budget near which a bound reaches a target; the largest allowed where it does not."""
    low, high = 1, LARGEST_BUDGET
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) <= target else (middle, high)
    return high


def verdict(bound: float, failures: int, trials: int) -> str:
    """Clopper-Pearson limits of the failure probability against a bound."""
    if bound >= 1:
        return "vacuous"
    if bound < VISIBLE and not failures:
        return "too small to see"
    if failures and stats.beta.ppf(LEVEL, failures, trials - failures + 1) > bound:
        return "violated"
    return "holds" if stats.beta.ppf(0.975, failures + 1, trials - failures) <= bound else "unresolved"
