"""Scorers in general: a completion to an answer (for votes) and a score (for best of N and means).

A scorer never drops a completion and never invents a zero: what it cannot read has a status of its own, and the
objective says what that is worth.
"""

import abc
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

OK, UNREADABLE, TIMEOUT = "ok", "unreadable", "timeout"
"""Read; no answer could be read; reading it took too long."""


class Item(NamedTuple):
    """A query as scorers see it.

    Attributes:
        text: what fills the {query} slot of a prompt.
        gold: the right answer, None where there is none.
        reference: what else scorers are told, in whatever form the query file has it; None where there is nothing.
        fields: names and values of further columns that prompts have slots for.
    """

    text: str
    gold: str | None = None
    reference: Any = None
    fields: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """As a named tuple; `fields` only where there are some: seeds of journals go by this text."""
        fields = f", fields={self.fields!r}" if self.fields else ""
        return f"Item(text={self.text!r}, gold={self.gold!r}, reference={self.reference!r}{fields})"

    @property
    def reference_text(self) -> str | None:
        """The reference as text: itself, or as JSON."""
        one = self.reference
        return one if one is None or isinstance(one, str) else json.dumps(one, ensure_ascii=False, default=str)


class Scored(NamedTuple):
    """A scorer's finding in one completion.

    Attributes:
        status: `OK`, `UNREADABLE` or `TIMEOUT`.
        label: canonical answer: completions with the same label vote together. None where none was read.
        value: the score; None where none could be given.
    """

    status: str
    label: str | None = None
    value: float | None = None


class Requests(NamedTuple):
    """Requests that scoring one completion makes, at most: by default none.

    Attributes:
        models: models of an endpoint of the run, one entry for each completion that is asked of them. They have prices,
            are part of every plan, and count against the caps.
        servers: other addresses, each with the environment variable of its key ("" for none). They are named before a
            policy from elsewhere sends anything.
        slots: fields of a query, "gold" or "reference", for which the template of the requests has a slot.
        texts: texts that those score, each of which counts as a completion; 0 where what they do is not counted.
        probed: completions of the models that the probe of a run asks for besides, at most.
        endpoint: name of the one that the models are asked at; empty where the run has one only.
    """

    models: tuple[str, ...] = ()
    servers: tuple[tuple[str, str], ...] = ()
    slots: tuple[str, ...] = ()
    texts: int = 0
    probed: int = 0
    endpoint: str = ""


class Scorer(abc.ABC):
    """Reads completions. Frozen dataclasses of their options; anything they hold open is closed by `close`."""

    votes: bool = True
    """Whether it reads answers that can be voted on."""
    needs_gold: bool = True
    """Whether its scores need the right answer."""
    kept: bool = False
    """Whether its results are kept in the journal: where they are slow, or may differ from call to call."""

    @property
    def requests(self) -> Requests:
        """Requests that scoring a completion makes."""
        return Requests()

    def wants(self, item: Item, completion: str) -> Sequence[Any]:
        """Draws (`sampler.Want`) that scoring a completion asks of the models in `requests`, for plans and their costs.

        Raises:
            ValueError: the query lacks what the requests need.
        """
        return ()

    @abc.abstractmethod
    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """One result per completion, in order.

        Raises:
            ValueError: the scorer broke its contract (a sentence for the user).
        """

    def right(self, gold: str) -> str:
        """The label of the right answer."""
        return gold.strip()

    def check(self, item: Item) -> None:  # noqa: B027
        """Refuse a query that lacks what scoring needs, with a ValueError, before anything is asked."""

    def attach(self, sampler: Any) -> None:  # noqa: B027
        """Give the scorer what draws completions, if it asks a model itself."""

    async def start(self) -> Sequence[float]:
        """Check what can be checked before money is spent; the scores of texts that this took, if any."""
        return ()

    async def close(self) -> None:  # noqa: B027
        """Let go of processes and connections."""


class AnswerScorer(Scorer):
    """A scorer that reads an answer by a rule and scores 1 where it is the right one.

    Example:
        >>> from sim import AnswerScorer
        >>> class Last(AnswerScorer):
        ...     def answer(self, text):
        ...         return text.split()[-1] if text.split() else None
        >>> Last().answer("I think it is 42"), Last().answer(" ")
        ('42', None)
    """

    @abc.abstractmethod
    def answer(self, text: str) -> str | None:
        """The canonical answer in a completion, None where there is none."""

    def right(self, gold: str) -> str:
        """The canonical form of the right answer."""
        found = self.answer(gold)
        if found is None:
            raise ValueError(f"the right answer {gold[:80]!r} cannot be read by the scorer that reads the completions")
        return found

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """Labels, and scores 1 or 0 where the query has a right answer."""
        return self.scored(item, [self.answer(text) for text in texts])

    def scored(self, item: Item, answers: Sequence[str | None]) -> list[Scored]:
        """Scores of answers to a query: 1 or 0 where it has a right one."""
        right = None if item.gold is None else self.right(item.gold)
        return [
            Scored(UNREADABLE) if one is None else Scored(OK, one, None if right is None else float(one == right))
            for one in answers
        ]
