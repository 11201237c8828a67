"""Joint law of two scales' estimates from one pull: they share completions, so that their difference varies less."""

import itertools

import numpy as np
from jaxtyping import Float64, Int

from sim.constants import GOLD
from sim.envs.dataset import Dataset
from theory.blocks.law import Law, law_of_data
from theory.exact import query_law

MAX_TAPES = 1 << 16
"""Completion sequences that are enumerated: outcomes ** Nmax, times queries."""

DifferenceLaw = tuple[np.ndarray, np.ndarray]
"""Values and their probabilities."""


def difference_laws(
    data: Dataset, task: int, ids: Int[np.ndarray, " id"] | None, prompt: int, best: int
) -> dict[tuple[int, int], DifferenceLaw] | None:
    """Law of mean(blocks of scale `best`) - mean(blocks of scale k) in one pull, by (pull size, k).

    On a random query and before the context's factor; pull sizes from max(best, k) to Nmax. None where there are too
    many sequences of completions to enumerate.

    Args:
        data: a finite environment whose strategy has one aggregate.
        task: whose rewards.
        ids: the queries of the split; all queries when None.
        prompt: the prompt pulled.
        best: a scale.
    """
    law, weight = law_of_data(data), query_law(data, ids)
    kept = np.flatnonzero(weight)
    used = np.flatnonzero((law.probs[prompt, kept] > 0).any(axis=0))
    if len(used) ** law.max_scale * len(kept) > MAX_TAPES:
        return None
    tapes = np.array(list(itertools.product(range(len(used)), repeat=law.max_scale)))
    probs = law.probs[prompt][kept][:, used]
    chance = (weight[kept, None] * (probs / probs.sum(axis=1, keepdims=True))[:, tapes].prod(axis=2)).ravel()
    rewards = _rewards(law, task, prompt, kept, used)[:, tapes]
    found = {}
    for pull in range(best, law.max_scale + 1):
        own = _block_mean(law, task, rewards, pull, best)
        for scale in range(1, pull + 1):
            if scale != best:
                difference = (own - _block_mean(law, task, rewards, pull, scale)).ravel()
                size = max(float(np.abs(difference).max()), np.finfo(float).tiny)  # equal but for rounding: one value
                values, place = np.unique((difference / size).round(12) * size, return_inverse=True)
                found[pull, scale] = values, np.bincount(np.ravel(place), chance)
    return found


def _rewards(law: Law, task: int, prompt: int, queries: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Score or answer label of every outcome (query, outcome)."""
    how = law.used[0]
    if how != "mv":
        return np.broadcast_to(law.scores(how)[task], law.probs.shape)[prompt][queries][:, outcomes]
    if law.values is None:
        return np.broadcast_to(outcomes, (len(queries), len(outcomes)))
    labels = np.broadcast_to(law.values[..., law.columns(how)[0]], law.probs.shape)
    return labels[prompt][queries][:, outcomes]


def _block_mean(law: Law, task: int, rewards: np.ndarray, pull: int, scale: int) -> Float64[np.ndarray, "query tape"]:
    """Mean reward of the disjoint blocks of one scale in the first `pull` completions."""
    blocks = rewards[..., : pull // scale * scale].reshape(*rewards.shape[:2], -1, scale)
    how = law.used[0]
    if how == "bon":
        return blocks.max(axis=-1).mean(axis=-1)
    if how == "mean":
        return blocks.mean(axis=-1).mean(axis=-1)
    votes = [(blocks == label).sum(axis=-1) for label in np.unique(rewards) if label != GOLD]
    gold = (blocks == GOLD).sum(axis=-1)
    most = np.max([gold, *votes], axis=0)
    tied = 1 + np.sum([other == gold for other in votes], axis=0)
    share = 1 / tied if law.tie == "uniform" else np.where(tied > 1, 0.5, 1.0)
    credit = np.where((gold == most) & (gold > 0), share, 0.0)
    return law.weights[task, law.columns(how)[0]] * credit.mean(axis=-1)
