"""Failure probability against bounds on the worlds of `iapo verify`.

The expected simple regret is at most the largest gap times the probability of failure: bounds on the one are bounds on
the other. Bounds on the mean regret are drawn as its share of the largest, with bounds on near misses. For every world
of a family and every rule, `iapo verify` has the whole table.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.inputs import SEED, Lab
from theory.checks import claims, verify
from theory.checks.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "families": ("two-arm", "graded halving", "bon, two scales", "mv, three scales", "random"),
    "quick": True,
    "trials": 2000,
}
SMOKE: dict[str, Any] = {"families": ("two-arm",), "trials": 64}

_COLORS = (style.WARNING, "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#332288", "#44aa99", "#999933")
_VARIANT = ", accumulated"
_RULES = {"psst, fresh": "fresh data", "psst": "accumulated"}
_LOWEST = 1e-9
KEPT = [
    *("family", "instance", "rule", "budget", "claim", "bound", "exact", "failures", "trials"),
    *("simulated", "simulated_low", "simulated_high", "verdict", "against"),
]


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """The rows of `theory.checks.verify`'s table about failure in any context and round; columns `KEPT`.

    Simulated points have `trials` of the sweep at least, and as many more as `iapo verify --quick` has.
    """
    plan = verify.VerifyPlan(sweep["quick"], SEED, None, tuple(sweep["families"]), sweep["trials"])
    found = verify.verify(plan, lab.folder / "verify", executor=lab.executor, report=lab.report_other).table
    return found.loc[(found["context"] == "any") & (found["round"] == "any"), KEPT].reset_index(drop=True)


def draw(table: "pd.DataFrame") -> Figure:
    """A panel per family, PSST on fresh data above and on accumulated data below."""
    first = table[table["instance"] == table.groupby("family", sort=False)["instance"].transform("first")]
    families, colors = list(dict.fromkeys(first["family"])), colors_of(first["claim"])
    columns = max(len(families), 2)
    figure, grid = style.paper(style.PAGE, 3.2, nrows=2, ncols=columns, sharey=True)
    for row, (rule, said) in zip(grid, _RULES.items(), strict=True):
        for axes, family in zip(row, families, strict=False):
            own = first[(first["family"] == family) & (first["rule"] == rule)]
            axes.set_visible(len(own) > 0)
            if len(own):
                _panel(axes, own, colors)
                axes.set_title(family, loc="left", fontweight="bold")
        for axes in row[len(families) :]:
            axes.set_visible(False)
        shown = next((axes for axes in row if axes.get_visible()), row[0])
        shown.set_ylabel(f"P(miss), {said}")
        shown.tick_params(labelleft=True)
    extra = {
        "exact": Line2D([], [], color=style.INK, lw=1.4),
        "simulated, 95 % interval": Line2D([], [], linestyle="", marker="o", color=style.INK, mfc="white", ms=3.4),
        "no failure seen: upper limit": Line2D([], [], linestyle="", marker="v", color=style.GREY, ms=3),
        "violated": Line2D([], [], linestyle="", marker="x", color=style.WARNING, ms=4),
    } | legend_of(colors)
    style.legend(figure, [], columns=4, extra=extra)
    return figure


def colors_of(names: Iterable[Any]) -> dict[str, str]:
    """The bounds that are drawn of those in a table, with their colours: one for a bound on fresh and accumulated data.

    Colours go by the order of `theory.checks.claims.CLAIMS`; a bound that is not there, since another program added it,
    comes after those.
    """
    here = [name for name in dict.fromkeys(names) if isinstance(name, str) and name]
    drawn = [name for name, claim in claims.CLAIMS.items() if claim.drawn]
    drawn += [name for name in here if name not in claims.CLAIMS]
    bases = list(dict.fromkeys(name.removesuffix(_VARIANT) for name in drawn))
    colors = {name: _COLORS[bases.index(name.removesuffix(_VARIANT)) % len(_COLORS)] for name in drawn}
    return {name: color for name, color in colors.items() if name in here}


def legend_of(colors: dict[str, str]) -> dict[str, Line2D]:
    """A dashed line for every bound; for the same bound on fresh and accumulated data one."""
    bases = {name.removesuffix(_VARIANT): color for name, color in colors.items()}
    return {name: Line2D([], [], linestyle="--", color=color, lw=1.0) for name, color in bases.items()}


def _panel(axes: Axes, rows: "pd.DataFrame", colors: dict[str, str]) -> None:
    truth = rows[rows["claim"].fillna("") == ""].sort_values("budget")
    for name, color in colors.items():
        own = rows[rows["claim"] == name].sort_values("budget")
        axes.plot(own["budget"], own["bound"].clip(lower=1e-300), "--", color=color, lw=1.0)
        wrong = own[own["verdict"] == Verdict.VIOLATED]
        if len(wrong):  # those below the axis stand on it, uncut
            look = {"color": style.WARNING, "ms": 4, "zorder": 6, "clip_on": False, "in_layout": False}
            axes.plot(wrong["budget"], wrong["bound"].clip(lower=_LOWEST), "x", **look)
    exact = truth.dropna(subset="exact")
    axes.plot(exact["budget"], exact["exact"], color=style.INK, lw=1.4, zorder=4)
    seen = truth[truth["failures"] > 0]
    error = [seen["simulated"] - seen["simulated_low"], seen["simulated_high"] - seen["simulated"]]
    look: dict[str, Any] = {"mfc": "white", "color": style.INK, "ms": 3.0, "elinewidth": 0.7, "zorder": 5}
    axes.errorbar(seen["budget"], seen["simulated"], np.maximum(error, 0.0), fmt="o", **look)
    unseen = truth[truth["failures"] == 0]
    axes.plot(unseen["budget"], unseen["simulated_high"], "v", color=style.GREY, ms=2.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST, 3.0)
    axes.set_yticks(10.0 ** np.arange(-8, 1, 2))
    ends = rows["budget"].min(), rows["budget"].max()
    style.plain_log(axes.xaxis, powers=ends[1] > 20 * ends[0])
    axes.set_xlabel("budget")
