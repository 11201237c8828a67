"""Every figure by name. To add one: a file with SWEEP, SMOKE, `compute` and `draw`, and a line in `FIGURES`."""

import difflib
from importlib import import_module
from types import ModuleType
from typing import NamedTuple


class Entry(NamedTuple):
    """A registered figure: the module that makes it, what it shows, and whose tables it is computed from."""

    module: str
    shows: str
    needs: tuple[str, ...] = ()


FIGURES: dict[str, Entry] = {
    "environments": Entry("figures.environments", "the environments and their exact structure (Table 1)"),
    "crossing": Entry("figures.crossing", "prompts crossing over as N grows, best (prompt, N) by context (Figure 2)"),
    "worlds": Entry("figures.worlds", "in how many drawn worlds prompts cross over and contexts change the best arm"),
    "utility": Entry("figures.utility", "expected utility of votes and best-of-N over success and N (Figure 3)"),
    "exploration": Entry("figures.exploration", "exploration strategies over the budget, which is hard (Figure 4)"),
    "awareness": Entry("figures.awareness", "what knowing the inference strategy is worth (Figure 5)"),
    "ablations": Entry("figures.ablations", "what each decision inside PSST is worth"),
    "rho": Entry("figures.rho", "how much of the budget screening should take"),
    "constants": Entry("figures.constants", "how much the baselines' constants matter"),
    "spent": Entry("figures.spent", "budget actually spent", ("exploration", "ablations")),
    "hard": Entry("figures.hard", "environments built to break one thing each"),
    "structure": Entry("figures.structure", "how the advantage grows with |P|, Nmax and |C|"),
    "choice": Entry("figures.choice", "what to use: least regret by budget per arm, gap, query noise, contexts"),
    "bounds": Entry("figures.bounds", "failure probability against bounds"),
    "regret": Entry("figures.regret", "simple regret against bounds"),
    "resolution": Entry("figures.resolution", "what 200 trials can resolve", ("exploration",)),
    "scale-gain": Entry("figures.scale_gain", "what a larger Nmax is worth"),
}
"""Name -> figure, in the order in which they are made."""


def module(name: str) -> ModuleType:
    """The module of a figure.

    Raises:
        ValueError: no figure has this name.
    """
    if name not in FIGURES:
        near = difflib.get_close_matches(name, FIGURES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no figure is called {name!r}; {hint}known are {', '.join(FIGURES)}")
    return import_module(FIGURES[name].module)


def with_needs(names: list[str]) -> list[str]:
    """These figures (all when none is given) and those they are computed from, in the order of making."""
    wanted = set(names or FIGURES)
    for name in wanted:
        if name not in FIGURES:
            module(name)
    while more := {need for name in wanted for need in FIGURES[name].needs} - wanted:
        wanted |= more
    return [name for name in FIGURES if name in wanted]
