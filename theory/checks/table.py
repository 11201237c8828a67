"""The table of a verification: truth, bounds, estimates and verdicts side by side, never mixed in one column."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim.comparison import store
from theory.checks import claims, families, verdicts
from theory.checks.verdicts import Truth
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
"""A row without a claim is about the rule's failure itself: in all, in one context or in one round ("answer": after the
last). Intervals of estimates are of 95 %; `truth_low` and `truth_high` are the simultaneous ones that a verdict rests
on, `against` says of what. `exponent` is the error exponent per completion since the budget `since`."""
_FEWEST = 20
"""Failures below which no exponent is estimated."""


class Entry(NamedTuple):
    """All that is known of one rule on one world at one budget."""

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


def build(cells: Iterable[Any], load: Callable[[Any], store.Content]) -> tuple["pd.DataFrame", int]:
    """The table, and how many simultaneous intervals its verdicts rest on.

    Args:
        cells: `theory.checks.verify.Cell`s, all finished.
        load: reads the result of one.
    """
    import pandas as pd

    entries = _believed(list(_entries(list(cells), load)))
    weighed = [entry for entry in entries if any(bound < 1 for bound in entry.claims.values())]
    judged = [entry.truth._replace(replicates=entry.replicates) for entry in weighed]  # those not believed count too
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
        counts = {name: int((part["verdict"] == name).sum()) for name in verdicts.ORDER}
        known = part["exact"].fillna(part["simulated"].where(part["failures"] >= verdicts.FEW))
        known = known.fillna(part["splitting"].where(part["splitting_note"] == ""))
        clear = part["verdict"].isin([verdicts.HOLDS, verdicts.VIOLATED])
        ratio = (part["bound"] / known)[clear & (known > 0)].min()
        rows.append((claim, family, instance, verdicts.together(part["verdict"]), *counts.values(), ratio))
    found = pd.DataFrame(rows, columns=["claim", "family", "instance", "verdict", *verdicts.ORDER, "ratio"])
    order = {name: place for place, name in enumerate(claims.CLAIMS)}
    return found.sort_values("claim", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def by_family(summary: "pd.DataFrame") -> "pd.DataFrame":
    """A `summary` with all worlds of a family in one row."""
    counts = dict.fromkeys(verdicts.ORDER, "sum")
    parts: Any = summary.groupby(["claim", "family"], sort=False)
    return parts.agg({"verdict": verdicts.together, **counts, "ratio": "min"}).reset_index()


def _entries(cells: list[Any], load: Callable[[Any], store.Content]) -> Iterator[Entry]:
    """What the cells hold, by rule and budget."""
    at = {(cell.kind, cell.family, cell.number, cell.rule, cell.budget): cell for cell in cells}
    simulated = [cell for cell in cells if cell.kind == "simulation"]
    place = {name: i for i, name in enumerate(dict.fromkeys(cell.family for cell in cells))}
    for cell in sorted(simulated, key=lambda cell: (place[cell.family], cell.number, cell.rule, cell.budget)):
        data, counts = cell.data, load(cell)
        known = load(at["claims", cell.family, cell.number, "", cell.budget])
        exact = known.arrays.get(cell.rule)
        if (every := at.get(("enumeration", cell.family, cell.number, cell.rule, cell.budget))) is not None:
            exact = load(every).arrays["exact"]
        bounds = {
            name: value
            for name, value in known.record["claims"].items()
            if not isinstance(value, str) and families.law(claims.CLAIMS[name].rule, data) == cell.rule
        }
        split = at.get(("splitting", cell.family, cell.number, cell.rule, cell.budget))
        content = None if split is None else load(split)
        yield Entry(
            cell.family,
            data.name,
            cell.rule,
            cell.budget,
            Truth(None if exact is None else float(exact[0]), counts.record["failures"], counts.record["trials"]),
            None if exact is None else exact[1:],
            counts.arrays["by_context"],
            counts.arrays["by_round"],
            None if content is None else content.arrays["replicates"],
            "" if content is None else "; ".join(content.record["doubts"]),
            bounds,
        )


def _believed(entries: list[Entry]) -> list[Entry]:
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


def _rows(entry: Entry, alpha: float) -> Iterator[dict[str, Any]]:
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
        if entry.rule != "uniform":
            share = None if exact is None else float(exact[r - 1])
            yield head | {"round": str(r), "exact": share} | _simulated(int(entry.by_round[r]), truth.trials)
    if entry.by_round[0]:
        yield head | {"round": "answer"} | _simulated(int(entry.by_round[0]), truth.trials)
    low, high = truth.interval(alpha)
    for name, bound in entry.claims.items():
        said = verdicts.verdict(bound, truth, alpha)
        judged = {"verdict": said, "against": truth.source, "truth_low": low, "truth_high": high}
        yield whole | {"claim": name, "bound": bound} | (judged if said != verdicts.VACUOUS else {"verdict": said})


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


def _split(entry: Entry) -> dict[str, Any]:
    if entry.replicates is None:
        return {}
    low, high = rare.t_interval(entry.replicates)
    return {
        "splitting": float(entry.replicates.mean()),
        "splitting_low": low,
        "splitting_high": high,
        "splitting_note": entry.note,
    }


def _slopes(group: list[Entry]) -> Iterator[tuple[tuple[str, str, str, int], dict[str, Any]]]:
    """Error exponent from each budget to the next, where both probabilities are estimated well enough."""
    before: tuple[Entry, float] | None = None
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
    if truth.source == "splitting" and truth.replicates is not None:
        each = truth.replicates
        return float(each.std(ddof=1) / np.sqrt(len(each))) if each.mean() > 0 else None
    if truth.failures < _FEWEST:
        return None
    return float(np.sqrt(truth.estimate * (1 - truth.estimate) / truth.trials))
