"""Statements on MATH: 252 common queries, 25 prompts, 32 completions, as they are said to be."""

from pathlib import Path

import numpy as np
import pytest

from sim.certify import Confidence, QueryEvidence, certify_all, evidence_of
from sim.envs import files
from theory import exact


def drawn(path: Path, seed: int, queries: int, noise: bool) -> tuple[QueryEvidence, np.ndarray]:
    """Evidence from so many queries drawn independently, and the exact values of all arms."""
    data = files.read(path)
    world, (probs, _), rng = data.environment(), data.gold_first(), np.random.default_rng(seed)
    ids = rng.integers(0, data.num_queries, queries)
    below = np.cumsum(probs[:, ids], axis=2)[:, :, None, :-1]
    labels = (rng.random((data.num_prompts, queries, 32, 1)) > below).sum(axis=3)
    evidence = evidence_of(
        world.strategy,
        world.spec,
        labels[..., None].astype(np.float32),
        np.full(labels.shape[:2], 32),
        data.costs,
        data.cost_weights,
        data.context_names,
        noise=noise,
        bounds=np.array([[0.0, 1.0]]),
    )
    return evidence, exact.values(data)


@pytest.mark.slow
def test_eps_on_math(math_path: Path) -> None:
    """Three contexts at once, mean of their eps: at most .035 on new queries, twice as much at any time; all hold."""
    evidence, truth = drawn(math_path, 0, 252, noise=True)
    value = np.stack([np.nanmean(evidence.utilities(context), axis=1) for context in range(3)]).reshape(3, -1)
    prompts, places = np.divmod(value.argmax(axis=1), 32)
    regrets = truth.reshape(3, -1).max(axis=1) - truth[range(3), prompts, places]
    terms = Confidence(), Confidence(grade="anytime", planned=250), Confidence(target="these")
    new, anytime, these = (
        np.array([one.eps for one in certify_all(evidence, prompts, places + 1, one)]) for one in terms
    )
    print(new, anytime, these, regrets)
    assert np.all(regrets <= new)
    assert new.mean() <= 0.035
    assert new.mean() <= anytime.mean() <= 2 * new.mean()
    assert these.mean() < new.mean()
