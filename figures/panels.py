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
    reach, highest = {}, {}
    for name in names:
        own, look = rows[rows["algorithm"] == name].sort_values("budget"), style.look(name)
        mean, half = own[f"{what}_mean"].to_numpy(float), Z * own[f"{what}_sem"].fillna(0.0).to_numpy(float)
        if look.marker:
            shift = _DODGE * (learners.index(name) - (len(learners) - 1) / 2)
            at = own["budget"].to_numpy(float) * (budgets[-1] / budgets[0]) ** (shift / 2)
            axes.errorbar(at, mean, half, **look.kwargs)
        else:
            axes.axhline(mean.mean(), color=look.color, linestyle=look.line, linewidth=0.8, zorder=look.order)
        reach[name] = ((mean - half).min(), (mean + half).max())
        highest[name] = mean.max()
    style.thousands(axes, budgets)
    axes.set_xlabel("budget (completions)")
    if what == "acr":
        _limit(axes, reach, highest)


def _limit(axes: Axes, reach: dict[str, tuple[float, float]], highest: dict[str, float]) -> None:
    """The range of what learns and of the oracle; what lies far below all others is named at the edge."""
    inside = {name: ends for name, ends in reach.items() if style.look(name).marker or name.startswith("oracle")}
    for name in [name for name in inside if len(inside) > 2]:
        low, high = (f(ends[i] for other, ends in inside.items() if other != name) for i, f in enumerate((min, max)))
        if inside[name][1] < low - 0.5 * (high - low):
            del inside[name]
    low, high = (f(ends[i] for ends in (inside or reach).values()) for i, f in enumerate((min, max)))
    margin = 0.05 * (high - low) or 0.01
    below = [f"{style.look(name).label} {highest[name]:.2f}" for name, ends in reach.items() if ends[1] < low - margin]
    room = 2.5 * margin if below else margin  # for the names, below what is drawn
    axes.set_ylim(low - room, high + margin)
    text = ", ".join(below) + (" \N{DOWNWARDS ARROW}" if below else "")
    axes.text(0.99, 0.02, text, transform=axes.transAxes, ha="right", va="bottom", color=style.GREY, fontsize=6)


def interval(value: float, sem: float, digits: int = 4) -> str:
    """A value with its 95 % interval as text, e.g. .0123 [.0101, .0145]; without one where sem is not known."""
    if not np.isfinite(sem):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{value - Z * sem:.{digits}f}, {value + Z * sem:.{digits}f}]"
