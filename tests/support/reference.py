"""A second opinion in plain NumPy, written from the paper and SPEC independently of `sim`, of which it imports nothing.

`PSST` follows one run round by round on completions that the caller supplies (a tape). `psst_numpy` runs whole trials
on a majority-vote world, hand-vectorised: slow to read, as fast as NumPy allows, the other side of the benchmark.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

UNIT_BITS = 16


@dataclass(frozen=True)
class Problem:
    """Contexts c weigh task t(c) by factor[c] and pay cost[c, p] per completion; gold answers have label 0.

    Rewards of a block are rounded to their task's `unit`, estimated values to their context's `grid`, as documented in
    `sim`.
    """

    aggregate: tuple[str, ...]
    weights: np.ndarray  # (task, objective)
    task: tuple[int, ...]
    factor: np.ndarray  # (context,)
    cost: np.ndarray  # (context, prompt)
    max_scale: int
    unit: float | np.ndarray
    tie: str = "uniform"
    grid: np.ndarray | None = None

    @property
    def num_prompts(self) -> int:
        return self.cost.shape[1]


def halving_rounds(num_items: int) -> int:
    """Rounds of keeping the better half, rounded up, until one item is left; at least one round."""
    rounds = 0
    while num_items > 1:
        num_items = (num_items + 1) // 2
        rounds += 1
    return max(rounds, 1)


def allowances(budget: int, rounds: int) -> list[int]:
    """Completions per round: after r rounds floor(r T / R) may have been spent."""
    ends = [budget * r // rounds for r in range(rounds + 1)]
    return [after - before for before, after in pairwise(ends)]


def equal_pulls(allowance: int, largest: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and number of pulls of every prompt.

    Equally many pulls of each; where not even one of each fits, one pull each in the given order for as long as they
    fit, and what is then left for a shortened pull of the next.
    """
    together = int(largest.sum())
    if allowance >= together:
        return largest, np.where(largest > 0, allowance // max(together, 1), 0)
    scale = np.zeros_like(largest)
    for p in order:
        scale[p] = min(largest[p], allowance)
        allowance -= scale[p]
    return scale, (scale > 0).astype(int)


def majority_credit(labels: np.ndarray, tie: str) -> float:
    """Credit of label 0 by majority vote over one block."""
    answers, votes = np.unique(labels, return_counts=True)
    leaders = answers[votes == votes.max()]
    if 0 not in leaders:
        return 0.0
    if tie == "half" and len(leaders) > 1:
        return 0.5
    return 1.0 / len(leaders)


def task_reward(problem: Problem, block: np.ndarray) -> np.ndarray:
    """Reward of every task for one block, a row per completion; cost left out."""
    columns = {how: [k for k, a in enumerate(problem.aggregate) if a == how] for how in ("mv", "bon", "mean")}
    reward = np.zeros(len(problem.weights))
    for k in columns["mv"]:
        reward += problem.weights[:, k] * majority_credit(block[:, k], problem.tie)
    if columns["bon"]:
        reward += (block[:, columns["bon"]] @ problem.weights[:, columns["bon"]].T).max(axis=0)
    for k in columns["mean"]:
        reward += problem.weights[:, k] * block[:, k].mean()
    return reward


def block_sums(problem: Problem, completions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (task, scale) of rewards over the disjoint blocks of one pull, and numbers of blocks (scale,)."""
    totals, counts = np.zeros((len(problem.weights), problem.max_scale)), np.zeros(problem.max_scale)
    for k in range(1, len(completions) + 1):
        for j in range(len(completions) // k):
            reward = task_reward(problem, completions[j * k : (j + 1) * k])
            totals[:, k - 1] += np.floor(reward / problem.unit + 0.5) * problem.unit
            counts[k - 1] += 1
    return totals, counts


class PSST:
    """One run, ties by index: a stable sort of the previous order, at first by prompt, then scale."""

    def __init__(self, problem: Problem, budget: int, rule: str = "hard", fresh: bool = False) -> None:
        self.problem, self.budget, self.rule, self.fresh = problem, budget, rule, fresh
        arms = [(p, n) for p in range(problem.num_prompts) for n in range(1, problem.max_scale + 1)]
        self.order = [list(arms) for _ in problem.task]
        self.rounds = halving_rounds(len(arms))
        self.round, self.spent = 0, 0
        self._forget()

    def _forget(self) -> None:
        shape = (self.problem.num_prompts, self.problem.max_scale)
        self.total, self.blocks = np.zeros((len(self.problem.weights), *shape)), np.zeros(shape)

    def largest(self) -> np.ndarray:
        """Per prompt its largest scale that is active in any context, 0 for none."""
        largest = np.zeros(self.problem.num_prompts, int)
        for order in self.order:
            for p, n in order:
                largest[p] = max(largest[p], n)
        return largest

    def allowance(self) -> int:
        """Completions that this round may spend."""
        if self.rule == "hard":
            return allowances(self.budget, self.rounds)[self.round]
        return self.budget // self.rounds

    def allocate(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale and pulls per prompt; `order` says whose turn it is in a round too poor for one pull of each."""
        largest = self.largest()
        if self.rule == "hard":
            return equal_pulls(self.allowance(), largest, order)
        each = max(self.allowance() // int(largest.sum()), 1)
        return largest, np.where(largest > 0, each, 0)

    def update(self, pulls: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Take in the completions of every pull of every prompt; answers with this round's statistics.

        Returns:
            Sums (prompt, task, scale) and block counts (prompt, scale) of this round.
        """
        if self.fresh:
            self._forget()
        total = np.zeros((len(pulls), len(self.problem.weights), self.problem.max_scale))
        blocks = np.zeros((len(pulls), self.problem.max_scale))
        for p, completions in enumerate(pulls):
            for pull in completions:
                sums, counts = block_sums(self.problem, pull)
                total[p] += sums
                blocks[p] += counts
                self.spent += len(pull)
        self.total += np.moveaxis(total, 0, 1)
        self.blocks += blocks
        for c, order in enumerate(self.order):
            order.sort(key=lambda arm, c=c: -self.value(c, *arm))
            del order[(len(order) + 1) // 2 :]
        self.round += 1
        return total, blocks

    def value(self, context: int, prompt: int, scale: int) -> float:
        """Estimated value, a mean over all blocks less the cost; -inf for an arm never pulled."""
        blocks = self.blocks[prompt, scale - 1]
        if blocks == 0:
            return -np.inf
        assert self.problem.grid is not None
        step = self.problem.grid[context]
        mean = self.total[self.problem.task[context], prompt, scale - 1] / blocks
        reward = np.round(mean * self.problem.factor[context] / step)
        return float(reward - np.round(scale * self.problem.cost[context, prompt] / step)) * step

    def active(self) -> np.ndarray:
        """Mask of the active arms, (context, prompt * scale)."""
        mask = np.zeros((len(self.order), self.problem.num_prompts * self.problem.max_scale), bool)
        for c, order in enumerate(self.order):
            mask[c, [p * self.problem.max_scale + n - 1 for p, n in order]] = True
        return mask

    def policy(self) -> list[tuple[int, int]]:
        """The first arm left in every context."""
        return [order[0] for order in self.order]


def psst_numpy(
    probs: np.ndarray, cost: np.ndarray, weight: np.ndarray, max_scale: int, budget: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """One trial of PSST on a majority-vote world: hard budget, stockpiled, ties at random, 1/t credit.

    Args:
        probs: answer probabilities on the training queries, (prompt, query, answer), the right answer first.
        cost: utility that one completion costs, (context, prompt).
        weight: weight of the vote's credit, (context,).
        max_scale: Nmax.
        budget: T.
        rng: randomness.

    Returns:
        Prompt and scale per context, and the completions spent.
    """
    num_prompts, num_contexts = len(probs), len(weight)
    below = np.cumsum(probs[..., :-1], axis=2, dtype=np.float32)
    scales = np.arange(1, max_scale + 1)
    costs = (cost[:, :, None] * scales).reshape(num_contexts, -1)
    arms = np.tile(np.arange(num_prompts * max_scale), (num_contexts, 1))  # active ones
    total, blocks = np.zeros((2, num_prompts, max_scale))
    spent = 0
    for allowance in allowances(budget, halving_rounds(num_prompts * max_scale)):
        anywhere = np.zeros((num_prompts, max_scale), bool)
        anywhere.ravel()[arms] = True
        largest = (anywhere * scales).max(axis=1)
        size, pulls = equal_pulls(allowance, largest, rng.permutation(num_prompts))
        if (cost_now := int(size @ pulls)) > 0:
            spent += cost_now
            _pull(below, size, pulls, anywhere.any(axis=0), total, blocks, rng)
        seen = blocks.ravel()[arms]
        mean = total.ravel()[arms] / np.maximum(seen, 1)
        score = np.where(seen > 0, weight[:, None] * mean - np.take_along_axis(costs, arms, axis=1), -np.inf)
        best = np.lexsort((rng.random(score.shape), -score))[:, : (arms.shape[1] + 1) // 2]
        arms = np.take_along_axis(arms, best, axis=1)
    return arms[:, 0] // max_scale, arms[:, 0] % max_scale + 1, spent


def _pull(below: np.ndarray, size: np.ndarray, pulls: np.ndarray, wanted: np.ndarray, *state: Any) -> None:
    """Draw all pulls of a round at once and add their block credits of the wanted scales to `total` and `blocks`."""
    total, blocks, rng = state
    by_size = np.argsort(-size, kind="stable")
    by_size = by_size[size[by_size] * pulls[by_size] > 0]
    prompt = np.repeat(by_size, pulls[by_size])
    length = size[prompt]
    query = rng.integers(below.shape[1], size=len(prompt))
    width = int(length[0])
    words = rng.random((width, len(prompt)), dtype=np.float32)
    label = np.zeros(words.shape, np.int8)
    for m in range(below.shape[2]):
        label += words >= below[prompt, query, m]
    votes = np.zeros((below.shape[2] + 1, width + 1, len(prompt)), np.int16)
    answers = np.arange(len(votes), dtype=np.int8)[:, None, None]
    np.cumsum(label == answers, axis=1, dtype=np.int16, out=votes[:, 1:])
    kept = np.flatnonzero(wanted[:width]) + 1
    per_scale = width // kept
    ends = np.concatenate([np.arange(1, n + 1) * k for k, n in zip(kept, per_scale, strict=True)])
    cast = votes[:, ends] - votes[:, ends - np.repeat(kept, per_scale)]
    gold, others = cast[0], cast[1:]
    best = others.max(axis=0)
    credit = (gold > best).astype(np.float32)
    level = np.nonzero(gold == best)
    credit[level] = 1.0 / (1.0 + (others[:, *level] == gold[level]).sum(axis=0))
    credit[ends[:, None] > length] = 0.0
    credit = np.add.reduceat(credit, np.cumsum(per_scale) - per_scale, axis=0)
    credit = np.add.reduceat(credit, np.cumsum(pulls[by_size]) - pulls[by_size], axis=1)
    total[by_size[:, None], kept - 1] += credit.T
    blocks[by_size[:, None], kept - 1] += (pulls[by_size] * (size[by_size] // kept[:, None])).T
