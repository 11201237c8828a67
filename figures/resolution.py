"""What a number of trials can resolve: 200, as in the paper, against those of our own tables.

From the standard deviation s of paired differences in ACR between PSST and another algorithm: the difference that n
trials detect with probability `power` in a two-sided test at level `alpha` is (z_{1 - alpha/2} + z_power) s / sqrt(n),
with alpha divided by the number of comparisons of one environment where all are to hold at once (Bonferroni).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.lab import Lab

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {"trials_compared": (200, 1000, 5000), "alpha": 0.05, "power": 0.8}
SMOKE: dict[str, Any] = {}
_BELOW = 10.0
"""The axis ends at the lowest line divided by this."""


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """A row per environment, algorithm, budget and number of trials n.

    Columns: env, algorithm, budget, n, difference (PSST's ACR less the other's, in our trials), difference_sem, sd (of
    paired differences), detectable (one comparison), detectable_all (all of the environment at once), comparisons.
    """
    import pandas as pd
    from scipy import stats

    given = lab.tables["exploration"]
    others = given[~given["algorithm"].isin(("psst", "random", "oracle"))]
    reach = stats.norm.isf(1 - sweep["power"])
    rows = []
    for env, part in others.groupby("env", sort=False):
        z_one = stats.norm.isf(sweep["alpha"] / 2) + reach
        z_all = stats.norm.isf(sweep["alpha"] / 2 / len(part)) + reach
        for row in part.to_dict("records"):
            sd = row["diff_sem"] * np.sqrt(row["trials"])
            for n in sweep["trials_compared"]:
                found = (-row["diff_mean"], row["diff_sem"], sd, z_one * sd / n**0.5, z_all * sd / n**0.5)
                rows.append((env, row["algorithm"], row["budget"], n, *found, len(part)))
    columns = ["env", "algorithm", "budget", "n", "difference", "difference_sem", "sd", "detectable", "detectable_all"]
    return pd.DataFrame(rows, columns=[*columns, "comparisons"])


def resolved(table: "pd.DataFrame") -> "pd.DataFrame":
    """Per environment and n: the median detectable difference, and how many of the differences seen are as large.

    Whether a difference was significant in our own trials is another question: chances below `power` are chances.

    Columns: env, n, detectable, detectable_all, one, all (counts, with one comparison and with all at once),
    comparisons, unsure (the largest difference that n trials detect, all at once, with less than `power`; empty if
    none).
    """
    import pandas as pd

    rows = []
    for (env, n), part in table.groupby(["env", "n"], sort=False):
        size = part["difference"].abs()
        found = size >= part["detectable_all"]
        limits = (part["detectable"].median(), part["detectable_all"].median())
        counts = (int((size >= part["detectable"]).sum()), int(found.sum()), len(part))
        unsure = ""
        if not found.all():
            top = part.loc[size[~found].idxmax()]
            unsure = f"{top['difference']:+.4f} over {top['algorithm']} at T = {top['budget']:,}"
        rows.append((env, n, *limits, *counts, unsure))
    columns = ["env", "n", "detectable", "detectable_all", "one", "all", "comparisons", "unsure"]
    return pd.DataFrame(rows, columns=columns)


def draw(table: "pd.DataFrame") -> Figure:
    """Differences seen, ordered by size, as markers with 95 % intervals; what n trials detect as level lines.

    Differences far below the lowest line are at the lower edge.
    """
    figure, axes = panels.by_environment(table, height=2.2)
    numbers = sorted(table["n"].unique())
    colors = dict(zip(numbers, (style.WARNING, style.INK, style.GREY), strict=False))
    for panel, (_, rows) in zip(axes, table.groupby("env", sort=False), strict=True):
        seen = rows[rows["n"] == numbers[0]].assign(size=lambda t: t["difference"].abs()).sort_values("size")
        at = np.arange(len(seen))
        floor = rows.groupby("n")["detectable_all"].median().min() / _BELOW
        height = seen["size"].clip(lower=floor)
        for name in dict.fromkeys(rows["algorithm"]):
            own = (seen["algorithm"] == name).to_numpy()
            look = style.look(name)
            half = panels.Z * seen.loc[own, "difference_sem"]
            error = [np.minimum(half, height[own] - floor / 10), half]
            style_of = {"marker": look.marker, "color": look.color, "ms": 2.8, "elinewidth": 0.5}
            panel.errorbar(at[own], height[own], error, linestyle="", **style_of)
        for n in numbers:
            level = rows.loc[rows["n"] == n, "detectable_all"].median()
            panel.axhline(level, color=colors[n], linestyle="--", linewidth=0.9)
            spot = {"color": colors[n], "fontsize": 6, "ha": "right", "va": "bottom"}
            panel.text(len(seen) - 1, level * 1.04, f"n = {n:,}", **spot)
        panel.set_yscale("log")
        panel.set_ylim(height.min() / 1.5, height.max() * 2)
        panel.set_xlabel("comparison, by size of difference")
        panel.set_xticks([])
    axes[0].set_ylabel("|ACR difference to PSST|")
    said = f"detected by n trials with probability {SWEEP['power']:g} (median)"
    extra = {said: Line2D([], [], color=style.INK, linestyle="--", lw=0.9)}
    names = list(dict.fromkeys(table["algorithm"]))
    style.legend(figure, names, columns=4, extra=extra)
    return figure
