"""Hard environments: each pushes one part of the structure to its limit, and says what it is meant to break.

All are fixed, finite and their own query law (nothing is held out), so that exact values are the truth that answers
are scored by. Numbers that are not written out come from a generator with a fixed seed.
"""

from dataclasses import replace

import numpy as np

from sim.envs.dataset import Dataset
from sim.envs.families import scored, voted


def deceptive() -> Dataset:
    """Majority vote of up to 32: in every context the best arm's prompt is the worst of all 16 by single answers.

    Breaks screening at N = 1 for every K < 16, and all that judges prompts by single answers. The good prompt is right
    with probability .6 everywhere; decoys are right with .95 on a share of the queries and with .3 on the others, so
    that they earn .61 to .72 alone and less when they vote.
    """
    share = np.linspace(0.478, 0.64, 15)  # of easy queries
    easy = np.arange(100)[None, :] < np.round(100 * share)[:, None]
    success = np.vstack([np.full((1, 100), 0.6), np.where(easy, 0.95, 0.3)])
    return voted("deceptive", success, max_scale=32, cost_weights=(0.0, 0.1, 0.2), costs=0.01, kind="hard")


def query_noise() -> Dataset:
    """Majority vote of up to 16 where what a completion says depends on the query alone, but for one in a hundred.

    Breaks reuse of pulls: a prompt solves a query or it does not, and 16 completions of a query say hardly more than
    one, so that large pulls are wasted. Prompts solve 50 to 69 of 100 queries; which ones, is drawn at random.
    """
    rng = np.random.default_rng(20260811)
    solved = np.zeros((20, 100), bool)
    for prompt, number in enumerate(range(50, 70)):
        solved[prompt, rng.permutation(100)[:number]] = True
    success = np.where(solved, 0.99, 0.01)
    return voted("query-noise", success, max_scale=16, cost_weights=(0.0, 0.2), costs=0.01, kind="hard")


def heavy_tails() -> Dataset:
    """Best of up to 32 where rare jackpots of 100 among scores of 0 to 1 decide.

    Breaks estimates from few pulls: the best prompt has the worst ordinary scores, and nine in ten runs of uniform
    sampling with 1,000 completions never see its jackpot. Breaks bounds by the range of rewards, a hundred times
    the usual scores, and screening.
    """
    prompts = 20
    typical = np.linspace(0.2, 0.8, prompts)
    jackpot = np.full(prompts, 0.0002)
    jackpot[0] = 0.002
    probs = np.stack([(1 - jackpot) * (1 - typical), (1 - jackpot) * typical, jackpot], axis=1)[:, None, :]
    values = np.broadcast_to(np.array([0.0, 1.0, 100.0])[:, None], (prompts, 1, 3, 1))
    return scored("heavy-tails", probs, np.array(values), 32, (0.0, 5.0), 0.01, kind="hard")


def near_ties() -> Dataset:
    """Majority vote of up to 8 where all 32 prompts are within a hundredth of each other at every N.

    Breaks identification error as a measure and every bound by the smallest gap: no budget in reach tells the best
    prompt from the next, and nobody needs to. Success probabilities .600 to .603 in 32 steps.
    """
    success = np.linspace(0.6, 0.603, 32)[:, None]
    return voted("near-ties", success, max_scale=8, cost_weights=(0.0, 1.0), costs=0.02, kind="hard")


def many_prompts() -> Dataset:
    """Majority vote of up to 8 over 256 prompts, of which four are good.

    Breaks whatever must pull every prompt at a large N first: one batch of all prompts at Nmax costs 2,048 completions.
    Most prompts are right with probability .3 to .55, the four good ones with .66 to .72.
    """
    rng = np.random.default_rng(20260812)
    level = rng.uniform(0.3, 0.55, 256)
    level[rng.permutation(256)[:4]] = (0.66, 0.68, 0.7, 0.72)
    success = np.clip(level[:, None] + rng.uniform(-0.1, 0.1, (256, 60)), 0.02, 0.98)
    return voted("many-prompts", success, max_scale=8, cost_weights=(0.0, 0.5), costs=0.01, kind="hard")


