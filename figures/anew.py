"""A figure of the registry drawn anew, from a table that is computed here and not kept."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from figures import registry, style
from figures.inputs import Lab


def draw_figure(name: str, **changes: Any) -> Figure:
    """Draw a figure by name, with parts of its sweep changed.

    Args:
        name: as `iapo figures` knows it, e.g. "crossing".
        changes: entries of its SWEEP instead of those in its file, e.g. `envs=("crossover",)`.

    Raises:
        ValueError: no figure has this name, its sweep has no such entry, or it is computed from other figures' tables.

    Example:
        >>> from figures import draw_figure
        >>> len(draw_figure("crossing", envs=("crossover",)).axes) > 0
        True
    """
    module = registry.module(name)
    for key in changes:
        if key not in module.SWEEP:
            raise ValueError(f"the sweep of {name} has no {key!r}; it has {', '.join(module.SWEEP)}")
    if registry.FIGURES[name].needs:
        needs = ", ".join(registry.FIGURES[name].needs)
        raise ValueError(f"{name} is computed from the tables of {needs}; make it by `iapo figures {name}`")
    with TemporaryDirectory(prefix="iapo-") as folder:
        table = module.compute(module.SWEEP | changes, Lab({}, Path(folder), {}))
    with mpl.rc_context(style.PAPER):
        return module.draw(table)
