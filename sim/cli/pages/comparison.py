"""Page of `iapo compare`: who won, ACR against budget, and the tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim.cli import ranking
from sim.cli.pages import parts
from sim.reports import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sim.comparison.compare import Plan, Result

_CELLS = {
    "env": "environment",
    "algorithm": "algorithm",
    "budget": "T",
    "trials": "trials",
    "acr_mean": "ACR",
    "acr_sem": "standard error",
    "regret_mean": "simple regret",
    "regret_sem": "its standard error",
    "error_rate": "error rate",
    "spent_mean": "spent, mean",
    "spent_max": "spent, most",
    "p_holm": "p (Holm)",
}
_CONTEXTS = {
    "env": "environment",
    "algorithm": "algorithm",
    "budget": "T",
    "context": "context",
    "regret_mean": "simple regret",
    "regret_sem": "standard error",
    "error_rate": "error rate",
}


def report(plan: "Plan", result: "Result", drawn: "Figure", notes: Sequence[str], out: Path) -> page.Report:
    """The page of a comparison.

    Args:
        plan: what was compared.
        result: what came out.
        drawn: the picture of its summary.
        notes: what values stand on, and what trials cannot tell apart.
        out: folder of its results.
    """
    ranks = [ranking.ranked(str(env), rows, plan, result) for env, rows in result.summary.groupby("env", sort=False)]
    tables = [
        page.ReportTable(
            one.title,
            one.columns,
            tuple(
                tuple(page.Shown(text.strip(), key) for text, key in zip(*row, strict=True))
                for row in zip(one.rows, one.keys, strict=True)
            ),
            one.caption,
        )
        for one in ranks
    ]
    about = f"p (Holm): of a Wilcoxon signed-rank test against {plan.reference}, paired by trial."
    tables.append(parts.frame("Every cell", result.summary, _CELLS, about, {"p_holm": "{:.2g}".format}))
    last = result.contexts[result.contexts["budget"] == max(plan.budgets)]
    tables.append(parts.frame(f"Context by context at T = {max(plan.budgets):,}", last, _CONTEXTS))
    settings, provenance = parts.settled(out)
    names = ", ".join(dict.fromkeys(map(str, result.summary["env"])))
    return page.Report(
        f"Comparison on {names}",
        tuple(ranking.verdicts(result.trials, result.held_out)),
        (
            parts.picture(
                "Average contextual return against budget",
                drawn,
                f"Mean over {plan.trials:,} trials with 95 % intervals; higher is better.",
            ),
        ),
        tuple(tables),
        tuple(notes),
        settings,
        provenance,
    )
