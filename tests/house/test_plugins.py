"""Anybody's algorithm and environment by file, module or entry point, and mistakes in them in one sentence."""

import pickle
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from own_code import forgotten
from typer.testing import CliRunner

import sim
from sim import algorithms, envs, mistakes, plugins
from sim.algorithms import ALGORITHMS
from sim.cli import app
from sim.comparison import cells, compare, contenders, given
from theory.truth import exact_values

RULE = '''
import jax.numpy as jnp
import near
from sim.algorithms.uniform import Uniform
from sim.core import Algorithm


class Rule(Uniform):
    """A uniform rule with options."""

    rho: float = 0.5
    kept: int = near.KEPT


class Needy(Uniform):
    rho: float


class Bare(Algorithm):
    def init(self, spec, budget):
        return budget


def made(rho=0.25):
    return Rule(rho=rho)


rule = Rule(rho=0.125)
number = 7
'''
WORLD = """
from dataclasses import replace
from sim.core import Source
from sim.envs import families
from sim.envs.sources import fixed
from sim.envs.synthetic import SynthBernoulli

def world():
    return families.crossover()

def sized(number=3):
    return replace(families.two_arm(), name="sized", costs=families.two_arm().costs + number)

data = families.two_arm()
named = fixed(data, 1.0)

class Fresh(SynthBernoulli):
    pass

class Bare(Source):
    pass
"""


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What a test loads is gone after it."""
    with forgotten():
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RULE)
    (tmp_path / "near.py").write_text("KEPT = 2\n")
    (tmp_path / "place.py").write_text(WORLD)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("psst", ("", "psst", "")),
        ("psst:ties=index", ("", "psst", "ties=index")),
        ("psst:fresh", ("", "psst", "fresh")),
        ("mine.py", ("mine.py", "", "")),
        ("mine.py:Rule", ("mine.py", "Rule", "")),
        ("mine.py:Rule:rho=0.3,kept=1", ("mine.py", "Rule", "rho=0.3,kept=1")),
        ("mine.py:rho=0.3", ("mine.py", "", "rho=0.3")),
        ("C:\\lab.pyx\\mine.py:Rule", ("C:\\lab.pyx\\mine.py", "Rule", "")),
        ("lab.rules:Rule.inner", ("lab.rules", "Rule.inner", "")),
        ("lab.rules:Rule:rho=1", ("lab.rules", "Rule", "rho=1")),
        ("data/MATH_final.pkl:tie=half", ("", "data/MATH_final.pkl", "tie=half")),
    ],
)
def test_a_text_is_split_into_place_name_and_options(text: str, parts: tuple[str, ...]) -> None:
    assert tuple(plugins.split(text, ["psst"])) == parts


def test_algorithms_are_found_in_files_and_modules(here: Path) -> None:
    rule: Any = algorithms.get("mine.py:Rule:rho=0.3")
    assert (type(rule).__qualname__, rule.rho, rule.kept) == ("Rule", 0.3, 2)
    assert algorithms.get("mine.py:Rule:rho=0.3") == rule
    assert algorithms.get(str(here / "mine.py") + ":Rule:rho=0.3") == rule
    assert algorithms.get(plugins.everywhere("mine.py:Rule:rho=0.3")) == rule
    for text, rho in (("mine.py:made", 0.25), ("mine.py:made:rho=1", 1.0), ("mine.py:rule", 0.125)):
        found: Any = algorithms.get(text)
        assert found.rho == rho
    options: Any = algorithms.get("mine.py:rule:kept=5,queries=common")
    assert (options.kept, options.rho, options.queries) == (5, 0.125, "common")
    assert algorithms.options("mine.py:Rule:rho=0.3")["rho"] == 0.3
    module: Any = algorithms.get("mine:Needy:rho=2")
    assert module.rho == 2.0
    assert algorithms.get("sim.algorithms.uniform:Uniform") == algorithms.get("uniform")


def test_environments_are_found_in_files(here: Path) -> None:
    found = [envs.get(f"place.py:{name}") for name in ("world", "data", "named", "Fresh", "sized:number=4")]
    assert [world.name for world in found] == ["crossover", "two-arm", "two-arm", "Fresh", "sized:number=4"]
    assert found[-1].data is not None
    assert found[-1].data.costs[0] == 4
    assert envs.get("place.py:Fresh:num_prompts=4").name == "Fresh:num_prompts=4"
    assert envs.get("place.py:world:tie=half").name == "crossover:tie=half"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("minee.py:Rule", "minee.py: no such file; did you mean 'mine.py'?"),
        ("mine.py:Rul", "mine.py has no 'Rul'; did you mean 'Rule'?"),
        ("mine.py", "mine.py holds 4 algorithms; write one of mine.py:Rule, mine.py:Needy, mine.py:Bare, mine.py:rule"),
        ("place.py", "place.py holds no algorithms; define one"),
        (
            "mine.py:number",
            "mine.py:number is an object of class int; expected a class derived from sim.core.Algorithm, or what ",
        ),
        (
            "place.py:world",
            "place.py:world makes an object of class Dataset; expected a class derived from sim.core.Algorithm",
        ),
        ("place.py:Fresh", "place.py:Fresh is a class; expected a class derived from sim.core.Algorithm"),
        ("mine.py:Needy", "mine.py:Needy needs rho; write mine.py:Needy:rho=..."),
        ("mine.py:Bare", "mine.py:Bare has not all that an algorithm needs: the methods finished, allocate, update, "),
        ("mine.py:Rule:rh=1", "mine.py:Rule has no option 'rh'; did you mean 'rho'? known: "),
        ("mine.py:Rule:rho=much", "mine.py:Rule:rho is 'much'; expected a number"),
        ("absent.rules:Rule", "no module is called 'absent', and no algorithm 'absent.rules'"),
        ("psstt:fresh", "no module is called 'psstt', and no algorithm 'psstt'; did you mean 'psst'?"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_sentence(text: str, sentence: str, here: Path) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        algorithms.get(text)
    assert str(raised.value).startswith(sentence)


def test_environments_that_are_none_are_refused(here: Path) -> None:
    for text, sentence in (
        ("mine.py:Rule", "mine.py:Rule makes an object of class Rule; expected a Dataset, a Source or a NamedSource"),
        ("mine.py:number", "mine.py:number is an object of class int; expected a Dataset"),
        ("place.py:Bare", "place.py:Bare has not all that a Source needs: world, split, context_probs"),
        ("place.py:nowhere", "place.py has no 'nowhere'"),
    ):
        with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
            envs.get(text)
        assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\ny = = 2\n", r"mine.py, line 2: SyntaxError: invalid syntax"),
        ("\nimport no_such_thing\n", r"mine.py, line 2: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import broken\n", r"broken.py, line 2: ZeroDivisionError: division by zero"),
        (
            "from sim.algorithms.psst import PSST\nRule = PSST(ties='first')",
            r"mine.py, line 2: ValueError: ties is 'first'",
        ),
    ],
)
def test_a_mistake_in_a_file_is_told_with_file_and_line(text: str, sentence: str, here: Path) -> None:
    (here / "broken.py").write_text("a = 0\nb = 1 / a\n")
    (here / "mine.py").write_text(text)
    before = set(sys.modules)
    with pytest.raises(mistakes.Mistake) as raised:
        algorithms.get("mine.py:Rule")
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("mine_")]


def key(text: str) -> str:
    found = contenders.algorithm_program(algorithms.get(text))
    assert found.unread == ()
    return found.key


def test_what_is_kept_depends_on_the_text_of_the_file_and_of_those_beside_it(here: Path) -> None:
    """Seen to fail (the old key) with modules named by path alone, and with helpers left as they were imported."""
    before = key("mine.py:Rule")
    assert key(f"{here}/mine.py:Rule") == key("./mine.py:Rule") == before
    (here / "near.py").write_text("KEPT = 3\n")
    assert algorithms.options("mine.py:Rule")["kept"] == 3
    second = key("mine.py:Rule")
    (here / "mine.py").write_text(RULE.replace("0.5", "0.6"))
    third = key("mine.py:Rule")
    (here / "mine.py").write_text(RULE)
    (here / "near.py").write_text("KEPT = 2\n")
    assert len({before, second, third}) == 3
    assert key("mine.py:Rule") == before


def test_files_of_one_stem_do_not_collide(here: Path) -> None:
    for folder, number in (("a", 1), ("b", 2)):
        (here / folder).mkdir()
        (here / folder / "mine.py").write_text(
            RULE.replace("0.5", str(number)).replace("near.KEPT", "0").replace("import near", "")
        )
    found: list[Any] = [algorithms.get(f"{folder}/mine.py:Rule") for folder in "abab"]
    assert [rule.rho for rule in found] == [1, 2, 1, 2]
    assert key("a/mine.py:Rule") != key("b/mine.py:Rule")
    assert plugins.labels(["a/mine.py:Rule", "b/mine.py:Rule:rho=1", "psst", "mine.py:Other"]) == {
        "a/mine.py:Rule": "a/mine.py:Rule",
        "b/mine.py:Rule:rho=1": "b/mine.py:Rule",
        "psst": "psst",
        "mine.py:Other": "Other",
    }


def test_helpers_of_one_name_in_two_folders_are_refused(here: Path) -> None:
    (here / "b").mkdir()
    (here / "b" / "mine.py").write_text(RULE)
    (here / "b" / "near.py").write_text("KEPT = 9\n")
    algorithms.get("mine.py:Rule")
    with pytest.raises(ValueError, match=r"needs near.py beside it, but .*near.py was loaded as near; rename one$"):
        algorithms.get("b/mine.py:Rule")


def test_modules_beside_a_file_are_found_when_a_function_imports_them_later(here: Path) -> None:
    (here / "mine.py").write_text(f"{RULE}\ndef late():\n    import later\n    return Rule(rho=later.RHO)\n")
    (here / "later.py").write_text("RHO = 0.75\n")
    found: Any = algorithms.get("mine.py:late")
    assert found.rho == 0.75
    before = key("mine.py:Rule")
    (here / "later.py").write_text("RHO = 0.5\n")
    assert key("mine.py:Rule") != before


@pytest.fixture
def offered(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `lab` in a folder of installed packages, which offers an algorithm, an environment and a broken one."""
    packages = here / "site-packages"
    info = packages / "lab-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n")
    lines = ["[iapo.algorithms]", "theirs = lab_rules:Rule", "broken = lab_rules:Absent"]
    (info / "entry_points.txt").write_text("\n".join([*lines, "[iapo.environments]", "lab-world = lab_world:world"]))
    (packages / "lab_rules.py").write_text(RULE.replace("import near", "").replace("near.KEPT", "4"))
    (packages / "lab_world.py").write_text(WORLD)
    monkeypatch.syspath_prepend(packages)
    return packages


