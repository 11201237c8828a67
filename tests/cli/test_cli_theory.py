"""`iapo hardness` and `iapo agnostic`, end to end."""

import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import iapo, refused

from sim import envs
from sim.envs import files
from theory.truth import finite_world, reward_widths, whole_values


def row_of(text: str, name: str) -> list[str]:
    """The cells of the table's row that begins with a name."""
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


def test_hardness_of_every_context():
    """Gaps .21 and .11, B = 1, Nmax = 2: H1' = 2 / gap^2; with the runner-up at i = 2, H2' = 4 / gap^2."""
    result = iapo("hardness", "bon-two-scales")
    assert result.exit_code == 0, result.output
    first, second = row_of(result.stdout, "0"), row_of(result.stdout, "1")
    assert first[1:7] == ["0", "2", "0.9100", "1", "1", "0.21"]
    assert second[1:7] == ["0", "1", "0.3800", "1", "1", "0.11"]
    assert [first[-2:], second[-2:]] == [["45", "91"], ["165", "331"]]
    assert "8 arms per context" in result.stdout


def test_hardness_of_one_context_and_its_gaps(tmp_path: Path):
    result = iapo("hardness", "graded-halving", "--context", 0, "--top", 3, "--out", tmp_path / "gaps.csv")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if re.match(r" +[0-9]", line)]
    assert [row[4] for row in rows] == ["0", "0.2", "0.25", "0.3"]
    assert [row[5] for row in rows] == ["-", "50", "48", "44"]
    table = pd.read_csv(tmp_path / "gaps.csv")
    assert list(table.columns) == ["context", "place", "prompt", "scale", "value", "gap"]
    np.testing.assert_allclose(table["gap"], [0, 0.2, 0.25, 0.3, 0.3, 0.35, 0.4, 0.4], atol=1e-12)


@pytest.mark.parametrize("command", ["values", "hardness"])
@pytest.mark.parametrize(
    ("given", "written"), [((), [0, 1]), (("plain", "strict"), ["plain", "strict"]), (("a", "a"), ["a (0)", "a (1)"])]
)
def test_written_tables_name_prompts_as_the_shown_ones_do(
    command: str, given: tuple[str, ...], written: list[object], tmp_path: Path
):
    """Seen to fail with numbers beside the names of contexts."""
    data = envs.get("crossover").data
    assert data is not None
    files.save(replace(data, prompt_names=given), tmp_path / "e.npz")
    result = iapo(command, tmp_path / "e.npz", "--out", tmp_path / "table.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "table.csv")
    assert sorted(table["prompt"].unique()) == written
    single = table[(table["scale"] == 1) & (table["prompt"] == written[0])]
    np.testing.assert_allclose(single["value"], [0.65])


def test_ties_and_unknown_ranges_are_said():
    assert row_of(iapo("hardness", "crossover").stdout, "0")[4:7] == ["2", "2", "0"]  # N = 9 and N = 10
    assert row_of(iapo("hardness", "crossover").stdout, "0")[-4:] == ["inf"] * 4
    assert row_of(iapo("hardness", "beta-bon").stdout, "0")[-2:] == ["-", "-"]


def test_hardness_of_the_released_file(math_path: Path):
    start = time.perf_counter()
    result = iapo("hardness", math_path)
    assert time.perf_counter() - start < 60
    assert row_of(result.stdout, "low")[1:4] == ["4", "32", "0.8511"]
    assert row_of(result.stdout, "high")[1:4] == ["4", "5", "0.7899"]


def test_agnostic_loss_of_the_crossover_example():
    """Prompt 0 is better alone, .65 against .62; with N = 9 votes .6329 against .7738."""
    result = iapo("agnostic", "crossover")
    assert result.exit_code == 0, result.output
    row = row_of(result.stdout, "0")
    assert row[1:5] == ["1", "9", "0.7738", "0"]
    assert row[5:8] == ["0.1238", "0.1118", "0.1409"]
    assert row[-1] == "1-2"
    assert "a majority of 3 votes is not their mean" in result.stdout


def test_agnostic_on_drawn_and_continuous_worlds():
    """A world drawn for a trial is checked as a data set is; continuous scores are not checked."""
    drawn = iapo("agnostic", "synth-bernoulli").stdout
    assert row_of(drawn, "0")[-1] == "1-2"
    assert row_of(drawn, "1")[-1] == "1"
    assert "prompts differ in cost" in drawn
    assert "not checked" in iapo("agnostic", "beta-bon").stdout


def test_ranges_of_drawn_worlds_match_those_of_data():
    world = envs.get("bon-query-effects")
    assert world.data is not None
    drawn = replace(world, data=None)
    np.testing.assert_allclose(reward_widths(drawn), reward_widths(world))
    np.testing.assert_allclose(whole_values(drawn), whole_values(world), atol=1e-6)
    assert finite_world(envs.get("beta-bon")) is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("hardness", "crosover"), "no environment is called 'crosover'; did you mean 'crossover'"),
        (("hardness", "crossover", "--context", "1"), "context is 1; crossover has the contexts 0 to 0"),
        (("hardness", "crossover", "--top", "0"), "top is 0; it must be at least 1"),
        (("hardness", "crossover", "--near", "-1"), "near is -1; a finite number of at least 0 is needed"),
        (("agnostic", "missing.npz"), "missing.npz: no such file"),
    ],
)
def test_refused_in_one_sentence(arguments: tuple[str, ...], sentence: str):
    refused(iapo(*arguments), sentence)
