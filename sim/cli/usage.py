"""Reading of the command line: refusals in one sentence that name the nearest, old spellings, help in sections."""

import difflib
import sys
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sim.cli import common, interrupt

_Refusal: type[Exception] = typer.BadParameter.__mro__[1]
"""A complaint about a command line: click's UsageError, which typer has inside it or beside it."""
RENAMED = {"--to": "--out", "--csv": "--out"}
"""Old spellings, which work for one more version -> what they are called now."""


class Command(TyperCommand):
    """A command that reads old spellings of its options, and says so. Its help names kinds of values in capitals."""

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        for one in self.params:
            if one.param_type_name == "argument":  # FILE says it: no <list[str]> beside it
                setattr(one, "display_type_rich", lambda ctx: None)  # noqa: B010 (no attribute of other releases)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, with what has a new name under that."""
        known = set(_options(self))
        renamed = {old: new for old, new in RENAMED.items() if new in known and old not in known}
        read = []
        for place, argument in enumerate(args):
            if argument == "--":
                read += args[place:]
                break
            option, equals, value = argument.partition("=")
            if option in renamed:
                common.say(f"note: {option} is now called {renamed[option]}; the old name goes with the next version")
                argument = f"{renamed[option]}{equals}{value}"
            read.append(argument)
        return super().parse_args(ctx, read)


class Group(TyperGroup):
    """Commands whose usage errors are one sentence each, with exit code 2, and whose help has sections.

    Attributes:
        sections: heading -> the commands under it; those that are in none come last.
    """

    sections: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 (of a class, not of an instance)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command line and exit."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except _Refusal as caught:
            error: Any = caught
            interrupt.told()
            if _is(error, "NoArgsIsHelpError"):
                error.show()
            else:
                common.say(f"error: {sentence(error)}")
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is named; refuse an unknown one with the nearest."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            known = [one for one in self.list_commands(ctx) if not self.commands[one].hidden]
            ctx.fail(f"has no command {name!r}; {nearest(name, known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, section by section."""
        shown = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        placed = {name for names in self.sections.values() for name in names}
        rest = {"More" if self.sections else "Commands": tuple(name for name in shown if name not in placed)}
        limit = formatter.width - 6 - max(map(len, shown))
        for heading, names in (self.sections | rest).items():
            rows = [(name, self.commands[name].get_short_help_str(limit)) for name in names if name in shown]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows, col_max=30)


class App(typer.Typer):
    """Commands in one voice."""

    def __init__(self, sections: dict[str, tuple[str, ...]] | None = None, **options: Any):
        group = Group if sections is None else type("Group", (Group,), {"sections": sections})
        super().__init__(
            cls=group,
            no_args_is_help=True,
            rich_markup_mode=None,  # plain help comes in half the time
            pretty_exceptions_enable=False,
            **options,
        )

    def command(self, name: str | None = None, *, cls: Any = Command, **options: Any) -> Any:
        """Register a command under a name."""
        return super().command(name, cls=cls, **options)


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint that ends a refusal of an unknown name: the nearest that is known, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def sentence(error: Any) -> str:
    """A complaint about a command line, in one sentence."""
    path = "iapo" if error.ctx is None else error.ctx.command_path
    if _is(error, "NoSuchOption"):
        known = list(_options(error.ctx.command)) if error.ctx is not None else []
        close = difflib.get_close_matches(error.option_name, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"`{path} --help` lists its options"
        return f"{path} has no option {error.option_name}; {hint}"
    if _is(error, "MissingParameter"):
        return f"{path} needs {_name(error.param)}; see `{path} --help`"
    if _is(error, "BadParameter"):
        name = "" if error.param is None else _name(error.param)
        said = error.message.removeprefix("Value error, ")  # of an Enum, which pydantic reads
        return f"{name}{'' if said.startswith('is ') else ':'} {said}"
    if _is(error, "BadOptionUsage") and "requires an argument" in error.message:
        return f"{path}: {error.option_name} needs a value"
    said = error.format_message().rstrip(".")
    return f"{path} {said}" if said.startswith("has ") else f"{path}: {said[:1].lower()}{said[1:]}"


def _is(error: Any, name: str) -> bool:
    """Whether an error is of a class of click with this name, wherever typer has it from."""
    return name in {one.__name__ for one in type(error).__mro__}


def _options(command: Any) -> Iterable[str]:
    """The spellings of a command's options, hidden ones apart."""
    for one in command.params:
        if one.param_type_name == "option" and not one.hidden:
            yield from (*one.opts, *one.secondary_opts)
    yield "--help"


def _name(parameter: Any) -> str:
    """An option as it is spelt, an argument as its place is called."""
    if parameter.param_type_name == "option":
        return max(parameter.opts, key=len)
    return str(parameter.metavar or parameter.name.upper()).strip("[].")
