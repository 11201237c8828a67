"""Options and arguments that several commands take: spelt, read and described the same everywhere."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from sim import defaults
from sim.cli import completion
from sim.whole import whole as _whole


def whole(text: Any) -> int:
    """Read a whole number of the command line, also 5k, 1e4, 1,000 and 1_000."""
    try:
        return _whole(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def positive(text: Any) -> int:
    """Read a whole number of at least 1."""
    found = whole(text)
    if found < 1:
        raise typer.BadParameter(f"is {found}; it must be at least 1")
    return found


def pairs(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """Names with their values, each given as NAME=VALUE.

    Raises:
        ValueError: there is no =, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"{option} is {text!r}; expected NAME=VALUE")
        if name in found:
            raise ValueError(f"{option} gives {name!r} twice")
        found[name] = value
    return found


def number(text: Any) -> float:
    """Read a number of the command line."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"is {text!r}; expected a number, as in 0.05") from None


def environment(place: str | None, name: str | None) -> str:
    """The environment of a command that takes one, by position or by --env.

    Raises:
        ValueError: none is named, or two.
    """
    if place is not None and name is not None:
        raise ValueError(f"two environments are named, {place!r} and --env {name!r}; this command takes one")
    found = place if name is None else name
    if found is None:
        raise ValueError("no environment is named; name one, as in `iapo values crossover`, from `iapo env list`")
    check_names([found])
    return found


def check_names(environments: Iterable[str], rules: Iterable[str] = ()) -> None:
    """Refuse names that no environment and no algorithm has, before anything slow is imported.

    Raises:
        ValueError: naming the nearest.
    """
    from sim import algorithms, envs

    for text in rules:
        algorithms.check_name(text)
    for text in environments:
        envs.check_name(text)


EnvPlace = Annotated[
    str | None,
    typer.Argument(
        metavar="ENV",
        help="A name from `iapo env list`, a file, or mine.py:name; --env ENV says the same.",
        autocompletion=completion.environments,
        show_default=False,
    ),
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--bound",
        metavar="FILE:NAME",
        help="A bound of your own too, as mine.py:my_bound:rule=psst.",
    ),
]
Env = Annotated[
    str | None,
    typer.Option(
        "--env",
        metavar="ENV",
        help="The environment, where it is not named by position.",
        autocompletion=completion.environments,
    ),
]
EnvPlaces = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ENV",
        help="Names from `iapo env list`, files, or mine.py:name; --env ENV says the same, once per environment.",
        autocompletion=completion.environments,
        show_default=False,
    ),
]
Envs = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="ENV",
        help="An environment; once per environment.",
        show_default="synth-bernoulli, synth-categorical",
        autocompletion=completion.environments,
    ),
]
Algorithm = Annotated[
    str,
    typer.Option(
        metavar="NAME[:OPTION=VALUE,...]",
        help="The algorithm, from `iapo algorithms` or mine.py:Name.",
        autocompletion=completion.algorithms,
    ),
]
Algorithms = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:OPTION=VALUE,...]",
        help="An algorithm, from `iapo algorithms` or mine.py:Name; once per algorithm. `all`: all that can run.",
        show_default=", ".join(defaults.COMPARISON),
        autocompletion=completion.contenders,
    ),
]
Seed = Annotated[int, typer.Option(parser=whole, metavar="S", help="Decides everything that is random.")]
WorldSeed = Annotated[
    int,
    typer.Option(
        "--seed", parser=whole, metavar="S", help="Where worlds are drawn afresh: show that of trial 0 with this seed."
    ),
]
ContextNumber = Annotated[
    int | None,
    typer.Option(
        parser=whole, metavar="C", help="Show this context alone, counted from 0.", show_default="all contexts"
    ),
]
Table = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the whole table here, as .csv or .parquet.")
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write a page of HTML that needs nothing besides itself: the result in words, pictures, tables.",
    ),
]
EnvironmentFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="The .npz file to write.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what it would cost, and stop. Asks nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Import the Python modules of its scorers, which runs their code.")
]
Modules = Annotated[
    list[str] | None,
    typer.Option("--module", metavar="MODULE", help="Import this module of its scorers; once per module."),
]
PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy.json that `iapo tune` wrote.")]
ContextName = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="Name of a context.", show_default="the only one, if there is one"),
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=VALUE", help="A further column that the prompt shows; once per column."),
]
