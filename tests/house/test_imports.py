"""Who may import whom: the arrows of the architecture, read from the source by `ast`."""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = {"constants", "writing", "designs", "raw", "core", "utilities", "kernels"}
WORLDS = CORE | {"envs"}
RULES = {"raw", "core", "designed", "kernels", "estimators", "extrapolation", "schedules", "trim", "draws"}
PLUGINS = {"mistakes", "plugins"}

ROOMS: dict[str, set[str]] = {
    "constants": set(),
    "defaults": set(),
    "writing": set(),
    "designs": set(),
    "raw": set(),
    "core": {"designs", "raw"},
    "designed": {"designs", "core"},
    "utilities": {"constants", "core"},
    "kernels": {"constants", "designs", "raw", "core", "utilities"},
    "origins": set(),
    "mistakes": {"origins"},
    "plugins": {"origins", "mistakes"},
    "public": set(),
    "envs": CORE | PLUGINS | {"public"},
    "estimators": {"core"},
    "extrapolation": {"raw", "core", "kernels", "estimators"},
    "certify": {"core", "utilities", "kernels"},
    "advice": {"certify", "envs"},
    "draws": {"core", "kernels"},
    "schedules": {"core", "kernels", "draws"},
    "trim": {"core", "kernels", "draws"},
    "algorithms": RULES | PLUGINS | {"certify", "public", "references"},
    "instances": {"core", "kernels"},
    "engine": {"constants", "designs", "raw", "core", "kernels", "instances"},
    "evaluate": {"core"},
    "references": {"evaluate"},
    "whole": set(),
    "reports": {"writing"},
    "digests": {"origins"},
    "program": {"origins", "digests"},
    "adapters": WORLDS
    | PLUGINS
    | {"advice", "algorithms", "certify", "defaults", "engine", "instances", "origins", "references", "whole"},
    "live": {"public", "adapters"},
    "conformance": WORLDS | PLUGINS | {"algorithms", "engine", "instances", "adapters"},
    "comparison": WORLDS
    | PLUGINS
    | {"algorithms", "conformance", "defaults", "digests", "engine", "evaluate", "instances", "origins", "program"}
    | {"references"},
}
"""Room of `sim` -> the other rooms of `sim` that it may import; `cli` may import all. docs/rooms.md shows this."""

INNER: dict[str, dict[str, set[str]]] = {
    "sim.adapters": {
        "scoring": set(),
        "run_file": {"scoring"},
        "trust": {"run_file"},
        "wire": {"run_file"},
        "paid": {"scoring", "run_file", "wire"},
        "scorers": {"scoring", "run_file", "trust", "wire", "paid"},
        "tiny": {"scorers"},
    },
    "theory": {
        "blocks": set(),
        "exact": {"blocks"},
        "reward_laws": {"blocks", "exact"},
        "rounding": {"blocks", "reward_laws"},
        "hardness": {"exact"},
        "problem": {"exact", "hardness", "reward_laws", "rounding"},
        "runs": {"exact", "problem"},
        "lcpb": {"bounds", "chernoff", "exact", "problem", "reward_laws", "rounding", "runs"},
        "checks": {"bounds", "chernoff", "classical", "exact", "lcpb", "near_misses", "problem", "runs"},
    },
}
"""Folders inside two rooms, and files that they stand on -> other parts of the room that they may import. Shown too."""

KERNELS = {"rounds": {"core", "designs", "raw"}, "counter": {"core"}, "select": set(), "lanes": set(), "votes": set()}
KERNELS |= {"portions": set()}
KERNELS |= {"blocks": {"core", "utilities"}, "orders": {"core", "utilities"}}
KERNELS |= {"subsets": {"constants", "core", "designs", "utilities"}, "completions": {"raw", "core", "utilities"}}
KERNELS |= {"majority": {"constants"}, "moments": set(), "tallies": set(), "mixture": set(), "polynomial": set()}
KERNELS |= {"parts": set(), "digits": set()}
"""Rooms outside `kernels` that each kernel may import: the four that know utilities make rewards."""

