"""The ledger: a verdict over all environments from those of each, and the text that holds them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from figures import build, claims
from figures.judges import NOT, OPEN, PARTLY, REPRODUCED, UNTESTED, Finding
from sim.cli import app
from sim.comparison import tables

TABLES = Path(__file__).resolve().parents[2] / "figures" / "tables"


def test_overall():
    some, every = claims.CLAIMS["C5"], claims.CLAIMS["C3"]
    findings = [Finding("a", "", REPRODUCED), Finding("b", "", NOT), Finding("c", "", OPEN)]
    assert claims.overall(some, findings) == REPRODUCED
    assert claims.overall(every, findings) == PARTLY
    assert claims.overall(claims.CLAIMS["C8"], findings) == NOT
    real = claims.CLAIMS["C7"]
    assert claims.overall(real, [Finding("MATH", "", REPRODUCED), Finding("synth-bernoulli", "", NOT)]) == REPRODUCED


@pytest.mark.parametrize(
    ("verdicts", "every", "some", "always"),
    [
        ((REPRODUCED, NOT, OPEN), PARTLY, REPRODUCED, NOT),
        ((REPRODUCED, OPEN), OPEN, REPRODUCED, OPEN),
        ((NOT, OPEN), OPEN, OPEN, NOT),
        ((PARTLY, OPEN), PARTLY, OPEN, PARTLY),
        ((REPRODUCED, UNTESTED), REPRODUCED, REPRODUCED, REPRODUCED),
        ((NOT, PARTLY), PARTLY, PARTLY, NOT),
        ((UNTESTED,), UNTESTED, UNTESTED, UNTESTED),
    ],
)
def test_over_all_environments_what_is_open_may_change_the_verdict(
    verdicts: tuple[str, ...], every: str, some: str, always: str
):
    """By the verdicts that the open ones may turn into."""
    findings = [Finding(str(i), "", one) for i, one in enumerate(verdicts)]
    assert [claims.overall(claims.CLAIMS[name], findings) for name in ("C3", "C5", "C8")] == [every, some, always]


def test_a_claim_of_several_parts_needs_all_of_them():
    """Each on some environment."""
    claim = claims.CLAIMS["C6"]
    both = [Finding("a", "", REPRODUCED, "x"), Finding("b", "", NOT, "x"), Finding("b", "", REPRODUCED, "y")]
    assert claims.overall(claim, both) == REPRODUCED
    assert claims.overall(claim, [*both[:2], Finding("b", "", PARTLY, "y")]) == PARTLY
    assert claims.overall(claim, [*both[:2], Finding("b", "", OPEN, "y")]) == OPEN


def test_marks():
    assert claims.into("a\n<!-- claims -->\nold\n<!-- /claims -->\nb", "| new |") == (
        "a\n<!-- claims -->\n| new |\n<!-- /claims -->\nb"
    )
    with pytest.raises(ValueError, match="no marks"):
        claims.into("a", "b")


def test_the_committed_ledger_is_what_the_committed_tables_say():
    path = TABLES / "claims.md"
    known = {name: tables.load(TABLES / f"{name}.csv") for name in claims.needs()}
    assert path.read_text(encoding="utf-8") == claims.ledger(
        known, build.origins(claims.needs(), build.Wanted(TABLES.parent))
    )
    results = (TABLES.parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
    assert claims.into(results, claims.short(known)) == results
    findings = claims.judge(known)
    assert list(findings) == [f"C{i}" for i in range(1, 11)]
    assert all(findings.values())


def test_a_file_without_marks_is_refused_before_the_work(tmp_path: Path):
    (tmp_path / "text.md").write_text("nothing")
    result = CliRunner().invoke(app, ["claims", "--out", str(tmp_path), "--into", str(tmp_path / "text.md")])
    assert result.exit_code == 2
    assert "no marks" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["text.md"]
