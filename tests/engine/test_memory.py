"""A large world has fewer lanes and shorter steps, so that memory stays bounded; neither ever shows in results."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_spec

from sim import algorithms, envs
from sim.core import Spec
from sim.engine import runner
from sim.kernels import rounds, tallies
from sim.raw import Rewards

ROOT = Path(__file__).resolve().parents[2]
MOST = 4 * 2**30
"""Bytes in which the largest world runs, all in all."""

LARGE = """
import sys
import numpy as np
from sim import algorithms
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.envs.sources import fixed

prompts, contexts, queries, scales = 1000, 100, 12, 256
rng = np.random.default_rng(0)
probs = rng.dirichlet(np.ones(4), (prompts, queries))
values = np.broadcast_to(rng.random((4, 2)), (prompts, queries, 4, 2))
weights = np.stack([np.linspace(0.1, 1, contexts), np.linspace(1, 0.1, contexts) ** 2], 1)
costs = (np.linspace(0, 0.1, contexts), np.full(prompts, 0.01))
data = Dataset("large", ("bon", "mean"), probs, weights, *costs, scales, values=values)
source, fused = fixed(data, 1.0).source, sys.argv[2] == "fused"
assert runner.spec_of(source).num_tasks == contexts
found = runner.run_trials(source, algorithms.get(sys.argv[1]), 300_000, seed=0, trials=2, fused=fused)
assert (found.spent > 200_000).all()
line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(line.split()[1])
"""


def spec(contexts: int, prompts: int, scales: int, tasks: int) -> Spec:
    return make_spec(prompts, scales, task=tuple(context % tasks for context in range(contexts)))


@pytest.mark.parametrize(
    ("sizes", "lanes"),
    [
        ((4, 32, 32, 4), (64, 64)),  # small: 24 bytes for each of 4 * 32 * 32 values and as many statistics
        ((100, 1000, 32, 1), (13, 13)),  # 2**30 // (24 * (3,200,000 + 32,000))
        ((100, 1000, 256, 100), (1, 1)),  # 1.2 GB a lane
    ],
)
def test_lanes_shrink_with_the_world(sizes: tuple[int, int, int, int], lanes: tuple[int, int]):
    rule, known = algorithms.get("psst"), spec(*sizes)
    for fused, expected in zip((False, True), lanes, strict=True):
        assert runner._sizes(rule, known, 64, None, fused)[1] == expected
        assert runner._sizes(rule, known, 64, 7, fused)[1] == 7, "the user's choice holds"


def test_lanes_make_room_for_the_tallies_of_votes():
    """Those of 1,000 prompts and five answers: 2**30 // (24 * 1,010,000), of which 973 tallies of every prompt.

    Seen to have 64 lanes, 1.6 GB, where completions of a round alone are counted.
    """
    votes = Rewards(("mv",), 5, "uniform", jnp.ones(1, jnp.float32))
    known, rule = replace(spec(1, 1000, 32, 1), rewards=votes), algorithms.get("mixture-racing")
    assert int(tallies.sizes(5, rule.max_pull(known))[-1]) == 973
    for fused in (False, True):
        assert runner._sizes(rule, known, 64, None, fused).lanes == 44


def test_lanes_make_room_for_a_state_of_many_tables():
    """Paired racing keeps block sums of all 64 blocks: 65 tables of 256,000 bytes, and 1,264 bytes beside them.

    2**30 // (6 * (256,000 + 16,641,264)), statistics and state. Seen to have 64 lanes where states are not counted.
    """
    rule, known = algorithms.get("paired-racing:blocks=64,pull=0,estimator=subsets"), spec(1, 1000, 32, 1)
    assert runner._sizes(rule, known, 64, None, True).lanes == 10


def test_no_world_of_the_project_has_fewer_lanes_than_before():
    """Rules that keep what every pull brought aside."""
    for name in envs.ENVS:
        known = runner.spec_of(envs.get(name).source)
        before = 256 if 256 * known.num_contexts * known.num_arms <= 2**21 else 64
        for one in algorithms.ALGORITHMS.keys() - {"until-sure"}:
            assert runner._most_lanes(algorithms.get(one), known) >= before, (name, one)


@pytest.mark.parametrize(
    ("width", "tasks", "rows"),
    [
        (32, 1, 512),
        (32, 5, 220),  # 2**19 // (4 * 5 * 119): 119 blocks of 1 to 32 completions fit a pull of 32
        (256, 100, 64),  # as few as there are
        (256, 300, 33),  # 2**26 // (4 * (300 * 1,466 + 65,536))
    ],
)
def test_steps_shrink_with_the_blocks_of_a_row(width: int, tasks: int, rows: int):
    assert rounds._rows_of_a_step(tasks, rounds.Pulling("independent", "blocks", True, width, width)) == rows


def test_short_steps_change_no_result(monkeypatch: pytest.MonkeyPatch):
    """One row a step; another number of lanes has it compiled anew."""
    source, found = envs.get("bon-two-scales").source, []
    for most in (2**26, 1):
        monkeypatch.setattr(rounds, "ROW_BYTES", most)
        found.append(runner.run_trials(source, algorithms.get("uniform"), 200, seed=1, trials=5, chunk=5 + most % 2))
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"), [("psst", "fused"), ("psst", "apart"), ("uniform", "apart"), ("ucb", "fused")]
)
def test_the_largest_world_runs_in_four_gigabytes(name: str, how: str):
    """|P| = 1,000, |C| = 100 with a task each, N = 256; 64 lanes would take more than 60 GB."""
    command = [sys.executable, "-c", LARGE, name, how]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < MOST


ARMS = """
import sys
import numpy as np
from sim import algorithms
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.envs.sources import fixed

prompts, contexts, scales = 1000, 100, 10
rng = np.random.default_rng(0)
probs, answers = rng.dirichlet(np.full(5, 0.5), (prompts, 100)), rng.integers(0, 5, 100)
costs = (np.linspace(0, 1, contexts), rng.uniform(0.002, 0.01, prompts))
data = Dataset("arms", ("mv",), probs, np.ones((contexts, 1)), *costs, scales, answers=answers)
found = runner.run_trials(fixed(data).source, algorithms.get(sys.argv[1]), 20_000, seed=0, trials=4, fused=True)
assert (found.spent > 10_000).all()
line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(line.split()[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["psst", "uniform", "ucb", "prompt-halving"])
def test_ten_thousand_arms_and_a_hundred_contexts_run_in_two_gigabytes(name: str):
    """|P| = 1,000 and N = 10, with as many lanes as thousands of trials would have."""
    done = subprocess.run(
        [sys.executable, "-c", ARMS, name],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < MOST // 2
