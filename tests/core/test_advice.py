"""Advice by logs: evidence from frequencies, what money buys, contexts by worth, what to record next."""

import re
from dataclasses import replace

import numpy as np
import pytest

from sim import Dataset
from sim.advice import Advice, advise, at_worth, best, evidence_of_sample, in_sentences, next_steps, purchases
from sim.certify.intervals import of_evidence
from theory.samples import sample_task_values, sample_values


def votes(queries: int = 12, uneven: bool = False, costs: tuple[float, float] = (0.002, 0.001)) -> Dataset:
    """Two prompts with three answers; four completions of each query, or two to four."""
    rng = np.random.default_rng(0)
    completions = rng.integers(2, 5, (2, queries)) if uneven else np.full((2, queries), 4)
    chances = np.array([[0.6, 0.2, 0.2], [0.4, 0.5, 0.1]])
    counts = np.array([[rng.multinomial(n, of) for n in own] for of, own in zip(chances, completions, strict=True)])
    return Dataset(
        name="log",
        aggregate=("mv",),
        probs=counts / completions[..., None],
        answers=rng.integers(0, 2, queries),
        objective_weights=np.array([[1.0], [2.0]]),
        cost_weights=np.array([0.0, 50.0]),
        costs=np.array(costs),
        max_scale=6,
        completions=completions,
        prompt_names=("check", "direct"),
        context_names=("free", "dear"),
    )


def test_intervals_of_evidence_are_those_of_a_log_and_need_ten_queries():
    """With bounds and known costs; arms that met nine queries have a mean alone, those of unbounded scores no ends."""
    data = votes()
    evidence = evidence_of_sample(data)
    found, expected = of_evidence(evidence), sample_values(data)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[..., :4], other[..., :4], atol=2**-14)  # rewards are whole units
    met = np.arange(12) < np.array([12, 9])[:, None]
    rewards = np.where(met[None, :, :, None], evidence.rewards, np.nan)
    short = of_evidence(replace(evidence, rewards=rewards, completions=np.where(met, evidence.completions, 0)))
    assert np.isnan(short.low[:, 1]).all()
    np.testing.assert_allclose(short.value[0, 1, 0], rewards[0, 1, :9, 0].mean(), rtol=1e-12)
    np.testing.assert_array_equal(short.low[:, 0], found.low[:, 0])


def scores() -> Dataset:
    """A vote and a score far from zero, of which the best counts; every completion an outcome of its own."""
    rng = np.random.default_rng(1)
    values = np.stack([rng.integers(0, 3, (2, 10, 4)), 1000 + rng.normal(size=(2, 10, 4))], axis=3)
    return Dataset(
        name="scores",
        aggregate=("mv", "bon"),
        probs=np.full((2, 10, 4), 0.25),
        values=values.astype(float),
        answers=np.zeros(10, int),
        objective_weights=np.array([[1.0, 0.5], [0.0, 1.0]]),
        cost_weights=np.zeros(2),
        costs=np.zeros(2),
        max_scale=3,
        completions=np.full((2, 10), 4),
    )


@pytest.mark.parametrize("data", [votes(), votes(uneven=True), scores()], ids=["votes", "uneven", "scores"])
def test_evidence_is_that_of_all_subsets(data: Dataset) -> None:
    """Query by query as theory counts it. Seen to fail with labels in their own order, right answers not first."""
    found, rewards = evidence_of_sample(data), sample_task_values(data)
    top = found.max_scale
    assert top == min(4, data.max_scale)
    for c, context in enumerate(found.contexts):
        free = replace(found, contexts=(context._replace(cost_weight=0.0),)).utilities(0)
        scale = context.weight if "bon" not in data.aggregate else np.abs(data.objective_weights[c]).sum()
        np.testing.assert_allclose(free, scale * rewards[context.task][..., :top], atol=2e-3 * scale, rtol=1e-6)
    np.testing.assert_array_equal(found.completions, data.completions)


