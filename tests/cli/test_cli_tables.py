"""What the commands print on a terminal of 80 columns: nothing is cut, and names from files are shown as they are."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cli_runs import QUICK, iapo
from rich.console import Console
from rich.text import Text

from sim import envs
from sim.adapters.evaluation import ROLES, Interval, Row
from sim.adapters.paid.ledger import Amount
from sim.adapters.policy import Arm, Chosen
from sim.adapters.run_file.settings import MONEY
from sim.cli import common, compare, evaluate, live, spending, verify
from sim.comparison import contenders, tables
from sim.comparison.cells import Seconds
from sim.comparison.compare import Plan, Result, Step
from sim.envs import files
from theory.checks.verify import VerifyStep as VerifyStep

ODD = "a[/b] \n :smile: $x^ \x1b[31m"
SHOWN = r"a[/b] \n :smile: $x^ \x1b[31m"


def terminal(file: io.StringIO | None = None) -> Console:
    """As `common.console` on a terminal of 80 columns."""
    return Console(width=80, force_terminal=True, color_system=None, markup=False, emoji=False, file=file)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "console", terminal)


def shown(*table) -> list[str]:
    file = io.StringIO()
    common.show(terminal(file), *table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_comparison_of_all_algorithms_fits():
    """All algorithms at 5 budgets, as in `make compare`: every number, mark and second is there."""
    rng, budgets, names = np.random.default_rng(0), tuple(compare.BUDGETS), tuple(contenders.names())
    rows = [
        ("w", name, budget, 200, mean, 0.0039, 0.1, 0.01, 0.2, budget, budget, 0.01 if name != "psst" else np.nan)
        for name in names
        for budget, mean in zip(budgets, rng.uniform(0.5, 0.8, 5), strict=True)
    ]
    summary = pd.DataFrame(rows, columns=list(tables.SUMMARY))
    seconds = {("w", name): Seconds(0.0, 12.3, 345.6) for name in names}
    result = Result(summary, summary, summary, {"w": True}, seconds, 0, 0.0, 0.0, {})
    file = io.StringIO()
    compare.show_table(terminal(file), "w", summary, Plan(("w",), names, budgets, 200, 0, "psst"), result)
    best = summary[summary["algorithm"] != "oracle"].groupby("budget")["acr_mean"].max().tolist()
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for name in names:
        own = [entry for line in lines if line.startswith(f" {name} ") for entry in line.split()[1:]]
        means = summary.loc[summary["algorithm"] == name, "acr_mean"]
        star = "" if name == "psst" else "*"
        tops = ["^" if name != "oracle" and mean == top else "" for mean, top in zip(means, best, strict=True)]
        expected = [
            part for mean, top in zip(means, tops, strict=True) for part in (f"{mean:.4f}", f"±0.0039{top}{star}")
        ]
        assert own == [*expected, "12.3", "345.6"], name
    for head in ("T = 500", "T = 10,000", "compile s", "run s"):
        assert sum(head in line for line in lines if line.startswith(" ")) == 1


def test_a_comparison_is_sorted_and_its_best_marked():
    """By the largest budget, whatever the order of budgets; both marks apart, and what they mean in the caption.

    Seen to fail with rows in the order of the plan, by the last budget of the plan, and with the oracle as the best.
    """
    means = {"psst": (0.6, 0.5), "uniform": (0.8, 0.4), "ucb": (0.7, 0.4), "oracle": (0.9, 0.9)}
    stars = {("uniform", 500), ("oracle", 50), ("oracle", 500)}
    rows = [
        ("w", name, budget, 9, mean, 0.01, 0.1, 0.01, 0.2, budget, budget, 0.01 if (name, budget) in stars else 0.5)
        for name, of in means.items()
        for budget, mean in zip((500, 50), of, strict=True)
    ]
    summary = pd.DataFrame(rows, columns=list(tables.SUMMARY))
    seconds = {("w", name): Seconds() for name in means}
    result = Result(summary, summary, summary, {"w": False}, seconds, 0, 0.0, 0.0, {})
    file = io.StringIO()
    plan = Plan(("w",), tuple(means), (500, 50), 9, 0, "psst")
    compare.show_table(terminal(file), "w", summary, plan, result, seconds=False)
    lines = [line.split() for line in file.getvalue().splitlines()]
    at = next(i for i, line in enumerate(lines) if line[:1] == ["algorithm"])
    assert lines[at + 1 : at + 5] == [
        ["oracle", "0.9000", "±0.0100*", "0.9000", "±0.0100*"],
        ["uniform", "0.8000", "±0.0100^*", "0.4000", "±0.0100"],
        ["ucb", "0.7000", "±0.0100", "0.4000", "±0.0100"],
        ["psst", "0.6000", "±0.0100", "0.5000", "±0.0100^"],
    ]
    caption = " ".join(word for line in lines[at + 5 :] for word in line)
    assert caption.startswith("Best first at T = 500. ^ best at its budget, the oracle apart; * differs from psst (")


@pytest.mark.usefixtures("narrow")
def test_listings_wrap_their_text_only():
    lines = iapo("algorithms").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(sum(line.split()[:1] == [name] for line in lines) == 1 for name in contenders.names())
    words = " ".join(lines).split()
    assert words.count("budget_rule=hard,") == 4
    assert "…" not in "".join(lines)
    assert "gaussian-bon" in iapo("env", "list").stdout


@pytest.mark.usefixtures("narrow")
def test_values_keep_every_column():
    lines = iapo("values", "crossover").stdout.splitlines()
    assert next(line.split() for line in lines if line.startswith(" 0 ")) == [
        *("0", "1", "9", "0.7738", "0", "0.6500", "3", "0.6620")
    ]
    lines = [line for command in ("hardness", "agnostic") for line in iapo(command, "crossover").stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    for head in ("smallest gap", "H2'", "agnostic prompt", "at the best N", "safe at N"):
        assert any(head in line for line in lines), head


@pytest.mark.usefixtures("narrow")
def test_a_long_origin_leaves_the_facts_alone(tmp_path: Path):
    data = envs.get("crossover").data
    assert data is not None
    files.save(replace(data, provenance={"queries": ["what is it"] * 20, "one": "x" * 500}), tmp_path / "e.npz")
    lines = iapo("env", "show", tmp_path / "e.npz").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for label in ("worlds", "strategy", "largest N", "tie credit", "from"):
        assert any(line.startswith(f" {label} ") for line in lines), label


def test_what_cannot_fit_has_long_lines():
    name = "n" * 100
    assert shown(None, ("name", ">value"), [(name, 0.5)]) == [" name" + " " * 98 + "value", f" {name}    0.5"]


def test_blocks_repeat_the_first_column():
    lines = shown("title", ("key", *(f">{n}" * 10 for n in range(3))), [("a", *("9" * 30,) * 3)], "caption")
    assert [line.split()[0] for line in lines if line] == ["title", "key", "a", "key", "a", "caption"]
    assert sum(line.count("9" * 30) for line in lines) == 3


def test_markup_and_control_characters_are_shown_as_they_are():
    lines = shown(ODD, ("name", "~text", ">styled"), [(ODD, ODD, Text("1 [b]", "bold"))], ODD)
    assert lines[0] == lines[-1] == SHOWN
    assert lines[2].startswith(f" {SHOWN}  ")
    assert lines[2].endswith("  1 [b]")
    assert common.plain("pro\ud800\u202emt é 漢") == r"pro\ud800\u202emt é 漢"


def named(path: Path) -> Path:
    """An environment whose every name is odd."""
    data = envs.get("crossover").data
    assert data is not None
    prompts = ("[INST] Solve [/INST]", ODD)
    files.save(replace(data, name=ODD, context_names=(ODD,), prompt_names=prompts, provenance={ODD: ODD}), path)
    return path


def test_odd_names_from_files(tmp_path: Path):
    path = named(tmp_path / "e.npz")
    commands = (("values", path), ("values", path, "--context", 0), ("env", "show", path), ("hardness", path))
    for command in (*commands, ("agnostic", path), ("env", "import", path, "--out", tmp_path / "again.npz")):
        result = iapo(*command)
        assert result.exit_code == 0, result.exception
        assert SHOWN in result.stdout
        assert "\x1b" not in result.output
    assert "[INST] Solve [/INST]" in iapo("values", path, "--context", 0).stdout


@pytest.mark.slow
def test_a_comparison_on_an_odd_name(tmp_path: Path):
    result = iapo("compare", "--env", named(tmp_path / "e.npz"), *QUICK, "--budget", 10, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert f"{SHOWN}: average contextual return on held-out queries, mean" in result.stdout
    assert f"{SHOWN}: random compiled" in result.stderr
    assert "\x1b" not in result.output
    wrong = iapo("values", named(tmp_path / "e.npz"), "--context", 7)
    assert wrong.exit_code == common.USER_ERROR
    assert "\x1b" not in wrong.stderr
    assert wrong.stderr.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bars_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    for report, step in (
        (compare.progress, Step(ODD, "psst", 10, Seconds(), 1, 2)),
        (verify._progress, VerifyStep("simulation", ODD, "psst", 1.0, 1, 2)),
    ):
        monkeypatch.setattr(sys, "stderr", Terminal())
        with report() as tell:
            tell(step)
        assert SHOWN in sys.stderr.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_things_are_counted_in_words():
    assert [common.count(n, noun) for n, noun in ((1, "query"), (0, "query"), (2, "context"), (1, "prompt"))] == [
        "1 query",
        "0 queries",
        "2 contexts",
        "1 prompt",
    ]
    assert spending.amount_text(Amount(1, 1000, 46 * MONEY // 10**6)) == "1 completion, 1,000 tokens, money 0.000046"
    assert spending.amount_text(Amount(2, 0, MONEY // 10)) == "2 completions, 0 tokens, money 0.1000"


@pytest.mark.parametrize("second", [0.4, 0.6])
def test_a_runner_up_above_the_chosen_arm_is_explained(second: float, capsys: pytest.CaptureFixture[str]):
    """Seen to be shown without a word."""
    choice = Chosen("c", Arm("a", 2, 0.5), Arm("b", 1, second), None)
    run, result = (
        SimpleNamespace(name="x", out=Path("out"), prompts=(), endpoints={"": None}),
        SimpleNamespace(choices=(choice,), stopped=None),
    )
    live._show_result(run, result, Amount(), Amount(), {})
    said = " ".join(capsys.readouterr().out.split())
    assert ("A runner-up may be above the chosen arm: values are of all pulls" in said) == (second > 0.5)


@pytest.mark.parametrize("contexts", [1, 2])
def test_the_mean_of_one_context_is_not_shown(contexts: int, capsys: pytest.CaptureFixture[str]):
    value = Interval(0.5, None, None)
    names = [*("mean", "c")[:contexts], "mean"]  # the first is a context's own name
    rows = [Row(name, role, None, None, value, None, None) for name in names for role in ROLES]
    run = SimpleNamespace(name="x", contexts=(None,) * contexts)
    evaluate._show(run, rows, 3)
    said = capsys.readouterr().out
    assert said.count(" triple ") == contexts + (contexts > 1)
    assert "single: the prompt that tuning found best at N = 1" in said
