"""Random small worlds, and halving run on them by plain NumPy: a second opinion on what bounds are about.

Written from the definitions, apart from `sim` and `theory`. A pull's block means take few values, so that the pulls of
a round are drawn as multinomial counts and runs cost the same whatever the budget.
"""

import itertools
import math
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np

from sim.envs.dataset import Dataset

MODES = ("fresh", "pulls", "blocks", "common fresh", "common pulls", "prompts fresh", "prompts", "uniform")
"""What is run: PSST on fresh data, on accumulated data by pull or by block, on common queries; halving prompts; one
batch."""
SHARED = ("common prompts", "common once", "common race", "common race once")
"""What is run on common queries with all pulls at Nmax: halving prompts, a race on a fixed schedule; "once": no query
twice before all were met."""


def random_world(rng: np.random.Generator, classical: bool = False) -> Dataset:
    """A world of a few arms; sizes, strategy, ties, costs, contexts and query effects at random.

    Args:
        rng: source of randomness.
        classical: one completion a pull and one context.
    """
    scales = 1 if classical else int(rng.integers(1, 4))
    prompts = int(rng.integers(2, 9)) if scales == 1 else int(rng.integers(1, 5))
    contexts = 1 if classical else int(rng.integers(1, 4))
    queries, outcomes = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    kind = rng.random()
    if kind < 0.3:
        probs = rng.dirichlet(np.ones(outcomes), (prompts, queries))
    elif kind < 0.55:  # on a coarse grid: ties, and arms that are sure of themselves
        probs = rng.multinomial(int(rng.choice([2, 5, 10])), np.full(outcomes, 1 / outcomes), (prompts, queries))
        probs = probs / probs.sum(axis=2, keepdims=True)
    elif kind < 0.85:  # the query decides, often one way for some prompts and another for the rest
        likely = rng.integers(0, outcomes, queries) + rng.integers(0, 2, (prompts, 1)) * rng.integers(0, 2, queries)
        strength = rng.uniform(0.6, 1.0, (prompts, queries, 1))
        probs = strength * np.eye(outcomes)[likely % outcomes] + (1 - strength) / outcomes
    else:  # a leader and a near tie
        probs = rng.dirichlet(np.ones(outcomes), (1, queries)) + rng.uniform(0, 0.3, (prompts, queries, outcomes))
        probs = probs / probs.sum(axis=2, keepdims=True)
    how = str(rng.choice(["mv", "bon", "mean"]))
    values = None
    if how != "mv":
        shape = (1, 1, outcomes, 1) if rng.random() < 0.5 else (prompts, queries, outcomes, 1)
        scores = rng.choice([-1.0, 0.0, 0.5, 1.0], shape) if rng.random() < 0.8 else rng.uniform(-1, 1, shape)
        values = np.broadcast_to(scores, (prompts, queries, outcomes, 1)).copy()
    weights = np.ones((contexts, 1)) if rng.random() < 0.5 else rng.choice([0.5, 1.0, 2.0], (contexts, 1))
    return Dataset(
        name="random",
        aggregate=(how,),
        probs=probs,
        values=values,
        answers=rng.integers(0, outcomes, queries) if how == "mv" else None,
        objective_weights=weights,
        cost_weights=np.zeros(contexts) if rng.random() < 0.3 else rng.choice([0.0, 0.1, 0.3], contexts),
        costs=np.ones(prompts) if rng.random() < 0.5 else rng.choice([0.0, 0.3, 1.0], prompts),
        max_scale=scales,
        query_weights=None if rng.random() < 0.5 else rng.integers(1, 5, queries).astype(float),
        tie=str(rng.choice(["uniform", "half"])),
    )