def test_installed_packages_give_names(offered: Path) -> None:
    assert "theirs" in algorithms.names()
    assert envs.names()["lab-world"] == "from the package lab"
    assert "lab_rules" not in sys.modules
    rule: Any = algorithms.get("theirs:rho=0.3")
    assert (rule.rho, rule.kept) == (0.3, 4)
    assert envs.get("lab-world").name == "crossover"
    with pytest.raises(
        ValueError, match=r"^algorithm 'broken' of the package lab cannot be loaded \(lab_rules:Absent\)"
    ):
        algorithms.get("broken")
    with pytest.raises(ValueError, match=r"^unknown algorithm 'their'; did you mean 'theirs'\?"):
        algorithms.get("their")
    with pytest.raises(ValueError, match=r"no environment is called 'lab-worl'; did you mean 'lab-world'\?"):
        envs.get("lab-worl")
    before = key("theirs")
    (offered / "lab_rules.py").write_text((offered / "lab_rules.py").read_text() + "# edited\n")
    assert key("theirs") != before


def test_metadata_is_read_only_where_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        raise AssertionError("metadata was read")

    monkeypatch.setattr(metadata, "entry_points", refuse)
    monkeypatch.setattr(plugins, "entry_points", refuse)
    for name in ALGORITHMS:
        algorithms.get(name)
    envs.get("crossover")


