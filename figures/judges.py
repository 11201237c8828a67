"""Judges of the paper's claims: tables to a finding per environment, by the rules that `figures.claims` states.

A verdict is "open" where what is not resolved could change it: few trials, or few queries, make no claim false.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from figures import crossing as crossing_figure
from figures import scale_gain, worlds
from figures import structure as structure_figure
from figures.gains import SAFE, largest_gains
from figures.panels import Z, interval, quantile
from sim.comparison.tables import holm
from theory.checks.verdicts import clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

REPRODUCED, PARTLY, NOT, OPEN = "reproduced", "partly", "not", "open"
UNTESTED = "not testable here"
LEVEL = 0.05
RULES = 3
"""Rules for choosing rivals that were tried on MATH, the one of `figures.queries` among them: its level is divided."""
BASELINES = ("uniform", "epsilon-greedy", "softmax", "ucb")
SCREENED = ("psst+k1", "psst+k4", "psst+k8")
ENOUGH, SHARE = 5000, 0.99
BEYOND, FADED, FADING = 16, 0.9, 0.75
LINEAR = (0.75, 1.25)
MOST = 0.5

Tables = dict[str, Any]


class Finding(NamedTuple):
    """Finding on one environment: numbers as text, and a verdict.

    Attributes:
        env: the environment; any name.
        ours: numbers found here, as text.
        verdict: "reproduced", "partly", "not", "open" (what is not resolved could change it) or "not testable here".
        part: of a claim that has several, such as a number of queries; the verdict over all is taken over all parts.

    Example:
        >>> from figures import Finding
        >>> Finding("MATH", "+0.012 [+0.007, +0.017]", "reproduced").row
        'MATH'
    """

    env: str
    ours: str
    verdict: str
    part: str = ""

    @property
    def row(self) -> str:
        """The environment, and the part if there is one."""
        return f"{self.env}, over {self.part}" if self.part else self.env


def together(verdicts: Iterable[str]) -> str:
    """The verdict over parts of a claim that must all be so; open where an open one could change it."""
    found = set(verdicts) - {UNTESTED}
    if not found:
        return UNTESTED
    if len(found - {OPEN}) > 1 or PARTLY in found:
        return PARTLY
    return found.pop() if len(found) == 1 else OPEN


def _said(shown: bool, refuted: bool) -> str:
    return REPRODUCED if shown else NOT if refuted else OPEN


def crossing(tables: Tables) -> list[Finding]:
    """C1."""
    found = []
    for env, rows in _environments(tables["crossing"]):
        curves = rows[rows["kind"] == crossing_figure.CURVE]
        lead = crossing_figure.leaders(curves)
        share = rows.loc[rows["kind"] == crossing_figure.CROSSING, "value"]
        top = curves.loc[curves.groupby("scale")["value"].idxmax()].set_index("scale")["prompt"]
        said = (
            f"best prompt {top.iloc[0]} at N = 1, {top.iloc[-1]} at N = {top.index[-1]}; {len(lead)} lead at some N; "
            f"{share.min():.0%} to {share.max():.0%} of pairs change order from N = 1 to Nmax, by context (exact)"
        )
        found.append(_best_that_changes(env, tables, "C1", said, REPRODUCED if len(lead) > 1 else NOT, ["leaders"]))
    return found


def contexts(tables: Tables) -> list[Finding]:
    """C2."""
    found = []
    for env, rows in _environments(tables["crossing"]):
        best = rows[rows["kind"] == crossing_figure.BEST]
        prompts = best["prompt"].nunique()
        arms = len(best[["prompt", "scale"]].drop_duplicates())
        said = (
            f"{arms} best arms in {len(best)} contexts: {prompts} prompt{'s' * (prompts > 1)}, "
            f"N from {best['scale'].min()} to {best['scale'].max()} (exact)"
        )
        verdict = REPRODUCED if arms > 1 else NOT
        found.append(_best_that_changes(env, tables, "C2", said, verdict, ["prompts", "scales"]))
    return found


def _best_that_changes(env: str, tables: Tables, claim: str, seen: str, verdict: str, counted: list[str]) -> Finding:
    """What is seen of the queries at hand, and whether it holds beyond them.

    Args:
        env: the environment.
        tables: of `crossing` and `worlds`.
        claim: C1 or C2.
        seen: of its own queries, or those of trial 0.
        verdict: where its queries are all there are.
        counted: columns of `worlds`; the best of a world's own queries changes where one of them is above 1.
    """
    drawn = _drawn(tables, env)
    if drawn is not None:
        tested = drawn[drawn[claim] != worlds.UNTESTED]
        changes, constant = (_share(tested, tested[claim] == answer) for answer in ("changes", "constant"))
        own = _share(drawn, (drawn[counted] > 1).any(axis=1))
        said = (
            f"for new queries the best is shown to change in {changes[2]}, not to in {constant[2]}; for a world's own "
            f"queries it changes in {own[2]}; in that of trial 0: {seen}"
        )
        return Finding(env, said, _said(changes[0] > MOST, constant[0] > MOST))
    of, rows = crossing_figure.TESTED[claim], tables["crossing"][tables["crossing"]["env"] == env]
    value = rows.set_index("kind")["value"]
    if of + crossing_figure.CHANGES not in value.index:
        return Finding(env, f"{seen}; its queries are all there are", verdict)
    changes, constant, agree = (
        float(value[of + kind]) for kind in (crossing_figure.CHANGES, crossing_figure.CONSTANT, crossing_figure.AGREE)
    )
    same = rows[rows["kind"] == of + crossing_figure.SAME]
    if claim == "C1":
        ends = (same.iloc[0], same.iloc[-1])
        stable = " and ".join(f"prompt {one['prompt']} at N = {one['scale']} in {one['value']:.0%}" for one in ends)
    else:
        stable = f"each context's best arm in {same['value'].min():.0%} to {same['value'].max():.0%}"
    said = (
        f"beyond these queries: that it changes p = {changes:.2g}, that it does not p = {constant:.2g}; of query "
        f"bootstraps {agree:.0%} change, and {stable} is best again; on these queries: {seen}"
    )
    return Finding(env, said, _said(changes <= LEVEL / RULES, constant <= LEVEL / RULES))


def _drawn(tables: Tables, env: str) -> "pd.DataFrame | None":
    """The worlds that were drawn of an environment; None where it is one fixed world."""
    rows = tables["worlds"][tables["worlds"]["env"] == env]
    return rows if len(rows) else None


def _share(drawn: "pd.DataFrame", of: "pd.Series") -> tuple[float, float, str]:
    """The share of drawn worlds in some of the rows: the ends of Clopper and Pearson's 95 % interval, and as text."""
    number, every = int(drawn.loc[of, "worlds"].sum()), int(drawn["worlds"].sum())
    low, high = clopper_pearson(number, every, 1 - LEVEL)
    return low, high, f"{number:,} of {every:,} worlds ({number / every:.1%} [{low:.1%}, {high:.1%}])"


