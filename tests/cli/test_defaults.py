"""Defaults of commands: the recommended algorithm where nobody names one, and all of them by one word."""

import inspect
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from cli_runs import iapo
from helpers import given, majority

from sim import defaults, envs
from sim.adapters.run_file.settings import Tune
from sim.cli import compare, completion, quickstart
from sim.cli.plan import plan
from sim.comparison import contenders
from sim.core import Environment
from sim.envs.tabular import TabularWorld

ROOT = Path(__file__).resolve().parents[2]


class Silent(TabularWorld):
    """A world that gives block sums only."""

    raw = Environment.raw


def test_all_defaults_are_the_recommended_algorithm() -> None:
    """Run files, both examples, plans, the first result. Seen to fail with a default that stayed psst."""
    assert Tune.__dataclass_fields__["algorithm"].default == defaults.RECOMMENDED
    assert inspect.signature(plan).parameters["algorithm"].default == defaults.REFERENCE
    assert quickstart.ALGORITHMS[:2] == defaults.COMPARISON[:2] == (defaults.RECOMMENDED, defaults.REFERENCE)
    for place, name in (("sim.adapters", "example.toml"), ("sim.adapters.tiny", "tiny.toml")):
        text = (resources.files(place) / name).read_text()
        assert re.findall(r'^algorithm = "(.+?)"', text, re.MULTILINE) == [defaults.RECOMMENDED]
    assert set(defaults.COMPARISON) <= set(contenders.names())
    assert "make compare  # all algorithms" in (ROOT / "README.md").read_text()
    assert "iapo compare --algorithm all --out" in (ROOT / "Makefile").read_text()


def test_a_comparison_that_names_no_algorithm_says_what_it_compares_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with all that are registered, and without the sentence."""
    assert compare._contenders(["two-arm"], ()) == defaults.COMPARISON
    monkeypatch.setattr(defaults, "COMPARISON", ("random", defaults.RECOMMENDED, "oracle"))
    found = iapo("compare", "two-arm", "--trials", 2, "--budget", 9, "--workers", 1, "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert f"\nmixture-racing is recommended: {defaults.WHY}; --algorithm all compares all\n" in found.stdout
    for name in defaults.COMPARISON:
        assert re.search(rf"^ {name} +\d\.", found.stdout, re.MULTILINE), name


def test_all_stands_for_everything_that_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare._contenders(["two-arm"], ["all"]) == contenders.names()
    found = compare._contenders(["two-arm"], ["psst:ties=index", "psst", "all"])
    assert found[:2] == ("psst:ties=index", "psst")
    assert sorted(found[1:]) == sorted(contenders.names()), "each once"
    assert compare._contenders(["two-arm"], ["ucb"]) == ("ucb",)
    assert capsys.readouterr().err == ""
    assert completion.contenders("al") == ["almost-tracking", "all"]
    assert "all" not in completion.algorithms("")


def test_where_the_recommended_algorithm_cannot_run_a_sentence_says_what_to_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail where a world of somebody's own ended the comparison."""
    source = given(majority())
    made = source.environment
    source = replace(source, environment=Silent(made.thresholds, made.atoms, made.strategy, made.known))
    monkeypatch.setitem(envs.ENVS, "silent", envs.Entry("", lambda: source))
    assert compare._contenders(["silent"], ()) == defaults.COMPARISON[1:]
    said = capsys.readouterr().err
    assert said.startswith("mixture-racing is left out; on silent: the algorithm takes completions as they are, ")
    assert "Silent has no method raw; use psst there\n" in said
