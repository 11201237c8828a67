"""Any algorithm of the simulator on a fixed world as a tape of keys, pull by pull.

The simulator derives every pull's randomness from one key per run. Here each allocation row of a round is cut into
blocks of pulls and each block has a key of its own, so that a part of the pulls can be drawn afresh while the others
stay as they are. The law of a run is the simulator's: distinct keys are independent in either case. Pulls are made by
`sim.kernels.rounds.run_round`, every block as if it were a trial, and blocks that did not change are not made again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import evaluate
from sim.core import Algorithm, Allocation, Environment, Key, Queries, Spec, Standing, Stats
from sim.engine import runner, turn
from sim.engine.turn import Turn
from sim.envs.dataset import Dataset
from sim.kernels import counter, rounds
from theory import exact
from theory.runs.pull_laws import check_queries
from theory.runs.tapes import FAILED, Tape

Margin = Callable[[Spec, Bool[Array, "context arm"], Any, Any], Float[Array, ""]]
"""How far one step was from losing the right arms: (spec, right arms, state before, state after) to a number."""
_ASK, _LEARN = 1, 2
"""Numbers that a round's own key is folded with."""
_JITTER = 2.0**-10
"""Spread of the random part that parts runs of equal score, so that levels can be set between them."""


class RunCells(NamedTuple):
    """Keys of the pulls (blocks of a row's pulls; one row in all under common queries), and the algorithm's own."""

    pulls: UInt32[Array, "particle round row block 2"]
    own: UInt32[Array, "particle round 2"]


class RunMove(NamedTuple):
    """New keys, and which to take."""

    fresh: RunCells
    pulls: Bool[Array, "particle round row block"]
    own: Bool[Array, "particle round"]


class Made(NamedTuple):
    """Record of a run: what was asked for and what came back, per block of pulls."""

    prompt: Int[Array, "particle round row block"]
    scale: Int[Array, "particle round row block"]
    pulls: Int[Array, "particle round row block"]
    total: Float[Array, "particle round row block task scale"]


