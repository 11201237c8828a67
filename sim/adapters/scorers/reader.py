"""Completions of a pull to outcomes: labels to vote on and scores within their declared bounds."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sim import mistakes, origins
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.sampler import REFUSED, Want
from sim.adapters.run_file.settings import Objective
from sim.adapters.scoring import OK, UNREADABLE, Item, Scored, Scorer
from sim.adapters.wire.protocol import NO_TEXT
from sim.constants import GOLD

if TYPE_CHECKING:
    import numpy as np

FILTERED = ("content_filter", REFUSED)
TRUNCATED = "length"
USUAL = ("stop", "eos_token", "stop_sequence", "tool_calls", "function_call", "refusal", TRUNCATED, *FILTERED)
"""How completions are known to end."""
FIRST = 32
"""Completions of a run without a probe that are looked at before more are asked for."""
UNDAUNTED = "what came is kept; where that is as it should be, --accept-unreadable goes on"
"""End of a sentence about completions that cannot be read."""


def ending(draw: Draw) -> tuple[str, str | None]:
    """End of a completion: why, and, where the server gave it no text, where its words are instead ("" for nowhere)."""
    finish, mark, where = draw.finish.partition(NO_TEXT)
    return finish, where.removeprefix(", but ") if mark else None


def hollow(draws: Sequence[Draw]) -> str | None:
    """Sentence on completions that are all empty, with where the server's words are instead; None where one is not."""
    if any(draw.text.strip() for draw in draws):
        return None
    places = Counter(where for draw in draws if (where := ending(draw)[1]))
    return f"empty (the server's text is in {', '.join(places)})" if places else "empty"


def blank(draw: Draw) -> bool:
    """Whether there is nothing to be read: a filter kept the completion, or the server gave it no text."""
    finish, where = ending(draw)
    return finish in FILTERED or where is not None


def score_key(scorer: Scorer, item: Item) -> bytes:
    """The name under which a journal keeps what a scorer found in completions to a query."""
    told = (scorer, item.gold) if item.reference is None else (scorer, item.gold, item.reference_text)
    if not origins.own(type(scorer).__module__):  # the name of its module changes with its text
        told = (*told, type(scorer).__module__)
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).digest()[:16]


