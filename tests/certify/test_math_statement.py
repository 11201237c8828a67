"""Statements on MATH: 252 common queries, 25 prompts, 32 completions, as they are said to be."""

from pathlib import Path

import numpy as np
import pytest

from sim.certify import Confidence, QueryEvidence, certify, evidence_of
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
    """At most .035 on new queries, .06 at any time (twice as wide at most), less on exactly these; all hold."""
    evidence, truth = drawn(math_path, 0, 252, noise=True)
    for context in range(3):
        value = np.nanmean(evidence.utilities(context), axis=1)
        prompt, place = (int(one) for one in np.unravel_index(value.argmax(), value.shape))
        regret = float(truth[context].max() - truth[context, prompt, place])

        def eps(prompt: int = prompt, place: int = place, context: int = context, **terms: object) -> float:
            return certify(evidence, context, prompt, place + 1, Confidence(**terms)).eps

        new, anytime, these = eps(), eps(grade="anytime", planned=250), eps(target="these")
        assert regret <= new <= 0.035
        assert new <= anytime <= 2 * new
        assert these < new
