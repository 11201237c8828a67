"""Hard environments aimed at mixture racing: each pushes where what it relies on gives least.

It fits the law of answers by atoms on a grid, extrapolates from small pulls to large N, meets the same queries with all
prompts, and drops prompts for all contexts together (`sim.algorithms.mixture_racing`). All are fixed, finite and their
own query law, as those of `sim.envs.hard`.
"""

import numpy as np

from sim.envs.dataset import Dataset
from sim.envs.families import scored, voted

_COSTS = (0.0, 0.1, 0.5)


def off_grid() -> Dataset:
    """Majority vote of up to 32 between five answers, all nearly equally likely, on every query alike.

    Breaks fits by atoms that are far from the truth: laws near the middle of the simplex are rare on a grid that is
    dense at its corners, and a mixture of corners says that votes gain nothing. The right answer has probability .21 to
    .28, each of the others a quarter of the rest: the best prompt gains .28 by voting.
    """
    right = np.linspace(0.21, 0.28, 16)[:, None, None]
    probs = np.broadcast_to(np.concatenate([right, *[(1 - right) / 4] * 4], axis=2), (16, 40, 5))
    return _vote("off-grid", probs, max_scale=32)


def vote_turns() -> Dataset:
    """Majority vote of up to 64 between four answers, where what wins a small vote loses a large one, or the reverse.

    Breaks extrapolation from small pulls. On some queries the right answer leads narrowly (.38 to .34) and gains at
    every N; on the others it is second (.33 to .38) and beats the two rare answers first, then loses to the one ahead.
    Prompts with a large share of the former earn less alone, by a handicap on easy queries: all twelve are in one order
    at N = 1, and in the reverse order from N = 24 on.
    """
    turns = np.linspace(0.1, 0.9, 12)  # share of queries on which the right answer leads
    queries = np.arange(60)
    easy = queries >= 40
    leads = queries[None, :] < np.round(40 * turns)[:, None]
    narrow, second = np.array([0.38, 0.34, 0.14, 0.14]), np.array([0.33, 0.38, 0.145, 0.145])
    clear = 0.9 - 0.35 * turns
    sure = np.stack([clear, *[(1 - clear) / 3] * 3], axis=1)
    probs = np.where(easy[None, :, None], sure[:, None], np.where(leads[:, :, None], narrow, second))
    return _vote("vote-turns", probs, max_scale=64)


def twenty_answers() -> Dataset:
    """Majority vote of up to 32 between twenty answers.

    Breaks estimates that know a pull by its tally: with twenty answers there are so many that pulls must be small. The
    right answer has .1 to .3 of the probability, the wrong ones the rest in random proportions, one query unlike the
    next: some wrong answer is often ahead.
    """
    rng = np.random.default_rng(20261130)
    level = np.linspace(0.12, 0.27, 16)
    right = np.clip(level[:, None] + rng.uniform(-0.08, 0.08, (16, 60)), 0.02, 0.4)
    wrong = rng.dirichlet(np.full(19, 0.7), (16, 60)) * (1 - right)[:, :, None]
    return _vote("twenty-answers", np.concatenate([right[:, :, None], wrong], axis=2), max_scale=32)


def two_clusters() -> Dataset:
    """Majority vote of up to 16 on queries of two kinds, each solved by half of the prompts.

    Breaks common queries: a prompt that solves one kind is compared with one that solves the other, and their
    differences vary more on the same queries than on different ones. Prompts are right with .6 to .7 on the queries of
    their kind, 26 or 24 of 50, and with .4 on the others.
    """
    first = np.arange(50) < 26
    strong = np.linspace(0.6, 0.7, 10)[:, None]
    success = np.vstack([np.where(first, strong, 0.4), np.where(first, 0.4, strong)])
    return voted("two-clusters", success, max_scale=16, cost_weights=_COSTS, costs=0.01, kind="hard")


def one_percent() -> Dataset:
    """Majority vote of up to 8 where prompts differ on 1 % of the queries and nowhere else.

    Breaks whatever meets a part of the queries only: on 297 of 300 all sixteen prompts are alike, and the rest of them
    is worth a hundredth in all. Two prompts each are right with .97 on the same of the other three queries and with
    .03 on the rest.
    """
    rng = np.random.default_rng(20261201)
    success = np.broadcast_to(rng.uniform(0.3, 0.9, 300), (16, 300)).copy()
    pattern = (np.arange(16)[:, None] >> np.arange(3)) & 1
    success[:, :3] = np.where(pattern == 1, 0.97, 0.03)
    return voted("one-percent", success, max_scale=8, cost_weights=(0.0, 0.5), costs=0.01, kind="hard")


def jackpots() -> Dataset:
    """Best of up to 32 where the top score is as rare as one in a hundred completions, and on some queries only.

    Breaks small pulls, and cuts by what they show: the prompts with the worst ordinary scores have the most jackpots,
    five times as large, on a third of the queries. A pull of four shows one with probability .04 at most, and at N = 32
    they decide; in the dearest context ordinary scores do.
    """
    prompts = 16
    typical = np.linspace(0.75, 0.3, prompts)[:, None]
    rate = np.linspace(0.001, 0.03, prompts)[:, None] * (np.arange(30)[None] % 3 == 0)
    probs = np.stack([(1 - rate) * (1 - typical), (1 - rate) * typical, rate], axis=2)
    values = np.broadcast_to(np.array([0.0, 1.0, 5.0])[:, None], (prompts, 30, 3, 1))
    return scored("jackpots", probs, np.array(values), 32, (0.0, 0.5, 5.0), 0.01, kind="hard")


TRAPS = {
    "off-grid": off_grid,
    "vote-turns": vote_turns,
    "twenty-answers": twenty_answers,
    "two-clusters": two_clusters,
    "one-percent": one_percent,
    "jackpots": jackpots,
}
"""Name -> what builds it; the first paragraph of its docstring says what it is, the second what it breaks."""


def _vote(name: str, probs: np.ndarray, max_scale: int) -> Dataset:
    """Majority vote between any number of answers, 0 the right one, in three contexts of rising cost."""
    return Dataset(
        name=name,
        aggregate=("mv",),
        probs=np.array(probs),
        answers=np.zeros(probs.shape[1], int),
        objective_weights=np.ones((len(_COSTS), 1)),
        cost_weights=np.array(_COSTS),
        costs=np.full(len(probs), 0.01),
        max_scale=max_scale,
        provenance={"hard": name},
    )
