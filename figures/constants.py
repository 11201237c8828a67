"""Constants of the baselines and how much they matter: epsilon, temperature, UCB's exploration constant.

Rewards are in [0, 1] on Synth-Bernoulli and MATH, and go up to 4 on Synth-Categorical: what suits the one need not suit
the other.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.inputs import Lab, summary
from sim import algorithms

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("synth-bernoulli", "MATH", "CQA", "synth-categorical", "HH", "Summarization"),
    "constants": {
        "epsilon-greedy:epsilon": (0.02, 0.15, 0.8),
        "softmax:temperature": (0.01, 0.05, 1.0),
        "ucb:constant": (0.02, 0.1, 1.0),
    },
    "budgets": (1000, 5000),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {
    "envs": ("crossover",),
    "constants": {"ucb:constant": (0.1, 1.0)},
    "budgets": (50, 200),
    "trials": 16,
}


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.inputs.summary` with the columns base, option and constant (empty for PSST)."""
    names = {}
    for text, values in sweep["constants"].items():
        base, option = text.split(":")
        default = algorithms.options(base)[option]
        names |= {(base if value == default else f"{text}={value}"): (base, option, value) for value in values}
    table = summary(lab.compare(sweep | {"algorithms": ("psst", *names)}))
    for column, (name, nothing) in enumerate((("base", ""), ("option", ""), ("constant", np.nan))):
        table[name] = [names[text][column] if text in names else nothing for text in table["algorithm"]]
    return table


def draw(table: "pd.DataFrame") -> Figure:
    """ACR against the constant, a panel per environment and budget; PSST as a level band."""
    envs, budgets = (list(dict.fromkeys(table[name])) for name in ("env", "budget"))
    figure, grid = panels.stacked(envs, 0.3 + 1.6 * len(budgets), (1.0,) * len(budgets))
    for axes, (env, budget) in zip(grid.flat, product(envs, budgets), strict=True):
        rows = table[(table["env"] == env) & (table["budget"] == budget)]
        ours = rows[rows["algorithm"] == "psst"].iloc[0]
        half = panels.Z * np.nan_to_num(ours["acr_sem"])
        color = style.look("psst").color
        axes.axhspan(ours["acr_mean"] - half, ours["acr_mean"] + half, color=color, alpha=0.25, lw=0)
        axes.axhline(ours["acr_mean"], color=color, lw=1.1)
        for base, own in rows.dropna(subset="constant").groupby("base", sort=False):
            look = style.look(str(base))
            axes.errorbar(own["constant"], own["acr_mean"], panels.Z * own["acr_sem"].fillna(0.0), **look.kwargs)
        axes.set_xscale("log")
        axes.set_xticks([0.01, 0.1, 1.0], ["0.01", "0.1", "1"])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("constant")
        axes.set_title(f"{env}, T = {budget:,}", loc="left", fontweight="bold")
    panels.label_rows(grid.ravel(), "average contextual return")
    bases = [base for base in dict.fromkeys(table["base"].dropna()) if base]
    ours = Line2D([], [], color=style.look("psst").color, lw=1.1)
    style.legend(figure, bases, columns=5, extra={"PSST, 95 % interval shaded": ours})
    return figure
