"""Choice of an algorithm: least regret by budget per arm, gap, query noise and number of contexts.

Worlds are Synth-Bernoulli's for majority votes and Synth-Categorical's for best of N, drawn afresh for every trial.
"Noise" is the half-width of the effect that a single query has on one prompt, "gap" halves the trials of an
environment at the median of their worlds' own gap: how far, in the mean over contexts, the best arm of any other prompt
lies behind the best arm. One context is the middle one of the nine. "Cannot be told from the best" is with the one that
the data call best, of which chance has its part.
"""

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures import style
from figures.inputs import Lab, records
from sim.comparison import tables

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "sizes": {"num_prompts": 8, "max_scale": 8},
    "kinds": {
        "votes": {
            "base": "synth-bernoulli",
            "contexts": ({"cost_weights": (0.6,)}, {"cost_weights": (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)}),
            "noise": (0.02, 0.3),
        },
        "best of N": {
            "base": "synth-categorical",
            "contexts": (
                {"objective_weights": (0.5,), "cost_weights": (2.0,)},
                {"objective_weights": (0.2, 0.5, 0.8), "cost_weights": (0.2, 2.0, 10.0)},
            ),
            "noise": (0.05, 1.0),
        },
    },
    "per_arm": (1, 4, 16, 64),
    "algorithms": (
        "mixture-racing",
        "psst",
        "psst+k4",
        "prompt-halving",
        "prompt-halving-n8",
        "correlated-halving",
        "paired-racing",
        "surrogate",
        "top-two",
        "almost-tracking",
        "uniform",
        "ucb",
        "successive-rejects",
        "triple-n1",
    ),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {
    "sizes": {"num_prompts": 3, "max_scale": 2},
    "kinds": {
        "votes": {"base": "synth-bernoulli", "contexts": ({"cost_weights": (0.0, 1.0)},), "noise": (0.08,)},
        "best of N": {
            "base": "synth-categorical",
            "contexts": ({"objective_weights": (0.5,), "cost_weights": (0.2, 2.0)},),
            "noise": (0.25,),
        },
    },
    "per_arm": (8, 32),
    "algorithms": ("psst", "uniform"),
    "trials": 16,
}
SMALL, LARGE = "small", "large"
_SHOWN = 5
"""Markers that fit below a cell's best."""
LEVEL = 0.05
"""Algorithms that differ from the best one at this level are worse; Holm-corrected within a cell."""


class Setting(NamedTuple):
    """A kind of environment: its name, votes or best of N, number of contexts, query noise."""

    name: str
    kind: str
    contexts: int
    noise: float


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """A row per cell and algorithm.

    Columns: kind ("votes" or "best of N"), contexts, noise, gap ("small" or "large"), per_arm, budget, algorithm,
    trials, regret and sem (simple regret, mean over contexts), behind and behind_sem (paired difference to the least
    regret of the cell), p (Student's t test of that difference, Holm-corrected; empty for the best).
    """
    import pandas as pd

    rows = []
    per_arm = {share * sweep["sizes"]["num_prompts"] * sweep["sizes"]["max_scale"]: share for share in sweep["per_arm"]}
    settings = environments(sweep)
    every = lab.compare(sweep | {"envs": [one.name for one in settings], "budgets": tuple(per_arm)}).trials
    for setting in settings:
        trials = every[every["env"] == setting.name]
        gap = gaps(lab.exact(setting.name, sweep["trials"])[1])
        for half, budget in product((SMALL, LARGE), per_arm):
            chosen = np.flatnonzero(gap <= np.median(gap) if half == SMALL else gap > np.median(gap))
            of_cell = trials[(trials["budget"] == budget) & trials["trial"].isin(chosen)]
            regret = {name: own.sort_values("trial")["regret"].to_numpy() for name, own in of_cell.groupby("algorithm")}
            rows += [(*setting[1:], half, per_arm[budget], budget, *row) for row in ranked(regret)]
    cell = ["kind", "contexts", "noise", "gap", "per_arm", "budget"]
    found = ["algorithm", "trials", "regret", "sem", "behind", "behind_sem", "p"]
    return pd.DataFrame(rows, columns=[*cell, *found])


