"""Budget actually spent: completions over budget, hard rule and the released code's rule."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.inputs import Lab

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "leave_out": (
        "random",
        "oracle",
        "psst:fresh=true",
        "psst:ties=index",
        "psst+k4:fresh=true",
        "psst:queries=common",
        "psst:queries=common-wor",
        "psst:estimator=subsets",
        "psst:estimator=plug-in",
        "psst:queries=common-wor,estimator=subsets",
    ),
}
SMOKE: dict[str, Any] = {}

COLUMNS = ["env", "algorithm", "budget", "trials", "spent_mean", "spent_sem", "spent_max"]
_FAR, _HAIR = 1.2, 1e-4
"""Shares of the budget that are far above it, and that no picture shows."""


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Columns env, algorithm, budget, trials, spent_mean, spent_sem, spent_max and share (spent_mean / budget)."""
    import pandas as pd

    table = pd.concat([lab.tables["exploration"], lab.tables["ablations"]])[COLUMNS]
    kept = ~table["algorithm"].isin(sweep["leave_out"]) & ~table["algorithm"].str.contains(" on ")
    table = table[kept].drop_duplicates(COLUMNS[:3])
    return table.assign(share=table["spent_mean"] / table["budget"]).reset_index(drop=True)


def draw(table: "pd.DataFrame") -> Figure:
    """Share of the budget that was spent, with 95 % intervals, a panel per environment.

    Rules that spend far more than the budget somewhere have a panel of their own above; those that always spend all of
    it are the line at 100 %.
    """
    far = table.groupby("algorithm", sort=False)["share"].max() > _FAR
    least = table.groupby("algorithm", sort=False)["share"].min()
    whole = [name for name in least.index if least[name] > 1 - _HAIR and not far[name]]
    over, kept = (table[table["algorithm"].map(far) == there] for there in (True, False))
    kept = kept[~kept["algorithm"].isin(whole)]
    low = np.min([*(kept["share"] - _half(kept)), 1.0])
    ratios = (0.45, 1.0) if len(over) else (1.0,)
    envs = list(dict.fromkeys(table["env"]))
    figure, grid = panels.stacked(envs, 2.0 * sum(ratios), ratios)
    for column, env in zip(grid, envs, strict=True):
        column[0].set_title(env, loc="left", fontweight="bold")
        budgets = sorted(int(t) for t in table.loc[table["env"] == env, "budget"].unique())
        for axes, rows in zip(column[::-1], (kept, over), strict=False):
            _shares(axes, rows[rows["env"] == env], budgets)
        column[-1].set_ylim(low - 0.05, 1.05)
        if len(over):
            column[0].set_ylim(0.8, 1.05 * (over["share"] + _half(over)).max())
            column[0].set(xlim=column[1].get_xlim(), xlabel="")
            column[0].tick_params(labelbottom=False)
    panels.label_rows(grid[:, -1], "spent, mean over trials")
    said = "all of the budget" + f" ({', '.join(style.look(name).label for name in whole)})" * bool(whole)
    line = Line2D([], [], color=style.INK, linewidth=0.8)
    names = [name for name in dict.fromkeys(table["algorithm"]) if name not in whole]
    style.legend(figure, names, columns=5, extra={said: line})
    return figure


def _shares(axes: Axes, rows: "pd.DataFrame", budgets: list[int]) -> None:
    names = list(dict.fromkeys(rows["algorithm"]))
    axes.axhline(1.0, color=style.INK, linewidth=0.8)
    for place, name in enumerate(names):
        own = rows[rows["algorithm"] == name].sort_values("budget")
        at = own["budget"] * panels.apart(budgets, place, len(names))
        axes.errorbar(at, own["share"], _half(own), **style.look(name).kwargs)
    panels.over_budgets(axes, budgets)
    axes.yaxis.set_major_formatter("{x:.0%}")


def _half(rows: "pd.DataFrame") -> "pd.Series":
    """Half the 95 % interval of the share."""
    return panels.Z * rows["spent_sem"].fillna(0.0) / rows["budget"]