def test_environments_of_files_count_with_their_text(here: Path) -> None:
    def world_key() -> str:
        return cells.environment_program(envs.get("place.py:Fresh:num_prompts=2,max_scale=2"), exact_values).key

    before = world_key()
    assert world_key() == before
    (here / "place.py").write_text(f"{WORLD}\n# edited\n")
    assert world_key() != before


WRONG = """
import jax.numpy as jnp
from sim.algorithms.uniform import Uniform
from sim.core import Policy

class Shapes(Uniform):
    def recommend(self, key, spec, state):
        return Policy(jnp.zeros(2, jnp.int32) + jnp.zeros(3, jnp.int32), jnp.ones(1, jnp.int32))

class Branches(Uniform):
    def finished(self, spec, state):
        return jnp.bool_(True) if super().finished(spec, state) else jnp.bool_(False)

class Kinds(Uniform):
    def update(self, key, spec, state, allocation, stats):
        return super().update(key, spec, state, allocation, stats), 1
"""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Shapes", r"wrong.py, line 8: TypeError: add got incompatible shapes for broadcasting: \(2,\), \(3,\)\."),
        (
            "Branches",
            r"wrong.py, line 12: TracerBoolConversionError: .*; choose with jnp.where or jax.lax.cond, not with",
        ),
    ],
)
def test_a_mistake_that_shows_when_a_rule_runs_is_told_with_its_line(name: str, sentence: str, here: Path) -> None:
    """Other processes hand it on as it is."""
    (here / "wrong.py").write_text(WRONG)
    result = CliRunner().invoke(
        app, f"compare --env two-arm --algorithm wrong.py:{name} --budget 9 --trials 2 --workers 1".split()
    )
    assert result.exit_code == 2
    assert re.match(rf"error: {sentence}[^\n]*$", result.stderr.splitlines()[-1]), result.stderr
    assert pickle.loads(pickle.dumps(mistakes.Mistake("a"))).args == ("a",)


