"""PSST against the numbers of the authors' published code on their released MATH environment.

Their code (github.com/IAPO-AAAI25/IAPO-PSST), run on 40 splits, gave policies whose exact values on the test queries,
with 1/t credit for ties, are the figures below. It draws tied credit as 1/2 while training, ranks stably, keeps all
samples and pulls every surviving prompt at least once a round.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers import agrees, given

from sim import algorithms
from sim.engine import runner
from sim.envs.released import read_released
from theory import exact

SPLITS, TRIALS = 40, 50
THEIRS = {1000: (0.7865, 2604), 5000: (0.7907, 4967), 20000: (0.7951, 18922)}
"""Budget -> mean ACR and mean completions spent; standard error of ACR over splits .005."""
TOLERANCE = 0.008
"""On fixed splits the noise left in their means is about .003."""


def authors_split(index: int, size: int, num_train: int) -> tuple[np.ndarray, np.ndarray]:
    """Their `combine_and_resplit`: queries in the order of the file, training ones first, shuffled."""
    order = np.arange(size)
    np.random.default_rng(index).shuffle(order)
    return order[:num_train], order[num_train:]


@pytest.mark.slow
def test_psst_agrees_with_the_authors_code_on_math(math_path: Path) -> None:
    """Mean ACR within .008 at every budget, mean spent within 5 standard errors of their 40 runs.

    One run's spending varies with the number of prompts that survive its rounds; its standard deviation over our runs,
    about 94, 124 and 193 completions, gives 15, 20 and 31 for the standard error of their means. Seen to fail
    with the hard budget rule, which spends 928 completions at T = 1,000.
    """
    data = read_released(math_path)
    assert data.test is not None
    assert np.array_equal(data.test, np.arange(316) >= 252)
    per_query = exact.task_values(data)
    world = dataclasses.replace(data, tie="half")
    algorithm = algorithms.get("psst:budget_rule=reference,ties=index")
    sources, values = [], []
    for index in range(SPLITS):
        train, test = authors_split(index, data.num_queries, 252)
        sources.append(given(world, train, test))
        values.append(exact.values(data, test, per_query))
    contexts = np.arange(data.num_contexts)
    for budget, (acr, spent) in THEIRS.items():
        found = [
            runner.run_trials(source, algorithm, budget, seed=0, trials=TRIALS, first=index * TRIALS)
            for index, source in enumerate(sources)
        ]
        of_split = [
            value[contexts, trials.prompt, trials.scale - 1].mean() for value, trials in zip(values, found, strict=True)
        ]
        cost = np.concatenate([trials.spent for trials in found])
        se = cost.std() * np.sqrt(1 / SPLITS + 1 / len(cost))
        print(
            f"T = {budget}: ACR {np.mean(of_split):.4f}, sem over splits {np.std(of_split, ddof=1) / SPLITS**0.5:.4f}, "
            f"authors {acr}; spent {cost.mean():.0f}, authors {spent}, se of the difference {se:.0f}"
        )
        assert np.mean(of_split) == pytest.approx(acr, abs=TOLERANCE)
        assert agrees(cost.mean(), spent, se)
