"""Runs as functions of independent random cells, with a score that says how near a run came to failing.

`HalvingTape` is halving on Bernoulli arms by binomial counts, fast; `theory.runs.run_tape` is any algorithm of the
simulator, pull by pull.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim.core import Key
from sim.kernels import counter

FAILED = -1.0
"""Score of a run that failed; all others score at least 0."""
CELL_PULLS = 16
"""Pulls of one cell of a `HalvingTape`: few enough to invert their law by counting thresholds."""
GROUP = 8
COUNT, PLACE, TIE, SIZE = range(0x7A9E, 0x7AA2)
"""Second counter words: what the words of a move are for."""
_TIE_BITS = 16
_ARM_BITS = 5


class Tape(eqx.Module):
    """A run as a function of independent random cells. Abstract.

    Cells are a tree of arrays with a leading particle axis.
    """

    def draw(self, key: Key, num_particles: int) -> Any:
        """Independent fresh cells."""
        raise NotImplementedError

    def propose(self, key: Key, rate: Float[Array, " particle"]) -> Any:
        """A move: which cells are to be drawn afresh, chosen without looking at any, and their new contents.

        Such a move leaves the law of the cells as it is and is reversible, which is all that splitting needs.

        Args:
            key: randomness of the move.
            rate: how much of each particle to draw afresh, in (0, 1].
        """
        raise NotImplementedError

    def moved(self, cells: Any, move: Any) -> tuple[Any, Any]:
        """Cells after a move, and whatever `run` wants to know about what changed."""
        raise NotImplementedError

    def run(self, cells: Any, changed: Any = None, cache: Any = None) -> tuple[Float[Array, " particle"], Any]:
        """Score of every run, `FAILED` or at least 0, and a cache for the next call.

        Args:
            cells: the tape.
            changed: what `moved` said; None for a first run.
            cache: what the run of the cells before the change returned, a tree with a leading particle axis.
        """
        raise NotImplementedError


class HalvingCells(NamedTuple):
    """Successes of a few pulls of one arm in one round each, and one tie-break per arm and round."""

    counts: Int[Array, "particle arm group cell"]
    ties: Int[Array, "particle arm round"]


class HalvingMove(NamedTuple):
    """New successes of one cell of every group (without and of its one pull more), and where; new tie-breaks."""

    smaller: Int[Array, "particle arm group 1"]
    one: Int[Array, "particle arm group 1"]
    place: Int[Array, "particle arm group 1"]  # -1 where nothing changes
    ties: Int[Array, "particle arm round"]
    retie: Bool[Array, "particle arm round"]


class HalvingTape(Tape):
    """Halving on independent Bernoulli arms: PSST on a world with Nmax = 1, one context and one query.

    The pulls of an arm in a round are spread over groups of `GROUP` cells. The score is the smallest over rounds of
    sqrt(L) (best arm's mean - mean of the m-th best other), m the arms kept and L the pulls per arm, ties broken by
    the tie-breaks: continuous but for their 11 bits, and negative when the best arm falls.

    Budgets are data: tapes of the same arms and room for as many groups share their compiled programs. Room that a
    budget has no use for shows in no result.

    Attributes:
        quantiles: distribution function of a group's cells in units of 2**-31, less one, padded with the largest int32.
        success: success probabilities in the same units.
        larger: which cells hold one pull more than the others of their round.
        in_round: 1 where a group's pulls belong to a round, else 0; nowhere 1 for a group that is room only.
        num_groups: groups in use, the first ones.
        scale: 1 / sqrt(L) of each round, in units of a count with its tie-break.
        fresh: judge by the round's own pulls; otherwise by all pulls so far.
        best: the arms that count as right.
    """

    quantiles: Int[Array, "value arm group"]
    success: Int[Array, " arm"]
    larger: Bool[Array, "group cell"]
    in_round: Int[Array, "round group"]
    num_groups: UInt32[Array, ""]
    scale: Float[Array, " round"]
    fresh: Bool[Array, ""]
    best: tuple[bool, ...] = eqx.field(static=True)

    def draw(self, key: Key, num_particles: int) -> HalvingCells:
        """Binomial counts by inversion, and tie-breaks."""
        smaller, one = self._counts(key, num_particles, GROUP)
        return HalvingCells(smaller + jnp.where(self.larger[None, None], one, 0), self._ties(key, num_particles)[0])

    def propose(self, key: Key, rate: Float[Array, " particle"]) -> HalvingMove:
        """In a random part of the groups one random cell afresh, and a random part of the tie-breaks."""
        smaller, one = self._counts(key, len(rate), 1)
        drawn, _ = _words_at(key, PLACE, self._numbers(len(rate), 1))
        place = (drawn & jnp.uint32(GROUP - 1)).astype(jnp.int32)
        place = jnp.where(counter.to_uniform(drawn) < rate[:, None, None, None], place, -1)
        ties, drawn = self._ties(key, len(rate))
        return HalvingMove(smaller, one, place, ties, counter.to_uniform(drawn) < rate[:, None, None])

    def moved(self, cells: HalvingCells, move: HalvingMove) -> tuple[HalvingCells, None]:
        """The new counts and tie-breaks in their places."""
        here = move.place == jnp.arange(GROUP, dtype=jnp.int32)[None, None, None]
        fresh = move.smaller + jnp.where(self.larger[None, None], move.one, 0)
        return HalvingCells(jnp.where(here, fresh, cells.counts), jnp.where(move.retie, move.ties, cells.ties)), None

    def _counts(self, key: Key, num_particles: int, cells: int) -> tuple[Array, Array]:
        """Successes of so many smaller cells of every group, and of the one pull more of a larger cell."""
        numbers = self._numbers(num_particles, cells)
        drawn, more = _words_at(key, COUNT, numbers)
        drawn = (drawn >> 1).astype(jnp.int32)
        reached = ((drawn > quantile[None, :, :, None]).astype(jnp.int32) for quantile in self.quantiles)
        one = ((more >> 1).astype(jnp.int32) < self.success[None, :, None, None]).astype(jnp.int32)
        return sum(reached, jnp.zeros(numbers.shape, jnp.int32)), one

    def _numbers(self, num_particles: int, cells: int) -> UInt32[Array, "particle arm group cell"]:
        """A number for each of so many cells of every group: those in use count from 0 as if there were no others."""
        shape = (num_particles, *self.quantiles.shape[1:], cells)
        particle, arm, group, cell = jnp.meshgrid(
            *(jnp.arange(size, dtype=jnp.uint32) for size in shape), indexing="ij", sparse=True
        )
        return ((particle * jnp.uint32(shape[1]) + arm) * self.num_groups + group) * jnp.uint32(cells) + cell

    def _ties(self, key: Key, num_particles: int) -> tuple[Array, Array]:
        """Random words of 16 bits that end in the arm's number, and independent words."""
        drawn, others = words(key, TIE, (num_particles, len(self.best), len(self.scale)))
        drawn = (drawn >> (32 - _TIE_BITS + _ARM_BITS)).astype(jnp.int32)
        return (drawn << _ARM_BITS) | jnp.arange(len(self.best), dtype=jnp.int32)[None, :, None], others

    def run(self, cells: HalvingCells, changed: Any = None, cache: Any = None) -> tuple[Float[Array, " particle"], Any]:
        """The score; nothing is kept for the next call."""
        num_particles, num_arms = cells.ties.shape[:2]
        best = jnp.asarray(self.best)[None]
        successes = jnp.sum(cells.counts, axis=3)

        def one_round(carry: tuple[Array, Array, Array], own: tuple[Array, Array, Array, Array]) -> Any:
            active, score, before = carry
            in_round, ties, scale, alive = own
            total = jnp.sum(successes * in_round[None, None], axis=2) + jnp.where(self.fresh, 0, before)
            rank = (total << _TIE_BITS) + ties
            leader = jnp.max(jnp.where(active & best, rank, -1), axis=1)
            others = jnp.where(active & ~best, rank, -1)
            rival = jnp.max(jnp.where(_number_above(others) == alive - 1, others, -1), axis=1)
            ahead = (leader - rival).astype(jnp.float32) * scale
            score = jnp.where((score > 0) & (rival >= 0), jnp.minimum(score, ahead), score)
            return (active & (_number_above(jnp.where(active, rank, -1)) < alive), score, total), None

        alive = jnp.asarray([-(-num_arms // 2**r) for r in range(1, len(self.scale) + 1)], jnp.int32)
        rounds = (self.in_round, jnp.moveaxis(cells.ties, 2, 0), self.scale, alive)
        first = (
            jnp.ones((num_particles, num_arms), bool),
            jnp.full(num_particles, jnp.inf),
            jnp.zeros((num_particles, num_arms), jnp.int32),
        )
        (_, score, _), _ = jax.lax.scan(one_round, first, rounds)
        return jnp.where(score > 0, score, FAILED), None


def halving_tape(means: Sequence[float], pulls: Sequence[int], fresh: bool = True, room: int = 0) -> HalvingTape:
    """Halving on Bernoulli arms as a tape.

    Args:
        means: success probability of every arm; all arms of the largest mean count as best.
        pulls: pulls per surviving arm in each round (`theory.runs.enumerate.halving_pulls`).
        fresh: judge by the round's own pulls; otherwise by all pulls so far, as PSST does by default.
        room: groups of cells that there is to be room for at least (`num_groups`): tapes for several budgets that are
            given the largest number share their compiled programs.
    """
    from scipy import stats

    success = np.asarray(means, np.float64)
    if not 2 <= len(success) <= 2**_ARM_BITS:
        raise ValueError(f"there are {len(success)} arms; this tape takes 2 to {2**_ARM_BITS}")
    if sum(pulls) >= 2 ** (31 - _TIE_BITS):
        most = 2 ** (31 - _TIE_BITS) - 1
        raise ValueError(f"an arm may be pulled {sum(pulls)} times; this tape takes at most {most}")
    quantiles, larger, rounds = [], [], []
    for r, count in enumerate(pulls):
        groups = num_groups([count])
        size, left = divmod(count, groups * GROUP)
        below = np.minimum(np.rint(stats.binom.cdf(np.arange(size), size, success[:, None]) * 2.0**31) - 1, 2**31 - 2)
        padded = np.pad(below, ((0, 0), (0, CELL_PULLS - size)), constant_values=2**31 - 1)
        quantiles += [padded] * groups
        larger.append(np.arange(groups * GROUP).reshape(groups, GROUP) < left)
        rounds += [r] * groups
    more = max(room - len(rounds), 0)
    seen = np.asarray(pulls) if fresh else np.cumsum(pulls)
    return HalvingTape(
        jnp.asarray(_padded(np.stack(quantiles, axis=1).transpose(2, 0, 1), 2, more, 2**31 - 1), jnp.int32),
        jnp.asarray(np.minimum(np.rint(success * 2.0**31), 2**31 - 1), jnp.int32),
        jnp.asarray(_padded(np.concatenate(larger), 0, more, False)),
        jnp.asarray(_padded(np.arange(len(pulls))[:, None] == rounds, 1, more, False), jnp.int32),
        jnp.uint32(len(rounds)),
        jnp.asarray(2.0**-_TIE_BITS / np.sqrt(seen), jnp.float32),
        jnp.asarray(fresh),
        tuple((success == success.max()).tolist()),
    )


def num_groups(pulls: Sequence[int]) -> int:
    """Groups of cells of a `HalvingTape` with so many pulls per arm in each round."""
    return sum(-(-count // (GROUP * CELL_PULLS)) for count in pulls)


def _padded(table: np.ndarray, axis: int, more: int, value: int) -> np.ndarray:
    """A table with so many more places at the end of an axis."""
    widths = [(0, more if i == axis else 0) for i in range(table.ndim)]
    return np.pad(table, widths, constant_values=value)


def _number_above(values: Int[Array, "particle item"]) -> Int[Array, "particle item"]:
    """Number of larger entries in the same row."""
    return jnp.sum((values[:, None, :] > values[:, :, None]).astype(jnp.int32), axis=2)


def words(key: Key, stream: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Two independent random words per entry.

    `counter.bits` without its reordering and keys without `counter.fold`: fused into a large array's loop, either
    takes XLA longer, to compile and to run.
    """
    return _words_at(key, stream, jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(shape))


def _words_at(key: Key, stream: int, numbers: UInt32[Array, "..."]) -> tuple[Array, Array]:
    """`words` of entries with these numbers."""
    return counter.threefry(key[0], key[1], numbers, jnp.uint32(stream))
