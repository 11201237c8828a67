"""Average contextual return against budget, a panel per environment."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from figures import style
from figures.panels import Z

if TYPE_CHECKING:
    import pandas as pd

_DODGE = 0.009  # neighbouring algorithms are drawn this share of the axis apart, so that their intervals show
_LABEL = 0.14  # of the axis that a budget's label takes


def draw(summary: "pd.DataFrame", basis: Mapping[str, str] | None = None) -> Figure:
    """Draw mean ACR with 95 % intervals (1.96 standard errors) against budget, on a logarithmic axis.

    The range of a panel is that of the algorithms that learn; a floor far below it is named at the lower edge.

    Args:
        summary: as `sim.comparison.tables.summarise` makes it.
        basis: by name of an environment, a sentence about what its values stand on, which is put below its panel.

    Example:
        >>> import pandas as pd
        >>> from figures import draw_comparison
        >>> rows = {"env": "e", "algorithm": ["psst", "psst"], "budget": [10, 100], "acr_mean": [0.4, 0.6]}
        >>> draw_comparison(pd.DataFrame(rows | {"acr_sem": 0.1})).axes[0].get_xlabel()
        'budget (completions)'
    """
    names = list(dict.fromkeys(summary["algorithm"]))
    envs = list(dict.fromkeys(summary["env"]))
    looks = style.looks(names)
    columns = min(len(envs), 3)
    rows = math.ceil(len(envs) / columns)
    with mpl.rc_context(style.RC):
        figure = style.Picture(
            figsize=(1.9 + 4.3 * columns, max(3.5 * rows, 1.0 + 0.2 * len(names))), layout="constrained"
        )
        panels = figure.subplots(rows, columns, squeeze=False)
        for panel, env in zip(panels.flat, envs, strict=False):
            _panel(panel, summary[summary["env"] == env], looks)
            name = style.plain(env)
            panel.set_title(name, loc="left", fontweight="bold", parse_math=False)
            if basis is not None and env in basis:
                said = basis[env].replace(": ", ":\n", 1)
                panel.set_xlabel(f"{panel.get_xlabel()}\n{said}")
        for panel in panels.flat[len(envs) :]:
            panel.set_visible(False)
        for panel in panels[:, 0]:
            panel.set_ylabel("average contextual return, 95 % intervals")
        handles = [Line2D([], [], marker=look.marker, markersize=4.5, **_line(look)) for look in looks.values()]
        figure.legend(
            handles,
            [look.label for look in looks.values()],
            loc="outside right center",
            frameon=False,
            handlelength=2.6,
        )
    return figure


def _panel(panel: Axes, rows: "pd.DataFrame", looks: dict[str, style.Look]) -> None:
    budgets = np.sort(rows["budget"].unique())
    learners = [name for name, look in looks.items() if look.marker]
    for name, cells in rows.groupby("algorithm", sort=False):
        look = looks[str(name)]
        if not look.marker:  # spends nothing: the same at every budget
            panel.axhline(cells["acr_mean"].mean(), **_line(look))
            continue
        cells = cells.sort_values("budget")
        shift = learners.index(str(name)) - (len(learners) - 1) / 2
        at = cells["budget"] * (budgets[-1] / budgets[0]) ** (shift * _DODGE / 2)
        half = Z * cells["acr_sem"].fillna(0.0)
        panel.errorbar(at, cells["acr_mean"], half, marker=look.marker, markersize=4, elinewidth=0.8, **_line(look))
    panel.set_xscale("log")
    panel.set_xlabel("budget (completions)")
    if len(budgets) <= 7:
        panel.set_xticks(budgets.tolist(), _labels(budgets.tolist()))
        panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(axis="x", visible=False)
    _limit(panel, rows, looks)


def _labels(budgets: list[int]) -> list[str]:
    """The budgets as labels of an axis as long as their range; empty where one would touch the next."""
    labels, following = [], math.inf
    for budget in reversed(budgets):
        shown = following / budget >= (budgets[-1] / budgets[0]) ** _LABEL
        labels.insert(0, f"{budget:,}" if shown else "")
        following = budget if shown else following
    return labels


def _line(look: style.Look) -> dict[str, Any]:
    line = {"color": look.color, "linewidth": look.width, "linestyle": look.line, "zorder": look.order}
    return line | {"markerfacecolor": look.face}


def _limit(panel: Axes, rows: "pd.DataFrame", looks: dict[str, style.Look]) -> None:
    """Range of the learners and the oracle; below it, other algorithms are named at the edge."""
    learners = [name for name, look in looks.items() if look.marker]
    inside = rows[rows["algorithm"].isin(learners)]
    if len(inside) == 0:
        return
    half = Z * inside["acr_sem"].fillna(0.0)
    oracle = rows.loc[rows["algorithm"].str.startswith("oracle"), "acr_mean"]
    low, high = (inside["acr_mean"] - half).min(), np.max([*(inside["acr_mean"] + half), *oracle])
    margin = 0.05 * (high - low) or 0.01
    low, high = low - margin, high + margin
    floors = rows[~rows["algorithm"].isin(learners) & (rows["acr_mean"] < low)].groupby("algorithm")["acr_mean"].mean()
    panel.set_ylim(low, high)
    text = "   ".join(f"{looks[name].label} {value:.3f} \N{DOWNWARDS ARROW}" for name, value in floors.items())
    panel.text(0.99, 0.01, text, transform=panel.transAxes, ha="right", va="bottom", color=style.GREY, fontsize=8)
