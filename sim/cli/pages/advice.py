"""Page of `iapo advise`: what to use and how sure that is, values against N, what money buys, and every arm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sim.cli.pages import parts
from sim.reports import page

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ARMS = {
    "context": "context",
    "prompt": "prompt",
    "scale": "N",
    "value": "value",
    "low": "lower end",
    "high": "upper end",
    "cost": "cost of a query",
    "reward": "reward before costs",
}
_BOUGHT = {
    "context": "context",
    "prompt": "prompt",
    "scale": "N",
    "cost": "cost of a query",
    "reward": "reward before costs",
    "price": "one more costs",
}


def report(
    name: str,
    sentences: Sequence[str],
    arms: "pd.DataFrame",
    bought: "pd.DataFrame",
    drawn: "Figure",
    notes: Sequence[str],
    settings: dict[str, Any],
) -> page.Report:
    """The page of advice by a log or a run.

    Args:
        name: of the log.
        sentences: the advice in words.
        arms: every arm, with the columns of values.csv.
        bought: the arms that make further reward cheapest, from the cheapest on.
        drawn: the picture of both.
        notes: what all of it stands on.
        settings: what the command was told.
    """
    from sim.certify.wording import amount
    from sim.comparison import tables

    kept = tables.provenance(settings, {})
    shown = [parts.frame("Every arm", arms, _ARMS, "Intervals of 95 %, each by itself.", {"cost": amount})]
    if arms["cost"].to_numpy().any():
        about = "One more costs: what is paid for one more unit of reward by going on to this arm."
        shown.insert(0, parts.frame("What money buys", bought, _BOUGHT, about, {"cost": amount, "price": amount}))
    return page.Report(
        f"{name}: what to use",
        tuple(sentences),
        (parts.picture("Value against N, and reward against cost", drawn, "Bands: 95 % intervals, each by itself."),),
        tuple(shown),
        tuple(notes),
        kept.pop("settings"),
        parts.dated({key: value for key, value in kept.items() if value}),
    )
