"""Tables and pictures of figures: made where they are missing or were made from something else, and kept.

A table is a small CSV file with a JSON file beside it that says what it was computed from. It is computed again where
its SWEEP, its number of trials or an environment at hand is another; one that holds an environment whose file is not at
hand is left as it is. An edited program (`sim.program`: what `compute` uses, not what draws) does not make a table old
by itself, but its provenance tells. One that lies outside this project does: a figure, or an algorithm, an environment
or a bound that was registered.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl

from figures import registry, style
from figures.inputs import SEED, SUFFIX, Lab
from sim import algorithms, digests, envs, plugins, program
from sim import origins as modules
from sim.comparison import cells, contenders, tables
from theory import truth
from theory.checks import verify

if TYPE_CHECKING:
    import pandas as pd

HOME = Path(__file__).resolve().parent
"""Where the tables that come with the package lie."""
_DIGITS = "%.10g"


class Wanted(NamedTuple):
    """Request for figures: which, where, and how large.

    Attributes:
        out: folder of the tables and pictures: out/tables and out/rendered.
        smoke: the small SWEEP of each figure instead of the full one.
        trials: instead of those of every SWEEP.
        recompute: make tables again that are up to date.
        redraw: compute nothing.
        kept: folder of tables that are read where `out` has none, and never written.
    """

    out: Path = HOME
    smoke: bool = False
    trials: int | None = None
    recompute: bool = False
    redraw: bool = False
    kept: Path | None = None

    def where(self, name: str) -> Path:
        """The file of a figure's table as it stands: the one in `out`, or else the one that is kept."""
        places = [_table_path(folder, name) for folder in (self.out, self.kept) if folder is not None]
        return next((path for path in places if path.with_suffix(".json").is_file()), places[0])


def home(out: Path | None) -> tuple[Path, Path | None]:
    """The folder to write tables and pictures to, and the one to read kept tables from besides.

    A checkout keeps its tables itself. An installed package is not written to: what is made goes to the folder
    `figures` in the working folder, or to `out`.

    Args:
        out: the folder that was asked for; what is made there is made apart from all kept tables.
    """
    if out is not None:
        return out, None
    return (Path("figures"), HOME) if modules.installed(str(HOME)) else (HOME, None)


class Built(NamedTuple):
    """One figure that was made, with the seconds its table took (0 if it was there), and what to tell about it."""

    name: str
    files: tuple[Path, ...]
    seconds: float
    note: str


def sweep_of(name: str, asked: Wanted) -> dict[str, Any]:
    """The SWEEP of a figure as it will be run."""
    module = registry.module(name)
    sweep = module.SWEEP | (module.SMOKE if asked.smoke else {})
    given = "trials" in dict(registry.FIGURES[name].options)  # by this figure's own options
    return sweep | ({"trials": asked.trials} if asked.trials is not None and "trials" in sweep and not given else {})


def state(name: str, asked: Wanted, lab: Lab) -> tuple[str, str]:
    """Whether a figure's table is "missing", "current", "old" or "kept", and why in a few words.

    "kept": another sweep or other files are asked for, but an environment in it is not at hand.
    """
    record = _record(asked.where(name))
    if record is None:
        return "missing", "no table yet"
    had, wanted = record["inputs"], _inputs(name, asked, lab)
    lost = _lost(name, asked, lab)
    if not asked.where(name).is_file():
        return "missing", f"was made with {', '.join(lost)}, whose file is not at hand" if lost else "no table yet"
    changed = [key for key in wanted if had.get(key) != wanted[key]]
    changed += [key for key in had if key.startswith("program of ") and key not in wanted]
    if changed:
        if lost:
            return "kept", f"holds {', '.join(lost)}, whose file is not at hand"
        return "old", f"{', '.join(changed)} changed"
    same = record["program"] == digest(registry.FIGURES[name].module)
    return "current", "" if same else "made by an earlier version of the program"


