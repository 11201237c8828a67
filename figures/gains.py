"""The largest gains of PSST over what optimises prompt and scale apart, or the prompt alone, with intervals."""

from typing import TYPE_CHECKING, NamedTuple, cast

from figures.panels import quantile

if TYPE_CHECKING:
    import pandas as pd

COMPARATORS = {
    "PSST+K1 (disjoint)": ("psst+k1", 0.25, "the same with its best N"),
    "TRIPLE at N = 1 (prompt-only)": ("triple-n1", 0.5, "best prompt at N = 1"),
    "TRIPLE at a random N (prompt-only)": ("triple-random", 0.5, ""),
}
"""Baseline of a gain -> the algorithm, the gain that the paper gives, what it tends to in the table of `awareness`."""
LEVEL = 0.05
SAFE = 10
"""A mean is safely positive, and may divide, where it is above so many standard errors."""
OFTEN_SAID = (0.15, 0.3)


class Gain(NamedTuple):
    """The largest gain of PSST over one comparator, of all budgets.

    Attributes:
        env: the environment.
        part: the comparator, of `COMPARATORS`.
        mean: the gain.
        low: of its 95 % interval, corrected for taking the largest.
        high: its other end.
        paper: the gain that the paper gives.
        relative: whether gains are ratios; else differences in ACR.
        said: numbers as text.
    """

    env: str
    part: str
    mean: float
    low: float
    high: float
    paper: float
    relative: bool
    said: str


def largest_gains(awareness: "pd.DataFrame") -> list[Gain]:
    """A row per environment and comparator. Gains are ratios where the comparator's mean is safely positive."""
    found = []
    for (env, part), own in _learnt(awareness).groupby(["env", "part"], sort=False):
        _, paper, limit = COMPARATORS[str(part)]
        relative = bool((own["acr_mean"] > SAFE * own["acr_sem"]).all())
        mean, sem = (own["gain"], own["gain_sem"]) if relative else (-own["diff_mean"], own["diff_sem"])
        half = quantile(own["trials"], LEVEL / 2 / len(own)) * sem
        low, high = (mean - half).max(skipna=False), (mean + half).max(skipna=False)
        top, form = own.loc[cast(int, mean.idxmax())], "{:+.1%}" if relative else "{:+.4f} ACR"
        said = f"up to {form.format(mean.max())} [{form.format(low)}, {form.format(high)}] at T = {top['budget']:,}"
        if relative:
            said += f", that is {-top['diff_mean']:+.4f} ACR"
        else:
            said += f"; a mean there, {top['acr_mean']:.4f}, is not safely positive: no percentage can be said"
        exact = awareness[(awareness["env"] == env) & (awareness["algorithm"] == f"limit: {limit}")]
        if len(exact) and relative:
            said += f"; with exact values instead of samples the best arm gains {exact['gain'].iloc[0]:+.1%}"
        found.append(Gain(str(env), str(part), float(mean.max()), float(low), float(high), paper, relative, said))
    return found


def often_said(awareness: "pd.DataFrame", real: tuple[str, ...]) -> str:
    """One sentence: where a gain of 15 to 30 % is reached, and the largest on released environments.

    Args:
        awareness: the table.
        real: names of the released environments.
    """
    least, most = OFTEN_SAID
    gains = [gain for gain in largest_gains(awareness) if gain.relative]
    ours = [gain for gain in gains if gain.env in real]
    said = "on no released environment, since none was at hand"
    if ours:
        top = max(ours, key=lambda gain: gain.mean)
        said = f"on released environments it is {'' if top.low >= least else 'not '}reached"
        said += f" (at most {top.mean:+.1%}, on {top.env} over {top.part})"
    reached = [f"{gain.env} over {gain.part} ({gain.mean:+.1%})" for gain in gains if gain.low >= least]
    where = ", ".join(reached) or "nowhere"
    return (
        f"A gain of {100 * least:.0f} to {100 * most:.0f} % in ACR by choosing prompt and N together, as it is often "
        f"put: {said}; its lower end is reached, with a corrected 95 % interval above it, on: {where}."
    )


def _learnt(awareness: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of comparators at budgets, in the order of `COMPARATORS` within each environment."""
    parts = {name: part for part, (name, _, _) in COMPARATORS.items()}
    rows = awareness[awareness["algorithm"].isin(list(parts)) & (awareness["budget"] > 0)]
    return rows.assign(part=rows["algorithm"].map(parts))
