"""One word for one thing: a class name is used once in all rooms."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("sim", "theory", "figures", "benchmarks")
ALIKE = {"State"}
"""Names that mean the same in many files: every algorithm calls its state so."""


def homes() -> dict[str, set[str]]:
    """Name of a public class -> the files that define it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(path.relative_to(ROOT).as_posix())
    return found


def test_no_two_public_classes_share_a_name() -> None:
    """Seen to fail with `Reference` in sim/plugins.py and in sim/comparison/contenders.py, and 30 more."""
    shared = {name: files for name, files in homes().items() if len(files) > 1}
    assert {name: files for name, files in shared.items() if name not in ALIKE} == {}
    assert all(file.startswith("sim/algorithms/") for name in ALIKE for file in shared[name])
