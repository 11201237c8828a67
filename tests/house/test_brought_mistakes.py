"""Somebody's code that exits, gives back what cannot be, or is named wrongly: one sentence, and exit code 2."""

import copy
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from cli_runs import iapo, refused
from own_code import forgotten

from figures import build, registry
from figures import claims as ledger
from figures.inputs import Lab
from sim import algorithms, envs, mistakes, plugins
from sim.cli.new import Skeleton, skeleton
from theory.checks import claims
from theory.checks import plan as planning
from theory.checks.claims import Claim

RULES = """
import jax.numpy as jnp
from mine import Mine
from sim import Allocation, Policy


class Exits(Mine):
    def allocate(self, key, spec, state):
        raise SystemExit(0)

class ExitsAtOnce(Mine):
    def __check_init__(self):
        quit()

class Signature(Mine):
    def recommend(self, key, spec):
        return None

class Sized(Mine):
    def allocate(self, key, spec, state):
        return jnp.zeros(state.left)
"""
COMPARE = ["compare", "--env", "two-arm", "--budget", "9", "--trials", "2", "--workers", "1", "--out", "kept"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a rule of one's own and others that break it; what a test brings is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ledger, "CLAIMS", dict(ledger.CLAIMS))
    figures, bounds = dict(registry.FIGURES), dict(claims.CLAIMS)
    (tmp_path / "mine.py").write_text(skeleton(Skeleton.algorithm, "mine.py"))
    (tmp_path / "rules.py").write_text(RULES)
    with forgotten():
        yield tmp_path
    for known, before in ((registry.FIGURES, figures), (claims.CLAIMS, bounds)):
        known.clear()  # pyright: ignore[reportAttributeAccessIssue]
        known.update(before)  # pyright: ignore[reportAttributeAccessIssue]


def line_of(text: str, file: str = "rules.py") -> int:
    """The number of the only line of a file that holds a text."""
    (found,) = [n for n, line in enumerate(Path(file).read_text().splitlines(), start=1) if text in line]
    return found


# --- code that exits


@pytest.mark.parametrize(
    ("name", "place", "said"),
    [
        ("gone.py", "gone.py, line 2", "sys.exit(0)"),
        ("rules.py:ExitsAtOnce", "rules.py, line 13", "sys.exit()"),
        ("rules.py:Exits", "rules.py, line 9", "sys.exit(0)"),
    ],
)
def test_code_that_exits_is_told_and_leaves_nothing(name: str, place: str, said: str, here: Path) -> None:
    """Seen to fail (exit code 0, and no word) where commands left SystemExit alone."""
    (here / "gone.py").write_text("import sys\nsys.exit(0)\n")
    refused(iapo(*COMPARE, "--algorithm", name), rf"{place}: the code called {said.replace('(', chr(92) + '(')[:-1]}\)")
    assert not (here / "kept").exists()


def test_code_that_exits_is_told_by_check(here: Path) -> None:
    (here / "scorer.py").write_text(
        "import sys\nfrom dataclasses import dataclass\nfrom sim import AnswerScorer\n\n@dataclass(frozen=True)\n"
        "class Leaves(AnswerScorer):\n    def answer(self, text):\n        sys.exit('no')\n"
    )
    result = iapo("check", "scorer.py:Leaves")
    assert result.exit_code == 1
    assert "scorer.py, line 8: the code called sys.exit('no')" in result.stdout
    (here / "gone.py").write_text("import sys\nsys.exit()\n")
    refused(iapo("check", "gone.py:Rule"), r"gone.py, line 2: the code called sys.exit\(\)")


def test_an_interrupt_stays_one(here: Path) -> None:
    (here / "stopped.py").write_text("raise KeyboardInterrupt\n")
    assert iapo("check", "stopped.py:Rule").exit_code == 130


def test_code_that_exits_in_another_process_comes_back_as_a_mistake(here: Path) -> None:
    """What `mistakes.tells` is for. Seen to fail (SystemExit) where it turned exceptions alone."""
    rule: Any = algorithms.get("rules.py:Exits")
    told = mistakes.tells()(lambda: rule.allocate(None, None, None))
    with pytest.raises(mistakes.Mistake, match=r"^rules.py, line 9: the code called sys.exit\(0\)$"):
        told()


# --- code that is called wrongly, or lacks a method


def test_a_method_with_another_signature_is_told_where_it_is(here: Path) -> None:
    """Seen to fail (a traceback of JAX, exit code 1) where only lines of a traceback were looked for."""
    line = line_of("def recommend(self, key, spec):")
    refused(
        iapo(*COMPARE, "--algorithm", "rules.py:Signature"),
        rf"rules.py, line {line}: TypeError: Signature.recommend\(\)",
    )


def test_a_message_of_jax_names_no_place_of_others(here: Path) -> None:
    """Seen to fail (a file in site-packages) where what JAX says of its tracing was told."""
    result = iapo(*COMPARE, "--algorithm", "rules.py:Sized")
    refused(result, rf"rules.py, line {line_of('jnp.zeros(state.left)')}: TypeError: Shapes must be 1D")
    assert "site-packages" not in result.stderr


def test_the_place_is_in_the_file_that_was_named(here: Path) -> None:
    """Seen to fail (the line of other.py) where all that lies beside an installed file was somebody's."""
    packages = here / "site-packages"
    packages.mkdir()
    (packages / "other.py").write_text("def fail():\n    raise RuntimeError('no')\n")
    (packages / "named.py").write_text(
        "def late():\n    from importlib import import_module\n    import_module('other').fail()\n"
    )
    late = plugins.load_file(packages / "named.py").late
    with pytest.raises(mistakes.Mistake, match=r"^site-packages/named.py, line 3: RuntimeError: no$"):
        mistakes.tells()(late)()


def test_a_method_that_is_missing_is_told_where_its_class_is(here: Path) -> None:
    (here / "place.py").write_text("from sim.core import Environment\n\nclass World(Environment):\n    pass\n")
    world = plugins.load_file("place.py").World()
    said = r"^place.py, line 3: the method spec of World is missing$"
    with pytest.raises(mistakes.Mistake, match=said), mistakes.telling():
        _ = world.spec


# --- bounds, judges, figures

BOUND = "def odd(case, budget):\n    return GIVEN\n"


def bound(given: Any) -> Claim:
    Path("bound.py").write_text(BOUND)
    module: Any = plugins.load_file("bound.py")
    module.GIVEN = given
    return Claim("uniform", module.odd)


@pytest.fixture
def case() -> claims.Case:
    data = envs.get("two-arm").data
    assert data is not None
    return claims.case_of(data)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("half", "'half' (str)"),
        (math.nan, "nan (float)"),
        (-0.5, "-0.5 (float)"),
        (True, "True (bool)"),
        (None, "None (NoneType)"),
        (np.array([0.1, 0.2]), "array([0.1, 0.2]) (ndarray)"),
    ],
)
def test_a_bound_that_is_no_number_from_0_is_refused(given: Any, said: str, case: claims.Case) -> None:
    """By `iapo plan` both ways, and by `iapo verify`. Seen to fail where NaN and -0.5 counted as guarantees."""
    claims.CLAIMS.clear()
    claims.add("odd", bound(given))
    sentence = f"bound.py, line 1: odd at T = 50 on two-arm gave {said}; a bound is a number of at least 0"
    for use in (lambda: planning.promised(case, 50), lambda: claims.values_of(case, 50)):
        with pytest.raises(mistakes.Mistake) as raised:
            use()
        assert str(raised.value) == sentence
    with pytest.raises(mistakes.Mistake, match="a bound is a number"):
        planning.asked(case, 0.1)


