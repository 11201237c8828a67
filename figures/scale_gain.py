"""What a larger Nmax is worth: the gain over N = 1 of the best (prompt, N) with N <= n, against n. Exact values."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures import panels, style
from figures.lab import Lab
from sim import cells, tables

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("MATH", "CQA", "HH", "Summarization", "synth-bernoulli", "synth-categorical"),
    "caps": (1, 2, 4, 8, 16, 32),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {"envs": ("crossover", "mv-three-scales"), "trials": 16}
ALL, FREE = "all contexts", "lowest cost"


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Columns: env, contexts ("all contexts" or "lowest cost"), cap, trials, value, sem, share, share_sem.

    `value` is the mean over contexts and trials of the best exact value on all queries among arms with N <= cap;
    `share` its gain over N = 1 as a share of that of Nmax (empty where Nmax gains nothing). Trials are drawn worlds,
    and errors those of means over them; a fixed world is one trial without error.
    """
    import pandas as pd

    rows = []
    for env in lab.at_hand(sweep["envs"]):
        fixed = not lab.get(env).source.fresh
        values = lab.values(env)[None] if fixed else lab.on_all_queries(env, sweep["trials"])
        probs, cost = cells.context_probs(lab.get(env)), np.array([context.cost for context in lab.contexts(env)])
        free = probs * np.isclose(cost, cost.min())
        for contexts_of, weights in ((ALL, probs), (FREE, free / free.sum())):
            best = np.maximum.accumulate(values.max(axis=2), axis=2).swapaxes(1, 2) @ weights  # (trial, cap - 1)
            for cap in sweep["caps"]:
                if cap <= best.shape[1]:
                    own = best[:, cap - 1]
                    share, error = share_of(own - best[:, 0], best[:, -1] - best[:, 0])
                    errors = (0.0, 0.0) if fixed else (float(tables.sem(own)), error)
                    rows.append((env, contexts_of, cap, len(own), own.mean(), errors[0], share, errors[1]))
    return pd.DataFrame(rows, columns=["env", "contexts", "cap", "trials", "value", "sem", "share", "share_sem"])


def share_of(part: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Ratio of the means of two paired samples, and its standard error by the delta method; NaN where the whole is 0.

    Args:
        part: what is divided, shape (trial,).
        whole: by what, shape (trial,).
    """
    if whole.mean() == 0:
        return np.nan, np.nan
    share = part.mean() / whole.mean()
    return float(share), float(tables.sem(part - share * whole) / whole.mean())


def draw(table: "pd.DataFrame") -> Figure:
    """Share of the gain against the largest N, a line per environment, for all contexts and where N costs least.

    What is exact is a line alone; means over drawn worlds have markers and 95 % intervals.
    """
    figure, grid = style.paper(style.PAGE, 2.3, nrows=1, ncols=2)
    for axes, contexts in zip(grid[0], (ALL, FREE), strict=True):
        rows = table[table["contexts"] == contexts]
        colors = style.environments(list(dict.fromkeys(rows["env"])))
        for env, own in rows.groupby("env", sort=False):
            line = {"color": colors[str(env)], "lw": 1.2, "label": env}
            if (own["share_sem"] == 0).all():
                axes.plot(own["cap"], own["share"], **line)
            else:
                axes.errorbar(own["cap"], own["share"], panels.Z * own["share_sem"], marker="o", ms=2.5, **line)
        caps = sorted(rows["cap"].unique())
        axes.set_xscale("log", base=2)
        axes.set_xticks(caps, [str(cap) for cap in caps])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("largest N allowed")
        axes.set_title(contexts, loc="left", fontweight="bold")
    grid[0, 0].set_ylabel("gain over N = 1, share of Nmax's")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return figure
