"""`iapo values` of logs: unbiased, with intervals, up to the completions of a pair; commands say what they stand on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import iapo

from sim.cli import common
from sim.envs import files
from sim.envs.dataset import Dataset
from theory import sample_values, values

BASIS = "Stands on 4 completions per (prompt, query) of a log: the plug-in law of a sample, not exact truth"


def log(path: Path, queries: int = 12, max_scale: int = 8) -> Dataset:
    """Two prompts, four completions of each query: "a" is right in three of four, "b" in all on every second query."""
    right = np.array([[3] * queries, [4 * (x % 2) for x in range(queries)]])
    data = Dataset(
        name="four",
        aggregate=("mv",),
        probs=np.stack([right, 4 - right], axis=2) / 4,
        answers=np.zeros(queries, int),
        objective_weights=np.ones((2, 1)),
        cost_weights=np.array([0.0, 0.1]),
        costs=np.ones(2),
        max_scale=max_scale,
        completions=np.full((2, queries), 4),
        prompt_names=("a", "b"),
        context_names=("free", "dear"),
    )
    files.save(data, path)
    return data


def test_values_of_a_log_are_unbiased_and_have_intervals(tmp_path: Path) -> None:
    """Of four votes with three right, all subsets of three have two right. Seen to fail with plug-in values: .8438."""
    data = log(tmp_path / "four.npz")
    result = iapo("values", tmp_path / "four.npz", "--out", tmp_path / "values.csv")
    assert result.exit_code == 0, result.output
    assert "exact values" not in result.stdout.splitlines()[0]
    assert "four: values estimated from a log" in result.stdout
    free, dear = (line.split() for line in result.stdout.splitlines() if line.split()[0] in ("free", "dear"))
    found = sample_values(data)
    assert free[:4] == ["free", "a", "3", "1.0000"]
    assert free[4:7] == [f"{found.low[0, 0, 2]:.4f}", "to", "1.0000"]
    assert dear[:4] == ["dear", "a", "3", "0.7000"]
    for said in (
        "Stands on 4 completions per (prompt, query) of a log, 12 queries: unbiased estimates",
        "Intervals: Student's t over queries",
        "No values at N > 4: a log says nothing beyond the completions of a pair; record more of them",
    ):
        assert said in result.stdout
    table = pd.read_csv(tmp_path / "values.csv")
    assert list(table.columns) == ["context", "prompt", "scale", "value", "low", "high"]
    assert sorted(set(table["scale"])) == [1, 2, 3, 4]
    np.testing.assert_allclose(table["value"], found.value[..., :4].ravel(), atol=1e-12)
    assert values(data)[0, 0, 2] == pytest.approx(0.84375)


def test_values_of_one_context_are_held_against_the_best(tmp_path: Path) -> None:
    data = log(tmp_path / "four.npz")
    lines = iapo("values", tmp_path / "four.npz", "--context", 0).stdout.splitlines()
    first, second = (line for line in lines if line.split()[0] in ("a", "b"))
    assert first.split()[-1] == "-"
    assert second.split()[:4] == ["b", "0.5000", "1", "0.5000"]
    assert " 0.5000 (" in second
    assert iapo("values", tmp_path / "four.npz", "--context", 2).exit_code == common.USER_ERROR
    half = iapo("values", tmp_path / "four.npz", "--tie", "half")
    assert half.exit_code == 0, half.output
    assert np.isnan(sample_values(data).value[..., 4:]).all()


def test_a_log_of_few_queries_has_values_without_intervals(tmp_path: Path) -> None:
    log(tmp_path / "few.npz", queries=9, max_scale=4)
    shown = iapo("values", tmp_path / "few.npz").stdout
    assert "No intervals: 9 queries; at least 10 are needed" in shown
    assert "No values at N" not in shown
    assert "nan" not in shown


@pytest.mark.parametrize(
    "command",
    [("hardness",), ("agnostic",), pytest.param(("plan", "--budget", 16), marks=pytest.mark.slow)],
    ids=lambda command: command[0],
)
def test_commands_say_what_they_stand_on(command: tuple[object, ...], tmp_path: Path) -> None:
    """And nothing where the law is given (of compare: tests/envs/test_log_kinds.py). Seen to fail without the line."""
    log(tmp_path / "four.npz")
    result = iapo(command[0], tmp_path / "four.npz", *command[1:])
    assert result.exit_code == 0, result.output
    assert BASIS in result.stdout.splitlines()
    if len(command) == 1:
        assert "Stands on" not in iapo(command[0], "crossover").stdout
        assert "of a log" not in iapo("values", "crossover").stdout
