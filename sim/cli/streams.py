"""Standard output and error as they are found: closed, an ASCII terminal, a pipe whose reader leaves, a full disk."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from sim.cli import common


class _Unwritable(OSError):
    """Standard output took no more."""


class _Stream(io.FileIO):
    """A standard stream. Where its reader has left, what is still written is lost and the work goes on."""

    def write(self, data, /) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().write(data)
        except OSError as error:
            _to_nobody(self.fileno())
            if isinstance(error, BrokenPipeError) or self.fileno() == 2:  # where nothing can be said of it
                return super().write(data)
            raise _Unwritable(f"standard output cannot be written ({error.strerror})") from error


def settle() -> None:
    """Make standard output and error take any text and survive readers that leave.

    What the encoding of a terminal or of PYTHONIOENCODING does not have is written as an escape.
    """
    sys.stdout, sys.stderr = _settled(sys.stdout, 1), _settled(sys.stderr, 2)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115


@contextmanager
def written() -> Iterator[None]:
    """Write what is left at the end; what cannot be written is said, in one sentence with exit code 2.

    Commands say so themselves of what they print; what is printed for them, such as their help, is seen to here.
    """
    try:
        try:
            yield
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
    except _Unwritable as error:
        common.say(f"error: {error}")
        raise SystemExit(common.USER_ERROR) from None


def _settled(found: TextIO | None, number: int) -> TextIO:
    if found is not None:
        found.flush()
    encoding = getattr(found, "encoding", None) or "utf-8"
    raw = io.BufferedWriter(_Stream(number, "w", closefd=False))
    lines = number == 2 or raw.isatty()
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=lines)


def _to_nobody(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
