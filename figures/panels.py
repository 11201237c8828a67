"""Panels that several figures share: a few per environment, a measure of simulated runs against the budget."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from figures import style

if TYPE_CHECKING:
    import pandas as pd

Z = 1.96
"""Normal quantile of a 95 % interval."""
_DODGE, _SPREAD, _FAR = 0.012, 0.7, 6.0
_COLUMNS = 3


def stacked(envs: Sequence[str], height: float, ratios: tuple[float, ...]) -> tuple[Figure, np.ndarray]:
    """A figure as wide as a page with panels per environment, one below the other; three environments to a row.

    Args:
        envs: environments, at least one.
        height: of an environment's panels together, inches.
        ratios: heights of its panels relative to each other, from above.

    Returns:
        The figure, and its panels, shape (environment, ratio).
    """
    columns = min(max(len(envs), 2), _COLUMNS)
    rows = -(-len(envs) // columns)
    size = {"nrows": rows * len(ratios), "ncols": columns, "height_ratios": ratios * rows}
    figure, grid = style.paper(style.PAGE, height * rows, **size)
    panels = grid.reshape(rows, len(ratios), columns).swapaxes(1, 2).reshape(-1, len(ratios))
    for axes in panels[len(envs) :].flat:
        axes.set_visible(False)
    return figure, panels[: len(envs)]


def by_environment(table: "pd.DataFrame", height: float = 2.2, label: str = "") -> tuple[Figure, list[Axes]]:
    """A figure as wide as a page with a panel per environment, three to a row, room for a legend above.

    Args:
        table: with the column env.
        height: of a row, inches.
        label: of the vertical axis, at the first panel of every row.
    """
    envs = list(dict.fromkeys(table["env"]))
    figure, panels = stacked(envs, height, (1.0,))
    for axes, env in zip(panels[:, 0], envs, strict=True):
        axes.set_title(env, loc="left", fontweight="bold")
    label_rows(panels[:, 0], label)
    return figure, list(panels[:, 0])


def label_rows(panels: Sequence[Axes] | np.ndarray, label: str) -> None:
    """Name the vertical axis of the first panel of every row."""
    for axes in panels:
        if starts_row(axes):
            axes.set_ylabel(label)


def starts_row(axes: Axes) -> bool:
    """Whether a panel is the first one of its row."""
    place = axes.get_subplotspec()
    return place is not None and place.is_first_col()


def apart(budgets: Sequence[float], place: int, number: int) -> float:
    """Factor on budgets by which series are drawn side by side on a logarithmic axis, so that none hides another.

    Between two that follow each other, and are often alike, there is one of the second half of all.

    Args:
        budgets: all that are drawn, ascending.
        place: of the series, from 0.
        number: of series; together they take at most `_SPREAD` of the smallest step between budgets.
    """
    if len(budgets) < 2:
        return 1.0
    known = np.log(np.asarray(budgets, float))
    step = min(_DODGE * (known[-1] - known[0]), _SPREAD * np.diff(known).min() / max(number - 1, 1))
    half = -(-number // 2)
    slot = 2 * place if place < half else 2 * (place - half) + 1
    return float(np.exp(step * (slot - (number - 1) / 2)))


def over_budgets(axes: Axes, budgets: list[int]) -> None:
    """A logarithmic axis of budgets, with light lines half way between them: what is between two has one budget."""
    style.thousands(axes, budgets)
    axes.set_xlabel("budget (completions)")
    for low, high in pairwise(budgets):
        axes.axvline((low * high) ** 0.5, color=mpl.rcParams["grid.color"], linewidth=0.4, zorder=0)


def against_budget(axes: Axes, rows: "pd.DataFrame", what: str = "acr") -> None:
    """Means of one environment with 95 % intervals against the budget; level lines for what does not learn.

    The panel shows what learns and the oracle; a floor below it is named at the edge.

    Args:
        axes: where to draw.
        rows: of `figures.inputs.summary`.
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
            at = own["budget"].to_numpy(float) * apart(budgets, learners.index(name), len(learners))
            axes.errorbar(at, mean, half, **look.kwargs)
        else:
            axes.axhline(mean.mean(), color=look.color, linestyle=look.line, linewidth=0.8, zorder=look.order)
        reach[name] = ((mean - half).min(), (mean + half).max())
        highest[name] = mean.max()
    over_budgets(axes, budgets)
    if what == "acr":
        _limit(axes, reach, highest)


