"""Outcome of a comparison for people: algorithms by budget, best first, and the sentence on who won."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sim.cli import common

if TYPE_CHECKING:
    import pandas as pd

    from sim.comparison.compare import Plan, Result

SIGNIFICANT = 0.05
BEST = "^"


class Ranked(NamedTuple):
    """Mean ACR of every algorithm at every budget, of one environment.

    Attributes:
        title: what is shown.
        columns: names; the first is of algorithms.
        rows: texts, as many as columns, best algorithm first; `BEST` marks the best of a budget.
        keys: number behind each text; None where it is a name.
        caption: what marks mean.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    keys: list[tuple[float | None, ...]]
    caption: str


def ranked(env: str, rows: "pd.DataFrame", plan: "Plan", result: "Result", seconds: bool = True) -> Ranked:
    """The table of one environment: mean ACR and standard error, algorithm by budget, best first.

    Args:
        env: name of the environment.
        rows: of its summary.
        plan: what was compared.
        result: what came out.
        seconds: whether to show those of every algorithm.
    """
    import numpy as np

    from sim.cli.digits import shown

    cells = rows.set_index(["algorithm", "budget"])
    oracle = rows["algorithm"].str.startswith("oracle")
    best = rows[~oracle].groupby("budget")["acr_mean"].max()
    every, marks = rows["acr_mean"].to_numpy(), {}
    for at, cell in cells.iterrows():
        text, budget = cast(tuple[str, int], at)
        top = not text.startswith("oracle") and cell["acr_mean"] == best[budget]
        marks[text, budget] = (BEST if top else "") + ("*" if cell["p_holm"] < SIGNIFICANT else "")
    width = max(map(len, marks.values()))
    number = shown(every, max(float(np.ptp(every)), float(rows["acr_sem"].to_numpy().max())))
    body, keys = [], []
    for text in best_first(rows):
        own = [cast(Any, cells.loc[text, budget]) for budget in plan.budgets]
        entries = [
            f"{number(cell['acr_mean'])} ±{number(cell['acr_sem'])}{marks[text, budget]:{width}}"
            for cell, budget in zip(own, plan.budgets, strict=True)
        ]
        spent = result.seconds[env, text]
        timing = (spent.compile, spent.run) if seconds else ()
        body.append((text, *entries, *(f"{one:.1f}" for one in timing)))
        keys.append((None, *(float(cell["acr_mean"]) for cell in own), *timing))
    queries = "held-out queries" if result.held_out[env] else "the training queries (there is no split)"
    apart = ", the oracle apart" if oracle.any() else ""
    columns = (
        "algorithm",
        *(f"T = {budget:,}" for budget in plan.budgets),
        *(("compile s", "run s") if seconds else ()),
    )
    return Ranked(
        f"{env}: average contextual return on {queries}, mean ± standard error over {plan.trials:,} trials",
        columns,
        body,
        keys,
        f"Best first at T = {max(plan.budgets):,}. {BEST} best at its budget{apart}; * differs from {plan.reference} "
        f"(Wilcoxon signed-rank, Holm-corrected, p < {SIGNIFICANT})",
    )


def best_first(rows: "pd.DataFrame") -> list[str]:
    """Algorithms of one environment by their mean ACR at the largest budget; equal ones stay in their order."""
    last = rows[rows["budget"] == rows["budget"].max()]
    return list(map(str, last.sort_values("acr_mean", ascending=False, kind="stable")["algorithm"]))


def verdict(trials: "pd.DataFrame", held_out: bool = False) -> str:
    """The sentence on who won at the largest budget, by how much, and whether that is beyond its error.

    The difference to the next is paired by trial, with its standard error. The test is that of the table's stars, with
    the winner as the reference.

    Args:
        trials: of one environment, as `sim.comparison.tables.trial_rows` makes them.
        held_out: whether they are scored on queries that are not trained on; the best on these is no ceiling then.
    """
    import numpy as np

    from sim.cli.digits import shown
    from sim.comparison import tables
    from sim.references import REFERENCES

    learners = trials[~trials["algorithm"].isin(REFERENCES)]
    if learners.empty:
        return "No algorithm was compared that learns."
    budget = learners["budget"].max()
    possible = float("nan") if held_out else float(trials.loc[trials["algorithm"] == "oracle", "acr"].mean())
    last = learners[learners["budget"] == budget].pivot(index="trial", columns="algorithm", values="acr")
    order = list(last.mean().sort_values(ascending=False, kind="stable").index)
    best = order[0]
    number = shown([*last.mean(), possible])
    ceiling = " on held-out queries" if held_out else "" if np.isnan(possible) else f" of {number(possible)} at best"
    worth = f"at T = {budget:,} its arms are worth {number(last[best].mean())}{ceiling}"
    if len(order) == 1:
        return f"{best} was compared with no other: {worth} ({common.count(len(last), 'trial')})."
    second = order[1]
    apart = (last[best] - last[second]).to_numpy()
    p: Any = tables.summarise(learners, best).set_index(["algorithm", "budget"]).loc[(second, budget), "p_holm"]
    error = float(tables.sem(apart))
    difference = f"{number(apart.mean())}{'' if np.isnan(error) else f' ± {number(error)}'}"
    basis = f"({common.count(len(apart), 'paired trial')}, p = {p:.2g})"
    if p < SIGNIFICANT:
        return f"{best} won: {worth}, {difference} more than {second}'s {basis}."
    return f"{best} leads, but nobody won: {worth}; its {difference} over {second} are not beyond their error {basis}."


def verdicts(trials: "pd.DataFrame", held_out: dict[str, bool]) -> Sequence[str]:
    """`verdict` of every environment of a comparison, which is named where there are several.

    Args:
        trials: of the comparison.
        held_out: by name of the environment, as `Result.held_out`.
    """
    parts = [(str(env), verdict(own, held_out[str(env)])) for env, own in trials.groupby("env", sort=False)]
    return [f"{env}: {said}" if len(parts) > 1 else said for env, said in parts]
