"""Budget efficiency: the factor by which algorithms need less budget than PSST does for its mean regret at T0.

T is the smallest budget of the sweep at which mean regret is at most PSST's at T0 (`sim.comparison.efficiency`): the
factor T0 / T is too small by one step between budgets at most. Most of these worlds were at hand when prompt halving
and mixture racing were designed, which makes their factors optimistic; `benchmarks/fair_play.py` has worlds that nobody
had seen.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from figures.inputs import Lab
from sim.comparison import efficiency

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": (
        "MATH",
        "synth-bernoulli",
        "synth-categorical",
        "query-noise",
        "deceptive",
        "heavy-tails",
        "long-scales",
        "vote-turns",
        "jackpots",
    ),
    "reference": "psst",
    "targets": (2000, 5000, 20000),
    "algorithms": (
        "mixture-racing",
        "prompt-halving",
        "prompt-halving-n8",
        "psst+k4",
        "correlated-halving",
        "paired-racing",
        "surrogate",
        "top-two",
        "almost-tracking",
        "uniform:queries=common-wor,estimator=subsets",
    ),
    "budgets": (60, 80, 110, 155, 220, 310, 440, 625, 880, 1250, 1750, 2000, 2500, 3500, 5000, 7000, 10000, 20000),
    "trials": 200,
}
SMOKE: dict[str, Any] = {
    "envs": ("crossover",),
    "targets": (200, 800),
    "algorithms": ("prompt-halving", "uniform:queries=common-wor,estimator=subsets"),
    "budgets": (60, 200, 800),
    "trials": 16,
}


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """A row per environment, algorithm and T0 (0: the geometric mean over all): `sim.comparison.efficiency.COLUMNS`."""
    import pandas as pd

    rest, reference = sweep["algorithms"], sweep["reference"]
    goals = lab.compare(sweep | {"algorithms": (reference,), "budgets": sweep["targets"]}, reference).trials
    trials = pd.concat([goals, lab.compare(sweep, rest[0]).trials], ignore_index=True)
    parts = []
    for env, own in trials.groupby("env", sort=False):
        found = efficiency.of_trials(own, reference, sweep["targets"])
        parts.append(efficiency.table(str(env), sweep["trials"], found))
    return pd.concat(parts, ignore_index=True)


def draw(table: "pd.DataFrame") -> Figure:
    """T0 / T with 95 % intervals over T0, and their geometric mean on the right, a panel per environment.

    Bars that reach the edge are open: the smallest budget sufficed, or none. An arrow says so of the estimate.
    """
    figure, axes = panels.by_environment(table, height=1.7, label="budget efficiency, T0 / T")
    names = list(dict.fromkeys(table["algorithm"]))
    for panel, (_, rows) in zip(axes, table.groupby("env", sort=False), strict=True):
        _panel(panel, rows, names)
    style.legend(figure, names, columns=4)
    return figure


def _panel(axes: Axes, rows: "pd.DataFrame", names: list[str]) -> None:
    targets = [int(one) for one in dict.fromkeys(rows["target"]) if one != efficiency.OVERALL]
    places = {target: float(i) for i, target in enumerate(targets)} | {efficiency.OVERALL: len(targets) + 0.2}
    ends = rows[["least", "most", "low", "high"]].to_numpy(float)
    seen = ends[np.isfinite(ends) & (ends > 0)]
    bottom, top = min(seen.min(initial=1.0), 1.0) / 1.3, max(seen.max(initial=1.0), 1.0) * 1.3
    for i, name in enumerate(names):
        own, look = rows[rows["algorithm"] == name], style.look(name)
        value = np.where(own["least"] > 0, own["least"], np.where(np.isinf(own["most"]), bottom, own["most"]))
        at = own["target"].map(places).to_numpy(float) + 0.8 * ((i + 0.5) / len(names) - 0.5)
        down, up = value - np.maximum(own["low"], bottom / 2), np.minimum(own["high"], top * 2) - value
        kwargs: dict[str, Any] = look.kwargs | {"linestyle": ""}
        axes.errorbar(at, value, np.maximum(np.stack([down, up]), 0.0), **kwargs)
        for x, y, least, most in zip(at, value, own["least"], own["most"], strict=True):
            if least != most:
                sign = "$\\uparrow$" if np.isinf(most) else "$\\downarrow$"
                axes.plot(x, y * (1.12 if np.isinf(most) else 0.89), marker=sign, color=look.color, markersize=3.0)
    axes.axhline(1.0, color=style.INK, linewidth=0.8)
    axes.axvline(len(targets) - 0.4, color=style.GREY, linewidth=0.4)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    style.plain_log(axes.yaxis)
    axes.set_xticks(list(places.values()), [*(f"{target:,}" for target in targets), "mean"])
    axes.set_xlim(-0.5, len(targets) + 0.7)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("T0 (completions of PSST)")
