"""A language model as judge: a chat completion about every completion, from which a score is read.

Judging is paid for like everything else: it goes through the same sampler, under the same caps, into the same journal,
and is not asked again. Requests carry no seed.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.sampler import Sampler, Want, cell_of
from sim.adapters.run_file.kinds import PATTERN, TEXT, number, whole
from sim.adapters.run_file.settings import Prompt
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import patterns
from sim.adapters.scorers.patterns import Patterns
from sim.adapters.scorers.reader import hollow
from sim.adapters.scorers.scoring import OK, TIMEOUT, UNREADABLE, Item, Scored, Scorer
from sim.adapters.scorers.text import Number, canonical_number

FIRST = 8
"""Judgements that are looked at before more are asked for."""
_SLOTS = re.compile(r"\{(query|completion|gold|reference)\}")


@dataclass(frozen=True)
class Judge(Scorer):
    """Asks a model on the same endpoint for a number.

    Attributes:
        model: who judges.
        template: the user message, with {query}, {completion} and perhaps {gold} and {reference}.
        max_tokens, temperature: of the judgement.
        pattern: what its first group matched last is the score; None takes the last number.
        timeout: seconds for the pattern and one judgement.
    """

    model: Annotated[str, TEXT]
    template: Annotated[str, TEXT]
    max_tokens: Annotated[int, whole(high=10**6)] = 256
    temperature: Annotated[float, number(0, 10)] = 0.0
    pattern: Annotated[str | None, PATTERN] = None
    timeout: Annotated[float, number(0, 600, above=True)] = patterns.TIMEOUT
    _patterns: Patterns = field(default_factory=Patterns, init=False, repr=False, compare=False)
    _sampler: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _asked: dict[bytes, asyncio.Task[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _first: list[Draw] = field(default_factory=list, init=False, repr=False, compare=False)
    votes = False
    needs_gold = False

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

    def attach(self, sampler: Sampler) -> None:
        """Use this sampler from now on."""
        self._sampler[:] = [sampler]

    def check(self, item: Item) -> None:
        """Refuse a query that does not fill the template's slots."""
        for slot, value in (("gold", item.gold), ("reference", item.reference)):
            if value is None and f"{{{slot}}}" in self.template:
                raise ValueError(f"the judge's template has a {{{slot}}} slot, but this query has no {slot}")

    def request(self, item: Item, completion: str) -> tuple[Prompt, Asked]:
        """Question about a completion. Slots are filled in one pass: braces inside what fills them mean nothing.

        Raises:
            ValueError: the query does not fill the template's slots.
        """
        self.check(item)
        sendable = completion.encode("utf-8", "replace").decode()  # a request holds no lone surrogates
        filling = {"query": item.text, "completion": sendable, "gold": item.gold, "reference": item.reference_text}
        text = _SLOTS.sub(lambda slot: str(filling[slot[1]]), self.template)
        prompt = Prompt("(judge)", "{query}", "", self.model, self.max_tokens, self.temperature, None, None)
        return prompt, cell_of("judge", self._sampler[0].endpoint, prompt, text)

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """One judgement per completion."""
        return list(await asyncio.gather(*(self._one(item, text) for text in texts)))

    async def _one(self, item: Item, text: str) -> Scored:
        judge, cell = self.request(item, text)
        task = self._asked.get(cell.digest)
        new = task is None
        if task is None:  # equal completions of a query share a judgement, also while it is under way
            task = asyncio.create_task(self._sampler[0].draws(Want(judge, cell, 0, 1, None)))
            self._asked[cell.digest] = task
            task.add_done_callback(lambda _: self._asked.pop(cell.digest, None))
        (said,) = await asyncio.shield(task)
        if new:
            self._check(said)
        return await self.reading(said.text)

    def _check(self, said: Draw) -> None:
        """Refuse a judge that only ever says nothing, before more is paid for it."""
        if len(self._first) < FIRST:
            self._first.append(said)
            if len(self._first) == FIRST and (wrong := hollow(self._first)) is not None:
                raise ValueError(f"judge {self.model!r}: all of its first {FIRST} judgements are {wrong}")

    async def reading(self, text: str) -> Scored:
        """The score in a judgement."""
        if self.pattern is None:
            number = Number().answer(text)
        else:
            (found,) = await self._patterns.last(self.pattern, 1, [text], self.timeout)
            if found is None:
                return Scored(TIMEOUT)
            number = canonical_number(found)
        return Scored(UNREADABLE) if number is None else Scored(OK, None, float(number))

    async def close(self) -> None:
        """End all processes."""
        await self._patterns.close()
