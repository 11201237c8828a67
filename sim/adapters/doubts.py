"""Doubts about a server's replies (empty, cut off, unreadable), raised on a few before the budget is spent."""

from collections.abc import Sequence
from typing import NamedTuple

from sim.adapters.paid.entries import Draw
from sim.adapters.run_file.settings import Config
from sim.adapters.scorers.reader import TRUNCATED, Reader, ending, hollow
from sim.adapters.scoring import OK, Item, Requests
from sim.adapters.session import Session
from sim.adapters.tune import probe_wants
from sim.adapters.wire.complaints import visible

MOST = 0.5
"""Share of the completions beyond which something is wrong with all of them rather than with some."""
_SHOWN = 160
"""Signs of a completion that are shown."""


class _Read(NamedTuple):
    """A completion of the probe: its prompt, its text and end, and who could not read it."""

    prompt: str
    draw: Draw
    unread: tuple[str, ...]


def of_probe(live: Session[Config], items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """Doubts about the completions of the probe, and about those of some prompt, a sentence each.

    Read by every scorer but those that ask a model. What the sentences quote is the server's.
    """
    found = live.loop.run(_read(live, items))
    serious = [] if not found else _sentences(found, "of the probe", MOST)
    notes = []
    for prompt in dict.fromkeys(one.prompt for one in found):
        own = [one for one in found if one.prompt == prompt]
        notes += _sentences(own, f"of the probe with prompt {prompt!r}", 1 - 0.5 / len(own))
    return serious, [] if serious else notes


async def _read(live: Session[Config], items: Sequence[Item]) -> list[_Read]:
    objectives = [one for one in live.config.objectives if one.scorer.requests == Requests()]
    reader, by_text = Reader(objectives, live.journal), {item.text: item for item in items}
    found = []
    for want in probe_wants(live, items):
        draws = [draw for _, draw in sorted((await live.journal.draws(want.cell, want.first, want.count)).items())]
        item = by_text[want.cell.query]
        scored = await reader.read(want.cell, want.first, item, want.prompt.text, draws)
        for place, draw in enumerate(draws):
            unread = [one.name for one, own in zip(objectives, scored, strict=True) if own[place].status != OK]
            found.append(_Read(want.prompt.name, draw, tuple(unread)))
    return found


def _sentences(found: Sequence[_Read], which: str, share: float) -> list[str]:
    """Descriptions that are true of more than a share of some completions."""

    def many(number: int) -> str:
        return "" if number <= share * len(found) else _number(number, len(found))

    said = []
    empty = [one.draw for one in found if not one.draw.text.strip()]
    cut = [one for one in found if ending(one.draw)[0] == TRUNCATED]
    if number := many(len(empty)):
        said.append(f"{number} completions {which} are {hollow(empty)}")
    if number := many(len(cut)):
        said.append(f"{number} completions {which} were cut off at max_tokens; a larger one in [[prompts]] helps")
    if said:
        return said
    for objective in dict.fromkeys(name for one in found for name in one.unread):
        own = [one for one in found if objective in one.unread]
        if number := many(len(own)):
            shown = visible(own[0].draw.text or "(empty)", _SHOWN)
            said.append(
                f"{number} completions {which} cannot be read by the scorer of {objective!r}; the first of them is: "
                f"{shown}"
            )
    return said


def _number(number: int, size: int) -> str:
    return f"all {size:,}" if number == size else f"{number:,} of {size:,}"


def first_look(draws: Sequence[Draw]) -> str | None:
    """A doubt about the first completions of a run without a probe, if all of them are empty."""
    wrong = hollow(draws)
    return wrong and f"all of the first {len(draws):,} completions are {wrong}"
