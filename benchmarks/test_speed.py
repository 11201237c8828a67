"""Wall time of the hot paths under pytest-benchmark; never part of the test suite.

pip install -e .[bench] && pytest benchmarks
"""

import pytest
import worlds

from sim import algorithms
from sim.engine import runner
from theory import exact

TRIALS = 256


@pytest.mark.parametrize("build", [worlds.best_of_n, lambda: worlds.voting(None)], ids=["best-of-n", "voting"])
@pytest.mark.parametrize("name", ["psst", "psst+k4", "uniform", "triple-n1", "ucb", "epsilon-greedy", "softmax"])
def test_trials(benchmark, build, name: str) -> None:
    """256 trials at T = 5,000, after compiling."""
    source, algorithm = build().source, algorithms.get(name)
    runner.warm_up(source, algorithm, TRIALS, fused=True)
    benchmark(runner.run_trials, source, algorithm, 5000, seed=0, trials=TRIALS, fused=True)


def test_exact_values_of_voting(benchmark) -> None:
    """25 prompts, 316 queries, 32 scales, three contexts."""
    benchmark(exact.values, worlds.voting(None).data)
