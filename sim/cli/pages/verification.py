"""Page of `iapo verify`: whether the bounds hold, failure probability against budget, and the verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING

from sim.cli.pages import parts
from sim.reports import page

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from theory.checks.verify import VerifyResult

_TRUTH = {
    "family": "family",
    "instance": "world",
    "rule": "rule",
    "budget": "T",
    "exact": "exact",
    "simulated": "simulated",
    "simulated_low": "its lower end",
    "simulated_high": "its upper end",
    "splitting": "splitting",
}


def report(result: "VerifyResult", drawn: "Figure", sentence: str, out: Path) -> page.Report:
    """The page of a verification.

    Args:
        result: what came out.
        drawn: its picture.
        sentence: what the verdicts rest on.
        out: folder of its results.
    """
    table = result.table
    truth = table[(table["claim"] == "") & (table["context"] == "any") & (table["round"] == "any")]
    settings, provenance = parts.settled(out)
    return page.Report(
        "Guarantees held against the truth",
        (verdict(result.verdicts),),
        (
            parts.picture(
                "Failure probability against budget",
                drawn,
                "Black: exact. Circles: simulation with 95 % intervals. Diamonds: splitting. Broken lines: bounds; one "
                "below the truth is marked red. Of every family its first world.",
            ),
        ),
        (
            parts.frame(
                "Verdicts",
                result.verdicts,
                {"claim": "bound", "family": "family", "instance": "world", "verdict": "verdict"}
                | {name: f"budgets: {name}" for name in _counts(result.verdicts)}
                | {"ratio": "smallest bound / probability"},
                "A world at a time. holds: at every budget at which that could be told; vacuous: 1 or more wherever it "
                "was tried.",
                {"ratio": "{:.2g}".format},
            ),
            parts.frame(
                "Failure of the rules",
                truth,
                _TRUTH,
                "Intervals of 95 %. -: not computed.",
                dict.fromkeys(_TRUTH, "{:.3g}".format),
            ),
        ),
        (sentence,),
        settings,
        provenance,
    )


def verdict(verdicts: "pd.DataFrame") -> str:
    """The sentence on whether every bound holds.

    Args:
        verdicts: as `theory.checks.table.summary` makes them.
    """
    from theory.checks.verdicts import HOLDS, VIOLATED

    wrong = verdicts[verdicts["verdict"] == VIOLATED]
    cases = f"{len(verdicts):,} cases ({verdicts['claim'].nunique()} bounds, each on the worlds that it is for)"
    holds = int((verdicts["verdict"] == HOLDS).sum())
    if len(wrong):
        pairs = dict.fromkeys(zip(wrong["claim"], wrong["family"], strict=True))
        named = ", ".join(f"{claim} on {family}" for claim, family in pairs)
        return f"Violated in {len(wrong):,} of {cases}: {named}."
    return f"No bound is violated in {cases}: {holds:,} hold, the others are vacuous or not resolved."


def _counts(verdicts: "pd.DataFrame") -> list[str]:
    from theory.checks.verdicts import ORDER

    return [str(name) for name in ORDER if str(name) in verdicts]
