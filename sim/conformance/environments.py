"""The checks that every environment passes: worlds of its own kind, drawn and split the same way every time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sim import algorithms, instances
from sim.conformance.arena import same
from sim.conformance.checks import Check, Make
from sim.core import Environment, Queries
from sim.engine import runner
from sim.envs.sources import NamedSource

Values = Callable[[NamedSource], np.ndarray]
"""Exact values of an environment, shape (context, prompt, scale): this package does not know how to compute them."""
_BUDGET, _TRIALS = 200, 20


def checks(values: Values) -> tuple[Check, ...]:
    """The checks.

    Args:
        values: computes exact values.
    """

    def _values(make: Make) -> str | None:
        found = values(make())
        if not np.all(np.isfinite(found)):
            return "some exact values are no finite numbers"
        if np.ptp(found, axis=(1, 2)).max() == 0:
            return "all arms have the same value in every context: there is nothing to choose"
        return None

    return (
        Check(
            "worlds",
            "it makes worlds with prompts, queries and contexts",
            "compare with `iapo new environment`; shapes must not depend on what is drawn",
            _worlds,
        ),
        Check(
            "repeats",
            "made twice, it is the same",
            "draw everything in it by a generator with a seed, and nothing by the clock or a global state",
            _repeats,
        ),
        Check(
            "splits",
            "every trial has queries to train and to test on, and they follow from its key",
            "draw by the key that split gets; ids count from 0",
            _splits,
        ),
        Check("values", "its arms have exact values, and they differ", "look at them: iapo values", _values),
        Check(
            "trials",
            "algorithms run on it within their budget, and with the same answers in both loops",
            "pull must draw by the key that it gets, and only by that",
            _trials,
        ),
    )


def _instance(world: NamedSource, number: int) -> tuple[Environment, Queries, Queries]:
    return tuple(instances.instance(world.source, instances.trial_key(0, number)))  # pyright: ignore[reportReturnType]


def _worlds(make: Make) -> str | None:
    world = make()
    spec = runner.spec_of(world.source)
    probs = np.asarray(world.source.context_probs)
    if probs.shape != (spec.num_contexts,) or probs.min() < 0 or abs(probs.sum() - 1) > 1e-5:
        return f"context_probs must be {spec.num_contexts} probabilities that sum to 1; they have shape {probs.shape}"
    drawn = _instance(world, 0)[0]
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(drawn)]
    if shapes != [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(_instance(world, 1)[0])]:
        return "worlds of two trials have different shapes"
    return "it has one arm only" if spec.num_arms < 2 else None


def _repeats(make: Make) -> str | None:
    if not same(make().source, make().source):
        return "two worlds that were made in the same way differ"
    return None


def _splits(make: Make) -> str | None:
    world = make()
    for number in range(3):
        drawn, train, test = _instance(world, number)
        for name, part in (("train", train), ("test", test)):
            ids = np.asarray(part.ids)
            if len(ids) == 0 or ids.min() < 0 or ids.max() >= drawn.num_queries:
                return f"{name} holds {len(ids)} queries, which must lie in 0..{drawn.num_queries - 1}"
        both = set(np.asarray(train.ids).tolist()) & set(np.asarray(test.ids).tolist())
        if both and not np.array_equal(np.sort(np.asarray(train.ids)), np.sort(np.asarray(test.ids))):
            return f"{len(both)} queries are both in train and in test"
        if not same(_instance(world, number)[1:], (train, test)):
            return "two splits of one trial differ"
    return None


def _trials(make: Make) -> str | None:
    rule = algorithms.get("uniform")
    runs = [
        runner.run_trials(make().source, rule, _BUDGET, seed=0, trials=_TRIALS, fused=fused) for fused in (True, False)
    ]
    if runs[0].spent.max() > _BUDGET:
        return f"a run spends {runs[0].spent.max()} completions of {_BUDGET}"
    if not same(*runs):
        return "the loop inside jit and the one that the host calls round by round give different answers"
    drawn, train, _ = _instance(make(), 0)
    scale = jnp.int32(drawn.spec.max_scale)
    pull = drawn.pull(instances.trial_key(0, 0), jnp.int32(0), train.ids[0], scale)
    if not same(pull, drawn.pull(instances.trial_key(0, 0), jnp.int32(0), train.ids[0], scale)):
        return "two pulls with one key differ"
    return None
