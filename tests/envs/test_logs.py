"""Environments from logs of completions: frequencies by hand, and what a log must not lack."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sim.envs import files
from sim.envs.dataset import Dataset
from sim.envs.logs import Columns, Contexts, from_log

VOTES = pd.DataFrame(
    [
        ("plain", "q1", "Paris", "Paris", 1.0),
        ("plain", "q1", "Lyon", "Paris", 2.0),
        ("plain", "q1", "Paris", "Paris", 3.0),
        ("plain", "q1", "Rome", "Paris", 2.0),
        ("plain", "q2", "none", "7", 1.0),
        ("plain", "q2", "5", "7", 3.0),
        ("steps", "q2", "5", "7", 10.0),
        ("steps", "q1", "Lyon", "Paris", 20.0),
    ],
    columns=["prompt", "query", "answer", "gold", "cost"],
)
SCORES = pd.DataFrame(
    [
        (0, 0, 1.0, 0.5, 3, 3),
        (0, 0, 1.0, 0.5, 3, 3),
        (0, 0, 1.0, 0.25, 3, 3),
        (0, 0, -2.0, 0.5, 4, 3),
        (1, 0, 0.5, 0.5, 4, 3),
    ],
    columns=["prompt", "query", "helpful", "harmless", "answer", "gold"],
)


def made(frame: pd.DataFrame, arguments: dict[str, Any]) -> Dataset:
    columns = Columns(**{key: arguments[key] for key in Columns._fields if key in arguments})
    contexts = Contexts(arguments["objective_weights"], arguments["cost_weights"])
    return from_log(frame, columns, contexts, max_scale=arguments["max_scale"], name=arguments["name"])


def votes(frame: pd.DataFrame = VOTES, **changes: Any) -> Dataset:
    arguments: dict[str, Any] = {
        "name": "capitals",
        "aggregate": ("mv",),
        "objectives": ("answer",),
        "gold": "gold",
        "cost": "cost",
        "objective_weights": np.ones((2, 1)),
        "cost_weights": np.array([0.0, 0.5]),
        "max_scale": 8,
    }
    return made(frame, arguments | changes)


def scores(frame: pd.DataFrame = SCORES, **changes: Any) -> Dataset:
    arguments: dict[str, Any] = {
        "name": "scores",
        "aggregate": ("bon", "mean"),
        "objectives": ("helpful", "harmless"),
        "objective_weights": np.array([[0.5, 0.5]]),
        "cost_weights": np.zeros(1),
        "max_scale": 4,
    }
    return made(frame, arguments | changes)


def test_votes_by_hand() -> None:
    data = votes()
    # Labels in sorted order: q1 has Lyon 0, Paris 1, Rome 2; q2 has 5 0, 7 1 (never given), none 2.
    np.testing.assert_array_equal(
        data.probs, [[[0.25, 0.5, 0.25], [0.5, 0.0, 0.5]], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]
    )
    np.testing.assert_array_equal(data.answers, [1, 1])
    np.testing.assert_array_equal(data.costs, [2.0, 15.0])
    np.testing.assert_array_equal(data.completions, [[4, 2], [1, 1]])
    np.testing.assert_array_equal(data.pair_costs, [[2.0, 2.0], [20.0, 10.0]])
    assert data.values is None
    assert data.prompt_names == ("plain", "steps")
    assert data.provenance["queries"] == ["q1", "q2"]
    assert data.provenance["completions_per_pair"] == [1, 4]


def test_a_right_answer_that_never_came_up_keeps_a_label() -> None:
    frame = pd.DataFrame({"prompt": [0, 0], "query": [0, 0], "answer": [1, 2], "gold": [9, 9], "cost": [1.0, 1.0]})
    data = votes(frame)
    np.testing.assert_array_equal(data.probs, [[[0.5, 0.5, 0.0]]])
    np.testing.assert_array_equal(data.answers, [2])


def test_scores_by_hand() -> None:
    data = scores()
    np.testing.assert_array_equal(data.probs, [[[0.25, 0.25, 0.5]], [[1.0, 0.0, 0.0]]])
    assert data.values is not None
    np.testing.assert_array_equal(data.values[0, 0], [[-2.0, 0.5], [1.0, 0.25], [1.0, 0.5]])
    np.testing.assert_array_equal(data.values[1, 0], [[0.5, 0.5]] * 3)
    np.testing.assert_array_equal(data.costs, [0.0, 0.0])
    assert data.answers is None


def test_a_vote_among_scores_by_hand() -> None:
    data = scores(
        aggregate=("mean", "mv"), objectives=("helpful", "answer"), gold="gold", objective_weights=np.ones((1, 2))
    )
    np.testing.assert_array_equal(data.answers, [0])
    np.testing.assert_array_equal(data.probs, [[[0.25, 0.75]], [[1.0, 0.0]]])
    assert data.values is not None
    np.testing.assert_array_equal(data.values[0, 0], [[-2.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(data.values[1, 0], [[0.5, 1.0], [0.5, 1.0]])


def test_order_of_rows_matters_only_for_numbering() -> None:
    data, other = votes(), votes(VOTES.sample(frac=1.0, random_state=5))
    prompts = [other.prompt_names.index(name) for name in data.prompt_names]
    queries = [other.provenance["queries"].index(name) for name in data.provenance["queries"]]
    assert other.answers is not None
    np.testing.assert_array_equal(data.probs, other.probs[np.ix_(prompts, queries)])
    np.testing.assert_array_equal(data.answers, other.answers[queries])
    np.testing.assert_array_equal(data.costs, other.costs[prompts])


def test_a_log_of_a_known_world_gives_that_world() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(128, np.full(5, 0.2), (3, 4))
    gold = rng.integers(5, size=4)
    rows = [
        (p, x, m, gold[x]) for p, x in np.ndindex(3, 4) for m in rng.permutation(np.repeat(np.arange(5), counts[p, x]))
    ]
    data = votes(pd.DataFrame(rows, columns=["prompt", "query", "answer", "gold"]), cost=None, cost_weights=np.zeros(2))
    np.testing.assert_array_equal(data.probs, counts / 128)
    np.testing.assert_array_equal(data.answers, gold)


def test_numbers_and_text_name_the_same_answers(tmp_path: Path) -> None:
    numbers = pd.DataFrame({"prompt": 0, "query": [0, 0, 1], "answer": [3, 4, 5], "gold": [3.0, 3.0, 5.0], "cost": 1.0})
    np.testing.assert_array_equal(votes(numbers).answers, [0, 0])
    np.testing.assert_array_equal(votes(numbers).probs, [[[0.5, 0.5], [1.0, 0.0]]])
    mixed = numbers.astype({"answer": str, "gold": int})
    np.testing.assert_array_equal(votes(mixed).probs, votes(numbers).probs)
    VOTES.to_csv(tmp_path / "log.csv", index=False)
    data = votes(pd.read_csv(tmp_path / "log.csv"))
    np.testing.assert_array_equal(data.probs, votes().probs)
    files.save(data, tmp_path / "world.npz")
    np.testing.assert_array_equal(files.load(tmp_path / "world.npz").probs, data.probs)
    data.environment()


@pytest.mark.parametrize(
    ("frame", "changes", "problem"),
    [
        (VOTES[:0], {}, "the log is empty"),
        (VOTES[:7], {}, "prompt 'steps' has no completion for query 'q1'; every pair needs one"),
        (VOTES.drop(columns="answer"), {}, "no column 'answer'; it has prompt, query, gold, cost"),
        (VOTES.replace("Rome", None), {}, "column 'answer' is empty in row 4"),
        (VOTES.replace(20.0, np.nan), {}, "column 'cost' is empty in row 8"),
        (VOTES.replace(20.0, np.inf), {}, "column 'cost' holds 'inf' in row 8; finite numbers are needed"),
        (VOTES.replace(20.0, -60.0), {}, "costs is negative"),
        (VOTES, {"gold": None}, "needs the column of the right answers"),
        (VOTES, {"gold": "answer"}, "query 'q1' has several right answers"),
        (VOTES, {"cost": None}, "no cost column is named"),
        (VOTES, {"cost": "answer"}, "column 'answer' holds 'Paris' in row 1"),
        (VOTES, {"aggregate": ("vote",)}, "aggregate holds 'vote'; allowed are mv, bon, mean"),
        (VOTES, {"aggregate": ("bon",)}, "gold names the column 'gold', but no objective is voted on"),
        (VOTES, {"aggregate": ("bon",), "gold": None}, "column 'answer' holds 'Paris' in row 1; finite numbers"),
        (VOTES, {"aggregate": ("mv", "bon")}, "1 objective columns for 2 aggregates"),
        (VOTES, {"max_scale": 0}, "max_scale is 0"),
        (VOTES, {"objective_weights": np.ones((2, 2))}, "objective_weights has shape (2, 2); expected (2, 1)"),
        (pd.concat([VOTES, VOTES[["gold"]]], axis=1), {}, "two columns of the same name"),
    ],
)
def test_what_is_wrong_is_named(frame: pd.DataFrame, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=r"^capitals: ") as caught:
        votes(frame, **changes)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truth_value_among_numbers_is_an_answer_of_its_own() -> None:
    """Seen to end in a traceback of the decimal module: True is a number to Python, "True" none."""
    log = VOTES.astype(object).assign(answer=[True, 1, "True", 1.0, 5, 5, 5, "5"], gold=[1, 1, 1, 1, 5, 5, 5, 1])
    data = votes(log)
    np.testing.assert_array_equal(data.probs[0, 0], [0.5, 0.0, 0.5])  # 1 and 1.0; 5; True and "True"
    np.testing.assert_array_equal(data.answers, [0, 0])
