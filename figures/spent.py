"""Budget actually spent: completions over budget, hard rule and the released code's rule."""

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from figures import panels, style
from figures.lab import Lab

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


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Columns env, algorithm, budget, trials, spent_mean, spent_sem, spent_max and share (spent_mean / budget)."""
    import pandas as pd

    table = pd.concat([lab.tables["exploration"], lab.tables["ablations"]])[COLUMNS]
    kept = ~table["algorithm"].isin(sweep["leave_out"]) & ~table["algorithm"].str.contains(" on ")
    table = table[kept].drop_duplicates(COLUMNS[:3])
    return table.assign(share=table["spent_mean"] / table["budget"]).reset_index(drop=True)


def draw(table: "pd.DataFrame") -> Figure:
    """Share of the budget that was spent, with 95 % intervals, a panel per environment."""
    figure, axes = panels.by_environment(table, height=2.1)
    for panel, (_, rows) in zip(axes, table.groupby("env", sort=False), strict=True):
        for name, own in rows.groupby("algorithm", sort=False):
            own = own.sort_values("budget")
            half = panels.Z * own["spent_sem"].fillna(0.0) / own["budget"]
            panel.errorbar(own["budget"], own["share"], half, **style.look(str(name)).kwargs)
        panel.axhline(1.0, color=style.INK, linewidth=0.8)
        style.thousands(panel, sorted(int(t) for t in rows["budget"].unique()))
        panel.set_xlabel("budget (completions)")
        panel.set_yscale("log")
        panel.set_yticks([0.5, 1.0, 2.0, 4.0], ["50%", "100%", "200%", "400%"])
        panel.set_yticks([], minor=True)
    axes[0].set_ylabel("spent, mean over trials")
    style.legend(figure, list(dict.fromkeys(table["algorithm"])), columns=4)
    return figure
