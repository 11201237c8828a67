"""Synthetic families: a world drawn afresh for every trial, with prompts that deceive a screening at N = 1.

Source: Mahmud et al. (arXiv 2508.10030), section 5 and Table 1 (Synth-Bernoulli, Synth-Categorical): sizes,
strategies, contexts and the presence of deceptive prompts are theirs; the generative laws are ours.

Everything is drawn in whole numbers, in units of 2**-16: a float expression may round differently when
the compiler fuses it differently, and a trial's world must not depend on what it is compiled with.

Notation: U[a, b) is uniform on the multiples of 2**-16 in [a, b); Tri(h) = h * (V + V' - 1), with V and V' U[0, 1),
is the symmetric triangular law on [-h, h), of standard deviation h / sqrt(6). All draws are independent.
"""

from itertools import pairwise
from math import ceil, prod
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from sim.core import Key, Queries, Source
from sim.envs.contexts import Outcomes, describe
from sim.envs.sources import num_train_queries
from sim.envs.tabular import TabularWorld
from sim.kernels import counter

ONE = 2**16
"""Fixed point: the whole number that stands for 1."""

STRONG, DECEPTIVE, ORDINARY = 0, 1, 2
"""Kinds of prompts: best at large scales; best at N = 1 only; neither."""


class SynthBernoulli(Source):
    """Majority voting between two answers, on easy, medium and hard queries.

    A completion of prompt p on query x is right with probability theta[p, x]; wrong completions agree.
    Voting raises theta > 1/2 towards 1 and sinks theta < 1/2 towards 0. The law, for P prompts:

    * Kinds. S is uniform on {ceil(P/8), .., ceil(P/4)}, D on {ceil(P/16), .., ceil(3P/16)}; S prompts
      are strong, D of the others (as far as there are others) deceptive, the rest ordinary; a random order
      of the prompts decides which.
    * Levels m[p, tier] ~ U[a, b), with [a, b) by kind and tier from `levels`. Deceptive prompts are right almost always
      on easy queries and less than half of the time on hard ones, strong prompts moderately good everywhere.
    * theta[p, x] = clip(m[p, tier of x] + Tri(noise), .02, .98).
    * Cost of a completion of prompt p ~ U[a, b), with [a, b) = `costs`.

    Tiers hold 40, 30 and 30 per cent of the queries, in this order of ids. Queries of a tier are exchangeable,
    so that the split need not be random: of each tier the first queries are for training.
    With cost weight 0 the arms (p, 2m - 1) and (p, 2m) have equal values: the best arm is then not unique.

    Attributes:
        num_prompts, max_scale, num_queries: sizes.
        train_fraction: share of the queries to train on, in total and as nearly as whole numbers allow per tier.
        cost_weights: weight of the cost, one number per context; contexts are equally likely.
        costs: range of a completion's cost.
        levels: range of the level, by kind (strong, deceptive, ordinary) and tier (easy, medium, hard).
        noise: half-width of the query noise.
    """

    fresh: ClassVar[bool] = True

    num_prompts: int = eqx.field(static=True, default=32)
    max_scale: int = eqx.field(static=True, default=32)
    num_queries: int = eqx.field(static=True, default=520)
    train_fraction: float = eqx.field(static=True, default=0.8)
    cost_weights: tuple[float, ...] = eqx.field(static=True, default=(0.0, 0.2, 1.0))
    costs: tuple[float, float] = eqx.field(static=True, default=(0.005, 0.01))
    levels: tuple[tuple[tuple[float, float], ...], ...] = eqx.field(
        static=True,
        default=(
            ((0.62, 0.72), (0.58, 0.66), (0.54, 0.60)),
            ((0.92, 0.98), (0.54, 0.62), (0.36, 0.44)),
            ((0.55, 0.85), (0.35, 0.55), (0.15, 0.40)),
        ),
    )
    noise: float = eqx.field(static=True, default=0.08)

    def __check_init__(self) -> None:
        """Refuse sizes that leave a world or a split empty."""
        _check_sizes(self)

    @property
    def context_probs(self) -> Float[Array, " context"]:
        """Contexts are equally likely."""
        return _equally_likely(len(self.cost_weights))

    def world(self, key: Key) -> TabularWorld:
        """Draw the prompts' kinds, levels, query noise and costs."""
        counts, level_words, noise_words, cost_words = _words(
            key, (2,), (self.num_prompts, 3), (self.num_prompts, self.num_queries), (self.num_prompts,)
        )
        level = _between(level_words, *_ranges(self.levels, _kinds(key, counts, self.num_prompts)))
        noise = _triangular(noise_words, self.noise)
        theta = jnp.clip(level[:, self._tiers()] + noise, _fixed(0.02), _fixed(0.98))
        spec, strategy = describe(
            Outcomes(("mv",), np.zeros(1), np.ones(1)),
            objective_weights=np.ones((len(self.cost_weights), 1)),
            cost_weights=np.array(self.cost_weights),
            costs=_costs(cost_words, self.costs),
            max_scale=self.max_scale,
            num_answers=2,
        )
        return TabularWorld((theta.astype(jnp.uint32) << 16)[..., None], None, strategy, spec)

    def split(self, key: Key) -> tuple[Queries, Queries]:
        """The first queries of each tier to train on, the others to test on; the key is ignored."""
        tiers = self._tiers()
        sizes = np.bincount(tiers, minlength=3)
        num_train = _apportion(num_train_queries(self.num_queries, self.train_fraction), sizes)
        place = np.arange(self.num_queries) - (np.cumsum(sizes) - sizes)[tiers]
        return _parts(place < num_train[tiers])

    def _tiers(self) -> np.ndarray:
        return np.repeat(np.arange(3), _apportion(self.num_queries, np.array([4, 3, 3])))


