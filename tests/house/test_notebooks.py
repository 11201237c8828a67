"""Every notebook runs from top to bottom at the small size that it names itself, and is kept without outputs."""

import ast
import importlib
import io
import json
import linecache
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SAYS = {
    "quickstart": ["votes of ten:   [0.63 0.77]", "best arm: prompt 1 with N = 9, value 0.7738"],
    "ground_truth": ["N = 1: best prompt 0", "N = 10: best prompt 1", "N = 3: not safe"],
    "bounds": ["promises less than the truth at T = [800, 2000]", "6.18e-09", "3.68e-06"],
    "own_algorithm": ["spent "],
    "real_model": ["tiny: the policy", "tiny: held-out utility", "contexts: 4"],
    "own_logs": ["free: best is careful", "3 prompts, 12 queries"],
}
"""What must be among the output: numbers that are known from elsewhere."""
PICTURES = {"quickstart": 1, "ground_truth": 2, "own_algorithm": 1}
"""How many pictures a notebook shows."""
LONG = ("own_algorithm", "own_logs", "real_model")


def sources(path: Path) -> tuple[list[tuple[str, bool]], dict[str, Any]]:
    """Code cells with whether they hold the parameters, and the values of a small run."""
    book = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    code = [("".join(cell["source"]), "parameters" in cell["metadata"].get("tags", ())) for cell in cells]
    return code, book["metadata"]["iapo"]["smoke"]


def run(path: Path) -> tuple[dict[str, Any], str, list[Any]]:
    """Run a notebook cell by cell: its names, what it printed, and what cells that end in an expression show."""
    code, smoke = sources(path)
    names: dict[str, Any] = {"__name__": "__main__"}
    said, shown = io.StringIO(), []
    with redirect_stdout(said):
        for number, (source, parameters) in enumerate(code):
            tree, place = ast.parse(source), f"{path.name}[{number}]"
            linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)  # as Jupyter does
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, place, "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), place, "eval"), names))
            if parameters:
                assert set(smoke) <= set(names), "the small run sets parameters that the notebook does not have"
                names.update(smoke)
    return names, said.getvalue(), shown


def pictures(shown: list[Any]) -> list[Image.Image]:
    """What Jupyter would show as a picture: the answer of IPython, which nobody told of `pyplot`, for a cell's end."""
    formatters = pytest.importorskip("IPython.core.formatters", reason="the extra [dev] has it: ipython")
    bundles = [formatters.DisplayFormatter().format(one)[0] for one in shown if one is not None]
    return [Image.open(io.BytesIO(bundle["image/png"])) for bundle in bundles if "image/png" in bundle]


def test_all_are_there():
    assert sorted(SAYS) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_without_outputs_and_says_what_one_will_know(path: Path):
    book = json.loads(path.read_text(encoding="utf-8"))
    first = "".join(book["cells"][0]["source"])
    assert first.startswith("# ")
    assert "At the end you will " in first
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    code, _ = sources(path)
    assert [parameters for _, parameters in code] == [True] + [False] * (len(code) - 1)
    for source, _ in code:
        ast.parse(source)


PACKAGES = ("sim", "theory", "figures")


def private(source: str) -> list[str]:
    """What code uses of the packages that is none of their public names."""
    tree, modules, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in PACKAGES:
            public = importlib.import_module(str(node.module)).__all__ if node.module in PACKAGES else ()
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in public]
        elif isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.partition(".")[0] in PACKAGES]
            modules |= {alias.asname or alias.name: alias.name for alias in ours if alias.name in PACKAGES}
            found += [alias.name for alias in ours if alias.name not in PACKAGES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            package = modules[node.value.id]
            if node.attr not in importlib.import_module(package).__all__:
                found.append(f"{package}.{node.attr}")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_uses_public_names_alone(path: Path):
    """All cells together, for an import serves the cells after it."""
    code, _ = sources(path)
    assert private("\n".join(source for source, _ in code)) == []


def test_names_that_are_not_public_are_found():
    """Of every form of import, and of an attribute."""
    text = (
        "import theory\nimport sim.engine.runner\nfrom sim.core import Spec\nfrom sim import compare, kernels\n"
        "theory.values\ntheory.exact\nimport figures as f\nf.panels"
    )
    assert private(text) == ["sim.engine.runner", "sim.core.Spec", "sim.kernels", "theory.exact", "figures.panels"]


def test_thirty_lines_are_thirty():
    """The whole rule with its imports, blank lines left out."""
    code, _ = sources(FOLDER / "own_algorithm.ipynb")
    (rule,) = (source for source, _ in code if "class TwoStages" in source)
    assert sum(bool(line.strip()) for line in rule.splitlines()) <= 30


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in LONG), id=p.stem) for p in NOTEBOOKS]
)
def test_runs_and_says_what_is_known(path: Path):
    names, said, shown = run(path)
    assert [line for line in SAYS[path.stem] if line not in said] == []
    if path.stem == "own_algorithm":
        summary = names["result"].summary
        assert (summary["spent_max"] <= summary["budget"]).all()
        assert list(dict.fromkeys(summary["algorithm"])) == ["TwoStages", "psst", "uniform"]
    made = pictures(shown)
    assert len(made) == PICTURES.get(path.stem, 0)
    assert all(min(one.size) > 200 and len(one.convert("L").getcolors() or ()) > 20 for one in made)
