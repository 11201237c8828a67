"""Value of prompts against N with bands, and what money buys: the arms that make further reward cheapest."""

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures import style

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 7
"""Prompts with a colour of their own; the others are grey."""


def draw(arms: "pd.DataFrame", bought: "pd.DataFrame", money: str = "cost of a query") -> Figure:
    """Draw values against N, a row of panels per context, and beside them reward against the cost of a query.

    Args:
        arms: context, prompt, scale, value, low, high, cost, reward (before costs), and chosen, of every arm.
        bought: context, prompt, scale, cost, reward of the arms that make further reward cheapest, from the cheapest.
        money: label of the axis of costs.

    Example:
        >>> import pandas as pd
        >>> from figures.results.advice import draw
        >>> arms = pd.DataFrame({"context": "free", "prompt": "check", "scale": [1, 2], "value": [0.5, 0.6], "low": 0.4,
        ...     "high": 0.7, "cost": [1.0, 2.0], "reward": [0.5, 0.6], "chosen": [False, True]})
        >>> [axes.get_xlabel() for axes in draw(arms, arms).axes]
        ['N', 'cost of a query']
    """
    contexts = list(dict.fromkeys(arms["context"]))
    top = arms.groupby("prompt", sort=False)["value"].max().sort_values(ascending=False, kind="stable")
    palette = (*style.STRONG, *style.MUTED)
    colors = {prompt: palette[place] for place, prompt in enumerate(top.index[:_SHOWN])}
    columns = 2 if arms["cost"].to_numpy().any() else 1
    with mpl.rc_context(style.RC):
        figure = style.Picture(figsize=(1.8 + 4.2 * columns, 0.4 + 3.1 * len(contexts)), layout="constrained")
        panels = figure.subplots(len(contexts), columns, squeeze=False)
        for row, context in zip(panels, contexts, strict=True):
            own = arms[arms["context"] == context]
            _values(row[0], own, colors)
            row[0].set_title(style.plain(context), loc="left", fontweight="bold", parse_math=False)
            if columns == 2:
                _purchases(row[1], own, bought[bought["context"] == context], colors, money)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def _values(axes: Axes, own: "pd.DataFrame", colors: dict[str, str]) -> None:
    others = 0
    for prompt, rows in own.groupby("prompt", sort=False):
        rows, color = rows.sort_values("scale"), colors.get(str(prompt), style.GREY)
        label = None
        if prompt in colors:
            label = style.plain(prompt)
        elif not others:
            label = "others"
        others += prompt not in colors
        axes.plot(rows["scale"], rows["value"], color=color, label=label, marker=".", zorder=2 + (prompt in colors))
        if prompt in colors:
            axes.fill_between(rows["scale"], rows["low"], rows["high"], color=color, alpha=0.12, linewidth=0)
    _mark(axes, own[own["chosen"]], "scale", "value")
    axes.set_xlabel("N")
    axes.set_ylabel("value, 95 % intervals")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _purchases(axes: Axes, own: "pd.DataFrame", bought: "pd.DataFrame", colors: dict[str, str], money: str) -> None:
    shades = [colors.get(str(prompt), style.GREY) for prompt in own["prompt"]]
    axes.scatter(own["cost"], own["reward"], c=shades, s=10, zorder=2)
    axes.plot(bought["cost"], bought["reward"], color=style.INK, linewidth=0.9, zorder=1)
    _mark(axes, own[own["chosen"]], "cost", "reward")
    axes.set_xlabel(money)
    axes.set_ylabel("reward before costs")


def _mark(axes: Axes, chosen: "pd.DataFrame", across: str, up: str) -> None:
    at = np.asarray(chosen[across], float), np.asarray(chosen[up], float)
    axes.scatter(*at, s=70, facecolor="none", edgecolor=style.INK, zorder=5)
