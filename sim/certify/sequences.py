"""Bounds on a mean that hold at every time at once, and bounds without asymptotics: short versions of known results.

* `mixture_half_width`: asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of
  Statistics 52, 2024, Theorem 2.2; one-sided, Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49, 2021,
  Proposition 6).
* `betting_upper`: capital of a bet against a mean (Waudby-Smith and Ramdas, JRSS-B 86, 2024, Theorem 3 and section 4;
  without replacement their section 5).
* `bernstein_half_width`: empirical Bernstein inequality at a fixed time (Maurer and Pontil, COLT 2009, Theorem 11).

Assumptions are in theory/proofs.md, "Statements after the fact".
"""

import numpy as np
from jaxtyping import Float64

_STEPS = 40
"""Halvings of an interval of candidate means: to 1e-12 of its length."""
_CAP = 0.5
"""Largest share of the capital that is staked."""


def mixture_precision(planned: int, alpha: float) -> float:
    """Precision of the normal mixture whose boundary is nearly narrowest after `planned` observations.

    Must be chosen before the data: `planned` must not depend on them. Waudby-Smith et al., appendix B.2.
    """
    log = -2 * np.log(alpha)
    return float(planned / (log + np.log1p(log)))


def mixture_half_width(
    sizes: Float64[np.ndarray, "*shape"], alpha: float, planned: int, sides: int = 1
) -> Float64[np.ndarray, "*shape"]:
    """Half-width, in standard errors of the mean, that holds for all numbers of observations at once.

    Args:
        sizes: observations so far, at least 1.
        alpha: error, of all times together.
        planned: observations at which it shall be narrow, fixed beforehand.
        sides: 1 for a bound on one side, 2 for both.
    """
    rho = mixture_precision(planned, alpha if sides == 2 else 2 * alpha)
    grown = np.sqrt((sizes + rho) / rho) / alpha
    return np.asarray(np.sqrt((sizes + rho) / sizes * 2 * np.log(grown if sides == 2 else (1 + grown) / 2)))


def bernstein_half_width(
    values: Float64[np.ndarray, "time series"], length: float, alpha: float
) -> Float64[np.ndarray, " series"]:
    """Half-width on one side, at a fixed time, for independent values in an interval of the given length.

    The values need not be alike in law: it bounds the mean of their expectations. Infinite below two values.
    """
    size, log = len(values), np.log(2 / alpha)
    if size < 2:
        return np.full(values.shape[1], np.inf)
    return np.sqrt(2 * values.var(axis=0, ddof=1) * log / size) + 7 * length * log / (3 * (size - 1))


def betting_upper(
    values: Float64[np.ndarray, "time series"],
    bounds: tuple[float, float],
    alpha: float,
    anytime: bool = True,
    population: int | None = None,
) -> Float64[np.ndarray, " series"]:
    """Upper confidence bounds on the means of bounded series.

    A gambler bets that values lie below a candidate mean m, by factors 1 - stake (value - m). Were m the mean, the
    capital would be a martingale, which reaches 1 / alpha with probability at most alpha at any time (Ville). The bound
    is the least m that was so refused; capital grows with m, so it is found by bisection.

    Args:
        values: in the order in which they came.
        bounds: ends of the interval in which values lie.
        alpha: error.
        anytime: hold for all times at once; otherwise at this number of observations, fixed beforehand.
        population: of how many values these were drawn without replacement and seen without noise; None: independent
            draws. The bound is then on the mean of the population.
    """
    low, high = bounds
    if values.min() < low or values.max() > high:
        raise ValueError(f"values reach from {values.min():.6g} to {values.max():.6g}, beyond the bounds {bounds}")
    shares = (values - low) / (high - low)
    time = np.arange(1, len(shares) + 1)[:, None]
    stakes = _stakes(shares, time, alpha, anytime)
    gone = np.cumsum(shares, axis=0) - shares
    left, right = np.zeros(shares.shape[1]), np.ones(shares.shape[1])
    for _ in range(_STEPS):
        middle = (left + right) / 2
        means, refused = middle, np.zeros(middle.shape, bool)
        if population is not None:  # the mean of what is left, were `middle` that of all
            means = (population * middle - gone) / (population - time + 1)
            refused = (means > 1).any(axis=0)
            means = np.clip(means, 0, 1)
        most = _CAP / np.maximum(1 - means, 1e-300)
        capital = np.cumsum(np.log1p(-np.minimum(stakes, most) * (shares - means)), axis=0)
        refused = refused | ((capital.max(axis=0) if anytime else capital[-1]) >= -np.log(alpha))
        left, right = np.where(refused, left, middle), np.where(refused, middle, right)
    return low + (high - low) * right


def _stakes(shares: np.ndarray, time: np.ndarray, alpha: float, anytime: bool) -> np.ndarray:
    """Stakes from what came before each time: sqrt(2 log(1 / alpha) / (variance x effective time))."""
    means = (0.5 + np.cumsum(shares, axis=0)) / (time + 1)
    spread = (0.25 + np.cumsum((shares - means) ** 2, axis=0)) / (time + 1)
    before = np.concatenate([np.full((1, shares.shape[1]), 0.25), spread[:-1]])
    horizon = time * np.log1p(time) if anytime else np.full(time.shape, float(len(shares)))
    return np.sqrt(2 * np.log(1 / alpha) / (before * horizon))
