"""Options after a further colon of bounds, figures and claims of one's own; files named alone; figures as objects."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from own_code import forgotten

from figures import build, draw_figure, registry
from figures import claims as ledger
from figures.inputs import Lab
from sim import plugins
from theory.checks import brought, claims, verify
from theory.checks.tasks import Kind

BOUND = """
def bnd(case, budget, rule="uniform", factor=1.0):
    return factor * case.problem.num_arms / budget
"""
MORE = """
from theory.checks.claims import Claim

def needy(case, budget, factor):
    return factor / budget

def _helper(case, budget):
    return 0.0

Clm = Claim("ucb-e", bnd)
"""
FIGURE = """
import pandas as pd
from figures import style

SWEEP = {"points": (1, 2), "shares": (0.5, 1), "envs": ("crossover",), "trials": 7, "deep": ((1, 2),), "none": None}
SMOKE = {"points": (1,), "trials": 2}

def compute(sweep, lab):
    return pd.DataFrame({"x": sweep["points"], "trials": sweep["trials"]})

def draw(table):
    figure, panels = style.paper(style.COLUMN, 1.0, nrows=1, ncols=1)
    panels[0, 0].plot(table["x"], table["x"])
    return figure
"""
CLAIM = """
from figures.claims import PaperClaim

Clm = PaperClaim("All is well.", "-", "it is", ("regret",), lambda tables: [], envs=())
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a bound, a figure and a claim; what a test brings is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ledger, "CLAIMS", dict(ledger.CLAIMS))
    monkeypatch.setattr(claims, "CLAIMS", dict(claims.CLAIMS))
    monkeypatch.setattr(registry, "FIGURES", dict(registry.FIGURES))
    for name, text in (("bnd.py", BOUND), ("more.py", BOUND + MORE), ("fig.py", FIGURE), ("clm.py", CLAIM)):
        (tmp_path / name).write_text(text)
    with forgotten():
        yield tmp_path


def test_options_of_a_bound_are_used_and_are_in_its_name(tmp_path: Path) -> None:
    """Seen to fail (one bound, about `uniform`) where options were dropped; in the kept cell too."""
    brought.bring(["bnd.py:bnd:rule=psst,factor=2", "bnd.py:bnd", "bnd.py:bnd:factor=3"])
    found = {name: claim for name, claim in claims.CLAIMS.items() if name.startswith("bnd")}
    assert {name: claim.rule for name, claim in found.items()} == {
        "bnd:rule=psst,factor=2": "psst",
        "bnd": "uniform",
        "bnd:factor=3": "uniform",
    }
    plan = verify.VerifyPlan(quick=True, families=("two-arm",))
    cell = next(cell for cell in verify.tasks_of(plan, str(tmp_path)) if cell.kind is Kind.CLAIMS)
    verify.run_group([cell])
    kept = verify._load(cell).record["claims"]
    assert [kept[name] * cell.budget for name in found] == [4.0, 2.0, 6.0]


def test_kept_results_of_a_bound_follow_its_options(here: Path) -> None:
    """Seen to fail (one key) where options were dropped, and (order changed) where a bound was put in anew."""
    key, keys = lambda: verify.program_of(Kind.CLAIMS, "").key, []
    texts = ["bnd.py:bnd:factor=2", "more.py:Clm"]
    brought.bring(texts)
    keys.append(key())
    order = list(claims.CLAIMS)
    brought.bring(texts)  # as every process does
    assert (list(claims.CLAIMS), key()) == (order, keys[0])
    known = claims.CLAIMS["bnd:factor=2"].of
    claims.CLAIMS["bnd:factor=2"] = claims.Claim("uniform", type(known)(known.func, factor=3.0))  # type: ignore[attr-defined]
    keys.append(key())
    (here / "bnd.py").write_text(BOUND.replace("/ budget", "/ budget / 2"))
    brought.bring(texts[:1])
    keys.append(key())
    assert len(set(keys)) == 3
    assert list(claims.CLAIMS) == order


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bnd.py:bnd:factr=2", "bnd.py:bnd has no option 'factr'; did you mean 'factor'? known: rule, factor"),
        ("bnd.py:bnd:budget=2", "bnd.py:bnd has no option 'budget'; did you mean 'rule'? known: rule, factor"),
        ("bnd.py:bnd:factor=much", "bnd.py:bnd:factor is 'much'; expected a number"),
        ("bnd.py:bnd:rule=psstt", "bnd.py:bnd:rule=psstt is about 'psstt'; did you mean 'psst'? known are "),
        ("more.py:needy", "more.py:needy needs factor; write more.py:needy:factor=..."),
        ("more.py:Clm:factor=2", "more.py:Clm is a Claim, which has no options; leave out 'factor=2'"),
        ("LCPB:factor=2", "LCPB is a registered bound, which has no options; leave out 'factor=2'"),
        ("more.py", "more.py holds 3 bounds; write one of more.py:bnd, more.py:needy, more.py:Clm"),
    ],
)
def test_options_and_names_of_bounds_that_do_not_fit_are_refused(text: str, sentence: str) -> None:
    before = dict(claims.CLAIMS)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        brought.bring([text])
    assert str(raised.value).startswith(sentence)
    assert before == claims.CLAIMS


