"""Gain from a larger Nmax: the best (prompt, N) with N <= n less that with N = 1, against n. Exact values."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures import panels, style
from figures.inputs import Lab
from sim.comparison import cells, tables

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
    and errors those of means over them; trials of a fixed world are its queries, at the arms that are best on all of
    them, and errors those of a sample (0 where its queries are all there are).
    """
    import pandas as pd

    rows = []
    for env in lab.at_hand(sweep["envs"]):
        fixed = not lab.get(env).source.fresh
        sampled = not fixed or lab.queries_are_a_sample(env)
        probs, cost = cells.context_probs(lab.get(env)), np.array([context.cost for context in lab.contexts(env)])
        of_caps = _per_query(lab.per_query(env)) if fixed else _best(lab.on_all_queries(env, sweep["trials"]))
        free = probs * np.isclose(cost, cost.min())
        for contexts_of, weights in ((ALL, probs), (FREE, free / free.sum())):
            best = of_caps @ weights  # (trial, cap - 1)
            for cap in sweep["caps"]:
                if cap <= best.shape[1]:
                    own = best[:, cap - 1]
                    share, error = share_of(own - best[:, 0], best[:, -1] - best[:, 0])
                    errors = (float(tables.sem(own)), error) if sampled else (0.0, 0.0)
                    rows.append((env, contexts_of, cap, len(own), own.mean(), errors[0], share, errors[1]))
    return pd.DataFrame(rows, columns=["env", "contexts", "cap", "trials", "value", "sem", "share", "share_sem"])


def _best(values: np.ndarray) -> np.ndarray:
    """Best value (trial, cap - 1, context) among arms up to each N, from values (trial, context, prompt, scale)."""
    return np.maximum.accumulate(values.max(axis=2), axis=2).swapaxes(1, 2)


def _per_query(each: np.ndarray) -> np.ndarray:
    """On each query, the arm that is best on all queries among those up to each N: shape (query, cap - 1, context).

    Args:
        each: exact values, shape (context, prompt, scale, query).
    """
    values, found = each.mean(axis=3), []
    for cap in range(1, values.shape[2] + 1):
        best = values[:, :, :cap].reshape(len(values), -1).argmax(axis=1)
        prompt, scale = np.divmod(best, cap)
        found.append(each[np.arange(len(values)), prompt, scale].T)
    return np.stack(found, axis=1)


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
