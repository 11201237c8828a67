"""The table of a verification: truth, bounds, estimates and verdicts side by side, never mixed in one column."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim.comparison import store
from theory.checks import claims, families, verdicts
from theory.checks.events import MISS, Event
from theory.checks.tasks import Kind, Task
from theory.checks.verdicts import Basis, Truth
from theory.runs import rare

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("family", "instance", "rule", "budget", "claim", "context", "round"),
    *("bound", "exact", "failures", "trials", "simulated", "simulated_low", "simulated_high"),
    *("splitting", "splitting_low", "splitting_high", "splitting_note"),
    *("since", "exponent", "exponent_se", "exponent_source"),
    *("verdict", "against", "truth_low", "truth_high"),
)
"""A row without a claim is about the rule's failure itself, a miss: in all, in one context or in one round ("answer":
after the last). A row with one has the truth of the event that it bounds, a mean regret as its share of the worst there
is (`theory.checks.events`). Intervals of estimates are of 95 %; `truth_low` and `truth_high` are the simultaneous ones
that a verdict rests on, `against` says of what. `exponent` is the error exponent per completion since the budget
`since`."""
_FEWEST = 20
"""Failures below which no exponent is estimated."""


class CheckedRule(NamedTuple):
    """All that is known of one rule on one world at one budget.

    `claims` are bounds on a miss, `others` bounds on other events, each with what is known of its event.
    """

    family: str
    instance: str
    rule: str
    budget: int
    truth: Truth
    exact_by_round: np.ndarray | None
    by_context: np.ndarray
    by_round: np.ndarray
    replicates: np.ndarray | None
    note: str
    claims: dict[str, float]
    others: tuple[tuple[str, float, Truth], ...] = ()


def build(tasks: Iterable[Task], load: Callable[[Task], store.Content]) -> tuple["pd.DataFrame", int]:
    """The table, and how many simultaneous intervals its verdicts rest on.

    Args:
        tasks: `theory.checks.tasks.Task`s, all finished.
        load: reads the result of one.
    """
    import pandas as pd

    entries = _believed(list(_entries(list(tasks), load)))
    weighed = [entry for entry in entries if any(bound < 1 for bound in entry.claims.values())]
    judged = [entry.truth._replace(replicates=entry.replicates) for entry in weighed]  # those not believed count too
    for entry in entries:
        judged += {id(truth): truth for _, bound, truth in entry.others if bound < 1}.values()
    alpha, number = verdicts.level(judged)
    text = ("splitting_note", "exponent_source", "verdict", "against")
    rows: list[dict[str, Any]] = [dict.fromkeys(text, "") | row for entry in entries for row in _rows(entry, alpha)]
    by_law = groupby(entries, key=lambda entry: (entry.family, entry.instance, entry.rule))
    slopes = {key: value for _, group in by_law for key, value in _slopes(list(group))}
    for row in rows:
        if row["claim"] == "" and row["context"] == row["round"] == "any":
            row.update(slopes.get((row["family"], row["instance"], row["rule"], row["budget"]), {}))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = {name: "Int64" for name in ("failures", "trials", "since")}
    return table.astype({**whole, **dict.fromkeys(text, str)}), number


def summary(table: "pd.DataFrame") -> "pd.DataFrame":
    """A row per claim and world: the verdict over all budgets, how many of each, and how loose the bound is.

    `ratio` is the smallest bound over what is known of the probability, where the verdict is clear and the
    probability is exact, was seen in at least ten failures, or comes from splitting that may be believed.
    """
    import pandas as pd

    rows = []
    parts: dict[Any, Any] = dict(iter(table[table["claim"] != ""].groupby(["claim", "family", "instance"], sort=False)))
    for (claim, family, instance), part in parts.items():
        counts = {name.value: int((part["verdict"] == name).sum()) for name in verdicts.ORDER}
        known = part["exact"].fillna(part["simulated"].where(part["failures"] >= verdicts.FEW))
        known = known.fillna(part["splitting"].where(part["splitting_note"] == ""))
        clear = part["verdict"].isin([verdicts.HOLDS, verdicts.VIOLATED])
        ratio = (part["bound"] / known)[clear & (known > 0)].min()
        rows.append((claim, family, instance, verdicts.together(part["verdict"]).value, *counts.values(), ratio))
    found = pd.DataFrame(rows, columns=["claim", "family", "instance", "verdict", *map(str, verdicts.ORDER), "ratio"])
    order = {name: place for place, name in enumerate(claims.CLAIMS)}
    return found.sort_values("claim", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def by_family(summary: "pd.DataFrame") -> "pd.DataFrame":
    """A `summary` with all worlds of a family in one row."""
    counts = dict.fromkeys(map(str, verdicts.ORDER), "sum")
    parts: Any = summary.groupby(["claim", "family"], sort=False)
    return parts.agg({"verdict": lambda said: str(verdicts.together(said)), **counts, "ratio": "min"}).reset_index()


def _entries(tasks: list[Task], load: Callable[[Task], store.Content]) -> Iterator[CheckedRule]:
    """What the tasks found, by rule and budget."""
    at = {(task.kind, task.family, task.number, task.rule, task.budget, task.event): task for task in tasks}
    simulated = [task for task in tasks if task.kind is Kind.SIMULATION and task.event == MISS]
    place = {name: i for i, name in enumerate(dict.fromkeys(task.family for task in tasks))}
    for task in sorted(simulated, key=lambda task: (place[task.family], task.number, task.rule, task.budget)):

        def found(kind: Kind, rule: str = task.rule, event: Event = MISS, task: Task = task) -> store.Content | None:
            one = at.get((kind, task.family, task.number, rule, task.budget, event))
            return None if one is None else load(one)

        counts, known = load(task), found(Kind.CLAIMS, "")
        assert known is not None
        exact = known.arrays.get(task.rule)
        if (every := found(Kind.ENUMERATION)) is not None:
            exact = every.arrays["exact"]
        bounds: dict[str, float] = {}
        others: list[tuple[str, float, Truth]] = []
        truths: dict[Event, Truth] = {}
        for name, claim in claims.at().items():
            value = known.record["claims"][name]
            if isinstance(value, str) or families.law(claim.rule, task.data) != task.rule:
                continue
            if claim.event == MISS:
                bounds[name] = value
            elif (seen := found(Kind.SIMULATION, event=claim.event)) is not None:
                truth = truths.setdefault(claim.event, Truth(None, seen.record["failures"], seen.record["trials"]))
                others.append((name, claim.event.share(value, claims.case_of(task.data).worst), truth))
        content = found(Kind.SPLITTING)
        yield CheckedRule(
            task.family,
            task.data.name,
            task.rule,
            task.budget,
            Truth(None if exact is None else float(exact[0]), counts.record["failures"], counts.record["trials"]),
            None if exact is None else exact[1:],
            counts.arrays["by_context"],
            counts.arrays["by_round"],
            None if content is None else content.arrays["replicates"],
            "" if content is None else "; ".join(content.record["doubts"]),
            bounds,
            tuple(others),
        )


def _believed(entries: list[CheckedRule]) -> list[CheckedRule]:
    """Splitting counts where nothing speaks against it and it was matched on the same world and rule.

    It must agree wherever the exact value is known or simulation saw enough failures, and that in at least one place.
    """
    found = []
    for _, group in groupby(entries, key=lambda entry: (entry.family, entry.instance, entry.rule)):
        own = list(group)
        seen = [one for one in own if one.replicates is not None and _sees(one.truth)]
        off = [
            one.budget for one in seen if one.replicates is not None and not verdicts.agree(one.truth, one.replicates)
        ]
        for one in own:
            note = one.note
            if one.replicates is not None and (off or not seen):
                wrong = f"disagrees at T = {off[0]}" if off else "was not matched at any budget"
                note = "; ".join(filter(None, (note, wrong)))
            usable = one.replicates if note == "" else None
            found.append(one._replace(note=note, truth=one.truth._replace(replicates=usable)))
    return found


def _sees(truth: Truth) -> bool:
    return truth.exact is not None or truth.failures >= verdicts.FEW


def _rows(entry: CheckedRule, alpha: float) -> Iterator[dict[str, Any]]:
    """The failure itself, by context, by round, and every claim."""
    head = {"family": entry.family, "instance": entry.instance, "rule": entry.rule, "budget": entry.budget}
    head |= {"claim": "", "context": "any", "round": "any"}
    truth = entry.truth
    whole = head | {"exact": truth.exact} | _simulated(truth.failures, truth.trials) | _split(entry)
    yield whole
    if len(entry.by_context) > 1:
        for context, failures in enumerate(entry.by_context):
            yield head | {"context": str(context)} | _simulated(int(failures), truth.trials)
    last = int(np.flatnonzero(entry.by_round).max(initial=0))
    exact = entry.exact_by_round
    last = max(last, 0 if exact is None else len(exact))
    for r in range(1, last + 1):
        share = None if exact is None else float(exact[r - 1])
        yield head | {"round": str(r), "exact": share} | _simulated(int(entry.by_round[r]), truth.trials)
    if entry.by_round[0]:
        yield head | {"round": "answer"} | _simulated(int(entry.by_round[0]), truth.trials)
    for name, bound in entry.claims.items():
        yield whole | {"claim": name} | _judged(bound, truth, alpha)
    for name, bound, own in entry.others:
        yield head | {"claim": name} | _simulated(own.failures, own.trials) | _judged(bound, own, alpha)


def _judged(bound: float, truth: Truth, alpha: float) -> dict[str, Any]:
    """A bound, the verdict on it, and what that rests on."""
    said = verdicts.verdict(bound, truth, alpha)
    found = {"bound": bound, "verdict": said.value}
    if said is verdicts.VACUOUS:
        return found
    low, high = truth.interval(alpha)
    return found | {"against": truth.source.value, "truth_low": low, "truth_high": high}


def _simulated(failures: int, trials: int) -> dict[str, Any]:
    low, high = verdicts.clopper_pearson(failures, trials)
    share = failures / trials
    return {
        "failures": failures,
        "trials": trials,
        "simulated": share,
        "simulated_low": low,
        "simulated_high": high,
    }


def _split(entry: CheckedRule) -> dict[str, Any]:
    if entry.replicates is None:
        return {}
    low, high = rare.t_interval(entry.replicates)
    return {
        "splitting": float(entry.replicates.mean()),
        "splitting_low": low,
        "splitting_high": high,
        "splitting_note": entry.note,
    }


def _slopes(group: list[CheckedRule]) -> Iterator[tuple[tuple[str, str, str, int], dict[str, Any]]]:
    """Error exponent from each budget to the next, where both probabilities are estimated well enough."""
    before: tuple[CheckedRule, float] | None = None
    for entry in group:
        spread = _standard_error(entry.truth)
        if spread is None:
            before = None
            continue
        if before is not None:
            first, first_se = before
            step = entry.budget - first.budget
            slope, se = verdicts.exponent(first.truth.estimate, entry.truth.estimate, first_se, spread, step)
            key = (entry.family, entry.instance, entry.rule, entry.budget)
            sources = dict.fromkeys((first.truth.source, entry.truth.source))
            yield (
                key,
                {
                    "since": first.budget,
                    "exponent": slope,
                    "exponent_se": se,
                    "exponent_source": " and ".join(sources),
                },
            )
        before = entry, spread


def _standard_error(truth: Truth) -> float | None:
    """Standard error of the estimate, 0 for an exact one; None where too little is known for a logarithm."""
    if truth.exact is not None:
        return 0.0 if truth.exact > 0 else None
    if truth.source is Basis.SPLITTING and truth.replicates is not None:
        each = truth.replicates
        return float(each.std(ddof=1) / np.sqrt(len(each))) if each.mean() > 0 else None
    if truth.failures < _FEWEST:
        return None
    return float(np.sqrt(truth.estimate * (1 - truth.estimate) / truth.trials))
