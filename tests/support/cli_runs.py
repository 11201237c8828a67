"""The command line in this process: what it said and how it ended."""

import re

from typer.testing import CliRunner, Result

from sim.cli import app, common

QUICK = ("--algorithm", "random", "--algorithm", "oracle", "--trials", "6")


def iapo(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(result: Result, sentence: str) -> None:
    """Exit code 2 and one line on stderr that begins with `error:` and matches."""
    assert result.exit_code == common.USER_ERROR, result.output
    assert result.stdout == ""
    assert re.fullmatch(rf"error: [^\n]*{sentence}[^\n]*\n", result.stderr), result.stderr
