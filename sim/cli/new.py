"""`iapo new`: a commented file to start from, which works as it is."""

import ast
import keyword
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import common

_FOLDER = Path(__file__).parent / "skeletons"


class FileKind(StrEnum):
    """Kind of file that `iapo check` knows."""

    algorithm = "algorithm"
    environment = "environment"
    scorer = "scorer"
    figure = "figure"


class Skeleton(StrEnum):
    """Kind of file that can be begun. The last two are held against exact truth and against tables, and not checked."""

    algorithm = "algorithm"
    environment = "environment"
    scorer = "scorer"
    figure = "figure"
    bound = "bound"
    claim = "claim"


_NEXT = {
    Skeleton.algorithm: ("iapo check {text}", "iapo compare --env crossover --algorithm psst --algorithm {text}"),
    Skeleton.environment: ("iapo check {text}", "iapo compare --env {text} --algorithm psst --algorithm uniform"),
    Skeleton.scorer: ("iapo check {text}", 'scorer = "{text}" in a run file for iapo tune'),
    Skeleton.figure: ("iapo check {text}", "iapo figures {text} --out results"),
    Skeleton.bound: (
        "iapo verify --quick --family two-arm --bound {text}",
        "iapo plan two-arm --delta 0.05 --bound {text}",
    ),
    Skeleton.claim: ("iapo claims --claim {text}",),
}


@common.command
def new(
    kind: Annotated[Skeleton, typer.Argument(metavar="KIND", help=f"{', '.join(Skeleton)}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name; mine makes mine.py, with mine or Mine in it.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the file.")] = Path(),
) -> None:
    """Write a commented file to start from.

    It works as it is; see it do so by the commands that are said then. Never overwrites one.

    Example: iapo new algorithm mine
    """
    path = out / f"{stem_of(name)}.py"
    text = skeleton(kind, path.name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ValueError(f"{path}: exists; choose another name, or move it away") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror})") from None
    address = f"{path}{named(kind, path.stem)}"
    typer.echo(f"wrote {common.plain(path)}, {len(text.splitlines())} lines. Next:")
    for line in _NEXT[kind]:
        typer.echo(f"  {common.plain(line.format(text=address))}")


def skeleton(kind: str, file: str) -> str:
    """The text of a skeleton (`Skeleton`) for a file of this name."""
    stem = file.removesuffix(".py")
    text = (_FOLDER / f"{kind}.py.txt").read_text(encoding="utf-8")
    tree = ast.parse(text.format(file=file, name="_", Name="_"))
    used = {getattr(node, key, None) for node in ast.walk(tree) for key in ("id", "name", "arg", "attr")}
    for name in (stem, _class(stem)):
        if name in used:
            raise ValueError(f"{name} is the name of something else in a new {kind}; choose another name")
    return text.format(file=file, name=stem, Name=_class(stem))


def named(kind: str, stem: str) -> str:
    """Name that follows the file in an address, empty for a figure, which is the file; functions have small letters."""
    if kind == Skeleton.figure:
        return ""
    return f":{stem}" if kind in (Skeleton.environment, Skeleton.bound) else f":{_class(stem)}"


def stem_of(name: str) -> str:
    """The name of the file without its ending; a name that Python cannot use is refused."""
    stem = name.removesuffix(".py").replace("-", "_")
    if not stem.isidentifier() or keyword.iskeyword(stem) or not stem.isascii():
        raise ValueError(f"{name!r} is no name for a file and a class; use letters, digits and _, as in my_rule")
    if stem in sys.stdlib_module_names:
        raise ValueError(
            f"{stem}.py would hide the module {stem} of Python from scripts beside it; choose another name"
        )
    return stem


def _class(stem: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in stem.split("_")) or stem
