"""`iapo new` and `iapo check`; scorers, figures and bounds of one's own."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_code import forgotten
from typer.testing import CliRunner, Result

from figures import build, registry, style
from figures import claims as ledger
from figures.inputs import Lab
from sim import algorithms, envs, mistakes
from sim.adapters import trust
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import registry as scorers
from sim.adapters.scoring import OK, UNREADABLE, Item, Scored
from sim.cli import app
from sim.cli.new import FileKind, Skeleton, named, skeleton
from sim.conformance import algorithms as algorithm_checks
from sim.conformance import checks
from sim.conformance import scorers as scorer_checks
from theory.checks import brought, claims


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what a test brings is gone after it."""
    monkeypatch.chdir(tmp_path)
    figures, bounds = dict(registry.FIGURES), dict(claims.CLAIMS)
    with forgotten():
        yield tmp_path
    for known, before in ((registry.FIGURES, figures), (claims.CLAIMS, bounds)):
        for name in set(known) - set(before):
            del known[name]  # type: ignore[attr-defined]


def iapo(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("kind", Skeleton)
def test_a_new_file_says_what_to_do_next_and_is_never_overwritten(kind: Skeleton, here: Path) -> None:
    result = iapo("new", kind, "my-own")
    assert result.exit_code == 0, result.output
    text = (here / "my_own.py").read_text()
    assert text == skeleton(kind, "my_own.py")
    assert len(text.splitlines()) <= 45
    address, first = f"my_own.py{named(kind, 'my_own')}", result.stdout.splitlines()[1]
    assert first.startswith("  iapo ")
    assert first.endswith(f" {address}")
    assert ("iapo check" in first) == (kind in list(FileKind))
    assert f"iapo {first.split()[1]}" in text.splitlines()[0] or kind in list(FileKind)  # its head says the same
    assert compile(text, "my_own.py", "exec")
    again = iapo("new", kind, "my-own")
    assert again.exit_code == 2
    assert again.stderr == "error: my_own.py: exists; choose another name, or move it away\n"
    assert (here / "my_own.py").read_text() == text


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a b", "'a b' is no name for a file and a class; use letters, digits and _, as in my_rule"),
        ("class", "'class' is no name for a file and a class"),
        ("random", "random.py would hide the module random of Python from scripts beside it"),
        ("state", "state is the name of something else in a new algorithm"),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, sentence: str, here: Path) -> None:
    result = iapo("new", "algorithm", name)
    assert result.exit_code == 2
    assert f"error: {sentence}" in result.stderr
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "kind", [FileKind.scorer, FileKind.environment, pytest.param(FileKind.algorithm, marks=pytest.mark.slow)]
)
def test_a_new_file_passes_its_checks(kind: FileKind, here: Path) -> None:
    iapo("new", kind, "mine")
    result = iapo("check", f"mine.py{named(kind, 'mine')}")
    assert result.exit_code == 0, result.output
    assert f"mine.py{named(kind, 'mine')}: {kind}\n" in result.stdout
    assert "checks passed" in result.stdout
    assert "FAIL" not in result.stdout


def test_what_fails_is_said_in_words_with_a_hint(here: Path) -> None:
    (here / "mine.py").write_text(
        skeleton(FileKind.algorithm, "mine.py").replace("state.left < 1\n", "state.left\n", 1)
    )
    result = iapo("check", "mine.py:Mine")
    assert result.exit_code == 1
    assert "FAIL  its methods return what sim.core.Algorithm says" in result.stdout
    assert "finished returns one value of shape () and type int32; it must be shape () and type bool" in result.stdout
    assert "hint: compare with `iapo new algorithm`" in result.stdout
    assert "1 of 10 checks failed; 9 more can be tried then" in result.stdout
    (here / "mine.py").write_text("import nothing_like_it\n")
    result = iapo("check", "mine.py:Mine")
    assert result.exit_code == 2
    assert result.stderr == "error: mine.py, line 1: ModuleNotFoundError: No module named 'nothing_like_it'\n"


