"""Share of the budget that screening takes: PSST+K4 and PSST+K1 over rho."""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.inputs import Lab, summary

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("synth-bernoulli", "MATH", "CQA", "synth-categorical", "HH", "Summarization"),
    "kept": (1, 4),
    "rho": (0.05, 0.2, 0.4, 0.7),
    "budgets": (1000, 5000, 20000),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {"envs": ("crossover",), "kept": (1,), "rho": (0.2, 0.6), "budgets": (50, 200), "trials": 16}
_DEFAULT = 0.2
_DODGE = 0.012


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.inputs.summary` with the columns kept and rho (both empty for PSST)."""
    names = {
        f"psst+k{k}" if rho == _DEFAULT else f"psst+k{k}:rho={rho}": (k, rho)
        for k in sweep["kept"]
        for rho in sweep["rho"]
    }
    table = summary(lab.compare(sweep | {"algorithms": ("psst", *names)}))
    for column, name in enumerate(("kept", "rho")):
        table[name] = [names[text][column] if text in names else np.nan for text in table["algorithm"]]
    return table


def draw(table: "pd.DataFrame") -> Figure:
    """Difference to PSST in ACR against rho: a colour per budget, a marker per K, 95 % intervals.

    What has the same rho is drawn side by side.
    """
    figure, axes = panels.by_environment(table, height=2.1, label="ACR less that of PSST")
    budgets = sorted(table["budget"].unique())
    colors = style.shades(budgets)
    kept = sorted(int(k) for k in table["kept"].dropna().unique())
    series = list(product(kept, budgets))
    levels = sorted(table["rho"].dropna().unique())
    for panel, (_, rows) in zip(axes, table.groupby("env", sort=False), strict=True):
        for i, (k, budget) in enumerate(series):
            own = rows[(rows["kept"] == k) & (rows["budget"] == budget)].sort_values("rho")
            at = own["rho"] + _DODGE * (i - (len(series) - 1) / 2)
            look = {"color": colors[budget], "marker": style.look(f"psst+k{k}").marker, "lw": 0.7, "elinewidth": 0.6}
            panel.errorbar(at, own["diff_mean"], panels.Z * own["diff_sem"].fillna(0.0), **look)
        panel.axhline(0.0, color=style.INK, linewidth=0.8)
        panel.set_xticks(levels, [f"{rho:g}" for rho in levels])
        panel.grid(axis="x", visible=False)
        panel.set_xlabel("rho, share of the budget for screening")
    handles = {f"T = {budget:,}": Line2D([], [], color=colors[budget], lw=1.5) for budget in budgets}
    for k in kept:
        marker = style.look(f"psst+k{k}").marker
        handles[f"K = {k}"] = Line2D([], [], color=style.GREY, marker=marker, linestyle="")
    style.legend(figure, [], columns=len(handles), extra=handles)
    return figure
