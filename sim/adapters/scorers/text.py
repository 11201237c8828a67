"""Scorers that read an answer from the text by a rule: exact, choice, number, regex, JSON field."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from sim.adapters.run_file.kinds import FLAG, PATTERN, TEXT, number, whole
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import patterns
from sim.adapters.scorers.patterns import Patterns
from sim.adapters.scorers.read_letter import choose, only
from sim.adapters.scorers.read_number import CURRENCIES, NUMBER, canonical_number, last_number, plainer, value
from sim.adapters.scorers.regex_worker import last_match
from sim.adapters.scoring import TIMEOUT, AnswerScorer, Item, Scored

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_UNIT = r"\s+(?!(?i:and|or|per|half|halves|(?:dozen|hundred|thousand|million|billion|trillion)s?)\b)[^\W\d_]+"
"""A word that does not change the number before it."""


@dataclass(frozen=True)
class Exact(AnswerScorer):
    """The whole completion is the answer, spaces at both ends left out.

    Attributes:
        ignore_case: whether case differs without a difference.
    """

    ignore_case: Annotated[bool, FLAG] = False

    @classmethod
    def read(cls, table: TomlTable) -> "Exact":
        """From a table of the configuration."""
        return table.options(cls)

    def answer(self, text: str) -> str | None:
        """The text itself; None where it is blank."""
        text = text.strip()
        return (text.casefold() if self.ignore_case else text) or None


@dataclass(frozen=True)
class Letter(AnswerScorer):
    """A letter of a multiple choice, in whatever mark-up it is given: `read_letter` says which one.

    Attributes:
        letters: the letters that can be chosen.
    """

    letters: Annotated[str, TEXT] = "ABCD"

    @classmethod
    def read(cls, table: TomlTable) -> "Letter":
        """From a table of the configuration."""
        letters = table.options(cls).letters.upper()
        if len(set(letters)) != len(letters) or not letters.isalpha() or len(letters) < 2:
            raise table.wrong("letters", f"is {letters!r}; expected two or more different letters, as in 'ABCD'")
        return cls(letters)

    def answer(self, text: str) -> str | None:
        """The letter, upper case."""
        return choose(text, self.letters)

    def right(self, gold: str) -> str:
        """The letter, alone or marked off, as in "A) Paris", and the only one: in a sentence "A" may be a word."""
        found = only(gold, self.letters)
        if found is None:
            raise ValueError(f"the right answer {gold[:80]!r} cannot be read as one letter of {self.letters}")
        return found


@dataclass(frozen=True)
class Number(AnswerScorer):
    """The last number in the text, canonical: 1,000.50, 1 000.50 and 1000.5 are one answer; see `read_number`.

    Attributes:
        digits: digits after the point to round to; None keeps all.
    """

    digits: Annotated[int | None, whole(0, 30)] = None

    @classmethod
    def read(cls, table: TomlTable) -> "Number":
        """From a table of the configuration."""
        return table.options(cls)

    def answer(self, text: str) -> str | None:
        """The number in plain notation."""
        return last_number(text, self.digits)

    def right(self, gold: str) -> str:
        """The number in plain notation; it must be all that there is (1/2 is not 2) after ####, as GSM8K has it.

        A unit may follow, as in "5 cm" or "60 miles per hour", and nothing that makes it another number.
        """
        unit = rf"(?:{_UNIT})?(?:\s+per{_UNIT})?"
        alone = rf"[{CURRENCIES}]?\s*{NUMBER}(?:\s*[%°{CURRENCIES}]|{unit})\s*\.?"
        whole = re.fullmatch(alone, plainer(gold.rpartition("####")[2].strip()))
        found = None if whole is None else value(whole, self.digits)
        if found is None:
            raise ValueError(f"the right answer {gold[:80]!r} cannot be read as one number, as 0.5, -1,000 or 20 % can")
        return found


@dataclass(frozen=True)
class Regex(AnswerScorer):
    """The last match of a group of a regular expression, found in processes that are killed when they take too long.

    Attributes:
        pattern: the expression; it must have the group.
        group: number of the group, 0 for the whole match.
        ignore_case: whether case differs without a difference.
        timeout: seconds for one completion: some patterns take time exponential in a text's length.
    """

    pattern: Annotated[str, PATTERN]
    group: Annotated[int, whole(0, 99)] = 1
    ignore_case: Annotated[bool, FLAG] = False
    timeout: Annotated[float, number(0, 600, above=True)] = patterns.TIMEOUT
    _patterns: Patterns = field(default_factory=Patterns, init=False, repr=False, compare=False)
    kept = True

    @classmethod
    def read(cls, table: TomlTable) -> "Regex":
        """From a table of the configuration."""
        made = table.options(cls)
        groups = re.compile(made.pattern).groups
        if "group" not in table.content:
            return replace(made, group=min(1, groups))
        if made.group > groups:
            raise table.wrong("group", f"is {made.group}; the pattern has {groups}")
        return made

    def answer(self, text: str) -> str | None:
        """The last match, spaces at both ends left out. Takes as long as it takes."""
        return self._answer(last_match(self.pattern, self.group, text))

    def _answer(self, match: str) -> str | None:
        return (match.casefold() if self.ignore_case else match) or None

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """All in a row, each with its own time; only those that take too long are given up."""
        found = await self._patterns.last(self.pattern, self.group, texts, self.timeout)
        scores = self.scored(item, [None if one is None else self._answer(one) for one in found])
        return [Scored(TIMEOUT) if one is None else score for one, score in zip(found, scores, strict=True)]

    async def close(self) -> None:
        """End all processes."""
        await self._patterns.close()

    def right(self, gold: str) -> str:
        """The right answer is given as such, without what surrounds it in a completion."""
        gold = gold.strip()
        return gold.casefold() if self.ignore_case else gold


@dataclass(frozen=True)
class JsonField(AnswerScorer):
    """A field of the last JSON object in the text.

    Attributes:
        field: its name; dots lead into inner objects.
    """

    field: Annotated[str, TEXT]

    @classmethod
    def read(cls, table: TomlTable) -> "JsonField":
        """From a table of the configuration."""
        return table.options(cls)

    def answer(self, text: str) -> str | None:
        """The field as canonical JSON, a string as itself; 5.0, 5 and "5" are one answer."""
        for found in reversed(_objects(text)):
            value = found
            for part in self.field.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                return _plain(value if isinstance(value, str) else json.dumps(value, sort_keys=True))
        return None

    def right(self, gold: str) -> str:
        """The right answer is given as such."""
        return _plain(gold)


def _plain(text: str) -> str:
    """Text without spaces at both ends; a number as JSON writes one, which 007 is not, in plain notation."""
    text = text.strip()
    return (canonical_number(text) if _JSON_NUMBER.fullmatch(text) else None) or text


def _objects(text: str) -> list[dict]:
    """Every outermost JSON object in the text, in order."""
    found, start, decoder = [], text.find("{"), json.JSONDecoder()
    tries = 0
    while start != -1 and tries < 1000:
        tries += 1
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found.append(value)
        start = text.find("{", end)
    return [value for value in found if isinstance(value, dict)]
