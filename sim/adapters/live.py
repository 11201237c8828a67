"""The rounds of an algorithm against a live model: a whole round at once, answered as `kernels.rounds` would.

Which queries a round draws follows the algorithm's rule and the run's key alone; so do the numbers and seeds of all
draws. A run that was stopped asks for the same draws again, finds those that it has in the journal, and goes on.

Where an allocation names places (`core.Places`), draws belong to a prompt and a place: room is kept for the largest
pull among the numbers of the cell's draws when a place is first met, and a pull that is deepened goes on in it.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sim.adapters.evidence import Evidence
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.entries import Asked
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.sampler import Want, cell_of
from sim.adapters.run_file.settings import Prompt
from sim.adapters.scorers.reader import Reader
from sim.adapters.scoring import Item, Scored
from sim.adapters.summing import completions_of, estimator_for, unit_sums
from sim.adapters.wire.retry import Stopped
from sim.core import Algorithm, Allocation, Key, Queries, Spec, Stats
from sim.engine.limits import Broken
from sim.kernels import rounds
from sim.raw import RAW
from sim.utilities import Strategy

GRACE = 30.0
"""Seconds that requests under way are waited for when a run stops."""
MOST_SHARED = 4096
"""Different findings of scorers that are looked up, so that equal ones of a run are one object."""
PARTING = 0.5
"""Seconds that replies may still come, and are kept, when the user ends a run."""


class RunStep(NamedTuple):
    """Progress of a run: pulls done of all in this round, rounds finished, and completions of all rounds so far."""

    round: int
    done: int
    pulls: int
    completions: int = 0


class RoundPulls(NamedTuple):
    """The pulls of a round, one entry each.

    Attributes:
        row: of the allocation.
        prompt, query, scale, key: of the pull.
        place: in the order of queries, -1 where the allocation names none.
        had: completions that the pull has had before.
    """

    row: np.ndarray
    prompt: np.ndarray
    query: np.ndarray
    scale: np.ndarray
    key: np.ndarray
    place: np.ndarray
    had: np.ndarray

    def spot(self, pull: int) -> tuple[int, int]:
        """Prompt and place of a pull."""
        return int(self.prompt[pull]), int(self.place[pull])


def plan_pulls(round_key: Key, allocation: Allocation, train: Queries, rule: str) -> RoundPulls:
    """The pulls that `kernels.rounds.run_round` makes for an allocation, with their queries.

    Raises:
        ValueError: it names places of queries, and they are not drawn in an order.
    """
    prompt, scale, pulls = (np.asarray(leaf) for leaf in allocation[:3])
    row = np.repeat(np.arange(len(pulls)), pulls)
    number = np.arange(len(row)) - np.repeat(np.cumsum(pulls) - pulls, pulls)
    places, none = allocation.places, np.zeros(len(pulls), int)
    start, had = (none, none) if places is None else (np.asarray(leaf) for leaf in places)
    size = 1 << max(len(row) - 1, 0).bit_length()  # few lengths, few compilations
    padding = (0, size - len(row))
    items = jnp.asarray(np.pad(row if places is None else prompt[row], padding), jnp.int32)
    numbers, starts = (jnp.asarray(np.pad(part, padding), jnp.int32) for part in (number, start[row]))
    found = _draw(rule, round_key, train, items, numbers, starts, places is not None)
    query, key, place = (np.asarray(part)[: len(row)] for part in found)
    return RoundPulls(row, prompt[row], query, scale[row], key, place, had[row])


@eqx.filter_jit
def _draw(
    rule: str,
    round_key: Key,
    train: Queries,
    items: jax.Array,
    numbers: jax.Array,
    starts: jax.Array,
    placed: bool,
) -> tuple:
    """Query, key and place of pulls; `items` are their prompts where they have places, else rows."""

    def one(item: jax.Array, number: jax.Array, start: jax.Array) -> tuple[jax.Array, Key, jax.Array]:
        law, place = train, jnp.int32(-1)
        if placed:
            law = rounds.begin_at(train, start)
            place = rounds.place_of(law, number)
        own = rounds.pull_key(round_key, item, place if placed else number)
        return rounds.draw_query(rounds.query_key(rule, round_key, own, number), law, number), own, place

    return jax.vmap(one)(items, numbers, starts)


def token_counts(journal: Journal, stream: str, asked: Sequence[tuple[bytes, int, int]]) -> np.ndarray:
    """Requests, prompt tokens, draws and completion tokens of pulls, as far as the server reported them.

    Args:
        journal: holds the reports.
        stream: of the pulls.
        asked: cell, first draw and number of draws of every pull.

    Returns:
        Float array of shape (pull, 4).
    """
    counts = np.zeros((len(asked), 4))
    places: dict[bytes, list[tuple[int, int]]] = {}
    for place, (cell, first, _) in enumerate(asked):
        places.setdefault(cell, []).append((first, place))
    for own in places.values():
        own.sort()
    for cell, first, *tokens in journal.reports(stream):
        own = places.get(cell, [])
        before = bisect_right(own, (first, len(asked)))
        if before == 0:
            continue
        start, place = own[before - 1]
        if first < start + asked[place][2]:
            counts[place] += (1, *tokens)
    return counts


class Desk(NamedTuple):
    """Questions of a live run, by whom they are asked and with which seeds, and who reads the answers.

    Attributes:
        prompts, items: as the world numbers its prompts and queries.
        stream: the stream of the draws in the journal.
        first_seed: of the requests.
    """

    prompts: Sequence[Prompt]
    items: Sequence[Item]
    sampler: EndpointSamplers
    reader: Reader
    loop: asyncio.Runner
    stream: str
    first_seed: int


class Kept(NamedTuple):
    """A pull at a place, as far as it goes.

    Attributes:
        number: of the pull, in the order of `Live.evidence`.
        first: number of its first draw in its cell.
        found: findings of every objective's scorer in its draws.
    """

    number: int
    first: int
    found: list[list[Scored]]


class Live:
    """The answering side of one run's rounds.

    Attributes:
        evidence: what all pulls together say about every arm.
        train: the query law, after the rounds so far.
        used: draws of every cell so far, with those that room is kept for.
        asked: cell, first draw and number of draws of every pull so far, in the order of `evidence`.
        rounds, completions: whole rounds, and completions of whole pulls, so far.
    """

    def __init__(
        self,
        spec: Spec,
        strategy: Strategy,
        algorithm: Algorithm,
        train: Queries,
        desk: Desk,
        report: Callable[[RunStep], None] = lambda step: None,
    ):
        self.spec, self.strategy, self.algorithm, self.train, self.desk = spec, strategy, algorithm, train, desk
        self._how = rounds.Pulling.of(algorithm, spec)
        counted = algorithm.reuse and self._how.estimator != RAW
        self._estimator = estimator_for(spec, strategy, algorithm)
        self.evidence = Evidence(spec, self._how.num_scales if counted else self._how.width, self._estimator)
        self.used: Counter[bytes] = Counter()
        self.asked: list[tuple[bytes, int, int]] = []
        self._kept: dict[tuple[int, int], Kept] = {}
        self._same: dict[Scored, Scored] = {}
        self._report, self._seed, self.rounds, self.completions = report, desk.first_seed, 0, 0

    def answer(self, round_key: Key, allocation: Allocation) -> Stats:
        """One round: ask for all its pulls at once, read them, sum them up.

        Raises:
            Broken: it tells of completions that are not there.
            Stopped: the run cannot go on; what was paid for is in the journal.
        """
        pulls = plan_pulls(round_key, allocation, self.train, self.algorithm.queries)
        self._check_had(pulls)
        self.train = rounds.advance(self.train, allocation)
        cells: dict[tuple[int, int], Asked] = {}  # pulls of a cell share its text
        wants = [self._want(pulls, pull, cells) for pull in range(len(pulls.row))]
        outcomes = np.zeros((len(wants), self._how.width, len(self.strategy.aggregate)), np.float32)
        found: list[list[list[Scored]] | None] = [None] * len(wants)
        journal = self.desk.reader.journal
        journal.round = self.rounds + 1
        try:
            if wants:
                self.desk.loop.run(self._ask(wants, pulls, outcomes, found))
        except Stopped:  # what is whole of a round that broke off counts; the algorithm does not see it
            self._note(pulls, wants, outcomes, found)
            raise
        finally:
            journal.round = None
        units = self._note(pulls, wants, outcomes, found)
        self.rounds += 1
        if self._how.estimator != RAW:
            return rounds.fold_pulls(self.spec, allocation, pulls.row, units, self._how)
        known = self.spec.rewards
        assert known is not None
        raw = completions_of(self.strategy, outcomes, pulls.scale, known.num_answers)
        return rounds.fold_raw(self.spec, allocation, pulls.row, raw, self._how)

    def _check_had(self, pulls: RoundPulls) -> None:
        """Hold what an allocation says about places to what is there."""
        met: set[tuple[int, int]] = set()
        for pull in np.flatnonzero(pulls.place >= 0).tolist():
            spot, had = pulls.spot(pull), int(pulls.had[pull])
            have = self.asked[self._kept[spot].number][2] if spot in self._kept else 0
            if had != have or spot in met:
                how = "a second time in the round" if spot in met else f"as one of {had} completions"
                raise Broken(f"it takes prompt {spot[0]} at place {spot[1]} {how}, where there are {have}")
            met.add(spot)

    def _note(
        self, pulls: RoundPulls, wants: list[Want], outcomes: np.ndarray, found: list[list[list[Scored]] | None]
    ) -> np.ndarray:
        """Add the pulls that are whole to the evidence, deepened ones in their place; units of all of them."""
        whole = np.flatnonzero([one is not None for one in found])
        units = unit_sums(
            self.strategy, outcomes[whole], pulls.scale[whole], self._estimator, self.spec.max_scale, pulls.key[whole]
        )
        prompts, scales, had = pulls.prompt[whole], pulls.scale[whole], pulls.had[whole]
        new, numbers = had == 0, []
        self.evidence.add(prompts[new], scales[new], units[new])
        for pull in whole.tolist():
            spot, own, cell = pulls.spot(pull), found[pull], wants[pull].cell.digest
            if pulls.had[pull]:
                number, first, _ = self._kept[spot]
                numbers.append(number)
                self.asked[number] = (cell, first, int(pulls.scale[pull]))
            else:
                number, first = len(self.asked), wants[pull].first
                self.asked.append((cell, first, int(pulls.scale[pull])))
            if spot[1] >= 0 and own is not None:
                self._kept[spot] = Kept(number, first, self._shared(own))
        if numbers:
            self.evidence.deepen(np.array(numbers), scales[~new], units[~new])
        return units

    def _shared(self, found: list[list[Scored]]) -> list[list[Scored]]:
        """These findings, equal ones as one object: a run keeps them all, and answers repeat."""
        if len(self._same) >= MOST_SHARED:
            self._same.clear()
        return [[self._same.setdefault(one, one) for one in scored] for scored in found]

    def _want(self, pulls: RoundPulls, pull: int, cells: dict[tuple[int, int], Asked]) -> Want:
        """The draws that a pull needs and does not have; cells of the round by prompt and query."""
        desk = self.desk
        prompt, query, scale, had = (int(part[pull]) for part in (pulls.prompt, pulls.query, pulls.scale, pulls.had))
        asked = desk.prompts[prompt]
        if (cell := cells.get((prompt, query))) is None:
            item = desk.items[query]
            cell = cell_of(desk.stream, desk.sampler.at(asked.endpoint).endpoint, asked, item.text, item.fields)
            cells[prompt, query] = cell
        if had:
            first = self._kept[pulls.spot(pull)].first + had
        else:
            first = self.used[cell.digest]
            self.used[cell.digest] += scale if pulls.place[pull] < 0 else self._how.width
        want = Want(asked, cell, first, scale - had, self._seed)
        self._seed += want.count
        return want

    async def _ask(
        self, wants: list[Want], pulls: RoundPulls, outcomes: np.ndarray, found: list[list[list[Scored]] | None]
    ) -> None:
        done, reader = 0, self.desk.reader
        new = [pull for pull, want in enumerate(wants) if want.count]
        items = [self.desk.items[pulls.query[pull]] for pull in new]
        await reader.gather(self.desk.sampler, [wants[pull] for pull in new], items)

        async def one(pull: int) -> None:
            nonlocal done
            want, item = wants[pull], self.desk.items[pulls.query[pull]]
            own: list[list[Scored]] = [[] for _ in self.strategy.aggregate]
            if pulls.had[pull]:
                own = self._kept[pulls.spot(pull)].found
            if want.count:
                draws = await self.desk.sampler.draws(want)
                new = await reader.read(want.cell, want.first, item, want.prompt.text, draws)
                own = [old + more for old, more in zip(own, new, strict=True)]
            outcomes[pull, : pulls.scale[pull]] = self.strategy.measured(reader.outcomes(item, own))
            found[pull] = own
            done += 1
            self.completions += want.count
            self._report(RunStep(self.rounds, done, len(wants), self.completions))

        await in_parallel(jobs_of(wants, one), self.desk.sampler)


def jobs_of(wants: Sequence[Want], work: Callable[[int], Awaitable[Any]]) -> dict[str, Iterator[Callable]]:
    """Jobs that do the work of every want, given its number, by the name of the endpoint that it asks."""
    found: dict[str, list[Callable]] = {}
    for place, want in enumerate(wants):
        found.setdefault(want.prompt.endpoint, []).append(partial(work, place))
    return {name: iter(own) for name, own in found.items()}


async def in_parallel(jobs: Mapping[str, Iterator[Callable]], sampler: EndpointSamplers) -> None:
    """Run jobs of endpoints, of each twice as many at a time as requests may be under way there.

    So reading delays no request, and no endpoint waits for another. When one fails, or the user ends the run, nothing
    more is sent; what is under way is waited for, and kept, for a while. What does not come is left as it is in the
    journal: perhaps billed.
    """

    async def worker(own: Iterator[Callable]) -> None:
        for job in own:
            if sampler.stopping is not None:
                raise Stopped(sampler.stopping)
            await job()

    workers = [own for name, own in jobs.items() for _ in range(2 * sampler.at(name).endpoint.concurrency.most)]
    tasks = [asyncio.create_task(worker(own)) for own in workers]
    try:
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = [error for task in done if (error := task.exception()) is not None]
        if failed:
            sampler.stop(str(failed[0]))
            if pending:
                await asyncio.wait(pending, timeout=GRACE)
            raise failed[0]
    except asyncio.CancelledError:  # by the user
        sampler.stop("the run was stopped")
        await asyncio.wait(tasks, timeout=PARTING)
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
