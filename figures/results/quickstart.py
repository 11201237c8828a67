"""Three panels for a first look: prompts cross over N, the best pair at every cost, algorithms against budget."""

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures import panels, style

if TYPE_CHECKING:
    import pandas as pd

_SAID = {
    "mixture-racing": "mixture racing: prompt with N",
    "psst": "PSST: prompt with N",
    "uniform": "uniform",
    "psst+k1": "PSST+K1: prompt, then N",
    "triple-n1": "TRIPLE: single answers",
}
"""Algorithm -> what sets it apart here."""
_GREY = "#cfcfcf"
PROMPTS = ("#882255", "#e69f00", "#332288", "#44aa99")
"""Colours of none of these algorithms."""


def draw(
    values: Float[np.ndarray, "context prompt scale"], costs: Float[np.ndarray, " context"], summary: "pd.DataFrame"
) -> Figure:
    """Draw exact values over N, the best pair at every cost, and mean ACR with 95 % intervals against budget.

    Args:
        values: exact, of contexts that differ in cost alone.
        costs: of a completion, one per context.
        summary: of one environment, as `sim.comparison.tables.summarise` makes it.
    """
    order = np.argsort(costs, kind="stable")
    values, costs = values[order], costs[order]
    pairs = [divmod(int(of.argmax()), of.shape[1]) for of in values]
    named = dict.fromkeys([*values[0].argmax(axis=0).tolist(), *(prompt for prompt, _ in pairs)])
    colors = {prompt: PROMPTS[i % len(PROMPTS)] for i, prompt in enumerate(named)}
    with mpl.rc_context(style.PAPER):
        figure, grid = style.paper(style.PAGE, 2.45, ncols=3, width_ratios=(1.0, 1.0, 1.2))
        over_scales, over_costs, over_budgets = grid[0]
        _curves(over_scales, values[0], colors)
        _pairs(over_costs, values, costs, pairs, colors)
        _learning(over_budgets, summary)
    return figure


def _curves(axes: Axes, values: Float[np.ndarray, "prompt scale"], colors: dict[int, str]) -> None:
    """Every prompt's value over N: leaders in colour and named, others grey."""
    scales = np.arange(1, values.shape[1] + 1)
    for prompt, of in enumerate(values):
        color, width, order = (colors[prompt], 1.6, 3) if prompt in colors else (_GREY, 0.6, 2)
        axes.plot(scales, of, color=color, linewidth=width, zorder=order)
    for prompt, color in colors.items():
        axes.plot([], [], color=color, linewidth=1.6, label=f"prompt {prompt}")
    axes.plot([], [], color=_GREY, linewidth=0.6, label="other prompts")
    axes.legend(loc="best")
    axes.set_xscale("log", base=2)
    ticks = [2**i for i in range(int(np.log2(scales[-1])) + 1)]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("N, completions that vote")
    axes.set_title("a  Prompts cross: exact value", loc="left", fontweight="bold")


def _pairs(
    axes: Axes,
    values: Float[np.ndarray, "context prompt scale"],
    costs: Float[np.ndarray, " context"],
    pairs: list[tuple[int, int]],
    colors: dict[int, str],
) -> None:
    """Value of the best pair at every cost, and of the prompt that is best alone at its own best N."""
    at = np.arange(len(costs))
    first = [of[of[:, 0].argmax()].max() for of in values]
    axes.plot(at, first, "--", color=style.GREY, marker="D", markersize=3.5, label="prompt first, N after", zorder=2)
    axes.plot(at, values.max(axis=(1, 2)), "-", color=style.INK, linewidth=0.8, label="best pair", zorder=3)
    for x, (prompt, scale) in enumerate(pairs):
        value = values[x, prompt, scale]
        axes.plot(x, value, "o", color=colors[prompt], markersize=6, zorder=4)
        axes.annotate(
            f"p {prompt}\nN = {scale + 1}", (x, value), (4, 4), textcoords="offset points", fontsize=6.5, va="bottom"
        )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.22 * (high - low))
    axes.set_xlim(-0.4, len(costs) - 0.05)
    axes.set_xticks(at, [f"{cost:.2g}" for cost in costs])
    axes.legend(loc="lower left")
    axes.set_xlabel("cost of a completion")
    axes.set_title("b  Best pair (prompt, N) by cost", loc="left", fontweight="bold")


def _learning(axes: Axes, summary: "pd.DataFrame") -> None:
    """Mean ACR against the budget, algorithms named in the order of what they reach; the oracle's line is the truth."""
    panels.against_budget(axes, summary)
    last = summary[summary["budget"] == summary["budget"].max()].sort_values("acr_mean", ascending=False, kind="stable")
    looks = {name: style.look(name) for name in last["algorithm"] if style.look(name).marker}
    labels = [_SAID.get(name, look.label) for name, look in looks.items()]
    place: dict[str, Any] = {"loc": "lower right", "borderaxespad": 0.3}
    axes.legend([look.handle for look in looks.values()], labels, handlelength=1.4, labelspacing=0.25, **place)
    for value in last.loc[last["algorithm"] == "oracle", "acr_mean"]:
        at, apart = axes.get_yaxis_transform(), (0, 2)
        axes.annotate("exact best", (1.0, value), apart, at, "offset points", ha="right", va="bottom")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.09 * len(looks) * (high - low), high + 0.06 * (high - low))  # room below for the legend
    axes.set_xlabel("budget (completions), 95 % intervals")
    axes.set_title("c  Who finds it: ACR", loc="left", fontweight="bold")
