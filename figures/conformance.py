"""The checks that every figure passes: it names what it holds, and draws from a kept table the same file every time."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from figures import registry, style
from figures.inputs import Lab
from sim.comparison import tables
from sim.conformance.checks import Check, Make


def checks(lab: Lab, folder: Path) -> tuple[Check, ...]:
    """The checks.

    Args:
        lab: what tables are computed with.
        folder: for files that are made and not kept.
    """
    made: list[Any] = []

    def computed(make: Make) -> str | None:
        figure = make()
        made[:] = [registry.computed(figure, figure.SWEEP | getattr(figure, "SMOKE", {}), lab)]
        return "the table has no rows" if len(made[0]) == 0 else None

    def drawn(make: Make) -> str | None:
        path = folder / "table.csv"
        tables.save(made[0], path)
        files = []
        for _ in range(2):
            with mpl.rc_context(style.PAPER):
                picture = registry.drawn(make(), tables.load(path))
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
            after="table",
        ),
    )


def _parts(make: Make) -> str | None:
    problem = registry.problem_of(make())
    return f"it {problem}" if problem else None
