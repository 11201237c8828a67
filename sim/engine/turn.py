"""One round of one trial: begin, ask, tell, answer. Every way to run trials is a loop around these four.

Loops differ in how many trials go together and in who pulls between `ask` and `tell`: `sim.engine.fused` and
`sim.engine.stepwise` vmap them over lanes, `sim.engine.runner.run_rounds` calls them for one trial whose pulls a live
model may answer, and `theory.runs.run_tape` vmaps them over tapes. Keys come from outside: those of a simulated run
follow from its run key (`round_keys`), those of a tape are cells of the tape.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sim.core import Algorithm, Allocation, Key, Queries, Spec, Stats, Trial
from sim.kernels import counter, rounds

ALLOCATE, PULL, UPDATE, RECOMMEND, ORDER = 1, 2, 3, 4, 5
"""Numbers that a run's key is folded with, after the number of rounds done (0 for the recommendation and the order of
queries)."""


Observe = Callable[[Spec, Any, Any], Any]
"""A look at a round: (what is known, state before, state after) -> a tree of arrays, the same shapes every time.

A function of a module, or an `equinox.Module` with `__call__`, whose arrays are data: others share its programs."""


class Observer(eqx.Module):
    """An observation of every round of a trial, kept beside what the trial answers.

    What is seen has a leading axis round; entries from a trial's last round on are 0.

    Attributes:
        observe: looks at a round.
        num_rounds: the most rounds that a trial has.
    """

    observe: Observe
    num_rounds: int = eqx.field(static=True)

    def nothing(self, spec: Spec, state: Any) -> Any:
        """Record before the first round."""
        shapes = jax.eval_shape(self.observe, spec, state, state)
        return jax.tree.map(lambda leaf: jnp.zeros((self.num_rounds, *leaf.shape), leaf.dtype), shapes)

    def note(self, seen: Any, number: Int[Array, ""], spec: Spec, before: Any, after: Any) -> Any:
        """Record after the round of this number, from 0; a number beyond the last changes nothing."""
        new = self.observe(spec, before, after)
        return jax.tree.map(lambda all_, one: all_.at[number].set(one, mode="drop"), seen, new)


class RoundKeys(NamedTuple):
    """Randomness of one round."""

    allocate: Key
    pull: Key
    update: Key


class Turn(NamedTuple):
    """State of a trial between two rounds; trials that run together have a leading axis on every leaf.

    Attributes:
        round: rounds done.
        spent: completions spent.
        train: the query law from here on; None where whoever pulls keeps it.
        state: the algorithm's state.
        seen: what an observer has kept; None without one.
    """

    round: Int[Array, ""]
    spent: Int[Array, ""]
    train: Queries | None
    state: Any
    seen: Any = None


def round_keys(run_key: Key, index: Int[Array, ""]) -> RoundKeys:
    """The keys of a run's round number `index`, counted from 0."""
    return RoundKeys(*counter.folds(run_key, index, (ALLOCATE, PULL, UPDATE)))


def pull_key(run_key: Key, keys: RoundKeys, asked: Allocation) -> Key:
    """The key of a round's pulls: the round's own, or one for all rounds where pulls may be made again, and larger."""
    return keys.pull if asked.places is None else counter.fold(run_key, 0, PULL)


def recommend_key(run_key: Key) -> Key:
    """The key of a run's recommendation."""
    return counter.fold(run_key, 0, RECOMMEND)


def queries_of(rule: str, train: Queries, run_key: Key) -> Queries:
    """The query law that a run starts with: in a random order if it draws without replacement."""
    if rule != "common-wor":
        return train
    return rounds.in_order(train, counter.fold(run_key, 0, ORDER))


def begin(
    algorithm: Algorithm,
    spec: Spec,
    budget: Int[Array, ""],
    train: Queries | None,
    observer: Observer | None = None,
) -> Turn:
    """A trial before its first round; the algorithm is told how many queries there are."""
    if train is not None:
        spec = dataclasses.replace(spec, num_queries=train.ids.shape[-1])
    state = algorithm.init(spec, budget)
    seen = None if observer is None else observer.nothing(spec, state)
    return Turn(jnp.int32(0), jnp.int32(0), train, state, seen)


def going(algorithm: Algorithm, spec: Spec, turn: Turn) -> Bool[Array, ""]:
    """Whether the trial has rounds to go."""
    return ~algorithm.finished(spec, turn.state)


def ask(algorithm: Algorithm, spec: Spec, key: Key, turn: Turn, going: Bool[Array, ""]) -> Allocation:
    """Choose the pulls of the next round; nothing where the trial is not `going` on."""
    found = algorithm.allocate(key, spec, turn.state)
    return found._replace(pulls=jnp.where(going, found.pulls, 0))


def tell(
    algorithm: Algorithm,
    spec: Spec,
    key: Key,
    turn: Turn,
    asked: Allocation,
    stats: Stats,
    observer: Observer | None = None,
) -> Turn:
    """The trial after a round's pulls came back. A finished one stays as it is, and nothing is seen of it."""
    state = algorithm.update(key, spec, turn.state, asked, stats)
    seen = turn.seen
    if observer is not None:
        place = jnp.where(going(algorithm, spec, turn), turn.round, observer.num_rounds)
        seen = observer.note(seen, place, spec, turn.state, state)
    train = None if turn.train is None else rounds.advance(turn.train, asked)
    return Turn(turn.round + 1, turn.spent + asked.completions, train, state, seen)


def answer(algorithm: Algorithm, spec: Spec, key: Key, turn: Turn) -> Trial:
    """The arm of every context, what the trial spent, and what was seen of it."""
    return Trial(algorithm.recommend(key, spec, turn.state), turn.spent, turn.seen)
