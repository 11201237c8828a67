"""What all commands share: errors in one sentence, and tables."""

import functools
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

P = ParamSpec("P")

USER_ERROR, INTERRUPTED = 2, 130
_PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""


def command(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose user errors become one sentence and exit code 2, and Ctrl-C exit code 130."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except (ValueError, OSError) as error:
            if isinstance(error, ValueError) and not _is_ours(error):
                raise  # a bug, not a complaint: the traceback is wanted
            stop(f"error: {error}", USER_ERROR)
        except KeyboardInterrupt as error:
            stop(f"stopped: {error}".removesuffix(": "), INTERRUPTED)

    return wrapped


def _is_ours(error: Exception) -> bool:
    root = Path(__file__).resolve().parents[2]
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
    return any(raised_in.is_relative_to(root / room) for room in ("sim", "theory", "figures"))


def stop(sentence: str, code: int) -> NoReturn:
    """Say on stderr why, in one line, and exit."""
    typer.echo(" ".join(sentence.split()), err=True)
    raise typer.Exit(code)


def console() -> "Console":
    """Standard output; wide enough for tables where it is no terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)


def table(title: str | None, columns: Iterable[str], rows: Iterable[Iterable[object]], caption: str = "") -> "Table":
    """A table; columns whose name starts with ">" are aligned to the right."""
    from rich.table import Table

    made = Table(title=title, title_justify="left", caption=caption or None, caption_justify="left", box=None)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    for row in rows:
        made.add_row(*map(str, row))
    return made
