"""Mistakes in code that was brought along, as one sentence with file, line and reason.

The traceback tells whose code raised: the last line in a file that `sim.plugins` loaded, or in one beside it.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from sim import origins

_LONGEST = 400
"""Signs of a reason."""
_HINTS = {
    "TracerBoolConversionError": "; choose with jnp.where or jax.lax.cond, not with if, while, and, or",
    "TracerIntegerConversionError": "; a size or a position in Python must not depend on what was drawn",
    "ConcretizationTypeError": "; a number in Python must not depend on what was drawn",
    "NonConcreteBooleanIndexError": "; keep shapes fixed: a mask and jnp.where in place of a shorter array",
    "TracerArrayConversionError": "; use jax.numpy, not numpy, for what is drawn",
}
"""Error of JAX -> what to do about it."""
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
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _brought(frame.filename)]
    if isinstance(error, NotImplementedError) and not str(error) and frames and about:
        return Mistake(f"{about}: its method {frames[-1].name} is missing")
    if ours:
        return Mistake(f"{_short(ours[-1].filename)}, line {ours[-1].lineno}: {_reason(error)}")
    return Mistake(f"{about}: {_reason(error)}") if about and not isinstance(error, ValueError | OSError) else None


@contextmanager
def telling(about: str = "") -> Iterator[None]:
    """Turn errors in code that was brought along into a `Mistake`."""
    try:
        yield
    except Exception as error:
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
    lines = [line.strip() for line in str(error).partition("\n\n")[0].splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(("This ", "See http")))
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
    hint = _HINTS.get(type(error).__name__, "")
    return f"{type(error).__name__}: {said.rstrip('.') if hint else said}{hint}".removesuffix(": ")
