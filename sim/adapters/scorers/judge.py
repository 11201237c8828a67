"""A language model as judge: a chat completion about every completion, from which a score is read."""

import re
from dataclasses import dataclass, field
from typing import Annotated

from sim.adapters.run_file.kinds import PATTERN, TEXT, number
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import patterns
from sim.adapters.scorers.model_scorer import ModelScorer, valued
from sim.adapters.scorers.patterns import Patterns
from sim.adapters.scorers.text import canonical_number
from sim.adapters.scoring import TIMEOUT, Item, Requests, Scored

_SLOTS = re.compile(r"\{(query|completion|gold|reference)\}")


@dataclass(frozen=True)
class Judge(ModelScorer):
    """Asks a model on the same endpoint for a number.

    Attributes:
        template: the user message, with {query}, {completion} and perhaps {gold} and {reference}.
        pattern: what its first group matched last is the score; None takes the last number.
        timeout: seconds for the pattern and one judgement.
    """

    template: Annotated[str, TEXT]
    pattern: Annotated[str | None, PATTERN] = None
    timeout: Annotated[float, number(0, 600, above=True)] = patterns.TIMEOUT
    _patterns: Patterns = field(default_factory=Patterns, init=False, repr=False, compare=False)

    @classmethod
    def read(cls, table: TomlTable) -> "Judge":
        """From a table of the configuration."""
        made = table.options(cls)
        for slot in ("{query}", "{completion}"):
            if slot not in made.template:
                raise table.wrong("template", f"has no {slot} slot; the judge needs it")
        if made.pattern is not None and re.compile(made.pattern).groups < 1:
            raise table.wrong("pattern", f"is {made.pattern!r}; it needs a group that holds the score")
        if made.pattern is None and "timeout" in table.content:
            raise table.wrong("timeout", "is that of a pattern, and there is none; requests have endpoint.timeout")
        return made

    @property
    def requests(self) -> Requests:
        """One judgement, with what the template has slots for."""
        slots = tuple(slot for slot in ("gold", "reference") if f"{{{slot}}}" in self.template)
        return Requests(models=(self.model,), slots=slots)

    def check(self, item: Item) -> None:
        """Refuse a query that does not fill the template's slots."""
        for slot in self.requests.slots:
            if getattr(item, slot) is None:
                raise ValueError(f"the judge's template has a {{{slot}}} slot, but this query has no {slot}")

    def question(self, item: Item, completion: str) -> str:
        """The template, filled. Slots are filled in one pass: braces inside what fills them mean nothing."""
        filling = {"query": item.text, "completion": completion, "gold": item.gold, "reference": item.reference_text}
        return _SLOTS.sub(lambda slot: str(filling[slot[1]]), self.template)

    async def reading(self, text: str) -> Scored:
        """The score in a judgement."""
        if self.pattern is None:
            return await super().reading(text)
        (found,) = await self._patterns.last(self.pattern, 1, [text], self.timeout)
        if found is None:
            return Scored(TIMEOUT)
        number = canonical_number(found)
        return valued(None if number is None else float(number))

    async def close(self) -> None:
        """End all processes."""
        await self._patterns.close()