def test_the_best_arm_is_that_of_unbiased_values() -> None:
    data = votes()
    for c, advice in enumerate(advise(evidence_of_sample(data))):
        value = np.where(np.isfinite(own := sample_values(data).value[c]), own, -np.inf)
        assert value[advice.prompt, advice.scale - 1] == pytest.approx(value.max(), abs=1e-6)
        assert advice.statement is not None
        assert advice.statement.confidence.together == 2
        assert advice.cost == pytest.approx(data.costs[advice.prompt] * advice.scale)


def test_arms_that_few_queries_have_are_not_chosen() -> None:
    """Two prompts, right always at N = 3 on the one query with so many completions. Seen to fail without the mask."""
    data = votes(uneven=True)
    found = evidence_of_sample(data)
    rewards = found.rewards.copy()
    rewards[..., 3] = np.where(np.isfinite(rewards[..., 3]), 9.0, np.nan)
    assert best(replace(found, rewards=rewards, bounds=None), 0)[1] < 4


def test_money_buys_arms_on_a_hull() -> None:
    """By hand: .5 for 1, .9 for 3, .95 for 8; .6 for 2 lies below. Seen to fail with costs in the place of prices."""
    found = evidence_of_sample(votes(costs=(1.0, 4.0)))
    rewards = np.empty((1, 2, 12, 4))
    rewards[:] = np.array([[0.5, 0.6, 0.9, 0.9], [0.8, 0.95, 0.95, 0.9]])[:, None]
    bought = purchases(replace(found, rewards=rewards, residuals=None), 0)
    assert [one[:3] for one in bought] == [(0, 1, 1.0), (0, 3, 3.0), (1, 2, 8.0)]
    assert np.isnan(bought[0].price)
    np.testing.assert_allclose([one.price for one in bought[1:]], [5.0, 100.0])


@pytest.mark.parametrize("worth", [0.0005, 0.004, 0.02, 10.0])
def test_the_last_purchase_that_is_worth_its_price_is_the_best_arm(worth: float) -> None:
    data = replace(votes(), objective_weights=np.ones((2, 1)))
    found = evidence_of_sample(at_worth(data, worth))
    assert [one.name for one in found.contexts] == [f"worth {worth:g}"]
    paid = [one for one in purchases(found, 0) if not one.price > worth]
    assert paid[-1][:2] == best(found, 0)


def test_worth_counts_prices_of_units() -> None:
    """Costs in tokens at .6 a million are costs in money. Seen to fail where the pairs' costs stayed tokens."""
    data = votes(costs=(2e6, 1e6))
    tokens = replace(data, pair_costs=np.tile(data.costs[:, None], (1, 12)) * np.linspace(0.5, 1.5, 12))
    made = at_worth(tokens, 5.0, 0.6e-6)
    np.testing.assert_allclose(made.costs, [1.2, 0.6])
    np.testing.assert_allclose(made.pair_costs.mean(axis=1), [1.2, 0.6])
    assert made.cost_weights.tolist() == [0.2, 0.2]
    assert made.context_names == ("worth 5 0", "worth 5 1")


