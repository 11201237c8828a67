"""Base of rules that pull a few prompts a round on common queries, each prompt judged by its best scale.

What telling arms apart takes is telling prompts apart: the scales of a prompt share its pulls, and prompts that are
compared share queries, the next one of a round or, nested, each prompt's own next one of the same order. Each round
draws a context at random, and the rule chooses prompts by their estimates there; pulls serve all contexts, as in PSST
(Mahmud et al., arXiv 2508.10030, section 4).
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim import draws, estimators, trim
from sim.core import Allocation, Key, Places, Policy, Spec, Standing, Stats
from sim.designed import CommonQueries


class State(NamedTuple):
    """The remaining budget, and what came back."""

    left: Int[Array, ""]
    table: estimators.BlockSums


class FewPrompts(CommonQueries):
    """A rule that pulls a few prompts a round. Abstract: it gives `choose`, and `num_rows`, how many it chooses.

    A pull has `pull` completions, the last one what is left.

    Attributes:
        nested: a prompt's pulls meet the queries in one order from the first on, the same for all prompts, as common
            random numbers do: prompts pulled equally often met the same queries. Else a round meets the next query.
    """

    nested: bool = eqx.field(static=True, default=False, kw_only=True)

    def __check_init__(self) -> None:
        """Reject an order of queries where they have none."""
        if self.nested and self.queries != "common-wor":
            raise ValueError(f"nested is True and queries is {self.queries!r}; only 'common-wor' has them in order")

    @property
    def small_rounds(self) -> bool:
        """A round is one pull of each chosen prompt."""
        return True

    def choose(
        self, spec: Spec, words: UInt32[Array, " row"], value: Float[Array, " prompt"], done: Float[Array, " prompt"]
    ) -> Int[Array, " row"]:
        """Different prompts to pull, the most wanted first.

        Args:
            spec: what is known of the world.
            words: a random word for the choice of each.
            value: estimate of each prompt at its best scale, in the context of the round; -inf before its first pull.
            done: completions of each prompt so far.
        """
        raise NotImplementedError

    def value(self, spec: Spec, table: estimators.BlockSums) -> Float[Array, "context prompt scale"]:
        """Estimated value of every arm, by which prompts are chosen and the answer is given."""
        return estimators.value(spec, table)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """The whole budget, no data."""
        return State(budget, estimators.empty(spec))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """Whether nothing is left."""
        return state.left < 1

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """A pull of each chosen prompt, as far as the budget goes."""
        rows, size = self.num_rows(spec), self.max_pull(spec)
        words = draws.words(key, (rows + 1,))
        context = draws.integer(words[0], spec.num_contexts)
        value = jnp.max(self.value(spec, state.table)[context], axis=1)
        prompt = self.choose(spec, words[1:], value, state.table.blocks[:, 0])
        scale = jnp.clip(state.left - size * jnp.arange(rows, dtype=jnp.int32), 0, size)
        places = None
        if self.nested:
            met = state.table.blocks[:, 0].astype(jnp.int32) // size
            places = Places(met[prompt] - jnp.max(met), jnp.zeros(rows, jnp.int32))
        return Allocation(prompt, jnp.maximum(scale, 1), (scale > 0).astype(jnp.int32), places)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Pay and add the pulls."""
        return State(state.left - allocation.completions, estimators.add(state.table, allocation, stats))

    def standing(self, spec: Spec, state: State) -> Standing:
        """The estimates of all arms."""
        shape = (spec.num_contexts, spec.num_arms)
        blocks = jnp.broadcast_to(state.table.blocks.reshape(1, -1), shape)
        return Standing(None, self.value(spec, state.table).reshape(shape), blocks)

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best estimate of every context, ties at random."""
        return trim.best_estimate(key, spec, self.value(spec, state.table))


def most_wanted(words: UInt32[Array, " row"], index: Float[Array, " prompt"]) -> Int[Array, " row"]:
    """The prompts with the largest index, one for each word, ties at random; no NaN."""
    allowed, found = jnp.ones(index.shape, bool), []
    for word in words:
        prompt, _ = draws.item(word, trim.maxima(index[:, None], allowed[:, None])[:, 0])
        found.append(prompt)
        allowed = allowed & (jnp.arange(index.shape[0], dtype=jnp.int32) != prompt)
    return jnp.stack(found)