@pytest.mark.slow
def test_a_rule_of_ones_own_runs_in_other_processes_and_its_mistakes_come_back(here: Path) -> None:
    """Seen to fail (the pool gives up) without `mistakes.tells`: what JAX raises cannot be sent."""
    (here / "wrong.py").write_text(WRONG)
    start = [
        "compare",
        "--env",
        "two-arm",
        "--algorithm",
        "uniform",
        "--budget",
        "9",
        "--trials",
        "2",
        "--workers",
        "2",
        "--algorithm",
    ]
    result = CliRunner().invoke(app, [*start, "mine.py:Rule:rho=0.3"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, [*start, "wrong.py:Branches"])
    assert result.exit_code == 2
    assert "error: wrong.py, line 12: TracerBoolConversionError" in result.stderr


def test_an_object_of_a_file_is_found_again_where_it_is_handed_to(here: Path) -> None:
    """Another process runs the file first. Seen to fail (no module named mine_...) when the object alone was sent."""
    rule: Any = algorithms.get("mine.py:Rule:rho=0.3")
    world = envs.get("place.py:Fresh")
    sent = pickle.dumps([given.Held(rule), given.Held(world)])
    for name in (type(rule).__module__, type(world.source).__module__, "near"):
        del sys.modules[name]
    plugins._modules.clear()
    again, fresh = (one.thing for one in pickle.loads(sent))
    assert (type(again).__qualname__, again.rho, again.kept) == ("Rule", 0.3, rule.kept)
    assert type(again).__module__ == type(rule).__module__
    assert (type(fresh.source).__qualname__, fresh.name) == ("Fresh", world.name)
    (here / "mine.py").write_text(RULE + "number = 8\n")
    with pytest.raises(ValueError, match=r"mine\.py is not what it was where its object was made \(edited since\)"):
        pickle.loads(sent)


def test_tables_call_it_what_the_user_did_wherever_others_find_it(here: Path, tmp_path: Path) -> None:
    """As with --dask, where other processes work in other folders. Seen to fail (whole paths) with the text alone."""
    texts = ("mine.py:Rule:rho=0.3", "uniform")
    rules = tuple(given.placed(text, plugins.everywhere(text)) for text in texts)
    assert rules[1] == "uniform"
    assert given.held(rules[0]) == given.Held(str(here / "mine.py") + ":Rule:rho=0.3")
    places = (given.placed("place.py:world", plugins.everywhere("place.py:world")),)
    found = compare.run(compare.Plan(places, rules, (9,), 2, 0, "uniform"), tmp_path / "placed", exact_values)
    named = compare.run(
        compare.Plan(("place.py:world",), texts, (9,), 2, 0, "uniform"), tmp_path / "named", exact_values
    )
    assert found.trials.equals(named.trials)
    assert found.summary["algorithm"].tolist() == list(texts)
    assert not [column for column in found.trials.astype(str).to_numpy().ravel() if str(here) in column]


@pytest.mark.slow
def test_objects_of_files_run_in_other_processes(here: Path) -> None:
    """Seen to fail (a worker ended before its work did) when the objects alone were sent."""
    rules = [algorithms.get("mine.py:Rule:rho=0.3"), "uniform"]
    options: dict[str, Any] = {"trials": 2, "exact": exact_values, "reference": "uniform"}
    alone, apart = (sim.compare(rules, "two-arm", [9], workers=workers, **options) for workers in (1, 2))
    assert alone.trials.equals(apart.trials)


def test_lists_hold_what_packages_give_broken_or_not(offered: Path) -> None:
    """Seen to end with exit code 2 and no list where a package is broken."""
    result = CliRunner().invoke(app, ["algorithms"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "theirs A uniform rule with options." in said
    assert "broken algorithm 'broken' of the package lab cannot be loaded (lab_rules:Absent)" in said
    result = CliRunner().invoke(app, ["env", "list"])
    assert "from the package lab" in result.stdout
