"""Figures of budget efficiency and of the parts of racing: tables against trials, and what is open at the edge."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from figures import efficiency, racing_parts, style
from figures.inputs import Lab
from sim import algorithms
from sim.algorithms import MixtureRacing
from sim.comparison.efficiency import COLUMNS, OVERALL

TINY = {
    **{"envs": ("crossover",), "reference": "psst", "targets": (20, 160), "algorithms": ("uniform", "random")},
    **{"budgets": (20, 40, 160), "trials": 64},
}


def test_the_table_is_read_off_trials(tmp_path: Path) -> None:
    """The smallest budget that reaches the reference's regret. Seen to fail with the goal at the first T0 for both."""
    lab = Lab({}, tmp_path, {})
    table = efficiency.compute(TINY, lab)
    assert table.columns.tolist() == list(COLUMNS)
    assert table["target"].tolist() == [20, 160, OVERALL] * 2
    other = lab.compare(TINY | {"algorithms": ("psst",), "budgets": TINY["targets"]}, "psst").summary
    goals = other.set_index("budget")["regret_mean"]
    own = lab.compare(TINY, "uniform").summary.set_index(["algorithm", "budget"])["regret_mean"]
    for row in table[table["target"] != OVERALL].itertuples():
        enough = [budget for budget in TINY["budgets"] if own[row.algorithm, budget] <= goals[row.target]]
        assert row.least == (row.target / enough[0] if enough else 0.0)
    assert (table["low"] <= table["least"]).all()
    assert (table["high"] >= table["most"]).all()


def test_open_ends_reach_the_edge_of_a_panel() -> None:
    """Seen to fail with a bar that ends at the estimate."""
    rows = [
        ("one", "mixture-racing", 2000, 9, 8.0, np.inf, 5.0, np.inf, 1.0),
        ("one", "mixture-racing", OVERALL, 9, 4.0, 4.0, 2.0, 6.0, 1.0),
        ("one", "top-two", 2000, 9, 0.0, 0.5, 0.0, 0.9, 1.0),
        ("one", "top-two", OVERALL, 9, 1.0, 1.0, 0.8, 1.4, 1.0),
    ]
    with mpl.rc_context(style.PAPER):
        figure = efficiency.draw(pd.DataFrame(rows, columns=list(COLUMNS)))
    (panel,) = (axes for axes in figure.axes if axes.get_visible())
    low, high = panel.get_ylim()
    spans = [bars.get_segments() for bars in panel.collections if hasattr(bars, "get_segments")]
    ends = [(segment[0, 1], segment[1, 1]) for of in spans for segment in of]
    assert ends[0] == (pytest.approx(5.0), pytest.approx(2 * high))
    assert ends[1] == (pytest.approx(2.0), pytest.approx(6.0))
    assert ends[2][0] < low
    assert low < 0.5 < 8.0 < high
    assert [text.get_text() for text in panel.get_xticklabels()] == ["2,000", "mean"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mixture racing", "top-two"]


def test_parts_are_compared_with_the_whole(tmp_path: Path) -> None:
    """Paired, and named. Seen to fail with differences to the first variant, and with the whole among the variants."""
    sweep = {"envs": ("crossover",), "reference": "uniform", "variants": {"by chance": "random"}, "budgets": (20, 40)}
    lab = Lab({}, tmp_path, {})
    table = racing_parts.compute(sweep | {"trials": 64}, lab)
    assert table["variant"].tolist() == ["", "", "by chance", "by chance"]
    assert (table["diff_mean"] == 0).tolist() == [True, True, False, False]
    trials = lab.compare(sweep | {"algorithms": ("uniform", "random"), "trials": 64}, "uniform").trials
    regret = trials.groupby(["algorithm", "budget"])["regret"].mean()
    for row in table[2:].itertuples():
        assert row.diff_mean == pytest.approx(regret["uniform", row.budget] - regret["random", row.budget])
    with mpl.rc_context(style.PAPER):
        (panel,) = (axes for axes in racing_parts.draw(table).axes if axes.get_visible())
    assert [text.get_text() for text in panel.get_yticklabels()] == ["by chance"]


def test_each_part_of_mixture_racing_is_removed_and_left_alone() -> None:
    """One of its four switches thrown, all but one, or all. Seen to fail without `fitted`, the law of the answers."""
    parts = ("fitted", "nested", "together", "equal_rounds")
    whole, off = MixtureRacing(), {}
    for said, text in racing_parts.SWEEP["variants"].items():
        rule = algorithms.get(text)
        if isinstance(rule, MixtureRacing) and (rule.seats, rule.least) == (whole.seats, whole.least):
            off[said] = {part for part in parts if getattr(rule, part) != getattr(whole, part)}
    removed = [part for said, (part, *_) in ((said, sorted(of)) for said, of in off.items()) if "without" in said]
    alone = [set(parts) - of for said, of in off.items() if "alone" in said]
    assert sorted(removed) == sorted(parts)
    assert all(len(of) == 1 for said, of in off.items() if "without" in said)
    assert sorted(map(sorted, alone)) == sorted([part] for part in parts)
    assert off["none of the four"] == set(parts)