def build(
    names: Sequence[str], asked: Wanted, lab: Lab, tell: Callable[[str], None] = lambda _: None
) -> "tuple[list[Built], dict[str, pd.DataFrame]]":
    """Make figures, those first that others are computed from.

    Args:
        names: figures, all when empty.
        asked: what is to be made.
        lab: what to make it with.
        tell: told the name of each figure before its table is computed.

    Returns:
        What was made, and the tables by name.

    Raises:
        ValueError: among others, a kept table lacks an environment at hand, and cannot be made again without another.
    """
    wanted = registry.with_needs(list(names))
    for name in wanted:  # complain before the work
        sweep_of(name, asked)
        if not asked.redraw:
            _refuse_to_leave_out(name, asked, lab)
    made, known = [], {}
    for name in wanted:
        start, (status, note) = perf_counter(), state(name, asked, lab)
        if asked.redraw and status == "missing":
            raise ValueError(f"{asked.where(name)}: no such table; leave out --redraw to compute it")
        if status == "missing" and _lost(name, asked, lab):
            path = asked.where(name)
            raise ValueError(
                f"{path}: is gone, and {note}; name its folder with --data, or remove {path.stem}.json too"
            )
        again = not asked.redraw and (status in ("missing", "old") or (asked.recompute and status != "kept"))
        if again:
            tell(name)
            compute(name, asked, lab._replace(tables=known))
            note = ""
        known[name] = tables.load(asked.where(name))
        files = () if names and name not in names else render(name, known[name], asked.out)
        made.append(Built(name, files, perf_counter() - start if again else 0.0, note))
    return made, known


def origins(names: Sequence[str], asked: Wanted) -> dict[str, dict[str, Any]]:
    """The provenance of tables that were made."""
    return {name: _record(asked.where(name)) or {} for name in names}


def compute(name: str, asked: Wanted, lab: Lab) -> None:
    """Compute a figure's table and keep it with its provenance."""
    start, sweep = perf_counter(), sweep_of(name, asked)
    made_by = digest(registry.FIGURES[name].module)  # before an edit during the work
    inputs = _inputs(name, asked, lab)
    table = registry.computed(registry.module(name), sweep, lab)
    path = _table_path(asked.out, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = tables.provenance(sweep | {"seed": SEED}, {"wall_seconds": round(perf_counter() - start, 1)})
    record = {"figure": name, "inputs": inputs, "program": made_by} | origin
    path.with_suffix(".json").unlink(missing_ok=True)  # a table is never found beside another table's record
    _save(table, path)
    tables.save(record, path.with_suffix(".json"))


def render(name: str, table: "pd.DataFrame", out: Path) -> tuple[Path, ...]:
    """Draw a figure as .pdf, for print, and .png."""
    folder = out / "rendered"
    with mpl.rc_context(style.PAPER):
        figure = registry.drawn(registry.module(name), table)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("pdf", "png")]
    return tuple(style.save(figure, path, style.PAPER, style.PRINT_DPI) for path in paths)


def digest(module: str) -> str:
    """SHA-256 of the program that computes a figure's table: what `compute` uses, and nothing that only draws.

    Of `figures` the definitions count that `compute` reaches, of `sim` and `theory` the modules of those. Of a figure
    that lies elsewhere its whole module counts.

    Args:
        module: what makes the figure, e.g. "figures.exploration", or module:name.
    """
    whole = () if modules.top(module) == "figures" else (module.partition(":")[0],)
    return program.behind(registry.maker(module).compute, modules=whole, piecewise=("figures",)).key


