"""`iapo check`: whether an algorithm, an environment, a scorer or a figure keeps what all must keep."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli import common, programs
from sim.cli.new import FileKind

if TYPE_CHECKING:
    from sim.conformance.checks import Check

_KINDS = (
    "`iapo check` takes an algorithm, an environment, a scorer, a figure, or a function that makes one of the first two"
)
_FUNCTIONS = (
    "if it makes an algorithm or an environment; a function that scores takes query, gold and completion, and a bound "
    "is tried by `iapo verify --bound`"
)
FAILED = 1
"""Exit code where a check fails."""


@common.command
def check(
    text: Annotated[
        str,
        typer.Argument(metavar="NAME", help="mine.py:Name, module:Name or a registered name; options follow a colon."),
    ],
    kind: Annotated[
        FileKind | None,
        typer.Option(
            metavar="KIND", help="What it is: algorithm, environment, scorer or figure.", show_default="found out"
        ),
    ] = None,
) -> None:
    """Check an algorithm, environment, scorer or figure.

    Says in words what fails, and what to do.

    The project's own tests run the same checks. Exit code 1 where one fails, 2 where there is nothing to check.

    Example: iapo check mine.py:Mine
    """
    from sim.conformance import checks
    from sim.mistakes import telling

    programs.keep()
    with telling(text):
        found = kind or _kind(text)
    with TemporaryDirectory(prefix="iapo-") as folder:
        suite, make = _suite(found, text, Path(folder))
        with telling(text):
            make()  # what cannot even be made is one sentence
        typer.echo(f"{common.plain(text)}: {found}")
        failed, skipped, absent = 0, 0, 0
        for verdict in checks.run(suite, make, text):
            skipped += not verdict.tried
            absent += not verdict.given
            if verdict.tried:
                said = "FAIL" if verdict.problem is not None else "ok  " if verdict.given else "--  "
                typer.echo(f"  {said}  {verdict.check.promise}{'' if verdict.given else ': not given'}")
            if verdict.problem is not None:
                failed += 1
                typer.echo(f"        {common.plain(' '.join(verdict.problem.split()))}")
                typer.echo(f"        hint: {verdict.check.hint}")
    if failed:
        left = f"; {skipped} more can be tried then" if skipped else ""
        typer.echo(f"{failed} of {len(suite)} checks failed{left}")
        raise typer.Exit(FAILED)
    passed = len(suite) - absent
    typer.echo(
        f"{passed} of {len(suite)} checks passed; {absent} not given" if absent else f"all {passed} checks passed"
    )


def _kind(text: str) -> FileKind:
    """What a text names."""
    from figures import registry
    from sim import algorithms, envs, plugins
    from sim.adapters.scorers import registry as scorers

    names = {
        FileKind.algorithm: algorithms.names(),
        FileKind.environment: envs.names(),
        FileKind.scorer: scorers.names(),
    }
    address = plugins.split(text, [name for of in names.values() for name in of])
    if not address.place:
        names[FileKind.figure] = registry.names()
        found = [kind for kind, known in names.items() if address.name in known or text in known]
        return found[0] if found else FileKind.environment if Path(text).exists() else FileKind.algorithm
    fits = {
        FileKind.algorithm: algorithms.fits,
        FileKind.scorer: scorers.fits,
        FileKind.figure: registry.fits,
        FileKind.environment: envs.fits,
    }
    if not address.name:
        module = plugins.load_file(address.place)
        if registry.fits(module):
            return FileKind.figure
        own = [thing for thing in vars(module).values() if getattr(thing, "__module__", "") == module.__name__]
        counts = {kind: sum(map(one, own)) for kind, one in fits.items()}
        return next((kind for kind, count in counts.items() if count), FileKind.algorithm)
    thing = plugins.load("algorithm", text, lambda one: any(fit(one) for fit in fits.values()) or registry.fits(one))
    for kind, one in fits.items():
        if kind is not FileKind.environment and one(thing):
            return kind
    if scorers.scores(thing):
        return FileKind.scorer
    if isinstance(thing, type) and not envs.fits(thing):
        raise ValueError(f"{text} is a class of none of the kinds; {_KINDS}")
    made = thing
    if callable(thing) and not envs.is_world(thing):
        missing = [name for name in plugins.missing(thing) if f"{name}=" not in address.options]
        if missing:
            options = ",".join(f"{name}=..." for name in missing)
            raise ValueError(f"{text} needs {', '.join(missing)}; write {text}:{options} {_FUNCTIONS}")
        made = plugins.call(text, thing, address.options if plugins.parameters(thing) else "")
    if algorithms.fits(made):
        return FileKind.algorithm
    if envs.is_world(made):
        return FileKind.environment
    said = "is" if made is thing else "makes"
    raise ValueError(f"{address.base} {said} an object of class {type(made).__name__}; {_KINDS}")


def _suite(kind: FileKind, text: str, folder: Path) -> "tuple[Sequence[Check], Callable[[], Any]]":
    """The checks of a kind, and what makes one."""
    if kind is FileKind.algorithm:
        from sim import algorithms
        from sim.conformance import algorithms as suite

        return suite.CHECKS, lambda: algorithms.get(text)
    if kind is FileKind.environment:
        from sim import envs
        from sim.conformance import environments
        from theory.truth import whole_values

        return environments.checks(whole_values), lambda: envs.get(text)
    if kind is FileKind.scorer:
        from sim.adapters.scorers import registry as scorers
        from sim.conformance import scorers as suite

        return suite.CHECKS, lambda: scorers.get(text)
    from figures import conformance, registry
    from figures.inputs import Lab

    return conformance.checks(Lab({}, folder, {}), folder), lambda: registry.module(registry.bring(text))
