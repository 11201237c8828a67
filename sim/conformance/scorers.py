"""The checks that every scorer passes: one result per completion, whatever it says, and the same every time."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from sim.adapters.paid.entries import Draw
from sim.adapters.paid.sampler import Want
from sim.adapters.run_file.settings import Endpoint
from sim.adapters.scoring import OK, TIMEOUT, UNREADABLE, Item, Scored, Scorer
from sim.conformance.checks import Check, Make

_TEXTS = (
    "12",
    "The answer is 12.",
    "",
    " \n",
    "no idea",
    "½ 12 € \N{PILE OF POO}",
    "(A)",
    '{"answer": 12}',
    "x" * 20_000,
)
_GOLDS = ("12", "A", "0.5", "yes")


class _Echo:
    """Sampler of a model that says 1, whatever it is asked, and remembers what that was."""

    def __init__(self) -> None:
        self.endpoint, self.asked = Endpoint("http://localhost:1/v1"), list[Want]()

    async def draws(self, want: Want) -> list[Draw]:
        """As many as are wanted."""
        self.asked.append(want)
        return [Draw("1", "stop")] * want.count


def _scored(scorer: Scorer, item: Item, texts: Sequence[str], model: _Echo | None = None) -> list[Scored]:
    async def all_of() -> list[Scored]:
        try:
            scorer.attach(model or _Echo())
            await scorer.start()
            return list(await scorer.score(item, "", texts))
        finally:
            await scorer.close()

    return asyncio.run(all_of())


def _items(scorer: Scorer) -> list[Item]:
    """Queries with a right answer that the scorer takes, and one without where it needs none."""
    found: list[Item] = [] if scorer.needs_gold else [Item("a query")]
    for gold in _GOLDS:
        item = Item("a query", gold, gold)
        try:
            scorer.check(item)
            scorer.right(gold)
        except ValueError:
            continue
        found.append(item)
    return found


def _results(make: Make) -> str | None:
    items = _items(make())
    if not items:
        return f"it refuses all right answers that were tried ({', '.join(_GOLDS)})"
    for item in items:
        found = _scored(make(), item, _TEXTS)
        if len(found) != len(_TEXTS):
            return f"{len(_TEXTS)} completions have {len(found)} results"
        for text, one in zip(_TEXTS, found, strict=True):
            problem = _wrong(make(), one)
            if problem:
                return f"on the completion {text[:30]!r}: {problem}"
    return None


def _wrong(scorer: Scorer, one: Scored) -> str | None:
    if not isinstance(one, Scored):
        return f"the result is of class {type(one).__name__}; it must be a Scored"
    if one.status not in (OK, UNREADABLE, TIMEOUT):
        return f"the status is {one.status!r}; it must be {OK!r}, {UNREADABLE!r} or {TIMEOUT!r}"
    if one.value is not None and not (isinstance(one.value, int | float) and math.isfinite(one.value)):
        return f"the score is {one.value!r}; it must be a finite number or None"
    if one.label is not None and not isinstance(one.label, str):
        return f"the label is {one.label!r}; it must be text or None"
    if one.status == OK and one.label is None and one.value is None:
        return "it was read, but has neither a label nor a score"
    if one.status != OK and (one.label is not None or one.value is not None):
        return f"its status is {one.status!r}, but it has a label or a score"
    return None


def _repeats(make: Make) -> str | None:
    for item in _items(make()):
        if _scored(make(), item, _TEXTS) != _scored(make(), item, _TEXTS[::-1])[::-1]:
            return "the same completions in another order have other results"
    return None


def _right(make: Make) -> str | None:
    scorer = make()
    if not scorer.votes:
        return None
    for item in _items(scorer):
        if item.gold is None:
            continue
        found = _scored(make(), item, [item.gold])[0]
        right = scorer.right(item.gold)
        if found.label is not None and found.label != right:
            return f"a completion {item.gold!r} is read as {found.label!r}, the right answer {item.gold!r} as {right!r}"
        if found.label is not None and found.value is not None and found.value <= 0:
            return f"a completion that is the right answer {item.gold!r} scores {found.value:g}"
    return None


def _requests(make: Make) -> str | None:
    for item in _items(make()):
        scorer, model = make(), _Echo()
        _scored(scorer, item, _TEXTS[:1], model)
        planned = {want.cell.digest for want in scorer.wants(item, _TEXTS[0])}
        asked = Counter(want.prompt.model for want in model.asked for _ in range(want.count))
        for name in asked - Counter(scorer.requests.models):
            return f"it asks {name!r} for {asked[name]} completions about one, which `requests.models` does not say"
        if any(want.cell.digest not in planned for want in model.asked):
            return "it asks what `wants` does not say"
    return None


def _equal(make: Make) -> str | None:
    return None if make() == make() else "two scorers with the same options are not equal"


CHECKS: tuple[Check, ...] = (
    Check(
        "results",
        "every completion has one result, whatever it says",
        "return UNREADABLE for what cannot be read; never drop a completion, never raise",
        _results,
    ),
    Check("repeats", "a completion's result does not depend on the others", "keep no state between calls", _repeats),
    Check(
        "right",
        "the right answer is read as itself",
        "`right` must give the label that `score` gives to a completion that says it",
        _right,
    ),
    Check("equal", "two with the same options are equal", "make it a frozen dataclass of its options", _equal),
    Check(
        "requests",
        "it asks a model for no more than it says",
        "`requests.models` and `wants` must hold all that `score` asks of the sampler: caps and plans follow them",
        _requests,
    ),
)
"""Every scorer passes these; one that asks a model is answered 1 to all. Reward models need their server."""
