"""Files that `iapo new` writes: their heads say a command that can be run, bounds hold, claims are judged."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer.main
from own_code import forgotten

from figures import claims as ledger
from sim import algorithms, envs
from sim.adapters.scorers import registry as scorers
from sim.cli import app
from sim.cli.new import Skeleton, named, skeleton
from theory.checks import brought, claims, families


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what a test brings is gone after it."""
    monkeypatch.chdir(tmp_path)
    with forgotten():
        yield tmp_path
    claims.CLAIMS.pop("mine", None)


@pytest.mark.parametrize("kind", Skeleton)
def test_the_head_of_a_new_file_says_a_command_with_its_address(kind: Skeleton) -> None:
    """Read as it would be run. Seen to fail with `--bound mine.py` in the head of a bound, and with --bounds there."""
    head = skeleton(kind, "mine.py").splitlines()[0]
    line = head.partition(": ")[2].strip('"')
    if kind is Skeleton.scorer:
        assert f'scorer = "mine.py{named(kind, "mine")}"' in line
        return
    words = shlex.split(line)
    assert words[0] == "iapo"
    assert f"mine.py{named(kind, 'mine')}" in words
    typer.main.get_command(app).commands[words[1]].make_context("iapo", words[2:])  # type: ignore[attr-defined]


def test_a_new_bound_holds_and_is_not_vacuous(here: Path) -> None:
    """By exact error on the worlds of `iapo verify --family two-arm`. Seen to fail with no division by the width."""
    (here / "mine.py").write_text(skeleton(Skeleton.bound, "mine.py"))
    brought.bring(["mine.py:mine"])
    claim, useful = claims.CLAIMS["mine"], 0
    assert claim.rule == "uniform"
    build = families.FAMILIES["two-arm"].build
    assert build is not None
    for number in range(3):
        data = build(number)
        for budget in (2, 10, 100, 1000):
            bound, exact = claim.of(claims.case_of(data), budget), claims.exact_failure("uniform", data, budget)
            assert exact is not None
            assert exact.total <= bound <= 1.0
            useful += bound < 0.5
    assert useful > 0


def test_a_new_claim_is_judged_by_kept_tables(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each verdict once. Seen to fail with the margin of one algorithm alone."""
    monkeypatch.setattr(ledger, "CLAIMS", {})
    (here / "mine.py").write_text(skeleton(Skeleton.claim, "mine.py"))
    ledger.bring(["mine.py:Mine"])
    rows = [
        (env, algorithm, budget, acr, sem)
        for env, ahead in (("MATH", 0.03), ("drawn", 0.02), ("other", -0.03))
        for algorithm, budget, acr, sem in (
            *(("psst", 10, 0.0, 0.0), ("uniform", 10, 0.9, 0.0)),
            *(("psst", 99, 0.5 + ahead, 0.01), ("uniform", 99, 0.5, 0.01)),
        )
    ]
    table = pd.DataFrame(rows, columns=["env", "algorithm", "budget", "acr_mean", "acr_sem"])
    (found,) = ledger.judge({"exploration": table}).values()
    assert [(one.env, one.verdict) for one in found] == [("MATH", "reproduced"), ("drawn", "open"), ("other", "not")]
    assert found[0].ours == "+0.0300 [+0.0023, +0.0577]"


@pytest.mark.parametrize(
    ("kind", "get"),
    [(Skeleton.algorithm, algorithms.get), (Skeleton.environment, envs.get), (Skeleton.scorer, scorers.get)],
)
def test_a_file_alone_names_the_one_class_or_function_of_its_kind(kind: Skeleton, get, here: Path) -> None:
    """As docs/extending.md says: `mine.py` for `mine.py:Mine`. Seen to fail with a second one in the file."""
    (here / "mine.py").write_text(skeleton(kind, "mine.py"))
    assert type(get("mine.py")).__name__ == type(get(f"mine.py{named(kind, 'mine')}")).__name__