def registered(module: str, sweep: Any) -> dict[str, str]:
    """Keys of the programs that a table depends on and that lie elsewhere, "program of ..." -> key.

    They are those of the figure, of algorithms and environments that its SWEEP names, and of bounds and rules where
    it names families of worlds.

    Args:
        module: that of the figure.
        sweep: its SWEEP.
    """
    found = {} if modules.top(module) == "figures" else {module: digest(module)}
    for text in sorted(set(_texts(sweep))):
        name = text.partition(":")[0]
        if plugins.split(text, (*algorithms.ALGORITHMS, *envs.ENVS)).place:
            found |= _brought(text)
        if name in algorithms.ALGORITHMS and not _ours(algorithms.ALGORITHMS[name]):
            found[text] = contenders.algorithm_program(algorithms.get(text)).key
        if name in envs.ENVS and not _ours(envs.ENVS[name].maker):
            found[text] = cells.environment_program(envs.get(text), truth.exact_values).key
    if {"families", "rules"} & set(sweep):
        found |= {f"{kind}{rule and ' of '}{rule}": key for (kind, rule), key in verify.foreign_programs().items()}
    return {f"program of {name}": key for name, key in found.items()}


def _brought(text: str) -> dict[str, str]:
    """The key of an algorithm or an environment that is named by its code; nothing for another text."""
    with suppress(ValueError):
        return {text: contenders.algorithm_program(algorithms.get(text)).key}
    with suppress(ValueError):
        return {text: cells.environment_program(envs.get(text), truth.exact_values).key}
    return {}


def _ours(build: Any) -> bool:
    """Whether what builds an algorithm or an environment is part of this project, which `digest` follows."""
    return isinstance(build, str) or modules.own(str(getattr(build, "__module__", "")))


def _texts(thing: Any) -> Iterator[str]:
    """Every text in a SWEEP."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, dict):
        yield from (text for item in thing.items() for part in item for text in _texts(part))
    elif isinstance(thing, tuple | list):
        yield from (text for part in thing for text in _texts(part))


def _lost(name: str, asked: Wanted, lab: Lab) -> list[str]:
    """Environments that a table was made with and is asked for with, but that are not at hand."""
    had = (_record(asked.where(name)) or {"inputs": {}})["inputs"].get("environments", {})
    names = _names(sweep_of(name, asked))
    return sorted(env for env in set(had) - set(lab.at_hand(names)) if env in names)


def _refuse_to_leave_out(name: str, asked: Wanted, lab: Lab) -> None:
    """Stop where a kept table lacks an environment that was given: it would silently not be used."""
    if state(name, asked, lab)[0] != "kept":
        return
    record = _record(asked.where(name)) or {"inputs": {}}
    had, given = (inputs.get("environments", {}) for inputs in (record["inputs"], _inputs(name, asked, lab)))
    new = sorted(env for env in given if had.get(env) != given[env])
    if new:
        files = ", ".join(
            f"{env}{SUFFIX}" for env in sorted({env.partition(":")[0] for env in _lost(name, asked, lab)})
        )
        raise ValueError(
            f"{asked.where(name)}: to add {', '.join(new)}, {files} is needed too, from which it was made; "
            "give both with --data, or make tables apart with --out"
        )


def _inputs(name: str, asked: Wanted, lab: Lab) -> dict[str, Any]:
    """What a table is computed from, comparable after a round trip through JSON."""
    sweep = sweep_of(name, asked)
    held = {env: digests.digest(data) for env in lab.at_hand(_names(sweep)) if (data := lab.get(env).data) is not None}
    needs = {need: _content(asked.where(need)) for need in registry.FIGURES[name].needs}
    theirs = registered(registry.FIGURES[name].module, sweep)
    return json.loads(json.dumps({"sweep": sweep, "environments": held, "tables": needs} | theirs))


def _names(sweep: dict[str, Any]) -> Sequence[str]:
    return sweep.get("envs", ())


def _record(table: Path) -> dict[str, Any] | None:
    path = table.with_suffix(".json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"{path}: no JSON; delete it and its table is computed again") from None


def _content(path: Path) -> str | None:
    """SHA-256 of a table; None where there is none. Neither the time it took nor the machine is part of it."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _table_path(out: Path, name: str) -> Path:
    return out / "tables" / f"{name}.csv"


def _save(table: "pd.DataFrame", path: Path) -> None:
    from sim.envs.rows import to_csv
    from sim.writing import write_whole

    write_whole(path, lambda file: file.write(to_csv(table, _DIGITS)))
