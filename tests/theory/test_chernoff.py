"""Exponents of one comparison, against laws by enumeration."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import bernoulli
from scipy import optimize

from sim.envs import families
from sim.envs.dataset import Dataset
from theory import chernoff, exact
from theory.rounding import rounding


def pull_law(data: Dataset, prompt: int, query: int) -> list[tuple[float, np.ndarray]]:
    """(probability, block mean of every scale) of every tape of one pull at Nmax, context 0, from the definitions."""
    found = []
    scores = data.values[prompt, query, :, 0] if data.values is not None else None
    for tape in itertools.product(range(data.probs.shape[2]), repeat=data.max_scale):
        means = []
        for k in range(1, data.max_scale + 1):
            blocks = [tape[i : i + k] for i in range(0, data.max_scale // k * k, k)]
            if scores is None:
                credit = [block.count(0) / k for block in blocks]
                means.append(np.mean([1.0 if c > 0.5 else 0.5 * (c == 0.5) for c in credit]))
            else:
                means.append(np.mean([max(scores[i] for i in block) for block in blocks]))
        found.append((float(np.prod([data.probs[prompt, query, i] for i in tape])), np.array(means)))
    return found


def difference_law(data: Dataset, rival: tuple[int, int], common: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities of D in one pull at Nmax, by enumeration."""
    value = exact.values(data)
    prompt, scale = (int(part[0]) for part in exact.best_arms(value))
    cost = data.cost_weights[0] * data.costs
    shift = rival[1] * cost[rival[0]] - scale * cost[prompt]
    weight = data.query_distribution
    rows = []
    for x, z in itertools.product(range(data.num_queries), repeat=2):
        if rival[0] == prompt or common:
            if x != z:
                continue
            both = float(weight[x])
        else:
            both = float(weight[x] * weight[z])
        for p, own in pull_law(data, prompt, x):
            others = [(1.0, own)] if rival[0] == prompt else pull_law(data, rival[0], z)
            rows += [(both * p * q, own[scale - 1] - other[rival[1] - 1] + shift) for q, other in others]
    chance, values = np.array(rows).T
    return values, chance


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("name", ["bon_query_effects", "mv"])
def test_chernoff_exponents_are_exact(name: str, common: bool) -> None:
    data = families.bon_query_effects()
    if name == "mv":
        data = replace(families.crossover(), max_scale=3, costs=np.array([0.02, 0.03]), cost_weights=np.ones(1))
    found = chernoff.exponents(data, blocks="all", queries="common" if common else "independent")
    arms = [tuple(arm) for arm in np.argwhere(np.isfinite(found.chernoff[0]))]
    assert len(arms) == data.num_prompts * data.max_scale - 1
    for prompt, scale in arms:
        values, chance = difference_law(data, (int(prompt), int(scale) + 1), common)
        assert values @ chance == pytest.approx(found.gap[0, prompt, scale], abs=1e-12)
        if found.gap[0, prompt, scale] < 1e-12:
            assert found.chernoff[0, prompt, scale] == 0
            continue
        best = optimize.minimize_scalar(
            lambda t, v=values, c=chance: np.log(np.exp(-t * v) @ c), bounds=(0, 60), method="bounded"
        )
        exponent = found.chernoff[0, prompt, scale]
        assert exponent <= -best.fun * (1 + 1e-6)
        assert exponent == pytest.approx(-best.fun, rel=5e-4)  # theta is capped
        variance = ((values - values @ chance) ** 2) @ chance
        assert found.bernstein[0, prompt, scale] <= found.gap[0, prompt, scale] ** 2 / (2 * variance) * (1 + 1e-9)


def test_impossible_outcomes_do_not_matter() -> None:
    """Scores 0 and 1e-3, and one of 1e6 that never occurs: as for a vote with the same chances."""
    data = bernoulli([0.6, 0.5])
    scores = np.broadcast_to(np.array([1e-3, 0.0, 1e6])[:, None], (2, 1, 3, 1)).copy()
    probs = np.pad(data.probs, [(0, 0), (0, 0), (0, 1)])
    never = replace(data, aggregate=("bon",), answers=None, values=scores, probs=probs)
    for queries in chernoff.QUERIES:
        found, expected = (chernoff.exponents(one, queries=queries) for one in (never, data))
        for one, other in zip(found[1:], expected[1:], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


def test_one_block_exponents_hold_for_every_pull() -> None:
    data = families.bon_query_effects()
    one, full = (chernoff.exponents(data, blocks=blocks) for blocks in ("one", "all"))
    for low, high in zip(one[1:], full[1:], strict=True):
        assert (low <= high * (1 + 1e-5) + 1e-12).all()


@pytest.mark.parametrize("common", [False, True])
def test_every_exponent_bounds_the_tail(common: bool) -> None:
    """P(mean difference <= 0) by convolution, for 1 to 25 pulls, against each of the three exponents."""
    data = families.bon_query_effects()
    found = chernoff.exponents(data, blocks="all", queries="common" if common else "independent")
    for prompt, scale in ((0, 1), (1, 1), (1, 2), (3, 2)):
        values, chance = difference_law(data, (prompt, scale), common)
        if (prompt, scale) == (0, 2):
            continue
        steps = np.rint(values / 0.01).astype(int)
        np.testing.assert_allclose(steps * 0.01, values, atol=1e-9)
        low = steps.min()
        law = np.bincount(steps - low, chance)
        total = np.ones(1)
        for pulls in range(1, 26):
            total = np.convolve(total, law)
            tail = total[: max(0, -low * pulls + 1)].sum()
            for exponent in found[1:]:
                assert tail <= math.exp(-pulls * exponent[0, prompt, scale - 1]) * (1 + 1e-9)


def test_enumerated_scales_of_a_prompt_beat_cauchy_schwarz(monkeypatch: pytest.MonkeyPatch) -> None:
    data = families.bon_query_effects()
    exact_law = chernoff.exponents(data).chernoff
    monkeypatch.setattr("theory.joint_laws.MAX_TAPES", 0)
    bounded = chernoff.exponents(data).chernoff
    assert (bounded[:, 0] <= exact_law[:, 0]).all()
    assert (bounded[:, 0] < exact_law[:, 0]).any()
    np.testing.assert_array_equal(bounded[:, 1:], exact_law[:, 1:])


@pytest.mark.parametrize("queries", ["independent", "common"])
def test_rounding_makes_up_for_as_much_as_a_cheaper_rival_would(queries: str) -> None:
    """Exponents of what is simulated are those of exact estimates where the best arm costs the slack more."""
    data = families.two_arm()
    slack = rounding(data)[0].width
    dearer = replace(data, cost_weights=np.ones(1), costs=np.array([slack, 0.0]))
    assert 0 < slack < 1e-3
    assert exact.best_arms(exact.values(data))[0] == 0
    found = chernoff.exponents(data, queries=queries, simulated=True)
    expected = chernoff.exponents(dearer, queries=queries)
    plain = chernoff.exponents(data, queries=queries)
    for kind in ("hoeffding", "bernstein", "chernoff"):
        rival = [float(getattr(one, kind)[0, 1, 0]) for one in (found, expected, plain)]
        assert rival[0] == pytest.approx(rival[1], rel=1e-9)
        assert rival[0] < rival[2] * (1 - 1e-7)
