"""What figures show can be read: texts apart, with six environments too, series apart, one name and look each."""

import itertools
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from figures import panels, registry, regret, style
from sim.comparison import tables

TABLES = Path(style.__file__).resolve().parent / "tables"
COMMITTED = [name for name in registry.FIGURES if (TABLES / f"{name}.csv").is_file()]
LIKE = {
    **{"synth-bernoulli": "synth-bernoulli", "MATH": "MATH", "CQA": "MATH"},
    **dict.fromkeys(("synth-categorical", "HH", "Summarization"), "synth-categorical"),
}
"""Environment -> the one at hand that stands in for it."""


def table_of(name: str) -> pd.DataFrame:
    return tables.load(TABLES / f"{name}.csv")


def drawn(name: str, table: pd.DataFrame | None = None) -> Figure:
    with mpl.rc_context(style.PAPER):
        return registry.module(name).draw(table_of(name) if table is None else table)


def six(name: str) -> pd.DataFrame:
    """A committed table as it would be with all six environments."""
    table = table_of(name)
    return pd.concat([table[table["env"] == like].assign(env=env) for env, like in LIKE.items()], ignore_index=True)


def per_environment() -> list[str]:
    return [name for name in COMMITTED if set(LIKE.values()) <= set(table_of(name).get("env", ()))]


