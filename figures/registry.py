"""Every figure by name. To add one: a file with SWEEP, SMOKE, `compute` and `draw`, and a line in `FIGURES`.

To try one of your own, name its file: `iapo figures mine.py`, or `mine.py:Figure` for an object that has the four.
Options change entries of the SWEEP of any figure: `rho:trials=50`, `mine.py:envs=crossover+two-arm,trials=50`; the
figure is then called `rho-trials=50`.
"""

import difflib
import json
import re
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from sim import mistakes, plugins

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class FigureEntry(NamedTuple):
    """A registered figure.

    Attributes:
        module: what makes it: a module, or module:name.
        shows: what it shows.
        needs: the figures whose tables it is computed from.
        options: entries of its SWEEP that are other than in its file, as (entry, value).
    """

    module: str
    shows: str
    needs: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


FIGURES: dict[str, FigureEntry] = {
    "environments": FigureEntry("figures.environments", "the environments and their exact structure (Table 1)"),
    "crossing": FigureEntry(
        "figures.crossing", "prompts crossing over as N grows, best (prompt, N) by context (Figure 2)"
    ),
    "worlds": FigureEntry(
        "figures.worlds", "in how many drawn worlds prompts cross over and contexts change the best arm"
    ),
    "utility": FigureEntry("figures.utility", "expected utility of votes and best-of-N over success and N (Figure 3)"),
    "exploration": FigureEntry(
        "figures.exploration", "exploration strategies over the budget, which is hard (Figure 4)"
    ),
    "awareness": FigureEntry("figures.awareness", "what knowing the inference strategy is worth (Figure 5)"),
    "ablations": FigureEntry("figures.ablations", "what each decision inside PSST is worth"),
    "rho": FigureEntry("figures.rho", "how much of the budget screening should take"),
    "constants": FigureEntry("figures.constants", "how much the baselines' constants matter"),
    "spent": FigureEntry("figures.spent", "budget actually spent", ("exploration", "ablations")),
    "hard": FigureEntry("figures.hard", "environments built to break one thing each"),
    "structure": FigureEntry("figures.structure", "how the advantage grows with |P|, Nmax and |C|"),
    "choice": FigureEntry("figures.choice", "what to use: least regret by budget per arm, gap, query noise, contexts"),
    "efficiency": FigureEntry("figures.efficiency", "budget of PSST over that of others for the same mean regret"),
    "racing-parts": FigureEntry("figures.racing_parts", "what each part of mixture racing is worth, removed and alone"),
    "bounds": FigureEntry("figures.bounds", "failure probability against bounds"),
    "regret": FigureEntry("figures.regret", "simple regret against bounds"),
    "resolution": FigureEntry("figures.resolution", "what 200 trials can resolve", ("exploration",)),
    "coverage": FigureEntry("figures.coverage", "how often statements about a choice hold, and how wide they are"),
    "scale-gain": FigureEntry("figures.scale_gain", "what a larger Nmax is worth"),
}
"""Name -> figure, in the order in which they are made."""


def module(name: str) -> Any:
    """Maker of a figure: a module, or an object with SWEEP, SMOKE, `compute` and `draw`.

    Raises:
        ValueError: no figure has this name.
    """
    if name not in FIGURES:
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no figure is called {name!r}; {hint}known are {', '.join(names())}")
    made, options = maker(FIGURES[name].module), dict(FIGURES[name].options)
    if not options:
        return made
    small = getattr(made, "SMOKE", {})
    return SimpleNamespace(SWEEP=made.SWEEP | options, SMOKE=small | options, compute=made.compute, draw=made.draw)


def maker(module: str) -> Any:
    """The module, or the object in it, that an entry names."""
    place, _, name = module.partition(":")
    return getattr(import_module(place), name) if name else import_module(place)


def computed(figure: Any, sweep: dict[str, Any], lab: Any) -> "pd.DataFrame":
    """The table that a figure computes.

    Raises:
        Mistake: it is none.
    """
    import pandas as pd

    found = figure.compute(sweep, lab)
    if not isinstance(found, pd.DataFrame):
        raise mistakes.gave("compute", figure.compute, found, "the compute of a figure returns a pandas table")
    return found


def drawn(figure: Any, table: "pd.DataFrame") -> "Figure":
    """The picture that a figure draws of its table.

    Raises:
        Mistake: it is none.
    """
    from matplotlib.figure import Figure

    found = figure.draw(table)
    if not isinstance(found, Figure):
        raise mistakes.gave("draw", figure.draw, found, "the draw of a figure returns a matplotlib Figure")
    return found


def names() -> list[str]:
    """Registered names, and those that installed packages give."""
    return list(dict.fromkeys([*FIGURES, *plugins.names("figure")]))


