"""Expected utility of majority votes and best-of-N over success probability and N (the paper's Figure 3). Exact.

One query, two answers: a completion is right with probability theta. A vote of N earns P(right majority) plus half of
P(tie), best-of-N earns 1 - (1 - theta)^N, and N completions cost N times the cost of one.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.inputs import Lab
from theory import exact

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {"steps": 50, "max_scale": 32, "scales": (1, 3, 7, 15, 31), "costs": (0.001, 0.005, 0.02)}
SMOKE: dict[str, Any] = {"steps": 10}

UTILITY, BEST = "utility", "best N"
_TITLES = {"mv": "majority vote", "bon": "best of N"}


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Columns: strategy, kind, theta, scale, cost, value.

    Kind "utility": value without cost at some N; kind "best N": the N that is best at a cost (the smallest one where
    several are), and the value there.
    """
    import pandas as pd

    theta = np.linspace(0, 1, sweep["steps"] + 1)
    probs = np.stack([theta, 1 - theta], axis=1)
    scales = np.arange(1, sweep["max_scale"] + 1)
    values = {
        "mv": exact.majority_credit(probs, sweep["max_scale"]),
        "bon": exact.best_of_n(np.array([1.0, 0.0]), probs, sweep["max_scale"]),
    }
    rows = []
    for strategy, of in values.items():
        rows += [(strategy, UTILITY, t, n, 0.0, of[i, n - 1]) for n in sweep["scales"] for i, t in enumerate(theta)]
        for cost in sweep["costs"]:
            net = np.round(of - cost * scales, 12)
            best = net.argmax(axis=1)
            rows += [(strategy, BEST, t, best[i] + 1, cost, net[i, best[i]]) for i, t in enumerate(theta)]
    return pd.DataFrame(rows, columns=["strategy", "kind", "theta", "scale", "cost", "value"])


def draw(table: "pd.DataFrame") -> Figure:
    """Utility against success probability, a line per N; and the best N against it, a line per cost."""
    figure, panels = style.paper(style.PAGE, 1.9, ncols=4, nrows=1)
    for column, (strategy, title) in enumerate(_TITLES.items()):
        own = table[table["strategy"] == strategy]
        _lines(panels[0, 2 * column], own[own["kind"] == UTILITY], "scale", "value", "N = {:g}")
        panels[0, 2 * column].set_title(f"{title}: utility", loc="left", fontweight="bold")
        panels[0, 2 * column].set_ylim(-0.02, 1.02)
        chosen = panels[0, 2 * column + 1]
        _lines(chosen, own[own["kind"] == BEST], "cost", "scale", "cost {:g}")
        chosen.set_title(f"{title}: best N", loc="left", fontweight="bold")
        chosen.set_yscale("log", base=2)
        chosen.set_yticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    for axes in panels.flat:
        axes.set_xlabel("success probability")
    return figure


def _lines(axes: Axes, rows: "pd.DataFrame", by: str, what: str, label: str) -> None:
    import matplotlib as mpl

    groups: dict[Any, Any] = dict(iter(rows.groupby(by)))
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, len(groups)))
    for color, (level, own) in zip(colors, groups.items(), strict=True):
        drawn = "default" if what == "value" else "steps-mid"
        axes.plot(own["theta"], own[what], color=color, lw=1.1, label=label.format(level), drawstyle=drawn)
    corner: dict[str, Any] = {
        "value": "lower right",
        "scale": "upper left" if rows["strategy"].iloc[0] == "mv" else "upper right",
    }
    axes.legend(loc=corner[what], handlelength=1.0, labelspacing=0.15, borderpad=0.1, frameon=True, edgecolor="none")
