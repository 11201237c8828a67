"""Kinds of values in run files and policies: a check with its sentence, and a JSON schema for editors.

A kind annotates a field: `timeout: Annotated[float, number(0, 600, above=True)] = 5.0`. Pydantic calls it; nothing here
imports pydantic before that, for most commands read no run file.
"""

import math
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sim.whole import whole as read_whole

_NO_NAME = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that no name may hold: controls, halves of characters, ends of lines and paragraphs."""
_LONGEST = 500
"""Signs of a value in a sentence."""


def finite(value: Any) -> bool:
    """Whether a value is a number that float64 can hold; whole numbers may be too large for it."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return fits and abs(value) <= sys.float_info.max


def shown(value: Any) -> str:
    """A value as a sentence shows it: in Python's words, cut where it is long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or with thousands of digits
        return "a value too long to show"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


@dataclass(frozen=True, eq=False)
class ValueKind:
    """A kind of value.

    Attributes:
        check: gives a value back as programs use it, or refuses it with a ValueError whose sentence goes on after the
            key: "is 0; expected ...".
        schema: JSON schema of the values.
    """

    check: Callable[[Any], Any]
    schema: Mapping[str, Any] = field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Any]) -> dict[str, Any]:
        return dict(self.schema)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}; expected text")
    return value


def _some_text(value: Any) -> str:
    if not _text(value).strip():
        raise ValueError("is empty; expected some text")
    return value


def _name(value: Any) -> str:
    if any(unicodedata.category(one) in _NO_NAME for one in _some_text(value)):
        raise ValueError(f"is {shown(value)}; expected a name without control characters")
    return value


def _pattern(value: Any) -> str:
    try:
        re.compile(_some_text(value))
    except re.error as error:
        raise ValueError(f"is {shown(value)}, which is no regular expression ({error})") from None
    return value


def _variable(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("([A-Z_][A-Z0-9_]*)?", value):
        raise ValueError("is no name of an environment variable in capitals; the key itself does not belong here")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {shown(value)}; expected true or false")
    return value


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of lists, one weight per objective")
    return value


ANY_TEXT = ValueKind(_text, {"type": "string"})
"""Text, which may be blank."""
TEXT = ValueKind(_some_text, {"type": "string", "pattern": r"\S"})
"""Text that is not blank."""
NAME = ValueKind(_name, {"type": "string", "pattern": r"\S"})
"""A name, which tables and messages show: text in one line that UTF-8 can hold."""
PATTERN = ValueKind(_pattern, {"type": "string", "format": "regex"})
"""A regular expression, as text."""
VARIABLE = ValueKind(_variable, {"type": "string", "pattern": "^([A-Z_][A-Z0-9_]*)?$"})
"""The name of an environment variable that holds a key, empty for none; not the key, which is not shown."""
FLAG = ValueKind(_flag, {"type": "boolean"})
"""True or false."""
ROWS = ValueKind(_rows, {"type": "array", "items": {"type": "array", "items": {"type": "number"}}})
"""A list of lists of numbers, which are checked row by row by who knows how long they must be."""


def later(schema: Mapping[str, Any]) -> ValueKind:
    """Any value: what it must be depends on other keys, and is checked by who knows them."""
    return ValueKind(lambda value: value, schema)


def word(*allowed: str) -> ValueKind:
    """One of several words."""

    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"is {shown(value)}; allowed are {', '.join(allowed)}")
        return value

    return ValueKind(check, {"enum": list(allowed)})


def whole(low: int = 1, high: int = 2**53) -> ValueKind:
    """A whole number from `low` to `high`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            limits = f"of at least {low}" if high == 2**53 else f"from {low} to {high}"
            raise ValueError(f"is {shown(value)}; expected a whole number {limits}")
        return value

    return ValueKind(check, {"type": "integer", "minimum": low, "maximum": high})


def written(high: int) -> ValueKind:
    """A whole number from 1 to `high`, also as people write it: 1e4, "5k" or "1,000"."""
    plain = whole(1, high)

    def check(value: Any) -> int:
        with suppress(ValueError):  # which says less than the refusal below
            value = read_whole(value)
        return plain.check(value)

    return ValueKind(check, {"anyOf": [dict(plain.schema), {"type": "number"}, {"type": "string"}]})


def number(low: float | int = -math.inf, high: float | int = math.inf, above: bool = False) -> ValueKind:
    """A finite number from `low` to `high`, as float64; strictly above `low` where `above` says so."""

    def check(value: Any) -> float:
        if not finite(value) or not low <= value <= high or (above and value == low):
            parts = [] if low == -math.inf else [f"{'above' if above else 'at least'} {low:g}"]
            parts += [] if high == math.inf else [f"at most {high:g}"]
            raise ValueError(f"is {shown(value)}; expected a finite number {' and '.join(parts)}".rstrip())
        return float(value)

    least = {"exclusiveMinimum" if above else "minimum": low} if low > -math.inf else {}
    return ValueKind(check, {"type": "number"} | least | ({"maximum": high} if high < math.inf else {}))


def numbers(low: float | int = -math.inf) -> ValueKind:
    """A list of finite numbers of at least `low`, as a tuple of float64."""

    def check(value: Any) -> tuple[float, ...]:
        fits = isinstance(value, list) and len(value) > 0
        if not fits or not all(finite(one) and one >= low for one in value):
            least = "" if low == -math.inf else f", each at least {low:g}"
            raise ValueError(f"is {shown(value)}; expected a list of finite numbers{least}")
        return tuple(map(float, value))

    return ValueKind(check, {"type": "array", "minItems": 1, "items": dict(number(low).schema)})


def one_or_more(kind: ValueKind) -> ValueKind:
    """A value of a kind, or a list of different ones; as a tuple."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            return (kind.check(value),)
        found = tuple(map(kind.check, value))
        if not found or len(set(found)) < len(found):
            raise ValueError(f"is {shown(value)}; expected one value, or a list of different ones")
        return found

    return ValueKind(
        check, {"anyOf": [dict(kind.schema), {"type": "array", "minItems": 1, "items": dict(kind.schema)}]}
    )


class Several:
    """Marks a tuple of tables that has at least one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(source) | {"min_length": 1}


class GridOrTables:
    """Marks the union of a table and a list of tables: which one is meant, the value says before it is read."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        def which(value: Any) -> str:
            return "(table)" if isinstance(value, dict) else "(tables)"

        one, several = handler(source)["choices"]
        return core_schema.tagged_union_schema({"(table)": one, "(tables)": several}, which)
