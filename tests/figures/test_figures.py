"""The comparison figure: one panel per environment, and files equal byte for byte."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import majority
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from figures import choice, hard, regret, scale_gain, style
from figures.results import compare, scale, verify
from sim import envs
from sim.comparison import contenders, tables
from sim.envs.sources import fixed
from theory import bounds, exact, truth
from theory.problem import problem_of

TABLES = Path(style.__file__).resolve().parent / "tables"
EXPONENTS = (("prompts", 1.0), ("budget", 0.5))


def summary(names: list[str], envs: tuple[str, ...] = ("one", "two"), budgets: tuple[int, ...] = (500, 1000, 5000)):
    rng = np.random.default_rng(0)
    rows = [
        (env, name, budget, 10, rng.uniform(0.5, 0.7), 0.01, 0.1, 0.01, 0.2, budget, budget, 0.5)
        for env in envs
        for name in names
        for budget in budgets
    ]
    return pd.DataFrame(rows, columns=list(tables.SUMMARY))


def test_every_algorithm_has_a_look_of_its_own():
    names = [*contenders.names(), "psst:ties=index", "ucb:constant=1.0"]
    looks = style.looks(names)
    assert list(looks) == names
    assert len(set(looks.values())) == len(names)
    assert looks["oracle"].line == "-"
    assert looks["random"].line == ":"
    assert looks["psst:ties=index"].width == looks["psst"].width > looks["ucb"].width


def test_a_look_does_not_depend_on_what_else_is_in_the_figure():
    names = [*contenders.names(), "psst:ties=index", "mine"]
    assert all(style.looks([name])[name] == look for name, look in style.looks(names[::-1]).items())
    assert len({style.look(name).color for name in contenders.names()}) == len(contenders.names())
    assert len({style.look(name).marker for name in contenders.names()}) == len(contenders.names()) - 1


def test_a_panel_per_environment_and_a_legend_entry_per_algorithm():
    names = list(contenders.names())
    figure = compare.draw(summary(names))
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["one", "two"]
    assert all(panel.get_xscale() == "log" for panel in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [style.look(name).label for name in names]
    assert len(figure.axes[0].containers) == len(names) - 2  # oracle and random are level lines


def test_labels_of_budgets_do_not_touch():
    """Seen to fail with every budget labelled."""
    figure = compare.draw(summary(["psst"], envs=("one",), budgets=(1000, 5000, 20_000, 50_000, 100_000, 200_000)))
    figure.canvas.draw()
    labels = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert [label.get_text() for label in labels] == ["1,000", "5,000", "20,000", "50,000", "200,000"]
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize("names", [["psst"], ["random", "oracle"], ["uniform", "random"]])
def test_few_algorithms_and_one_budget(names: list[str], tmp_path: Path):
    table = summary(names, envs=("one",), budgets=(100,))
    table["acr_sem"] = np.nan
    assert style.save(compare.draw(table), tmp_path / "f.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_equal_tables_give_equal_files(kind: str, tmp_path: Path):
    table = summary(["psst", "uniform", "oracle"])
    first, second = (style.save(compare.draw(table), tmp_path / f"{i}.{kind}").read_bytes() for i in range(2))
    assert first == second
    assert kind == "png" or b"/FontType 42" in first or b"/Subtype /Type3" not in first


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_a_picture_is_drawn_once_where_it_is_saved_with_the_bytes_of_a_figure(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with every draw a layout alone, and with matplotlib's own two draws."""
    table, drawn = summary(["psst", "uniform"]), []
    axis = Axes.draw
    monkeypatch.setattr(Axes, "draw", lambda self, renderer: (drawn.append(self), axis(self, renderer)))
    picture = compare.draw(table)
    once = style.save(picture, tmp_path / f"once.{kind}").read_bytes()
    assert len(drawn) == len(picture.axes)
    monkeypatch.setattr(style.Picture, "draw", Figure.draw)
    twice = style.save(compare.draw(table), tmp_path / f"twice.{kind}").read_bytes()
    assert once == twice
    assert len(drawn) == 3 * len(picture.axes)


def test_a_floor_below_the_panel_is_named():
    table = summary(["psst", "random:a=1"], envs=("one",))
    table.loc[table["algorithm"] == "random:a=1", "acr_mean"] = 0.1
    texts = [text.get_text() for text in compare.draw(table).axes[0].texts]
    assert texts == ["random, a=1 0.100 \N{DOWNWARDS ARROW}"]


