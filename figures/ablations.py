"""What each decision inside PSST is worth: one option changed at a time.

"half credit" runs and scores the environment with the released code's credit for tied votes (1/2 instead of 1/t). ACR
under one credit is not to be compared with that under another: differences are to PSST on that same environment, 0 by
construction where the variant is PSST itself. These rows are in the table only, for their ACR. Where votes are between
two answers both credits are the same.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.lab import Lab, summary

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("synth-bernoulli", "MATH", "CQA", "synth-categorical", "HH", "Summarization"),
    "variants": {
        "data of the last round only": "psst:fresh=true",
        "ties by index": "psst:ties=index",
        "reference budget (overspends)": "psst:budget_rule=reference",
        "as released (reference, index)": "psst:budget_rule=reference,ties=index",
        "all subsets for blocks": "psst:estimator=subsets",
        "plug-in for blocks": "psst:estimator=plug-in",
        "common queries": "psst:queries=common",
        "common, without replacement": "psst:queries=common-wor",
        "the same, all subsets": "psst:queries=common-wor,estimator=subsets",
        "prompt halving": "prompt-halving",
        "prompt halving, blocks": "prompt-halving:estimator=blocks",
        "prompt halving, plug-in, n = 8": "prompt-halving-n8",
        "screening, K = 4": "psst+k4",
        "screening, K = 4, last round only": "psst+k4:fresh=true",
    },
    "credit": {"MATH": "MATH:tie=half", "CQA": "CQA:tie=half"},
    "budgets": (1000, 5000, 20000),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {
    "envs": ("crossover",),
    "variants": {
        "data of the last round only": "psst:fresh=true",
        "common, without replacement": "psst:queries=common-wor",
        "all subsets for blocks": "psst:estimator=subsets",
    },
    "credit": {"crossover": "crossover:tie=half"},
    "budgets": (50, 200),
    "trials": 16,
}
_CREDIT = "half credit for ties"
_FAR = 6.0


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.lab.summary` with the column variant: what was changed ("" for PSST itself).

    Half credit: rows of PSST on "NAME:tie=half", variant "half credit for ties".
    """
    import pandas as pd

    names = {text: said for said, text in sweep["variants"].items()}
    parts = [summary(lab.compare(sweep | {"algorithms": ("psst", *names)}))]
    halves = [half for env, half in sweep["credit"].items() if lab.at_hand([env])]
    if halves:
        parts.append(summary(lab.compare(sweep | {"envs": halves, "algorithms": ("psst", "psst:fresh=true")})))
    table = pd.concat(parts, ignore_index=True)
    table["variant"] = [
        _CREDIT + (", last round only" if "fresh" in text else "") if env in halves else names.get(text, "")
        for env, text in zip(table["env"], table["algorithm"], strict=True)
    ]
    return table


def draw(table: "pd.DataFrame") -> Figure:
    """Difference to PSST in ACR with 95 % intervals: a row per variant, a colour per budget.

    Differences far below all others are named at the edge.
    """
    rows = table[(table["variant"].fillna("") != "") & ~table["env"].str.contains(":")]
    figure, axes = panels.by_environment(rows, height=0.9 + 0.23 * rows["variant"].nunique())
    budgets = sorted(rows["budget"].unique())
    colors = style.shades(budgets)
    variants = list(dict.fromkeys(rows["variant"]))
    for panel, (_, of_env) in zip(axes, rows.groupby("env", sort=False), strict=True):
        for i, budget in enumerate(budgets):
            own = of_env[of_env["budget"] == budget].set_index("variant").reindex(variants)
            at = np.arange(len(variants)) + 0.2 * (i - (len(budgets) - 1) / 2)
            half = panels.Z * own["diff_sem"].fillna(0.0)
            look = {"fmt": "o", "ms": 2.8, "color": colors[budget], "elinewidth": 0.8}
            panel.errorbar(own["diff_mean"], at, xerr=half, **look)
        panel.axvline(0.0, color=style.INK, linewidth=0.8)
        panel.set_ylim(len(variants) - 0.5, -0.5)
        panel.set_yticks(range(len(variants)), variants if panel is axes[0] else [""] * len(variants))
        panel.set_xlabel("ACR less that of PSST")
        low, high = limits(of_env["diff_mean"].to_numpy())
        panel.set_xlim(low, high)
        panel.locator_params(axis="x", nbins=5)
        for at, beyond in enumerate(variants):
            own = of_env[(of_env["variant"] == beyond) & (of_env["diff_mean"] < low)]
            said = ", ".join(f"{row.diff_mean:.2g} (T = {row.budget:,})" for row in own.itertuples())
            panel.text(low, at - 0.36, f" $\\leftarrow$ {said}" if said else "", fontsize=6, va="center")
    handles = {f"T = {t:,}": Line2D([], [], color=colors[t], marker="o", linestyle="") for t in budgets}
    style.legend(figure, [], columns=len(handles), extra=handles)
    return figure


def limits(differences: np.ndarray) -> tuple[float, float]:
    """Ends of the axis: all differences, but for those below 0 by more than `_FAR` times the 90th percentile's size."""
    reach = _FAR * np.quantile(np.abs(differences), 0.9)
    shown = differences[differences >= -reach]
    margin = 0.12 * (max(shown.max(), 0.0) - min(shown.min(), 0.0))
    return min(shown.min(), 0.0) - margin, max(shown.max(), 0.0) + margin
