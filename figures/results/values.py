"""Values against N, a line per prompt with its band of intervals, a panel per context."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

PANELS, NAMED = 3, 6
"""Contexts that are drawn, and prompts of each that have a colour of their own."""
_MOST_MARKED = 32
"""Scales up to which every value is marked."""


def draw(
    value: Float64[np.ndarray, "context prompt scale"],
    low: Float64[np.ndarray, "context prompt scale"],
    high: Float64[np.ndarray, "context prompt scale"],
    contexts: Sequence[str],
    prompts: Sequence[str],
) -> Figure:
    """Draw values against N on a logarithmic axis; the best prompts are named, the others grey.

    Of many contexts the first, the middle and the last are drawn.

    Args:
        value: of every arm, NaN where it is not known.
        low: lower ends of intervals, NaN where there are none.
        high: upper ends.
        contexts: their names.
        prompts: their names.
    """
    drawn = sorted({0, (len(contexts) - 1) // 2, len(contexts) - 1})[:PANELS]
    known = np.where(np.isfinite(value), value, -np.inf).max(axis=2)[drawn]
    named = list(
        dict.fromkeys(int(prompt) for order in zip(*np.argsort(-known, axis=1), strict=True) for prompt in order)
    )
    named = [prompt for prompt in named if np.isfinite(known[:, prompt]).any()][:NAMED]
    palette = (*style.STRONG, *style.MUTED)
    with mpl.rc_context(style.RC):
        figure = style.Picture(figsize=(1.8 + 3.4 * len(drawn), 3.6), layout="constrained")
        panels = figure.subplots(1, len(drawn), squeeze=False, sharey=False)[0]
        for panel, context in zip(panels, drawn, strict=True):
            for prompt in range(len(prompts)):
                if prompt not in named:
                    panel.plot(*_line(value[context, prompt]), color="#bdbdbd", linewidth=0.7, zorder=1)
            for place, prompt in enumerate(named):
                band = [own[context, prompt] for own in (value, low, high)]
                _band(panel, *band, color=palette[place], label=style.plain(prompts[prompt]), order=len(named) - place)
            _axes(panel, value.shape[2])
            panel.set_title(style.plain(contexts[context]), loc="left", fontweight="bold", parse_math=False)
        panels[0].set_ylabel("value (utility of an answer)")
        handles, labels = panels[0].get_legend_handles_labels()
        shown = figure.legend(handles, labels, loc="outside right center", frameon=False, title="prompt")
        for text in shown.get_texts():
            text.set_parse_math(False)
    return figure


def _line(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """N and value of those that are known."""
    at = np.flatnonzero(np.isfinite(values))
    return at + 1, values[at]


def _band(
    panel: Axes, value: np.ndarray, low: np.ndarray, high: np.ndarray, *, color: str, label: str, order: int
) -> None:
    marked = "o" if np.isfinite(value).sum() <= _MOST_MARKED else None
    panel.plot(*_line(value), color=color, linewidth=1.5, marker=marked, markersize=3, label=label, zorder=2 + order)
    at = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    if len(at) == 1:
        panel.plot([at[0] + 1] * 2, [low[at[0]], high[at[0]]], color=color, linewidth=0.8, zorder=2)
    panel.fill_between(at + 1, low[at], high[at], color=color, alpha=0.13, linewidth=0, zorder=2)


def _axes(panel: Axes, largest: int) -> None:
    panel.set_xscale("log", base=2)
    ticks = [2**power for power in range(int(math.log2(largest)) + 1)]
    panel.set_xticks(ticks, [f"{tick}" for tick in ticks])
    panel.minorticks_off()
    panel.set_xlabel("N (completions per answer)")