class Halving:
    """Runs on one world.

    Attributes:
        data: the world; its strategy has one aggregate.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.pull_law = lru_cache(maxsize=None)(self._pull_law)

    @cached_property
    def cost(self) -> np.ndarray:
        """Known cost of every arm, (context, prompt, scale)."""
        data = self.data
        unit = data.cost_weights[:, None] * data.costs
        return unit[:, :, None] * np.arange(1, data.max_scale + 1)

    def _pull_law(self, prompt: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """What a pull of some size returns: block means (value, context, scale), and their chances (query, value)."""
        data, rows, chance = self.data, [], []
        for query in range(data.num_queries):
            for tape in itertools.product(range(data.probs.shape[2]), repeat=size):
                means = [
                    np.mean([self._reward(prompt, query, tape[i : i + k]) for i in range(0, size // k * k, k)])
                    for k in range(1, size + 1)
                ]
                rows.append([*means, *[0.0] * (data.max_scale - size)])
                chance.append((query, float(np.prod(data.probs[prompt, query, list(tape)]))))
        values, place = np.unique(np.round(rows, 12), axis=0, return_inverse=True)
        law = np.zeros((data.num_queries, len(values)))
        np.add.at(law, ([query for query, _ in chance], place.ravel()), [share for _, share in chance])
        law /= law.sum(axis=1, keepdims=True)
        return data.objective_weights[:, 0][None, :, None] * values[:, None], law

    def _reward(self, prompt: int, query: int, block: tuple[int, ...]) -> float:
        data = self.data
        if data.values is None:
            votes = np.bincount(block, minlength=data.probs.shape[2])
            gold, tied = int(data.answers[query]), int((votes == votes.max()).sum())
            credit = 1 / tied if data.tie == "uniform" else (1.0 if tied == 1 else 0.5)
            return credit if votes[gold] == votes.max() else 0.0
        scores = data.values[prompt, query, list(block), 0]
        return float(scores.max() if data.aggregate == ("bon",) else scores.mean())

    def values(self) -> np.ndarray:
        """Exact values (context, prompt, scale)."""
        laws = [self.pull_law(p, self.data.max_scale) for p in range(self.data.num_prompts)]
        means = [np.einsum("q,qv,vck->ck", self.data.query_distribution, law, value) for value, law in laws]
        return np.stack(means, axis=1) - self.cost

    def failures(self, budget: int, mode: str, trials: int, rng: np.random.Generator, right: np.ndarray) -> int:
        """Runs in which some context's answer is not one of its right arms.

        Args:
            budget: completions of a run.
            mode: one of `MODES` or `SHARED`.
            trials: runs.
            rng: source of randomness.
            right: mask (context, arm), arms ordered by prompt, then scale.
        """
        data = self.data
        contexts, prompts, scales = data.num_contexts, data.num_prompts, data.max_scale
        if "race" in mode:
            return self._failures_of_race(budget, mode, trials, rng, right)
        by_prompt = mode in ("prompts fresh", "prompts", "uniform", *SHARED)
        items = prompts if by_prompt else prompts * scales
        rounds = 1 if mode == "uniform" else max(1, int(np.ceil(np.log2(items))))
        orders, met = self._orders(mode, trials, rng), np.zeros(trials, int)
        active = np.ones((trials, contexts, prompts, scales), bool)
        total = np.zeros((trials, contexts, prompts, scales))
        weight = np.zeros((trials, prompts, scales))
        for r in range(rounds):
            if "fresh" in mode:
                total[:], weight[:] = 0, 0
            sizes = np.max(active.any(axis=1) * np.arange(1, scales + 1), axis=2)
            sizes = np.where(by_prompt & (sizes > 0), scales, sizes)
            share = budget * (r + 1) // rounds - budget * r // rounds
            pulls = share // sizes.sum(axis=1)
            self._pull(sizes, pulls, mode, total, weight, rng, None if orders is None else (orders, met))
            met = met + pulls
            if mode == "uniform":
                break
            score = self._score(active, total, weight)
            if by_prompt:
                left = _best_of(score.max(axis=3), active.any(axis=3), rng)
                active &= left[..., None]
            else:
                flat = (trials, contexts, prompts * scales)
                active = _best_of(score.reshape(flat), active.reshape(flat), rng).reshape(active.shape)
        if by_prompt:
            score = self._score(active, total, weight).reshape(trials, contexts, -1)
            active = (_ranks(score, rng) == 0).reshape(active.shape)
        answer = active.reshape(trials, contexts, -1).argmax(axis=2)
        return int((~right[np.arange(contexts), answer]).any(axis=1).sum())

    def _orders(self, mode: str, trials: int, rng: np.random.Generator) -> np.ndarray | None:
        """Each run's random order of the queries; None where they are drawn with replacement."""
        if "once" not in mode:
            return None
        return rng.permuted(np.tile(np.arange(self.data.num_queries), (trials, 1)), axis=1)

    def _failures_of_race(
        self, budget: int, mode: str, trials: int, rng: np.random.Generator, right: np.ndarray
    ) -> int:
        data = self.data
        contexts, prompts, scales = data.num_contexts, data.num_prompts, data.max_scale
        left = [prompts]
        while left[-1] > min(prompts, max(2, contexts)):
            left.append(max(-(-left[-1] // 2), contexts, 2))
        share = [Fraction(1), *(1 - Fraction(after, before) for before, after in itertools.pairwise(left))]
        active, spent, had, orders = np.ones((trials, prompts), bool), 0, 0, self._orders(mode, trials, rng)
        total, weight = np.zeros((trials, contexts, prompts, scales)), np.zeros((trials, prompts, scales))
        for phase, size in enumerate(left):
            pulls = (math.floor(budget * sum(share[: phase + 1]) / sum(share)) - spent) // (size * scales)
            once = None if orders is None else (orders, np.full(trials, had))
            self._pull(active * scales, np.full(trials, pulls), mode, total, weight, rng, once)
            had, spent = had + pulls, spent + pulls * size * scales
            inside = np.broadcast_to(active[:, None, :, None], total.shape)
            score = self._score(inside, total, weight)
            if phase + 1 < len(left):
                turn = _ranks(score.max(axis=3), rng).min(axis=1)
                active = active & (_ranks(-turn[:, None].astype(float), rng)[:, 0] < left[phase + 1])
        answer = _ranks(score.reshape(trials, contexts, -1), rng).argmin(axis=2)
        return int((~right[np.arange(contexts), answer]).any(axis=1).sum())

    def _score(self, active: np.ndarray, total: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.where(active, total / np.maximum(weight, 1)[:, None] - self.cost, -np.inf)

    def _pull(
        self,
        sizes: np.ndarray,
        pulls: np.ndarray,
        mode: str,
        total: np.ndarray,
        weight: np.ndarray,
        rng: np.random.Generator,
        once: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Add a round's pulls to the sums, in place; `once`: each run's order of queries, and how many it has met."""
        scales, query_law = self.data.max_scale, self.data.query_distribution
        queries = rng.multinomial(pulls, query_law) if "common" in mode else None
        if once is not None:
            orders, met = once
            queries = _met(orders, met + pulls) - _met(orders, met)
        for prompt, size in itertools.product(range(sizes.shape[1]), range(1, scales + 1)):
            rows = np.flatnonzero(sizes[:, prompt] == size)
            if not len(rows):
                continue
            values, law = self.pull_law(prompt, size)
            if queries is None:
                counts = rng.multinomial(pulls[rows], query_law @ law)
            else:
                counts = sum(rng.multinomial(queries[rows, x], law[x]) for x in range(len(law)))
            blocks = size // np.arange(1, scales + 1) if mode == "blocks" else np.ones(scales)
            blocks = blocks * (np.arange(1, scales + 1) <= size)
            total[rows, :, prompt] += np.einsum("tv,vck->tck", counts, values) * blocks
            weight[rows, prompt] += pulls[rows, None] * blocks


def _met(orders: np.ndarray, pulls: np.ndarray) -> np.ndarray:
    """How often each run has met each query after so many pulls, (run, query)."""
    whole, rest = np.divmod(pulls, orders.shape[1])
    found = np.repeat(whole[:, None], orders.shape[1], axis=1)
    np.put_along_axis(found, orders, whole[:, None] + (np.arange(orders.shape[1]) < rest[:, None]), axis=1)
    return found


def _best_of(score: np.ndarray, active: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The better half of the active items, rounded up, ties at random."""
    kept = (int(active[0, 0].sum()) + 1) // 2
    return _ranks(np.where(active, score, -np.inf), rng) < kept


def _ranks(score: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = np.lexsort((rng.random(score.shape), -np.round(score, 9)), axis=-1)
    ranks = np.empty(score.shape, int)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(score.shape[-1]), score.shape), axis=-1)
    return ranks
