"""Reading a TOML table key by key, so that every refusal names the file, the key and the reason."""

import difflib
import math
import re
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sim.whole import whole

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


class Needed:
    """Marks a key without default."""


NEEDED = Needed()


class TomlTable:
    """A table of a configuration file. Every key is read once; `done` refuses those that nobody read.

    Attributes:
        file: for messages.
        where: dotted path of the table, empty at the top.
        content: what the file holds.
    """

    def __init__(self, file: Path, where: str, content: Mapping[str, Any]):
        self.file, self.where, self.content = file, where, content
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def wrong(self, key: str, problem: str) -> ValueError:
        """An error about one key."""
        path = f"{self.where}.{key}" if self.where and key else self.where or key
        return ValueError(f"{self.file}: {path} {problem}")

    def take(self, key: str, default: Any = NEEDED) -> Any:
        """The raw value of a key."""
        self._read.add(key)
        if key in self.content:
            return self.content[key]
        if default is NEEDED:
            raise self.wrong(key, "is missing; it is needed")
        return default

    def text(self, key: str, default: Any = NEEDED, *, blank: bool = False) -> Any:
        """A string that is not blank."""
        value = self.take(key, default)
        if key not in self.content:
            return value
        if not isinstance(value, str):
            raise self.wrong(key, f"is {shown(value)}; expected text")
        if not blank and not value.strip():
            raise self.wrong(key, "is empty; expected some text")
        return value

    def name(self, key: str, default: Any = NEEDED) -> Any:
        """A name, which tables and messages show: text in one line that UTF-8 can hold."""
        value = self.text(key, default)
        if key in self.content and any(unicodedata.category(one) in _NO_NAME for one in value):
            raise self.wrong(key, f"is {shown(value)}; expected a name without control characters")
        return value

    def variable(self, key: str, default: str) -> str:
        """The name of an environment variable that holds a key, empty for none; not the key, which is not shown."""
        value = self.take(key, default)
        if not isinstance(value, str) or not re.fullmatch("([A-Z_][A-Z0-9_]*)?", value):
            problem = "is no name of an environment variable in capitals; the key itself does not belong here"
            raise self.wrong(key, problem)
        return value

    def pattern(self, key: str, default: Any = NEEDED) -> Any:
        """A regular expression, as text."""
        value = self.text(key, default)
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise self.wrong(key, f"is {shown(value)}, which is no regular expression ({error})") from None
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: Any = NEEDED) -> Any:
        """One of several words."""
        value = self.take(key, default)
        if key in self.content and value not in allowed:
            raise self.wrong(key, f"is {shown(value)}; allowed are {', '.join(allowed)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, f"is {shown(value)}; expected true or false")
        return value

    def whole(self, key: str, default: Any = NEEDED, *, low: int = 1, high: int = 2**53, written: bool = False) -> Any:
        """A whole number from `low` to `high`; where it may be `written`, also as 1e4, "5k" or "1,000"."""
        value = self.take(key, default)
        if key not in self.content:
            return value
        if written:
            with suppress(ValueError):  # which says less than the refusal below
                value = whole(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            limits = f"of at least {low}" if high == 2**53 else f"from {low} to {high}"
            raise self.wrong(key, f"is {shown(value)}; expected a whole number {limits}")
        return value

    def number(
        self,
        key: str,
        default: Any = NEEDED,
        *,
        low: float | int = -math.inf,
        high: float | int = math.inf,
        open_low: bool = False,
    ) -> Any:
        """A finite number from `low` to `high`; strictly above `low` where it is open."""
        value = self.take(key, default)
        if key not in self.content:
            return value
        fits = finite(value)
        if not fits or not low <= value <= high or (open_low and value == low):
            parts = [] if low == -math.inf else [f"above {low:g}" if open_low else f"at least {low:g}"]
            parts += [] if high == math.inf else [f"at most {high:g}"]
            raise self.wrong(key, f"is {shown(value)}; expected a finite number {' and '.join(parts)}".rstrip())
        return float(value)

    def numbers(self, key: str, length: int | None = None, *, low: float | int = -math.inf) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self.take(key)
        fits = isinstance(values, list) and len(values) > 0
        if not fits or not all(finite(v) and v >= low for v in values):
            least = "" if low == -math.inf else f", each at least {low:g}"
            raise self.wrong(key, f"is {shown(values)}; expected a list of finite numbers{least}")
        if length is not None and len(values) != length:
            raise self.wrong(key, f"holds {len(values)} numbers; expected {length}")
        return tuple(map(float, values))

    def table(self, key: str, *, needed: bool = True) -> "TomlTable":
        """A table inside this one; an empty one where it may be absent and is."""
        value = self.take(key, NEEDED if needed else {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"is {shown(value)}; expected a table")
        return TomlTable(self.file, f"{self.where}.{key}" if self.where else key, value)

    def tables(self, key: str) -> list["TomlTable"]:
        """A list of at least one table."""
        value = self.take(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, f"must be one or more tables; write [[{key}]]")
        return [TomlTable(self.file, f"{key}[{place}]", item) for place, item in enumerate(value)]

    def done(self) -> None:
        """Refuse keys that nobody read."""
        for key in self.content:
            if key not in self._read:
                near = difflib.get_close_matches(key, self._read, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise self.wrong(key, f"is not known; {hint}known are {', '.join(sorted(self._read))}")