class RunTape(Tape):
    """Runs of an algorithm on one world and one query law.

    The score is the smallest margin over the rounds, see `survival_margin`, or that of the recommendation for an
    algorithm that trims nothing; never below 0 for a run that succeeds.

    Attributes:
        world: answers the pulls.
        train: the query law.
        right: arms that count as right answers in every context.
        budget: completions T.
        algorithm: what is run.
        num_rounds: rounds that the tape has room for.
        num_blocks: blocks into which the pulls of a row are cut.
    """

    world: Environment
    train: Queries
    right: Bool[Array, "context arm"]
    budget: Int[Array, ""]
    algorithm: Algorithm
    num_rounds: int = eqx.field(static=True)
    num_blocks: int = eqx.field(static=True)
    margin: Margin | None = eqx.field(static=True, default=None)

    @property
    def _common(self) -> bool:
        return self.algorithm.queries == "common"

    def draw(self, key: Key, num_particles: int) -> RunCells:
        """Fresh keys."""
        rows = 1 if self._common else self.algorithm.num_rows(self.world.spec)
        shape = (num_particles, self.num_rounds, rows, self.num_blocks, 2)
        own = (num_particles, self.num_rounds + 1, 2)
        return RunCells(counter.bits(counter.fold(key, 0), shape), counter.bits(counter.fold(key, 1), own))

    def propose(self, key: Key, rate: Float[Array, " particle"]) -> RunMove:
        """Every key afresh with probability `rate`."""
        fresh = self.draw(key, len(rate))
        pulls = counter.uniform(counter.fold(key, 2), fresh.pulls.shape[:-1]) < rate[:, None, None, None]
        own = counter.uniform(counter.fold(key, 3), fresh.own.shape[:-1]) < rate[:, None]
        return RunMove(fresh, pulls, own)

    def moved(self, cells: RunCells, move: RunMove) -> tuple[RunCells, Array]:
        """The new keys in their places, and which keys of pulls are new."""
        pulls = jnp.where(move.pulls[..., None], move.fresh.pulls, cells.pulls)
        return RunCells(pulls, jnp.where(move.own[..., None], move.fresh.own, cells.own)), move.pulls

    def run(
        self, cells: RunCells, changed: Any = None, cache: Made | None = None
    ) -> tuple[Float[Array, " particle"], Made]:
        """Run every particle in lockstep. A run that outlasts the tape scores NaN."""
        spec, algorithm = self.world.spec, self.algorithm
        num = len(cells.own)
        if cache is None:
            cache = self._nothing(num)
            changed = jnp.ones(cells.pulls.shape[:-1], bool)

        def going(turns: Turn) -> Array:
            return jax.vmap(partial(turn.going, algorithm, spec))(turns)

        def running(carry: Any) -> Array:
            index, turns, _, _ = carry
            return (index < self.num_rounds) & jnp.any(going(turns))

        def one_round(carry: Any) -> Any:
            index, before, score, made = carry
            keys = cells.own[:, index]
            asking, learning = (jax.vmap(counter.fold, in_axes=(0, None))(keys, use) for use in (_ASK, _LEARN))
            still = going(before)
            asked = jax.vmap(partial(turn.ask, algorithm, spec))(asking, before, still)
            part = jax.tree.map(lambda leaf: leaf[:, index], made)
            stats, part = self._pull(cells.pulls[:, index], changed[:, index], part, asked)
            made = jax.tree.map(lambda leaf, own: leaf.at[:, index].set(own), made, part)
            after = jax.vmap(partial(turn.tell, algorithm, spec))(learning, before, asked, stats)
            margin = jax.vmap(self._margin)(before.state, after.state)
            return index + 1, after, jnp.where(still, jnp.minimum(score, margin), score), made

        first = turn.begin(algorithm, spec, self.budget, None)
        turns = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num, *leaf.shape)), first)
        start = (jnp.int32(0), turns, jnp.full(num, jnp.inf), cache)
        _, turns, score, made = jax.lax.while_loop(running, one_round, start)
        if self.margin is None and self._trimming(first.state) is None:
            score = jax.vmap(self._answer_margin)(turns.state)
        policy = jax.vmap(partial(turn.answer, algorithm, spec))(cells.own[:, -1], turns).policy
        arm = policy.prompt * spec.max_scale + policy.scale - 1
        contexts = jnp.arange(spec.num_contexts, dtype=jnp.int32)[None]
        failed = ~jnp.all(self.right[contexts, arm], axis=1)
        jitter = counter.to_uniform(cells.own[:, -1, 0]) * jnp.float32(_JITTER)
        score = jnp.where(failed, FAILED, jnp.maximum(score, 0.0) + jitter)
        return jnp.where(going(turns), jnp.nan, score), made

    def _margin(self, before: Any, after: Any) -> Array:
        spec = self.world.spec
        if self.margin is not None:
            return self.margin(spec, self.right, before, after)
        was, now = (self._trimming(state) for state in (before, after))
        return jnp.float32(jnp.inf) if was is None or now is None else survival_margin(self.right, was, now)

    def _answer_margin(self, state: Any) -> Array:
        """`survival_margin` of a recommendation by estimates; 0 for an algorithm that tells none."""
        last = self.algorithm.standing(self.world.spec, state)
        if last is None:
            return jnp.float32(0.0)
        place = jnp.ones(len(self.right), jnp.int32)
        return jnp.min(_lead(last.score, last.blocks, self.right, ~self.right, place))

    def _trimming(self, state: Any) -> Standing | None:
        """Where an algorithm stands that drops arms one by one; None for any other."""
        found = self.algorithm.standing(self.world.spec, state)
        return None if found is None or found.active is None or found.active.shape != self.right.shape else found

    def _nothing(self, num: int) -> Made:
        rows = self.algorithm.num_rows(self.world.spec)
        shape = (num, self.num_rounds, rows, self.num_blocks)
        none = jnp.zeros(shape, jnp.int32)
        return Made(none, none, none, jnp.zeros((*shape, self.world.spec.num_tasks, self._how.num_scales), jnp.float32))

    @property
    def _how(self) -> rounds.Pulling:
        return rounds.Pulling.of(self.algorithm, self.world.spec)

    def _pull(self, keys: Array, changed: Array, made: Made, allocation: Allocation) -> tuple[Stats, Made]:
        """One round of pulls, made again only where the key or the request changed."""
        num, rows, blocks, *_ = made.total.shape
        block = jnp.arange(blocks, dtype=jnp.int32)[None, None]
        share = allocation.pulls[..., None] // blocks + (block < allocation.pulls[..., None] % blocks).astype(jnp.int32)
        prompt, scale = (
            jnp.broadcast_to(leaf[..., None], share.shape) for leaf in (allocation.prompt, allocation.scale)
        )
        same = (prompt == made.prompt) & (scale == made.scale) & (share == made.pulls)
        again = jnp.broadcast_to(changed, share.shape) | ~same
        asked = Allocation(prompt, scale, jnp.where(again, share, 0))
        # Blocks are the kernel's trials; its rows are the allocation's only where rows share their queries.
        shape = (num * blocks, rows) if self._common else (num * rows * blocks, 1)
        laid = jax.tree.map(lambda leaf: (leaf.swapaxes(1, 2) if self._common else leaf).reshape(shape), asked)
        train = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (shape[0], *leaf.shape)), self.train)
        world = rounds.MergedWorld(self.world, 0)
        total = rounds.run_round(world, train, keys.reshape(-1, 2), laid, self._how).total
        if self._common:
            total = total.reshape(num, blocks, rows, *total.shape[2:]).swapaxes(1, 2)
        total = jnp.where(again[..., None, None], total.reshape(made.total.shape), made.total)
        counts = rounds.block_counts(allocation, self._how)
        stats = Stats(jnp.sum(total, axis=2), counts)
        return stats, Made(prompt, scale, share, total)


