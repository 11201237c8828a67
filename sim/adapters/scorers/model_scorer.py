"""Scorers that ask a model of an endpoint of the run about every completion: the base of the judge, and of your own.

What they ask is paid for like everything else: it goes through the same sampler, under the same caps, into the same
journal, and is not asked again. Requests carry no seed.
"""

import abc
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.sampler import Want, cell_of
from sim.adapters.run_file.kinds import ANY_TEXT, TEXT, number, whole
from sim.adapters.run_file.settings import Prompt
from sim.adapters.scorers.reader import hollow
from sim.adapters.scorers.text import Number
from sim.adapters.scoring import OK, UNREADABLE, Item, Requests, Scored, Scorer
from sim.adapters.wire.complaints import visible

JUDGED = "judge"
"""Stream of judgements in a journal."""
FIRST = 8
"""Judgements that are looked at before more are asked for."""
_SHOWN = 160
"""Signs of a judgement that are shown."""


@dataclass(frozen=True)
class ModelScorer(Scorer):
    """Scorer by one question to a model about each completion. A final class gives the question and reads the reply.

    Attributes:
        model: who is asked.
        max_tokens, temperature: of the reply.
        endpoint: name of the one that has the model, where a run has several.

    Example:
        >>> from sim.adapters.scorers.model_scorer import ModelScorer
        >>> class Polite(ModelScorer):
        ...     def question(self, item, completion):
        ...         return f"How polite is this, from 0 to 1? {completion}"
        >>> judge = Polite("a-model", max_tokens=50)
        >>> judge.requests.models, judge.number("I would say 0.8")
        (('a-model',), 0.8)
    """

    model: Annotated[str, TEXT]
    max_tokens: Annotated[int, whole(high=10**6)] = field(default=256, kw_only=True)
    temperature: Annotated[float, number(0, 10)] = field(default=0.0, kw_only=True)
    endpoint: Annotated[str, ANY_TEXT] = field(default="", kw_only=True, repr=False)
    _sampler: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _asked: dict[bytes, asyncio.Task[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _first: list[Draw] = field(default_factory=list, init=False, repr=False, compare=False)
    _unread: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)
    votes = False
    needs_gold = False

    @abc.abstractmethod
    def question(self, item: Item, completion: str) -> str:
        """The user message about a completion to a query."""

    def number(self, text: str) -> float | None:
        """The score in a reply, None where there is none: by default the last number."""
        found = Number().answer(text)
        return None if found is None else float(found)

    async def reading(self, text: str) -> Scored:
        """The finding in a reply: its number."""
        return valued(self.number(text))

    @property
    def verdicts(self) -> bool:
        """Whether the question asks for a line without which a reply cannot be read."""
        return False

    async def judged(self, item: Item, completion: str, said: Draw) -> Scored:
        """The finding in a reply about a completion to a query: by default what its text alone says."""
        return await self.reading(said.text)

    @property
    def requests(self) -> Requests:
        """One completion of the model."""
        return Requests(models=(self.model,), endpoint=self.endpoint)

    def wants(self, item: Item, completion: str) -> Sequence[Want]:
        """The one draw that is asked for."""
        return [Want(*self.request(item, completion), 0, 1, None)]

    def attach(self, sampler: Any) -> None:
        """Use this sampler from now on."""
        self._sampler[:] = [sampler]

    def request(self, item: Item, completion: str) -> tuple[Prompt, Asked]:
        """Question about a completion, as a prompt and its cell.

        Raises:
            ValueError: the query lacks what the question needs.
        """
        self.check(item)
        prompt = Prompt("(judge)", "{query}", "", self.model, self.max_tokens, self.temperature, None, None)
        return prompt, cell_of(JUDGED, self._sampler[0].endpoint, prompt, self.question(item, sendable(completion)))

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """One judgement per completion."""
        return list(await asyncio.gather(*(self._one(item, text) for text in texts)))

    async def _one(self, item: Item, text: str) -> Scored:
        (want,) = self.wants(item, text)
        task = self._asked.get(want.cell.digest)
        new = task is None
        if task is None:  # equal completions of a query share a judgement, also while it is under way
            task = asyncio.create_task(self._sampler[0].draws(want))
            self._asked[want.cell.digest] = task
            task.add_done_callback(lambda _: self._asked.pop(want.cell.digest, None))
        (said,) = await asyncio.shield(task)
        found = await self.judged(item, sendable(text), said)
        if new:
            self._check(said, found)
        return found

    def _check(self, said: Draw, found: Scored) -> None:
        """Refuse a judge that only ever says nothing, or writes no verdict, before more is paid for it."""
        if len(self._first) == FIRST:
            return
        self._first.append(said)
        self._unread.append(found.status == UNREADABLE)
        if len(self._first) < FIRST:
            return
        wrong = hollow(self._first)
        if wrong is None and self.verdicts and all(self._unread):
            told = visible(said.text, _SHOWN)
            wrong = (
                f"without the line of a verdict; a larger max_tokens may help, or a pattern. The last of them: {told}"
            )
        if wrong is not None:
            raise ValueError(f"judge {self.model!r}: all of its first {FIRST} judgements are {wrong}")


def sendable(text: str) -> str:
    """Text as a request can hold it, without lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def valued(number: float | None) -> Scored:
    """The finding that a number in a reply is; unreadable where there is none."""
    return Scored(UNREADABLE) if number is None else Scored(OK, None, number)
