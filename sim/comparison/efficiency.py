"""Budget efficiency: the factor by which an algorithm needs less budget than a reference does for the same mean regret.

At a budget T0 it is T0 / T, T the smallest budget that was run at which the algorithm's mean regret is at most that of
the reference at T0. Nothing is interpolated: budgets between two that were run count as the larger, so that the factor
is too small by one step between budgets at most. Where the smallest budget suffices the factor is at least T0 over it;
where none does, it lies below T0 over the largest. The smallest of many budgets is found early by luck where regret
falls slowly: beside it stands the lasting efficiency, of the smallest budget from which on all larger ones suffice too.

Intervals are by the percentile bootstrap over trials. A draw takes the same trials for all algorithms and budgets,
those of the reference too, since trial t has one world and one split for all: what varies between worlds cancels.

    >>> import numpy as np
    >>> from sim.comparison import efficiency
    >>> means = np.array([[0.30, 0.20, 0.10]])  # of one draw, at the budgets 100, 200 and 400
    >>> efficiency.ratios(np.array([100, 200, 400]), means, np.array([0.2]), 800).least.tolist()
    [4.0]
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np
from jaxtyping import Float, Float64, Int

if TYPE_CHECKING:
    import pandas as pd

OVERALL = 0
"""In place of a budget T0: the geometric mean over all of them."""
COLUMNS = ("env", "algorithm", "target", "trials", "least", "most", "low", "high", "lasting")
DRAWS = 2000
LEVEL = 0.95
_NOISE = 1e-12
"""Means that differ by no more than this share of the largest are equal: sums of floating-point numbers round."""


class Ratios(NamedTuple):
    """Ends between which the efficiency lies, of the trials as they are and then of every draw from them.

    Attributes:
        least: T0 / T; 0 where no budget suffices.
        most: the same; infinite where the smallest budget suffices, T0 / the largest where none does.
        lasting: T0 / the smallest budget from which on all larger ones suffice; 0 where the largest does not.
    """

    least: Float64[np.ndarray, " draw"]
    most: Float64[np.ndarray, " draw"]
    lasting: Float64[np.ndarray, " draw"]


class Efficiency(NamedTuple):
    """An efficiency with its interval.

    Attributes:
        least, most: ends between which the estimate lies; equal unless it is cut off by the budgets that were run.
        low, high: ends of the interval at `LEVEL`.
        lasting: the lasting efficiency; 0 where the largest budget does not suffice.
    """

    least: float
    most: float
    low: float
    high: float
    lasting: float

    def __str__(self) -> str:
        """Text, e.g. 8.0 [4.1, 16.0], ">= 33.3 [20.0, inf]" or "< 1.0 [0.0, 1.4]"."""
        if self.least == self.most:
            value = f"{self.least:.1f}"
        elif np.isinf(self.most):
            value = f">= {self.least:.1f}" if self.least > 0 else "open"
        else:
            value = f"< {self.most:.1f}"
        return f"{value} [{self.low:.1f}, {self.high:.1f}]"


def weights(trials: int, seed: int | Sequence[int], draws: int = DRAWS) -> Float64[np.ndarray, "draw trial"]:
    """Shares of trials: first all alike, then as often as each was drawn, with replacement.

    Args:
        trials: how many there are.
        seed: of the draws.
        draws: how many.
    """
    drawn = np.random.default_rng(seed).multinomial(trials, np.full(trials, 1 / trials), draws)
    return np.concatenate([np.ones((1, trials)), drawn]) / trials


def ratios(
    budgets: Int[np.ndarray, " budget"],
    means: Float[np.ndarray, "draw budget"],
    goal: Float[np.ndarray, " draw"],
    target: int,
) -> Ratios:
    """Efficiency at a budget T0 in every draw.

    Args:
        budgets: those that the algorithm was run at, ascending.
        means: its mean regret at each.
        goal: mean regret of the reference at T0.
        target: T0.
    """
    enough = means <= goal[:, None] + _NOISE * np.abs(means).max()
    onwards = np.logical_and.accumulate(enough[:, ::-1], axis=1)[:, ::-1]
    least, lasting = (np.where(of.any(axis=1), target / budgets[of.argmax(axis=1)], 0.0) for of in (enough, onwards))
    most = np.where(least == target / budgets[0], np.inf, np.where(least > 0, least, target / budgets[-1]))
    return Ratios(least, most, lasting)


def geometric(parts: Sequence[Ratios]) -> Ratios:
    """Geometric mean of efficiencies, draw by draw."""
    with np.errstate(divide="ignore"):  # an efficiency of which 0 alone is sure
        return Ratios(*(np.exp(np.log(np.stack(of)).mean(axis=0)) for of in zip(*parts, strict=True)))


def interval(found: Ratios) -> Efficiency:
    """The efficiency of the trials as they are, with its interval; ends that the budgets cut off are open."""
    low, high = np.sort(found.least[1:]), np.sort(found.most[1:])
    outside = int(len(low) * (1 - LEVEL) / 2 + _NOISE)  # draws on either side
    ends = low[outside], high[-1 - outside]
    return Efficiency(*map(float, (found.least[0], found.most[0], *ends, found.lasting[0])))


def of_trials(
    trials: "pd.DataFrame", reference: str, targets: Sequence[int], draws: int = DRAWS
) -> dict[tuple[str, int], Ratios]:
    """Efficiency of every algorithm but the reference, by algorithm and T0; `OVERALL` is the mean over all T0.

    Args:
        trials: of one environment, with the columns env, algorithm, budget, trial and regret (`tables.TRIALS`).
        reference: the algorithm whose mean regret at T0 is to be reached.
        targets: budgets T0.
        draws: of the bootstrap.

    Raises:
        ValueError: more than one environment, the reference was not run at T0, or not on the same trials.
    """
    (env, *others) = trials["env"].unique()
    if others:
        raise ValueError(f"trials of {len(others) + 1} environments; efficiency is that on one")
    table = trials.pivot(index="trial", columns=["algorithm", "budget"], values="regret")
    lacking = [target for target in targets if (reference, target) not in table.columns]
    if lacking:
        raise ValueError(f"{env}: no trials of {reference} at budget {lacking[0]}, which efficiency is taken to")
    if table.isna().to_numpy().any():
        raise ValueError(f"{env}: some algorithms were run on fewer trials than others; efficiency is paired")
    shares = weights(len(table), (0, crc32(str(env).encode())), draws)
    goals = {target: shares @ table[reference, target].to_numpy() for target in targets}
    found: dict[tuple[str, int], Ratios] = {}
    for algorithm in dict.fromkeys(trials["algorithm"]):
        if algorithm == reference:
            continue
        own = table[algorithm].sort_index(axis=1)
        budgets, means = own.columns.to_numpy(), shares @ own.to_numpy()
        each = {(algorithm, target): ratios(budgets, means, goals[target], target) for target in targets}
        found |= each | {(algorithm, OVERALL): geometric(list(each.values()))}
    return found


def table(env: str, trials: int, found: Mapping[tuple[str, int], Ratios]) -> "pd.DataFrame":
    """Rows of an environment, columns `COLUMNS`; `target` is T0, or `OVERALL`."""
    import pandas as pd

    rows = [(env, *key, trials, *interval(one)) for key, one in found.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def more_p(differences: Float[np.ndarray, " trial"]) -> float:
    """One-sided p-value of "the mean is not above 0": Student's t over trials.

    Where all trials differ by the same it is the probability that their signs are all positive, or 1.

    Args:
        differences: of every trial, an algorithm's regret less the reference's.
    """
    from scipy import stats

    mean, number = float(differences.mean()), len(differences)
    if np.ptp(differences) <= _NOISE * np.abs(differences).max():
        return 0.5**number if mean > 0 else 1.0
    return float(stats.t.sf(mean / (differences.std(ddof=1) / np.sqrt(number)), number - 1))
