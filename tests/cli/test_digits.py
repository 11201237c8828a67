"""Values are shown with enough digits to tell them apart, in any unit of utility."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_runs import iapo
from two_prompts import p1200

from sim.cli.digits import shown
from sim.envs import files


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.855, 0.9), ["0.8550", "0.9000"]),
        ((-2.0, 31.5), ["-2.0000", "31.5000"]),
        ((0.0, 0.0), ["0.0000", "0.0000"]),
        ((0.5, 0.5), ["0.5000", "0.5000"]),
        ((0.3, 0.1 + 0.2), ["0.3000", "0.3000"]),  # they differ by rounding
        ((0.5, 0.5012), ["0.50000", "0.50120"]),
        ((0.5, 0.50000123), ["0.50000000", "0.50000123"]),
        ((9e-8, 9.5e-8), ["9.0000e-08", "9.5000e-08"]),
        ((1e-7, 1.00002e-7), ["1.0000000e-07", "1.0000200e-07"]),
        ((0.0, 3e-7), ["0", "3.0000e-07"]),
        ((9e6, 9.5e6), ["9000000.0000", "9500000.0000"]),
        ((1e7, 1e7 + 2e-4), ["10000000.000000", "10000000.000200"]),
        ((9e29, 9.5e29), ["9.0000e+29", "9.5000e+29"]),
        ((np.nan, 0.25, np.inf), ["nan", "0.2500", "inf"]),
    ],
)
def test_enough_digits_to_tell_values_apart(values: tuple[float, ...], expected: list[str]) -> None:
    """By hand: three digits of what they differ by, and no less than four decimals."""
    assert [shown(values)(value) for value in values] == expected


def test_digits_may_follow_an_error_instead() -> None:
    assert shown([0.5, 0.6], 0.002)(0.5) == "0.50000"
    assert shown([0.5, 0.6], float("nan"))(0.5) == "0.5000"


@pytest.mark.parametrize(
    ("weight", "best", "other"),
    [(1.0, "0.9500", "0.9000"), (1e-7, "9.5000e-08", "9.0000e-08"), (1e7, "9500000.0000", "9000000.0000")],
)
def test_commands_show_values_in_any_unit(tmp_path: Path, weight: float, best: str, other: str) -> None:
    """Two prompts right with probability .90 and .95, worth `weight`. Seen to fail with four decimals: 0.0000."""
    place = tmp_path / "unit.npz"
    files.save(replace(p1200(weight), name="unit"), place)
    listed = iapo("values", place, "--context", "0").stdout.splitlines()
    assert [line.split() for line in listed if line.split()[:1] in (["0"], ["1"])] == [
        ["1", f"{best}^", "1", f"{best}^"],
        ["0", other, "1", other],
    ]
    for command in (("values", place), ("hardness", place), ("agnostic", place), ("hardness", place, "--context", "0")):
        result = iapo(*command)
        assert result.exit_code == 0, result.output
        assert best in result.stdout.split(), command


def test_comparisons_show_returns_in_any_unit(tmp_path: Path) -> None:
    """Every trial finds one of the two arms: the mean of 4 lies between .90 and .95 times the weight."""
    files.save(replace(p1200(1e-7), name="unit"), tmp_path / "unit.npz")
    arguments = (
        "--algorithm",
        "uniform",
        "--budget",
        "400",
        "--trials",
        "4",
        "--workers",
        "1",
        "--out",
        tmp_path / "out",
    )
    result = iapo("compare", "--env", tmp_path / "unit.npz", *arguments)
    assert result.exit_code == 0, result.output
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["uniform"])
    assert 9e-8 <= float(row[1]) <= 9.5e-8
    assert len(row[1]) >= len("9.5000e-08")