def test_the_exponent_of_a_power_law_is_found_and_drawn() -> None:
    """Seen to fail with the slope of cost against size, not of their logarithms."""
    size = np.array([1.0, 10.0, 100.0, 1000.0])
    parts = [pd.DataFrame({"axis": name, "size": size, "trial": 1e-6 * size**power}) for name, power in EXPONENTS]
    for part, (_, power) in zip(parts, EXPONENTS, strict=True):
        assert scale.exponent(part) == pytest.approx(power)
    figure = scale.draw(pd.concat(parts, ignore_index=True))
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["exponent 1.00", "exponent 0.50"]


def test_a_share_of_the_random_regret_has_the_error_of_both() -> None:
    """Seen to fail with the error of the random regret left out."""
    floor = pd.DataFrame({"regret_mean": [0.5], "regret_sem": [0.02]})
    rows = pd.DataFrame({"regret_mean": [0.1], "regret_sem": [0.01], "share": [0.2]})
    np.testing.assert_allclose(hard.share_sem(rows, floor), [0.01 / 0.5 + 0.1 * 0.02 / 0.5**2])
    trials = np.random.default_rng(0).normal((0.1, 0.5), (0.01, 0.02), (200_000, 2))
    assert hard.share_sem(rows, floor).iloc[0] > (trials[:, 0] / trials[:, 1]).std()


def test_a_share_of_the_gain_has_the_error_of_a_paired_ratio() -> None:
    """Against the spread of the ratio over 2,000 samples. Seen to fail with the error of the numerator alone."""
    rng = np.random.default_rng(0)
    whole = rng.gamma(4.0, 0.1, (2000, 400))
    part = 0.8 * whole + rng.normal(0.0, 0.05, whole.shape)
    found = np.array([scale_gain.share_of(*pair) for pair in zip(part, whole, strict=True)])
    spread = found[:, 0].std(ddof=1)  # relative error 1 / sqrt(2 * 1999) = 1.6 %
    assert found[:, 1].mean() == pytest.approx(spread, rel=4 * 0.016)
    assert found[:, 0].mean() == pytest.approx(0.8, abs=4 * spread / np.sqrt(2000))
    assert np.isnan(scale_gain.share_of(np.zeros(3), np.zeros(3))).all()


def test_the_pictures_of_the_texts_are_there_and_small() -> None:
    root = TABLES.parents[1]
    texts = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    shown = {
        (text.parent / path).resolve()
        for text in texts
        for path in re.findall(r"!\[.+\]\((\S+)\)", text.read_text(encoding="utf-8"))
    }
    assert len(shown) >= 8
    assert sum(path.stat().st_size for path in shown) < 1_000_000


def test_only_exact_values_are_solid_lines_among_bounds() -> None:
    """Seen to fail with a solid line for every fourth bound."""
    ends = dict.fromkeys(("splitting", "splitting_low", "splitting_high"), np.nan)
    table = tables.load(TABLES / "bounds.csv").fillna({"claim": ""})
    figure = verify.draw(table.assign(**ends, splitting_note="", context="any", round="any"))
    lines = [line for axes in figure.axes for line in axes.lines] + list(figure.legends[0].get_lines())
    assert {line.get_color() for line in lines if line.get_linestyle() == "-"} == {style.INK}


