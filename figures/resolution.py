"""Resolution of a number of trials: detectable differences in ACR with 200, as in the paper, and with ours.

From the standard deviation s of paired differences in ACR between PSST and another algorithm: the difference that n
trials detect with probability `power` in a two-sided test at level `alpha` is (z_{1 - alpha/2} + z_power) s / sqrt(n),
with alpha divided by the number of comparisons of one environment where all are to hold at once (Bonferroni).
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.inputs import Lab

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "trials_compared": (200, 1000, 5000),
    "alpha": 0.05,
    "power": 0.8,
    "leave_out": (
        "psst",
        "mixture-racing",
        "correlated-halving",
        "paired-racing",
        "surrogate",
        "top-two",
        "almost-tracking",
        "random",
        "oracle",
    ),
}
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
    others = given[~given["algorithm"].isin(sweep["leave_out"])]  # the paper's are left
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
            top = part.loc[cast(int, size[~found].idxmax())]
            unsure = f"{top['difference']:+.4f} over {top['algorithm']} at T = {top['budget']:,}"
        rows.append((env, n, *limits, *counts, unsure))
    columns = ["env", "n", "detectable", "detectable_all", "one", "all", "comparisons", "unsure"]
    return pd.DataFrame(rows, columns=columns)


def draw(table: "pd.DataFrame") -> Figure:
    """Differences seen, ordered by size, as markers with 95 % intervals; what n trials detect as level lines.

    Differences far below the lowest line are at the lower edge, hollow.
    """
    figure, axes = panels.by_environment(table, height=2.3, label="|ACR difference to PSST|")
    numbers = sorted(table["n"].unique())
    colors = dict(zip(numbers, (style.WARNING, style.INK, style.GREY), strict=False))
    for panel, (_, rows) in zip(axes, table.groupby("env", sort=False), strict=True):
        seen = rows[rows["n"] == numbers[0]].assign(size=lambda t: t["difference"].abs()).sort_values("size")
        floor = rows.groupby("n")["detectable_all"].median().min() / _BELOW
        seen = seen.assign(at=np.arange(len(seen)), below=seen["size"] < floor, height=seen["size"].clip(lower=floor))
        for (name, below), own in seen.groupby(["algorithm", "below"], sort=False):
            look, half = style.look(str(name)), panels.Z * own["difference_sem"]
            low = (own["size"] - half).clip(lower=floor if below else floor / 10)
            high = (own["size"] + half).clip(lower=floor)
            shape = {"marker": look.marker, "color": look.color, "mfc": "white" if below else look.color, "mew": 0.6}
            shape |= {"ms": 3.4 if below else 2.8, "clip_on": not below}  # on the axis, uncut
            error = [own["height"] - low, high - own["height"]]
            panel.errorbar(own["at"], own["height"], error, linestyle="", elinewidth=0.5, **shape)
        for n in numbers:
            level = rows.loc[rows["n"] == n, "detectable_all"].median()
            panel.axhline(level, color=colors[n], linestyle="--", linewidth=0.9)
            where = {"transform": panel.get_yaxis_transform(), "va": "center"}
            panel.text(1.01, level, f"n = {n:,}", color=colors[n], fontsize=6, **where)  # outside: nothing is there
        panel.set_yscale("log")
        panel.set_ylim(floor if seen["below"].any() else seen["size"].min() / 1.5, seen["height"].max() * 2)
        panel.set_xlabel("comparison, by size")
        panel.set_xticks([])
    said = f"detected by n trials with probability {SWEEP['power']:g}, all at once (median)"
    hollow = {"linestyle": "", "marker": "o", "color": style.GREY, "mfc": "white", "ms": 3.0, "mew": 0.6}
    extra = {
        said: Line2D([], [], color=style.INK, linestyle="--", lw=0.9),
        "hollow: below the axis": Line2D([], [], **hollow),
    }
    names = list(dict.fromkeys(table["algorithm"]))
    style.legend(figure, names, columns=3, extra=extra)
    return figure
