"""Coverage of statements in simulation: how often they hold, how wide they are, beside the level that they claim.

Every grade of `sim.certify`, both targets, four designs (`figures.coverage_runs`), and the intervals that `iapo tune`,
`evaluate` and `values` print. A run is missed if the arm chosen loses more than is said of it; counted besides is
whether any arm does, for each may be chosen and all statements are to hold at once. With `peeking` it is missed if that
is so at any look. Looks of grades that hold at a fixed size are paid for by a union. `refused` tests all rows exactly,
and allows for their number.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import coverage_runs, style
from figures.coverage_runs import Design, Drawn, RunEnd
from figures.inputs import Lab
from sim.adapters import evaluation, evidence
from sim.certify import GRADES, Confidence
from sim.certify.bulk import Beginnings
from sim.certify.intervals import Utilities, intervals

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": (
        "synth-bernoulli",
        "synth-categorical",
        "two-arm",
        "graded-halving",
        "bon-two-scales",
        "bon-query-effects",
        "mv-three-scales",
        "crossover",
        "beta-bon",
        "gaussian-bon",
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
    "worlds": ("all equal", "opposite", "one ahead", "rare"),
    "levels": (0.8, 0.95, 0.99),
    "trials": 2000,
    "trials_dear": 1000,
    "prompts": 3,
    "scales": 3,
    "completions": 5,
    "queries": 60,
    "sizes": (30, 60),
    "sizes_anytime": (10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60),
    "planned": 40,
}
SMOKE: dict[str, Any] = {
    "envs": ("crossover",),
    "worlds": ("opposite",),
    "levels": (0.8,),
    "trials": 30,
    "trials_dear": 5,
    "prompts": 2,
    "scales": 2,
    "completions": 3,
    "queries": 20,
    "sizes": (10, 20),
    "sizes_anytime": (10, 15, 20),
}
LOOSE = 1.25
"""Eps at which runs stop, over the mean eps that they would end with."""
SIGNIFICANT = 0.05
COLUMNS = ("env", "target", "grade", "design", "level", "trials", "missed", "missed_any")
COLUMNS += ("coverage", "low", "high", "eps", "ideal", "ratio", "sure")
DESIGNS = ("fixed", "peeking", "elimination", "until sure")


class CoverageRows(NamedTuple):
    """Rows of the table that share an environment."""

    env: str
    rows: list[tuple[Any, ...]]

    def add(self, terms: Confidence, design: str, found: RunEnd, half: float | None = None) -> None:
        """A row: counts, coverage with its 95 % interval (Clopper and Pearson), mean eps and the ideal one.

        Args:
            terms: of the statements.
            design: of the runs.
            found: how they ended.
            half: ideal; the quantile of the regret of the arm chosen, at the level, where None.
        """
        from scipy import stats

        trials, missed = len(found.missed), int(found.missed.sum())
        ends = stats.binomtest(trials - missed, trials).proportion_ci(0.95)
        eps = float(found.eps[np.isfinite(found.eps)].mean()) if np.isfinite(found.eps).any() else np.inf
        ideal = float(np.quantile(found.regret, terms.level, method="higher")) if half is None else half
        ratio = eps / ideal if ideal > 1e-9 else np.nan
        counts = (trials, missed, int(found.missed_any.sum()), 1 - missed / trials, ends.low, ends.high)
        whose = (self.env, terms.target, terms.grade, design, terms.level)
        self.rows.append((*whose, *counts, eps, ideal, ratio, float(found.sure.mean())))


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """A row per environment, target, grade, design and level; see `COLUMNS`.

    `eps` is the mean of the last statement's, `ideal` the quantile at the level of the regret of the arm that was
    chosen, `ratio` the first over the second, `sure` the share of runs that ended because they were sure. Rows of
    intervals (`value`: of the arm chosen; all arms' hold at once) have the half-width as `eps`, the quantile of the
    largest error as `ideal`.
    """
    import pandas as pd

    parts = []
    for env in (*lab.at_hand(sweep["envs"]), *sweep["worlds"]):
        drawn = coverage_runs.draw(lab, env, sweep)
        counted = CoverageRows(env, [])
        for target in ("new", "these"):
            for grade in GRADES:
                _count(counted, sweep, drawn, Confidence(grade=grade, target=target, planned=sweep["planned"]))
        _count_printed(counted, drawn)
        parts.append(pd.DataFrame(counted.rows, columns=list(COLUMNS)))
    return pd.concat(parts, ignore_index=True)


def _count(counted: CoverageRows, sweep: dict[str, Any], drawn: Drawn, terms: Confidence) -> None:
    """Rows of one grade and target."""
    bounded = terms.grade.startswith("bounded")
    if bounded and drawn.runs.ends is None:
        return
    if bounded or terms.grade == "asymptotic":
        drawn = drawn.some(slice(sweep["trials_dear"]))
    sizes = sweep["sizes_anytime"] if terms.grade == "anytime" else sweep["sizes"]
    begun = Beginnings(drawn.runs, tuple(sizes), terms.target)
    for level in sweep["levels"]:
        once = terms._replace(level=level)
        often = once if "anytime" in terms.grade else once._replace(looks=len(sizes))
        counted.add(once, "fixed", Design(drawn, begun, once).fixed())
        if not bounded:
            _count_values(counted, drawn, begun, once)
        if bounded and terms.target == "these":
            continue  # says nothing before all queries were met
        runs = Design(drawn, begun, often)
        peeking = runs.peeking()
        eps = LOOSE * float(np.mean(peeking.eps))
        for design, found in (
            ("peeking", peeking),
            ("elimination", runs.elimination()),
            ("until sure", runs.until(eps)),
        ):
            counted.add(once, design, found)


def _count_values(counted: CoverageRows, drawn: Drawn, begun: Beginnings, terms: Confidence) -> None:
    """The row of the intervals of all arms' values, which hold at once."""
    off, half = np.abs(begun.mean[:, -1] - drawn.truth(terms.target)), begun.values(terms)
    missed, arms = off > half + drawn.rounding, np.arange(len(off))
    own = missed[arms, begun.mean[:, -1].argmax(axis=1)]
    largest = float(np.quantile(off.max(axis=1), terms.level, method="higher"))
    counted.add(terms, "value", _intervals(own, half.mean(axis=1), np.asarray(missed.any(axis=1))), largest)


def _count_printed(counted: CoverageRows, drawn: Drawn) -> None:
    """Rows of 95 % intervals that the commands print: of one arm, and by `tune` of the arm that was chosen."""
    each = drawn.runs.utilities.reshape(*drawn.runs.utilities.shape[:2], -1)
    mean, terms, arm = (
        each.mean(axis=1),
        Confidence(0.95, "student"),
        each.shape[2] // drawn.runs.utilities.shape[2] - 1,
    )
    off = np.abs(mean - drawn.new)
    shift, chosen, ends = drawn.runs.shift.ravel(), mean.argmax(axis=1), drawn.runs.ends
    own = None
    if drawn.votes and ends is not None:  # of scores these commands know no range
        own = np.add.outer(np.array(ends), shift)
    found = [evaluation.interval(one, None if own is None else own[:, arm]) for one in each[:, :, arm]]
    printed = {"evaluate": (np.array([(one.low, one.high) for one in found], float), np.full(len(each), arm))}
    law = np.full(each.shape[1], 1 / each.shape[1])
    some = intervals(Utilities(each, None if own is None else own[:, None], True), law)
    printed["values"] = (np.stack([some.low[:, arm], some.high[:, arm]], axis=1), np.full(len(each), arm))
    if ends is not None:
        se, tail = each.std(axis=1, ddof=1) / np.sqrt(each.shape[1]), 0.05 / (2 * each.shape[2])
        both = [
            evidence.within(float(mean[run, one] - shift[one]), float(se[run, one]), each.shape[1], ends, tail)
            for run, one in enumerate(chosen.tolist())
        ]
        printed["tune"] = (np.array(both) + shift[chosen, None], chosen)
    for design, (interval, arms) in printed.items():
        low, high = np.where(np.isnan(interval), mean[np.arange(len(mean)), arms][:, None], interval).T
        truth = drawn.new[arms]
        missed = (truth < low - drawn.rounding) | (truth > high + drawn.rounding)
        ideal = float(np.quantile(off[np.arange(len(off)), arms], terms.level, method="higher"))
        counted.add(terms, design, _intervals(missed, (high - low) / 2), ideal)


def _intervals(missed: np.ndarray, half: np.ndarray, some: np.ndarray | None = None) -> RunEnd:
    nothing = np.zeros(len(missed))
    return RunEnd(missed, missed if some is None else some, half, nothing, nothing.astype(bool))


def refused(table: "pd.DataFrame", count: str = "missed") -> np.ndarray:
    """Rows whose coverage is below their level by an exact binomial test, Holm over all rows; a mask.

    Args:
        table: of `compute`.
        count: column of the runs that were missed.
    """
    from scipy import stats

    chances = stats.binom.sf(table[count].to_numpy() - 1, table["trials"].to_numpy(), 1 - table["level"].to_numpy())
    order = np.argsort(chances, kind="stable")
    adjusted = np.maximum.accumulate(chances[order] * np.arange(len(order), 0, -1))
    found = np.zeros(len(order), bool)
    found[order] = adjusted < SIGNIFICANT
    return found


def draw(table: "pd.DataFrame") -> Figure:
    """Coverage of every environment, a row of dots per design and grade, a panel per target and level.

    Dots in colour are below the level by the test; the line is the level.
    """
    table = table.assign(below=refused(table))
    kinds = {
        target: list(dict.fromkeys(zip(rows["design"], rows["grade"], strict=True)))
        for target, rows in table.groupby("target", sort=False)
    }
    levels, sizes = sorted(table["level"].unique()), [4 + len(rows) for rows in kinds.values()]
    grid_of: dict[str, Any] = {"nrows": len(kinds), "ncols": len(levels), "height_ratios": sizes}
    figure, grid = style.paper(style.PAGE, 0.13 * sum(sizes), **grid_of)
    for of_target, (target, own) in zip(grid, kinds.items(), strict=True):
        for axes, level in zip(of_target, levels, strict=True):
            rows = table[(table["target"] == target) & (table["level"] == level)]
            _panel(axes, rows, own, level)
            axes.set_title(f"{target} queries, level {level:g}", loc="left", fontweight="bold")
        for axes in of_target[1:]:
            axes.set_yticklabels([])
    handles = {
        said: Line2D([], [], linestyle="", marker="o", markersize=3, color=color)
        for said, color in (("an environment", style.INK), ("below its level (exact test, Holm)", "C3"))
    }
    style.legend(figure, [], columns=2, extra=handles)
    return figure


def _panel(axes: Axes, rows: "pd.DataFrame", kinds: list[tuple[str, str]], level: float) -> None:
    for below, color in ((False, style.INK), (True, "C3")):
        own = rows[rows["below"] == below]
        at = [kinds.index(kind) for kind in zip(own["design"], own["grade"], strict=True)]
        axes.plot(own["coverage"], at, linestyle="", marker="o", markersize=2.2, color=color, alpha=0.6)
    axes.axvline(level, color=style.GREY, linewidth=0.6)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_yticks(range(len(kinds)), [f"{design}, {grade}" for design, grade in kinds], fontsize=6)
    axes.set_xlabel("coverage")
