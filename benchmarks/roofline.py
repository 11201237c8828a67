"""A lower limit of a trial's core-time: what it must do, counted, times what each primitive costs, measured.

Counted from the pulls that trials make: random words, comparisons of votes and scores, look-ups and bytes. Left out:
selection beyond one comparison an arm, lists of rows, copies, dispatch. Rates are those of loops that do nothing else,
on 32-bit numbers that stay in the cache; what packs several votes in a word may go below the limit.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sim import algorithms
from sim.core import Algorithm, Spec
from sim.engine import runner
from sim.envs.sources import NamedSource
from sim.kernels import counter

SIZE, REPEATS = 2**14, 400
"""Numbers in a loop's array, which a cache holds, and steps of the loop."""
SCORE = 6
"""Operations of a score: divide, weigh, round to the grid, subtract the cost, and two to compare and keep."""


class Work(NamedTuple):
    """Least work of a trial.

    Attributes:
        words: random words: one a completion, two a pull, one a training query, and one a context and round for ties.
        operations: on 32-bit numbers: thresholds compared, votes subtracted and compared, scores.
        lookups: thresholds of a pull, and training queries moved.
        bytes: thresholds read, and statistics read and written in every round.
    """

    words: float
    operations: float
    lookups: float
    bytes: float


class NoStanding(Exception):
    """The algorithm does not say where it stands."""


class Seen(NamedTuple):
    """Work of a round: pulls, blocks of all scales, and arms that were scored."""

    pulls: Any
    blocks: Any
    scored: Any


class Watch(eqx.Module):
    """Observation of a round's pulls, from the blocks that it added to the estimates."""

    algorithm: Algorithm

    def __call__(self, spec: Spec, before: Any, after: Any) -> Seen:
        """Counts of one round."""
        old, new = self.algorithm.standing(spec, before), self.algorithm.standing(spec, after)
        if old is None or new is None:
            raise NoStanding
        shape = (spec.num_contexts, spec.num_prompts, spec.max_scale)
        added = (new.blocks - old.blocks).reshape(shape)
        added = jnp.where(jnp.all(added == added[:1]), added.at[1:].set(0.0), added)  # statistics that contexts share
        scales = jnp.broadcast_to(jnp.arange(1, spec.max_scale + 1), shape)
        largest = jnp.max(jnp.where(added > 0, scales, 0), axis=2, keepdims=True)
        pulls = jnp.sum(jnp.where(scales == largest, added, 0.0))
        if self.algorithm.small_rounds:
            scored = jnp.float32(self.algorithm.num_rows(spec) * spec.num_contexts * spec.max_scale)
        elif old.active is None:
            scored = jnp.float32(0.0)
        else:
            scored = jnp.sum(old.active.astype(jnp.float32))
        return Seen(pulls, jnp.sum(added), scored)


def work(named: NamedSource, name: str, budget: int, trials: int = 64) -> Work | None:
    """Least work of a trial, a mean over trials; None where the algorithm does not say where it stands.

    Args:
        named: a tabular world.
        name: of the algorithm.
        budget: completions T.
        trials: to average over.
    """
    rule, source = algorithms.get(name), named.source
    try:
        found = runner.run_trials(source, rule, budget, seed=0, trials=trials, fused=True, observe=Watch(rule))
    except NoStanding:
        return None
    spec: Any = runner.spec_of(source)
    environment: Any = runner.shape_of(source)
    thresholds = environment.thresholds.shape[-1]
    seen = found.seen
    rounds = float((seen.scored > 0).sum(axis=1).mean()) or 1.0
    pulls, blocks, scored = (float(part.sum(axis=1).mean()) for part in seen)
    scored += spec.num_contexts * spec.num_arms  # the answer, or the first round's choice
    completions, num_train = float(found.spent.mean()), _num_train(source)
    table = spec.num_tasks * spec.num_arms + spec.num_arms
    touched = table * rule.num_rows(spec) / spec.num_prompts if rule.small_rounds else table
    return Work(
        words=completions + 2 * pulls + num_train + rounds * spec.num_contexts,
        operations=2 * completions * thresholds + blocks * (2 * thresholds + 2) + SCORE * scored,
        lookups=pulls * thresholds + num_train,
        bytes=4 * (pulls * thresholds + 2 * rounds * touched),
    )


def rates() -> Work:
    """Core-seconds of a word, an operation, a look-up and a byte on this machine, now."""
    zeros = jnp.zeros(SIZE, jnp.uint32)
    places = jnp.asarray(np.random.default_rng(0).permutation(SIZE), jnp.int32)
    key = counter.from_seed(0)
    counters = jnp.arange(SIZE, dtype=jnp.uint32)

    def two_words(i: jax.Array, x: jax.Array) -> jax.Array:
        first, second = counter.threefry(key[0], i.astype(jnp.uint32), counters, jnp.uint32(counter.STREAM))
        return x ^ first ^ second

    def twenty_four(i: jax.Array, x: jax.Array) -> jax.Array:
        for step in range(8):
            x = jnp.maximum(x + jnp.uint32(step), x ^ i.astype(jnp.uint32))
        return x

    return Work(
        words=_loop(two_words, zeros) / 2,
        operations=_loop(twenty_four, zeros) / 24,
        lookups=_loop(lambda i, x: x[places] + i.astype(jnp.uint32), zeros),
        bytes=_loop(lambda i, x: x + i.astype(jnp.uint32), zeros) / 8,
    )


def seconds(need: Work, rate: Work) -> dict[str, float]:
    """Core-seconds of each part of a trial's least work."""
    return {part: amount * cost for part, amount, cost in zip(Work._fields, need, rate, strict=True)}


def _loop(step: Callable[[jax.Array, jax.Array], jax.Array], start: jax.Array) -> float:
    """Core-seconds per element of a loop's step: the best of three runs."""
    run = jax.jit(lambda start: jax.lax.fori_loop(0, REPEATS, step, start))
    jax.block_until_ready(run(start))
    found = []
    for _ in range(3):
        begin = time.process_time()
        jax.block_until_ready(run(start))
        found.append(time.process_time() - begin)
    return min(found) / (REPEATS * SIZE)


def _num_train(source: Any) -> int:
    """Training queries of a trial."""
    train, _ = eqx.filter_eval_shape(source.split, jnp.zeros(2, jnp.uint32))
    return train.ids.shape[-1]