def baselines(tables: Tables) -> list[Finding]:
    """C3. PSST's leads are paired; PSST+K4's are differences of two paired ones, their errors added up."""
    found = []
    for env, rows in _environments(tables["exploration"]):
        own = rows[rows["algorithm"].isin(BASELINES)]
        parts, won, lost, unsure = [], [], [], 0
        for name in ("psst", "psst+k4"):
            lead = _tested(_lead(rows[rows["algorithm"] == name], own))
            if len(lead) == 0:
                continue
            ahead, behind = ((lead["p"] < LEVEL) & (sign * lead["diff_mean"] > 0) for sign in (1, -1))
            won.append(int(ahead.sum()))
            lost.append(int(behind.sum()))
            unsure += len(lead) - won[-1] - lost[-1]
            worst = _at(lead, lead["diff_mean"].idxmin())
            parts.append(
                f"{'PSST' if name == 'psst' else 'PSST+K4'} wins {won[-1]}, loses {lost[-1]} and leaves open "
                f"{len(lead) - won[-1] - lost[-1]} of {len(lead)} comparisons; least lead "
                f"{interval(worst['diff_mean'], worst['diff_sem'])} ACR, over {worst['algorithm']} at "
                f"T = {worst['budget']:,}"
            )
        if not parts:
            continue
        verdict = OPEN
        if not any(lost):
            verdict = REPRODUCED if all(one >= 0.9 * len(own) for one in won) else OPEN
        elif sum(won) > sum(lost) + unsure:
            verdict = PARTLY
        elif sum(won) + unsure <= sum(lost):
            verdict = NOT
        found.append(Finding(env, "; ".join(parts), verdict))
    return found


