"""Failure probability against budget: exact values, bounds, simulation with intervals, splitting, on a log scale."""

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style

if TYPE_CHECKING:
    import pandas as pd

_LOWEST = 1e-14
"""The axis ends here: bounds go on far below what anything can check."""
_LINES: tuple[Any, ...] = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""None is solid: that is what exact values are."""


def draw(table: "pd.DataFrame") -> Figure:
    """Draw a panel per family and rule, for the first world of a family.

    Exact values are black, simulation a circle with its 95 % Clopper-Pearson interval (from the lower edge where
    nothing failed: then only the upper limit is known), splitting a diamond with its 95 % interval (hollow where it is
    doubted), bounds coloured broken lines. A bound below the truth is drawn thick and red.

    Args:
        table: of `theory.checks.verify.verify`.
    """
    first = table.groupby("family", sort=False)["instance"].transform("first")
    rows = table[(table["instance"] == first) & (table["context"] == "any") & (table["round"] == "any")]
    panels: dict[Any, Any] = dict(iter(rows.groupby(["family", "rule"], sort=False)))
    claims = list(dict.fromkeys(rows.loc[rows["claim"] != "", "claim"]))
    palette = (*style.STRONG, *style.MUTED)
    looks = {name: (palette[i % len(palette)], _LINES[i // len(palette) % 4]) for i, name in enumerate(claims)}
    families = list(dict.fromkeys(family for family, _ in panels))
    own = {name: [rule for family, rule in panels if family == name] for name in families}
    columns, lines = max(map(len, own.values())), len(families)
    with mpl.rc_context(style.RC):
        width, height = 3.2 + 2.5 * columns, max(2.4 * lines, 0.8 + 0.19 * (len(claims) + 6))
        figure = style.Picture(figsize=(width, height))  # laid out by hand: measuring takes as long as drawing
        figure.subplots_adjust(0.65 / width, 0.5 / height, 1 - 2.65 / width, 1 - 0.45 / height, 0.12, 0.6)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for line, family in zip(grid, families, strict=True):
            line[0].set_ylabel("P(miss in some context)")
            for axes, rule in zip(line, own[family], strict=False):
                _panel(axes, panels[family, rule], looks)
                axes.set_title(f"{family}:\n{rule}", loc="left", fontsize=8, fontweight="bold")
            for axes in line[len(own[family]) :]:
                axes.set_visible(False)
        figure.legend(*_legend(looks), loc="center right", frameon=False, handlelength=2.6)
    return figure


def _panel(axes: Axes, part: Any, looks: dict[str, tuple[str, Any]]) -> None:
    truth = part[part["claim"] == ""].sort_values("budget")
    for name, own in part[part["claim"] != ""].groupby("claim", sort=False):
        own = own.sort_values("budget")
        color, dashes = looks[str(name)]
        line: dict[str, Any] = {"linestyle": dashes, "linewidth": 1.2, "marker": ".", "markersize": 4, "zorder": 3}
        axes.plot(own["budget"], own["bound"].clip(lower=1e-300), color=color, **line)
        wrong = own[own["verdict"] == "violated"]
        axes.plot(wrong["budget"], wrong["bound"], "x", color="#c00000", markersize=7, markeredgewidth=2, zorder=6)
    exact = truth.dropna(subset="exact")
    axes.plot(exact["budget"], exact["exact"], color=style.INK, linewidth=2.2, zorder=4)
    seen, unseen = truth[truth["failures"] > 0], truth[truth["failures"] == 0]
    _points(axes, seen, "simulated", "o", style.INK, "white")
    axes.plot(unseen["budget"], unseen["simulated_high"], "v", color=style.GREY, markersize=4, zorder=5)
    split = truth.dropna(subset="splitting")
    believed = split["splitting_note"] == ""
    _points(axes, split[believed], "splitting", "D", "#d55e00", "#d55e00")
    _points(axes, split[~believed], "splitting", "D", "#d55e00", "white")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST, 3.0)
    axes.set_yticks(10.0 ** np.arange(-14, 1, 2))
    axes.minorticks_off()
    axes.set_xlabel("budget (completions)")


def _points(axes: Axes, rows: Any, name: str, marker: str, edge: str, face: str) -> None:
    value, low, high = (rows[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    low = np.maximum(low, _LOWEST)
    error = np.maximum(np.stack([value - low, high - value]), 0.0)
    look: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": edge, "markerfacecolor": face, "ecolor": edge}
    axes.errorbar(rows["budget"], value, error, fmt=marker, elinewidth=1.0, zorder=5, **look)


def _legend(looks: dict[str, tuple[str, Any]]) -> tuple[list[Line2D], list[str]]:
    def point(marker: str, edge: str, face: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, markeredgecolor=edge, markerfacecolor=face, markersize=5)

    handles = {
        "exact": Line2D([], [], color=style.INK, linewidth=2.2),
        "simulation, 95 % interval": point("o", style.INK, "white"),
        "nothing failed: upper limit": point("v", style.GREY, style.GREY),
        "splitting, 95 % interval": point("D", "#d55e00", "#d55e00"),
        "splitting, doubted": point("D", "#d55e00", "white"),
        "violated": Line2D([], [], linestyle="", marker="x", color="#c00000", markersize=7, markeredgewidth=2),
    }
    for name, (color, dashes) in looks.items():
        line: dict[str, Any] = {"color": color, "linestyle": dashes}
        handles[name] = Line2D([], [], **line)
    return list(handles.values()), list(handles)
