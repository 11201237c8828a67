"""The rounds of an algorithm against a live model: a whole round at once, answered as `kernels.rounds` would.

Which queries a round draws follows the algorithm's rule and the run's key alone; so do the numbers and seeds of all
draws. A run that was stopped asks for the same draws again, finds those that it has in the journal, and goes on.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sim.adapters.evidence import Evidence
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.sampler import Sampler, Want, cell_of
from sim.adapters.run_file.settings import Prompt
from sim.adapters.scorers.reader import Reader
from sim.adapters.scoring import Item
from sim.adapters.wire.retry import Stopped
from sim.core import Algorithm, Allocation, Key, Queries, Spec, Stats
from sim.designs import estimator_parts
from sim.kernels import rounds, subsets
from sim.utilities import Strategy

GRACE = 30.0
"""Seconds that requests under way are waited for when a run stops."""
PARTING = 0.5
"""Seconds that replies may still come, and are kept, when the user ends a run."""
_ROWS = 256
"""Pulls whose blocks are summed at a time."""


class RunStep(NamedTuple):
    """Progress of a run: pulls done of all in this round, and rounds finished."""

    round: int
    done: int
    pulls: int


class RoundPulls(NamedTuple):
    """The pulls of a round, one entry each: row of the allocation, prompt, query, scale, key."""

    row: np.ndarray
    prompt: np.ndarray
    query: np.ndarray
    scale: np.ndarray
    key: np.ndarray


def plan_pulls(round_key: Key, allocation: Allocation, train: Queries, rule: str) -> RoundPulls:
    """The pulls that `kernels.rounds.run_round` makes for an allocation, with their queries."""
    if allocation.places is not None:
        raise ValueError("an allocation names places of queries, which a live run cannot meet again; leave places out")
    prompt, scale, pulls = (np.asarray(leaf) for leaf in allocation[:3])
    row = np.repeat(np.arange(len(pulls)), pulls)
    number = np.arange(len(row)) - np.repeat(np.cumsum(pulls) - pulls, pulls)
    size = 1 << max(len(row) - 1, 0).bit_length()  # few lengths, few compilations
    padded = [jnp.asarray(np.pad(part, (0, size - len(row))), jnp.int32) for part in (row, number)]
    query, key = (np.asarray(part)[: len(row)] for part in _draw(rule, round_key, train, *padded))
    return RoundPulls(row, prompt[row], query, scale[row], key)


@eqx.filter_jit
def _draw(rule: str, round_key: Key, train: Queries, rows: jax.Array, numbers: jax.Array) -> tuple:
    def one(row: jax.Array, number: jax.Array) -> tuple[jax.Array, Key]:
        own = rounds.pull_key(round_key, row, number)
        return rounds.draw_query(rounds.query_key(rule, round_key, own, number), train, number), own

    return jax.vmap(one)(rows, numbers)


def unit_sums(
    strategy: Strategy,
    outcomes: np.ndarray,
    scales: np.ndarray,
    estimator: str = "blocks",
    max_scale: int = 0,
    keys: np.ndarray | None = None,
) -> np.ndarray:
    """Block sums of pulls in integer units, int64, shape (pull, task, scale).

    Args:
        strategy: how completions become rewards; its number of answers is not used.
        outcomes: shape (pull, width, objective), float32; rows from a pull's scale on are padding.
        scales: completions of every pull.
        estimator: as `designs.estimator_parts` reads it.
        max_scale: scales that "plug-in" estimates.
        keys: key of every pull, shape (pull, 2), for random orders.
    """
    num_pulls, width, _ = outcomes.shape
    vote = strategy.columns("mv")
    most = int(outcomes[:, :, vote[0]].max(initial=1)) if vote and outcomes.size else 0
    seen = with_answers(strategy, most)
    num_scales = max_scale if estimator_parts(estimator)[0] == "plug-in" else width
    sums = np.zeros((num_pulls, strategy.weights.shape[0], num_scales), np.int64)
    for first in range(0, num_pulls, _ROWS):
        part, size = outcomes[first : first + _ROWS], scales[first : first + _ROWS]
        filled = np.pad(part, ((0, _ROWS - len(part)), (0, 0), (0, 0)))
        sizes = np.pad(size, (0, _ROWS - len(part))).astype(np.int32)
        rows = (jnp.asarray(filled.transpose(1, 2, 0)), jnp.asarray(sizes))
        own = None if keys is None else jnp.asarray(np.resize(keys[first : first + _ROWS], (_ROWS, 2)))
        found = _pull_units(seen, *rows, estimator, max_scale, own)
        sums[first : first + _ROWS] = np.asarray(found)[: len(part)]
    return sums


def with_answers(strategy: Strategy, most: int) -> Strategy:
    """The strategy for answers numbered up to `most`, and a few more: few numbers of answers, few compilations."""
    answers = 1 << most.bit_length()
    return replace(strategy, num_answers=answers)


def estimator_for(spec: Spec, strategy: Strategy, algorithm: Algorithm) -> str:
    """The estimator of a run: random orders where tables would be too large if all answers of a pull differed."""
    width = algorithm.max_pull(spec)
    return subsets.chosen(with_answers(strategy, width), width, spec.max_scale, algorithm.estimator)


_pull_units = eqx.filter_jit(subsets.pull_units)


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
    sampler: Sampler
    reader: Reader
    loop: asyncio.Runner
    stream: str
    first_seed: int


class Live:
    """The answering side of one run's rounds.

    Attributes:
        evidence: what all pulls together say about every arm.
        train: the query law, after the rounds so far.
        used: draws used of every cell so far.
        asked: cell, first draw and number of draws of every pull so far, in the order of `evidence`.
        rounds: whole rounds so far.
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
        width = algorithm.num_scales(spec) if algorithm.reuse else algorithm.max_pull(spec)
        self._estimator = estimator_for(spec, strategy, algorithm)
        self.evidence = Evidence(spec, width, self._estimator)
        self.used: Counter[bytes] = Counter()
        self.asked: list[tuple[bytes, int, int]] = []
        self._report, self._seed, self.rounds = report, desk.first_seed, 0

    def answer(self, round_key: Key, allocation: Allocation) -> Stats:
        """One round: ask for all its pulls at once, read them, sum them up.

        Raises:
            Stopped: the run cannot go on; what was paid for is in the journal.
        """
        pulls = plan_pulls(round_key, allocation, self.train, self.algorithm.queries)
        self.train = rounds.advance(self.train, allocation)
        wants = [self._want(*map(int, place)) for place in zip(pulls.prompt, pulls.query, pulls.scale, strict=True)]
        width = self.algorithm.max_pull(self.spec)
        outcomes = np.zeros((len(wants), width, len(self.strategy.aggregate)), np.float32)
        done = np.zeros(len(wants), bool)
        if wants:
            try:
                self.desk.loop.run(self._ask(wants, pulls, outcomes, done))
            except Stopped:
                self._keep(pulls, outcomes, done)
                raise
        units = self._units(pulls, outcomes)
        self.evidence.add(pulls.prompt, pulls.scale, units)
        self.rounds += 1
        how = rounds.Pulling.of(self.algorithm, self.spec)
        return rounds.fold_pulls(self.spec, allocation, pulls.row, units, how)

    def _keep(self, pulls: RoundPulls, outcomes: np.ndarray, done: np.ndarray) -> None:
        """Let the pulls of a round that broke off count as far as they are whole; the algorithm does not see them."""
        first = len(self.asked) - len(done)
        self.asked[first:] = [one for one, whole in zip(self.asked[first:], done, strict=True) if whole]
        own = RoundPulls(*(part[done] for part in pulls))
        self.evidence.add(own.prompt, own.scale, self._units(own, outcomes[done]))

    def _units(self, pulls: RoundPulls, outcomes: np.ndarray) -> np.ndarray:
        return unit_sums(self.strategy, outcomes, pulls.scale, self._estimator, self.spec.max_scale, pulls.key)

    def _want(self, prompt: int, query: int, scale: int) -> Want:
        desk = self.desk
        cell = cell_of(desk.stream, desk.sampler.endpoint, desk.prompts[prompt], desk.items[query].text)
        want = Want(desk.prompts[prompt], cell, self.used[cell.digest], scale, self._seed)
        self.asked.append((cell.digest, want.first, scale))
        self.used[cell.digest] += scale
        self._seed += scale
        return want

    async def _ask(self, wants: list[Want], pulls: RoundPulls, outcomes: np.ndarray, whole: np.ndarray) -> None:
        done = 0
        await self.desk.sampler.gather(wants)

        async def one(place: int) -> None:
            nonlocal done
            want, item = wants[place], self.desk.items[pulls.query[place]]
            draws = await self.desk.sampler.draws(want)
            found = await self.desk.reader.read(want.cell, want.first, item, want.prompt.text, draws)
            outcomes[place, : want.count] = self.strategy.measured(self.desk.reader.outcomes(item, found))
            whole[place] = True
            done += 1
            self._report(RunStep(self.rounds, done, len(wants)))

        await in_parallel(map(partial(partial, one), range(len(wants))), self.desk.sampler)


async def in_parallel(jobs: Iterator[Callable], sampler: Sampler) -> None:
    """Run jobs, twice as many at a time as requests may be under way, so that reading delays no request.

    When one fails, or the user ends the run, nothing more is sent; what is under way is waited for, and kept, for a
    while. What does not come is left as it is in the journal: perhaps billed.
    """

    async def worker() -> None:
        for job in jobs:
            if sampler.stopping is not None:
                raise Stopped(sampler.stopping)
            await job()

    tasks = [asyncio.create_task(worker()) for _ in range(2 * sampler.endpoint.concurrency.most)]
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
