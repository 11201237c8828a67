"""Mixture racing in plain NumPy and float64, written from its description: the second opinion of its tests.

It imports nothing of `sim`. Completions come from a tape, a function of prompt and place in the order of queries.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import comb, factorial
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Game:
    """What a race knows: objectives, tasks, contexts, costs, and the laws that its mixture has."""

    aggregate: tuple[str, ...]
    num_answers: int
    tie: str
    weights: np.ndarray  # (task, objective)
    task: tuple[int, ...]
    factor: np.ndarray  # (context,)
    cost: np.ndarray  # (context, prompt)
    max_scale: int
    num_queries: int
    laws: np.ndarray  # (law, answer)
    steps: int = 50

    @property
    def num_prompts(self) -> int:
        return self.cost.shape[1]

    def columns(self, how: str) -> list[int]:
        return [k for k, one in enumerate(self.aggregate) if one == how]


class Phase(NamedTuple):
    """A phase: prompts that were raced, completions on a query, queries, and values (context, prompt, scale)."""

    prompts: list[int]
    size: int
    pulls: int
    values: np.ndarray


@dataclass
class Race:
    """A race and what came of it."""

    phases: list[Phase] = field(default_factory=list)
    policy: list[tuple[int, int]] = field(default_factory=list)
    spent: int = 0


def plan(num_prompts: int, budget: int) -> tuple[list[int], list[float]]:
    """Prompts before each cut, and completions that each has had by then."""
    sizes = [num_prompts]
    while sizes[-1] > 2:
        sizes.append(-(-sizes[-1] // 2))
    total = sizes[0] / sizes[0] + sum(k * (1 / k - 1 / before) for before, k in itertools.pairwise(sizes))
    return sizes, [budget / (k * total) for k in sizes]


def layout(wanted: int, size0: int, pulls0: int, width: int, num_queries: int, votes: bool) -> tuple[int, int]:
    """Completions on a query and queries, in the words of the design."""
    size = max(1, round(wanted ** (1 / 3)) if votes else int(wanted**0.5 + 1e-9))
    size = max(size0, min(size, width, wanted))
    pulls = max(pulls0, wanted // size)
    if pulls > num_queries:
        each, cycles = wanted // num_queries, -(-wanted // width)
        ways = [(each, num_queries), (each + 1, wanted // (each + 1))]
        if each >= width:
            ways = [(wanted // cycles, cycles), (width, wanted // width)]
        ways = [way for way in ways if way[0] >= size0 and way[1] >= pulls0]
        if not ways:
            deeper = min(width, wanted // max(pulls0, 1))
            ways = [(deeper, pulls0) if deeper > size0 else (size0, wanted // size0)]
        return max(ways, key=lambda way: way[0] * way[1])
    while size > size0 and pulls * size > wanted:
        size -= 1
        pulls = max(pulls0, wanted // size)
    if pulls * size > wanted:
        size, pulls = size0, wanted // size0
    return size, pulls


def race(game: Game, tape: Callable[[int, int], np.ndarray], budget: int, width: int, seats: int) -> Race:
    """A race that all prompts enter, no two of which have equal values."""
    found, alive = Race(), list(range(game.num_prompts))
    sizes, completions = plan(game.num_prompts, budget)
    size = pulls = 0
    for number, nominal in enumerate(sizes):
        most = size * pulls + (budget - found.spent) // len(alive)
        last = number == len(sizes) - 1
        wanted = most if last else min(int(completions[number] + 1e-6), most)
        if wanted > size * pulls:
            new = layout(wanted, size, pulls, width, game.num_queries, "mv" in game.aggregate)
            if new[0] * new[1] > size * pulls:
                found.spent += len(alive) * (new[0] * new[1] - size * pulls)
                size, pulls = new
        seen = [np.stack([tape(p, j)[:size] for j in range(pulls)]) for p in alive]
        values = np.stack([value(game, p, own) for p, own in zip(alive, seen, strict=True)], axis=1)
        found.phases.append(Phase(list(alive), size, pulls, values))
        if last:
            break
        best = values.max(axis=2)
        seated = {int(p) for own in best for p in np.argsort(-own, kind="stable")[:seats]}
        gap = (best.max(axis=1, keepdims=True) - best).min(axis=0)
        others = [p for p in np.argsort(gap, kind="stable") if p not in seated]
        kept = [*seated, *others][: max(-(-nominal // 2), len(seated))]
        alive = sorted(alive[p] for p in kept)
    for one in values.reshape(len(values), -1):
        place = int(one.argmax())
        found.policy.append((alive[place // game.max_scale], place % game.max_scale + 1))
    return found


def value(game: Game, prompt: int, seen: np.ndarray) -> np.ndarray:
    """Estimated value (context, scale) of a prompt from its pulls, shape (pull, completion, objective)."""
    reward = np.zeros((len(game.weights), game.max_scale))
    for k in game.columns("mv"):
        reward += game.weights[:, k, None] * mixture(game, seen[:, :, k].astype(int))
    if game.columns("bon"):
        columns = game.columns("bon")
        score = seen[:, :, columns] @ game.weights[:, columns].T
        reward += np.stack([best(score[:, :, t], game.max_scale) for t in range(len(game.weights))])
    for k in game.columns("mean"):
        reward += game.weights[:, k, None] * seen[:, :, k].mean()
    scales = np.arange(1, game.max_scale + 1)
    return game.factor[:, None] * reward[list(game.task)] - game.cost[:, prompt, None] * scales


def best(score: np.ndarray, max_scale: int) -> np.ndarray:
    """Expected best of every scale, level by level, from scores of shape (pull, completion)."""
    pulls, size = score.shape
    table = best_table(size, max_scale, 1 << (pulls.bit_length() - 1))
    levels = np.unique(score)
    found = np.full(max_scale, levels[-1])
    for low, high in itertools.pairwise(levels):
        found = found - (high - low) * table[(score <= low).sum(axis=1)].mean(axis=0)
    return found


def best_table(size: int, max_scale: int, pulls: int) -> np.ndarray:
    """Estimate of F^k by how many completions lie below, on 400 nodes of the arcsine law."""
    count, scales = np.arange(size + 1), np.arange(1, max_scale + 1)
    if size >= max_scale:
        return np.array([[comb(j, k) / comb(size, k) for k in scales] for j in count])
    below = (1 - np.cos((np.arange(400) + 0.5) * np.pi / 400))[:, None] / 2
    chance = np.array([comb(size, j) for j in count]) * below**count * (1 - below) ** (size - count)
    wanted = below**scales
    square = (1 - 1 / pulls) * chance.T @ chance + np.diag(chance.sum(axis=0)) / pulls
    table = np.zeros((size + 1, max_scale))
    table[size] = 1
    rest = (chance.T @ wanted - square[:, [size]])[1:size]
    table[1:size] = np.linalg.solve(square[1:size, 1:size], rest) if size > 1 else rest
    return table


def mixture(game: Game, labels: np.ndarray) -> np.ndarray:
    """Expected credit of every scale by EM over the laws; labels of shape (pull, completion)."""
    tallies = Counter(tally(row, game.num_answers) for row in labels)
    chance = np.array([[tally_chance(key, law) for law in game.laws] for key in tallies])
    times = np.array(list(tallies.values()), float)
    weight = np.full(len(game.laws), 1 / len(game.laws))
    for _ in range(game.steps):
        weight = weight * ((times / (chance @ weight)) @ chance) / times.sum()
    return weight @ credits(game)


def tally(labels: np.ndarray, num_answers: int) -> tuple[int, ...]:
    """Right votes, then those of wrong answers, the most voted first."""
    votes = np.bincount(labels, minlength=num_answers)
    return (int(votes[0]), *sorted((int(one) for one in votes[1:]), reverse=True))


def tally_chance(key: tuple[int, ...], law: np.ndarray) -> float:
    """Chance of a tally, whichever wrong answers its parts are for."""
    ways = {(key[0], *rest) for rest in itertools.permutations(key[1:])}
    return sum(multinomial(one, law) for one in ways)


def multinomial(votes: tuple[int, ...], law: np.ndarray) -> float:
    """Chance of these votes."""
    found = float(factorial(sum(votes)))
    for number, chance in zip(votes, law, strict=True):
        found *= chance**number / factorial(number)
    return found


_CREDITS: dict[Any, np.ndarray] = {}


def credits(game: Game) -> np.ndarray:
    """Expected credit of every law and scale, vote by vote."""
    key = (game.num_answers, game.tie, game.max_scale)
    if key not in _CREDITS:
        found = np.zeros((len(game.laws), game.max_scale))
        for votes in itertools.product(range(game.max_scale + 1), repeat=game.num_answers):
            total, most = sum(votes), max(votes)
            if 1 <= total <= game.max_scale and votes[0] == most:
                tied = votes.count(most)
                credit = 1 / tied if game.tie == "uniform" or tied == 1 else 0.5
                found[:, total - 1] += [credit * multinomial(votes, law) for law in game.laws]
        _CREDITS[key] = found
    return _CREDITS[key]