@pytest.mark.parametrize("given", [2, math.inf, np.float32(0.5), jnp.float32(0.5), Fraction(1, 4), 0])
def test_any_number_from_0_is_a_bound(given: Any, case: claims.Case) -> None:
    """One of 1 or more says nothing, as those of the project."""
    assert claims.promise("odd", bound(given), case, 50) == float(given)


def test_an_assumption_that_does_not_hold_is_no_mistake(case: claims.Case) -> None:
    def needs(case: Any, budget: int) -> float:
        raise ValueError("not here")

    claims.CLAIMS.clear()
    claims.add("needs", Claim("uniform", needs))
    (found,) = planning.promised(case, 50)
    assert (found.budget, found.note) == (None, "not here")


FIGURE = """
import pandas as pd
from figures import style

SWEEP = {"points": 1}

def compute(sweep, lab):
    return pd.DataFrame({"x": [1]})

def draw(table):
    return style.paper(style.COLUMN, 1.0, nrows=1, ncols=1)[0]
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence", "tried"),
    [
        ('pd.DataFrame({"x": [1]})', "3", "compute gave 3 (int); the compute of a figure returns a pandas table", 2),
        ("style.paper(style.COLUMN, 1.0, nrows=1, ncols=1)[0]", "None", "draw gave None (NoneType); the draw of a", 3),
        ("compute(sweep, lab)", "compute(sweep)", "TypeError: compute() takes 1 positional argument but 2 were", 2),
    ],
)
def test_a_figure_that_makes_none_is_refused(old: str, new: str, sentence: str, tried: int, here: Path) -> None:
    """By `iapo figures` and by `iapo check`, which has nothing to say of what follows."""
    (here / "shown.py").write_text(FIGURE.replace(old, new))
    with pytest.raises(mistakes.Mistake, match=r"^shown.py, line \d+: ") as raised, mistakes.telling():
        build.build([registry.bring("shown.py")], build.Wanted(here / "out"), Lab({}, here / "cells", {}))
    assert sentence in str(raised.value)
    assert not (here / "out" / "rendered").exists()
    result = iapo("check", "shown.py")
    assert result.exit_code == 1
    assert result.stdout.count("FAIL") == 1
    assert sentence in result.stdout
    assert ("1 more can be tried then" in result.stdout) == (tried == 2)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('{"points": 1}', "{'points': {1, 2}}", "has a SWEEP that cannot be kept beside its table"),
        ('{"points": 1}', "3", "has a SWEEP of class int; it must be a dict"),
        ('{"points": 1}', "{}\nNEEDS = 'crossing'", "has NEEDS 'crossing'; it must be a row of names of figures"),
        ('{"points": 1}', "{}\nSMOKE = 1", "has a SMOKE of class int"),
        ("def compute", "compute = 3\ndef other", "has a compute that cannot be called; it must be a function"),
    ],
)
def test_parts_of_a_figure_that_cannot_be_used_are_refused(old: str, new: str, sentence: str, here: Path) -> None:
    (here / "shown.py").write_text(FIGURE.replace(old, new))
    with pytest.raises(ValueError, match=r"^shown.py has ") as raised:
        registry.bring("shown.py")
    assert sentence in str(raised.value)


JUDGES = """
from figures.claims import PaperClaim
from figures.judges import Finding

