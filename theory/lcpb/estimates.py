"""Laws of the arms' estimates in one context, for every schedule that may occur: what `lcpb` integrates over."""

import itertools
import math
from collections.abc import Iterable, Iterator
from functools import lru_cache, reduce

import numpy as np

from theory.lcpb.lattice import (
    Count,
    Lattice,
    Points,
    convolve,
    grid,
    power,
    power_rows,
    stays_exact,
    tails,
)
from theory.reward_laws import Parts
from theory.rounding import SHARP, Blur

_MANY = 100_000

Schedule = tuple[tuple[int, int], ...]
"""(round, pulls per prompt) of every round that an estimate rests on."""
History = tuple[tuple[int, int], ...]
"""(pulls, blocks per pull) of every round, for one scale of one prompt."""


class TaskLaws:
    """Laws of sums of block rewards of one task, in lattice steps; computed when needed and kept.

    Attributes:
        parts: the law of one part.
        grid: the lattice.
        total: (prompt, scale, history, down) -> law of the sum of all parts; `down` says which way rewards off the
            lattice and sums of too many are rounded.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        used = np.broadcast_to((parts.probs > 0).any(axis=2), parts.support.shape)
        self.grid = grid(parts.support, used)
        self.points = int(self.grid.up.max()) + 1
        self._one_pull = lru_cache(maxsize=None)(self._compute_one_pull)
        self._pulls = lru_cache(maxsize=4096)(self._compute_pulls)
        self.total = lru_cache(maxsize=4096)(self._compute_total)

    def count(self, scale: int, history: History) -> int:
        """Parts in the estimate of a scale."""
        return int(sum(pulls * blocks for pulls, blocks in history) * self.parts.parts[scale - 1])

    def exact(self, scale: int, blocks: int, pulls: int) -> bool:
        """Whether the laws of sums of so many pulls are those of the rewards, with nothing rounded."""
        return self.grid.exact and all(
            stays_exact(self._one_pull(prompt, scale, blocks, True), pulls) for prompt in range(len(self.parts.support))
        )

    def _compute_total(self, prompt: int, scale: int, history: History, down: bool) -> Count:
        together: dict[int, int] = {}
        for pulls, blocks in history:
            together[blocks] = together.get(blocks, 0) + pulls
        laws = [self._pulls(prompt, scale, blocks, pulls, down) for blocks, pulls in together.items()]
        return reduce(lambda one, other: convolve(one, other, down), laws)

    def _compute_pulls(self, prompt: int, scale: int, blocks: int, pulls: int, down: bool) -> Count:
        return power(self._one_pull(prompt, scale, blocks, down), pulls, down)

    def _compute_one_pull(self, prompt: int, scale: int, blocks: int, down: bool) -> np.ndarray:
        index = (self.grid.down if down else self.grid.up)[prompt]
        rows = np.zeros((len(index), self.points))
        np.add.at(rows, (np.arange(len(index))[:, None], index), self.parts.probs[prompt, :, scale - 1])
        return self.parts.weight @ power_rows(rows, int(blocks * self.parts.parts[scale - 1]))


class ContextArms:
    """The arms of one context.

    Attributes:
        laws: of the context's task.
        factor: of the context.
        cost: known cost of every arm, (prompt, scale).
        best: the leader, as (prompt from 0, scale from 1).
        blur: how far compared estimates may be off.
    """

    def __init__(
        self, laws: TaskLaws, factor: float, cost: np.ndarray, best: tuple[int, int], blur: Blur = SHARP
    ) -> None:
        self.laws, self.factor, self.cost, self.best, self.blur = laws, factor, cost, best, blur
        self.num_prompts, self.num_scales = cost.shape

    def estimate(self, prompt: int, scale: int, history: History, down: bool = False) -> Lattice:
        """Law of the mean over all blocks, less cost; rewards off the lattice are rounded up, or down."""
        grid = self.laws.grid
        total, terms = self.laws.total(prompt, scale, history, down), self.laws.count(scale, history)
        unit, cost = float(self.factor * grid.step), float(self.cost[prompt, scale - 1])
        return Lattice(total.pmf, unit, terms, total.stride, cost, float(self.factor * grid.origin))

    def leader(self, schedule: Schedule, pull_sizes: tuple[int, ...]) -> Lattice:
        """Law of the leader's estimate when its prompt had pulls of these sizes."""
        prompt, scale = self.best
        history = tuple((pulls, size // scale) for (_, pulls), size in zip(schedule, pull_sizes, strict=True))
        return self.estimate(prompt, scale, history, down=True)


class Rivals:
    """Chances that arms of other prompts beat an estimate on one schedule, whatever sizes their pulls had.

    Attributes:
        prompts: the prompts that count; all but the leader's by default.
        num_scales: scales of each.
    """

    def __init__(
        self, arms: ContextArms, schedule: Schedule, fresh: bool, prompts: tuple[int, ...] | None = None
    ) -> None:
        everyone = tuple(p for p in range(arms.num_prompts) if p != arms.best[0])
        self.prompts, self.num_scales = everyone if prompts is None else prompts, arms.num_scales
        self._arms, self._fresh = arms, fresh
        self._histories = [_histories(schedule, self.num_scales, k) for k in range(1, self.num_scales + 1)]

    def tails(self, at: Points) -> tuple[np.ndarray, np.ndarray]:
        """P(X > v) and P(X = v), shape (prompt, value); for a single scale."""
        (history,) = self._histories[0]
        found = [tails(self._arms.estimate(p, 1, history), at, self._arms.blur) for p in self.prompts]
        return np.array([above for above, _ in found]), np.array([equal for _, equal in found])

    def beats(self, at: Points, tiebreaks: np.ndarray) -> np.ndarray:
        """P(X > v) + (1 - u) P(X = v), shape (tie-break, prompt, scale, value).

        On fresh data the past, which fixes the sizes of pulls, is given: the worst history counts. On accumulated data
        it is not: the chances of all histories add up.
        """
        chance = np.zeros((self.num_scales, len(self.prompts), len(at.places), len(tiebreaks)))
        won, gather = 1 - tiebreaks, np.maximum if self._fresh else np.add
        for (i, p), k in itertools.product(enumerate(self.prompts), range(1, self.num_scales + 1)):
            own = chance[k - 1, i]
            for history in self._histories[k - 1]:
                above, equal = tails(self._arms.estimate(p, k, history), at, self._arms.blur)
                gather(own, above[:, None] + equal[:, None] * won, out=own)
        return np.minimum(chance, 1.0, out=chance).transpose(3, 1, 0, 2)


def pull_sizes(rounds: Iterable[int], max_scale: int, scale: int) -> Iterator[tuple[int, ...]]:
    """Sizes that a prompt's pulls may have had while one of its scales was active: Nmax first, then never larger."""
    rounds = list(rounds)
    first = (max_scale,) if 0 in rounds else ()
    for sizes in itertools.combinations_with_replacement(range(max_scale, scale - 1, -1), len(rounds) - len(first)):
        yield first + sizes


def num_histories(rounds: Iterable[int], max_scale: int) -> int:
    """Histories that the estimates of one prompt may have on a given schedule, over all its scales.

    Where scale 1 alone has very many, one for every sequence of sizes, only those are counted.
    """
    schedule = tuple((r, 1) for r in rounds)
    later = sum(r > 0 for r, _ in schedule)
    single = math.comb(max_scale + later - 1, later)
    if single > _MANY:
        return single
    return sum(len(_histories(schedule, max_scale, scale)) for scale in range(1, max_scale + 1))


def _histories(schedule: Schedule, max_scale: int, scale: int) -> list[History]:
    """The distinct histories of one scale."""
    rounds = [r for r, _ in schedule]
    found = {tuple(size // scale for size in sizes) for sizes in pull_sizes(rounds, max_scale, scale)}
    return [tuple((pulls, b) for (_, pulls), b in zip(schedule, one, strict=True)) for one in sorted(found)]
