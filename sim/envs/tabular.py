"""The tabular world: per prompt and query a finite distribution over completions' outcomes.

Bernoulli success is the two-answer case of majority voting; the paper's categorical worlds are the
others (Mahmud et al., arXiv 2508.10030, section 5).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from sim.core import Environment, Key, Pull, Spec
from sim.kernels import blocks, completions, counter, subsets
from sim.raw import Raw
from sim.utilities import Strategy


class TabularWorld(Environment):
    """A finite world. Completion i of a pull falls into category #{m: word_i >= thresholds[m]}.

    Attributes:
        thresholds: distribution function over categories in units of 2**-32, last category left out.
        atoms: outcome vector of every category, per prompt and query, or one list for all of them, or
            None where the only objective is voted on: a category is then its own answer label.
        strategy: how completions become task rewards.
        known: what learners may know.
    """

    thresholds: UInt32[Array, "prompt query category"]
    atoms: Float[Array, "prompt query atom objective"] | Float[Array, "atom objective"] | None
    strategy: Strategy
    known: Spec

    @property
    def spec(self) -> Spec:
        """All that a learner may know."""
        return self.known

    @property
    def num_queries(self) -> int:
        """Number of queries over all splits."""
        return self.thresholds.shape[-2]

    def pull(self, key: Key, prompt: Int[Array, ""], query: Int[Array, ""], scale: Int[Array, ""]) -> Pull:
        """Draw `scale` i.i.d. completions of `prompt` on `query`: the plain version."""
        words = counter.bits(key, (self.known.max_scale,))
        category = jnp.sum(words[:, None] >= self.thresholds[prompt, query][None], axis=1)
        if self.atoms is None:
            outcomes = category.astype(jnp.float32)[:, None]
        elif self.atoms.ndim == 2:
            outcomes = self.atoms[category]
        else:
            outcomes = self.atoms[prompt, query, category]
        return Pull(prompt, query, scale, outcomes)

    def block_units(self, pull: Pull, estimator: str = "blocks") -> Int[Array, "task num_scales"]:
        """Sum of task rewards over a pull's blocks of every scale, in integer units."""
        return subsets.one_pull(self.strategy, pull, estimator, self.known.max_scale)

    def pull_rows(
        self,
        keys: UInt32[Array, "row 2"],
        prompts: Int[Array, " row"],
        queries: Int[Array, " row"],
        scales: Int[Array, " row"],
        width: int,
        estimator: str = "blocks",
    ) -> Int[Array, "row task num_scales"]:
        """`block_units` of one pull per row, by the kernel of `sim.kernels.subsets`."""
        atoms = self.atoms
        if atoms is not None and atoms.ndim == 2 and estimator == "blocks" and set(self.strategy.aggregate) == {"bon"}:
            labels = jax.lax.cond(  # a branch: else the compiler draws categories anew for every task
                jnp.any(scales > 0),
                lambda: self._labels(keys, prompts, queries, width),
                lambda: jnp.zeros((width, scales.shape[0]), jnp.int32),
            )
            return blocks.best_of_labels(self.strategy, atoms, labels, scales)
        outcomes = self._outcomes(keys, prompts, queries, width)
        return subsets.pull_units(self.strategy, outcomes, scales, estimator, self.known.max_scale, keys)

    def raw(self, pull: Pull) -> Raw:
        """The completions of a pull as they are."""
        return completions.one(self.strategy, pull)

    def raw_rows(
        self,
        keys: UInt32[Array, "row 2"],
        prompts: Int[Array, " row"],
        queries: Int[Array, " row"],
        scales: Int[Array, " row"],
        width: int,
    ) -> Raw:
        """`raw` of one pull per row, all at once."""
        return completions.raw(self.strategy, self._outcomes(keys, prompts, queries, width), scales)

    def _outcomes(self, keys: Array, prompts: Array, queries: Array, width: int) -> Array:
        """Completions of one pull per row, shape (width, objective, row)."""
        labels = self._labels(keys, prompts, queries, width)
        if self.atoms is None:
            return labels[:, None]
        if self.atoms.ndim == 2:
            return jnp.moveaxis(self.atoms[labels], 2, 1)
        return jnp.moveaxis(self.atoms[prompts, queries, labels], 2, 1)

    def _labels(self, keys: Array, prompts: Array, queries: Array, width: int) -> Array:
        """Categories of the completions of one pull per row, shape (width, row)."""
        return blocks.categories(keys, self.thresholds[prompts, queries].T, width)

    def estimator_for(self, width: int, estimator: str) -> str:
        """The estimator, or random orders in its place where its table would be too large for the strategy."""
        return subsets.chosen(self.strategy, width, self.known.max_scale, estimator)

    def merged(self) -> "TabularWorld":
        """One world of B * P prompts from a batch of B worlds that share strategy and atom list."""

        def flat(table: Array) -> Array:
            return table.reshape(-1, *table.shape[2:])

        atoms = self.atoms
        if atoms is not None:
            atoms = flat(atoms) if atoms.ndim == 5 else atoms[0]
        strategy = jax.tree.map(lambda leaf: leaf[0], self.strategy)
        return TabularWorld(flat(self.thresholds), atoms, strategy, self.known)