def held(judge, needs=("shown.py",)):
    return PaperClaim("All is well.", "-", "it is", needs, judge, envs=())

Number = held(lambda tables: 1)
Numbers = held(lambda tables: [1])
Verdict = held(lambda tables: [Finding("MATH", "x", "yes")])
Text = held(lambda tables: [], "shown.py")
Nothing = held(lambda tables: [], ())
Fine = held(lambda tables: [Finding("MATH", "x", "open")])
"""


def judged(text: str) -> dict[str, list[Any]]:
    ledger.bring([text])
    return ledger.judge({})


def test_a_judge_that_gives_no_findings_is_refused(here: Path) -> None:
    (here / "shown.py").write_text(FIGURE)
    (here / "held.py").write_text(JUDGES)
    ledger.CLAIMS.clear()
    for name, sentence in (
        ("Number", "the judge of Number gave 1 (int); a judge returns a list of figures.judges.Finding"),
        ("Numbers", "the judge of Numbers gave 1 (int); a judge"),
        ("Verdict", "the judge of Verdict gave 'yes' (str); a verdict is one of 'reproduced', 'partly', 'not', 'open'"),
        ("Text", "held.py:Text needs 'shown.py'; a claim needs a row of names of figures, one at least"),
        ("Nothing", "held.py:Nothing needs (); a claim needs a row"),
    ):
        with pytest.raises(ValueError, match=r"^held.py") as raised:
            judged(f"held.py:{name}")
        assert sentence in str(raised.value)
        ledger.CLAIMS.clear()
    assert [finding.verdict for finding in judged("held.py:Fine")["Fine"]] == ["open"]


# --- wording


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("check lab.py", "lab.py: is a folder; name a Python file in it"),
        ("values lab.py:world", "lab.py: is a folder; name a Python file in it"),
        ("env import . --out x.npz", r"\.: is a folder; "),
        ("check mine.py:Mine:parts=1,parts=2", "mine.py:Mine is given the option 'parts' twice; give it once"),
        ("values synth-bernoulli:num_prompts=4,num_prompts=5", "the option 'num_prompts' twice"),
        ("check mine.py:Nope", "mine.py has no 'Nope'; it holds Mine"),
        (
            "check mine.py:State",
            "mine.py:State is a class of none of the kinds; `iapo check` takes an algorithm, an env",
        ),
        ("check odd.py:three", "odd.py:three makes an object of class int; `iapo check` takes an algorithm"),
        ("check odd.py:number", "odd.py:number is an object of class int; `iapo check` takes an algorithm"),
        ("check odd.py:bound", "odd.py:bound needs case, budget; write .* a bound is tried by `iapo verify --bound`"),
        ("check mine.py:Mine --kind scorer", "mine.py:Mine is a class; expected a class derived from sim.AnswerScorer"),
        ("new nothing mine", "KIND: 'nothing' is not one of 'algorithm', 'environment', 'scorer', 'figure'"),
    ],
)
def test_a_complaint_says_what_would_be_right(command: str, sentence: str, here: Path) -> None:
    (here / "lab.py").mkdir()
    (here / "odd.py").write_text("number = 3\ndef three():\n    return 3\ndef bound(case, budget):\n    return 1\n")
    refused(iapo(*command.split()), sentence)


def test_a_list_in_place_of_an_array_is_refused() -> None:
    """Seen to fail with an AttributeError."""
    data = copy.copy(envs.get("crossover").data)
    object.__setattr__(data, "costs", [1, 2])
    with pytest.raises(ValueError, match=r"^crossover: costs is a list; a NumPy array is needed, as np.array"):
        data.__post_init__()  # type: ignore[union-attr]


def test_a_function_that_scores_fails_with_its_line(here: Path) -> None:
    (here / "own.py").write_text("def score(query, gold, completion):\n    return completion[99]\n")
    result = iapo("check", "own.py:score")
    assert (
        "scorer own.py:score failed on a completion (own.py, line 2: IndexError: string index out of" in result.stdout
    )
