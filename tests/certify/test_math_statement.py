"""Statements on MATH: 252 common queries, 25 prompts, 32 completions, as they are said to be."""

from pathlib import Path

import numpy as np
import pytest
from balanced_looks import drawn

from sim.certify import Confidence, certify_all
from sim.envs import files
from theory import exact


@pytest.mark.slow
def test_eps_on_math(math_path: Path) -> None:
    """Three contexts at once, mean of their eps: at most .035 on new queries, twice as much at any time; all hold."""
    data = files.read(math_path)
    evidence, truth = drawn(data, 252, 0, noise=True), exact.values(data)
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
