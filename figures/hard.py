"""Environments that push one part of the structure to its limit each: who is broken by what.

Those of `sim.envs.hard`, and of `sim.envs.racing_traps`, which aim at what mixture racing relies on.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from figures import panels, style
from figures.inputs import Lab, summary

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": (
        "deceptive",
        "query-noise",
        "heavy-tails",
        "near-ties",
        "many-prompts",
        "many-contexts",
        "long-scales",
        "uneven-costs",
        "random-lengths",
        "off-grid",
        "vote-turns",
        "twenty-answers",
        "two-clusters",
        "one-percent",
        "jackpots",
    ),
    "algorithms": (
        "psst",
        "psst+k1",
        "psst+k4",
        "prompt-halving",
        "mixture-racing",
        "correlated-halving",
        "paired-racing",
        "surrogate",
        "top-two",
        "almost-tracking",
        "uniform",
        "ucb",
        "triple-n1",
        "sequential-halving",
        "random",
    ),
    "budgets": (1000, 5000),
    "trials": 400,
}
SMOKE: dict[str, Any] = {
    "envs": ("near-ties",),
    "algorithms": ("psst", "random"),
    "budgets": (500,),
    "trials": 8,
}


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.inputs.summary` with the column share: mean regret over that of a random arm."""
    table = summary(lab.compare(sweep))
    floor = table[table["algorithm"] == "random"].set_index(["env", "budget"])["regret_mean"]
    at = list(zip(table["env"], table["budget"], strict=True))
    return table.assign(share=table["regret_mean"] / floor.loc[at].to_numpy())


def share_sem(rows: "pd.DataFrame", floor: "pd.DataFrame") -> "pd.Series":
    """Largest standard error that a share can have, by the delta method: the errors of both regrets add up.

    How the regrets of one trial depend on each other is not in the table; whatever it is, the error is no larger.

    Args:
        rows: of one algorithm.
        floor: of the random arm, with the same index.
    """
    return ((rows["regret_sem"] + rows["share"] * floor["regret_sem"]) / floor["regret_mean"]).fillna(0.0)


def draw(table: "pd.DataFrame") -> Figure:
    """Simple regret over that of a random arm, a row per environment, a panel per budget; cautious 95 % intervals."""
    envs, budgets = (list(dict.fromkeys(table[name])) for name in ("env", "budget"))
    names = [name for name in dict.fromkeys(table["algorithm"]) if style.look(name).marker]
    figure, grid = style.paper(
        style.PAGE, 0.9 + (0.16 + 0.02 * len(names)) * len(envs), nrows=1, ncols=max(len(budgets), 2), sharey=True
    )
    for axes, budget in zip(grid[0], budgets, strict=False):
        floor = table[(table["algorithm"] == "random") & (table["budget"] == budget)].set_index("env").reindex(envs)
        for i, name in enumerate(names):
            own = table[(table["algorithm"] == name) & (table["budget"] == budget)].set_index("env").reindex(envs)
            at = np.arange(len(envs)) + 0.88 / len(names) * (i - (len(names) - 1) / 2)
            half = panels.Z * share_sem(own, floor)
            axes.errorbar(own["share"], at, xerr=half, **(style.look(name).kwargs | {"linestyle": ""}))
        axes.axvline(1.0, color=style.GREY, linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        style.plain_log(axes.xaxis)
        axes.set_ylim(len(envs) - 0.5, -0.5)
        axes.set_yticks(range(len(envs)), envs)
        axes.grid(axis="y", visible=False)
        for line in range(1, len(envs)):
            axes.axhline(line - 0.5, color="#e4e4e4", linewidth=0.5)
        axes.set_xlabel("simple regret / that of a random arm")
        axes.set_title(f"T = {budget:,}", loc="left", fontweight="bold")
    for axes in grid[0, len(budgets) :]:
        axes.set_visible(False)
    style.legend(figure, names, columns=min(len(names), 6))
    return figure
