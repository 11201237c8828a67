"""The figure of coverage: what its kept table shows, its evidence against exact values, planted bugs seen in it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import SIGMAS
from scipy import stats

from figures import coverage, coverage_runs, style
from figures.coverage_runs import Design, Drawn
from figures.inputs import Lab
from sim.certify import GRADES, Confidence
from sim.certify.bulk import Beginnings
from sim.comparison import tables
from sim.envs import ENVS

HURTING = ("all equal", "opposite", "one ahead")
KEPT = Path(style.__file__).resolve().parent / "tables" / "coverage.csv"
SMALL = coverage.SWEEP | {"trials": 60, "queries": 20, "sizes": (10, 20), "completions": 4, "prompts": 3}


def test_all_environments_are_in_the_sweep_and_thousands_of_runs() -> None:
    assert set(coverage.SWEEP["envs"]) == set(ENVS)
    assert set(coverage.SWEEP["worlds"]) == set(coverage_runs.WORLDS)
    assert min(coverage.SWEEP["trials"], coverage.SWEEP["trials_dear"]) >= 1000


def test_a_row_for_every_statement(tmp_path: Path) -> None:
    table = coverage.compute(coverage.SWEEP | coverage.SMOKE, Lab({}, tmp_path, {}))
    assert table.columns.tolist() == list(coverage.COLUMNS)
    assert not table.duplicated(["env", "target", "grade", "design", "level"]).any()
    for target in ("new", "these"):
        for grade in GRADES:
            own = table[(table["env"] == "crossover") & (table["target"] == target) & (table["grade"] == grade)]
            bounded = grade.startswith("bounded")
            expected = ["fixed"] if bounded and target == "these" else list(coverage.DESIGNS)
            expected += [] if bounded else ["value"]
            expected += ["evaluate", "values", "tune"] if (target, grade) == ("new", "student") else []
            assert sorted(own["design"]) == sorted(expected)
    assert (table["low"] <= table["coverage"]).all()
    assert (table["coverage"] <= table["high"]).all()
    assert (table["missed"] <= table["missed_any"]).all()


@pytest.mark.parametrize("env", ["crossover", "bon-two-scales"])
def test_evidence_is_unbiased_and_its_noise_not_too_small(env: str, tmp_path: Path) -> None:
    """Means against exact values; rows of noise against what is left where the queries' own values are taken away.

    Seen to fail with the offset of contexts left out, and with rows of pulls in another order.
    """
    drawn = coverage_runs.draw(Lab({}, tmp_path, {}), env, SMALL)
    means = drawn.runs.utilities.mean(axis=1).reshape(len(drawn.these), -1)
    for truth in (drawn.truth("new"), drawn.truth("these")):
        off = means - truth
        se = off.std(axis=0, ddof=1) / np.sqrt(len(off))
        assert (np.abs(off.mean(axis=0)) <= SIGMAS * se + drawn.rounding).all()
    noise = Beginnings(drawn.runs, SMALL["sizes"], "these").within
    assert noise is not None
    guessed = np.diagonal(noise[:, -1], axis1=2, axis2=3).reshape(means.shape).mean(axis=0)
    real = (means - drawn.these).var(axis=0, ddof=1)
    error = np.sqrt(2 / (len(means) - 1))
    assert (guessed >= real * (1 - SIGMAS * error)).all()
    assert guessed[0] <= real[0] * (1 + SIGMAS * error) + drawn.rounding  # of N = 1 it is unbiased


def runs(name: str, tmp_path: Path, trials: int = 400) -> Drawn:
    return coverage_runs.draw(Lab({}, tmp_path, {}), name, coverage.SWEEP | {"trials": trials, "queries": 60})


def below(missed: np.ndarray, level: float) -> bool:
    """Whether one row of the table would be refused among 2,000."""
    return bool(stats.binom.sf(missed.sum() - 1, len(missed), 1 - level) < coverage.SIGNIFICANT / 2000)


def fixed(drawn: Drawn, terms: Confidence) -> np.ndarray:
    return (
        Design(drawn, Beginnings(drawn.runs, (20, drawn.runs.utilities.shape[1]), terms.target), terms)
        .fixed()
        .missed_any
    )


def test_planted_bugs_are_refused_and_the_statements_are_not(tmp_path: Path) -> None:
    """Three bugs, each of which makes a row that is refused; without it none is.

    Error doubled: statements at .6 that claim .8. One comparison paid for, not both. Completions as queries of
    their own.
    """
    two, four = runs("opposite", tmp_path), runs("one ahead", tmp_path)
    plain = Confidence(0.8, "student")
    assert not below(fixed(two, plain), 0.8)
    assert not below(fixed(four, plain), 0.8)
    assert below(fixed(two, plain._replace(level=0.6)), 0.8)
    assert below(fixed(four, plain._replace(level=1 - 2 * 0.2)), 0.8)
    values, noise = (np.repeat(part, 5, axis=1) for part in (two.runs.utilities, two.runs.noise))
    assert below(fixed(two._replace(runs=two.runs._replace(utilities=values, noise=noise)), plain), 0.8)


def test_the_test_of_rows_allows_for_their_number() -> None:
    """Of three rows with chances .001, .04, .9 the first is below its level; seen to fail without Holm's factors."""
    rows = pd.DataFrame({"missed": [36, 29, 15], "trials": [100] * 3, "level": [0.78, 0.79, 0.8]})
    chances = stats.binom.sf(rows["missed"] - 1, 100, 1 - rows["level"])
    assert chances[0] * 3 < coverage.SIGNIFICANT < 2 * chances[1] < 1
    assert coverage.refused(rows).tolist() == [True, False, False]


@pytest.mark.slow
def test_no_row_of_fresh_runs_is_below_its_level(tmp_path: Path) -> None:
    """Other runs than those of the kept table: 300 on worlds that hurt and three of the library, at all levels."""
    sweep = coverage.SWEEP | {"envs": ("crossover", "bon-two-scales", "near-ties"), "worlds": HURTING}
    table = coverage.compute(sweep | {"trials": 300, "trials_dear": 300}, Lab({}, tmp_path, {}))
    assert not coverage.refused(table).any(), table[coverage.refused(table)]


HURT = ("rare", "heavy-tails", "query-noise")
"""Worlds where what few queries, or few completions, say makes the difference."""
PRINTED = ("evaluate", "values", "tune")
"""Intervals of other commands."""


def test_no_row_of_the_kept_table_is_below_its_level_but_where_rare_differences_escape() -> None:
    """An exact test of every row, Holm over all; those below are of asymptotic grades, in worlds built for it.

    Seen to fail with Student's t in `evaluate`, which is below its level where rewards are skewed.
    """
    table = tables.load(KEPT)
    assert set(table["env"]) == {*ENVS, *coverage_runs.WORLDS}
    found = table[coverage.refused(table)]
    stated = found[~found["design"].isin(PRINTED)]
    assert set(stated["env"]) == set(HURT)
    assert not found["grade"].str.startswith("bounded").any()
    assert set(found.loc[found["design"].isin(PRINTED), "env"]) <= {"heavy-tails"}
