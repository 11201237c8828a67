"""Mistakes in code that was brought along, as one sentence with file, line and reason.

The traceback tells whose code raised: the last line in a file that `sim.plugins` loaded, or in one beside it. Where
such code was only called wrongly, or lacks a method, it has no line there, and its definition is told.
"""

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from sim import origins

_LONGEST = 400
"""Signs of a reason."""
_SHOWN = 60
"""Signs of a result that cannot be used."""
_HINTS = {
    "TracerBoolConversionError": "; choose with jnp.where or jax.lax.cond, not with if, while, and, or",
    "TracerIntegerConversionError": "; a size or a position in Python must not depend on what was drawn",
    "ConcretizationTypeError": "; a number in Python must not depend on what was drawn",
    "NonConcreteBooleanIndexError": "; keep shapes fixed: a mask and jnp.where in place of a shorter array",
    "TracerArrayConversionError": "; use jax.numpy, not numpy, for what is drawn",
}
"""Error of JAX -> what to do about it."""
_CALLED = re.compile(r"([\w.]+)\(\) (?:takes|missing|got)\b")
"""Words of Python about a function that was called with other arguments than it takes."""
_OF_JAX = ("This ", "See http", "The error occurred while tracing")
"""Beginnings of lines that JAX says about its own objects and places."""
RAISED = (Exception, SystemExit)
"""All that ends code which was brought along, `sys.exit` too; a KeyboardInterrupt is the user's and stays one."""
_places: set[Path] = set()
"""Folders and files whose code counts as brought along."""

P = ParamSpec("P")
T = TypeVar("T")


class Mistake(ValueError):
    """A mistake in code that was brought along: file, line and reason in one sentence."""


def bring(place: Path) -> None:
    """From now on the code in a folder, or a file, counts as brought along."""
    _places.add(place.resolve())


def mistake(error: BaseException, about: str = "") -> Mistake | None:
    """The sentence about an error in code that was brought along, None for an error elsewhere.

    Args:
        error: what was raised.
        about: what was run, if it was brought along: told where the traceback names no line of it.
    """
    if isinstance(error, Mistake):
        return error
    if isinstance(error, SyntaxError) and error.filename and _brought(error.filename):
        return Mistake(f"{_short(error.filename)}, line {error.lineno}: {type(error).__name__}: {error.msg}")
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _brought(frame.filename)]
    if ours:
        return Mistake(f"{_short(ours[-1].filename)}, line {ours[-1].lineno}: {_reason(error)}")
    if isinstance(error, NotImplementedError) and (lacks := _lacking(error.__traceback__)):
        return Mistake(lacks)
    called = _CALLED.match(str(error)) if isinstance(error, TypeError) else None
    if called is not None and (place := _defined(called[1])):
        return Mistake(f"{place}: {_reason(error)}")
    return Mistake(f"{about}: {_reason(error)}") if about and not isinstance(error, ValueError | OSError) else None


def placed(thing: Any) -> str:
    """The file and line of a function or a class that was brought along: "mine.py, line 3"; empty for another's."""
    try:
        thing = inspect.unwrap(thing)
        file = inspect.getsourcefile(thing) or ""
        line = thing.__code__.co_firstlineno if hasattr(thing, "__code__") else inspect.getsourcelines(thing)[1]
    except (TypeError, ValueError, OSError):  # built in, made by a call, or of a file that is gone
        return ""
    return f"{_short(file)}, line {line}" if _brought(file) else ""


def gave(what: str, thing: Any, found: Any, wanted: str) -> Mistake:
    """The sentence about a result that cannot be used.

    Args:
        what: whose result it is, for people.
        thing: the function that gave it.
        found: what it gave.
        wanted: what would be right.
    """
    text = repr(found).split("\n")[0]
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    place = placed(getattr(thing, "func", thing))
    return Mistake(f"{place}{place and ': '}{what} gave {text} ({type(found).__name__}); {wanted}")


def _defined(name: str) -> str:
    """Where the function of this qualified name is defined, in code that was brought along; the latest of several."""
    for module in reversed(list(sys.modules.values())):
        if not _brought(getattr(module, "__file__", None) or "<"):
            continue
        thing: Any = module
        for part in name.split("."):
            thing = getattr(thing, part, None)
        if getattr(thing, "__qualname__", "") == name and (place := placed(thing)):
            return place
    return ""


def _lacking(trace: TracebackType | None) -> str:
    """Where the class is defined that lacks the method which was called last, and which; empty for another's."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    kind, method = type(trace.tb_frame.f_locals.get("self")), trace.tb_frame.f_code.co_name
    place = placed(kind)
    return f"{place}: the method {method} of {kind.__name__} is missing" if place else ""


@contextmanager
def telling(about: str = "") -> Iterator[None]:
    """Turn errors in code that was brought along into a `Mistake`."""
    try:
        yield
    except RAISED as error:
        found = mistake(error, about)
        if found is None or found is error:
            raise
        raise found from error


def tells(about: Callable[P, str] | None = None) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator for what other processes run: errors must travel, which those of JAX do not.

    Args:
        about: of the arguments, what is run, as for `mistake`.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def told(*args: P.args, **kwargs: P.kwargs) -> T:
            with telling("" if about is None else about(*args, **kwargs)):
                return function(*args, **kwargs)

        return told

    return decorate


def _brought(file: str) -> bool:
    """Whether a file is code that was brought along: neither of this project nor installed, unless it was named."""
    if file.startswith("<"):
        return False
    path = Path(file).resolve()
    root = Path(__file__).resolve().parents[1]
    if any(path.is_relative_to(root / room) for room in origins.ROOMS):
        return False
    around = [place for place in _places if path.is_relative_to(place)]
    return bool(around) and (not origins.installed(str(path)) or any(map(_is_installed, around)))


def _is_installed(place: Path) -> bool:
    return origins.installed(str(place))


def _short(file: str) -> str:
    """A path as people write it: from the working folder where it lies in it."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _reason(error: BaseException) -> str:
    """The kind of an error and what it says first, without what JAX says about its own objects."""
    if isinstance(error, SystemExit):
        return f"the code called sys.exit({'' if error.code is None else repr(error.code)})"
    lines = [line.strip() for line in str(error).partition("\n\n")[0].splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(_OF_JAX))
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
    hint = _HINTS.get(type(error).__name__, "")
    return f"{type(error).__name__}: {said.partition('. ')[0].rstrip('.') if hint else said}{hint}".removesuffix(": ")
