"""Worlds with continuous scores: BoN or mean over K objectives whose laws are Beta or Gaussian mixtures.

Scores are drawn by inverse distribution functions, so that they have exactly the stated law up to float32 and to
uniforms on 2**23 cells. They are bounded, as the integer unit of rewards needs: Gaussian components are truncated,
not clipped, so that no value has an atom. A reward is then rounded to that unit (at most 2**-16 of the bound), as in
every world.

With F the distribution function of one score in [low, high], E max_N = high - integral of F(s)^N over [low, high]; for
Beta(a, 1) it is a N / (a N + 1).
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, ndtr, ndtri
from jaxtyping import Array, Float, Int, UInt32

from sim.core import Environment, Key, Pull, Spec
from sim.envs.contexts import Outcomes, describe
from sim.envs.sources import FixedSource, shuffled
from sim.kernels import completions, counter, subsets
from sim.raw import Raw
from sim.utilities import Strategy

_HALVINGS = 25


class ScoreLaw(eqx.Module):
    """Law of one completion's scores for every prompt and query. Abstract."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Numbers of prompts, queries and objectives."""

    @property
    @abc.abstractmethod
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest score of each objective (host numbers)."""

    @abc.abstractmethod
    def draw(
        self, key: Key, prompt: Int[Array, ""], query: Int[Array, ""], size: int
    ) -> Float[Array, "size objective"]:
        """Scores of `size` independent completions."""


class BetaScores(ScoreLaw):
    """Independent Beta(a, b) scores in (0, 1) per objective.

    Drawn by the inverse distribution function: u^(1/a) where b = 1, 1 - (1 - u)^(1/b) where a = 1. If any pair has
    neither, all scores are found by 25 halvings of (0, 1) on the regularised incomplete beta function: x is then
    within 2**-26 of a point where the function, in float32 accurate to about 1e-6, crosses u. That is some
    400 times slower (about 14 microseconds a score on one core).

    Attributes:
        a, b: parameters, > 0.
        closed: whether every pair has a = 1 or b = 1.
    """

    a: Float[Array, "prompt query objective"]
    b: Float[Array, "prompt query objective"]
    closed: bool = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of prompts, queries and objectives."""
        num_prompts, num_queries, num_objectives = self.a.shape
        return num_prompts, num_queries, num_objectives

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores lie in (0, 1)."""
        return np.zeros(self.shape[2]), np.ones(self.shape[2])

    def draw(
        self, key: Key, prompt: Int[Array, ""], query: Int[Array, ""], size: int
    ) -> Float[Array, "size objective"]:
        """Scores of `size` independent completions."""
        u = counter.uniform(key, (size, self.shape[2]))
        a, b = jnp.broadcast_to(self.a[prompt, query], u.shape), jnp.broadcast_to(self.b[prompt, query], u.shape)
        if self.closed:
            return jnp.where(b == 1, jnp.exp(jnp.log(u) / a), -jnp.expm1(jnp.log1p(-u) / b))

        def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2
            above = betainc(a, b, middle) < u
            return jnp.where(above, middle, low), jnp.where(above, high, middle)

        low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(u), jnp.ones_like(u)))
        return (low + high) / 2


class GaussianMixtureScores(ScoreLaw):
    """Mixtures of Gaussians, each truncated to [low, high].

    A completion first draws its component j with probability weights[p, x, j], then every objective k
    independently from Normal(means[p, x, j, k], sds[p, x, j, k]) conditioned on [low[k], high[k]]. Objectives share
    the component, so that mixtures correlate them. Conditioning is exact: with Phi_a, Phi_b the normal
    distribution function at the standardised ends, score = mean + sd * Phi^{-1}(Phi_a + u (Phi_b - Phi_a)), mirrored
    where both ends lie above the mean, for there Phi would have no digits left.

    Attributes:
        weights: probability of each component.
        means, sds: parameters before truncation; sds > 0.
        bounds: pair (low, high) of every objective, numbers known to the compiler.
    """

    weights: Float[Array, "prompt query component"]
    means: Float[Array, "prompt query component objective"]
    sds: Float[Array, "prompt query component objective"]
    bounds: tuple[tuple[float, float], ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of prompts, queries and objectives."""
        num_prompts, num_queries, _, num_objectives = self.means.shape
        return num_prompts, num_queries, num_objectives

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The bounds."""
        low, high = np.array(self.bounds, np.float64).T
        return low, high

    def draw(
        self, key: Key, prompt: Int[Array, ""], query: Int[Array, ""], size: int
    ) -> Float[Array, "size objective"]:
        """Scores of `size` independent completions."""
        uniforms = counter.uniform(key, (size, 1 + self.shape[2]))
        below = jnp.cumsum(self.weights[prompt, query])[:-1]
        component = jnp.sum(uniforms[:, :1] >= below[None, :], axis=1)
        mean, sd = self.means[prompt, query], self.sds[prompt, query]
        low, high = (jnp.asarray(end, jnp.float32)[None, :] for end in zip(*self.bounds, strict=True))
        start, stop = (low - mean) / sd, (high - mean) / sd
        mirrored = start > 0
        start, stop = jnp.where(mirrored, -stop, start), jnp.where(mirrored, -start, stop)
        left, mass = ndtr(start), ndtr(stop) - ndtr(start)
        z = ndtri(left[component] + uniforms[:, 1:] * mass[component])
        score = mean[component] + sd[component] * jnp.where(mirrored[component], -z, z)
        return jnp.clip(score, low, high)  # rounding only


class ContinuousWorld(Environment):
    """A world of continuous scores. It is infinite: no finite `Dataset` describes it.

    Attributes:
        law: the scores' law.
        strategy: how completions become task rewards.
        known: what learners may know.
    """

    law: ScoreLaw
    strategy: Strategy
    known: Spec

    @property
    def spec(self) -> Spec:
        """All that a learner may know."""
        return self.known

    @property
    def num_queries(self) -> int:
        """Number of queries over all splits."""
        return self.law.shape[1]

    def pull(self, key: Key, prompt: Int[Array, ""], query: Int[Array, ""], scale: Int[Array, ""]) -> Pull:
        """Draw `scale` i.i.d. completions of `prompt` on `query`."""
        return Pull(prompt, query, scale, self.law.draw(key, prompt, query, self.known.max_scale))

    def block_units(self, pull: Pull, estimator: str = "blocks") -> Int[Array, "task num_scales"]:
        """Sum of task rewards over a pull's blocks of every scale, in integer units."""
        return subsets.one_pull(self.strategy, pull, estimator, self.known.max_scale)

    def estimator_for(self, width: int, estimator: str) -> str:
        """The estimator, or random orders in its place where its table would be too large for the strategy."""
        return subsets.chosen(self.strategy, width, self.known.max_scale, estimator)

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
        draw = jax.vmap(self.law.draw, in_axes=(0, 0, 0, None))
        return jnp.moveaxis(draw(keys, prompts, queries, self.known.max_scale)[:, :width], 0, 2)