class Reader:
    """Reads completions for all objectives.

    Attributes:
        seen: how many completions ended or were read in each way, for people.
        look: is shown the first `FIRST` completions once; what it says is wrong ends the run. None for no such look.
    """

    look: Callable[[Sequence[Draw]], str | None] | None = None

    def __init__(self, objectives: Sequence[Objective], journal: Journal):
        self.objectives, self.journal = tuple(objectives), journal
        self.seen: Counter[str] = Counter()
        self._first: list[Draw] = []

    async def start(self) -> None:
        """Let scorers check what they need, and compare scores that they tried with the declared bounds."""
        for objective in self.objectives:
            for score in await objective.scorer.start():
                self._check_bounds(objective, score, f"objective {objective.name!r}, a text tried at the start")

    async def close(self) -> None:
        """Let scorers go."""
        for objective in self.objectives:
            await objective.scorer.close()

    async def gather(self, sampler: EndpointSamplers, wants: Sequence[Want], items: Sequence[Item]) -> None:
        """In batch mode, bring all draws of wants into the journal, then, by further batches, what scorers ask of them.

        Args:
            sampler: brings them.
            wants: draws of completions.
            items: query of each want.

        Raises:
            Stopped: the run cannot go on.
        """
        await sampler.gather(wants)
        asking = [one.scorer for one in self.objectives if one.scorer.requests.models]
        asking = [one for one in asking if sampler.at(one.requests.endpoint).fetch is not None]
        if not asking:
            return
        further: list[Want] = []
        for want, item in zip(wants, items, strict=True):
            for draw in await sampler.draws(want):
                if not blank(draw):
                    further += [one for scorer in asking for one in scorer.wants(item, draw.text)]
        await sampler.gather(list(dict.fromkeys(further)))  # equal completions share what is asked about them

    async def read(self, cell: Asked, first: int, item: Item, prompt: str, draws: Sequence[Draw]) -> list[list[Scored]]:
        """Findings of every objective's scorer in draws first, first + 1, .. of a cell.

        Raises:
            ValueError: a score outside its declared bounds, or of the wrong kind.
        """
        if self.look is not None:
            self._first += draws
            if len(self._first) >= FIRST:
                look, self.look = self.look, None
                if (wrong := look(self._first)) is not None:
                    raise ValueError(f"{wrong}; {UNDAUNTED}")
        found = []
        for objective in self.objectives:
            scored = await self._scored(objective, cell, first, item, prompt, draws)
            for one in scored:
                self._check(objective, one, cell)
            found.append(scored)
        self.seen["completions"] += len(draws)
        for draw in draws:
            finish, where = ending(draw)
            self.seen["truncated"] += finish == TRUNCATED
            self.seen["filtered"] += finish in FILTERED
            if finish not in USUAL:
                self.seen[f"ended by {finish[:40]!r}"] += 1
            if where is not None:
                self.seen[f"without text{where and f', but {where}'}"] += 1
        for objective, scored in zip(self.objectives, found, strict=True):
            for one in scored:
                if one.status != OK:
                    self.seen[f"{objective.name}: {one.status}"] += 1
        return found

    async def _scored(
        self, objective: Objective, cell: Asked, first: int, item: Item, prompt: str, draws: Sequence[Draw]
    ) -> list[Scored]:
        scorer = objective.scorer
        key, kept = b"", {}
        if scorer.kept:
            key = score_key(scorer, item)
            kept = await self.journal.scores(cell, first, len(draws), key)
        nothing = {first + place: Scored(UNREADABLE) for place, draw in enumerate(draws) if blank(draw)}
        known = kept | nothing
        asked = [place for place in range(len(draws)) if first + place not in known]
        if asked:
            with mistakes.telling():
                new = await scorer.score(item, prompt, [draws[place].text for place in asked])
            if len(new) != len(asked):
                raise ValueError(
                    f"the scorer of {objective.name!r} gave {len(new)} results for {len(asked)} completions"
                )
            known |= {first + place: one for place, one in zip(asked, new, strict=True)}
            if scorer.kept:
                await self.journal.keep_scores(cell, first, key, [known[first + place] for place in range(len(draws))])
        return [known[first + place] for place in range(len(draws))]

    def _check(self, objective: Objective, one: Scored, cell: Asked) -> None:
        where = f"objective {objective.name!r}, prompt {cell.prompt!r}, query {cell.query[:60]!r}"
        if one.status != OK:
            return
        if objective.aggregate == "mv":
            if one.label is None:
                raise ValueError(
                    f"{where}: the scorer gave a number; an objective that is voted on needs answers (text)"
                )
        elif one.value is None:
            raise ValueError(f"{where}: the scorer gave an answer without a score; best of N and means need scores")
        else:
            self._check_bounds(objective, one.value, where)

    def _check_bounds(self, objective: Objective, score: float, where: str) -> None:
        if not math.isfinite(score) or not objective.low <= score <= objective.high:
            bounds = f"[{objective.low:g}, {objective.high:g}]"
            raise ValueError(f"{where}: the score {score:g} lies outside the declared bounds {bounds}")

    def outcomes(self, item: Item, found: Sequence[Sequence[Scored]]) -> "np.ndarray":
        """Outcome vectors of a pull, float64, shape (completion, objective), for `utilities.Strategy.measured`.

        Labels of a vote are numbered within the pull: the right answer is 0, others follow as they come; all that
        could not be read share a label, which is wrong.
        """
        import numpy as np

        columns = []
        for objective, scored in zip(self.objectives, found, strict=True):
            if objective.aggregate == "mv":
                numbers: dict[str | None, int] = {objective.scorer.right(item.gold or ""): GOLD}
                columns.append([numbers.setdefault(one.label, len(numbers)) for one in scored])
            else:
                columns.append([objective.unreadable if one.value is None else one.value for one in scored])
        return np.array(columns, np.float64).T
