"""Best arms by weighting and cost: each with its value, and its lead over the best of the prompt that comes next."""

import numpy as np
import pandas as pd
import pytest
import tiny_notes

from sim import Columns, Contexts, from_log
from sim.envs.dataset import Dataset


@pytest.fixture
def world() -> Dataset:
    """Long texts have the first objective, .8 and 1, and short ones the second, .9 or 1 by query; two completions."""
    rows = [
        (prompt, query, *scores, cost)
        for query in range(12)
        for prompt, cost, both in (
            ("short", 1, [(0.0, 0.9 + 0.1 * (query % 2))] * 2),
            ("long", 2, [(0.8, 0.0), (1.0, 0.0)]),
        )
        for scores in both
    ]
    frame = pd.DataFrame(rows, columns=["prompt", "query", "first", "second", "cost"])
    columns = Columns(("first", "second"), ("bon", "bon"), cost="cost")
    weights = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    return from_log(frame, columns, Contexts(weights, np.array([0.0, 0.1, 0.0])), max_scale=2)


def test_the_best_arm_and_its_lead_are_those_worked_out_by_hand(world: Dataset) -> None:
    """Seen to fail with the next prompt at the N of the best one, and with scales that count from 0."""
    table = tiny_notes.best(world)
    assert list(table.columns) == tiny_notes.COLUMNS
    arms = ["prompt", "scale", "next", "next_scale"]
    assert table[arms].to_numpy().tolist() == [
        ["long", 2, "short", 1],
        ["long", 1, "short", 1],
        ["short", 1, "long", 2],
    ]
    np.testing.assert_allclose(table["value"], [0.9, 0.81 - 0.2, 0.9 * 0.95])
    np.testing.assert_allclose(table["lead"], [0.9 - 0.095, 0.61 - (0.095 - 0.1), 0.855 - 0.1])
    assert (table["lead_low"] < table["lead"]).all()
    assert (table["lead"] < table["lead_high"]).all()


def test_the_grid_has_a_row_per_weighting_and_a_column_per_cost(world: Dataset) -> None:
    lines = tiny_notes.grid(tiny_notes.best(world)[:2]).splitlines()
    assert lines[0] == "| weight of coverage | 0 a token | 0.1 a token |"
    assert len(lines) == 3
    assert lines[2].startswith("| 0.9 | **long 2** 0.900 (")
    assert "; +0.805 (" in lines[2]
    assert "over short 1 | **long 1** 0.610 (" in lines[2]