def environments(sweep: dict[str, Any]) -> list[Setting]:
    """The environments of a sweep."""
    found = []
    for kind, of in sweep["kinds"].items():
        for weights, noise in product(of["contexts"], of["noise"]):
            written = {name: "+".join(f"{w:g}" for w in values) for name, values in weights.items()}
            options = sweep["sizes"] | {"noise": f"{noise:g}"} | written
            name = f"{of['base']}:{','.join(f'{option}={value}' for option, value in options.items())}"
            found.append(Setting(name, kind, prod(map(len, weights.values())), noise))
    return found


def gaps(values: np.ndarray) -> np.ndarray:
    """Gaps of the runner-up prompt's best arm to the best arm, mean over contexts, shape (trial,)."""
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
    """Two-sided p-value of a mean difference of 0; 1 where no trial differs, or there is one.

    Student's t; where all trials differ by the same, the probability that their signs are equal.
    """
    from scipy import stats

    error = float(tables.sem(differences))
    if np.isnan(error) or not differences.any():
        return 1.0
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        return 2 * 0.5 ** len(differences)
    return float(2 * stats.t.sf(abs(differences.mean()) / error, len(differences) - 1))


def draw(table: "pd.DataFrame") -> Figure:
    """Votes above, best of N below, a panel per number of contexts: budget per arm across, query noise and gap down.

    A cell has the colour of the algorithm with the least regret, its marker and that regret; below it the markers of
    the next ones that the data cannot tell from it, and how many more there are.
    """
    kinds, contexts = (list(dict.fromkeys(table[name])) for name in ("kind", "contexts"))
    most = max(len(own[["noise", "gap"]].drop_duplicates()) for _, own in table.groupby("kind"))
    size = {"nrows": len(kinds), "ncols": max(2, len(contexts)), "sharey": "row"}
    figure, grid = style.paper(style.PAGE, 0.4 + (0.5 + 0.5 * most) * len(kinds), **size)
    for panels, kind in zip(grid, kinds, strict=True):
        for axes, number in zip(panels, contexts, strict=False):
            _panel(axes, table[(table["kind"] == kind) & (table["contexts"] == number)])
            axes.set_title(f"{kind}, {number} context{'s' * (number > 1)}", loc="left", fontweight="bold")
        for axes in panels[len(contexts) :]:
            axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("completions per arm, T / (|P| Nmax)")
    seen = [name for name in dict.fromkeys(table["algorithm"]) if not as_good(table[table["algorithm"] == name]).empty]
    style.legend(figure, seen, columns=4)
    return figure


def as_good(cells: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that are best in their cell, or cannot be told from the best."""
    return cells[~(cells["p"] < LEVEL)]


def _panel(axes: Axes, rows: "pd.DataFrame") -> None:
    shares = sorted(rows["per_arm"].unique())
    rowed = list(dict.fromkeys(zip(rows["noise"], rows["gap"], strict=True)))
    for (x, share), (y, (noise, gap)) in product(enumerate(shares), enumerate(rowed)):
        _cell(axes, x, y, rows[(rows["per_arm"] == share) & (rows["noise"] == noise) & (rows["gap"] == gap)])
    axes.set(xlim=(-0.5, len(shares) - 0.5), ylim=(len(rowed) - 0.5, -0.5))
    axes.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
    axes.set_yticks(range(len(rowed)), [f"noise {noise:g}\n{gap} gap" for noise, gap in rowed])
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _cell(axes: Axes, x: int, y: int, cell: "pd.DataFrame") -> None:
    best, *others = [(row.algorithm, row.regret) for row in records(as_good(cell).sort_values("behind"))]
    look = style.look(best[0])
    tint = (*mpl.colors.to_rgb(look.color), 0.25)
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=tint, edgecolor="white", linewidth=1.0))
    axes.plot(x - 0.28, y - 0.12, linestyle="", marker=look.marker, color=look.color, markersize=4.5)
    axes.text(x - 0.12, y - 0.12, f"{best[1]:.3f}".removeprefix("0"), va="center", fontsize=6.5)
    if len(others) > _SHOWN:
        axes.text(x + 0.48, y + 0.28, f"+{len(others) - _SHOWN}", ha="right", va="center", fontsize=6, color=style.GREY)
    for place, (name, _) in enumerate(others[:_SHOWN]):
        other = style.look(name)
        face = {"markerfacecolor": "white", "markeredgewidth": 0.6, "markersize": 3.6}
        axes.plot(x - 0.32 + 0.16 * place, y + 0.28, linestyle="", marker=other.marker, color=other.color, **face)