@pytest.mark.parametrize(
    ("given", "summary"), [(2, "all 2 checks passed"), (1, "1 of 2 checks passed; 1 not given"), (0, "0 of 2")]
)
def test_what_is_not_given_has_not_passed(given: int, summary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with every check that did not fail counted as passed."""

    def absent(make: checks.Make) -> None:
        raise checks.NotGiven

    kept, left_out = (checks.Check("one", "it holds", "", one) for one in (lambda make: None, absent))
    found = [kept] * given + [left_out] * (2 - given)
    monkeypatch.setattr(algorithm_checks, "CHECKS", found)
    result = iapo("check", "uniform")
    assert result.exit_code == 0, result.output
    assert result.stdout.count(": not given\n") == 2 - given
    assert result.stdout.splitlines()[-1].startswith(summary)


# --- scorers

SCORER = """
from dataclasses import dataclass
from sim.adapters.scoring import OK, Scored, Scorer

@dataclass(frozen=True)
class Long(Scorer):
    least: int
    loud: bool = False
    needs_gold = False

    async def score(self, item, prompt, texts):
        return [Scored(OK, text.strip(), float(len(text) >= self.least)) for text in texts]

class Bare(Scorer):
    pass

@dataclass(frozen=True)
class Dropping(Scorer):
    needs_gold = False

    async def score(self, item, prompt, texts):
        return [Scored(OK, text, 1.0) for text in texts if text]

def score(query, gold, completion):
    return len(completion)

number = 3
"""


def scorer(folder: Path, text: str, **options: Any) -> Any:
    return scorers.read(TomlTable(folder / "run.toml", "objectives[0]", {"scorer": text} | options))


def test_a_run_file_names_a_scorer_beside_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "runs").mkdir()
    (here / "runs" / "own.py").write_text(SCORER)
    found = scorer(here / "runs", "own.py:Long", least=3, loud=True)
    assert (found.least, found.loud) == (3, True)
    assert scorer(here / "runs", "own.py:Long:least=3,loud=true") == found
    scored = asyncio.run(found.score(Item("q"), "", ["ab", "abc "]))
    assert scored == [Scored(OK, "ab", 0.0), Scored(OK, "abc", 1.0)]
    called = scorer(here / "runs", "own.py:score", timeout=5)
    assert (called.target, called.timeout) == ("own.py:score", 5.0)
    assert asyncio.run(called.score(Item("q"), "", ["four"])) == [Scored(OK, None, 4.0)]


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (
            "own.py:Long",
            {},
            "'own.py:Long', which cannot be used: own.py:Long needs least; write own.py:Long:least=...",
        ),
        ("own.py:Long", {"least": 1.5}, "least is 1.5; expected a whole number"),
        ("own.py:Bare", {}, "'own.py:Bare', which cannot be used: own.py:Bare has not all that a scorer needs: score"),
        ("own.py:number", {}, "cannot be used: own.py:number is an object of class int; expected a class derived from"),
        ("own.py:Lon", {}, "has no 'Lon'; did you mean 'Long'?"),
        ("gone.py:Long", {}, "gone.py: no such file"),
        ("exactt", {}, "is 'exactt'; allowed are exact, choice"),
    ],
)
def test_a_scorer_that_cannot_be_used_is_refused(text: str, options: dict[str, Any], sentence: str, here: Path) -> None:
    (here / "own.py").write_text(SCORER)
    with pytest.raises(ValueError, match=r"^[^\n]*run\.toml: objectives\[0\]\.") as raised:
        scorer(here, text, **options)
    assert sentence in str(raised.value)


def test_a_scorer_of_a_policy_is_imported_only_when_it_is_allowed(here: Path) -> None:
    (here / "own.py").write_text(f"from pathlib import Path\nPath('imported').touch()\n{SCORER}")
    table = TomlTable(here / "policy.json", "objectives[0]", {"scorer": "own.py:score"})
    with pytest.raises(ValueError, match=rf"imports own.py from {here}/own.py, which runs all code there"):
        trust.check(table, trust.only())
    assert not (here / "imported").exists()
    trust.check(table, trust.only(["own.py"]))
    algorithm = TomlTable(here / "run.toml", "tune", {"algorithm": "own.py:Rule"})
    with pytest.raises(ValueError, match=r"tune.algorithm is 'own.py:Rule', Python code: using it imports own.py"):
        trust.check_code(algorithm, "algorithm", trust.only())
    trust.check_code(TomlTable(here / "run.toml", "tune", {"algorithm": "psst"}), "algorithm", trust.only())


def test_checks_of_scorers_find_what_is_dropped(here: Path) -> None:
    (here / "own.py").write_text(SCORER)
    found = list(checks.run(scorer_checks.CHECKS, lambda: scorers.get("own.py:Dropping"), "own.py:Dropping"))
    assert found[0].problem == "9 completions have 8 results"
    assert iapo("check", "own.py:Dropping").exit_code == 1


class Careless(scorers.Exact):
    """One promise broken at a time."""

    how: str = ""

    async def score(self, item: Item, prompt: str, texts: Any) -> list[Scored]:
        wrong = {
            "status": Scored("fine", "a", 1.0),
            "number": Scored(OK, "a", float("nan")),
            "nothing": Scored(OK),
            "unreadable": Scored(UNREADABLE, "a"),
            "place": Scored(OK, str(len(texts[0]))),
            "right": Scored(OK, "something else", 1.0),
            "zero": Scored(OK, item.gold, 0.0),
        }
        return [wrong[self.how]] * len(texts)


@pytest.mark.parametrize(
    ("how", "check", "sentence"),
    [
        ("status", 0, "the status is 'fine'"),
        ("number", 0, "the score is nan"),
        ("nothing", 0, "it was read, but has neither a label nor a score"),
        ("unreadable", 0, "its status is 'unreadable', but it has a label or a score"),
        ("place", 1, "the same completions in another order have other results"),
        ("right", 2, "is read as 'something else', the right answer"),
        ("zero", 2, "scores 0"),
    ],
)
def test_checks_of_scorers_find_broken_promises(how: str, check: int, sentence: str) -> None:
    problem = scorer_checks.CHECKS[check].problem(lambda: type("One", (Careless,), {"how": how})())
    assert problem is not None
    assert sentence in problem


# --- figures


FIGURE = """
import pandas as pd
from figures import style

SWEEP = {"points": (1, 2)}
SMOKE = {"points": (1,)}

def compute(sweep, lab):
    return pd.DataFrame({"x": sweep["points"]})

def draw(table):
    figure, panels = style.paper(style.COLUMN, 1.0, nrows=1, ncols=1)
    panels[0, 0].plot(table["x"], table["x"])
    return figure

class Other:
    '''Another picture.'''
    SWEEP = {"points": (5,)}
    compute = staticmethod(compute)
    draw = staticmethod(draw)

class Half:
    SWEEP = {}
"""


def test_a_figure_of_ones_own_is_made_kept_and_made_again_when_it_changes(here: Path) -> None:
    (here / "mine.py").write_text(FIGURE)
    lab, asked = Lab({}, here / "cells", {}), build.Wanted(here / "out")
    assert registry.bring("mine.py") == "mine"
    assert registry.bring("mine.py:Other") == "Other"
    assert registry.FIGURES["Other"].shows == "Another picture."
    build.build(["mine", "Other"], asked, lab)
    assert (here / "out" / "tables" / "Other.csv").read_text() == "x\n5\n"
    assert (here / "out" / "rendered" / "mine.png").is_file()
    assert build.state("mine", asked, lab)[0] == "current"
    (here / "mine.py").write_text(FIGURE.replace("(1, 2)", "(1, 2, 2)"))
    assert registry.bring("mine.py") == "mine"
    assert build.state("mine", asked, lab)[0] == "old"


def test_figures_that_are_none_are_refused(here: Path) -> None:
    (here / "mine.py").write_text(FIGURE)
    (here / "other").mkdir()
    (here / "other" / "regret.py").write_text(FIGURE)
    (here / "empty.py").write_text("")
    for text, sentence in (
        ("mine.py:Half", "mine.py:Half has no compute, draw, which a figure needs"),
        ("empty.py", "empty.py has no SWEEP, compute, draw"),
        ("other/regret.py", "other/regret.py would be called 'regret', as another figure is; rename it"),
        ("mine.py:Othr", "mine.py has no 'Othr'; did you mean 'Other'?"),
    ):
        with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
            registry.bring(text)
        assert str(raised.value).startswith(sentence)


def test_a_sweep_that_names_code_depends_on_its_text(here: Path) -> None:
    (here / "rule.py").write_text(skeleton(FileKind.algorithm, "rule.py"))
    (here / "place.py").write_text(skeleton(FileKind.environment, "place.py"))
    sweep = {"algorithms": ("psst", "rule.py:Rule"), "envs": ("place.py:place", "crossover")}
    before = build.registered("figures.exploration", sweep)
    assert set(before) == {"program of rule.py:Rule", "program of place.py:place"}
    (here / "rule.py").write_text(skeleton(FileKind.algorithm, "rule.py").replace("parts: int = 2", "parts: int = 3"))
    after = build.registered("figures.exploration", sweep)
    assert [before[name] == after[name] for name in sorted(before)] == [True, False]


def test_code_has_a_look_and_a_short_name_of_its_own() -> None:
    names = ["psst", "mine.py:Rule", "mine.py:Rule:rho=0.3", "lab/mine.py:Rule", "lab.rules:Other", "ucb"]
    looks = style.looks(names)
    assert [look.label for look in looks.values()] == [
        *("PSST", "mine.py:Rule", "mine.py:Rule, rho=0.3", "lab/mine.py:Rule", "Other", "UCB"),
    ]
    assert style.looks(["psst", "mine.py:Rule"])["mine.py:Rule"].label == "Rule"
    assert len({(look.color, look.marker, look.face) for look in looks.values()}) == len(names)
    assert looks == style.looks(names)
    assert looks["psst"] == style.look("psst")
    known = {look.color for look in style.looks(list(algorithms.ALGORITHMS)).values()}
    assert not set(style.OWN) & known


# --- bounds

BOUND = """
from theory.checks.claims import Claim

def loose(case, budget, rule="uniform"):
    return case.problem.num_arms / budget

def short(case):
    return 1.0

def unknown(case, budget, rule="uniformly"):
    return 1.0

claimed = Claim("ucb-e", loose)
number = 3
"""


def test_bounds_of_ones_own_join_the_others(here: Path) -> None:
    (here / "mine.py").write_text(BOUND)
    brought.bring(["mine.py:loose", "mine.py:claimed", "LCPB"])
    assert claims.CLAIMS["loose"].rule == "uniform"
    assert claims.CLAIMS["claimed"].rule == "ucb-e"
    data = envs.get("two-arm").data
    assert data is not None
    assert claims.CLAIMS["loose"].of(claims.case_of(data), 100) == 0.02
    (here / "mine.py").write_text(BOUND.replace("/ budget", "/ budget / 2"))
    brought.bring(["mine.py:loose"])
    assert claims.CLAIMS["loose"].of(claims.case_of(data), 100) == 0.01


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mine.py:short", "mine.py:short takes case; a bound takes a case and a budget"),
        ("mine.py:number", "mine.py:number is an object of class int; expected a function or a Claim"),
        ("mine.py:unknown", "mine.py:unknown is about 'uniformly'; did you mean 'uniform'? known are psst, fresh; "),
        ("mine.py:los", "mine.py has no 'los'; did you mean 'loose'?"),
        ("LCPBB", "no bound is called 'LCPBB'; did you mean 'LCPB'? known are theorem 1"),
    ],
)
def test_bounds_that_are_none_are_refused(text: str, sentence: str, here: Path) -> None:
    (here / "mine.py").write_text(BOUND)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        brought.bring([text])
    assert str(raised.value).startswith(sentence)


def test_a_mistake_in_a_bound_is_told_with_its_line(here: Path) -> None:
    (here / "mine.py").write_text("def bad(case, budget):\n    return case.nothing\n")
    brought.bring(["mine.py:bad"])
    with pytest.raises(mistakes.Mistake, match=r"^mine.py, line 2: AttributeError"), mistakes.telling():
        claims.CLAIMS["bad"].of(None, 1)  # type: ignore[arg-type]


def test_claims_of_ones_own_join_the_ledger(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "CLAIMS", dict(ledger.CLAIMS))
    (here / "mine.py").write_text(FIGURE)
    (here / "held.py").write_text(
        "from figures.claims import PaperClaim\n"
        "C11 = PaperClaim('All is well.', '-', 'it is', ('mine.py', 'regret'), lambda tables: [], envs=())\n"
        "C1 = C11\nnumber = 3\n"
    )
    ledger.bring(["held.py:C11"])
    assert ledger.CLAIMS["C11"].needs == ("mine", "regret")
    assert "mine" in ledger.needs()
    for text, sentence in (("held.py:C1", "would be called 'C1'"), ("held.py:number", "expected a figures.claims.P")):
        with pytest.raises(ValueError, match=sentence):
            ledger.bring([text])