def screening(tables: Tables) -> list[Finding]:
    """C4."""
    found = []
    for env, rows in _environments(tables["exploration"]):
        own = _tested(rows[rows["algorithm"].isin(SCREENED)])
        budgets = sorted(own["budget"].unique())
        above, below = ((own["p"] < LEVEL) & (sign * own["diff_mean"] > 0) for sign in (1, -1))
        early = own[own["budget"].isin(budgets[:2])]
        late = own[own["budget"] == budgets[-1]]
        faster = _said(bool(above[early.index].any()), bool(below[early.index].all()))
        best = _said(bool(below[late.index].all()), bool(above[late.index].any()))
        first, nearest = (_at(part, part["diff_mean"].idxmax()) for part in (early, late))
        said = f"best screening less PSST: {_difference(first)}; at the largest budget {_difference(nearest)}"
        found.append(Finding(env, said, together((faster, best))))
    return found


def deceived(tables: Tables) -> list[Finding]:
    """C5."""
    found = []
    for env, rows in _environments(tables["exploration"]):
        own = rows[rows["algorithm"] == "psst+k1"]
        (last,) = _tested(own[own["budget"] == own["budget"].max()]).to_dict("records")
        sure, mean = last["p"] < LEVEL, last["diff_mean"]
        said = f"PSST+K1 less PSST: {_difference(last)}"
        found.append(Finding(env, said, _said(sure and mean < 0, sure and mean > 0)))
    return found


def gains(tables: Tables) -> list[Finding]:
    """C6."""
    found = []
    for gain in largest_gains(tables["awareness"]):
        verdict = OPEN
        if gain.high <= 0:
            verdict = NOT
        elif gain.relative and gain.low >= gain.paper:
            verdict = REPRODUCED
        elif gain.low > 0 and (not gain.relative or gain.high < gain.paper):
            verdict = PARTLY
        found.append(Finding(gain.env, gain.said, verdict, gain.part))
    return found


def enough(tables: Tables) -> list[Finding]:
    """C7. The best arm on train does not depend on the budget: PSST's ACR over its ACR is paired at each budget.

    The ratio between budgets is one of two such ratios: its relative error is at most the sum of theirs.
    """
    found = []
    for env, rows in _environments(tables["exploration"]):
        best = rows[rows["algorithm"] == "oracle"].set_index("budget")
        if ENOUGH not in best.index or best.index.max() == ENOUGH:
            continue
        if not (best["acr_mean"] > SAFE * best["acr_sem"]).all():
            least = _at(best, best["acr_mean"].idxmin())
            said = f"the ACR of the best arm on train, {interval(least['acr_mean'], least['acr_sem'])}, is not safely "
            said += f"positive: no share of it can be said; at {ENOUGH:,} it is "
            ahead = interval(_number(best, ENOUGH, "diff_mean"), _number(best, ENOUGH, "diff_sem"))
            said += f"{ahead} above that of PSST"
            found.append(Finding(env, said, UNTESTED))
            continue
        share, sem = 1 + best["gain"], best["gain_sem"]
        last, relative = best.index.max(), sem / share
        z = float(quantile(_number(best, ENOUGH, "trials"), LEVEL / 2))
        ratio = share[ENOUGH] / share[last]
        ratio_half = z * ratio * (relative[ENOUGH] + relative[last])
        near, half = share[ENOUGH], z * sem[ENOUGH]
        said = (
            f"ACR at {ENOUGH:,} is {ratio:.1%} [{ratio - ratio_half:.1%}, {ratio + ratio_half:.1%}] of that at "
            f"{last:,}, and {near:.1%} [{near - half:.1%}, {near + half:.1%}] of that of the best arm on train"
        )
        first = _said(ratio - ratio_half >= SHARE, ratio + ratio_half < SHARE)
        second = _said(near - half >= SHARE, near + half < SHARE)
        verdict = OPEN
        if first == NOT:
            verdict = NOT
        elif first == REPRODUCED:
            verdict = {REPRODUCED: REPRODUCED, NOT: PARTLY, OPEN: OPEN}[second]
        found.append(Finding(env, said, verdict))
    return found


