"""Epsilon-greedy on arms with shared pulls.

Source: Mahmud et al., arXiv 2508.10030, section 5 (baselines), epsilon 0.15.

Differs from the released code: greedy ties are broken at random (it takes the first arm). As there, an
arm never pulled counts as 0 while exploring; it is never recommended over one that was.

A step looks at P + Nmax numbers, not at all arms: of every prompt the best estimate is kept.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from sim import draws, estimators, trim
from sim.algorithms.sequential import Sequential, State, fitting, known
from sim.core import Spec

Arm = tuple[Int[Array, ""], Int[Array, ""]]
"""Prompt and scale index."""


class Best(NamedTuple):
    """The best of a prompt's estimates over all scales, in every context, and how many scales share it."""

    value: Float[Array, "*prompt context"]
    ties: Int[Array, "*prompt context"]


class EpsilonGreedy(Sequential):
    """With probability epsilon a random arm, otherwise the best estimate.

    Attributes:
        epsilon: probability of exploring, from 0 to 1.
    """

    epsilon: float | Float[Array, ""] = 0.15

    def __check_init__(self) -> None:
        """Reject what is no probability."""
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon is {self.epsilon}; it is the probability of exploring, from 0 to 1")

    def note(self, spec: Spec, value: Float[Array, "context scale"], blocks: Float[Array, " scale"]) -> Best:
        """The best over all scales."""
        value = known(estimators.left_out(spec)[:, None], value, blocks)
        best = jnp.max(value, axis=1)
        return Best(best, jnp.sum((value == best[:, None]).astype(jnp.int32), axis=1))

    def choose(self, spec: Spec, words: UInt32[Array, "2"], state: State, context: Int[Array, ""]) -> Arm:
        """Any arm that fits when exploring, else one of the best."""
        explores = draws.chance(words[1], self.epsilon)
        reach = jnp.clip(state.left, 1, spec.max_scale)
        arm = draws.integer(words[0], spec.num_prompts * reach)
        short = (state.left > 0) & (state.left < spec.max_scale)
        left_out = estimators.left_out(spec)[context]
        seen = (words[0], left_out, context, state.left, state.value, state.table.blocks)
        greedy = draws.seldom(short, partial(_best_that_fits, spec), _best(words[0], left_out, context, state), *seen)
        return jax.tree.map(partial(jnp.where, explores), (arm // reach, arm % reach), greedy)


def _best(word: Array, left_out: Array, context: Array, state: State) -> Arm:
    """A random one of the best arms, from what is noted of the prompts."""
    value, ties = state.noted.value[:, context], state.noted.ties[:, context]
    best = jnp.max(value)
    prompt, rest = draws.item(word, jnp.where(value == best, ties, 0))
    row = known(left_out, state.value[context, prompt], state.table.blocks[prompt])
    return prompt, draws.within(rest, (row == best).astype(jnp.int32))


def _best_that_fits(
    spec: Spec, word: Array, left_out: Array, context: Array, left: Array, value: Array, blocks: Array
) -> Arm:
    """The same among the arms that the rest of the budget affords, from all of them."""
    return draws.arm(word, trim.maxima(known(left_out, value[context], blocks), fitting(spec, left)))
