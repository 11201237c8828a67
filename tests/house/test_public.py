"""The public names: what they are, that they cost nothing until they are used, and that every example is true."""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sim import origins

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sim", "theory", "figures")
HEAVY = ("jax", "numpy", "pandas", "equinox", "matplotlib", "scipy")
FLAGS = doctest.NORMALIZE_WHITESPACE
SKIP = re.compile(r"<!-- not run: .+ -->\s*\Z")
"""In a Markdown file on the line before a block of Python that is not run: why."""


def public(package: str) -> list[str]:
    return importlib.import_module(package).__all__


NAMES = [(package, name) for package in PACKAGES for name in public(package)]


def handed_on(package: str) -> dict[str, str]:
    """Name -> `module:name` of the imports that type checkers see."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert isinstance(block.test, ast.Name)
    assert block.test.id == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {str(alias.asname): f"{node.module}:{alias.name}" for node in imports for alias in node.names}


def documented() -> Iterator[tuple[str, str]]:
    """(place, docstring) of everything in the packages whose docstring holds an example."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if ">>>" in text:
                yield from _docstrings(ast.parse(text), str(path.relative_to(ROOT)))


def _docstrings(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        own = ast.get_docstring(node)
        if own and ">>>" in own:
            yield place, own
        for inner in node.body:
            yield from _docstrings(inner, f"{place}:{getattr(inner, 'name', '')}")


EXAMPLES = list(documented())


def test_importing_a_package_imports_nothing_that_takes_time() -> None:
    """Seen to fail with `from sim.core import Algorithm` at the top of sim."""
    program = (
        f"import sys, {', '.join(PACKAGES)}; print([m for m in {HEAVY} if m in sys.modules], 'compare' in dir(sim))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split("\n")[0] == "[] True"


@pytest.mark.parametrize("package", PACKAGES)
def test_checkers_readers_and_programs_see_the_same_names(package: str) -> None:
    """Seen to fail with a name left out of a list, and with another home."""
    module = importlib.import_module(package)
    seen = handed_on(package)
    assert sorted(seen) == sorted(module.__all__) == sorted(module._HOMES)
    assert set(module.__all__) <= set(dir(module))
    for name, home in seen.items():
        source, _, inner = home.partition(":")
        assert getattr(module, name) is (
            sys.modules.get(f"{source}.{inner}") or getattr(importlib.import_module(source), inner)
        )


def test_a_public_name_counts_as_the_module_it_comes_from() -> None:
    """Else a rule that imports it would be run again after any edit. Seen to fail with the packages themselves."""
    text = "from sim import Algorithm, tables, load, trim, nothing\nfrom theory import exact_values"
    mine = origins.Origin("mine", text, None, "", python=True, others=False)
    homes = {"sim.core", "sim.comparison.tables", "sim.envs.files", "sim.trim", "sim", "theory.truth"}
    assert origins.imports(mine) == homes


def test_there_are_few() -> None:
    assert all(len(public(package)) <= 26 for package in PACKAGES)


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    sim = importlib.import_module("sim")
    with pytest.raises(AttributeError, match="module 'sim' has no attribute 'comparee'; public are Algorithm, "):
        sim.comparee  # noqa: B018


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda part: part)
def test_every_public_name_has_an_example(package: str, name: str) -> None:
    thing = getattr(importlib.import_module(package), name)
    text = inspect.getdoc(thing) if not isinstance(thing, ModuleType) else thing.__doc__
    assert ">>>" in (text or "")


@pytest.mark.parametrize(("place", "text"), EXAMPLES, ids=[place for place, _ in EXAMPLES])
def test_examples_are_true(place: str, text: str) -> None:
    """Every example stands alone. Seen to fail with one digit changed."""
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "example"}, place, place, 0)
    said: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert tried > 0
    assert failed == 0, "".join(said)


def blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Whether it is run, and the text, of every block of Python in a Markdown file."""
    for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield SKIP.search(text[: found.start()]) is None, found[1]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_PYTHON = [path for path in PAGES if "```python" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda path: path.name)
def test_python_in_the_pages_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one page run in their order and share names, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for number, (runs, text) in enumerate(blocks(path.read_text(encoding="utf-8"))):
        code = compile(text, f"{path.name}[{number}]", "exec")  # also where it is not run
        if runs:
            exec(code, names)


def test_blocks_are_found_and_left_out_where_the_page_says_why() -> None:
    text = "```python\na\n```\n\n<!-- not run: needs a key -->\n```python\nb\n```\n```sh\nc\n```\n"
    assert list(blocks(text)) == [(True, "a\n"), (False, "b\n")]