def theorem(tables: Tables) -> list[Finding]:
    """C8."""
    table, found = tables["bounds"], []
    for family, rows in table[table["claim"] == "theorem 1 as printed"].groupby("family", sort=False):
        wrong = rows[rows["verdict"] == "violated"]
        repaired = table[(table["family"] == family) & (table["claim"] == "theorem 1 corrected")]
        if len(wrong):
            row = wrong.iloc[0]
            seen = f"{row['exact']:.2g} (exact)" if np.isfinite(row["exact"]) else _simulated(row)
            said = f"violated at {len(wrong)} of {len(rows)} points; "
            said += f"at T = {row['budget']:,} it promises {row['bound']:.2g}, the truth is {seen}"
        else:
            below = int((rows["bound"] < 1).sum())
            said = f"violated at none of {len(rows)} points, at {below} of which it is below 1 and so says something"
        said += (
            f"; our corrected bound is violated at {int((repaired['verdict'] == 'violated').sum())} of {len(repaired)}"
        )
        says, unsure = rows["verdict"].isin(("holds", "violated")), rows["verdict"] == "not resolved"
        if not says.any():
            said += "" if unsure.any() else "; vacuous everywhere"
        if unsure.any():
            trials = rows.loc[unsure, "trials"].min()
            said += f"; at {int(unsure.sum())} {trials:,.0f} trials and more do not tell it from the truth"
        verdict = _said(not unsure.any(), len(wrong) > 0) if says.any() or unsure.any() else UNTESTED
        found.append(Finding(str(family), said, NOT if len(wrong) else verdict))
    return found


def structure(tables: Tables) -> list[Finding]:
    """C9."""
    factors = structure_figure.factors(tables["structure"])
    return [_linear(str(family), rows) for family, rows in factors.groupby("family", sort=False)]


def _linear(family: str, factors: "pd.DataFrame") -> Finding:
    """Whether the factor grows in proportion to |C| and to Nmax in one family."""
    known = factors[np.isfinite(factors["high"])]
    parts, linear = [], []
    for axis, symbol in (("cost_weights", "|C|"), ("max_scale", "Nmax")):
        own = known[known["axis"] == axis]
        if len(own) < 2:
            continue
        power, sem = _power(own)
        parts.append(f"it grows as {symbol}^{interval(power, sem, 2)}")
        low, high = power - Z * sem, power + Z * sem
        linear.append(_said(LINEAR[0] <= low and high <= LINEAR[1], high < LINEAR[0] or low > LINEAR[1]))
    row = f"{family} (sizes varied)"
    if len(linear) < 2:
        return Finding(row, "too few budgets are known at which both reach the target: no exponent", OPEN)
    top = _at(known, known["factor"].idxmax())
    at = f"|C| = {top['contexts']}, Nmax = {top['max_scale']}"
    parts.append(f"at most {top['factor']:.0f} [{top['low']:.0f}, {top['high']:.0f}], at {at}")
    share = known["factor"] / known["product"]
    parts.append(f"it is {share.min():.2f} to {share.max():.2f} times |C| Nmax")
    return Finding(row, "factor: " + "; ".join(parts), together(linear))


