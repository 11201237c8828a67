"""The defining rule of proven racing, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_spec

from sim.algorithms import ProvenRacing, proven_racing
from sim.core import Stats
from sim.kernels import counter, rounds
from theory import bounds
from theory.problem import Problem, racing_pulls, racing_sizes

KEY = counter.from_seed(0)
VALUE = np.array([[0.1, 0.9], [0.8, 0.1], [0.5, 0.6], [0.2, 0.3], [0.55, 0.5], [0.7, 0.2], [0.2, 0.1]])


def test_contexts_name_the_prompts_that_stay_by_turns() -> None:
    """Seven prompts in two contexts, the second of which pays for completions of three; T = 103, Nmax = 2.

    7, 4 and 2 prompts; S = 1 + 3/7 + 1/2: 53, 76 and 103 completions together. 3 pulls of seven prompts; 76 - 42 pay
    for 4 of four; 103 - 74 for 7 of two. Contexts name 0 and 5, then 1 and 4 (the first alone: 0, 1, 5, 2).
    Seen to fail with the scores of the first context alone.
    """
    cost = np.stack([np.zeros(7), np.array([0.3, 0.3, 0.2, 0, 0, 0, 0])])
    spec, rule = make_spec(7, 2, cost, task=(0, 0)), ProvenRacing()
    state, pulled, left = rule.init(spec, jnp.int32(103)), [], []

    @jax.jit
    def turn(state):
        ask = rule.allocate(KEY, spec, state)
        blocks = rounds.block_counts(ask, rounds.Pulling.of(rule, spec))
        stats = Stats(jnp.asarray(VALUE[:, None], jnp.float32) * blocks[:, None], blocks)
        return ask, rule.update(KEY, spec, state, ask, stats)

    while not rule.finished(spec, state):
        ask, state = turn(state)
        pulled.append(np.asarray(ask.pulls).tolist())
        left.append(np.flatnonzero(state.active).tolist())
    assert pulled == [[3] * 7, [4, 4, 0, 0, 4, 4, 0], [7, 0, 0, 0, 0, 7, 0]]
    assert left == [[0, 1, 4, 5], [0, 5], [0, 5]]
    policy = rule.recommend(KEY, spec, state)
    assert (policy.prompt.tolist(), policy.scale.tolist()) == ([0, 5], [2, 1])
    assert int(state.spent) == 102
    asked, again = turn(state)
    assert int(asked.completions) == 0
    assert all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again[3:]), jax.tree.leaves(state[3:]), strict=True)
    )


def test_a_poor_phase_leaves_its_share_and_never_pulls_some_prompts_alone() -> None:
    """Three prompts in two contexts, T = 4: one pull of each; the last one does not pay for two prompts.

    Seen to fail where the last phase then pulled prompts by lot: estimates would rest on different queries.
    """
    spec, rule = make_spec(3, 1, np.zeros((2, 3)), task=(0, 0)), ProvenRacing()
    state = rule.init(spec, jnp.int32(4))
    first = rule.allocate(KEY, spec, state)
    blocks = rounds.block_counts(first, rounds.Pulling.of(rule, spec))
    state = rule.update(KEY, spec, state, first, Stats(blocks[:, None] * 0.5, blocks))
    assert first.pulls.tolist() == [1, 1, 1]
    assert int(rule.allocate(KEY, spec, state).completions) == 0


@pytest.mark.parametrize(("prompts", "contexts"), [(1, 1), (7, 1), (25, 3)])
def test_theory_knows_the_schedule(prompts: int, contexts: int) -> None:
    """Sizes, and pulls at every budget to 500, of the rule itself. Seen to fail with shares rounded down."""
    problem = Problem(np.zeros((contexts, prompts, 2)), np.ones(contexts), 1.0)
    sizes = proven_racing.phases(prompts, contexts)
    assert racing_sizes(problem) == sizes
    assert len(sizes) == 1 or sizes[-1] >= contexts
    spec, rule = make_spec(prompts, 2, np.zeros((contexts, prompts)), task=(0,) * contexts), ProvenRacing()
    budgets = np.arange(1, 501)
    spent, had = np.zeros(500, int), np.zeros(500, int)
    allocate = jax.jit(jax.vmap(lambda state: rule.allocate(KEY, spec, state)))
    state = jax.vmap(lambda budget: rule.init(spec, budget))(jnp.asarray(budgets, jnp.int32))
    found = []
    for phase, size in enumerate(sizes):
        active = jnp.broadcast_to(jnp.arange(prompts) < size, (500, prompts))
        at = state._replace(phase=jnp.full(500, phase, jnp.int32), spent=jnp.asarray(spent, jnp.int32), active=active)
        asked = allocate(at)
        whole = np.where(np.asarray(asked.scale) == 2, asked.pulls, 0)
        had += whole.min(axis=1, where=np.asarray(active), initial=10**6)
        spent += np.asarray((asked.scale * asked.pulls).sum(axis=1))
        found.append(had.copy())
    rich = found[0] > 0
    assert (spent <= budgets).all()
    for budget, pulls in zip(budgets[rich].tolist(), np.stack(found, axis=1)[rich].tolist(), strict=True):
        assert racing_pulls(problem, budget) == pulls
    assert not any(any(racing_pulls(problem, budget)) for budget in budgets[~rich].tolist())


def test_a_race_that_affords_no_first_pull_is_promised_nothing() -> None:
    """Every comparison then counts as lost."""
    problem = Problem(np.array([[[0.9], [0.1], [0.1], [0.1]]]), np.ones(1), 1.0)
    assert bounds.theorem_f(problem, np.array([[[np.inf], [9.0], [9.0], [9.0]]]), 3) >= 1