def beta_scores(a: np.ndarray, b: np.ndarray) -> BetaScores:
    """Beta(a, b) scores; a and b have shape (prompt, query, objective)."""
    if a.shape != b.shape or a.ndim != 3 or not (np.all(a > 0) and np.all(b > 0)):
        raise ValueError(f"a {a.shape} and b {b.shape} must be positive, of one shape (prompt, query, objective)")
    closed = bool(np.all((a == 1) | (b == 1)))
    return BetaScores(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), closed)


def gaussian_scores(
    weights: np.ndarray, means: np.ndarray, sds: np.ndarray, bounds: tuple[tuple[float, float], ...]
) -> GaussianMixtureScores:
    """Truncated Gaussian mixtures.

    Args:
        weights: shape (prompt, query, component), summing to 1 over components.
        means: shape (prompt, query, component, objective).
        sds: as `means`, > 0.
        bounds: (low, high) per objective; every component must have mass between them.
    """
    if means.ndim != 4 or sds.shape != means.shape or weights.shape != means.shape[:3]:
        raise ValueError(
            f"weights {weights.shape}, means {means.shape} and sds {sds.shape} must have the axes (prompt, query, "
            "component) and twice (prompt, query, component, objective)"
        )
    if not np.all(sds > 0):
        raise ValueError("sds must be positive everywhere")
    if np.any(weights < 0) or np.abs(weights.sum(axis=2) - 1).max() > 1e-6:
        raise ValueError("weights must be probabilities that sum to 1 over the components")
    low, high = np.array(bounds).reshape(-1, 2).T
    if len(bounds) != means.shape[3] or not np.all(low < high):
        raise ValueError(f"bounds is {bounds}; one pair low < high is needed for each of {means.shape[3]} objectives")
    if np.any((low - means) / sds > 8) or np.any((means - high) / sds > 8):
        raise ValueError("means lie more than 8 sds outside bounds somewhere; hardly any mass would be left")
    weights32, means32, sds32 = (jnp.asarray(part, jnp.float32) for part in (weights, means, sds))
    return GaussianMixtureScores(weights32, means32, sds32, bounds)


