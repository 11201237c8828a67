"""Figures use the released files that are given, and say which are missing."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from released_files import Authors
from typer.testing import CliRunner

from figures import exploration, judges, registry
from figures.build import Wanted
from figures.inputs import Lab, files_in
from sim.cli import app
from sim.cli import figures as commands
from sim.comparison import tables
from sim.envs import fetch
from sim.envs.blobs import RELEASED, git_blob_id

ROOT = Path(__file__).resolve().parents[2]
GIVEN = ("CQA", "HH", "Summarization")


def lab(folder: Path, **files: Path) -> Lab:
    return Lab(files, folder, {})


def test_released_files_are_found_by_name(tmp_path: Path):
    (tmp_path / "MATH_final.pkl").write_text("")
    (tmp_path / "other.pkl").write_text("")
    assert files_in([tmp_path]) == {"MATH": tmp_path / "MATH_final.pkl"}
    assert files_in([tmp_path / "MATH_final.pkl"]) == {"MATH": tmp_path / "MATH_final.pkl"}
    with pytest.raises(ValueError, match=r"other\.pkl: not called as a file that the authors released"):
        files_in([tmp_path / "other.pkl"])
    with pytest.raises(ValueError, match="no such file or folder"):
        files_in([tmp_path / "nowhere"])
    here = lab(tmp_path, MATH=tmp_path / "MATH_final.pkl")
    assert here.at_hand(["MATH", "CQA", "crossover", "CQA:tie=half", "MATH:tie=half"]) == [
        *("MATH", "crossover", "MATH:tie=half")
    ]
    assert here.text("MATH:tie=half") == f"{tmp_path / 'MATH_final.pkl'}:tie=half"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the released files that MATH's is not, small ones, and sweeps that name them."""
    authors, folder = Authors(monkeypatch), tmp_path / "data"
    folder.mkdir()
    for name, make in (("CQA", authors.voting), ("HH", authors.best_of_n), ("Summarization", authors.best_of_n)):
        path = folder / f"{name}_final.pkl"
        path.write_bytes(authors.dumps([make(N_max=32)]))
        monkeypatch.setitem(RELEASED, name, git_blob_id(path))  # small ones take the place of the released
    for name in ("crossing", "scale-gain", "exploration", "awareness"):
        sweep: Any = registry.module(name)
        monkeypatch.setattr(sweep, "SMOKE", sweep.SMOKE | {"envs": tuple(GIVEN)})
    monkeypatch.setattr(fetch, "data_folder", lambda: tmp_path / "nothing was fetched")
    monkeypatch.chdir(tmp_path)
    return folder


def test_figures_use_released_files_once_they_are_given(tmp_path: Path, given: Path):
    """Seen to fail with a folder that is not the one given."""
    command = ["figures", "crossing", "--smoke", "--workers", "1", "--out", str(tmp_path), "--data"]
    made = CliRunner().invoke(app, [*command, str(given)])
    assert made.exit_code == 0, made.output
    known = {"crossing": tables.load(tmp_path / "tables" / "crossing.csv"), "worlds": pd.DataFrame({"env": []})}
    assert [row.env for row in judges.crossing(known)] == list(GIVEN)


@pytest.mark.parametrize("arguments", [("claims",), ("figures", "crossing")])
def test_a_kept_table_that_lacks_a_given_environment_stops_the_command(
    tmp_path: Path, given: Path, arguments: tuple[str, ...]
):
    """With the committed tables, made from MATH, and CQA alone at hand. Seen to exit 0 without using CQA."""
    out = tmp_path / "out"
    shutil.copytree(ROOT / "figures" / "tables", out / "tables")
    command = [*arguments, "--workers", "1", "--out", str(out), "--data"]
    result = CliRunner().invoke(app, [*command, str(given / "CQA_final.pkl")])
    assert result.exit_code == 2, result.output
    assert "to add CQA, MATH_final.pkl is needed too" in result.stderr
    assert "--data" in result.stderr
    assert (out / "tables" / "crossing.csv").read_bytes() == (ROOT / "figures/tables/crossing.csv").read_bytes()


def test_files_are_looked_for_in_the_default_folder_besides(
    tmp_path: Path, given: Path, monkeypatch: pytest.MonkeyPatch
):
    default = tmp_path / "default"
    default.mkdir()
    (given / "HH_final.pkl").rename(default / "HH_final.pkl")
    monkeypatch.setattr(fetch, "data_folder", lambda: default)
    assert set(commands.lab([given], Wanted(tmp_path)).files) == set(GIVEN)


@pytest.mark.slow
def test_claims_are_judged_on_released_files_once_they_are_given(
    tmp_path: Path, given: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exploration, "SMOKE", exploration.SMOKE | {"budgets": (50, 5000, 10000)})
    command = ["claims", "--smoke", "--workers", "1", "--out", str(tmp_path), "--data", str(given)]
    judged = CliRunner().invoke(app, command)
    assert judged.exit_code == 0, judged.output
    ledger = (tmp_path / "tables" / "claims.md").read_text(encoding="utf-8")
    for name in GIVEN:
        assert ledger.count(f"| {name} |") >= 7
        assert f"made without {name}_final.pkl" not in ledger
