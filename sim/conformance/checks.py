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
        after: name of the check without which this one cannot be tried; that of the first check by default.
    """

    name: str
    promise: str
    hint: str
    problem: Callable[[Make], str | None]
    after: str = ""


class NotGiven(Exception):
    """Raised by a check of something that may be left out, and is."""


class CheckResult(NamedTuple):
    """Finding of a check.

    Attributes:
        check: which one.
        problem: what is wrong; None where it passed, or could not be tried.
        tried: false where an earlier failure forbids it.
        given: false where what it checks is left out, as it may be.
    """

    check: Check
    problem: str | None
    tried: bool = True
    given: bool = True


def run(checks: Sequence[Check], make: Make, about: str) -> Iterator[CheckResult]:
    """Run checks one after the other. After the first has failed the others cannot be tried, nor those `after` another.

    Args:
        checks: in their order.
        make: makes what is checked.
        about: its name, for messages.
    """
    failed = set[str]()
    for check in checks:
        if {checks[0].name, check.after} & failed:
            failed.add(check.name)
            yield CheckResult(check, None, tried=False)
            continue
        try:
            problem = check.problem(make)
        except NotGiven:
            yield CheckResult(check, None, given=False)
            continue
        except mistakes.RAISED as error:
            found = mistakes.mistake(error, about)
            problem = str(found or f"{type(error).__name__}: {error}")
        if problem is not None:
            failed.add(check.name)
        yield CheckResult(check, problem)
