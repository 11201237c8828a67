"""Core-time of a trial against |P|, Nmax, |C| and T, on logarithmic axes, with the exponents."""

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from figures import style

if TYPE_CHECKING:
    import pandas as pd

LABELS = {
    "prompts": "prompts |P|",
    "scales": "largest scale Nmax",
    "contexts": "contexts |C|",
    "budget": "budget T (completions)",
}


def exponent(rows: "pd.DataFrame") -> float:
    """Slope of log cost against log size, by least squares."""
    return float(np.polyfit(np.log(rows["size"]), np.log(rows["trial"]), 1)[0])


def draw(table: "pd.DataFrame") -> Figure:
    """Draw a panel per size, with the slope over the upper half of the sizes as a dashed line.

    Args:
        table: columns axis, size and trial (core-seconds of a trial), as `benchmarks/scale.py` makes it.
    """
    axes_names = list(dict.fromkeys(table["axis"]))
    with mpl.rc_context(style.RC):
        figure = style.Picture(figsize=(2.2 * len(axes_names) + 0.4, 2.5), layout="constrained")
        panels = figure.subplots(1, len(axes_names), squeeze=False, sharey=True)[0]
        for panel, name in zip(panels, axes_names, strict=True):
            rows = table[table["axis"] == name]
            panel.plot(rows["size"], rows["trial"] * 1e6, "o-", color=style.STRONG[0], markersize=4)
            upper = rows.iloc[len(rows) // 2 - 1 :]
            slope = exponent(upper)
            middle = np.exp(np.log(upper[["size", "trial"]]).mean())
            line = middle["trial"] * 1e6 * (upper["size"] / middle["size"]) ** slope
            panel.plot(upper["size"], line, "--", color=style.STRONG[1], linewidth=1.2)
            panel.set_title(f"exponent {slope:.2f}", fontsize=8.5, loc="left")
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.set_xlabel(LABELS.get(name, name))
        panels[0].set_ylabel("core-µs a trial")
    return figure
