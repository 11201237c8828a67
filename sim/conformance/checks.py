"""A check and its verdict: what it promises, what to do where it fails, and what was found."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sim import mistakes

Make = Callable[[], Any]
"""Makes a fresh instance of what is checked."""


class Check(NamedTuple):
    """A check of something that was made.

    Attributes:
        name: one word.
        promise: what holds where it passes, in words.
        hint: what to do where it fails.
        problem: finds what is wrong, None where nothing is.
    """

    name: str
    promise: str
    hint: str
    problem: Callable[[Make], str | None]


class CheckResult(NamedTuple):
    """Finding of a check: a problem, None where it passed; `tried` is false where an earlier failure forbids it."""

    check: Check
    problem: str | None
    tried: bool = True


def run(checks: Sequence[Check], make: Make, about: str) -> Iterator[CheckResult]:
    """Run checks one after the other. After the first has failed the others cannot be tried.

    Args:
        checks: in their order.
        make: makes what is checked.
        about: its name, for messages.
    """
    broken = False
    for place, check in enumerate(checks):
        if broken:
            yield CheckResult(check, None, tried=False)
            continue
        try:
            problem = check.problem(make)
        except Exception as error:
            found = mistakes.mistake(error, about)
            problem = str(found or f"{type(error).__name__}: {error}")
        broken = place == 0 and problem is not None
        yield CheckResult(check, problem)
