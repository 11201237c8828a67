"""How each claim is judged from tables: a finding per environment, by the rule that `figures.claims` states."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from figures import crossing as crossing_figure
from figures import scale_gain
from figures import structure as structure_figure
from figures.panels import Z, interval
from sim.tables import holm
from theory._verdicts import clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

REPRODUCED, PARTLY, NOT, OPEN = "reproduced", "partly", "not", "not testable here"
LEVEL = 0.05
BASELINES = ("uniform", "epsilon-greedy", "softmax", "ucb")
SCREENED = ("psst+k1", "psst+k4", "psst+k8")
PROMPT_ONLY = ("triple-n1", "triple-random")
ENOUGH, SHARE = 5000, 0.99
BEYOND, FADED, FADING = 16, 0.9, 0.75
LINEAR = (0.75, 1.25)
MOST = 0.5
PAPER_GAINS = {"disjoint": 0.25, "prompt-only": 0.5}

Tables = dict[str, Any]


class Finding(NamedTuple):
    """What is found on one environment: numbers as text, and a verdict."""

    env: str
    ours: str
    verdict: str


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
        drawn = _drawn(tables, env)
        verdict = REPRODUCED if len(lead) > 1 else NOT
        if drawn is not None:
            low, high, share_said = _share(drawn, drawn["leaders"] > 1)
            said = f"more than one prompt leads in {share_said}; in that of trial 0: {said}"
            verdict = _most(low, high)
        found.append(Finding(env, said, verdict))
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
        drawn = _drawn(tables, env)
        if drawn is not None:
            prompt, scale = (drawn[name] > 1 for name in ("prompts", "scales"))
            parts = {"the best arm": prompt | scale, "the best prompt": prompt, "the best N": scale}
            shares = {what: _share(drawn, of) for what, of in parts.items()}
            low, high, _ = shares["the best arm"]
            verdict = _most(low, high)
            changes = "; ".join(f"{what} changes in {share}" for what, (_, _, share) in shares.items())
            said = f"{changes}; in that of trial 0: {said}"
        found.append(Finding(env, said, verdict))
    return found


def _most(low: float, high: float) -> str:
    """Whether something is so in most worlds, by the ends of the interval of their share."""
    return REPRODUCED if low > MOST else PARTLY if high > MOST else NOT


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
        parts, won, lost = [], [], []
        for name in ("psst", "psst+k4"):
            lead = _tested(_lead(rows[rows["algorithm"] == name], own))
            ahead, behind = ((lead["p"] < LEVEL) & (sign * lead["diff_mean"] > 0) for sign in (1, -1))
            won.append(int(ahead.sum()))
            lost.append(int(behind.sum()))
            if len(lead) == 0:
                continue
            worst = lead.loc[lead["diff_mean"].idxmin()]
            parts.append(
                f"{'PSST' if name == 'psst' else 'PSST+K4'} wins {won[-1]}, ties {len(lead) - won[-1] - lost[-1]} and "
                f"loses {lost[-1]} of {len(lead)} comparisons; least lead "
                f"{interval(worst['diff_mean'], worst['diff_sem'])} ACR, over {worst['algorithm']} at "
                f"T = {worst['budget']:,}"
            )
        good = all(one >= 0.9 * len(own) for one in won[: len(parts)]) and not any(lost)
        found.append(Finding(env, "; ".join(parts), REPRODUCED if good else PARTLY if sum(won) > sum(lost) else NOT))
    return found


def screening(tables: Tables) -> list[Finding]:
    """C4."""
    found = []
    for env, rows in _environments(tables["exploration"]):
        own = _tested(rows[rows["algorithm"].isin(SCREENED)])
        budgets = sorted(own["budget"].unique())
        sure = own["p"] < LEVEL
        early = own[own["budget"].isin(budgets[:2])]
        late = own[own["budget"] == budgets[-1]]
        faster = bool((sure & (own["diff_mean"] > 0))[early.index].any())
        best = bool((sure & (own["diff_mean"] < 0))[late.index].all())
        first, nearest = early.loc[early["diff_mean"].idxmax()], late.loc[late["diff_mean"].idxmax()]
        said = f"best screening less PSST: {_difference(first)}; at the largest budget {_difference(nearest)}"
        found.append(Finding(env, said, (NOT, PARTLY, REPRODUCED)[faster + best]))
    return found


def deceived(tables: Tables) -> list[Finding]:
    """C5."""
    found = []
    for env, rows in _environments(tables["exploration"]):
        own = rows[rows["algorithm"] == "psst+k1"]
        (last,) = _tested(own[own["budget"] == own["budget"].max()]).to_dict("records")
        worse = last["p"] < LEVEL and last["diff_mean"] < 0
        found.append(Finding(env, f"PSST+K1 less PSST: {_difference(last)}", REPRODUCED if worse else NOT))
    return found


def gains(tables: Tables) -> list[Finding]:
    """C6."""
    found = []
    for env, rows in _environments(tables["awareness"]):
        learnt = rows[rows["budget"] > 0]
        parts, reached, above = [], [], []
        for what, names in (("disjoint", ("psst+k1",)), ("prompt-only", PROMPT_ONLY)):
            own = learnt[learnt["algorithm"].isin(names)]
            top = own.loc[own["gain"].idxmax()]
            z = stats.norm.isf(LEVEL / 2 / len(own))  # the largest of so many
            low, high = top["gain"] - z * top["gain_sem"], top["gain"] + z * top["gain_sem"]
            at = f"({top['algorithm']}, T = {top['budget']:,})"
            parts.append(f"over {what} up to {top['gain']:+.1%} [{low:.1%}, {high:.1%}] {at}")
            reached.append(low >= PAPER_GAINS[what])
            above.append(low > 0)
        exact = rows[rows["budget"] == 0].set_index("algorithm")["gain"].drop("limit: best arm", errors="ignore")
        limits = ", ".join(f"{name.removeprefix('limit: ')} {value:+.1%}" for name, value in exact.items())
        said = "; ".join(parts) + (
            f"; with exact values instead of samples the best arm gains over {limits}" if limits else ""
        )
        found.append(Finding(env, said, REPRODUCED if all(reached) else PARTLY if all(above) else NOT))
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
        share, sem = 1 + best["gain"], best["gain_sem"]
        last, relative = best.index.max(), sem / share
        ratio = share[ENOUGH] / share[last]
        ratio_half = Z * ratio * (relative[ENOUGH] + relative[last])
        near, half = share[ENOUGH], Z * sem[ENOUGH]
        said = (
            f"ACR at {ENOUGH:,} is {ratio:.1%} [{ratio - ratio_half:.1%}, {ratio + ratio_half:.1%}] of that at "
            f"{last:,}, and {near:.1%} [{near - half:.1%}, {near + half:.1%}] of that of the best arm on train"
        )
        verdict = NOT if ratio + ratio_half < SHARE else OPEN
        if ratio - ratio_half >= SHARE:
            verdict = REPRODUCED if near - half >= SHARE else PARTLY
        elif near + half < SHARE:
            verdict = NOT
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
        says = rows["verdict"].isin(("holds", "violated"))
        if not says.any():
            trials = rows.loc[rows["bound"] < 1, "trials"].min()
            unsure = f"{trials:,.0f} trials and more do not tell it from the truth"
            said += "; vacuous everywhere" if np.isnan(trials) else f"; {unsure}"
        found.append(Finding(str(family), said, NOT if len(wrong) else REPRODUCED if says.any() else OPEN))
    return found


def structure(tables: Tables) -> list[Finding]:
    """C9."""
    factors = structure_figure.factors(tables["structure"])
    return [found for family, rows in factors.groupby("family", sort=False) if (found := _linear(str(family), rows))]


def _linear(family: str, factors: "pd.DataFrame") -> Finding | None:
    """Whether the factor grows in proportion to |C| and to Nmax in one family."""
    known = factors[np.isfinite(factors["high"])]
    parts, linear = [], []
    for axis, symbol in (("cost_weights", "|C|"), ("max_scale", "Nmax")):
        own = known[known["axis"] == axis]
        if len(own) < 2:
            continue
        power, sem = _power(own)
        parts.append(f"it grows as {symbol}^{interval(power, sem, 2)}")
        linear.append(LINEAR[0] <= power - Z * sem and power + Z * sem <= LINEAR[1])
    if len(linear) < 2:
        return None
    top = known.loc[known["factor"].idxmax()]
    at = f"|C| = {top['contexts']}, Nmax = {top['max_scale']}"
    parts.append(f"at most {top['factor']:.0f} [{top['low']:.0f}, {top['high']:.0f}], at {at}")
    share = known["factor"] / known["product"]
    parts.append(f"it is {share.min():.2f} to {share.max():.2f} times |C| Nmax")
    verdict = (NOT, PARTLY, REPRODUCED)[sum(linear)]
    return Finding(f"{family} (sizes varied)", "factor: " + "; ".join(parts), verdict)


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
            if BEYOND not in at.index or at.index.max() <= BEYOND or not np.isfinite(at.loc[BEYOND, "share"]):
                continue
            share, half = at.loc[BEYOND, "share"], Z * at.loc[BEYOND, "share_sem"]
            before, rest = (at.loc[BEYOND, "share"] - at.loc[BEYOND // 2, "share"], 1 - share)
            error = "(exact)" if half == 0 else f"[{share - half:.1%}, {share + half:.1%}]"
            parts.append(
                f"{contexts_of}: {share:.1%} {error} of the gain by N = {BEYOND}; the last doubling until there adds "
                f"{before:.1%} of it, those beyond add {rest:.1%}"
            )
            if contexts_of == scale_gain.ALL:
                verdict = REPRODUCED if share - half >= FADED else NOT if share + half < FADING else PARTLY
                verdict = verdict if np.isfinite(half) else OPEN
        if verdict:
            found.append(Finding(env, "; ".join(parts), verdict))
    return found


def _environments(table: "pd.DataFrame") -> "Iterator[tuple[str, pd.DataFrame]]":
    yield from ((str(env), rows) for env, rows in table.groupby("env", sort=False))


def _tested(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows with p: two-sided normal test of the mean paired difference, Holm-corrected over the rows.

    The tables' Wilcoxon test is one of the median: over skewed differences it may call a mean of the other sign sure.
    """
    mean, sem = (rows[name].to_numpy(float) for name in ("diff_mean", "diff_sem"))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(mean == 0, 0.0, np.abs(mean) / sem)
    return rows.assign(p=holm(2 * stats.norm.sf(z)))


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


def _simulated(row: Any) -> str:
    return f"{row['simulated']:.2g} [{row['simulated_low']:.2g}, {row['simulated_high']:.2g}]"
