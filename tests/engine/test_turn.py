"""One body of a round for every loop: the same observations, the same queries met again, the same costs."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from helpers import arena, given, host_trials, same

from sim import algorithms
from sim.core import Spec
from sim.engine import runner
from sim.engine.turn import Observe


def three_ways(algorithm: str, budget: int, trials: int, lanes: int, observe: Observe) -> runner.Trials:
    """Trials fused, call by call and in the host loop, which must all be equal."""
    source, rule = given(arena()), algorithms.get(algorithm)
    numbers: Any = {"seed": 0, "trials": trials, "chunk": lanes, "observe": observe}
    found = [runner.run_trials(source, rule, budget, fused=fused, **numbers) for fused in (True, False)]
    assert same(found[0], found[1])
    assert same(found[0], host_trials(source, rule, budget, 0, trials, observe))
    return found[0]


def steps(spec: Spec, before: Any, after: Any) -> dict[str, Any]:
    """A mark of the round, what it cost, and the best estimate after it."""
    return {"mark": jnp.int32(1), "cost": before.left - after.left, "best": jnp.max(after.value, axis=(1, 2))}


def test_observations_are_the_same_in_every_loop_and_end_with_the_trial() -> None:
    """Runs of unequal length on lanes that are taken over. As many entries as completions: only the budget tells.

    Seen to fail with the rounds of finished trials noted too, and with the state before a round seen after it.
    """
    found = three_ways("ucb", 12, 5, 2, steps)
    mark, cost = found.seen["mark"], found.seen["cost"]
    assert mark.shape == (5, 12)
    assert found.seen["best"].shape == (5, 12, 3)
    lengths = mark.sum(axis=1)
    assert len(set(lengths)) > 1
    np.testing.assert_array_equal(mark, np.arange(12) < lengths[:, None])
    assert (cost[mark == 1] > 0).all()
    np.testing.assert_array_equal(cost.sum(axis=1), found.spent)
    assert not found.seen["best"][mark == 0].any()


def active(spec: Spec, before: Any, after: Any) -> Any:
    """Arms in the running before and after the round."""
    rule = algorithms.get("psst")
    both = [rule.standing(spec, state) for state in (before, after)]
    return [one.active for one in both if one is not None]


def test_a_rule_tells_how_many_rounds_are_observed_and_where_it_stands() -> None:
    """PSST on 16 arms: halved in each of four rounds, and the last arm is the answer. Nothing else changes."""
    found = three_ways("psst", 45, 3, 3, active)
    before, after = found.seen
    assert before.shape == after.shape == (3, 4, 3, 16)
    np.testing.assert_array_equal(before.sum(axis=3), np.broadcast_to([[16], [8], [4], [2]], (3, 4, 3)))
    np.testing.assert_array_equal(before[:, 1:], after[:, :-1])
    np.testing.assert_array_equal(after[:, -1].argmax(axis=2), found.prompt * 4 + found.scale - 1)
    unseen = runner.run_trials(given(arena()), algorithms.get("psst"), 45, seed=0, trials=3, chunk=3, fused=False)
    assert same(found._replace(seen=None), unseen)
