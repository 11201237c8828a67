"""Base of the sequential baselines: one pull per step, until no arm fits the remaining budget.

Source: Mahmud et al., arXiv 2508.10030, section 5 (baselines), as in the released code: each step draws
a context at random, chooses an arm by its estimates there, and shares the pull with all contexts and
smaller scales.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import draws, estimators, trim
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Standing, Stats


class State(NamedTuple):
    """The remaining budget, what came back, and the estimated values that follow from it.

    A step changes the values of one prompt only, and only those are computed anew. `noted` is what a rule keeps of
    every prompt, leading axis prompt (`Sequential.note`).
    """

    left: Int[Array, ""]
    table: estimators.BlockSums
    value: Float[Array, "context prompt scale"]
    noted: Any


class Sequential(Algorithm):
    """A rule that pulls one arm per step. Abstract: it gives `weights`, or `choose` if it need not see all arms."""

    @property
    def small_rounds(self) -> bool:
        """A step is a round."""
        return True

    def num_rows(self, spec: Spec) -> int:
        """One row: the arm of this step."""
        return 1

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """The whole budget, no data."""
        table = estimators.empty(spec)
        value = estimators.value(spec, table)
        # The note is the same of all prompts: the compiler folds it, which of all would take it seconds.
        note = self.note(spec, value[:, 0], table.blocks[0])
        noted = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (spec.num_prompts, *leaf.shape)), note)
        return State(budget, table, value, noted)

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """Whether not even a single completion is affordable."""
        return state.left < 1

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """One pull of an arm that fits, chosen in a random context."""
        words = draws.words(key, (3,))
        context = draws.integer(words[0], spec.num_contexts)
        prompt, scale = self.choose(spec, words[1:], state, context)
        pulls = (state.left >= 1).astype(jnp.int32)
        return Allocation(prompt[None], scale[None] + 1, pulls[None])

    def choose(
        self, spec: Spec, words: UInt32[Array, "2"], state: State, context: Int[Array, ""]
    ) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """Prompt and scale index of the next pull: by default drawn by the rule's weights."""
        fits = fitting(spec, state.left)
        weights = self.weights(spec, context, words[1], state.value[context], state.table.blocks, fits)
        return draws.arm(words[0], weights)

    def weights(
        self,
        spec: Spec,
        context: Int[Array, ""],
        word: UInt32[Array, ""],
        value: Float[Array, "prompt scale"],
        blocks: Float[Array, "prompt scale"],
        fits: Bool[Array, "prompt scale"],
    ) -> Int[Array, "prompt scale"]:
        """Whole-number weights with which the next arm is drawn; zero outside `fits`.

        Args:
            spec: what is known of the world.
            context: that of the step.
            word: a random word for what the rule draws besides the arm.
            value: estimates in that context (`estimators.value`), -inf for an arm never pulled.
            blocks: blocks seen of every arm.
            fits: arms that what is left of the budget affords.
        """
        raise NotImplementedError

    def note(self, spec: Spec, value: Float[Array, "context scale"], blocks: Float[Array, " scale"]) -> Any:
        """Keep what the rule needs of a prompt's estimates, noted whenever they change. By default nothing."""
        return ()

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Pay and add the pull."""
        table, prompt = estimators.add(state.table, allocation, stats), allocation.prompt[0]
        own = estimators.prompt_value(spec, table, prompt)
        note = self.note(spec, own, table.blocks[prompt])
        noted = jax.tree.map(lambda all_, new: all_.at[prompt].set(new), state.noted, note)
        return State(state.left - allocation.completions, table, state.value.at[:, prompt].set(own), noted)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The estimates of all arms."""
        return estimators.standing(spec, state.table, None)

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best estimate of every context, ties at random."""
        return trim.best_estimate(key, spec, state.value)


def fitting(spec: Spec, left: Int[Array, ""]) -> Bool[Array, "prompt scale"]:
    """Arms that what is left of the budget affords."""
    scales = jnp.arange(1, spec.max_scale + 1, dtype=jnp.int32)
    return jnp.tile(scales <= left, (spec.num_prompts, 1))


def known(
    left_out: Float[Array, "*#arms"], value: Float[Array, "*arms"], blocks: Float[Array, "*#arms"]
) -> Float[Array, "*arms"]:
    """Estimates; for arms never pulled a value of 0, as the released code has it."""
    return jnp.where(blocks > 0, value, jnp.float32(0.0) - left_out)


def most_optimistic(
    grid: Float[Array, ""],
    value: Float[Array, "prompt scale"],
    width: Float[Array, "prompt scale"],
    widest: Float[Array, ""],
    blocks: Float[Array, "prompt scale"],
    fits: Bool[Array, "prompt scale"],
) -> Int[Array, "prompt scale"]:
    """Weight 1 for the arms of those that fit with the largest value + width; arms never pulled come first.

    Args:
        grid: step of the estimates; both are added up in whole steps, larger ones where widths would saturate.
        value: estimates.
        width: what is added to them.
        widest: no width is larger.
        blocks: blocks seen of every arm.
        fits: arms that the budget affords.
    """
    grid = jnp.maximum(grid, _power_above(widest * jnp.float32(1 / estimators.LARGEST)))
    bound = estimators.on_grid(grid, value) + estimators.on_grid(grid, width)
    return trim.maxima(jnp.where(blocks > 0, bound, jnp.iinfo(jnp.int32).max), fits)


def _power_above(size: Float[Array, ""]) -> Float[Array, ""]:
    """The smallest power of two that is not below a number; 0 for 0."""
    bits = jax.lax.bitcast_convert_type(size, jnp.int32)
    return jax.lax.bitcast_convert_type((bits + 0x7FFFFF) & 0x7F800000, jnp.float32)