def fits(thing: object) -> bool:
    """Whether an object can make a figure."""
    return all(hasattr(thing, part) for part in ("SWEEP", "compute", "draw"))


def problem_of(thing: Any) -> str:
    """The end of a sentence that says why an object cannot make a figure; empty where it can."""
    missing = [part for part in ("SWEEP", "compute", "draw") if not hasattr(thing, part)]
    if missing:
        return f"has no {', '.join(missing)}, which a figure needs"
    for part in ("SWEEP", "SMOKE"):
        sweep = getattr(thing, part, {})
        if not isinstance(sweep, dict):
            return f"has a {part} of class {type(sweep).__name__}; it must be a dict"
        try:
            json.dumps(sweep)
        except (TypeError, ValueError) as error:
            return f"has a {part} that cannot be kept beside its table ({error}); use numbers, text, and rows of them"
    wrong = [part for part in ("compute", "draw") if not callable(getattr(thing, part))]
    if wrong:
        return f"has a {wrong[0]} that cannot be called; it must be a function"
    needs = getattr(thing, "NEEDS", ())
    if not isinstance(needs, tuple | list) or not all(isinstance(one, str) for one in needs):
        return f"has NEEDS {needs!r}; it must be a row of names of figures"
    return ""


def bring(text: str) -> str:
    """Register the figure that a text names, unless it is; the name that it has from here on.

    Args:
        text: a registered name, `path/file.py`, `path/file.py:Name`, `module:Name`, or an installed package's name;
            with other entries of its SWEEP after a colon.

    Raises:
        ValueError: there is none, its SWEEP has no such entry, or another figure has its name.
    """
    address = plugins.split(text, FIGURES)
    if not address.place and (address.name in FIGURES or address.name not in plugins.names("figure")):
        return _with_options(address.name, address.options)
    if address.is_file and not address.name:
        thing: Any = plugins.load_file(address.place)
        made_by = thing.__name__
    else:
        thing = plugins.load("figure", text, fits, FIGURES)
        own = isinstance(thing, ModuleType)
        made_by = thing.__name__ if own else _where(thing, address)
    problem = problem_of(thing)
    if problem:
        raise ValueError(f"{address.base} {problem}; see figures.registry")
    name, shows = plugins.label(address.base), (thing.__doc__ or address.base).strip().partition("\n")[0]
    known = FIGURES.setdefault(name, FigureEntry(made_by, shows, tuple(getattr(thing, "NEEDS", ()))))
    if known.module.partition(":")[0].rpartition("_")[0] != made_by.partition(":")[0].rpartition("_")[0]:
        raise ValueError(f"{address.base} would be called {name!r}, as another figure is; rename it")
    FIGURES[name] = known._replace(module=made_by)
    return _with_options(name, address.options)


def _with_options(name: str, text: str) -> str:
    """Register a figure with options too; the name that it then has."""
    if not text:
        return name
    sweep = module(name).SWEEP
    found = plugins.read_options(name, text, {key: value if _scalar(value) else str for key, value in sweep.items()})
    options = tuple((key, _row(f"{name}:{key}", value, sweep[key])) for key, value in found.items())
    whole = re.sub(r"[^\w.,+=-]", "-", f"{name}-{text}")  # names files
    entry = FIGURES[name]._replace(options=options)
    if FIGURES.get(whole, entry).options != options:
        raise ValueError(f"{name}:{text} would be called {whole!r}, as another figure is; write it otherwise")
    FIGURES[whole] = entry
    return whole


def _scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _row(name: str, value: Any, default: Any) -> Any:
    """An option as the entry of a SWEEP is: itself, or a row of parts of one class, joined by +."""
    if _scalar(default):
        return value
    kinds = {type(part) for part in default} if isinstance(default, tuple | list) else set()
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else None
    if kind not in (int, float, str):
        raise ValueError(f"{name} is no number, text or row of them; change it in a file of your own")
    try:
        return tuple(kind(part) for part in value.split("+"))
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise ValueError(f"{name} is {value!r}; expected {wanted} joined by +") from None


def _where(thing: Any, address: plugins.Address) -> str:
    """module:name of an object, as `maker` reads it."""
    if address.is_file:
        return f"{plugins.load_file(address.place).__name__}:{address.name}"
    if address.place:
        return f"{address.place}:{address.name}"
    return plugins.names("figure")[address.name].value


def with_needs(names: list[str]) -> list[str]:
    """These figures (all when none is given) and those they are computed from, in the order of making."""
    wanted = set(names or FIGURES)
    for name in wanted:
        if name not in FIGURES:
            module(name)
    while more := {need for name in wanted for need in FIGURES[name].needs} - wanted:
        wanted |= more
    return [name for name in FIGURES if name in wanted]
