"""Replays of a record: which budget is enough, and a table with a row per algorithm, budget and context."""

from pathlib import Path

import pandas as pd
import pytest
import tiny_replays
import typer
from helpers import majority
from typer.testing import CliRunner

from sim.envs import files


@pytest.mark.parametrize(
    ("regrets", "expected"),
    [((0.1, 0.1, 0.1), 1), ((0.3, 0.2, 0.1), 2), ((0.1, 0.3, 0.1), 4), ((0.1, 0.1, 0.3), None)],
)
def test_a_budget_is_enough_from_which_on_no_context_has_more(regrets: tuple[float, ...], expected: int | None) -> None:
    """Seen to fail with the first budget that suffices, and with the mean over contexts."""
    rows = [(budget, mean) for budget, mean in zip((1, 2, 4), regrets, strict=True) for mean in (0.0, mean)]
    assert tiny_replays.enough(pd.DataFrame(rows, columns=["budget", "regret_mean"]), 0.2) == expected


def test_the_table_has_every_context_and_the_words_say_what_is_enough(tmp_path: Path) -> None:
    data = majority()
    files.save(data, tmp_path / "world.npz")
    app = typer.Typer()
    app.command()(tiny_replays.main)
    given = ["--out", str(tmp_path), "--algorithm", "random", "--algorithm", "oracle", "--budget", "9", "--trials", "8"]
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 0, found.output
    table = pd.read_csv(tmp_path / "replays.csv")
    assert list(table.columns) == tiny_replays.COLUMNS
    assert len(table) == 2 * len(data.cost_weights)
    assert "random: at most 0.002 in every context at no budget that was tried" in found.output
    assert "oracle: at most 0.002 in every context from T = 9" in found.output
