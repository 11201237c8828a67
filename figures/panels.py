"""Panels that several figures share: a measure of simulated runs against the budget."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

if TYPE_CHECKING:
    import pandas as pd

Z = 1.96
"""Normal quantile of a 95 % interval."""
_DODGE = 0.012


def by_environment(table: "pd.DataFrame", height: float = 2.2) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a page with a panel per environment, three to a row, room for a legend above."""
    envs = list(dict.fromkeys(table["env"]))
    columns = min(max(len(envs), 2), 3)
    rows = -(-len(envs) // columns)
    figure, panels = style.paper(style.PAGE, height * rows, nrows=rows, ncols=columns)
    for axes, env in zip(panels.flat, envs, strict=False):
        axes.set_title(env, loc="left", fontweight="bold")
    for axes in panels.flat[len(envs) :]:
        axes.set_visible(False)
    return figure, list(panels.flat[: len(envs)])


def against_budget(axes: Axes, rows: "pd.DataFrame", what: str = "acr") -> None:
    """Means of one environment with 95 % intervals against the budget; level lines for what does not learn.

    The panel shows what learns and the oracle; a floor below it is named at the edge.

    Args:
        axes: where to draw.
        rows: of `figures.lab.summary`.
        what: "acr" or "regret", the prefix of the columns _mean and _sem.
    """
    budgets = sorted(int(t) for t in rows["budget"].unique())
    names = list(dict.fromkeys(rows["algorithm"]))
    learners = [name for name in names if style.look(name).marker]
    seen = []
    for name in names:
        own, look = rows[rows["algorithm"] == name].sort_values("budget"), style.look(name)
        mean, half = own[f"{what}_mean"].to_numpy(float), Z * own[f"{what}_sem"].fillna(0.0).to_numpy(float)
        if not look.marker:
            continue
        shift = _DODGE * (learners.index(name) - (len(learners) - 1) / 2)
        at = own["budget"].to_numpy(float) * (budgets[-1] / budgets[0]) ** (shift / 2)
        axes.errorbar(at, mean, half, **look.kwargs)
        seen += [*(mean - half), *(mean + half)]
    style.thousands(axes, budgets)
    axes.set_xlabel("budget (completions)")
    levels = {n: rows.loc[rows["algorithm"] == n, f"{what}_mean"].mean() for n in names if n not in learners}
    seen += [value for name, value in levels.items() if name.startswith("oracle")]
    if what != "acr" or not seen:
        return
    low, high = min(seen), max(seen)
    margin = 0.05 * (high - low) or 0.01
    axes.set_ylim(low - margin, high + margin)
    for name, value in levels.items():
        look = style.look(name)
        if value >= low - margin:
            axes.axhline(value, color=look.color, linestyle=look.line, linewidth=0.8, zorder=look.order)
        else:
            text = f"{look.label} {value:.3f} \N{DOWNWARDS ARROW}"
            axes.text(0.99, 0.02, text, transform=axes.transAxes, ha="right", va="bottom", color=style.GREY, fontsize=6)


def interval(value: float, sem: float, digits: int = 4) -> str:
    """A value with its 95 % interval as text, e.g. .0123 [.0101, .0145]; without one where sem is not known."""
    if not np.isfinite(sem):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{value - Z * sem:.{digits}f}, {value + Z * sem:.{digits}f}]"
