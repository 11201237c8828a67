"""The defining rule of prompt halving, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import make_spec

from sim.algorithms import PromptHalving
from sim.core import Stats
from sim.kernels import counter, rounds

KEY = counter.from_seed(0)


def test_prompts_are_halved_by_their_best_scale_on_equal_pulls() -> None:
    """Five prompts in two contexts, the second of which pays for completions; pulls of 2, scales to 4, T = 103.

    Rounds share 103 as 34, 34 and 35: 3 pulls of five prompts; 4 of the four that are left in some context; 5 of three.
    Seen to fail with a prompt scored by its first scale.
    """
    value = np.array([[0.1, 0.2, 0.3, 0.9], [0.8, 0.1, 0.1, 0.1], [0.5, 0.6, 0.5, 0.4], [0.2] * 4, [0.1] * 4])
    cost = np.stack([np.zeros(5), np.array([0.3, 0.0, 0.0, 0.0, 0.0])])
    spec, rule = make_spec(5, 4, cost, task=(0, 0)), PromptHalving(pull=2, estimator="plug-in")
    state, pulled, left = rule.init(spec, jnp.int32(103)), [], []

    @jax.jit
    def turn(state):
        ask = rule.allocate(KEY, spec, state)
        blocks = rounds.block_counts(ask, rounds.Pulling.of(rule, spec))
        stats = Stats(jnp.asarray(value[:, None], jnp.float32) * blocks[:, None], blocks)
        return ask, blocks, rule.update(KEY, spec, state, ask, stats)

    while not rule.finished(spec, state):
        ask, blocks, state = turn(state)
        np.testing.assert_array_equal(blocks[0], np.asarray(ask.pulls)[0] * np.array([2, 1, 1, 1]))
        pulled.append(np.where(np.asarray(ask.pulls) > 0, ask.scale, 0).tolist() + np.asarray(ask.pulls).tolist())
        left.append([np.flatnonzero(row).tolist() for row in np.asarray(state.active)])
    assert pulled == [[2] * 5 + [3] * 5, [2, 2, 2, 2, 0, 4, 4, 4, 4, 0], [2, 2, 2, 0, 0, 5, 5, 5, 0, 0]]
    assert left == [[[0, 1, 2], [1, 2, 3]], [[0, 1], [1, 2]], [[0], [1]]]
    policy = rule.recommend(KEY, spec, state)
    assert (policy.prompt.tolist(), policy.scale.tolist()) == ([0, 1], [4, 1])
