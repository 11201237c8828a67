"""Runs of tiny worlds in rational numbers, from the definitions alone: what bounds are held against.

Nothing here comes from `sim` or `theory` but the form of a `Dataset`. Probabilities are whole multiples of 2**-48, so
that float64 holds them and what is left to 1 exactly; costs are the floats that the world has. Estimates, ties and
probabilities are compared and added up as fractions.
"""

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np

from sim.envs.dataset import Dataset

GRAIN = 1 << 48

Law = dict[tuple[int, ...], Fraction]
Answer = tuple[int, ...]
"""The arm of every context; arms are counted by prompt, then scale."""


@dataclass(frozen=True)
class World:
    """A tiny world.

    Attributes:
        how: "mv" (outcome 0 is the right answer) or "bon".
        grains: probability of every outcome but the first, in units of 1 / GRAIN, by prompt, query and outcome.
        scores: of the outcomes in halves; for a vote right and wrong.
        costs: of a completion of every prompt.
        cost_weights: of every context; powers of two or 0, so that their products with costs are exact.
        max_scale: 1 or 2.
    """

    how: str
    grains: tuple[tuple[tuple[int, ...], ...], ...]
    scores: tuple[int, ...]
    costs: tuple[float, ...]
    cost_weights: tuple[float, ...]
    max_scale: int

    @property
    def prompts(self) -> int:
        return len(self.grains)

    @property
    def arms(self) -> int:
        return self.prompts * self.max_scale

    @property
    def contexts(self) -> int:
        return len(self.cost_weights)

    @cached_property
    def data(self) -> Dataset:
        """The same as the project has it."""
        rest = np.array(self.grains, np.float64)
        probs = np.concatenate([(GRAIN - rest.sum(axis=2, keepdims=True)), rest], axis=2) / GRAIN
        values = np.broadcast_to(np.array(self.scores, float)[:, None] / 2, (*probs.shape, 1)).copy()
        return Dataset(
            name="tiny",
            aggregate=(self.how,),
            probs=probs,
            values=values if self.how == "bon" else None,
            answers=None if self.how == "bon" else np.zeros(probs.shape[1], int),
            objective_weights=np.ones((self.contexts, 1)),
            cost_weights=np.array(self.cost_weights),
            costs=np.array(self.costs),
            max_scale=self.max_scale,
        )

    def cost(self, context: int, prompt: int) -> Fraction:
        """Of one completion."""
        return Fraction(self.cost_weights[context]) * Fraction(self.costs[prompt])

    def reward(self, block: tuple[int, ...]) -> int:
        """Of one block, in halves."""
        if self.how == "bon":
            return max(self.scores[o] for o in block)
        right = block.count(0)
        return 2 if 2 * right > len(block) else int(2 * right == len(block))

    @cached_property
    def pulls(self) -> dict[tuple[int, int], list[Law]]:
        """Block sums of every scale of one pull, by prompt and size, on every query."""
        found = {}
        for p, size in itertools.product(range(self.prompts), range(1, self.max_scale + 1)):
            laws = []
            for own in self.grains[p]:
                chance = [Fraction(GRAIN - sum(own), GRAIN), *(Fraction(g, GRAIN) for g in own)]
                law: Law = defaultdict(Fraction)
                for tape in itertools.product(range(len(chance)), repeat=size):
                    sums = [
                        sum(self.reward(tape[i : i + k]) for i in range(0, size - k + 1, k))
                        for k in range(1, self.max_scale + 1)
                    ]
                    law[tuple(sums)] += math.prod(chance[o] for o in tape)
                laws.append({sums: share for sums, share in law.items() if share})
            found[p, size] = laws
        return found

    def values(self, context: int) -> list[Fraction]:
        """Exact values of the arms."""
        found = []
        for p, k in itertools.product(range(self.prompts), range(1, self.max_scale + 1)):
            laws = self.pulls[p, k]
            mean = sum(sums[k - 1] * share for law in laws for sums, share in law.items()) / (2 * len(laws))
            found.append(mean - k * self.cost(context, p))
        return found


