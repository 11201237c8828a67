"""Proven racing: prompts are raced for all contexts together on common queries, on a schedule fixed beforehand.

All prompts left are pulled at Nmax on the same queries, and every estimate is the mean over all pulls so far of what
all subsets of a pull say: unbiased. Prompts left are the same for all contexts, and their number follows from those of
prompts and contexts alone: so does the number of pulls behind every estimate, which no data moves. That is what its
guarantee rests on (`theory.bounds.theorem_f`; theory/proofs.md, section 11), with queries met again or none twice.

Phases (k_1 = |P|, then halved, rounded up, down to |C| or 2): before its cut every prompt has had T / (k_i S)
completions, S = 1 + sum over i > 1 of (1 - k_i / k_(i-1)): in proportion to 1 / k_i, as in Successive Rejects
(Audibert, Bubeck and Munos, COLT 2010), and T in all. What a phase leaves goes to the next.

A cut ranks the prompts of every context by their best scales and keeps those whose best rank in some context is
smallest: the best of every context, then the second ones. A prompt with fewer than floor(k / |C|) others above it in
some context is among the k kept. Every context is answered with its best arm of the prompts left at the end.

Source: this project. `prompt-halving`, whose contexts drop prompts on their own, shares T over R equal rounds: before
the first cut a prompt has had T / (R k_1) completions, here 2 R / (R + 1) times as many where |P| is a power of two.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import draws, estimators, schedules, trim
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Standing, Stats
from sim.designed import CommonQueries
from sim.kernels import parts, select


class State(NamedTuple):
    """Budget, what is spent of it, phases done, prompts left, and block sums."""

    budget: Int[Array, ""]
    spent: Int[Array, ""]
    phase: Int[Array, ""]
    active: Bool[Array, " prompt"]
    table: estimators.BlockSums


class ProvenRacing(CommonQueries, Algorithm):
    """Race prompts for all contexts together, on common queries and a schedule that no data moves."""

    def num_rounds(self, spec: Spec) -> int:
        """Phases."""
        return len(phases(spec.num_prompts, spec.num_contexts))

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """All prompts active, no data."""
        return State(budget, jnp.int32(0), jnp.int32(0), jnp.ones(spec.num_prompts, bool), estimators.empty(spec))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last phase."""
        return state.phase >= self.num_rounds(spec)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """Equally many pulls of every prompt left, as many as the phases so far afford."""
        together = jnp.asarray(shares(spec.num_prompts, spec.num_contexts), jnp.uint32)
        last = state.phase >= self.num_rounds(spec) - 1
        left = jnp.where(last, state.budget, parts.share(state.budget, together[state.phase])) - state.spent
        largest = jnp.where(state.active, self.max_pull(spec), 0)
        scale, pulls = schedules.equal_pulls(key, left, largest)
        equal = (state.phase == 0) | (left >= jnp.sum(largest))  # after a first pull, never some prompts alone
        pulls = jnp.where(equal & ~self.finished(spec, state), pulls, 0)
        return Allocation(jnp.arange(spec.num_prompts, dtype=jnp.int32), scale, pulls)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the pulls, and cut unless this was the last phase."""
        sizes = phases(spec.num_prompts, spec.num_contexts)
        table = estimators.add(state.table, allocation, stats)
        keep = jnp.asarray([*sizes[1:], sizes[-1]], jnp.int32)[jnp.minimum(state.phase, len(sizes) - 1)]
        order = draws.order(key, state.active.shape)
        score = jnp.max(estimators.value(spec, table), axis=2)
        kept = select.best(-best_rank(score, order, state.active), order, state.active, keep)
        phase = state.phase + (~self.finished(spec, state)).astype(jnp.int32)
        return State(state.budget, state.spent + allocation.completions, phase, kept, table)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The prompts left and the estimates of all arms."""
        active = jnp.broadcast_to(state.active, (spec.num_contexts, spec.num_prompts))
        return estimators.standing(spec, state.table, active)

    def arms_left(self, spec: Spec, state: State) -> int:
        """All scales of the prompts left."""
        return spec.max_scale * int(state.active.sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best arm of the prompts left, ties at random."""
        active = jnp.broadcast_to(state.active, (spec.num_contexts, spec.num_prompts))
        return trim.best_estimate(key, spec, estimators.value(spec, state.table), active)


def best_rank(
    score: Float[Array, "context prompt"], order: UInt32[Array, " prompt"], active: Bool[Array, " prompt"]
) -> Int[Array, " prompt"]:
    """Number of active prompts above each, in the context where they are fewest; ties by the higher word."""
    later = order[:, None] > order[None]

    def ranks(own: Float[Array, " prompt"]) -> Int[Array, " prompt"]:
        above = (own[:, None] > own[None]) | ((own[:, None] == own[None]) & later)
        return jnp.sum((above & active[:, None]).astype(jnp.int32), axis=0)

    return jnp.min(jax.vmap(ranks)(score), axis=0)


def phases(num_prompts: int, num_contexts: int) -> list[int]:
    """Prompts raced in every phase.

    Example:
        >>> from sim.algorithms import proven_racing
        >>> proven_racing.phases(25, 3)
        [25, 13, 7, 4, 3]
    """
    least, sizes = min(num_prompts, max(num_contexts, 2)), [num_prompts]
    while sizes[-1] > least:
        sizes.append(max((sizes[-1] + 1) // 2, least))
    return sizes


def shares(num_prompts: int, num_contexts: int) -> list[int]:
    """Part of the budget that the phases up to each may spend together, in units of 2**-32, rounded up.

    Without the last, which may spend all; there is always one number.
    """
    sizes, together = phases(num_prompts, num_contexts), [1.0]
    for before, after in pairwise(sizes):
        together.append(together[-1] + 1 - after / before)
    return [math.ceil(2**32 * part / together[-1]) for part in together[:-1]] or [0]
