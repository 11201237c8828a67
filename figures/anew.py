"""A figure of the registry drawn anew, from a table that is computed here and not kept."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from figures import registry, style
from figures.inputs import Lab


def draw_figure(figure: Any, **changes: Any) -> Figure:
    """Draw a figure by name or as an object, with parts of its sweep changed.

    Args:
        figure: as `iapo figures` knows it, e.g. "crossing" or "mine.py"; or what has SWEEP, `compute` and `draw`: a
            module, a class or another object.
        changes: entries of its SWEEP instead of those in its file, e.g. `envs=("crossover",)`.

    Raises:
        ValueError: there is no such figure, its sweep has no such entry, or it is computed from other figures' tables.

    Example:
        >>> from figures import draw_figure
        >>> len(draw_figure("crossing", envs=("crossover",)).axes) > 0
        True
    """
    if isinstance(figure, str):
        name = registry.bring(figure)
        module, needs = registry.module(name), registry.FIGURES[name].needs
    else:
        name, module, needs = getattr(figure, "__name__", type(figure).__name__), figure, getattr(figure, "NEEDS", ())
        if problem := registry.problem_of(figure):
            raise ValueError(f"{name} {problem}; see figures.registry")
    for key in changes:
        if key not in module.SWEEP:
            raise ValueError(f"the sweep of {name} has no {key!r}; it has {', '.join(module.SWEEP)}")
    if needs:
        raise ValueError(f"{name} is computed from the tables of {', '.join(needs)}; make it by `iapo figures`")
    with TemporaryDirectory(prefix="iapo-") as folder:
        table = registry.computed(module, module.SWEEP | changes, Lab({}, Path(folder), {}))
    with mpl.rc_context(style.PAPER):
        return registry.drawn(module, table)
