"""Worth of knowing the inference strategy (the paper's Figure 5).

IAPO chooses prompt and N together; TRIPLE chooses the prompt by single answers and deploys it with N = 1 or a random N;
PSST+K1 chooses the prompt by single answers, then N for that prompt. The level lines are what the last two
choose with exact values instead of samples: what they tend to. (Where single answers deceive, noise lifts them above.)
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.inputs import Lab, summary
from sim.comparison import cells, tables
from theory.agnostic import losses

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("synth-bernoulli", "MATH", "CQA", "synth-categorical", "HH", "Summarization"),
    "algorithms": ("psst", "psst+k1", "psst+k4", "triple-n1", "triple-random"),
    "budgets": (1000, 2000, 5000, 10000, 20000),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {
    "envs": ("crossover",),
    "algorithms": ("psst", "psst+k1", "psst+k4", "triple-n1", "triple-random"),
    "budgets": (50, 200, 500),
    "trials": 16,
}

LIMITS = {"best prompt at N = 1": "triple-n1", "the same with its best N": "psst+k1", "best arm": "oracle"}
"""Limit -> the algorithm that tends to it."""
_LINES = {
    "best prompt at N = 1": (style.MUTED[0], "limit: best prompt at N = 1"),
    "the same with its best N": (style.look("psst+k1").color, "limit: best prompt at N = 1, with its best N"),
    "best arm": (style.look("oracle").color, style.look("oracle").label),
}
"""Limit -> colour and name in the picture; one of its own where the algorithm's is too near another's."""


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.inputs.summary` with a row per limit of each environment, algorithm "limit: ..." and budget 0."""
    import pandas as pd

    result = lab.compare(sweep)
    rows = []
    for env in lab.at_hand(sweep["envs"]):
        limits = _limits(lab, env, sweep["trials"])
        best = limits[:, -1].mean()
        for name, acr in zip(LIMITS, limits.T, strict=True):
            row = {"env": env, "algorithm": f"limit: {name}", "budget": 0, "trials": len(acr)}
            rows.append(
                row | {"acr_mean": acr.mean(), "acr_sem": float(tables.sem(acr)), "gain": best / acr.mean() - 1}
            )
    return pd.concat([summary(result), pd.DataFrame(rows)], ignore_index=True)


def _limits(lab: Lab, env: str, trials: int) -> np.ndarray:
    """ACR on test of each trial's choice by exact training values: a column for each of `LIMITS`."""
    probs = cells.context_probs(lab.get(env))
    found = []
    for seen, of in zip(*lab.exact(env, trials), strict=True):
        lost = losses(of, seen)
        best = of.reshape(len(of), -1)[np.arange(len(of)), seen.reshape(len(seen), -1).argmax(axis=1)]
        found.append([float(value @ probs) for value in (lost.best - lost.single, lost.best - lost.tuned, best)])
    return np.array(found)


def draw(table: "pd.DataFrame") -> Figure:
    """Average contextual return on held-out queries with 95 % intervals and limits, a panel per environment."""
    figure, axes = panels.by_environment(table, label="average contextual return")
    simulated = table[table["budget"] > 0]
    for panel, (env, rows) in zip(axes, simulated.groupby("env", sort=False), strict=True):
        panels.against_budget(panel, rows)
        low, high = panel.get_ylim()
        for name, (color, _) in _LINES.items():
            own = table[(table["env"] == env) & (table["algorithm"] == f"limit: {name}")]["acr_mean"].iloc[0]
            panel.axhline(own, color=color, linewidth=0.8, zorder=2)
            low, high = min(low, own), max(high, own)
        panel.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    extra = {said: Line2D([], [], color=color, linewidth=0.8) for color, said in _LINES.values()}
    style.legend(figure, list(dict.fromkeys(simulated["algorithm"])), columns=4, extra=extra)
    return figure
