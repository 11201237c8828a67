"""First lines of docstrings: a noun or a verb phrase that a stranger would search for, in one line."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = re.compile(r"(What|How|Why|Whether|Where|When|Whose|Who|Which|Does|Is|Are|In how many)\b")
"""How a first line must not begin: nobody searches for it, and in a list of files it hides the subject."""
ROOMS = ("sim", "theory", "figures", "benchmarks")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node) or "").split("\n", 1)[0]


def public(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_says_in_its_first_line_what_it_is(path: Path) -> None:
    """Seen to fail with "What lanes of a batch have in common.", with two lines, and with no full stop."""
    line = first_line(ast.parse(path.read_text(encoding="utf-8")))
    assert line, "has no docstring"
    assert not QUESTIONS.match(line), line
    assert line.endswith((".", ":")), line
    assert len(line) <= 120, line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_public_name_is_said_in_words_to_search_for(path: Path) -> None:
    """Predicates begin with "Whether", and nothing with another such word.

    Seen to fail with "What the bound is to be", of a method whose name another class of the file has too, with "Where
    requests go, and how.", and with "That of the algorithm and of what runs it.".
    """
    lines = [(node.name, first_line(node)) for node in public(ast.parse(path.read_text(encoding="utf-8")))]
    asks = [(name, line) for name, line in lines if QUESTIONS.match(line) or line.startswith("That ")]
    assert [found for found in asks if not found[1].startswith("Whether ")] == []


def of_constants(tree: ast.Module) -> Iterator[str]:
    """Texts that stand under assignments, in modules and classes: the docstrings of constants and fields."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef)]
    for before, one in itertools.chain.from_iterable(map(itertools.pairwise, bodies)):
        text = one.value if isinstance(one, ast.Expr) and isinstance(before, ast.Assign | ast.AnnAssign) else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield text.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_not_the_subject_of_a_constant(path: Path) -> None:
    """Seen to fail with "What a comparison writes." under FILES, and fourteen more."""
    assert not [text for text in of_constants(ast.parse(path.read_text(encoding="utf-8"))) if re.match(r"What\b", text)]


@pytest.mark.parametrize("path", sorted(ROOT.glob("sim/cli/skeletons/*.py.txt")), ids=lambda path: path.name)
def test_files_to_begin_with_are_said_in_words_to_search_for_too(path: Path) -> None:
    """Seen to fail with "What the rule knows between two rounds." and with "Before the first round."."""
    lines = re.findall(r'^\s*"""(.+)', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    assert not [line for line in lines if QUESTIONS.match(line) or re.match("Before|Instead", line)]