def _power(rows: "pd.DataFrame") -> tuple[float, float]:
    """Exponent of the factor as a power of the size, by least squares of logarithms, and its standard error."""
    x, y = np.log(rows["size"].to_numpy(float)), np.log(rows["factor"].to_numpy(float))
    sd = (np.log(rows["high"]) - np.log(rows["low"])).to_numpy(float) / (2 * Z)
    centred = x - x.mean()
    weight = centred / (centred**2).sum()
    return float(weight @ y), float(np.sqrt((weight**2) @ sd**2))


def fading(tables: Tables) -> list[Finding]:
    """C10."""
    found = []
    for env, rows in _environments(tables["scale-gain"]):
        parts, verdict = [], ""
        for contexts_of, own in rows.groupby("contexts", sort=False):
            at = own.set_index("cap")
            if BEYOND not in at.index or at.index.max() <= BEYOND or not np.isfinite(_number(at, BEYOND, "share")):
                continue
            share, sem = _number(at, BEYOND, "share"), _number(at, BEYOND, "share_sem")
            half = float(quantile(_number(at, BEYOND, "trials"), LEVEL / 2)) * sem if sem != 0 else 0.0
            before, rest = (share - _number(at, BEYOND // 2, "share"), 1 - share)
            error = "(exact)" if half == 0 else f"[{share - half:.1%}, {share + half:.1%}]"
            parts.append(
                f"{contexts_of}: {share:.1%} {error} of the gain by N = {BEYOND}; the last doubling until there adds "
                f"{before:.1%} of it, those beyond add {rest:.1%}"
            )
            if contexts_of == scale_gain.ALL:
                verdict = _said(share - half >= FADED, share + half < FADING)
                verdict = PARTLY if share - half >= FADING and share + half < FADED else verdict
        if verdict:
            found.append(Finding(env, "; ".join(parts), verdict))
    return found


def _environments(table: "pd.DataFrame") -> "Iterator[tuple[str, pd.DataFrame]]":
    yield from ((str(env), rows) for env, rows in table.groupby("env", sort=False))


def _tested(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows with p: two-sided t-test of the mean paired difference, Holm-corrected over the rows.

    Where all trials differ by the same, p is the probability that their signs are equal. The tables' Wilcoxon test is
    one of the median: over skewed differences it may call a mean of the other sign sure.
    """
    from scipy import stats

    mean, sem, trials = (rows[name].to_numpy(float) for name in ("diff_mean", "diff_sem", "trials"))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean) / sem, np.maximum(trials - 1, 1))
    p = np.where(sem == 0, np.where(mean == 0, 1.0, np.minimum(1.0, 2 * 0.5**trials)), p)
    return rows.assign(p=holm(p))


def _lead(ours: "pd.DataFrame", theirs: "pd.DataFrame") -> "pd.DataFrame":
    """How far one algorithm leads others at each budget, from all their differences to PSST.

    PSST's own are 0. Two differences to it depend on each other: the sum of their errors is at least that of theirs.
    """
    own = ours.set_index("budget").reindex(theirs["budget"])
    mean = own["diff_mean"].to_numpy() - theirs["diff_mean"].to_numpy()
    sem = np.nan_to_num(own["diff_sem"].to_numpy()) * (own["algorithm"] != "psst").to_numpy()
    found = theirs.assign(diff_mean=mean, diff_sem=theirs["diff_sem"].to_numpy() + sem)
    return found[np.isfinite(found["diff_mean"])]


def _difference(row: Any) -> str:
    sure = f"p = {row['p']:.2g}" if row["p"] >= 1e-4 else "p < .0001"
    return f"{interval(row['diff_mean'], row['diff_sem'])} ACR ({row['algorithm']}, T = {row['budget']:,}, {sure})"


def _at(table: "pd.DataFrame", row: Any) -> Any:
    return table.loc[row]


def _number(table: "pd.DataFrame", row: int, column: str) -> float:
    return float(_at(table, row)[column])


def _simulated(row: Any) -> str:
    return f"{row['simulated']:.2g} [{row['simulated_low']:.2g}, {row['simulated_high']:.2g}]"
