"""Budget efficiency: by hand, cut off at either end of the budgets, and its bootstrap against known laws."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import agrees
from scipy import stats

from sim.comparison import efficiency, tables
from sim.comparison.efficiency import OVERALL, Efficiency, Ratios

BUDGETS = np.array([100, 200, 400, 800])


def frame(regret: dict[str, dict[int, Any]], env: str = "e") -> pd.DataFrame:
    """Trials of one environment: algorithm -> budget -> the regret of each trial."""
    rows = [
        (env, algorithm, budget, trial, 0.0, one, 0.0, budget)
        for algorithm, of in regret.items()
        for budget, values in of.items()
        for trial, one in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=list(tables.TRIALS))


@pytest.mark.parametrize(
    ("means", "goal", "target", "least", "most", "lasting"),
    [
        ((0.4, 0.3, 0.2, 0.1), 0.3, 800, 4.0, 4.0, 4.0),
        ((0.4, 0.3, 0.2, 0.1), 0.25, 800, 2.0, 2.0, 2.0),  # nothing is interpolated between 200 and 400
        ((0.4, 0.3, 0.2, 0.1), 0.4, 800, 8.0, np.inf, 8.0),
        ((0.4, 0.3, 0.2, 0.1), 0.09, 800, 0.0, 1.0, 0.0),
        ((0.4, 0.3, 0.2, 0.1), 0.1, 200, 0.25, 0.25, 0.25),
        ((0.4, 0.1, 0.3, 0.1), 0.2, 800, 4.0, 4.0, 1.0),  # the smallest, though a larger one does not suffice
        ((0.1 + 0.2, 0.1, 0.1, 0.1), 0.3, 800, 8.0, np.inf, 8.0),  # equal but for rounding
    ],
)
def test_the_smallest_budget_that_suffices(
    means: Any, goal: float, target: int, least: float, most: float, lasting: float
) -> None:
    """Seen to fail with the largest that does not suffice, with 0 for none at both ends, and without `_NOISE`."""
    found = efficiency.ratios(BUDGETS, np.array([means]), np.array([goal]), target)
    assert [float(of[0]) for of in found] == [least, most, lasting]


def test_the_geometric_mean_keeps_what_is_open() -> None:
    """Of 8, at least 2, below 1: open at both ends. Seen to fail with the arithmetic mean."""
    parts = (8.0, 8.0, 2.0), (2.0, np.inf, 2.0), (0.0, 1.0, 0.0)
    eight, two, one = (Ratios(*np.array(part)[:, None]) for part in parts)
    assert [float(of[0]) for of in efficiency.geometric([eight, two])] == [pytest.approx(4.0), np.inf, pytest.approx(2)]
    assert [float(of[0]) for of in efficiency.geometric([eight, one])] == [0.0, pytest.approx(8**0.5), 0.0]
    assert [float(of[0]) for of in efficiency.geometric([eight, two, one])] == [0.0, np.inf, 0.0]


def test_efficiencies_as_text() -> None:
    assert str(Efficiency(8.0, 8.0, 4.12, 16.0, 4.0)) == "8.0 [4.1, 16.0]"
    assert str(Efficiency(33.3, np.inf, 20.0, np.inf, 4.0)) == ">= 33.3 [20.0, inf]"
    assert str(Efficiency(0.0, 1.0, 0.0, 1.4, 0.0)) == "< 1.0 [0.0, 1.4]"
    assert str(Efficiency(0.0, np.inf, 0.0, np.inf, 0.0)) == "open [0.0, inf]"


def test_the_algorithms_of_an_environment_by_hand() -> None:
    """The second needs 200 for .2, which the reference has at 800, and 100 for .4; the third never gets there."""
    halves = np.array([-0.1, 0.1])
    curve = {100: 0.4 + halves, 200: 0.2 + halves, 800: 0.1 + halves}
    bad = {200: 0.5 + halves, 800: 0.45 + halves}
    found = efficiency.of_trials(
        frame({"ref": {400: 0.4 + halves, 800: 0.2 + halves}, "good": curve, "bad": bad}), "ref", (400, 800)
    )
    assert list(found) == [
        *(("good", target) for target in (400, 800, OVERALL)),
        *(("bad", target) for target in (400, 800, OVERALL)),
    ]
    rows: Any = efficiency.table("e", 2, found).set_index(["algorithm", "target"])
    assert rows.columns.tolist() == [name for name in efficiency.COLUMNS if name not in rows.index.names]
    # trials differ alike for all: pairing leaves nothing to chance
    assert rows.loc[("good", 400), ["least", "most", "low", "high"]].tolist() == [4.0, np.inf, 4.0, np.inf]
    assert rows.loc[("good", 800), ["least", "most", "low", "high"]].tolist() == [4.0, 4.0, 4.0, 4.0]
    assert rows.loc[("good", OVERALL), ["least", "low"]].tolist() == [pytest.approx(4.0)] * 2
    assert rows.loc[("bad", 800), ["least", "most", "low", "high"]].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_the_bootstrap_has_the_law_of_means_of_drawn_trials() -> None:
    """P(the algorithm suffices at 100) in a draw, exactly: Binomial(25, 12 / 25) at most 12 of 25 drawn trials lose.

    Trials lose 1 to the reference in 12 of 25 trials and win 1 in 13. Seen to fail with draws without replacement, and
    with other trials for the reference than for the algorithm (then the mean regret differs more, p = .5).
    """
    base = np.random.default_rng(0).normal(0, 5, 25)  # what both have in common is paired away
    other = base + np.where(np.arange(25) < 12, 1.0, -1.0)
    found = efficiency.of_trials(
        frame({"ref": {800: base}, "own": {100: other, 800: base - 99}}), "ref", (800,), 40_000
    )
    suffices = found["own", 800].least[1:] == 8.0
    exact = float(stats.binom.cdf(12, 25, 12 / 25))
    assert agrees(suffices.mean(), exact, np.sqrt(exact * (1 - exact) / 40_000))
    one = efficiency.interval(found["own", 800])
    assert (one.least, one.low, one.high) == (8.0, 1.0, np.inf)


def test_an_interval_holds_the_share_it_should() -> None:
    """Of 40 draws, one lies on either side. Seen to fail with both tails on each, and with the estimate among them."""
    ends = np.concatenate([[99.0], np.random.default_rng(1).permutation(np.arange(1.0, 41.0))])
    found = efficiency.interval(Ratios(ends, ends, ends))
    assert found == Efficiency(99.0, 99.0, 2.0, 39.0, 99.0)


def test_algorithms_that_were_not_run_alike_are_refused() -> None:
    two = frame({"ref": {800: [0.1, 0.2]}, "own": {100: [0.1, 0.2]}})
    for table, sentence in (
        (pd.concat([two, two.assign(env="f")]), "trials of 2 environments"),
        (two[two["algorithm"] == "own"], "e: no trials of ref at budget 800"),
        (two[(two["algorithm"] == "ref") | (two["trial"] == 0)], "e: some algorithms were run on fewer trials"),
    ):
        with pytest.raises(ValueError, match=sentence):
            efficiency.of_trials(table, "ref", (800,))


def test_more_regret_is_tested_on_one_side() -> None:
    """Seen to fail two-sided, and with the sign turned."""
    values = np.random.default_rng(0).normal(0.2, 1.0, 30)
    expected: Any = stats.ttest_1samp(values, 0, alternative="greater")[1]
    assert efficiency.more_p(values) == pytest.approx(expected)
    assert efficiency.more_p(-values) == pytest.approx(1 - expected)
    assert efficiency.more_p(np.zeros(5)) == efficiency.more_p(np.full(5, -0.1)) == 1.0
    assert efficiency.more_p(np.full(5, 0.1)) == 0.5**5
