"""Simple regret against bounds, on small worlds whose bounds of `iapo verify` can be computed at any budget.

A miss in a context costs at most that context's largest gap: the expected simple regret, in the mean over contexts, is
at most the mean largest gap times the probability of a miss in any context, which is what most bounds are on; what
others say of it is in `theory.checks.events`. Intervals are pointwise: whether a bound is violated is judged in the
figure `bounds`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from figures.bounds import colors_of, legend_of
from figures.inputs import Lab, records, summary
from theory.checks import claims
from theory.checks.verdicts import FEW, clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

    from sim.envs.dataset import Dataset

SWEEP: dict[str, Any] = {
    "envs": ("two-arm", "bon-two-scales", "mv-three-scales"),
    "rules": {"psst:fresh=true": "psst, fresh", "psst": "psst"},
    "budgets": (100, 400, 1600, 6400, 25600),
    "trials": 5000,
}
SMOKE: dict[str, Any] = {
    "envs": ("two-arm",),
    "rules": {"psst": "psst"},
    "budgets": (50, 500),
    "trials": 16,
}
_SAID = {"psst:fresh=true": "fresh data", "psst": "accumulated"}
_LEVEL = 0.05
_KEYS = ("env", "algorithm", "budget")


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Columns: env, algorithm, budget, claim, trials, regret, low, high, exact, bound.

    Rows without a claim are simulated: the mean simple regret with the ends of a 95 % interval (`ends`), and its exact
    expectation where that is known. Rows with a claim have a bound, capped by the mean largest gap. Bounds that need
    assumptions a world does not meet are left out. A sweep's rules: algorithm -> the name that claims have for it.
    """
    import pandas as pd

    result = lab.compare(sweep | {"algorithms": ("psst", *(name for name in sweep["rules"] if name != "psst"))})
    missed = (result.trials["error"] > 0).groupby([result.trials[name] for name in _KEYS]).sum()
    found = summary(result)
    rows = []
    for env in lab.at_hand(sweep["envs"]):
        world: Any = lab.get(env)  # fixed, finite: it has data
        most = claims.case_of(world.data).worst
        for row in records(found[(found["env"] == env) & found["algorithm"].isin(sweep["rules"])]):
            at = (env, row.algorithm, row.budget)
            low, high = ends(row.regret_mean, row.regret_sem, int(missed[at]), row.trials, most)
            known = expected(world.data, row.budget)
            rows.append((*at, "", row.trials, row.regret_mean, low, high, known, np.nan))
            for claim, bound in bounds(world.data, sweep["rules"][row.algorithm], row.budget).items():
                rows.append((*at, claim, 0, np.nan, np.nan, np.nan, np.nan, bound))
    columns = ["env", "algorithm", "budget", "claim", "trials", "regret", "low", "high", "exact", "bound"]
    return pd.DataFrame(rows, columns=columns)


def ends(mean: float, sem: float, missed: int, trials: int, most: float) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean regret.

    Few misses leave the standard error blind to those that were not seen: below `FEW` the interval is that of the
    probability of a miss (Clopper and Pearson), times the mean largest gap, from 0.
    """
    if missed < FEW:
        return 0.0, most * clopper_pearson(missed, trials, 1 - _LEVEL)[1]
    return max(mean - panels.Z * sem, 0.0), mean + panels.Z * sem


def expected(data: "Dataset", budget: int) -> float:
    """Exact expected simple regret of PSST, NaN where it is not known: of two arms a miss has one gap."""
    if data.num_prompts * data.max_scale != 2:
        return np.nan
    found = claims.exact_failure("psst, fresh", data, budget)  # in one round nothing accumulates
    return np.nan if found is None else found.total * claims.case_of(data).worst


def bounds(data: "Dataset", rule: str, budget: int) -> dict[str, float]:
    """Claim about a rule, if it is drawn -> bound on the expected simple regret, mean over contexts."""
    case = claims.case_of(data)
    known = claims.values_of(case, budget)
    about = {name: claim for name, claim in claims.at().items() if claim.rule == rule and claim.drawn}
    return {
        name: claim.event.regret(value, case.worst)
        for name, claim in about.items()
        if not isinstance(value := known[name], str)
    }


def draw(table: "pd.DataFrame") -> Figure:
    """A panel per world, PSST on fresh data above and on accumulated data below."""
    envs, colors = list(dict.fromkeys(table["env"])), colors_of(table["claim"])
    rules = [name for name in _SAID if name in set(table["algorithm"])]
    size = {"nrows": len(rules), "ncols": max(len(envs), 2), "sharey": True}
    figure, grid = style.paper(style.PAGE, 0.5 + 1.45 * len(rules), **size)
    for row, rule in zip(grid, rules, strict=True):
        for axes, env in zip(row, envs, strict=False):
            _panel(axes, table[(table["env"] == env) & (table["algorithm"] == rule)], colors)
            axes.set_title(env, loc="left", fontweight="bold")
        for axes in row[len(envs) :]:
            axes.set_visible(False)
        row[0].set_ylabel(f"simple regret, {_SAID[rule]}")
    said = "simulated, pointwise 95 % interval"
    extra = {
        "exact": Line2D([], [], color=style.INK, lw=1.4),
        said: Line2D([], [], linestyle="", marker="o", color=style.INK, mfc="white", ms=3.4),
        "no miss seen: upper limit": Line2D([], [], linestyle="", marker="v", color=style.GREY, ms=3),
    } | legend_of(colors)
    style.legend(figure, [], columns=4, extra=extra)
    return figure


def vacuous(rows: "pd.DataFrame") -> list[str]:
    """The bounds of one world and rule, where all are the largest possible regret at every budget, and coincide.

    Args:
        rows: of the table; bounds are capped there by the mean largest gap.
    """
    bounded = rows.dropna(subset="bound")
    level = bounded["bound"].nunique() == 1 and bounded["budget"].nunique() > 1
    return list(dict.fromkeys(bounded["claim"])) if level else []


def _panel(axes: Axes, rows: "pd.DataFrame", colors: dict[str, str]) -> None:
    truth = rows[rows["claim"].fillna("") == ""].sort_values("budget")
    for name, color in colors.items():
        own = rows[rows["claim"] == name].sort_values("budget")
        axes.plot(own["budget"], own["bound"], "--", color=color, lw=1.0)
    capped = vacuous(rows)
    if capped:
        said = "\n".join(["all vacuous:" if len(capped) > 1 else "vacuous:", *capped])
        axes.text(0.03, 0.05, said, transform=axes.transAxes, va="bottom", color=style.GREY, fontsize=6)
    exactly = truth.dropna(subset="exact")
    axes.plot(exactly["budget"], exactly["exact"], color=style.INK, lw=1.4, zorder=4)
    seen, unseen = truth[truth["regret"] > 0], truth[~(truth["regret"] > 0)]
    floor = 1e-8
    error = [seen["regret"] - seen["low"].clip(lower=floor), seen["high"] - seen["regret"]]
    look: dict[str, Any] = {"mfc": "white", "color": style.INK, "ms": 3.0, "elinewidth": 0.7, "zorder": 5}
    axes.errorbar(seen["budget"], seen["regret"], np.maximum(error, 0.0), fmt="o", **look)
    axes.plot(unseen["budget"], unseen["high"], "v", color=style.GREY, ms=2.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(floor, 3.0)
    axes.set_yticks(10.0 ** np.arange(-8, 1, 2))
    style.thousands(axes, sorted(int(t) for t in rows["budget"].unique()))
    axes.set_xlabel("budget (completions)")