def continuous_world(
    law: ScoreLaw,
    objective_weights: np.ndarray,
    cost_weights: np.ndarray,
    costs: np.ndarray,
    max_scale: int,
    aggregate: tuple[str, ...] | None = None,
) -> ContinuousWorld:
    """A world of continuous scores.

    Args:
        law: the scores' law.
        objective_weights: shape (context, objective).
        cost_weights: utility of one unit of cost per context, shape (context,).
        costs: cost of one completion of each prompt, shape (prompt,).
        max_scale: largest inference scale Nmax.
        aggregate: "bon" or "mean" for each objective; all "bon" when None.
    """
    num_prompts, _, num_objectives = law.shape
    aggregate = aggregate or ("bon",) * num_objectives
    if len(aggregate) != num_objectives or not set(aggregate) <= {"bon", "mean"}:
        raise ValueError(
            f"aggregate is {aggregate}; scores need 'bon' or 'mean' for each of {num_objectives} objectives"
        )
    expected = {
        "objective_weights": (objective_weights, (len(cost_weights), num_objectives)),
        "costs": (costs, (num_prompts,)),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    costs = np.asarray(costs, np.float64)
    spec, strategy = describe(
        Outcomes(aggregate, *law.ends), objective_weights, cost_weights, costs, max_scale, movable=False
    )
    return ContinuousWorld(law, strategy, spec)


def beta_bon() -> FixedSource:
    """Best of up to 16 Beta scores: 8 prompts, 20 queries, cost weights 0, 1 and 5, costs .005 to .01.

    Prompts 0 to 3 are Beta(a, 1) with a from 1.5 to 1.65: high means, thin near 1. Prompts 4 to 7 are Beta(1, b) with b
    from .8 to .95: lower means, but far more mass near 1, which wins at large N. On query x, a is multiplied and b
    divided by a factor from .8 to 1.25.
    """
    factor = np.geomspace(0.8, 1.25, 20)[None, :, None]
    ones = np.ones((4, 20, 1))
    a = np.concatenate([np.linspace(1.5, 1.65, 4)[:, None, None] * factor, ones])
    b = np.concatenate([ones, np.linspace(0.8, 0.95, 4)[:, None, None] / factor])
    return _one_score(beta_scores(a, b))


def gaussian_bon() -> FixedSource:
    """Best of up to 16 scores in [-4, 4]: 8 prompts, 20 queries, cost weights 0, 1 and 5, costs .005 to .01.

    Prompts 0 to 3 are steady: Normal(m, .2), m from .4 to .55. Prompts 4 to 7 are bold: Normal(m, .4), m from 0
    to .15, but with probability .1 Normal(1.5, .4). On query x all means shift by a number from -.5 to .5.
    """
    shift = np.linspace(-0.5, 0.5, 20)[None, :, None, None]
    body = np.concatenate([np.linspace(0.4, 0.55, 4), np.linspace(0.0, 0.15, 4)])
    means = np.stack([body, np.full(8, 1.5)], axis=1)[:, None, :, None] + shift
    sds = np.repeat([0.2, 0.4], 4)[:, None, None, None] * np.ones_like(means)
    weights = np.repeat([[1.0, 0.0], [0.9, 0.1]], 4, axis=0)[:, None, :] * np.ones((1, 20, 1))
    return _one_score(gaussian_scores(weights, means, sds, ((-4.0, 4.0),)))


def _one_score(law: ScoreLaw) -> FixedSource:
    world = continuous_world(
        law,
        objective_weights=np.ones((3, 1)),
        cost_weights=np.array([0.0, 1.0, 5.0]),
        costs=np.linspace(0.005, 0.01, 8),
        max_scale=16,
    )
    return shuffled(world)
