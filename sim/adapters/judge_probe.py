"""Judges on completions of a run's probe: what a judgement takes, and what the order of its template does to scores.

A judge should score a completion alike wherever in the question it stands. Some do not: the same completions are judged
in the order of the template and in the other, and the mean change of score is shown with its standard error.
"""

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from sim.adapters.live import in_parallel
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.sampler import Want
from sim.adapters.run_file.settings import Config
from sim.adapters.scorers.judge import Judge
from sim.adapters.scorers.reader import blank
from sim.adapters.scoring import Item
from sim.adapters.session import Session
from sim.adapters.tune import probe_wants


class ProbedJudge(NamedTuple):
    """Findings of the probe about a judge.

    Attributes:
        objective, model: whose judge it is, and who judges.
        judged: completions that were judged in the order of the template.
        pairs: those of them with a score in both orders; 0 where there is no other order.
        differ: pairs with two different scores.
        shift: mean score in the other order less that in the template's; None without a pair.
        se: standard error of the shift; None below two pairs.
        tokens: mean tokens of a question, and of a judgement; None where the server reports none.
        ordered: whether there is another order.
    """

    objective: str
    model: str
    judged: int
    pairs: int
    differ: int
    shift: float | None
    se: float | None
    tokens: tuple[float, float] | None
    ordered: bool

    @property
    def sentence(self) -> str:
        """Effect of order on the scores, in words."""
        who = f"judge {self.model!r} of {self.objective!r}"
        if not self.ordered:
            return f"{who}: its template is one line, without another order to compare with; `swapped` gives one"
        if self.shift is None:
            return f"{who}: no completion of the probe has a score in both orders of its template"
        sure = "" if self.se is None else f", standard error {self.se:.2g}"
        pairs = f"{self.pairs} completions of the probe, of which {self.differ} are scored differently"
        return f"{who}: in the other order of its template scores change by {self.shift:+.3g} in mean{sure} ({pairs})"


class _Asked(NamedTuple):
    """Completions that a judge is asked about, and the judge in either order."""

    objective: str
    orders: tuple[Judge, ...]
    texts: list[tuple[Item, str]]

    def wants(self) -> Iterator[Want]:
        for judge in self.orders:
            for item, text in self.texts:
                yield from judge.wants(item, text)


def judges(config: Config) -> list[tuple[str, Judge]]:
    """Judges that the probe of a run asks, each with the name of its objective."""
    found = [(one.name, one.scorer) for one in config.objectives if isinstance(one.scorer, Judge)]
    return [(name, judge) for name, judge in found if judge.probe]


def orders_of(judge: Judge, sampler: EndpointSamplers) -> tuple[Judge, ...]:
    """A judge in the order of its template and, where there is one, in the other."""
    other = judge.other_order
    if other is None:
        return (judge,)
    other.attach(sampler.at(judge.endpoint))
    return judge, other


def wants_of(live: Session[Config], items: Sequence[Item]) -> list[Want]:
    """The judgements of the probe, of completions that it has."""
    return [want for one in live.loop.run(_asked(live, items)) for want in one.wants()]


def measure(live: Session[Config], items: Sequence[Item]) -> list[ProbedJudge]:
    """Ask judges about completions of the probe, in both orders; none where there is no probe.

    Raises:
        Stopped: the run cannot go on.
        ValueError: a judge says nothing that can be read.
    """
    asked = live.loop.run(_asked(live, items))
    wants = list(dict.fromkeys(want for one in asked for want in one.wants()))
    live.loop.run(live.sampler.gather(wants))
    return [live.loop.run(_measured(live, one)) for one in asked]


async def _asked(live: Session[Config], items: Sequence[Item]) -> list[_Asked]:
    by_text, texts = {item.text: item for item in items}, []
    for want in probe_wants(live, items) if judges(live.config) else ():
        draws = await live.journal.draws(want.cell, want.first, want.count)
        texts += [
            (by_text[want.cell.query], draws[number].text) for number in sorted(draws) if not blank(draws[number])
        ]
    distinct = list({(item.text, text): (item, text) for item, text in texts}.values())
    found = []
    for name, judge in judges(live.config) if distinct else ():
        chance = random.Random(f"judge {live.config.seed}")
        texts = chance.sample(distinct, min(judge.probe, len(distinct)))
        found.append(_Asked(name, orders_of(judge, live.sampler), texts))
    return found


async def _measured(live: Session[Config], asked: _Asked) -> ProbedJudge:
    scores = np.full((len(asked.orders), len(asked.texts)), np.nan)

    async def one(order: int, place: int) -> None:
        item, text = asked.texts[place]
        (found,) = await asked.orders[order].score(item, "", [text])
        scores[order, place] = np.nan if found.value is None else found.value

    try:
        jobs = iter([partial(one, *place) for place in np.ndindex(scores.shape)])
        await in_parallel({asked.orders[0].endpoint: jobs}, live.sampler)
    finally:
        for other in asked.orders[1:]:
            await other.close()
    change = scores[-1] - scores[0]
    change = change[np.isfinite(change)] if len(scores) == 2 else change[:0]
    se = float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else None
    cells = [want.cell.digest for want in asked.wants()]
    return ProbedJudge(
        asked.objective,
        asked.orders[0].model,
        len(asked.texts),
        len(change),
        int(np.count_nonzero(change)),
        float(change.mean()) if len(change) else None,
        se,
        live.journal.usage(cells),
        len(asked.orders) == 2,
    )
