"""Code that a file brings in: said, asked for, and not imported before somebody agrees."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_runs import MINIMAL, iapo
from live_server import KEY, Model, serving
from policy_files import write

from sim.adapters import config, trust
from sim.adapters import policy as policy_file
from sim.adapters.paid.journal import Journal
from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")
MODULE = """
from pathlib import Path
(Path(__file__).parent / "imported").touch()
def score(query, gold, completion):
    return completion
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules that leave a mark when they are imported; nothing of them stays imported."""
    (tmp_path / "own_scores.py").write_text(MODULE)
    (tmp_path / "own_pack" / "inner").mkdir(parents=True)
    (tmp_path / "own_pack" / "__init__.py").write_text(MODULE)
    (tmp_path / "own_pack" / "inner" / "scores.py").write_text(MODULE)
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def imported(folder: Path) -> list[str]:
    return sorted(str(mark.relative_to(folder)) for mark in folder.rglob("imported"))


def policy(folder: Path, target: str = "own_scores:score", url: str = "http://127.0.0.1:9/v1", **top: Any) -> Path:
    source = {
        "strategy": "mv",
        "endpoint": {"base_url": url, "model": "m", "key_variable": "LIVE_TEST_KEY", "timeout": 1, "deadline": 1},
        "objectives": [{"name": "right", "scorer": "callable", "function": target}],
    }
    return write(folder, top={"source": source} | top)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("own_scores:score", "own_scores.py"),
        ("own_pack:score", "own_pack/__init__.py"),
        ("own_pack.inner.scores:score", "own_pack/inner/scores.py"),
    ],
)
def test_a_policy_imports_nothing_before_it_is_allowed(target: str, place: str, folder: Path):
    """Nor the packages that hold the module. Seen to import it as soon as the policy was read."""
    module = target.partition(":")[0]
    result = iapo("ask", policy(folder, target), "q")
    assert result.exit_code == common.USER_ERROR
    assert f"imports {module} from {folder / place}" in result.stderr
    assert f"--trust or --module {module}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert imported(folder) == []
    assert iapo("ask", policy(folder, target), "q", "--module", "own_other").exit_code == common.USER_ERROR
    assert imported(folder) == []


@pytest.mark.parametrize("options", [("--trust",), ("--module", "own_scores", "--module", "x")])
def test_a_policy_that_may_import_is_answered_with(options: tuple[str, ...], folder: Path):
    with serving(Model(answer=lambda prompt, number: "seven")) as url:
        result = iapo("ask", policy(folder, url=url), "q", *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == "seven\n"
    assert imported(folder) == ["imported"]


def test_modules_are_not_looked_for_where_the_command_is_called(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """As under `python -m`, which puts the current folder first. Seen to import what happened to lie there."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(folder)
    for here in ("", str(folder)):
        monkeypatch.setattr(sys, "path", [here, *sys.path])
        result = iapo("ask", policy(elsewhere), "q")
        assert "imports own_scores from a place that is not found" in result.stderr
        result = iapo("ask", policy(elsewhere), "q", "--trust")
        assert "own_scores cannot be imported" in result.stderr
        assert result.exit_code == common.USER_ERROR
    assert imported(folder) == []


def test_where_modules_lie_is_told_without_importing_any(folder: Path):
    assert trust.located("own_pack.inner.scores", str(folder)) == str(folder / "own_pack/inner/scores.py")
    assert trust.located("own_pack.inner", str(folder)) == str(folder / "own_pack/inner")  # without __init__
    for module in ("own_pack.none", "own_none", "own_none.inner", "own_scores.inner"):
        assert trust.located(module, str(folder)) == "a place that is not found"
    assert trust.located("marshal", str(folder)) == "Python itself"
    assert trust.located("json", str(folder)).endswith("json/__init__.py")
    assert imported(folder) == []


def test_evaluate_and_replay_ask_too(folder: Path):
    """A journal names a configuration, which names a module."""
    text = MINIMAL.replace('scorer = "number"', 'scorer = "callable"\nfunction = "own_scores:score"')
    (folder / "run.toml").write_text(text)
    (folder / "q.jsonl").write_text('{"query": "a", "gold": "b"}\n')
    path = policy(folder, config=str(folder / "run.toml"))
    journal = Journal(folder / "journal.sqlite")
    journal.note("config", str(folder / "run.toml"))
    journal.close()
    for command in (
        ("evaluate", path, "--queries", folder / "q.jsonl", "--plan"),
        ("replay", folder / "journal.sqlite", "--out", folder / "w.npz"),
    ):
        result = iapo(*command)
        assert result.exit_code == common.USER_ERROR
        assert f"imports own_scores from {folder / 'own_scores.py'}" in result.stderr
        assert imported(folder) == []
    result = iapo("replay", folder / "journal.sqlite", "--out", folder / "w.npz", "--trust")
    assert "no two prompts have completions" in result.stderr
    assert imported(folder) == ["imported"]


def test_in_python_it_is_an_argument(folder: Path):
    held = policy_file.load(policy(folder))
    with pytest.raises(ValueError, match="which runs all code there"):
        config.of_policy(held)
    assert imported(folder) == []
    assert config.of_policy(held, trust.only(["own_scores"])).objectives[0].scorer.target == "own_scores:score"


def test_a_configuration_that_the_user_names_imports_what_it_says(folder: Path):
    text = MINIMAL.replace('scorer = "number"', 'scorer = "callable"\nfunction = "own_scores:score"')
    (folder / "run.toml").write_text(text)
    (folder / "q.jsonl").write_text('{"query": "a", "gold": "b"}\n')
    config.load(folder / "run.toml")
    assert imported(folder) == ["imported"]
    with pytest.raises(ValueError, match="which runs all code there"):
        config.load(folder / "run.toml", told_by=folder / "journal.sqlite")


def test_who_sits_at_a_terminal_is_asked_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    answers, asked = iter([True, False]), []

    def confirm(question: str) -> bool:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", confirm)
    may = common.may_import(False, ["known"])
    assert may("known", "there")
    assert asked == []
    assert [may("a", "x\x1b.py"), may("a", "x\x1b.py"), may("b", "y.py"), may("b", "y.py")] == [
        True,
        True,
        False,
        False,
    ]
    assert asked == ["Import it?"] * 2
    assert "a Python function of a, from x\\x1b.py. Importing runs all code there." in capsys.readouterr().out