THEORY = WORLDS | {"certify", "evaluate", "instances", "public"}
"""Rooms of `sim` that theory may import: what defines the worlds and which of them a trial faces, and intervals."""
RUNS = {"algorithms", "draws", "engine"}
RUN_BY = {"runs": RUNS, "checks": RUNS | PLUGINS | {"comparison", "digests", "origins", "program"}}
"""Folder of theory -> the rooms that it may import besides: those that run rules and keep what came out."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, `from a import b` as a.b, and whether on being imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda) or _for_checkers(node)]
    nested = {id(node) for part in later for node in ast.walk(part)}
    yield from ((name, id(node) not in nested) for node, name in imported(tree))


def imported(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Statements that import, each with a name that it imports, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def _for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room_of(module: str) -> str | None:
    """`sim.envs.files.read` -> envs; the package itself and other packages have none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sim" and len(parts) > 1 else None


def test_rooms_have_an_order():
    """No circle, from the bottom up. Seen to fail where programs take digests from comparisons."""
    assert set(graphlib.TopologicalSorter(ROOMS).static_order()) == set(ROOMS)


def shown() -> dict[str, set[str]]:
    """Room or part of one -> what it may import, by the tables of docs/rooms.md, in their order."""
    text = (ROOT / "docs" / "rooms.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: set(re.findall(r"[\w.]+", others)) - {"nothing"} for name, others in rows}


def test_the_page_of_rooms_shows_these_arrows_from_the_bottom_up() -> None:
    """Seen to fail with `wire` left out of the line of `paid`, and with the line of `draws` below that of `trim`."""
    held = ROOMS | {f"{room}.{part}": others for room, parts in INNER.items() for part, others in parts.items()}
    assert shown() == held
    above = list(shown())
    for place, (name, others) in enumerate(shown().items()):
        room = name.removesuffix(name.rpartition(".")[2])
        assert {room + other for other in others} & set(held) <= set(above[:place]), name


SIM = [path for path in sources("sim") if module_of(path) != "sim"]


@pytest.mark.parametrize("path", SIM, ids=module_of)
def test_a_room_of_sim_imports_only_rooms_before_it(path: Path) -> None:
    own = room_of(module_of(path))
    if own == "cli":
        return
    assert own in ROOMS, f"sim/{own} is new: say in ROOMS which rooms it may import"
    found = {room_of(name) for name, _ in imports(path)} - {None, own}
    assert found <= ROOMS[own]


@pytest.mark.parametrize("path", SIM, ids=module_of)
def test_sim_knows_no_theory_and_no_figures(path: Path) -> None:
    """But the command may, inside the functions that need them."""
    lazily = room_of(module_of(path)) == "cli"
    for name, at_once in imports(path):
        outside = name.split(".")[0] in {"theory", "figures", "benchmarks", "tests", "notebooks"}
        assert not outside or (lazily and not at_once), name


def test_files_have_an_order() -> None:
    """No circle of files, imports inside functions counted. Seen to fail with theory.exact after theory.bounds.

    `sim.envs` hands on what is in `sim.envs.named`: by name, as all public names are.
    """
    files = {module_of(path): path for room in ("sim", "theory", "figures") for path in sources(room)}
    arrows: dict[str, set[str]] = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        unseen = {id(node) for part in ast.walk(tree) if _for_checkers(part) for node in ast.walk(part)}
        names = [name for node, name in imported(tree) if id(node) not in unseen]
        found = {name if name in files else name.rpartition(".")[0] for name in names}
        arrows[module] = found & set(files) - {module}
    assert set(graphlib.TopologicalSorter(arrows).static_order()) == set(files)


def inner_arrows(room: str) -> dict[str, set[str]]:
    """Part of a room, a file or a folder -> the other parts that it imports."""
    found: dict[str, set[str]] = {}
    for path in sources(room.replace(".", "/")):
        inside = [name.removeprefix(f"{room}.") for name, _ in imports(path) if name.startswith(f"{room}.")]
        if part := module_of(path).removeprefix(room).strip(".").partition(".")[0]:
            found.setdefault(part, set()).update(name.partition(".")[0] for name in inside)
    return {part: others - {part} for part, others in found.items()}


@pytest.mark.parametrize("room", INNER)
def test_parts_of_a_room_have_an_order(room: str) -> None:
    """No circle of folders, though files have none. Seen to fail with the type `Blur` in theory.lcpb.lattice."""
    arrows = inner_arrows(room)
    assert set(graphlib.TopologicalSorter(arrows).static_order()) == set(arrows)
    assert {part: arrows[part] - others for part, others in INNER[room].items() if arrows[part] - others} == {}


def test_private_names_stay_in_their_file() -> None:
    """Seen to fail with `_poisson` and `_ways` of sim.kernels.majority in theory.reward_laws."""
    for path in [*sources("sim"), *sources("theory"), *sources("figures")]:
        private = [name for name, _ in imports(path) if re.fullmatch(r"_[a-z].*", name.rpartition(".")[2])]
        assert [name for name in private if name.split(".")[0] in {"sim", "theory", "figures"}] == [], path


def test_only_the_command_imports_the_command() -> None:
    for path in [*SIM, *sources("theory")]:
        if room_of(module_of(path)) != "cli":
            assert not any(name.startswith("sim.cli") for name, _ in imports(path)), path


@pytest.mark.parametrize("path", sources("sim/kernels"), ids=module_of)
def test_kernels_know_little(path: Path) -> None:
    if path.stem != "__init__":
        assert {room_of(name) for name, _ in imports(path)} - {None, "kernels"} <= KERNELS[path.stem]


@pytest.mark.parametrize("path", sources("theory"), ids=module_of)
def test_theory_imports_what_defines_the_worlds_and_runs_the_rules(path: Path) -> None:
    """The second in two folders. Seen to fail with `sim.engine.runner` in theory.truth."""
    names = {name for name, _ in imports(path)}
    assert {room_of(name) for name in names} - {None} <= THEORY | RUN_BY.get(path.parent.name, set())
    assert not any(name.split(".")[0] in {"figures", "tests", "benchmarks", "notebooks"} for name in names)


@pytest.mark.parametrize("path", sources("figures"), ids=module_of)
def test_figures_use_rooms_and_not_the_command(path: Path) -> None:
    """Seen to fail with a `figures/__main__.py` that called the command: a circle of rooms."""
    assert not any(name.startswith("sim.cli") for name, _ in imports(path))
    assert not any(name.split(".")[0] in {"tests", "benchmarks", "notebooks"} for name, _ in imports(path))


@pytest.mark.parametrize("path", sources("sim/algorithms"), ids=module_of)
def test_no_algorithm_touches_an_environment(path: Path) -> None:
    names = {name for name, _ in imports(path)}
    assert not names & {"sim.core.Environment", "sim.core.Source", "sim.core.Queries", "sim.core.Instance"}


@pytest.mark.parametrize(
    "path", [*sources("sim/algorithms"), ROOT / "sim/trim.py", ROOT / "sim/schedules.py"], ids=module_of
)
def test_algorithms_draw_by_sim_draws_alone(path: Path) -> None:
    """So that whoever answers draws is asked for each."""
    names = {name for name, _ in imports(path)}
    assert not {
        name for name in names if name.startswith(("sim.kernels.counter", "jax.random", "random", "numpy.random"))
    }


@pytest.mark.parametrize("path", [*sources("sim"), *sources("theory"), *sources("figures")], ids=module_of)
def test_nothing_is_patched_outside_tests(path: Path) -> None:
    assert not {name for name, _ in imports(path) if name.split(".")[0] in {"unittest", "mock", "pytest"}}


def test_the_second_opinion_is_independent() -> None:
    assert {name.split(".")[0] for name, _ in imports(ROOT / "tests" / "support" / "reference.py")} <= {
        "dataclasses",
        "itertools",
        "typing",
        "numpy",
    }


@pytest.mark.parametrize("path", [*sources("sim"), *sources("theory"), *sources("figures")], ids=module_of)
def test_no_file_hides_shadows_the_standard_library_or_is_too_long(path: Path) -> None:
    assert path.stem in {"__init__", "__main__"} or not path.stem.startswith("_")
    assert path.stem not in {"types", "random", "statistics"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


@pytest.mark.parametrize("path", [*SIM, *sources("theory")], ids=module_of)
def test_nothing_is_printed_outside_the_command(path: Path) -> None:
    if room_of(module_of(path)) != "cli":
        calls = [
            node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        ]
        assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}