class SynthCategorical(Source):
    """Best of N over two objectives with levels 1 to 4 each, 16 outcomes in all.

    A completion's two scores are independent given prompt p and query x. Score k is, in law,

        4 with probability t[p, k], 1 with probability .01, and else
        clip(round(l[p, k] + e[p, x, k] + (V - 1/2) / g[p, k]), 1, 4)  with V uniform on [0, 1],

    that is a body of location l and width 1/g, and a tail t of top scores. What counts at N = 1 is the mean; at
    large N it is the tail. The law of the parameters, for P prompts:

    * Kinds as in `SynthBernoulli`: strong prompts (a body that is low and wide, a heavy tail), deceptive ones (a body
      that is high and narrow, hardly a tail) and ordinary ones.
    * l ~ U[a, b), g ~ U[a, b), t ~ U[a, b) per prompt and objective, ranges by kind from `location`, `slope`, `tail`.
    * e[p, x, k] = Tri(difficulty) of the query, the same for all prompts, + Tri(noise) of its own.
    * Cost of a completion of prompt p ~ U[a, b), with [a, b) = `costs`.

    Contexts: every weight pair (w, 1 - w) of `objective_weights` times every cost weight, cost weights running fastest;
    equally likely. Probabilities of outcomes are exact multiples of 2**-32. Queries are exchangeable: the first
    ones are for training.

    Attributes:
        num_prompts, max_scale, num_queries: sizes.
        train_fraction: share of the queries to train on, rounded down.
        objective_weights: weight w of the first objective.
        cost_weights: weight of the cost.
        costs: range of a completion's cost.
        location, slope, tail: ranges of l, g and t by kind (strong, deceptive, ordinary).
        difficulty, noise: half-widths of the query effects.
    """

    fresh: ClassVar[bool] = True

    num_prompts: int = eqx.field(static=True, default=32)
    max_scale: int = eqx.field(static=True, default=32)
    num_queries: int = eqx.field(static=True, default=512)
    train_fraction: float = eqx.field(static=True, default=0.8)
    objective_weights: tuple[float, ...] = eqx.field(static=True, default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9))
    cost_weights: tuple[float, ...] = eqx.field(static=True, default=(0.2, 2.0, 10.0))
    costs: tuple[float, float] = eqx.field(static=True, default=(0.005, 0.01))
    location: tuple[tuple[float, float], ...] = eqx.field(static=True, default=((2.1, 2.4), (2.75, 3.05), (1.6, 2.2)))
    slope: tuple[tuple[float, float], ...] = eqx.field(static=True, default=((0.4, 0.6), (0.9, 1.4), (0.6, 1.2)))
    tail: tuple[tuple[float, float], ...] = eqx.field(
        static=True, default=((0.02, 0.08), (0.001, 0.004), (0.001, 0.01))
    )
    difficulty: float = eqx.field(static=True, default=0.25)
    noise: float = eqx.field(static=True, default=0.25)

    def __check_init__(self) -> None:
        """Refuse sizes that leave a world or a split empty."""
        _check_sizes(self)

    @property
    def context_probs(self) -> Float[Array, " context"]:
        """Contexts are equally likely."""
        return _equally_likely(len(self.objective_weights) * len(self.cost_weights))

    def world(self, key: Key) -> TabularWorld:
        """Draw the prompts' kinds, locations, slopes, tails and costs and the query effects."""
        per_prompt, per_query = (2, self.num_prompts, 1), (2, self.num_prompts, self.num_queries)
        counts, location_words, slope_words, tail_words, noise_words, difficulty_words, cost_words = _words(
            key, (2,), per_prompt, per_prompt, per_prompt, per_query, (2, 1, self.num_queries), (self.num_prompts,)
        )
        kind = _kinds(key, counts, self.num_prompts)
        effect = _triangular(difficulty_words, self.difficulty) + _triangular(noise_words, self.noise)
        first, second = map(
            _levels_below,
            self._draw(location_words, self.location, kind) + effect,
            self._draw(slope_words, self.slope, kind),
            self._draw(tail_words, self.tail, kind),
        )
        weights = np.repeat(np.array(self.objective_weights), len(self.cost_weights))
        spec, strategy = describe(
            Outcomes(("bon", "bon"), np.ones(2), np.full(2, 4.0)),
            objective_weights=np.stack([weights, np.round(1.0 - weights, 12)], axis=1),
            cost_weights=np.tile(np.array(self.cost_weights), len(self.objective_weights)),
            costs=_costs(cost_words, self.costs),
            max_scale=self.max_scale,
            movable=False,
        )
        atoms = jnp.asarray([(i, j) for i in range(1, 5) for j in range(1, 5)], jnp.float32)
        return TabularWorld(_product(first, second), atoms, strategy, spec)

    def split(self, key: Key) -> tuple[Queries, Queries]:
        """The first queries to train on, the others to test on; the key is ignored."""
        return _parts(np.arange(self.num_queries) < num_train_queries(self.num_queries, self.train_fraction))

    def _draw(
        self, words: UInt32[Array, "2 prompt 1"], ranges: tuple[tuple[float, float], ...], kind: Int[Array, " prompt"]
    ) -> Int[Array, "2 prompt 1"]:
        low, high = (jnp.broadcast_to(end[None, :, None], words.shape) for end in _ranges(ranges, kind))
        return _between(words, low, high)


