"""The checks that every figure passes: it names what it holds, and draws from a kept table the same file every time."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from figures import style
from figures.inputs import Lab
from sim.comparison import tables
from sim.conformance.checks import Check, Make

NEEDED = ("SWEEP", "compute", "draw")
"""Names that a figure has; SMOKE, a small sweep, is wise."""


def checks(lab: Lab, folder: Path) -> tuple[Check, ...]:
    """The checks.

    Args:
        lab: what tables are computed with.
        folder: for files that are made and not kept.
    """
    made: list[Any] = []

    def computed(make: Make) -> str | None:
        figure = make()
        made[:] = [figure.compute(figure.SWEEP | getattr(figure, "SMOKE", {}), lab)]
        if not hasattr(made[0], "columns") or not hasattr(made[0], "to_csv"):
            return f"compute returns a {type(made[0]).__name__}; it must be a pandas table"
        return "the table has no rows" if len(made[0]) == 0 else None

    def drawn(make: Make) -> str | None:
        if not made:
            return "there is no table to draw"
        path = folder / "table.csv"
        tables.save(made[0], path)
        files = []
        for _ in range(2):
            with mpl.rc_context(style.PAPER):
                picture = make().draw(tables.load(path))
            if not hasattr(picture, "savefig"):
                return f"draw returns a {type(picture).__name__}; it must be a figure of matplotlib"
            files.append(style.save(picture, folder / "figure.png", style.PAPER).read_bytes())
        if files[0] != files[1]:
            return "two pictures of one table differ"
        return None

    return (
        Check("parts", "it has SWEEP, compute and draw", "compare with `iapo new figure`", _parts),
        Check(
            "table", "compute makes a table with rows from its small sweep", "try iapo figures with --smoke", computed
        ),
        Check(
            "picture",
            "draw makes the same picture from the kept table every time",
            "no clock, no unseeded jitter",
            drawn,
        ),
    )


def _parts(make: Make) -> str | None:
    figure = make()
    missing = [name for name in NEEDED if not hasattr(figure, name)]
    if missing:
        return f"it has no {', '.join(missing)}"
    if not isinstance(figure.SWEEP, dict):
        return f"SWEEP is of class {type(figure.SWEEP).__name__}; it must be a dict"
    return None
