"""Page of `iapo values`: the best arm of every context, values against N, and every prompt at its best N."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.cli.pages import parts
from sim.reports import page

if TYPE_CHECKING:
    from sim.certify.intervals import Estimates
    from sim.cli.worlds import Labels


def report(
    name: str,
    found: "Estimates",
    labels: "Labels",
    contexts: Sequence[str],
    notes: Sequence[str],
    settings: dict[str, Any],
) -> page.Report:
    """The page of the values of an environment.

    Args:
        name: of the environment.
        found: values of shape (context, prompt, scale) with intervals, NaN where there are none.
        labels: of prompts.
        contexts: names.
        notes: what the values stand on.
        settings: what the command was told.
    """
    from figures.results import values as figure
    from sim.comparison import tables

    prompts = [labels(prompt) for prompt in range(found.value.shape[1])]
    estimated = bool(np.isfinite(found.low).any())
    kept = tables.provenance(settings, {})
    about = "Bands: 95 % intervals, each by itself. " if estimated else ""
    return page.Report(
        f"Values of {name}",
        tuple(best(found, prompts, contexts)),
        (
            parts.picture(
                "Value against N",
                figure.draw(*found, contexts, prompts),
                f"{about}The best prompts are named, the others are grey"
                f"{'' if len(contexts) <= figure.PANELS else '; of the contexts the first, the middle and the last'}.",
            ),
        ),
        (_table(found, prompts, contexts, estimated),),
        tuple(notes),
        kept.pop("settings"),
        parts.dated({key: value for key, value in kept.items() if value}),
    )


def best(found: "Estimates", prompts: Sequence[str], contexts: Sequence[str]) -> list[str]:
    """A sentence per context on its best arm, those of one arm together.

    Args:
        found: values of shape (context, prompt, scale) with intervals, NaN where there are none.
        prompts: names.
        contexts: names.
    """
    from sim.cli.digits import shown

    arms: dict[tuple[int, int], list[str]] = {}
    numbered = ["context " * name.isdecimal() + name for name in contexts]
    for context, own in enumerate(found.value):
        prompt, scale = divmod(int(np.nanargmax(own.round(12))), own.shape[1])
        value, low, high = (float(part[context, prompt, scale]) for part in found)
        text = shown(own)
        interval = f", {text(low)} to {text(high)}" if low == low else ""
        arms.setdefault((prompt, scale), []).append(f"{numbered[context]} (value {text(value)}{interval})")
    return [
        f"Prompt {prompts[prompt]} with N = {scale + 1} is best for {', '.join(said)}."
        for (prompt, scale), said in arms.items()
    ]


def _table(found: "Estimates", prompts: Sequence[str], contexts: Sequence[str], estimated: bool) -> page.ReportTable:
    """Every prompt of every context at the N that is best for it."""
    from sim.cli.digits import shown

    rows = []
    for context, own in enumerate(found.value):
        text = shown(own)
        for prompt in np.argsort(-np.where(np.isfinite(own), own, -np.inf).max(axis=1), kind="stable"):
            if not np.isfinite(own[prompt]).any():
                continue
            scale = int(np.nanargmax(own[prompt].round(12)))
            ends = [float(part[context, prompt, scale]) for part in found[1:]] if estimated else []
            alone, value = float(own[prompt, 0]), float(own[prompt, scale])
            rows.append(
                (
                    page.entry(contexts[context]),
                    page.entry(prompts[prompt]),
                    *(page.number(one, "-" if one != one else text(one)) for one in (alone, value)),
                    page.entry(scale + 1),
                    *(page.number(one, "-" if one != one else text(one)) for one in ends),
                )
            )
    columns = ("context", "prompt", "value at N = 1", "value at its best N", "best N")
    columns += ("lower end", "upper end") if estimated else ()
    return page.ReportTable("Every prompt at its best N", columns, tuple(rows), "Best first in every context.")
