"""Tables of figures depend on code from elsewhere: a figure, and what its SWEEP names by a registry."""

import sys
from pathlib import Path
from typing import Any

import pytest

from figures import build, registry
from figures.build import Wanted
from figures.inputs import Lab
from sim import algorithms, envs
from sim.envs import families
from theory.checks import claims

OUTSIDE = """
import pandas as pd
from matplotlib.figure import Figure
from figures.inputs import SEED
import deep.numbers
SWEEP = {"algorithms": ("uniform",)}
SMOKE = {}
def compute(sweep, lab):
    return pd.DataFrame({"x": [deep.numbers.X]})
def draw(table):
    return Figure(figsize=(1, 1))
"""


def test_a_figure_from_elsewhere_is_built_and_is_old_once_it_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Seen to recurse without end with names that are looked for in this project alone."""
    code, asked = tmp_path / "code", Wanted(tmp_path / "out")
    (code / "deep").mkdir(parents=True)
    (code / "outside.py").write_text(OUTSIDE)
    (code / "deep" / "numbers.py").write_text("X = 1")
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.setitem(registry.FIGURES, "outside", registry.FigureEntry("outside", "nothing"))

    def made() -> tuple[int, bool]:
        for name in ("outside", "deep", "deep.numbers"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        ((one,), known) = build.build(["outside"], asked, Lab({}, tmp_path, {}))
        return int(known["outside"]["x"][0]), one.seconds > 0

    assert [made(), made()] == [(1, True), (1, False)]
    (code / "deep" / "numbers.py").write_text("X = 1 + 1")
    assert build.state("outside", asked, Lab({}, tmp_path, {})) == ("old", "program of outside changed")
    assert [made(), made()] == [(2, True), (2, False)]


def test_what_a_sweep_names_counts_where_it_was_registered(monkeypatch: pytest.MonkeyPatch):
    """An algorithm, an environment or a bound that is not of this project; those that are leave nothing beside."""
    for name in registry.FIGURES:
        module: Any = registry.module(name)
        assert build.registered(module.__name__, module.SWEEP) == {}
    monkeypatch.setitem(algorithms.ALGORITHMS, "mine", lambda: algorithms.get("psst"))
    monkeypatch.setitem(envs.ENVS, "own", envs.Entry("", lambda: families.two_arm((0.7, 0.2))))
    found = build.registered("figures.hard", {"algorithms": ("psst", "mine"), "envs": ("own:tie=half", "two-arm")})
    assert list(found) == ["program of mine", "program of own:tie=half"]
    monkeypatch.setitem(claims.CLAIMS, "mine", claims.Claim("psst", lambda case, budget: 0.5))
    for sweep in ({"families": ("two-arm",)}, {"rules": {"psst": "psst"}}):
        assert list(build.registered("figures.bounds", sweep)) == ["program of claims"]
