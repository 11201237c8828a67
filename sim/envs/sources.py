"""Sources of the worlds of trials: one world with reshuffled queries, or a fresh world per trial.

Source: Mahmud et al. (arXiv 2508.10030), section 5: on real data every run reshuffles the queries and
splits them 80/20 into train and test; synthetic worlds are drawn afresh for every run.

A `Source` is a pytree of arrays and sizes and is what jitted code receives: two sources of equal shapes
share one compilation. The name and the float64 tables belong to people and to exact values; they stay
outside, on `NamedSource`, so that neither can cause a second compilation. Every source here has
`context_probs`, the distribution over contexts.
"""

from dataclasses import dataclass
from math import floor
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sim.core import Environment, Key, Queries, Source
from sim.envs.dataset import Dataset
from sim.kernels import counter

_WEIGHT_UNITS = 2**24  # whole numbers up to here are exact in float32


class FixedSource(Source):
    """One world for all trials; every trial splits its queries at random. Built by `fixed`.

    Attributes:
        environment: the world.
        context_probs: distribution over contexts.
        weights: relative frequency of each query in units of 2**-24, or None for a uniform law.
        num_train: training queries per trial. Equal to the number of queries where nothing is held out:
            train and test are then both the whole query law, in the environment's order.
    """

    fresh: ClassVar[bool] = False

    environment: Environment
    context_probs: Float[Array, " context"]
    weights: Int[Array, " query"] | None
    num_train: int = eqx.field(static=True)

    @property
    def query_weights(self) -> Int[Array, " query"] | None:
        """The weights, None for a uniform law."""
        return self.weights

    def world(self, key: Key) -> Environment:
        """The one world; the key is ignored."""
        return self.environment

    def split(self, key: Key) -> tuple[Queries, Queries]:
        """A uniformly random set of `num_train` queries to train on; the others to test on.

        A non-uniform query law is renormalised inside each part. Its distribution function is a quotient
        of whole numbers below 2**24, rounded to float32: the law is exact to 2**-24, and the bits do not
        depend on how the sum is compiled.
        """
        size = self.environment.num_queries
        if self.num_train == size:
            everything = self._law(jnp.arange(size, dtype=jnp.int32))
            return everything, everything
        order = counter.permutation(key, size)
        return self._law(order[: self.num_train]), self._law(order[self.num_train :])

    def _law(self, ids: Int[Array, " part"]) -> Queries:
        if self.weights is None:
            return Queries(ids)
        below = jnp.cumsum(self.weights[ids]).astype(jnp.float32)
        inner = (below[:-1] / below[-1] * jnp.float32(_WEIGHT_UNITS)).astype(jnp.uint32) << 8
        return Queries(ids, jnp.append(inner, jnp.uint32(2**32 - 1)))


@dataclass(frozen=True, eq=False)
class NamedSource:
    """A source with what jitted code must not see.

    Attributes:
        name: short name, used in tables and figures.
        source: what trials draw from.
        data: float64 tables of a finite, fixed world, from which exact values are computed; None for
            fresh or continuous worlds.

    Example:
        >>> from sim import envs
        >>> world = envs.get("crossover")
        >>> world.name, type(world.data).__name__
        ('crossover', 'Dataset')
    """

    name: str
    source: Source
    data: Dataset | None = None


def fixed(data: Dataset, train_fraction: float = 0.8) -> NamedSource:
    """Trials on one data set: each splits the queries at random.

    Args:
        data: the data set. A split that it names itself (`data.test`) is not used.
        train_fraction: share of the queries to train on, rounded down, at least one query on either
            side; 1 holds nothing out: train and test are both the whole query law.

    Example:
        >>> from sim import envs, fixed
        >>> fixed(envs.get("bon-query-effects").data, train_fraction=0.5).source.num_train
        1
    """
    source = shuffled(data.environment(), train_fraction, data.context_distribution, data.query_weights, data.name)
    return NamedSource(data.name, source, data)


def shuffled(
    environment: Environment,
    train_fraction: float = 0.8,
    context_probs: np.ndarray | None = None,
    query_weights: np.ndarray | None = None,
    name: str = "environment",
) -> FixedSource:
    """Trials on one world of any kind: each splits the queries at random.

    Args:
        environment: the world.
        train_fraction: as in `fixed`.
        context_probs: distribution over contexts, shape (context,); uniform when None.
        query_weights: relative frequency of each query, shape (query,); uniform when None.
        name: what to call the world in an error.
    """
    if not 0 < train_fraction <= 1:
        raise ValueError(f"{name}: train_fraction is {train_fraction}; it must lie in (0, 1]")
    size = environment.num_queries
    num_train = size
    if train_fraction < 1:
        if size < 2:
            raise ValueError(f"{name}: holds one query; a split into train and test needs at least two")
        num_train = num_train_queries(size, train_fraction)
    if context_probs is None:
        context_probs = np.full(environment.spec.num_contexts, 1.0 / environment.spec.num_contexts)
    weights = None
    if query_weights is not None:
        share = query_weights / query_weights.sum()
        # At least one unit each; the sum stays within 2**24.
        weights = jax.device_put(np.maximum(np.floor(share * (_WEIGHT_UNITS - size)), 1.0).astype(np.int32))
    probs = jax.device_put(np.asarray(context_probs, np.float32))  # so, nothing is compiled
    return FixedSource(environment=environment, context_probs=probs, weights=weights, num_train=num_train)


def num_train_queries(size: int, train_fraction: float) -> int:
    """floor(size * fraction), at least one and at most size - 1."""
    return min(max(floor(size * train_fraction + 1e-9), 1), size - 1)


def holds_out(source: Source) -> bool:
    """Whether trials keep queries to test on; otherwise train and test are both the whole query law."""
    key = jnp.zeros(2, jnp.uint32)
    world, (train, _) = eqx.filter_eval_shape(lambda key: (source.world(key), source.split(key)), key)
    return train.ids.shape[-1] < world.num_queries
