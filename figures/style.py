"""What all figures share: type, colours that colour-blind readers tell apart, and files equal byte for byte."""

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from sim.envs.files import write_whole

RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "iapo-testbed",
}
DPI = 160

INK, GREY = "#1a1a1a", "#8c8c8c"
STRONG = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MUTED = ("#332288", "#e69f00", "#56b4e9", "#882255", "#44aa99", "#999933", "#aa4499", "#117733")
"""Okabe and Ito's palette for what a figure is about, Tol's muted one (and two more) for what it is compared with."""
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")


class Look(NamedTuple):
    """How an algorithm is drawn everywhere."""

    color: str
    width: float
    line: str
    marker: str
    order: int


def looks(names: list[str]) -> dict[str, Look]:
    """A look for every algorithm: PSST and its kin thick and round, baselines thin, oracle dashed, random dotted."""
    found, kin, others = {}, 0, 0
    for name in names:
        base = name.partition(":")[0]
        if base == "oracle":
            found[name] = Look(INK, 1.4, "--", "", 2)
        elif base == "random":
            found[name] = Look(GREY, 1.4, ":", "", 1)
        elif base.startswith("psst"):
            found[name] = Look(STRONG[kin % len(STRONG)], 2.0, ("-", "-.")[kin // len(STRONG) % 2], "o", 4)
            kin += 1
        else:
            line = ("-", "-.")[others // len(MUTED) % 2]
            found[name] = Look(MUTED[others % len(MUTED)], 1.0, line, MARKERS[others % len(MARKERS)], 3)
            others += 1
    return found


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as .png or .pdf; equal figures give equal files, which appear whole or not at all."""
    metadata = {"CreationDate": None, "ModDate": None} if path.suffix == ".pdf" else {}
    kind = path.suffix.removeprefix(".")
    with mpl.rc_context(RC):
        write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=DPI, metadata=metadata))
    return path