def test_a_file_with_one_bound_or_claim_will_do_alone() -> None:
    """Seen to fail ("holds no bounds; define one") where only classes and functions of the kind's own class counted."""
    brought.bring(["bnd.py", "bnd.py:rule=psst"])
    assert [claims.CLAIMS[name].rule for name in ("bnd", "bnd:rule=psst")] == ["uniform", "psst"]
    ledger.bring(["clm.py"])
    assert ledger.CLAIMS["clm"].says == "All is well."


def test_options_of_a_figure_change_its_sweep_name_and_table(here: Path) -> None:
    """Seen to fail (the table of the file's SWEEP) where options were dropped."""
    lab, asked = Lab({}, here / "cells", {}), build.Wanted(here / "out", trials=9)
    names = [registry.bring("fig.py"), registry.bring("fig.py:trials=5,points=3+4,shares=1+0.25")]
    assert names == ["fig", "fig-trials=5,points=3+4,shares=1+0.25"]
    build.build(names, asked, lab)
    kept = [pd.read_csv(here / "out" / "tables" / f"{name}.csv") for name in names]
    assert [table["x"].tolist() for table in kept] == [[1, 2], [3, 4]]
    assert [set(table["trials"]) for table in kept] == [
        {9},
        {5},
    ]  # the figure's own option before all figures' --trials
    assert build._inputs(names[1], asked, lab)["sweep"]["shares"] == [1.0, 0.25]
    assert build.sweep_of(names[1], asked._replace(smoke=True))["points"] == (3, 4)
    assert [build.state(name, asked, lab)[0] for name in names] == ["current", "current"]
    assert (here / "out" / "rendered" / f"{names[1]}.png").is_file()


def test_options_of_a_registered_figure_change_its_sweep() -> None:
    name = registry.bring("rho:envs=crossover+mine.py:world,trials=5")
    assert name == "rho-envs=crossover+mine.py-world,trials=5"
    sweep = build.sweep_of(name, build.Wanted())
    assert (sweep["envs"], sweep["trials"]) == (("crossover", "mine.py:world"), 5)
    assert sweep["rho"] == build.sweep_of("rho", build.Wanted())["rho"]
    with pytest.raises(ValueError, match=r"would be called 'rho-envs=crossover\+mine.py-world,trials=5', as another"):
        registry.bring("rho:envs=crossover+mine.py/world,trials=5")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fig.py:trial=5", "fig has no option 'trial'; did you mean 'trials'? known: points, "),
        ("rho:trial=5", "rho has no option 'trial'; did you mean 'trials'? known: envs, "),
        ("rhoo:trials=5", "no figure is called 'rhoo'; did you mean 'rho'?"),
        ("fig.py:trials=many", "fig:trials is 'many'; expected a whole number"),
        ("fig.py:points=1+x", "fig:points is '1+x'; expected whole numbers joined by +"),
        ("fig.py:deep=1", "fig:deep is no number, text or row of them; change it in a file of your own"),
        ("fig.py:none=1", "fig:none is no number, text or row of them"),
        ("fig.py:Nope", "fig.py has no 'Nope'; the file itself is a figure: write fig.py"),
        ("fig.py:Nope:trials=5", "fig.py has no 'Nope'; the file itself is a figure: write fig.py"),
    ],
)
def test_options_of_figures_that_do_not_fit_are_refused(text: str, sentence: str) -> None:
    """The last two seen to fail ("did you mean 'compute'?")."""
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        registry.module(registry.bring(text))
    assert str(raised.value).startswith(sentence)


def test_claims_have_no_options() -> None:
    before = dict(ledger.CLAIMS)
    with pytest.raises(ValueError, match=r"^clm.py:Clm is a PaperClaim, which has no options; leave out 'a=1'$"):
        ledger.bring(["clm.py:Clm:a=1"])
    assert before == ledger.CLAIMS


def drawn(figure: Figure) -> list[float]:
    return np.asarray(figure.axes[0].lines[0].get_xdata()).tolist()


def test_a_figure_is_drawn_by_file_and_as_an_object() -> None:
    """Seen to fail ("no figure is called 'fig.py'") with registered names alone."""
    module = plugins.load_file("fig.py")
    items: list[Any] = ["fig.py", "fig.py:points=1+2", module, SimpleNamespace(**vars(module))]
    assert [drawn(draw_figure(one, points=(5, 6))) for one in items] == [[5, 6]] * 4
    assert drawn(draw_figure("fig.py:points=3+4")) == [3, 4]
    for thing, sentence in (
        (SimpleNamespace(SWEEP={}), "SimpleNamespace has no compute, draw, which a figure needs; see figures.registry"),
        ("nothing", "no figure is called 'nothing'"),
        ("spent", "spent is computed from the tables of exploration, ablations; make it by `iapo figures`"),
    ):
        with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
            draw_figure(thing)
        assert str(raised.value).startswith(sentence)
    with pytest.raises(ValueError, match=r"^the sweep of .*fig.* has no 'nothing'; it has points, "):
        draw_figure(module, nothing=1)
