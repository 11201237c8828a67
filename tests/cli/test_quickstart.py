"""`iapo quickstart`: files, sorted table, the sentence on who won, and how it ends when it is stopped."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import iapo, refused

from sim.cli import common, quickstart, ranking
from sim.comparison import compare as driver
from sim.comparison import tables
from sim.envs import hard
from theory import exact

ROOT = Path(__file__).resolve().parents[2]


def runs(**acr: np.ndarray) -> pd.DataFrame:
    """Rows of trials at T = 100, and at T = 20, where all return nothing; of the oracle 1."""
    rows = [
        ("w", name, budget, trial, value * (budget == 100 or name == "oracle"), 0.0, 0.0, budget)
        for name, values in (acr | {"oracle": np.ones(len(next(iter(acr.values()))))}).items()
        for budget in (100, 20)
        for trial, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=list(tables.TRIALS))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compiles least: one algorithm that pulls, and one that guesses."""
    monkeypatch.setattr(quickstart, "ALGORITHMS", ("random", "uniform", "oracle"))
    monkeypatch.setattr(quickstart, "BUDGETS", (2000, 50000))
    monkeypatch.setattr(quickstart, "TRIALS", 12)


@pytest.mark.usefixtures("tiny")
def test_it_prints_and_writes_what_it_promises(tmp_path: Path) -> None:
    out = tmp_path / "first"
    result = iapo("quickstart", "--out", out)
    assert result.exit_code == 0, result.output
    pictures = {"quickstart.png", "quickstart.pdf"}
    assert {path.name for path in out.iterdir()} == {*driver.FILES, *pictures, "cells"}
    assert all(path.stat().st_size for path in out.iterdir())
    assert json.loads((out / "provenance.json").read_text())["settings"]["seed"] == 0
    lines = result.stdout.splitlines()
    (title,) = (i for i, line in enumerate(lines) if line.startswith("long-scales: average contextual return"))
    assert [line.split()[0] for line in lines[title + 2 : title + 5]] == ["oracle", "uniform", "random"]
    assert "^" in lines[title + 3]
    assert re.search(
        r"^uniform won: at T = 50,000 .* more than random's \(12 paired trials", result.stdout, re.MULTILINE
    )
    assert lines[lines.index("Next:") + 1 :][0].startswith("  iapo compare ")
    assert len(lines[lines.index("Next:") + 1 :]) == 3
    assert "long-scales: uniform compiled in" in result.stderr
    again = iapo("quickstart", "--out", out)
    assert again.stdout == result.stdout
    assert again.stderr == ""


def test_the_winner_is_named_with_the_paired_difference() -> None:
    """By hand: b gains .02 to .04 on a in each of 12 trials that differ far more among each other.

    Seen to fail with the error of unpaired means, with the mean over all budgets and with the oracle as the winner.
    """
    base = np.linspace(0.1, 0.9, 12)
    gain = np.tile([0.02, 0.03, 0.04], 4)
    error = gain.std(ddof=1) / 12**0.5
    said = ranking.verdict(runs(a=base, b=base + gain, c=base - 0.3))
    assert said == (
        f"b won: at T = 100 its arms are worth 0.5300 of 1.0000 at best, 0.0300 ± {error:.4f} more than a's "
        f"(12 paired trials, p = {4 * 2**-11:.2g})."
    )


def test_a_lead_within_its_error_is_no_win() -> None:
    """By hand: b is ahead by .01 on the mean, up and down by .2. Seen to fail where the larger mean always wins."""
    base = np.full(12, 0.5)
    change = np.array([0.2, -0.2] * 6) + 0.01
    error = change.std(ddof=1) / 12**0.5
    said = ranking.verdict(runs(a=base, b=base + change, c=base - 0.3))
    assert said.startswith(
        f"b leads, but nobody won: at T = 100 its arms are worth 0.5100 of 1.0000 at best; its 0.0100 ± {error:.4f} "
        "over a are not beyond their error (12 paired trials, p = "
    )


def test_algorithms_that_are_level_have_no_winner() -> None:
    said = ranking.verdict(runs(a=np.full(9, 0.5), b=np.full(9, 0.5)))
    assert "nobody won" in said
    assert "its 0.0000 ± 0.0000 over b are not beyond their error (9 paired trials, p = 1)" in said


def test_its_world_makes_the_point() -> None:
    """Prompts cross, and the best pair has another N, or prompt, at almost every cost: by exact values."""
    world = hard.HARD[quickstart.ENV]()
    values = exact.values(world)
    assert np.ptp(world.costs) == 0  # so that one cost stands for a context
    assert world.cost_weights.argmin() == 0
    assert values[0, :, 0].argmax() != values[0, :, -1].argmax()
    pairs = [divmod(int(of.argmax()), of.shape[1]) for of in values]
    assert pairs == [(3, 126), (3, 92), (3, 28), (9, 0), (9, 0)]
    assert quickstart.crossing(values[0]) == (
        "Prompt 9 is best alone, with 0.6480, and reaches 0.6595 at its best N. Prompt 3 has 0.5800 alone, and 0.9655 "
        "with N = 127."
    )


@pytest.mark.usefixtures("tiny")
def test_stopped_it_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise driver.Interrupted(3, 6)

    monkeypatch.setattr(driver, "compare", stopped)
    result = iapo("quickstart", "--out", tmp_path)
    assert result.exit_code == common.INTERRUPTED
    assert result.stderr == f"stopped: 3 of 6 cells are kept in {tmp_path}; the same command goes on from there\n"
    assert result.stdout == ""


def test_a_file_is_no_folder_for_results(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    refused(iapo("quickstart", "--out", tmp_path / "out"), "cannot be made a folder")


@pytest.mark.slow
def test_the_front_door_shows_what_it_prints(tmp_path: Path) -> None:
    """The README's block, word for word."""
    result = iapo("quickstart", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    printed = result.stdout.replace(str(tmp_path), "results/quickstart").strip().splitlines()
    shown = "\n".join(line.rstrip() for line in printed)
    assert f"```text\n{shown}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")