_LOW_TAIL = 0.01


def _levels_below(
    location: Int[Array, "prompt query"], slope: Int[Array, "prompt 1"], tail: Int[Array, "prompt 1"]
) -> list[UInt32[Array, "prompt query"]]:
    """P(score <= j) for j = 0..4: .01 + (.99 - t) * clip(1/2 + g * (j + 1/2 - location), 0, 1), in 2**-16."""
    below = [jnp.zeros(location.shape, jnp.uint32)]
    low = _fixed(_LOW_TAIL)
    rest = (ONE - low - tail).astype(jnp.uint32)
    for j in (1, 2, 3):
        distance = ((2 * j + 1) * ONE // 2 - location) >> 3  # in 2**-13, so that the product below fits 32 bits
        body = jnp.clip(ONE // 2 + ((distance * (slope >> 4)) >> 9), 0, ONE).astype(jnp.uint32)
        below.append(jnp.uint32(low) + ((rest * body) >> 16))
    return [*below, jnp.full(location.shape, ONE, jnp.uint32)]


def _product(
    first: list[UInt32[Array, "prompt query"]], second: list[UInt32[Array, "prompt query"]]
) -> UInt32[Array, "prompt query 15"]:
    """Thresholds of the product law, in units of 2**-32: P(i' < i) + P(i' = i) P(j' <= j), the last one left out."""
    cell = jnp.arange(15, dtype=jnp.int32)[None, None, :]
    start, mass = first[:4], [above - below for below, above in pairwise(first)]
    return (_pick(start, cell // 4) << 16) + _pick(mass, cell // 4) * _pick(second[1:], cell % 4)


def _pick(
    choices: list[UInt32[Array, "prompt query"]], place: Int[Array, "1 1 cell"]
) -> UInt32[Array, "prompt query cell"]:
    """choices[place], by selection: stacking and transposing would take twice as long to compile."""
    picked = choices[-1][..., None]
    for i in reversed(range(len(choices) - 1)):
        picked = jnp.where(place == i, choices[i][..., None], picked)
    return picked


def _words(key: Key, *shapes: tuple[int, ...]) -> list[UInt32[Array, "..."]]:
    """Independent words for every shape, from one stream."""
    ends = np.cumsum([0, *(prod(shape) for shape in shapes)])
    stream = counter.bits(counter.fold(key, 0), (int(ends[-1]),))
    return [stream[ends[i] : ends[i + 1]].reshape(shape) for i, shape in enumerate(shapes)]


def _kinds(key: Key, words: UInt32[Array, "2"], num_prompts: int) -> Int[Array, " prompt"]:
    eighth, quarter = ceil(num_prompts / 8), ceil(num_prompts / 4)
    few, some = ceil(num_prompts / 16), ceil(3 * num_prompts / 16)
    num_strong = eighth + counter.integer(words[0], quarter - eighth + 1)
    num_deceptive = few + counter.integer(words[1], some - few + 1)
    place = counter.permutation(counter.fold(key, 1), num_prompts)
    kind = jnp.where(place < num_strong + num_deceptive, DECEPTIVE, ORDINARY)
    return jnp.where(place < num_strong, STRONG, kind)


def _ranges(
    table: tuple[tuple[float, float], ...] | tuple[tuple[tuple[float, float], ...], ...], kind: Int[Array, " prompt"]
) -> tuple[Int[Array, "prompt *part"], Int[Array, "prompt *part"]]:
    """Ends of every prompt's ranges, by its kind."""
    ends = jnp.asarray(np.rint(np.array(table) * ONE), jnp.int32)[kind]
    return ends[..., 0], ends[..., 1]


def _between(
    words: UInt32[Array, "*shape"], low: Int[Array, "*shape"], high: Int[Array, "*shape"]
) -> Int[Array, "*shape"]:
    """U[low, high), entry by entry."""
    return low + counter.integer(words, high - low)


def _triangular(words: UInt32[Array, "*shape"], half_width: float) -> Int[Array, "*shape"]:
    """Tri(half_width), from the two halves of a word."""
    centred = ((words >> 16) + (words & jnp.uint32(0xFFFF))).astype(jnp.int32) - ONE
    return (centred * _fixed(half_width)) >> 16


def _costs(words: UInt32[Array, " prompt"], ends: tuple[float, float]) -> Float[Array, " prompt"]:
    low, high = (jnp.full(words.shape, round(end * 2**24), jnp.int32) for end in ends)
    return _between(words, low, high).astype(jnp.float32) * jnp.float32(2.0**-24)


def _fixed(number: float) -> int:
    return round(number * ONE)


def _equally_likely(num_contexts: int) -> Float[Array, " context"]:
    return jnp.full((num_contexts,), 1.0 / num_contexts, jnp.float32)


def _apportion(total: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers in proportion to `shares` that add up to `total` (largest remainders first)."""
    quota = total * shares / shares.sum()
    whole = np.floor(quota + 1e-9).astype(int)
    largest = np.argsort(whole - quota, kind="stable")[: total - whole.sum()]
    whole[largest] += 1
    return whole


def _parts(train: np.ndarray) -> tuple[Queries, Queries]:
    ids = np.arange(len(train), dtype=np.int32)
    return Queries(jnp.asarray(ids[train])), Queries(jnp.asarray(ids[~train]))


def _check_sizes(source: SynthBernoulli | SynthCategorical) -> None:
    name = type(source).__name__
    for field, least in (("num_prompts", 1), ("max_scale", 1), ("num_queries", 2)):
        if getattr(source, field) < least:
            raise ValueError(f"{name}: {field} is {getattr(source, field)}; at least {least} is needed")
    if not 0 < source.train_fraction < 1:
        raise ValueError(f"{name}: train_fraction is {source.train_fraction}; it must lie strictly between 0 and 1")
    if not source.cost_weights or min(source.cost_weights) < 0:
        raise ValueError(f"{name}: cost_weights is {source.cost_weights}; at least one weight is needed, all >= 0")