@pytest.mark.parametrize(
    ("worth", "price", "costs", "said"),
    [
        (0.0, 1.0, (1.0, 1.0), "worth is 0.0"),
        (1.0, -1.0, (1.0, 1.0), "price is -1.0"),
        (1.0, 1.0, (0.0, 0.0), "log: completions cost nothing"),
    ],
)
def test_worth_is_refused(worth: float, price: float, costs: tuple[float, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        at_worth(votes(costs=costs), worth, price)


def test_laws_that_are_given_are_no_log() -> None:
    with pytest.raises(ValueError, match="log: is no log"):
        evidence_of_sample(replace(votes(), completions=None))
    with pytest.raises(ValueError, match="log: probs are no frequencies"):
        evidence_of_sample(replace(votes(), completions=np.full((2, 12), 3)))


def steps(data: Dataset, target: float = 0.02) -> tuple[Advice, list[str]]:
    found = evidence_of_sample(data)
    advice = advise(found, target=target)[0]
    return advice, next_steps(found, advice, data.prompt_names)


def test_further_queries_are_planned_where_arms_are_not_told_apart() -> None:
    """Completions and costs add up. Seen to fail with costs of one completion a query."""
    data = votes()
    advice, said = steps(data)
    assert advice.outlook is not None
    assert said[0].startswith("To bring eps to .02, record ")
    money = float(advice.outlook.queries @ (4 * data.costs))
    assert f"which cost {money:.3g})" in said[0]


def test_nothing_more_is_needed_where_eps_is_small() -> None:
    """The better prompt is right always and the other never; N = 1 is best, for all N are alike."""
    data = votes()
    probs = np.zeros_like(data.probs)
    probs[0, range(12), data.answers] = probs[1, range(12), (data.answers + 1) % 3] = 1.0
    advice, said = steps(replace(data, probs=probs))
    assert (advice.prompt, advice.scale) == (0, 1)
    assert said == []


def test_the_largest_n_asks_for_more() -> None:
    """The best of four beats that of three; not where three is what was asked about. Seen to fail without a look."""
    data = replace(
        scores(), objective_weights=np.array([[0.0, 1.0]]), cost_weights=np.zeros(1), prompt_names=("a", "b")
    )
    advice, said = steps(replace(data, max_scale=4))
    assert advice.scale == 4
    assert said[-1].startswith(f"N = 4 is the largest that `{'ab'[advice.prompt]}` was recorded for: record 8 ")
    advice, said = steps(data)
    assert advice.scale == 3
    assert not any("largest" in one for one in said)


def test_few_queries_get_no_statement() -> None:
    advice, said = steps(votes(queries=9))
    assert advice.statement is None
    assert len(said) == 1
    assert re.fullmatch(r"Nothing can be said yet: `\w+` with N = \d has met 9 queries; below 10 .*\.", said[0])


def test_arms_with_few_common_queries_are_named() -> None:
    """N = 4 on two queries alone: no eps, but one unless such an arm is best; no plan."""
    found = evidence_of_sample(votes())
    completions = np.where(np.arange(12) < 2, 4, 3)[None].repeat(2, axis=0)
    rewards = np.where(np.arange(4) < completions[..., None], found.rewards, np.nan)
    advice = advise(replace(found, rewards=rewards, completions=completions, residuals=None), [(0, 3), (0, 3)])[0]
    assert advice.statement is not None
    assert np.isinf(advice.statement.eps)
    first, second, *rest = in_sentences(found, advice, ("check", "direct"))
    assert "is expected to bring" not in first
    most = advice.statement.most[np.isfinite(advice.statement.most)].max()
    bound = re.fullmatch(
        r"Fewer than 10 queries in common: `check`, N = 4; `direct`, N = 4. Unless one of these is best, no arm is "
        r"better by more than (\.\d\d). To know, record them on the queries of `check`.",
        second,
    )
    assert bound
    assert most <= float(bound[1]) <= most + 0.01
    assert rest == []


def test_what_is_extrapolated_gets_no_statement() -> None:
    """Chosen with N = 6 of four completions: the statement is that of the prompt's best N that was measured."""
    data = votes()
    found = evidence_of_sample(data)
    advice, other = advise(found, [(1, 6), (0, 2)])
    assert advice.statement is not None
    assert (advice.scale, advice.statement.scale) == (6, best(found, 0, 1)[1])
    assert advice.statement.prompt == 1
    first, second, *_ = in_sentences(found, advice, data.prompt_names, "$")
    assert first == (
        "Chosen: `direct` with N = 6; it gets no statement, as N is above the completions of every pair. By what was "
        "measured:"
    )
    assert second.startswith(f"Use `direct` with N = {advice.statement.scale} at $0.00")
    assert other.refusal == ""
