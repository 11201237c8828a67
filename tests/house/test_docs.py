"""Texts: one page at the front door, links that lead somewhere, files and names that answer, commands that exist."""

import ast
import importlib
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from sim.cli import app
from sim.envs import files

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TEXTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, kind: str) -> list[str]:
    return [found[2] for found in BLOCK.finditer(read(path)) if found[1] == kind]


def test_the_front_door_is_one_page_in_order() -> None:
    """Seen to fail with the README of 32 KB that it replaced."""
    text = read(README)
    assert len(text.encode()) <= 9 * 1024
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "The problem in five lines",
        "First success",
        "Three ways in",
        "Bring your own",
        "Read on",
    ]
    assert len(re.findall(r"!\[.+\]\(", text)) == 1
    for target in ("run", "compare", "test"):
        assert f"\nmake {target} " in text, target


def anchors(path: Path) -> set[str]:
    """Places of a page, named as GitHub names headings."""
    heads = re.findall(r"^#+ (.+)$", BLOCK.sub("", read(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    """Seen to fail with docs/limits.md, and with results.md#who-beats-psst."""
    for link in LINK.findall(BLOCK.sub("", read(path))):
        file, _, place = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not place or place in anchors(target), link


def test_every_text_is_in_the_index() -> None:
    listed = {link.partition("#")[0] for link in LINK.findall(read(ROOT / "docs" / "index.md"))}
    assert {path.name for path in TEXTS if path.parent == ROOT / "docs"} - {"index.md"} <= listed


def questions() -> list[tuple[str, str]]:
    """File and name of every question in docs/extending.md."""
    section = read(ROOT / "docs" / "extending.md").partition("## Ten questions of a stranger")[2]
    return re.findall(r"^\| .+\? \| `(.+?)` \| `(.+?)` \|$", section, re.MULTILINE)


def names(body: list[ast.stmt], inside: str = "") -> Iterator[str]:
    """What a file defines, methods as Class.method."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield inside + node.name
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (inside + target.id for target in targets if isinstance(target, ast.Name))


def test_there_are_ten_questions_with_a_file_each() -> None:
    files = [file for file, _ in questions()]
    assert len(files) >= 10
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(("file", "name"), questions())
def test_a_stranger_finds_the_answer_where_it_is_said_to_be(file: str, name: str) -> None:
    """Seen to fail with `sim/trim.py` and `best_half`, and with `Ledger.reserves`."""
    assert name in set(names(ast.parse(read(ROOT / file)).body))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_functions_that_texts_name_are_there(path: Path) -> None:
    """Of the rooms that algorithms are made of. Seen to fail with `trim.best`."""
    for room, name in re.findall(r"`(trim|estimators|schedules|draws)\.(\w+)`", BLOCK.sub("", read(path))):
        assert hasattr(importlib.import_module(f"sim.{room}"), name), f"{room}.{name}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_files_that_texts_name_are_there(path: Path) -> None:
    """Of the rooms; what commands write is not."""
    rooms = ("sim/", "theory/", "figures/", "tests/", "benchmarks/", "docs/")
    for quoted in re.findall(r"`([\w./-]+/[\w.-]*)`", BLOCK.sub("", read(path))):
        assert not quoted.startswith(rooms) or quoted == "figures/rendered" or (ROOT / quoted).exists(), quoted


WRITTEN = re.compile(r"<!-- (claims|fair play) -->.*?<!-- /\1 -->", re.DOTALL)
"""Parts of a text that commands write."""


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_prose_fits_120_columns(path: Path) -> None:
    """Rows of tables, pictures and code may be longer. Seen to fail with 137 columns in docs/extending.md."""
    prose = WRITTEN.sub("", BLOCK.sub("", read(path))).splitlines()
    assert [line for line in prose if len(line) > 120 and not line.startswith(("|", "![", "#"))] == []


COMMANDS = typer.main.get_command(app)


def shell(path: Path) -> list[str]:
    """Calls of `iapo` in a text's shell blocks."""
    return [line for block in blocks(path, "sh") for line in block.splitlines() if line.startswith("iapo ")]


def lines(path: Path) -> list[str]:
    """Calls of `iapo` in a text's shell blocks, and in its quoted commands."""
    shown = shell(path)
    quoted = re.findall(r"`(iapo [^`]+)`", BLOCK.sub("", read(path)))
    return [line for line in (*shown, *(" ".join(one.split()) for one in quoted)) if line.startswith("iapo ")]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_commands_and_options_exist(path: Path) -> None:
    """Seen to fail with `iapo comparison`, and with `iapo plan --delta 0.05 --epsilons 1`."""
    for line in lines(path):
        command: Any = COMMANDS
        words = shlex.split(line, comments=True)[1:]
        while words and hasattr(command, "commands"):
            name = words.pop(0)
            assert name in command.commands, line
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


FILE = re.compile(r"`([\w.-]+)`:\n\n```(?:csv|json|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A file that a text shows under its name."""


@pytest.fixture
def beside(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: an empty one with the files that the text of a test shows."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILE.findall(read(path)):
        Path(name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_commands_in_shell_blocks_are_read(path: Path) -> None:
    """With all that they need. Seen to fail with no --out after `iapo env import`, and with `iapo new bounds mine`."""
    for line in shell(path):
        words = shlex.split(line, comments=True)[1:]
        command: Any = COMMANDS
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("iapo", words)  # runs nothing


CHEAP = ("env import", "env list", "algorithms", "values", "hardness", "agnostic", "new", "tune --example")
"""Commands of texts that are run as they are printed, where their files are shown or were made by those before."""


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_cheap_commands_run_as_printed(path: Path) -> None:
    """Those of a text in their order; of docs/format.md all.

    Seen to fail with the command of docs/format.md that had no --objective, and with `token` or `golds.json` in it.
    """
    left = []
    for line in shell(path):
        words = shlex.split(line, comments=True)[1:]
        written = [file for option, file in itertools.pairwise(words) if option == "--out"]
        needed = [word for word in words if word.endswith((".npz", ".pkl", ".csv", ".jsonl")) and word not in written]
        if not " ".join(words).startswith(CHEAP) or not all(Path(file).exists() for file in needed):
            left.append(line)
            continue
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{line}: {done.output}"
    if path.stem == "format":
        assert left == []
        data = files.load("mine.npz")
        assert (data.num_prompts, data.num_queries, data.max_scale, data.context_names) == (2, 2, 8, ("free", "dear"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_python_in_texts_uses_public_names_alone(path: Path) -> None:
    """Seen to fail with `from sim import runner`, and with a bracket left open."""
    for block in blocks(path, "python"):
        tree = ast.parse(block)
        used = {node.module: node.names for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert set(used) <= {"sim", "theory", "figures"}
        for module, wanted in used.items():
            public = getattr(importlib.import_module(str(module)), "__all__", None)
            assert public is None or {name.name for name in wanted} <= set(public)


def test_running_installs_no_linters_and_no_browsers() -> None:
    """Seen to fail with ruff among the dependencies, and with `run` given the extra test."""
    needed = {re.split(r"[\[<>=~ ]", one)[0] for one in PROJECT["dependencies"]}
    assert not needed & {"ruff", "pyright", "pytest", "pre-commit", "pdoc", "jupyterlab", "ipython", "playwright"}
    makefile = read(ROOT / "Makefile")
    assert re.search(r"^\$\(VENV\)/run: EXTRAS :=$", makefile, re.MULTILINE)
    assert re.search(r"^run: \$\(VENV\)/run$", makefile, re.MULTILINE)
    assert re.search(r"^compare: \$\(VENV\)/run$", makefile, re.MULTILINE)
    assert re.search(r"^test: \$\(VENV\)/test$", makefile, re.MULTILINE)


def test_the_citation_is_of_this_version() -> None:
    found = dict(re.findall(r"^([\w-]+): (.+)$", read(ROOT / "CITATION.cff"), re.MULTILINE))
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == PROJECT["version"]
    assert found["repository-code"] == PROJECT["urls"]["Repository"]
