"""The arms still active in every context while their number halves from round to round.

A mask over all arms while they are many, a list once they are few: later rounds then cost what their
few arms cost. All contexts start with equally many arms, so the round alone decides which it is.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

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
Order = Callable[[Arms], UInt32[Array, "context item"]]
"""Tie-break words for a table of arms; the higher word wins."""


class Halving(NamedTuple):
    """The plan: `num_active` of `num_arms` arms per context, the better half kept in every round.

    Methods take the number of rounds done, an integer that is equal in all trials of a batch.
    """

    num_active: int
    num_arms: int

    @property
    def num_rounds(self) -> int:
        """R = ceil(log2 num_active), at least 1."""
        return schedules.halvings(self.num_active)

    @property
    def early(self) -> int:
        """Rounds on the mask."""
        many = (r for r in range(self.num_rounds) if self.left(r) * SPARSE > self.num_arms)
        return max(many, default=-1) + 1

    def left(self, done: int) -> int:
        """Active arms after so many halvings: ceil(num_active / 2**done)."""
        return -(-self.num_active // 2**done)

    def start(self, active: Bool[Array, "context arm"]) -> Survivors:
        """Survivors before the first round; `num_active` arms are active in every context."""
        size = (active.shape[0], self.left(self.early))
        few = self._listed(active) if self.early == 0 else jnp.zeros(size, jnp.int32)
        return Survivors(active, few, jnp.ones(size, bool))

    def halve(self, done: Int[Array, ""], survivors: Survivors, score: Score, order: Order) -> Survivors:
        """Keep the better half, rounded up: higher score first, then higher order word."""
        contexts = survivors.mask.shape[0]
        kept = jnp.full(contexts, (self._left_now(done) + 1) // 2, jnp.int32)

        def of_many() -> Survivors:
            arms = jnp.tile(jnp.arange(self.num_arms, dtype=jnp.int32), (contexts, 1))
            mask = trim.keep_best(score(None), order(arms), survivors.mask, kept)
            last = lanes.in_step(done) == self.early - 1
            return survivors._replace(
                mask=mask, few=jax.lax.cond(last, lambda: self._listed(mask), lambda: survivors.few)
            )

        def of_few() -> Survivors:
            few = survivors.few
            return survivors._replace(left=trim.keep_best(score(few), order(few), survivors.left, kept))

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
        if self.early == 0:
            return of_few()
        return jax.lax.cond(lanes.in_step(done) < self.early, of_many, of_few)

    def _left_now(self, done: Array) -> Int[Array, ""]:
        """The same for a traced number."""
        return (self.num_active + (1 << done) - 1) >> done

    def _listed(self, mask: Array) -> Int[Array, "context few"]:
        return jax.vmap(lambda row: select.listed(row, self.left(self.early)))(mask)
