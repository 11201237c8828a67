"""The agnostic proposition against every tape of small worlds, and the losses against hand-worked numbers."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sim.envs import families
from sim.envs.continuous import ContinuousWorld
from sim.envs.dataset import Dataset
from theory import agnostic, exact
from theory.truth import finite


def tape_points(data: Dataset, context: int, scale: int) -> np.ndarray:
    """(R_IA, R) of every tape that can occur, straight from the definitions."""
    points = []
    weights, cost = data.objective_weights[context], data.cost_weights[context] * data.costs
    for p, x in itertools.product(range(data.num_prompts), range(data.num_queries)):
        outcomes = np.flatnonzero(data.probs[p, x] > 0)
        for tape in itertools.product(outcomes, repeat=scale):
            mean, reward, best = 0.0, 0.0, np.zeros(scale)
            for k, how in enumerate(data.aggregate):
                rows = np.array(tape) if data.values is None else data.values[p, x, list(tape), k]
                if how == "mv":
                    labels, votes = np.unique(rows, return_counts=True)
                    top = labels[votes == votes.max()]
                    gold = data.answers[x]
                    tied = 1 / len(top) if data.tie == "uniform" else (1.0 if len(top) == 1 else 0.5)
                    reward += weights[k] * (tied if gold in top else 0.0)
                    mean += weights[k] * (rows == gold).mean()
                else:
                    mean += weights[k] * rows.mean()
                    reward += weights[k] * rows.mean() if how == "mean" else 0.0
                    best = best + weights[k] * rows if how == "bon" else best
            points.append((mean - cost[p], reward + best.max() - scale * cost[p]))
    return np.array(points)


def is_rising_line(points: np.ndarray) -> bool:
    """Whether the points (a, u) lie on one line of positive slope."""
    low, high = points[points[:, 0].argmin()], points[points[:, 0].argmax()]
    if high[0] - low[0] < 1e-12:
        return bool(np.ptp(points[:, 1]) < 1e-9)
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return bool(slope > 0 and np.abs(points[:, 1] - low[1] - slope * (points[:, 0] - low[0])).max() < 1e-9)


def random_world(rng: np.random.Generator) -> Dataset:
    """Two prompts, one or two queries, three outcomes, often degenerate so that both answers occur."""
    aggregate = tuple(rng.permutation(["mv", "bon", "mean"])[: rng.integers(1, 4)].tolist())
    queries = int(rng.integers(1, 3))
    probs = rng.dirichlet(np.ones(3), (2, queries))
    for row in probs.reshape(-1, 3)[rng.random(2 * queries) < 0.6]:
        row[:] = np.eye(3)[rng.integers(3)]
    columns = [
        rng.integers(0, 3, (2, queries, 3)) if how == "mv" else rng.choice([0.0, 0.5, 1.0], (2, queries, 3))
        for how in aggregate
    ]
    return Dataset(
        name="random",
        aggregate=aggregate,
        probs=probs,
        objective_weights=rng.choice([0.0, 0.5, 1.0], (1, len(aggregate))),
        cost_weights=rng.choice([0.0, 0.3], 1),
        costs=rng.choice([0.5, 1.0], 2),
        max_scale=3,
        values=np.stack(columns, axis=-1).astype(np.float64),
        answers=rng.integers(0, 3, queries) if "mv" in aggregate else None,
        tie=str(rng.choice(["uniform", "half"])),
    )


def test_checker_agrees_with_every_tape() -> None:
    rng = np.random.default_rng(5)
    seen = {True: 0, False: 0}
    for _ in range(120):
        data = random_world(rng)
        for scale in (1, 2, 3):
            found = agnostic.affinity(data, 0, scale)
            points = tape_points(data, 0, scale)
            assert found.affine == is_rising_line(points), (data, scale, found)
            if found.affine:
                np.testing.assert_allclose(points[:, 1], found.slope * points[:, 0] + found.intercept, atol=1e-9)
            seen[found.affine] += 1
    assert min(seen.values()) > 50


def affine_scales(data: Dataset, context: int) -> list[int]:
    """The scales at which prompts may be chosen alone."""
    return [n for n, found in enumerate(agnostic.affinities(data, context), start=1) if found.affine]


def test_three_cases() -> None:
    vote, best = families.crossover(), families.bon_two_scales()
    assert affine_scales(vote, 0) == [1, 2]
    assert affine_scales(best, 0) == [1]
    mean = replace(best, aggregate=("mean",))
    assert affine_scales(mean, 0) == affine_scales(mean, 1) == [1, 2]
    dear = replace(mean, costs=np.array([1.0, 2.0, 1.0, 1.0]))
    assert affine_scales(dear, 0) == [1, 2]  # its cost weight is 0
    assert affine_scales(dear, 1) == [1]
    assert "differ in cost" in agnostic.affinity(dear, 1, 2).reason
    assert "mix on query 0 under prompt 0" in agnostic.affinity(vote, 0, 3).reason


def test_affine_strategies_lose_nothing_on_prompts() -> None:
    rng = np.random.default_rng(6)
    for _ in range(50):
        data = random_world(rng)
        found = agnostic.losses(exact.values(data))
        assert (found.fixed >= -1e-12).all()
        for scale in affine_scales(data, 0):
            assert found.fixed[0, scale - 1] == pytest.approx(0, abs=1e-9)


def test_loss_of_the_crossover_example() -> None:
    """Prompt 0 is right with .40 and .90, prompt 1 with .62: .65 against .62 alone, .63 against .77 by ten votes."""
    values = exact.values(families.crossover())
    found = agnostic.losses(values)
    assert found.prompt.tolist() == [0]
    np.testing.assert_allclose(agnostic.agnostic_values(values)[0], [0.65, 0.62])
    assert values[0, :, 9].round(2).tolist() == [0.63, 0.77]
    assert found.best[0] == values[0, 1, 9]
    assert found.fixed[0, 9] == pytest.approx(values[0, 1, 9] - values[0, 0, 9])
    assert found.fixed[0, 0] == 0
    assert found.single[0] == pytest.approx(values[0, 1, 9] - 0.65)
    assert found.tuned[0] == pytest.approx(values[0, 1, 9] - values[0, 0].max())


def test_tied_prompts_and_scales_are_drawn_at_random() -> None:
    values = np.array([[[0.5, 0.7], [0.5, 0.3]]])
    found = agnostic.losses(values)
    np.testing.assert_allclose(found.fixed, [[0.0, 0.2]])
    np.testing.assert_allclose(found.tuned, [0.7 - (0.7 + 0.5) / 2])
    test = np.array([[[0.1, 0.2], [0.3, 0.9]]])
    np.testing.assert_allclose(agnostic.losses(test, train=values).tuned, [0.9 - (0.2 + 0.3) / 2])


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="contexts 0 to 0 and scales 1 to 10"):
        agnostic.affinity(families.crossover(), 1, 1)


def test_worlds_of_other_types_are_asked_for_their_tables() -> None:
    """By the register of `theory.truth.finite`. Seen to fail where any world but a Dataset counts as tables."""

    class Own(ContinuousWorld):
        pass

    own = object.__new__(Own)
    with pytest.raises(ValueError, match="a Own has no tables, by which alone this is decided"):
        agnostic.affinity(own, 0, 3)
    tables = families.crossover().environment()
    finite.register(Own)(lambda world: tables)
    assert agnostic.affinities(own, 0) == agnostic.affinities(tables, 0)
