"""The arms still active in every context while their number halves from round to round.

A mask over all arms while they are many, a list once they are few: later rounds then cost what their
few arms cost. All contexts start with equally many arms, so the round alone decides which it is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from sim import schedules, trim
from sim.kernels import lanes, select

SPARSE = 8
"""A list takes over once at most one in SPARSE arms is active."""


Answer = TypeVar("Answer")


class Survivors(NamedTuple):
    """Active arms: those in `mask` in the first `Halving.early` rounds, those of `few` where `left` after them."""

    mask: Bool[Array, "context arm"]
    few: Int[Array, "context few"]
    left: Bool[Array, "context few"]


Arms = Int[Array, "context item"]
Score = Callable[[Arms | None], Int[Array, "context item"]]
"""Estimates of a table of arms, or of all arms; the higher is better."""
Order = Callable[[Arms, Int[Array, ""] | None], UInt32[Array, "context item"]]
"""Tie-break words for a table of arms, or for as many at the head of every row; the higher word wins."""


class Halving(NamedTuple):
    """The plan: `num_active` of `num_arms` arms per context, the better half kept in every round.

    `num_active` may be data: plans of all numbers are then one program, and so is a list as long as any of them needs.
    Methods take the number of rounds done, an integer that is equal in all trials of a batch.
    """

    num_active: int | Int[Array, ""]
    num_arms: int

    @property
    def num_rounds(self) -> Any:
        """R = ceil(log2 num_active), at least 1."""
        return schedules.halvings(self.num_active)

    @property
    def early(self) -> Any:
        """Rounds on the mask: as many halvings as leave at most one arm in SPARSE, or one arm."""
        return select.num_bits(-(-self.num_active // self._most_listed) - 1)

    def left(self, done: int | Int[Array, ""]) -> Any:
        """Active arms after so many halvings: ceil(num_active / 2**done)."""
        return (self.num_active + (1 << done) - 1) >> done

    def start(self, active: Bool[Array, "context arm"]) -> Survivors:
        """Survivors before the first round; `num_active` arms are active in every context. `listed` comes next."""
        contexts = active.shape[0]
        if isinstance(self.num_active, int):
            left = jnp.ones((contexts, self.left(self.early)), bool)
        else:
            place = jnp.arange(self._most_listed, dtype=jnp.int32)
            left = jnp.broadcast_to(place < self.left(self.early), (contexts, self._most_listed))
        return Survivors(active, jnp.zeros(left.shape, jnp.int32), left)

    def listed(self, survivors: Survivors) -> Survivors:
        """Survivors before the first round with the list that it needs, if it is one on the list."""
        if isinstance(self.early, int) and self.early > 0:
            return survivors
        return survivors._replace(few=_listed(survivors))  # rounds on the mask would end with another list

    def halve(self, done: Int[Array, ""], survivors: Survivors, score: Score, order: Order) -> Survivors:
        """Keep the better half, rounded up: higher score first, then higher order word."""
        contexts = survivors.mask.shape[0]
        kept = jnp.full(contexts, (self.left(done) + 1) // 2, jnp.int32)

        def of_many() -> Survivors:
            arms = jnp.tile(jnp.arange(self.num_arms, dtype=jnp.int32), (contexts, 1))
            mask = trim.keep_best(score(None), order(arms, None), survivors.mask, kept)
            last, after = lanes.in_step(done) == self.early - 1, survivors._replace(mask=mask)
            return after._replace(few=jax.lax.cond(last, lambda: _listed(after), lambda: survivors.few))

        def of_few() -> Survivors:
            few, number = survivors.few, None if isinstance(self.num_active, int) else self.left(self.early)
            return survivors._replace(left=trim.keep_best(score(few), order(few, number), survivors.left, kept))

        return self.by_stage(done, of_many, of_few)

    def active(self, done: Int[Array, ""], survivors: Survivors) -> Bool[Array, "context arm"]:
        """Mask of the active arms."""

        def of_few() -> Array:
            place = jnp.where(survivors.left, survivors.few, self.num_arms)
            return jax.vmap(lambda mask, at: mask.at[at].set(True, mode="drop"))(jnp.zeros_like(survivors.mask), place)

        return self.by_stage(done, lambda: survivors.mask, of_few)

    def largest(self, done: Int[Array, ""], survivors: Survivors, num_prompts: int) -> Int[Array, " prompt"]:
        """N_p: the largest scale at which a prompt is active in any context, 0 if in none."""

        def of_few() -> Array:
            few, max_scale = survivors.few, self.num_arms // num_prompts
            scales = jnp.where(survivors.left, few % max_scale + 1, 0)
            return jnp.zeros(num_prompts, jnp.int32).at[few // max_scale].max(scales)

        return self.by_stage(done, lambda: trim.largest_active(survivors.mask, num_prompts), of_few)

    def winner(self, survivors: Survivors) -> Int[Array, " context"]:
        """The one arm left in every context after the last round."""
        place = jnp.argmax(survivors.left, axis=1)
        return jnp.take_along_axis(survivors.few, place[:, None].astype(jnp.int32), axis=1)[:, 0]

    def by_stage(self, done: Int[Array, ""], of_many: Callable[[], Answer], of_few: Callable[[], Answer]) -> Answer:
        """`of_many` in rounds on the mask, `of_few` in rounds on the list."""
        if isinstance(self.early, int) and self.early == 0:
            return of_few()
        return jax.lax.cond(lanes.in_step(done) < self.early, of_many, of_few)

    @property
    def _most_listed(self) -> int:
        """The most arms that a list may hold."""
        return max(self.num_arms // SPARSE, 1)


def _listed(survivors: Survivors) -> Arms:
    return jax.vmap(lambda row: select.listed(row, survivors.few.shape[1]))(survivors.mask)
