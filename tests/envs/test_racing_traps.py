"""Hard environments aimed at mixture racing have the properties that they claim, by exact values and by hand."""

import inspect

import numpy as np
import pytest

from sim import envs
from sim.envs import racing_traps
from sim.kernels import counter
from theory import exact

VOTES = ["off-grid", "vote-turns", "twenty-answers", "two-clusters", "one-percent"]


def free(name: str) -> np.ndarray:
    """Exact values (prompt, scale) of the context without cost."""
    return exact.values(racing_traps.TRAPS[name]())[0]


@pytest.mark.parametrize("name", racing_traps.TRAPS)
def test_each_is_named_and_says_what_it_breaks(name: str) -> None:
    world = envs.get(name)
    assert world.name == name
    assert world.data is not None
    assert world.data.num_queries == len(world.source.split(counter.from_seed(0))[0].ids)  # nothing is held out
    says = inspect.getdoc(racing_traps.TRAPS[name]) or ""
    assert says.split("\n\n")[1].startswith("Breaks ")
    np.testing.assert_array_equal(racing_traps.TRAPS[name]().probs, world.data.probs)
    assert envs.ENVS[name].maker.startswith("racing_traps:")  # pyright: ignore


@pytest.mark.parametrize("name", VOTES)
def test_votes_of_up_to_three_are_worth_what_they_are_by_hand(name: str) -> None:
    """With p right and w the wrong answers: p, p, and p^3 + 3 p^2 (1 - p) + p ((1 - p)^2 - sum of w^2), of three a tie.

    Less the cost, in every context. Seen to fail with ties of three counted as lost, and with costs left out.
    """
    data = racing_traps.TRAPS[name]()
    right, wrong = data.probs[:, :, 0], data.probs[:, :, 1:]
    np.testing.assert_allclose(data.probs.sum(axis=2), 1, atol=1e-12)
    tie = right * ((1 - right) ** 2 - (wrong**2).sum(axis=2))
    three = right**3 + 3 * right**2 * (1 - right) + tie
    reward = np.stack([right.mean(axis=1), right.mean(axis=1), three.mean(axis=1)], axis=1)
    cost = data.cost_weights[:, None, None] * 0.01 * np.arange(1, 4)
    np.testing.assert_allclose(exact.values(data)[:, :, :3], reward[None] - cost, atol=1e-12)


def test_off_grid_laws_lie_near_the_middle() -> None:
    """Every answer has a probability of .18 to .28, and the best prompt gains .28 by 32 votes."""
    data = racing_traps.off_grid()
    assert 0.18 <= data.probs.min() < data.probs.max() <= 0.28
    assert (data.probs == data.probs[:, :1]).all()  # all queries alike
    values = free("off-grid")
    assert (np.diff(values, axis=0) > 0).all()
    assert values[-1, -1] - values[-1, 0] == pytest.approx(0.284, abs=1e-3)


def test_votes_turn() -> None:
    """Prompts are in one order at N = 1 and in the other from 24 on; the first one's value falls from 20 to 64."""
    values = free("vote-turns")
    assert (np.diff(values[:, 0]) < 0).all()
    assert (np.diff(values[:, 23:], axis=0) > 0).all()
    assert values[0, 19] - values[0, 63] > 0.02
    assert (np.diff(values[-1, 19::2]) > 0).all()


def test_among_twenty_answers_a_wrong_one_is_often_ahead() -> None:
    data = racing_traps.twenty_answers()
    assert data.probs.shape[2] == 20
    ahead = (data.probs[:, :, 1:].max(axis=2) > data.probs[:, :, 0]).mean()
    assert 0.25 < ahead < 0.5
    values = free("twenty-answers")
    assert (values[:, 31] - values[:, 0]).max() > 0.45
    assert values[:, 31].max() - values[:, 31].min() > 0.5


def test_clusters_are_solved_by_one_half_of_the_prompts() -> None:
    """Across the halves values on queries are opposed: differences vary more on common queries than on others."""
    data = racing_traps.two_clusters()
    mean = exact.task_moments(data).mean[0]  # (prompt, query, scale)
    for scale in (0, 15):
        correlation = np.corrcoef(mean[:, :, scale])
        np.testing.assert_allclose(correlation[:10, 10:], -1)
        np.testing.assert_allclose(correlation[:10, :10], 1)
    values = free("two-clusters")
    assert values[9].max() == values.max()
    assert values[9].max() - values[19].max() == pytest.approx(0.0265, abs=1e-3)


def test_prompts_differ_on_one_query_in_a_hundred() -> None:
    data = racing_traps.one_percent()
    unlike = (data.probs != data.probs[:1]).any(axis=(0, 2))
    assert unlike.sum() == 3
    assert data.num_queries == 300
    assert len(np.unique(data.probs[:, :3, 0], axis=0)) == 8
    values = free("one-percent")
    assert (values.max(axis=0) - values.min(axis=0) <= 0.0101).all()
    assert (values.max(axis=0) - values.min(axis=0) >= 0.0093).all()


def test_jackpots_decide_at_large_n_and_are_rarely_seen() -> None:
    """E max of N = 1 - z^N + 4 (1 - (1 - r)^N), z the chance of a score of 0 and r that of a jackpot, by hand."""
    data = racing_traps.jackpots()
    zero, rate, scale = data.probs[:, :, :1], data.probs[:, :, 2:], np.arange(1, 33)
    by_hand = (1 - zero**scale + 4 * (1 - (1 - rate) ** scale)).mean(axis=1)
    cost = np.array([0.0, 0.5, 5.0])[:, None, None] * 0.01 * scale
    values = exact.values(data)
    np.testing.assert_allclose(values, by_hand[None] - cost, atol=1e-12)
    prompt, best = exact.best_arms(np.round(values, 12))
    assert (prompt.tolist(), best.tolist()) == ([15, 15, 0], [32, 32, 2])
    assert values[0, :, 0].argmin() == 15
    assert (1 - (1 - rate) ** 4).mean(axis=(1, 2)).max() < 0.04
    assert (1 - (1 - rate) ** 32).mean(axis=(1, 2)).max() > 0.2