def survival_margin(right: Bool[Array, "context arm"], before: Standing, after: Standing) -> Float[Array, ""]:
    """Margin by which the right arms survived a trimming: smallest over contexts of sqrt(L) (right - rival).

    `right` is the best estimate among the active right arms, L its number of blocks, and `rival` the m-th best
    estimate among the other active arms with m the number of arms kept. Right arms are all lost only if this is <= 0.
    Infinite where nothing is dropped.

    Args:
        right: arms that count as right.
        before: where an algorithm that drops arms stood.
        after: the same, after the trimming.
    """
    if before.active is None or after.active is None:
        return jnp.float32(jnp.inf)
    kept = jnp.sum(after.active.astype(jnp.int32), axis=1)
    trims = kept < jnp.sum(before.active.astype(jnp.int32), axis=1)
    margin = _lead(after.score, after.blocks, before.active & right, before.active & ~right, kept)
    return jnp.min(jnp.where(trims, margin, jnp.inf))


def _lead(score: Array, blocks: Array, right: Array, others: Array, place: Array) -> Array:
    """Per context sqrt(blocks) times the lead of the best right arm over the other arm in this place."""
    ours = jnp.where(right, score, -jnp.inf)
    top = jnp.argmax(ours, axis=1)[:, None]
    leader = jnp.take_along_axis(ours, top, axis=1)[:, 0]
    ranked = jnp.sort(jnp.where(others, score, -jnp.inf), axis=1, descending=True)
    rival = jnp.take_along_axis(ranked, place[:, None] - 1, axis=1)[:, 0]
    weight = jnp.sqrt(jnp.take_along_axis(blocks, top, axis=1)[:, 0])
    return jnp.where(rival == -jnp.inf, jnp.inf, weight * jnp.where(leader == -jnp.inf, -1.0, leader - rival))


def run_tape(
    data: Dataset,
    algorithm: Algorithm,
    budget: int,
    tolerance: float = 0.0,
    num_blocks: int = 16,
    ids: Int[np.ndarray, " id"] | None = None,
    margin: Margin | None = None,
) -> RunTape:
    """Runs of an algorithm on a finite world as a tape.

    Args:
        data: the world.
        algorithm: what is run.
        budget: completions T.
        tolerance: regret that still counts as right.
        num_blocks: blocks into which the pulls of an allocation row are cut.
        ids: the training queries; all when None.
        margin: how near a round came to failing; by default `survival_margin` for an algorithm that trims arms.
    """
    check_queries(algorithm)
    world = data.environment()
    runner.check_budget(algorithm, world.spec, budget)
    values = exact.values(data, ids)
    right = exact.gaps(values) <= tolerance + evaluate.tolerance(values)[:, None, None]
    train = data.queries(np.arange(data.num_queries) if ids is None else ids)
    known = algorithm.num_rounds(world.spec)  # finding out takes a compilation for every guess
    num_rounds = max(known or 1, 1)
    while True:
        tape = RunTape(
            world,
            train,
            jnp.asarray(right.reshape(len(right), -1)),
            jnp.int32(budget),
            algorithm,
            num_rounds,
            num_blocks,
            margin,
        )
        if known is not None:
            return tape
        score = eqx.filter_jit(lambda tape: tape.run(tape.draw(counter.from_seed(0), 32))[0])(tape)
        if not np.isnan(np.asarray(score)).any():
            return tape
        num_rounds *= 2
