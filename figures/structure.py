"""Advantage of using the structure over |P|, Nmax and |C|: PSST against halving that shares nothing.

Halving on |C| |P| Nmax unrelated arms pulls every context's arms apart and uses a pull for its own N only. For each
size, what counts is the budget at which the mean simple regret falls to a target, interpolated between budgets.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.inputs import Lab, summary

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "families": {
        "synth-bernoulli": {"top_cost": 1.0, "options": {}},
        "synth-categorical": {"top_cost": 10.0, "options": {"objective_weights": 0.5}},
    },
    "base": {"num_prompts": 8, "max_scale": 8, "cost_weights": 3},
    "sizes": {"num_prompts": (4, 8, 16), "max_scale": (2, 4, 8, 16), "cost_weights": (1, 3, 9)},
    "algorithms": ("psst", "sequential-halving"),
    "budgets": (100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600),
    "trials": 1000,
    "target": 0.05,
}
SMOKE: dict[str, Any] = {
    "families": {"synth-bernoulli": {"top_cost": 1.0, "options": {}}},
    "base": {"num_prompts": 3, "max_scale": 2, "cost_weights": 2},
    "sizes": {"cost_weights": (2,)},
    "budgets": (50, 200, 800),
    "trials": 16,
}

AXES = {"num_prompts": "|P|", "max_scale": "Nmax", "cost_weights": "|C|"}


class Needed(NamedTuple):
    """Budget at which the mean regret falls to the target: value, and ends of a 95 % interval.

    Not reached within the budgets tried: infinite. Reached at the smallest one: that one.
    """

    value: float
    low: float
    high: float


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.inputs.summary` of every family and size.

    Columns beside it: family, axis, size, prompts, max_scale, contexts, target.
    """
    import pandas as pd

    sizes = [(axis, size, sweep["base"] | {axis: size}) for axis, sizes in sweep["sizes"].items() for size in sizes]
    every = [
        (family, environment(family, **of, **at[2]), *at) for family, of in sweep["families"].items() for at in sizes
    ]
    found = summary(lab.compare(sweep | {"envs": tuple(dict.fromkeys(name for _, name, *_ in every))}))
    parts = []
    for family, name, axis, size, at in every:
        named = {"family": family, "axis": axis, "size": size, "prompts": at["num_prompts"]}
        named |= {"max_scale": at["max_scale"], "contexts": at["cost_weights"], "target": sweep["target"]}
        parts.append(found[found["env"] == name].assign(**named))
    return pd.concat(parts, ignore_index=True)


def environment(
    family: str, top_cost: float, options: dict[str, Any], num_prompts: int, max_scale: int, cost_weights: int
) -> str:
    """Name of an environment of these sizes, cost weights spread evenly from 0 to the top one."""
    weights = "+".join(f"{weight:g}" for weight in np.linspace(0, top_cost, cost_weights).round(4))
    sizes = {"num_prompts": num_prompts, "max_scale": max_scale, "cost_weights": weights}
    return f"{family}:{','.join(f'{name}={value}' for name, value in (sizes | options).items())}"


def needed(rows: "pd.DataFrame") -> Needed:
    """The budget that one algorithm needs on one environment.

    Args:
        rows: of the table, one per budget.
    """
    rows = rows.sort_values("budget")
    budget, mean = rows["budget"].to_numpy(float), rows["regret_mean"].to_numpy(float)
    half = panels.Z * rows["regret_sem"].fillna(0.0).to_numpy(float)
    target = float(rows["target"].iloc[0])
    return Needed(*(_crossing(budget, curve, target) for curve in (mean, mean - half, mean + half)))


def _crossing(budget: np.ndarray, regret: np.ndarray, target: float) -> float:
    """Where a curve falls to the target for good, linear between the logarithms of the budgets."""
    above = np.flatnonzero(regret > target)
    if len(above) == 0:
        return float(budget[0])
    last = above[-1]
    if last == len(budget) - 1:
        return np.inf
    share = (regret[last] - target) / (regret[last] - regret[last + 1])
    return float(np.exp(np.log(budget[last]) * (1 - share) + np.log(budget[last + 1]) * share))


def factors(table: "pd.DataFrame") -> "pd.DataFrame":
    """Factors of PSST's budget that halving without sharing needs, per family and size, with a conservative interval.

    Columns: family, axis, size, prompts, max_scale, contexts, product (|C| Nmax), psst, halving, factor, low, high. The
    interval runs from the worst to the best ends of both budgets' intervals.
    """
    import pandas as pd

    rows = []
    for at, part in table.groupby(["family", "axis", "size"], sort=False):
        ours, theirs = (needed(part[part["algorithm"] == name]) for name in ("psst", "sequential-halving"))
        first = part.iloc[0]
        sizes = (first["prompts"], first["max_scale"], first["contexts"], first["max_scale"] * first["contexts"])
        factor = (theirs.value / ours.value, theirs.low / ours.high, theirs.high / ours.low)
        rows.append((*at, *sizes, ours.value, theirs.value, *factor))
    columns = ["family", "axis", "size", "prompts", "max_scale", "contexts", "product", "psst", "halving"]
    return pd.DataFrame(rows, columns=[*columns, "factor", "low", "high"])


def draw(table: "pd.DataFrame") -> Figure:
    """The factor against each size, |C| Nmax dashed, and |C| (Nmax + 1) / 2: what scoring each arm on its own costs.

    A row per family, a panel per size.
    """
    found = factors(table)
    families, axes_of = (list(dict.fromkeys(found[name])) for name in ("family", "axis"))
    size = {"nrows": len(families), "ncols": max(3, len(axes_of))}
    figure, grid = style.paper(style.PAGE, 0.5 + 1.6 * len(families), **size)
    for row, family in zip(grid, families, strict=True):
        for axes, name in zip(row, axes_of, strict=False):
            _panel(axes, found[(found["family"] == family) & (found["axis"] == name)].sort_values("size"))
            axes.set_xlabel(AXES[name])
        for axes in row[len(axes_of) :]:
            axes.set_visible(False)
        row[0].set_title(family, loc="left", fontweight="bold")
        row[0].set_ylabel("budget without sharing / PSST's")
    extra = {
        "measured, 95 % interval": style.look("sequential-halving").handle,
        "|C| Nmax": Line2D([], [], linestyle="--", color=style.INK, lw=0.9),
        "|C| (Nmax + 1) / 2": Line2D([], [], linestyle="--", color=style.GREY, lw=0.9),
    }
    style.legend(figure, [], columns=3, extra=extra)
    return figure


def _panel(axes: Axes, rows: "pd.DataFrame") -> None:
    own = rows[np.isfinite(rows["factor"])]
    high = np.where(np.isfinite(own["high"]), own["high"], own["factor"] * 4)
    error = np.maximum([own["factor"] - own["low"], high - own["factor"]], 0.0)
    axes.errorbar(own["size"], own["factor"], error, **style.look("sequential-halving").kwargs)
    axes.plot(rows["size"], rows["product"], "--", color=style.INK, lw=0.9)
    axes.plot(rows["size"], rows["contexts"] * (rows["max_scale"] + 1) / 2, "--", color=style.GREY, lw=0.9)
    for size in rows.loc[~np.isfinite(rows["factor"]), "size"]:
        axes.annotate("not reached", (size, rows["product"].max()), ha="center", va="bottom", fontsize=6)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(rows["size"], [str(size) for size in rows["size"]])
    style.plain_log(axes.yaxis)
