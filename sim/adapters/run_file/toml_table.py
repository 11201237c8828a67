"""Tables of a TOML file, read by pydantic into dataclasses; every refusal names the file, the key and the reason."""

import dataclasses
import difflib
import functools
import os.path  # whose questions any text may be asked, however long it is
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from sim.adapters.run_file.kinds import ValueKind, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
NEEDED: Any = object()
"""In place of a default: the key is needed."""


class Closed:
    """Base of dataclasses that take no keys but their own."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012


@dataclass(frozen=True)
class TomlTable:
    """A table of a file.

    Attributes:
        file: for messages.
        where: dotted path of the table, empty at the top.
        content: what the file holds.
    """

    file: Path
    where: str
    content: Mapping[str, Any]
    _read: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def wrong(self, key: str, problem: str) -> ValueError:
        """An error about one key."""
        path = f"{self.where}.{key}" if self.where and key else self.where or key
        return ValueError(f"{self.file}: {f'{path} ' if path else ''}{problem}")

    def value(self, key: str, kind: ValueKind, default: Any = NEEDED) -> Any:
        """The value of one key, checked by its kind."""
        self._read.add(key)
        if key not in self.content:
            if default is NEEDED:
                raise self.wrong(key, missing(key, self.content.keys() - self._read))
            return default
        try:
            return kind.check(self.content[key])
        except ValueError as error:
            raise self.wrong(key, str(error)) from None

    def fill(self, made: type[T]) -> T:
        """A dataclass whose fields are the keys of this table.

        Raises:
            ValueError: a key is missing, unknown or wrong.
        """
        return self._filled(made, self.content)

    def options(self, made: type[T], **given: Any) -> T:
        """A dataclass of a table that holds other keys beside its fields; `done` refuses those that nobody reads.

        Args:
            made: the dataclass; fields that are not part of its construction are left out.
            given: values of fields that the table does not hold.
        """
        fields = options_of(made, tuple(given))
        self._read.update(one.name for one in dataclasses.fields(fields))
        own = {key: value for key, value in self.content.items() if key in self._read}
        found = self._filled(fields, own)
        return made(**{one.name: getattr(found, one.name) for one in dataclasses.fields(fields)}, **given)

    def done(self) -> None:
        """Refuse keys that nobody read."""
        for key in self.content:
            if key not in self._read:
                raise self.wrong(key, unknown(key, self._read))

    def _filled(self, made: type[T], content: Mapping[str, Any]) -> T:
        """A dataclass whose fields are the keys of this table, or of a part of it."""
        from pydantic import ValidationError

        try:
            return adapter(made).validate_python(dict(content))
        except ValidationError as error:
            first, *rest = error.errors(include_url=False)
            refused = self._refusal(first, made)
            more = [".".join(map(str, one["loc"])) for one in rest if one["type"] == "missing" and len(one["loc"]) < 3]
            if first["type"] == "missing" and more:
                refused = ValueError(f"{refused}; so {'is' if len(more) == 1 else 'are'} {', '.join(more)}")
            raise refused from None

    def _refusal(self, problem: Mapping[str, Any], made: type) -> ValueError:
        """A refusal by pydantic in our words."""
        place = [one for one in problem["loc"] if not str(one).startswith("(")]
        kind, value = problem["type"], problem["input"]
        if kind == "value_error":
            said = str(problem["ctx"]["error"])
        elif kind == "missing":
            given, known = (self.content, self._read) if len(place) == 1 else (value, ())
            said = missing(str(place[-1]), given.keys() - _keys(made, place[:-1]) - {*known})
        elif kind == "unexpected_keyword_argument":
            said = unknown(str(place[-1]), _keys(made, place[:-1]))
        elif kind == "string_unicode":
            said = f"holds {value!a}, half of a UTF-16 pair, which is no text"
        elif isinstance(place[-1], int) or kind not in ("dataclass_type", "dict_type"):
            place = place[:-1] if isinstance(place[-1], int) else place
            said = f"must be one or more tables; write [[{place[-1]}]]"
        else:
            said = f"is {shown(value)}; expected a table"
        path = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place)
        return self.wrong(path.removeprefix("."), said)


def unknown(key: str, known: Iterable[str]) -> str:
    """A sentence about a key that is not known, with the nearest one that is."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"is not known; {f'did you mean {near[0]!r}? ' if near else ''}known are {', '.join(sorted(known))}"


def missing(key: str, strangers: Iterable[str]) -> str:
    """A sentence about a key that is missing, with the nearest of the keys beside it that are not known."""
    near = difflib.get_close_matches(key, sorted(strangers), n=1, cutoff=0.6)
    return f"is missing; it is needed{f'; did you mean it by {near[0]!r}?' if near else ''}"


@functools.cache
def adapter(made: type[T]) -> "TypeAdapter[T]":
    """Pydantic's reader of a dataclass, made once."""
    from pydantic import TypeAdapter

    return TypeAdapter(made)


@functools.cache
def options_of(made: type, given: tuple[str, ...]) -> type:
    """A dataclass of the public fields that a dataclass is constructed with, but for those that are given."""
    hints = get_type_hints(made, include_extras=True)
    own = [one for one in dataclasses.fields(made) if one.init and not one.name.startswith("_")]
    parts = [
        (one.name, hints[one.name], field(default=one.default, default_factory=one.default_factory))  # type: ignore[call-overload]
        for one in own
        if one.name not in given
    ]
    return dataclasses.make_dataclass(made.__name__, parts, kw_only=True)


def _keys(made: type, place: Iterable[int | str]) -> set[str]:
    """The keys of the table at a place inside a dataclass."""
    schema = adapter(made).json_schema()
    nodes = alternatives(schema, schema)
    for part in place:
        inner = [node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part) for node in nodes]
        inner += [node.get("additionalProperties") for node in nodes]
        nodes = [one for node in inner if isinstance(node, dict) for one in alternatives(node, schema)]
    return {key for node in nodes for key in node.get("properties", {})}


def alternatives(node: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a JSON schema, with what they refer to in place of the reference."""
    if "$ref" in node:
        return alternatives(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    several = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    return [one for other in several for one in alternatives(other, schema)] or [node]


def read_toml(path: Path, told_by: str | Path | None = None) -> dict[str, Any]:
    """The content of a run file, unchecked; `told_by` is what names it."""
    if told_by is not None and not os.path.isfile(path):
        raise ValueError(f"{told_by}: came from {path}, which is not there any more; put the configuration back there")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; `iapo tune --example` writes one") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        raise ValueError(f"{path}: is no TOML file ({error})") from None