def many_contexts() -> Dataset:
    """Best of up to 16 over two objectives in 132 contexts: 11 weights times 12 costs.

    Breaks algorithms that treat contexts apart, which leave each of them a 132nd of the budget, and elimination that
    keeps a prompt as long as one context wants it: prompts trade one objective for the other, and each is best
    somewhere.
    """
    prompts, levels = 12, np.arange(4) / 3
    angle = np.linspace(0.0, 1.0, prompts)
    first, second = (_level_law(0.15 + 0.6 * np.sqrt(part)) for part in (angle, 1.0 - angle))
    probs = (first[:, :, None] * second[:, None, :]).reshape(prompts, 1, 16)
    grid = np.stack(np.meshgrid(levels, levels, indexing="ij"), axis=-1).reshape(16, 2)
    values = np.broadcast_to(grid, (prompts, 1, 16, 2))
    weight = np.repeat(np.linspace(0.0, 1.0, 11).round(2), 12)
    cost = np.tile(np.concatenate([[0.0], np.geomspace(0.05, 10.0, 11)]), 11)
    costs = np.full(prompts, 0.01)
    objective = np.stack([weight, 1.0 - weight], axis=1)
    return scored("many-contexts", probs, np.array(values), 16, tuple(cost), costs, objective, kind="hard")


def long_scales() -> Dataset:
    """Majority vote of up to 128, with the best N anywhere from 1 to 127.

    Breaks schedules that pull at the largest active scale: as long as a free context keeps (p, 127), every pull of p
    costs 127 completions although dear contexts ask for N = 1. Voting pays slowly: a few prompts are right with
    .54 to .58, and gain still at 127; others earn more alone, right with .9 on some queries and .2 on others, and do
    not gain.
    """
    share = np.linspace(0.56, 0.64, 6)
    easy = np.arange(50)[None, :] < np.round(50 * share)[:, None]
    slow = np.tile(np.linspace(0.54, 0.58, 4)[:, None], (1, 50))
    success = np.vstack([slow, np.where(easy, 0.9, 0.2)])
    cost_weights = (0.0, 0.1, 0.4, 1.0, 10.0)
    return voted("long-scales", success, max_scale=128, cost_weights=cost_weights, costs=0.01, kind="hard")


def uneven_costs() -> Dataset:
    """Best of up to 32 where prompts that succeed more often cost more, up to a hundred times as much a completion.

    Breaks methods that ignore cost when they choose prompts: without cost the dearest prompt is best, where cost
    counts most the cheapest is, and in between others are.
    """
    prompts = 10
    success = np.linspace(0.02, 0.12, prompts)[:, None]
    probs = np.stack([1 - success, success], axis=2)
    values = np.broadcast_to(np.array([0.0, 1.0])[:, None], (prompts, 1, 2, 1))
    costs = np.geomspace(0.0005, 0.05, prompts)
    weights = (0.0, 0.1, 0.4, 1.5, 20.0)
    return scored("uneven-costs", probs, np.array(values), 32, weights, costs, kind="hard")


def random_lengths() -> Dataset:
    """Best of up to 16 where a completion's length is random and paid: short ones of 50 tokens, long ones of 2,000.

    Breaks methods that take the cost of a prompt as known: here it is an objective, the mean length of the completions
    in thousands of tokens, that comes out of the same draws as the score. Long completions succeed four times as often,
    so that the prompts that write many are better and dearer, and in dear contexts the noise of lengths decides. On top
    of it every completion costs a known .01.
    """
    long = np.linspace(0.02, 0.5, 8)
    success = np.array([0.1, 0.4])
    law = np.stack([1 - long, long], axis=1)[:, :, None] * np.stack([1 - success, success], axis=1)[None]
    score, tokens = np.meshgrid([0.0, 1.0], [0.05, 2.0])
    values = np.broadcast_to(np.stack([score, -tokens], axis=2).reshape(4, 2), (8, 1, 4, 2))
    weights = np.stack([np.ones(5), [0.0, 0.05, 0.15, 0.4, 2.0]], axis=1)
    found = scored("random-lengths", law.reshape(8, 1, 4), np.array(values), 16, (1.0,) * 5, 0.01, weights, kind="hard")
    return replace(found, aggregate=("bon", "mean"))


HARD = {
    "deceptive": deceptive,
    "query-noise": query_noise,
    "heavy-tails": heavy_tails,
    "near-ties": near_ties,
    "many-prompts": many_prompts,
    "many-contexts": many_contexts,
    "long-scales": long_scales,
    "uneven-costs": uneven_costs,
    "random-lengths": random_lengths,
}
"""Name -> what builds it; the first paragraph of its docstring says what it is, the second what it breaks."""


def _level_law(mean: np.ndarray) -> np.ndarray:
    """Law (prompt, level) of a binomial score of three trials: levels 0, 1/3, 2/3, 1."""
    mean = mean[:, None]
    ways = np.array([1.0, 3.0, 3.0, 1.0])
    level = np.arange(4)
    return ways * mean**level * (1 - mean) ** (3 - level)
