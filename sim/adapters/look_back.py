"""Look back at a journal: spending by prompt and round, and completions cut off, filtered, empty or unreadable."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.sampler import cell_of, runs
from sim.adapters.run_file.settings import Config
from sim.adapters.scorers.model_scorer import JUDGED
from sim.adapters.scorers.reader import FILTERED, TRUNCATED, USUAL, ending
from sim.adapters.scorers.rewards import REWARDED
from sim.adapters.scoring import OK, Item
from sim.adapters.session import Session

ASKED_ABOUT = {JUDGED, REWARDED}
"""Streams of what scorers ask about completions."""
OTHER = "not read: another prompt, setting or query"
"""Kind of the completions that a run as it is now does not ask for."""


class RoundSpent(NamedTuple):
    """Requests and charges of a prompt in a round.

    Attributes:
        round: from 1; None outside rounds, as in the probe, and in journals of earlier versions.
        requests, ambiguous: sent in all, and maybe billed without a reply.
        money: in units of 10**-12.
    """

    stream: str
    model: str
    prompt: str
    round: int | None
    requests: int
    ambiguous: int
    completions: int
    tokens: int
    money: int


class Example(NamedTuple):
    """A completion that something is odd about: its query, its number and its text."""

    query: str
    number: int
    text: str


class Oddity(NamedTuple):
    """Completions of a prompt in a stream that are odd in one way.

    Attributes:
        kind: "truncated", "filtered", "empty", "ended by ..", "NAME: unreadable" of an objective, or `OTHER`.
        count, whole: how many, of how many completions.
        examples: the first of them.
    """

    stream: str
    prompt: str
    kind: str
    count: int
    whole: int
    examples: tuple[Example, ...]


def by_round(journal: Journal) -> list[RoundSpent]:
    """Spending by stream, model, prompt and round."""
    return [RoundSpent(*row) for row in journal.charges_by_round()]


def oddities(
    journal: Journal, most: int = 3, live: Session[Config] | None = None, items: Sequence[Item] = ()
) -> list[Oddity]:
    """Odd completions by stream, prompt and kind.

    Args:
        journal: where they are.
        most: examples of each kind.
        live: a session of the run, whose objectives say what is unreadable; None to look at ends alone.
        items: queries of the run.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    whole: Counter[tuple[str, str]] = Counter()
    shown: dict[tuple[str, str, str], list[Example]] = {}
    known = {} if live is None else _known(journal, live, items)
    for stream, _, prompt, query, *_, name in journal.cells():
        draws = {number: Draw(text, finish) for number, _, finish, text in journal.draws_of(name)}
        whole[stream, prompt] += len(draws)
        unread: dict[int, list[str]] = {}
        if name in known:
            unread = live.loop.run(_unread(live, *known[name], draws)) if live else {}
        elif draws and live is not None and stream not in ASKED_ABOUT:
            counts[stream, prompt, OTHER] += len(draws)
        for number, draw in draws.items():
            for kind in (*_kinds(draw), *unread.get(number, ())):
                counts[stream, prompt, kind] += 1
                if len(own := shown.setdefault((stream, prompt, kind), [])) < most:
                    own.append(Example(query, number, draw.text))
    return [Oddity(*key, counts[key], whole[key[:2]], tuple(shown.get(key, ()))) for key in sorted(counts)]


def _kinds(draw: Draw) -> Iterator[str]:
    """Ways in which a completion ended oddly."""
    finish, _ = ending(draw)
    if finish == TRUNCATED:
        yield "truncated"
    elif finish in FILTERED:
        yield "filtered"
    elif finish not in USUAL:
        yield f"ended by {finish[:40]!r}"
    if not draw.text.strip() and finish not in FILTERED:
        yield "empty"


def _known(journal: Journal, live: Session[Config], items: Sequence[Item]) -> dict[bytes, tuple[Asked, Item]]:
    """Cells of the run as its configuration is now: what they ask and the query as scorers see it."""
    run, found = live.config, {}
    for stream in {one[0] for one in journal.cells()} - ASKED_ABOUT:
        for prompt in run.prompts:
            for item in items:
                cell = cell_of(stream, run.endpoint_of(prompt), prompt, item.text, item.fields)
                found[cell.digest] = (cell, item)
    return found


async def _unread(live: Session[Config], cell: Asked, item: Item, draws: dict[int, Draw]) -> dict[int, list[str]]:
    """Draws that some objective cannot read, and which."""
    found: dict[int, list[str]] = {}
    for first, count in runs(sorted(draws), max(len(draws), 1)):  # scores are kept by numbers, which have gaps
        own = [draws[number] for number in range(first, first + count)]
        scored = await live.reader.read(cell, first, item, cell.prompt, own)
        for objective, each in zip(live.reader.objectives, scored, strict=True):
            for number, one in enumerate(each, start=first):
                if one.status != OK:
                    found.setdefault(number, []).append(f"{objective.name}: {one.status}")
    return found