def test_what_to_use_ranks_by_regret_and_keeps_what_cannot_be_told_apart() -> None:
    """Seen to fail with the corrected p-values left out, and with the largest regret first."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.0, 0.2, 200)
    noise = rng.normal(0.0, 1e-3, 200)
    rows = choice.ranked({"worse": base + 0.05, "best": base, "twin": base + noise - noise.mean() + 1e-6})
    assert [row[0] for row in rows] == ["best", "twin", "worse"]
    assert rows[2][4] == pytest.approx(0.05)
    assert rows[2][5] == pytest.approx(0.0, abs=1e-12)
    table = pd.DataFrame(rows, columns=["algorithm", "trials", "regret", "sem", "behind", "behind_sem", "p"])
    assert list(choice.as_good(table)["algorithm"]) == ["best", "twin"]
    assert table["p"].isna().tolist() == [True, False, False]


def test_settings_of_the_map_are_named_by_what_they_vary() -> None:
    settings = choice.environments(choice.SWEEP)
    assert [setting[1:] for setting in settings] == [
        *(("votes", contexts, noise) for contexts in (1, 9) for noise in (0.02, 0.3)),
        *(("best of N", contexts, noise) for contexts in (1, 9) for noise in (0.05, 1.0)),
    ]
    for setting in settings:
        source: Any = envs.get(setting.name).source
        assert (source.num_prompts, source.max_scale, source.noise) == (8, 8, setting.noise)
        assert len(source.context_probs) == setting.contexts


def test_the_gap_is_that_of_prompts_averaged_over_contexts() -> None:
    values = np.array([[[[0.1, 0.9], [0.8, 0.7]], [[0.5, 0.5], [0.2, 0.1]]]])
    np.testing.assert_allclose(choice.gaps(values), [(0.1 + 0.3) / 2])


def test_a_bound_on_regret_is_the_largest_gap_times_that_on_a_miss() -> None:
    """Seen to fail with the smallest gap that is not 0, and without the cap."""
    data = envs.get("bon-two-scales").data
    assert data is not None
    most = float(data.context_distribution @ [(values.max() - values).max() for values in exact.values(data)])
    case = problem_of(data, simulated=True)
    for budget, capped in ((100, True), (40_000, False)):
        found = regret.bounds(data, "psst, fresh", budget)
        assert found["theorem 1 corrected"] == pytest.approx(most * min(bounds.theorem1_corrected(case, budget), 1.0))
        assert (found["theorem 1 corrected"] == most) == capped
    assert {"theorem 1 corrected", "theorem 1 as printed"} <= set(found)


def test_of_two_arms_the_exact_regret_is_known() -> None:
    """Against the law of two binomials of 50 draws, ties broken at random; rewards are -1 and 1."""
    data = envs.get("two-arm").data
    assert data is not None
    success = data.probs[:, 0, 1]
    best, other = (stats.binom.pmf(np.arange(51), 50, mean) for mean in sorted(success, reverse=True))
    joint = np.outer(best, other)
    missed = np.triu(joint, 1).sum() + np.trace(joint) / 2
    assert regret.expected(data, 100) == pytest.approx(missed * 2 * abs(success[0] - success[1]))
    many = envs.get("mv-three-scales").data
    assert many is not None
    assert np.isnan(regret.expected(many, 100))


def test_half_credit_in_training_is_scored_by_shares_of_a_tie() -> None:
    """Seen to fail with the credit of training."""
    whole = majority(queries=6)
    half = replace(whole, tie="half")
    expected, other = (truth.exact_values(fixed(data), 0, 0, 3)[1] for data in (whole, half))
    found = truth.uniform_credit(fixed(half), 0, 0, 3)[1]
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - other).max() > 0.001


def test_few_misses_widen_the_interval_of_regret() -> None:
    """Seen to fail with the normal interval as soon as one trial missed."""
    low, high = regret.ends(0.0002, 0.0002, 1, 1000, 0.2)
    assert (low, high) == (0.0, pytest.approx(0.2 * stats.beta.isf(0.025, 2, 999)))
    assert regret.ends(0.0, 0.0, 0, 1000, 0.2)[1] == pytest.approx(0.2 * (1 - 0.025 ** (1 / 1000)))
    assert regret.ends(0.01, 0.001, 50, 1000, 0.2) == pytest.approx((0.01 - 0.00196, 0.01 + 0.00196), abs=1e-6)


def test_differences_that_are_all_equal_are_as_sure_as_their_signs() -> None:
    """Eight of one sign: 2 / 2**8. Seen to fail with p = 0, as a standard error of 0 would have it."""
    assert choice._p(np.full(8, 0.1)) == 2 / 2**8
    assert choice._p(np.full(8, 0.3) - 0.2) == 2 / 2**8
    assert choice._p(np.zeros(8)) == choice._p(np.array([0.1])) == 1.0
    values = np.array([0.1, 0.3, -0.1, 0.2])
    assert choice._p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_a_panel_says_what_its_values_stand_on() -> None:
    """Below the one environment that is a sample. Seen to fail where it was below all."""
    table = summary(["psst"], envs=("given", "logged"))
    said = "Stands on 4 completions per (prompt, query) of a log: the plug-in law of a sample, not exact truth"
    given, logged = compare.draw(table, {"logged": said}).axes[:2]
    assert given.get_xlabel() == "budget (completions)"
    assert logged.get_xlabel().splitlines() == ["budget (completions)", *said.replace(": ", ":\n").splitlines()]
