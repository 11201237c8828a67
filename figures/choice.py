"""What should I use? The algorithm with the least regret by budget per arm, gap, query noise and number of contexts.

Worlds are Synth-Bernoulli's, drawn afresh for every trial: it says what is best for majority votes, and nothing of best
of N. "Gap" halves the trials of an environment at the median of their worlds' own gap: how far, in the mean over
contexts, the best arm of any other prompt lies behind the best arm.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures import style
from figures.lab import Lab
from sim import tables

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "sizes": {"num_prompts": 8, "max_scale": 8},
    "cost_weights": ((0.0,), (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)),
    "noise": (0.02, 0.3),
    "per_arm": (1, 4, 16, 64),
    "algorithms": ("psst", "psst+k4", "prompt-halving", "uniform", "ucb", "successive-rejects", "triple-n1"),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {
    "sizes": {"num_prompts": 3, "max_scale": 2},
    "cost_weights": ((0.0, 1.0),),
    "noise": (0.08,),
    "per_arm": (8, 32),
    "algorithms": ("psst", "uniform"),
    "trials": 16,
}
SMALL, LARGE = "small", "large"
LEVEL = 0.05
"""Algorithms that differ from the best one at this level are worse; Holm-corrected within a cell."""


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """A row per cell and algorithm.

    Columns: contexts, noise, gap ("small" or "large"), per_arm, budget, algorithm, trials, regret and sem (simple
    regret, mean over contexts), behind and behind_sem (paired difference to the least regret of the cell), p
    (Student's t test of that difference, Holm-corrected; empty for the best).
    """
    import pandas as pd

    rows = []
    per_arm = {share * sweep["sizes"]["num_prompts"] * sweep["sizes"]["max_scale"]: share for share in sweep["per_arm"]}
    kinds = list(product(sweep["cost_weights"], sweep["noise"]))
    envs = [environment(sweep["sizes"], *kind) for kind in kinds]
    every = lab.compare(sweep | {"envs": envs, "budgets": tuple(per_arm)}).trials
    for env, (weights, noise) in zip(envs, kinds, strict=True):
        trials = every[every["env"] == env]
        gap = gaps(lab.exact(env, sweep["trials"])[1])
        for half, budget in product((SMALL, LARGE), per_arm):
            chosen = np.flatnonzero(gap <= np.median(gap) if half == SMALL else gap > np.median(gap))
            of_cell = trials[(trials["budget"] == budget) & trials["trial"].isin(chosen)]
            regret = {name: own.sort_values("trial")["regret"].to_numpy() for name, own in of_cell.groupby("algorithm")}
            at = (len(weights), noise, half, per_arm[budget], budget)
            rows += [(*at, *row) for row in ranked(regret)]
    cell = ["contexts", "noise", "gap", "per_arm", "budget"]
    found = ["algorithm", "trials", "regret", "sem", "behind", "behind_sem", "p"]
    return pd.DataFrame(rows, columns=[*cell, *found])


def environment(sizes: dict[str, int], weights: tuple[float, ...], noise: float) -> str:
    """Name of a Synth-Bernoulli environment."""
    options = [f"{name}={size}" for name, size in sizes.items()]
    return f"synth-bernoulli:{','.join(options)},noise={noise:g},cost_weights={'+'.join(f'{w:g}' for w in weights)}"


def gaps(values: np.ndarray) -> np.ndarray:
    """How far the runner-up prompt's best arm lies behind the best arm, mean over contexts, shape (trial,)."""
    best = np.sort(values.max(axis=3), axis=2)
    return (best[..., -1] - best[..., -2]).mean(axis=1)


def ranked(regret: dict[str, np.ndarray]) -> list[tuple[Any, ...]]:
    """Of every algorithm of a cell, least regret first: name, trials, mean, its error, difference to the best, p."""
    names = sorted(regret, key=lambda name: (regret[name].mean(), name))
    behind = {name: regret[name] - regret[names[0]] for name in names}
    p = tables.holm(np.array([np.nan, *(_p(behind[name]) for name in names[1:])]))
    return [
        (name, len(own), own.mean(), float(tables.sem(own)), behind[name].mean(), float(tables.sem(behind[name])), one)
        for name, own, one in zip(names, (regret[name] for name in names), p, strict=True)
    ]


def _p(differences: np.ndarray) -> float:
    """Two-sided p-value of a mean difference of 0; 1 where no trial differs."""
    from scipy import stats

    error = float(tables.sem(differences))
    if not error > 0:
        return float(differences.mean() == 0)
    return float(2 * stats.t.sf(abs(differences.mean()) / error, len(differences) - 1))


def draw(table: "pd.DataFrame") -> Figure:
    """A panel per number of contexts: budget per arm across, query noise and gap down.

    A cell has the colour of the algorithm with the least regret, its marker and that regret; below it the markers of
    those that the data cannot tell from it.
    """
    contexts = list(dict.fromkeys(table["contexts"]))
    kinds = list(dict.fromkeys(zip(table["noise"], table["gap"], strict=True)))
    height = 0.9 + 0.5 * len(kinds)
    figure, panels = style.paper(style.PAGE, height, nrows=1, ncols=max(2, len(contexts)), sharey=True)
    for axes, number in zip(panels[0], contexts, strict=False):
        own = table[table["contexts"] == number]
        shares = sorted(own["per_arm"].unique())
        for (x, share), (y, kind) in product(enumerate(shares), enumerate(kinds)):
            cell = own[(own["per_arm"] == share) & (own["noise"] == kind[0]) & (own["gap"] == kind[1])]
            _cell(axes, x, y, cell)
        axes.set(xlim=(-0.5, len(shares) - 0.5), ylim=(len(kinds) - 0.5, -0.5))
        axes.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
        axes.set_yticks(range(len(kinds)), [f"noise {noise:g}\n{gap} gap" for noise, gap in kinds])
        axes.set_xlabel("completions per arm, T / (|P| Nmax)")
        axes.set_title(f"{number} context{'s' if number > 1 else ''}", loc="left", fontweight="bold")
        axes.grid(visible=False)
        axes.tick_params(length=0)
    for axes in panels[0, len(contexts) :]:
        axes.set_visible(False)
    seen = [name for name in dict.fromkeys(table["algorithm"]) if not as_good(table[table["algorithm"] == name]).empty]
    style.legend(figure, seen, columns=4)
    return figure


def as_good(cells: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that are best in their cell, or cannot be told from the best."""
    return cells[~(cells["p"] < LEVEL)]


def _cell(axes: Axes, x: int, y: int, cell: "pd.DataFrame") -> None:
    best, *others = [(row.algorithm, row.regret) for row in as_good(cell).sort_values("behind").itertuples()]
    look = style.look(best[0])
    tint = (*mpl.colors.to_rgb(look.color), 0.25)
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=tint, edgecolor="white", linewidth=1.0))
    axes.plot(x - 0.28, y - 0.12, linestyle="", marker=look.marker, color=look.color, markersize=4.5)
    axes.text(x - 0.12, y - 0.12, f"{best[1]:.3f}".removeprefix("0"), va="center", fontsize=6.5)
    for place, (name, _) in enumerate(others):
        other = style.look(name)
        face = {"markerfacecolor": "white", "markeredgewidth": 0.6, "markersize": 3.6}
        axes.plot(x - 0.32 + 0.16 * place, y + 0.28, linestyle="", marker=other.marker, color=other.color, **face)