def halving(world: World, budget: int, mode: str) -> dict[Answer, Fraction]:
    """Law of the answers of PSST.

    Ties are broken uniformly, in every context apart.

    Args:
        world: what is pulled.
        budget: T, enough for a pull of every prompt in every round.
        mode: "fresh" or "common fresh", or with the data of all rounds "blocks", "pulls" or "common pulls".
    """
    rounds, contexts, n = _rounds(world.arms), world.contexts, world.max_scale
    everything = tuple(range(world.arms))
    nothing = tuple(((0,) * n, (0,) * n) for _ in range(world.prompts))
    states = {((everything,) * contexts, nothing): Fraction(1)}
    for r in range(rounds):
        share = budget * (r + 1) // rounds - budget * r // rounds
        following: dict = defaultdict(Fraction)
        for (active, table), chance in states.items():
            sizes = [
                max((a % n + 1 for own in active for a in own if a // n == p), default=0) for p in range(world.prompts)
            ]
            pulls = share // sum(sizes)
            assert pulls > 0, "no bound speaks of a round without a pull of every prompt"
            for sums, law in _data(world, tuple(sizes), pulls, mode.startswith("common")).items():
                new = _added(nothing if "fresh" in mode else table, sums, sizes, pulls, n, mode.endswith("pulls"))
                for left, one in _kept(world, active, new):
                    following[left, nothing if "fresh" in mode else new] += chance * law * one
        states = following
    return _answers((tuple(own[0] for own in active), chance) for (active, _), chance in states.items())


def prompt_halving(world: World, budget: int, common: bool = False) -> dict[Answer, Fraction]:
    """Law of the answers of halving prompts by their best scale on all data, all pulls at Nmax; one context."""
    rounds, n = _rounds(world.prompts), world.max_scale
    nothing = tuple(((0,) * n, (0,) * n) for _ in range(world.prompts))
    states = {(tuple(range(world.prompts)), nothing): Fraction(1)}
    for r in range(rounds):
        share = budget * (r + 1) // rounds - budget * r // rounds
        following: dict = defaultdict(Fraction)
        for (active, table), chance in states.items():
            sizes = [n if p in active else 0 for p in range(world.prompts)]
            for sums, law in _data(world, tuple(sizes), share // sum(sizes), common).items():
                new = _added(table, sums, sizes, share // sum(sizes), n, False)
                score = {p: max(_estimate(world, 0, new, p * n + k) for k in range(n)) for p in active}
                for left, one in _best(score, (len(active) + 1) // 2):
                    following[left, new] += chance * law * one
        states = following
    return _answers(
        ((arm,), chance * one)
        for ((p,), table), chance in states.items()
        for (arm,), one in _best({a: _estimate(world, 0, table, a) for a in range(p * n, p * n + n)}, 1)
    )


def racing(world: World, budget: int) -> dict[Answer, Fraction]:
    """Law of the answers of a race for all contexts on common queries and a fixed schedule, all pulls at Nmax."""
    n, contexts = world.max_scale, range(world.contexts)
    left = [world.prompts]
    while left[-1] > min(world.prompts, max(2, world.contexts)):
        left.append(max(-(-left[-1] // 2), world.contexts, 2))
    parts = [Fraction(1), *(1 - Fraction(after, before) for before, after in itertools.pairwise(left))]
    nothing = tuple(((0,) * n, (0,) * n) for _ in range(world.prompts))
    states, spent = {(tuple(range(world.prompts)), nothing): Fraction(1)}, 0
    for phase, size in enumerate(left):
        pulls = (math.floor(budget * sum(parts[: phase + 1]) / sum(parts)) - spent) // (size * n)
        spent += pulls * size * n
        following: dict = defaultdict(Fraction)
        for (active, table), chance in states.items():
            sizes = [n if p in active else 0 for p in range(world.prompts)]
            for sums, law in _data(world, tuple(sizes), pulls, True).items():
                new = _added(table, sums, sizes, pulls, n, False)
                for kept, one in _merged(world, active, new, [*left, size][phase + 1]):
                    following[kept, new] += chance * law * one
        states = following
    found = []
    for (active, table), chance in states.items():
        arms = [p * n + k for p in active for k in range(n)]
        each = [_best({a: _estimate(world, c, table, a) for a in arms}, 1) for c in contexts]
        for chosen in itertools.product(*each):
            found.append((tuple(arm for (arm,), _ in chosen), chance * math.prod(one for _, one in chosen)))
    return _answers(found)


def _merged(world: World, active: tuple[int, ...], table: tuple, number: int) -> list[tuple[tuple, Fraction]]:
    """The prompts that come first when contexts name their best by turns, averaged over all orders that break ties."""
    n, found = world.max_scale, []
    score = [
        {p: max(_estimate(world, c, table, p * n + k) for k in range(n)) for p in active} for c in range(world.contexts)
    ]
    orders = list(itertools.permutations(active))
    for order in orders:
        lists = [
            sorted(order, key=lambda p, own=own: own[p], reverse=True) for own in score
        ]  # stable: ties as in order
        turn = {p: min(own.index(p) for own in lists) for p in active}
        found.append(
            (tuple(sorted(sorted(order, key=lambda p, turn=turn: turn[p])[:number])), Fraction(1, len(orders)))
        )
    return found


def uniform(world: World, budget: int) -> dict[Answer, Fraction]:
    """Law of the answers after one batch at Nmax, every prompt equally often."""
    n, contexts = world.max_scale, range(world.contexts)
    pulls, nothing = budget // world.arms, tuple(((0,) * n, (0,) * n) for _ in range(world.prompts))
    sizes, found = [n] * world.prompts, []
    for sums, law in _data(world, tuple(sizes), pulls, False).items():
        table = _added(nothing, sums, sizes, pulls, n, False)
        each = [_best({a: _estimate(world, c, table, a) for a in range(world.arms)}, 1) for c in contexts]
        for chosen in itertools.product(*each):
            found.append((tuple(arm for (arm,), _ in chosen), law * math.prod(one for _, one in chosen)))
    return _answers(found)


def successive_rejects(world: World, budget: int) -> dict[Answer, Fraction]:
    """Law of the answers of Successive Rejects in whole pulls; one context, Nmax = 1."""
    k = world.prompts
    parts = [Fraction(1), *(Fraction(1, k + 2 - i) for i in range(2, k))]
    shares = [math.floor(budget * sum(parts[: i + 1]) / sum(parts)) for i in range(k - 1)]
    nothing = tuple(((0,), (0,)) for _ in range(k))
    states = {(tuple(range(k)), nothing): Fraction(1)}
    phase, spent = 0, 0
    while phase < k - 1:
        size = k - phase
        pulls = (shares[phase] - spent) // size
        spent += pulls * size
        phase = max(phase + 1, sum(share - spent < size for share in shares))
        following: dict = defaultdict(Fraction)
        for (active, table), chance in states.items():
            sizes = [int(p in active) for p in range(k)]
            for sums, law in _data(world, tuple(sizes), pulls, False).items():
                new = _added(table, sums, sizes, pulls, 1, False)
                for left, one in _best({a: _estimate(world, 0, new, a) for a in active}, k - phase):
                    following[left, new] += chance * law * one
        states = following
    return _answers((active, chance) for (active, _), chance in states.items())


def missed(world: World, answers: dict[Answer, Fraction], epsilon: Fraction = Fraction(0)) -> Fraction:
    """Probability that in some context the answer falls short of the best value by more than epsilon."""
    values = [world.values(c) for c in range(world.contexts)]
    wrong = Fraction(0)
    for answer, chance in answers.items():
        if any(max(own) - own[arm] > epsilon for own, arm in zip(values, answer, strict=True)):
            wrong += chance
    return wrong


def _rounds(items: int) -> int:
    return max(1, math.ceil(math.log2(items)))


def _data(world: World, sizes: tuple[int, ...], pulls: int, common: bool) -> dict[tuple, Fraction]:
    """Law of the block sums of all prompts after so many pulls each."""
    queries = len(world.grains[0])
    if not common:
        each = [
            _power(_mixed(world, p, size), pulls) if size else {(0,) * world.max_scale: Fraction(1)}
            for p, size in enumerate(sizes)
        ]
        return {
            tuple(sums for sums, _ in one): math.prod(share for _, share in one)
            for one in itertools.product(*(law.items() for law in each))
        }
    joint: dict = defaultdict(Fraction)
    for x in range(queries):
        laws = [
            world.pulls[p, size][x] if size else {(0,) * world.max_scale: Fraction(1)} for p, size in enumerate(sizes)
        ]
        for one in itertools.product(*(law.items() for law in laws)):
            flat = tuple(itertools.chain(*(sums for sums, _ in one)))
            joint[flat] += math.prod(share for _, share in one) / queries
    n = world.max_scale
    return {
        tuple(flat[p * n : p * n + n] for p in range(world.prompts)): share
        for flat, share in _power(tuple(joint.items()), pulls).items()
    }


def _mixed(world: World, prompt: int, size: int) -> tuple[tuple[tuple[int, ...], Fraction], ...]:
    """Law of one pull on a random query."""
    laws, total = world.pulls[prompt, size], defaultdict(Fraction)
    for law in laws:
        for sums, share in law.items():
            total[sums] += share / len(laws)
    return tuple(total.items())


@lru_cache(maxsize=512)
def _power(law: tuple[tuple[tuple[int, ...], Fraction], ...], times: int) -> Law:
    """Law of the sum of independent copies."""
    total: Law = {(0,) * len(law[0][0]): Fraction(1)}
    for _ in range(times):
        more: Law = defaultdict(Fraction)
        for (sums, share), (one, chance) in itertools.product(total.items(), law):
            more[tuple(a + b for a, b in zip(sums, one, strict=True))] += share * chance
        total = more
    return total


def _added(table: tuple, sums: tuple, sizes: list[int], pulls: int, n: int, by_pull: bool) -> tuple:
    """Sums and weights per prompt and scale with a round's data; by pull every pull counts as one block."""
    found = []
    for (total, weight), own, size in zip(table, sums, sizes, strict=True):
        blocks = [size // k for k in range(1, n + 1)]
        share = [Fraction(1, b) if by_pull and b else 1 for b in blocks]
        count = [pulls * (min(b, 1) if by_pull else b) for b in blocks]
        found.append(
            (
                tuple(t + s * f for t, s, f in zip(total, own, share, strict=True)),
                tuple(w + c for w, c in zip(weight, count, strict=True)),
            )
        )
    return tuple(found)


def _estimate(world: World, context: int, table: tuple, arm: int) -> Fraction:
    p, k = divmod(arm, world.max_scale)
    total, weight = table[p]
    return Fraction(total[k]) / (2 * weight[k]) - (k + 1) * world.cost(context, p)


def _kept(world: World, active: tuple, table: tuple) -> list[tuple[tuple, Fraction]]:
    """The better halves of all contexts, and how likely ties fall that way."""
    each = []
    for c, own in enumerate(active):
        score = {a: _estimate(world, c, table, a) for a in own}
        each.append(_best(score, (len(own) + 1) // 2))
    return [
        (tuple(left for left, _ in one), math.prod((share for _, share in one), start=Fraction(1)))
        for one in itertools.product(*each)
    ]


def _best(score: dict[int, Fraction], number: int) -> list[tuple[tuple[int, ...], Fraction]]:
    """The sets that may be the best so many, ties broken uniformly."""
    last = sorted(score.values(), reverse=True)[number - 1]
    above = [a for a, value in score.items() if value > last]
    tied = list(itertools.combinations([a for a, value in score.items() if value == last], number - len(above)))
    return [(tuple(sorted((*above, *some))), Fraction(1, len(tied))) for some in tied]


def _answers(found) -> dict[Answer, Fraction]:
    total: dict[Answer, Fraction] = defaultdict(Fraction)
    for answer, chance in found:
        total[answer] += chance
    assert sum(total.values()) == 1
    return total
