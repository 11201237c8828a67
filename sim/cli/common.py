"""Helpers of all commands: errors in one sentence, and tables."""

import functools
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import typer

from sim.cli import interrupt

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TextColumn
    from rich.text import Text

    from sim.adapters.trust import Trust
    from sim.envs.dataset import Dataset

P = ParamSpec("P")
S = TypeVar("S")

USER_ERROR, CAPPED, INTERRUPTED = 2, 3, interrupt.INTERRUPTED
"""Exit codes: refused; stopped by a cap, with a policy so far; ended by the user."""
_PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""
_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's controls, marks of format, halves of characters, ends of lines and of paragraphs."""
_KEPT = "\n\t\u200c\u200d"
_KINDS = (">", "~")
_LONGEST = 2000
"""Signs of a sentence."""
_TEXT_WIDTH = 24
"""Wrapped text gets at least so many columns, if it needs them."""
_PADDING = 2


def command(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose user errors become one sentence and exit code 2, and Ctrl-C exit code 130."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except (Exception, SystemExit) as error:
            from sim.mistakes import mistake

            found = mistake(error)
            refused = isinstance(error, OSError) or (isinstance(error, ValueError) and _is_ours(error))
            if found is None and not refused:
                raise  # a bug, not a complaint: the traceback is wanted
            stop(f"error: {found or error}", USER_ERROR)
        except KeyboardInterrupt as error:
            stop(f"stopped: {error}".removesuffix(": "), INTERRUPTED)

    return wrapped


def _is_ours(error: Exception) -> bool:
    root = Path(__file__).resolve().parents[2]
    places = re.findall(r'^  File "(.+)", line \d+', str(error.__cause__), re.MULTILINE)  # where another process raised
    raised_in = Path((places or [traceback.extract_tb(error.__traceback__)[-1].filename])[-1]).resolve()
    return any(raised_in.is_relative_to(root / room) for room in ("sim", "theory", "figures"))


def stop(sentence: str, code: int) -> NoReturn:
    """Say on stderr why, in one line, and exit. What a file holds may be of any length: the middle is left out then."""
    interrupt.told()
    said = " ".join(sentence.split())
    say(said if len(said) <= _LONGEST else f"{said[: _LONGEST - 300]} ... {said[-300:]}")
    raise typer.Exit(code)


def say(sentence: str) -> None:
    """Say something on stderr in one line, if anybody can hear it."""
    with suppress(OSError):
        typer.echo(plain(" ".join(sentence.split())), err=True)


class LastWords:
    """Last words of a run that is ended: how far work has come that is kept bit by bit.

    Attributes:
        folder: where finished cells are kept.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._step: Any = None

    def watching(self, report: Callable[[S], None]) -> Callable[[S], None]:
        """Reporter of steps (cells done of how many) that remembers the last one."""

        def told(step: S) -> None:
            self._step = step
            report(step)

        return told

    def __call__(self) -> str:
        """The sentence."""
        step = self._step
        kept = "what is finished is" if step is None else f"{step.done} of {step.total} cells are"
        return plain(f"stopped: {kept} kept in {self.folder}; the same command goes on from there")


def agreed(question: str, option: str = "--yes") -> bool:
    """Whether the user says yes. Where nobody answers, the command ends with what helps, an option."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        typer.echo(err=True)
        stop(f"stopped: nobody answered; {option} goes on without asking", INTERRUPTED)


def may_import(trust: bool, modules: list[str] | None) -> "Trust":
    """Trust in the modules of a policy: those that the options name, and those that the user agrees to when asked.

    Where nobody can be asked, no others.
    """
    said: dict[tuple[str, str], bool] = {}

    def asked(module: str, place: str) -> bool:
        if trust or module in (modules or ()):
            return True
        if not sys.stdin.isatty():
            return False
        if (module, place) not in said:
            typer.echo(
                plain(f"Its scorer is a Python function of {module}, from {place}. Importing runs all code there.")
            )
            said[module, place] = agreed("Import it?", "--trust")
        return said[module, place]

    return asked


def plain(text: object) -> str:
    r"""Text that may come from a file, in one line: what does not print becomes an escape such as \n or \x1b."""
    return "".join(c if c.isprintable() else _escape(c) for c in str(text))


def shown(text: str) -> str:
    r"""Text of many lines that comes from outside, for a terminal to show and not to obey.

    Controls (escape sequences, C1, backspace, bell), marks that turn the direction of writing, other marks without a
    look and halves of characters become escapes such as \x1b or \u202e. Line ends, tabs, all spaces and the two joiners
    that scripts need stay.
    """
    return "".join(
        _escape(sign) if unicodedata.category(sign) in _OBEYED and sign not in _KEPT else sign for sign in text
    )


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def console() -> "Console":
    """Standard output; wide enough for tables where it is no terminal. Square brackets are no markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


def bar(unit: str) -> "Progress":
    """A progress bar on standard error that counts and times some unit; square brackets are no markup."""
    from rich import progress
    from rich.console import Console

    timing = (progress.TimeElapsedColumn(), "left", progress.TimeRemainingColumn())
    columns = (description(), progress.BarColumn(), progress.MofNCompleteColumn(), f"{unit}, gone", *timing)
    return progress.Progress(*columns, console=Console(stderr=True))


def description() -> "TextColumn":
    """The column of a progress bar that says what is done; square brackets are no markup."""
    from rich.progress import TextColumn

    return TextColumn("{task.description}", style="progress.description", markup=False)


def sizes(data: "Dataset") -> str:
    """Sizes of an environment in a few words."""
    contexts = count(data.num_contexts, "context")
    return f"{count(data.num_prompts, 'prompt')}, {count(data.num_queries, 'query')}, {contexts}, N <= {data.max_scale}"


def version() -> str | None:
    """The version of this program; None in a checkout that is not installed."""
    from importlib import metadata

    try:
        return metadata.version("iapo-testbed")
    except metadata.PackageNotFoundError:
        return None


def count(number: int, noun: str) -> str:
    """A number of things: 1 query, 2 queries."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


def show(
    console: "Console",
    title: str | None,
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    caption: str = "",
) -> None:
    """Print a table, whole on any terminal.

    Numbers and names are never cut. Columns that do not fit beside each other go on in further blocks, each of which
    begins with the first column; a block that is still too wide has long lines.

    Args:
        console: where to.
        title: line above.
        columns: names; those that start with ">" are aligned to the right, those that start with "~" hold text that
            may be wrapped.
        rows: cells, as many as columns in each row. A rich `Text` is shown as it is, all else as `plain` text.
        caption: lines below.
    """
    from rich.table import Table
    from rich.text import Text

    kinds = [column[:1] if column[:1] in _KINDS else "" for column in columns]
    heads = [column.removeprefix(kind) for column, kind in zip(columns, kinds, strict=True)]
    cells = [[cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(map(Text, heads), *cells, strict=True)]
    widths = [min(width, _TEXT_WIDTH) if kind == "~" else width for width, kind in zip(widths, kinds, strict=True)]
    if title:
        console.print(Text(plain(title), style="table.title"))
    for number, block in enumerate(_blocks(widths, console.width)):
        if number:
            console.print()
        needed = sum(widths[column] + _PADDING for column in block)
        made = Table(box=None, show_header=any(heads), width=needed if needed > console.width else None)
        for column in block:
            made.add_column(
                Text(heads[column]),
                justify="right" if kinds[column] == ">" else "left",
                no_wrap=kinds[column] != "~",
                overflow="fold",
                min_width=widths[column],
            )
        for row in cells:
            made.add_row(*(row[column] for column in block))
        console.print(made, crop=False)
    if caption:
        console.print(Text(plain(caption), style="table.caption"))


def _width(cell: "Text") -> int:
    return max((line.cell_len for line in cell.split(allow_blank=True)), default=0)


def _blocks(widths: list[int], room: int) -> Iterator[list[int]]:
    """The columns of each block of a table: as many as fit, one at least, after the first column."""
    block = [0]
    for column in range(1, len(widths)):
        needed = sum(widths[one] + _PADDING for one in (*block, column))
        if needed > room and len(block) > 1:
            yield block
            block = [0]
        block.append(column)
    yield block