def differences(
    rows: "pd.DataFrame", labels: dict[str, str], measure: str, note: Callable[[str, str], str], columns: str = "diff"
) -> Figure:
    """Differences to a reference with 95 % intervals: a panel per environment, a row per variant, a colour per budget.

    Those far below all others are named at the edge. What an environment was not run with has a note why.

    Args:
        rows: with env, variant, budget and the difference.
        labels: of the variants, in the order of rows.
        measure: label of the horizontal axis.
        note: says why a variant was not run on an environment.
        columns: prefix of the columns _mean and _sem of the difference.
    """
    figure, axes = by_environment(rows, height=0.9 + 0.23 * len(labels))
    budgets = sorted(rows["budget"].unique())
    colors = style.shades(budgets)
    variants = list(labels)
    text: dict[str, Any] = {"fontsize": 6, "va": "center", "zorder": 6}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for panel, (env, of_env) in zip(axes, rows.groupby("env", sort=False), strict=True):
        low, high = limits(of_env[f"{columns}_mean"].to_numpy())
        for i, budget in enumerate(budgets):
            own = of_env[of_env["budget"] == budget].set_index("variant").reindex(variants)
            at = np.arange(len(variants)) + 0.2 * (i - (len(budgets) - 1) / 2)
            half = Z * own[f"{columns}_sem"].fillna(0.0)
            look = {"fmt": "o", "ms": 2.8, "color": colors[budget], "elinewidth": 0.8}
            panel.errorbar(own[f"{columns}_mean"], at, xerr=half, **look)
            for place, mean in zip(at, own[f"{columns}_mean"], strict=True):
                if mean < low:
                    panel.text(low, place - 0.1, f" $\\leftarrow$ {mean:.2f}", color=colors[budget], **text)
        panel.axvline(0.0, color=style.INK, linewidth=0.8)
        panel.set_ylim(len(variants) - 0.5, -0.5)
        panel.set_yticks(range(len(variants)), labels.values() if starts_row(panel) else [""] * len(variants))
        panel.set_xlabel(measure)
        panel.set_xlim(low, high)
        panel.locator_params(axis="x", nbins=5)
        for at, variant in enumerate(variants):
            if variant not in set(of_env["variant"]):
                where = {"transform": panel.get_yaxis_transform(), "ha": "center", "color": style.GREY}
                panel.text(0.5, at, note(variant, str(env)), **text, **where, bbox=box, linespacing=1.0)
    handles = {f"T = {t:,}": Line2D([], [], color=colors[t], marker="o", linestyle="") for t in budgets}
    style.legend(figure, [], columns=len(handles), extra=handles)
    return figure


def limits(differences: np.ndarray) -> tuple[float, float]:
    """Ends of the axis: all differences, but for those below 0 by more than `_FAR` times the 90th percentile's size."""
    reach = _FAR * np.quantile(np.abs(differences), 0.9)
    shown = differences[differences >= -reach]
    margin = 0.12 * (max(shown.max(), 0.0) - min(shown.min(), 0.0))
    return min(shown.min(), 0.0) - margin, max(shown.max(), 0.0) + margin


def _limit(axes: Axes, reach: dict[str, tuple[float, float]], highest: dict[str, float]) -> None:
    """The range of what learns and of the oracle; what lies far below all others is named at the edge."""
    inside = {name: ends for name, ends in reach.items() if style.look(name).marker or name.startswith("oracle")}
    for name in list(inside):
        if len(inside) <= 2:  # two level lines are drawn however far apart they are
            break
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


def quantile(trials: ArrayLike, tail: float) -> Any:
    """Upper quantile of Student's t for means over so many trials; NaN for a single one."""
    from scipy import stats

    number = np.asarray(trials, float)
    return stats.t.isf(tail, np.where(number > 1, number - 1, np.nan))