def boxes_of(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Every text that is drawn with its box (left, bottom, right, top), points, once the figure is laid out."""
    seen: list[Text] = []
    with mpl.rc_context(style.PAPER), pytest.MonkeyPatch.context() as patch:
        figure.set_dpi(style.PRINT_DPI)
        patch.setattr(Text, "draw", lambda text, renderer: seen.append(text))
        FigureCanvasAgg(figure).draw()
        shown = [text for text in seen if text.get_text().strip()]
        return [(text.get_text(), text.get_window_extent().extents * 72 / style.PRINT_DPI) for text in shown]


def touching(figure: Figure, hair: float = 1.0) -> list[tuple[str, ...]]:
    """Pairs of texts that overlap by more than a hair, points, and texts that leave the figure."""
    boxes, size = boxes_of(figure), figure.get_size_inches() * 72
    pairs = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).min() > hair
    ]
    return pairs + [(said,) for said, box in boxes if max(-box[:2].min(), (box[2:] - size).max()) > hair]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def titled(figure: Figure, title: str) -> Any:
    return next(axes for axes in figure.axes if axes.get_visible() and axes.get_title(loc="left") == title)


@pytest.mark.parametrize("name", COMMITTED)
def test_no_texts_touch(name: str):
    assert touching(drawn(name)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", per_environment())
def test_no_texts_touch_with_six_environments(name: str):
    """Seen to fail for crossing and for constants with six panels in a row."""
    figure = drawn(name, six(name))
    assert figure.get_figwidth() <= style.PAGE
    assert touching(figure) == []


@pytest.mark.parametrize("name", per_environment())
def test_no_texts_touch_with_one_environment(name: str):
    table = table_of(name)
    assert touching(drawn(name, table[table["env"] == "synth-bernoulli"].assign(env="crossover"))) == []


def test_ten_figures_have_a_panel_or_a_line_per_environment():
    expected = {"crossing", "exploration", "awareness", "ablations", "rho", "constants", "spent", "resolution"}
    assert {*expected, "environments", "scale-gain"} <= set(per_environment())


def test_texts_that_touch_or_are_cut_are_seen():
    with mpl.rc_context(style.PAPER):
        figure = Figure(figsize=(style.COLUMN, 2.0))
        for x, said in ((0.1, "left"), (0.13, "right"), (0.98, "cut off"), (0.5, "alone")):
            figure.text(x, 0.5, said)
    assert touching(figure) == [("left", "right"), ("cut off",)]


@pytest.mark.parametrize("name", ["exploration", "awareness", "rho", "resolution", "spent", "constants", "ablations"])
def test_the_first_panel_of_every_row_says_what_it_shows(name: str):
    """Seen to fail with the first panel alone."""
    axes = [axes for axes in drawn(name, six(name)).axes if not (name == "spent" and axes.get_ylim()[1] > 3)]
    if name == "ablations":
        said = [bool(one.get_yticklabels()[0].get_text()) for one in axes]
    else:
        said = [bool(one.get_ylabel()) for one in axes]
    assert said == [True, False, False] * (4 if name == "constants" else 2)


def test_the_legend_of_crossing_says_that_grey_curves_are_cut():
    assert legend_of(drawn("crossing")) == ["other good prompts, cut where below the leaders' range"]


def test_neighbours_are_drawn_apart_and_within_half_a_step():
    """Seen to fail with the order of the list, and without the limit by the smallest step."""
    budgets = (500, 1000, 2000, 20_000)
    at = np.log([panels.apart(budgets, place, 8) for place in range(8)])
    step = np.diff(np.sort(at))
    np.testing.assert_allclose(step, step[0])
    assert (np.abs(np.diff(at)) > 1.9 * step[0]).all()
    assert at.sum() == pytest.approx(0.0, abs=1e-12)
    close = np.log([panels.apart((1000, 1010, 100_000), place, 40) for place in range(40)])
    assert np.ptp(close) < np.log(1010 / 1000)
    assert panels.apart((500,), 0, 3) == panels.apart((500, 1000), 0, 1) == 1.0


def test_ablations_name_algorithms_as_all_figures_do_and_say_why_one_was_not_run():
    """Seen to fail with the names of the sweep, and with one reason for all."""
    figure = drawn("ablations", six("ablations"))
    labels = {text.get_text() for text in figure.axes[0].get_yticklabels()}
    assert {style.look(name).label for name in ("psst+k4", "prompt-halving", "prompt-halving-n8")} <= labels
    notes = {
        env: {text.get_text() for text in titled(figure, env).texts if "not run" in text.get_text()} for env in LIKE
    }
    assert notes["synth-bernoulli"] == {"not run here: of two answers,\ncredits for a tie agree"}
    assert notes["MATH"] == set()
    assert notes["synth-categorical"] == notes["HH"] == notes["Summarization"] == {"not run here: no votes"}


def test_a_difference_that_is_far_off_hides_neither_axis():
    table = table_of("ablations")
    far = (table["env"] == "MATH") & (table["variant"] == "ties by index") & (table["budget"] == 5000)
    table.loc[far, "diff_mean"] = -3.0
    (note,) = [text for text in titled(drawn("ablations", table), "MATH").texts if "-3.00" in text.get_text()]
    assert note.get_bbox_patch() is None


def test_what_always_spends_the_whole_budget_is_one_line_and_what_overspends_is_apart():
    """Seen to fail with all rules in one panel."""
    figure = drawn("spent")
    said = legend_of(figure)
    assert said[-1] == "all of the budget (epsilon-greedy, softmax, UCB)"
    assert "PSST, reference budget" in said
    assert "UCB" not in said
    tops = [axes.get_ylim()[1] for axes in figure.axes if axes.get_visible()]
    assert sorted(top > 3 for top in tops) == [False] * 3 + [True] * 3
    assert max(top for top in tops if top < 3) == 1.05
    plain = table_of("spent")
    plain = plain[plain["algorithm"] != "psst:budget_rule=reference"]
    assert len(drawn("spent", plain).axes) == 3


def test_differences_below_the_axis_are_hollow_and_their_intervals_true():
    """Seen to fail with the interval around the edge, and with every marker filled."""
    table = table_of("resolution")
    name, env = "ucb", "MATH"
    own = (table["env"] == env) & (table["algorithm"] == name) & (table["budget"] == 500)
    table.loc[own, ["difference", "difference_sem"]] = 0.0, 2e-5
    axes = titled(drawn("resolution", table), env)
    (marker,) = [line for line in axes.lines if line.get_color() == style.look(name).color and _hollow(line)]
    assert len(marker.get_xdata()) == 1
    (edge,) = marker.get_ydata()
    (bar,) = [
        one.get_segments()[0]
        for one in axes.collections
        if len(one.get_segments()) == 1 and one.get_segments()[0][0][0] == marker.get_xdata()[0]
    ]
    assert bar[1][1] == pytest.approx(edge)  # all of the interval is below it
    assert "hollow: below the axis" in legend_of(drawn("resolution"))
    assert any(text.endswith("all at once (median)") for text in legend_of(drawn("resolution")))


def _hollow(line: Any) -> bool:
    return line.get_marker() not in ("None", "") and line.get_markerfacecolor() == "white" and len(line.get_xdata()) > 0


def test_levels_of_resolution_are_named_beside_the_panel():
    """Where nothing else is. Seen to fail with names on their lines."""
    figure = drawn("resolution")
    with mpl.rc_context(style.PAPER):
        FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        assert [text.get_window_extent().x0 > axes.bbox.x1 for text in axes.texts] == [True] * 3


def test_series_over_rho_are_drawn_side_by_side():
    """Seen to fail with one place for all budgets."""
    table = table_of("rho")
    levels = sorted(table["rho"].dropna().unique())
    for axes in drawn("rho").axes:
        at = np.array([line.get_xdata() for line in axes.lines if len(line.get_xdata()) == len(levels)])
        assert len(at) == 6
        assert np.diff(np.sort(at, axis=0), axis=0).min() > 0.011
        assert np.abs(at.mean(axis=0) - levels).max() < 1e-12
        assert [text.get_text() for text in axes.get_xticklabels()] == [f"{level:g}" for level in levels]


def test_limits_of_awareness_are_named_in_full_and_the_oracle_as_elsewhere():
    said = legend_of(drawn("awareness"))
    limits = ["limit: best prompt at N = 1", "limit: best prompt at N = 1, with its best N"]
    assert said[-3:] == [*limits, style.look("oracle").label]


def test_exact_shares_of_the_gain_are_plain_lines():
    """Those of an environment whose queries are all there are. Seen to fail with markers for all."""
    table, known = table_of("scale-gain"), style.environments(["MATH"])
    table.loc[table["env"] == "MATH", "share_sem"] = 0.0
    for rows, marker in ((None, "o"), (table, "None")):
        axes = drawn("scale-gain", rows).axes[0]
        shapes = {line.get_color(): line.get_marker() for line in axes.lines if len(line.get_xdata())}
        assert shapes[known["MATH"]] == marker
        assert shapes[known["synth-bernoulli"]] == "o"


def test_an_environment_has_one_colour_whatever_else_is_there():
    """Seen to fail with colours by order."""
    both = style.environments(["mine", "MATH", "synth-bernoulli"])
    assert both["MATH"] == style.environments(["MATH"])["MATH"]
    assert len({both[name] for name in ("mine", "MATH", "synth-bernoulli")}) == 3
    assert len({style.environments([])[name] for name in LIKE}) == 6


def test_bounds_that_coincide_since_all_are_vacuous_are_named():
    """Seen to fail with bounds that differ in one budget."""
    axes = [axes for axes in drawn("regret").axes if axes.get_title(loc="left") == "mv-three-scales"]
    assert [text.get_text().splitlines() for text in axes[0].texts] == [
        ["all vacuous:", "theorem 1 as printed", "theorem 1 corrected", "theorem A, Chernoff"]
    ]
    table = table_of("regret")
    rows = table[(table["env"] == "bon-two-scales") & (table["algorithm"] == "psst")]
    assert regret.vacuous(rows) == []


def test_environments_whose_files_are_not_at_hand_have_the_sizes_of_the_paper():
    """Seen to fail with the table's own rows alone."""
    table = table_of("environments")
    said = [text.get_text() for text in drawn("environments", table[table["env"] != "CQA"]).axes[0].texts]
    line = said[said.index("CQA") :][:12]
    assert line == ["CQA", "MV", "48", "32", "3", "1500", "1", *[""] * 4, "file not at hand; sizes as in Table 1"]
    all_there = [text.get_text() for text in drawn("environments", six("environments")).axes[0].texts]
    assert not any("not at hand" in text for text in all_there)
    other = [text.get_text() for text in drawn("environments", table[:1].assign(env="crossover")).axes[0].texts]
    assert "MATH" not in other


def test_two_level_lines_stay_however_far_apart_the_series_are():
    """Rules worth the same at both budgets: the two below are left out, then no more. Seen to end in a ValueError."""
    worth = {"ucb": 0.1, "uniform": 0.5, "psst": 0.9, "oracle": 1.0}
    rows = [
        {"algorithm": name, "budget": budget, "acr_mean": value, "acr_sem": 0.0}
        for name, value in worth.items()
        for budget in (100, 1000)
    ]
    axes = Figure().subplots()
    panels.against_budget(axes, pd.DataFrame(rows))
    low, high = axes.get_ylim()
    assert 0.85 < low < 0.9
    assert high > 1.0
