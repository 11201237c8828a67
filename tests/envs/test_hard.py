"""Hard environments have the properties that they claim, by exact values."""

import inspect

import numpy as np
import pytest

from sim import envs
from sim.envs import hard
from sim.kernels import counter
from theory import agnostic, exact


def best(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and N of the best arm of every context, the smallest N where several are."""
    return exact.best_arms(np.round(values, 12))


@pytest.mark.parametrize("name", hard.HARD)
def test_each_is_named_and_says_what_it_breaks(name: str):
    world = envs.get(name)
    assert world.name == name
    assert world.data is not None
    assert world.data.num_queries == len(world.source.split(counter.from_seed(0))[0].ids)  # nothing is held out
    says = inspect.getdoc(hard.HARD[name]) or ""
    assert says.split("\n\n")[1].startswith("Breaks ")
    again = hard.HARD[name]()
    np.testing.assert_array_equal(again.probs, world.data.probs)


def test_deceptive_at_every_k():
    """Whatever K < |P|, exact screening at N = 1 drops the prompt of the best arm, in every context."""
    values = exact.values(hard.deceptive())
    prompt, _ = best(values)
    assert prompt.tolist() == [0, 0, 0]
    single = values[:, :, 0]
    assert (single[:, 0] < single[:, 1:].min(axis=1)).all()
    without = values[:, 1:].max(axis=(1, 2))
    assert (values[:, 0].max(axis=1) - without > 0.09).all()  # what every screening loses
    assert (agnostic.losses(values).tuned > 0.09).all()


def test_query_noise_dominates():
    """The share of the between-query variance is at least .95 at every N: a pull is worth hardly more than a sample."""
    moments = exact.task_moments(hard.query_noise())
    mean, within = moments.mean[0], moments.variance[0]  # (prompt, query, scale)
    between = mean.var(axis=1)
    assert (between / (between + within.mean(axis=1)) > 0.95).all()
    assert hard.query_noise().max_scale == 16


def test_jackpots_decide_and_are_rarely_seen():
    data = hard.heavy_tails()
    values = exact.values(data)
    prompt, scale = best(values)
    assert prompt.tolist() == [0, 0]
    assert scale.tolist() == [32, 32]
    typical = data.probs[:, 0, 1] / data.probs[:, 0, :2].sum(axis=1)
    assert typical.argmin() == 0
    assert (values[:, 0, 0] < np.sort(values[:, :, 0], axis=1)[:, 10]).all()  # by single answers not in the better half
    unseen = (1 - data.probs[0, 0, 2]) ** (1000 // data.num_prompts)
    assert 0.9 < unseen < 0.91
    scores = data.values
    assert scores is not None
    assert scores.max() == 100 * np.unique(scores)[1]


def test_near_ties():
    values = exact.values(hard.near_ties())
    by_scale = np.sort(values, axis=1)
    assert (by_scale[:, -1] - by_scale[:, 0]).max() < 0.01
    of_prompts = np.sort(values.max(axis=2), axis=1)
    assert ((of_prompts[:, -1] - of_prompts[:, -2]) < 3e-4).all()
    assert ((of_prompts[:, -1] - of_prompts[:, -2]) > 0).all()


def test_hundreds_of_prompts_few_good():
    data = hard.many_prompts()
    values = exact.values(data).max(axis=2)
    assert data.num_prompts == 256
    assert data.num_prompts * data.max_scale == 2048
    top = np.sort(values, axis=1)
    assert (top[:, -4:].min(axis=1) - top[:, -5] > 0.09).all()
    assert (top[:, -1] - top[:, -2] > 0.015).all()


def test_more_than_a_hundred_contexts_of_which_every_prompt_has_one():
    data = hard.many_contexts()
    prompt, scale = best(exact.values(data))
    assert data.num_contexts == 132
    assert set(prompt.tolist()) == set(range(12))
    assert len(set(zip(prompt.tolist(), scale.tolist(), strict=True))) > 60


def test_scales_up_to_128():
    values = exact.values(hard.long_scales())
    prompt, scale = best(values)
    assert values.shape[2] == 128
    assert scale.tolist()[0] == 127
    assert scale.tolist()[-1] == 1
    assert (np.diff(scale) <= 0).all()
    assert values[0, prompt[0], 126] - values[0, prompt[0], 63] > 0.05  # still gains beyond 64
    assert values[0, prompt[0], 0] < values[0, :, 0].max()


def test_costs_decide_which_prompt_is_best():
    data = hard.uneven_costs()
    prompt, _ = best(exact.values(data))
    assert data.costs.max() / data.costs.min() == pytest.approx(100)
    assert prompt[0] == data.costs.argmax()
    assert prompt[-1] == data.costs.argmin()
    assert (np.diff(prompt) < 0).all()


def test_lengths_are_paid_as_they_come():
    """By hand: 1 - (1 - s)^N - w (.05 + 1.95 l) - .01 N with s = .1 + .3 l, l the share of long completions."""
    data = hard.random_lengths()
    values = exact.values(data)
    long, scale, weight = np.linspace(0.02, 0.5, 8), np.arange(1, 17), np.array([0.0, 0.05, 0.15, 0.4, 2.0])
    score = 1 - (0.9 - 0.3 * long[:, None]) ** scale
    length = 0.05 + 1.95 * long[:, None]
    np.testing.assert_allclose(values, score - weight[:, None, None] * length - 0.01 * scale, atol=1e-12)
    prompt, _ = best(values)
    assert prompt[0] == 7
    assert prompt[-1] == 0
    assert (np.diff(prompt) <= 0).all()
