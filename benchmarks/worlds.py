"""The worlds that are timed: MATH-shaped majority voting and best of N with 27 contexts."""

from pathlib import Path

import numpy as np

from sim import envs
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource, fixed, shuffled
from sim.kernels import counter


def voting(path: Path | None) -> NamedSource:
    """The file given, or a world of MATH's shape: 25 prompts, 316 queries, 5 answers, N <= 32, three cost levels."""
    if path is not None:
        return envs.get(path)
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(5, 0.5), (25, 316))
    return fixed(
        Dataset(
            name="math-shaped",
            aggregate=("mv",),
            probs=probs,
            answers=rng.integers(0, 5, 316),
            objective_weights=np.ones((3, 1)),
            cost_weights=np.array([0.1, 0.5, 1.0]),
            costs=rng.uniform(0.002, 0.01, 25),
            max_scale=32,
        )
    )


def best_of_n() -> NamedSource:
    """One world of Synth-Categorical, fixed: 32 prompts, 512 queries, 16 outcomes, 27 contexts, N <= 32."""
    world = envs.get("synth-categorical").source.world(counter.from_seed(0))
    return NamedSource("best-of-n", shuffled(world))
