"""Style of all figures: sizes, type, one look per algorithm, and files equal byte for byte.

An algorithm has the same colour, marker and label in every figure, whatever else is in it. Exact values are lines,
simulation is markers with intervals (thin lines guide the eye), bounds are dashed.

    >>> from figures import style
    >>> style.look("psst").label, style.COLUMN
    ('PSST', 3.3)
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import matplotlib as mpl
import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image

from sim import plugins
from sim.writing import write_whole

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
"""For screens."""
PAPER: dict[Any, Any] = RC | {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.titlepad": 3.5,
    "axes.labelpad": 2.0,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.2,
    "grid.linewidth": 0.4,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "legend.frameon": False,
}
"""For print, at the size at which figures are drawn."""
COLUMN, PAGE = 3.3, 7.0
"""Inches: one column of a two-column paper, and both."""
DPI = 160
PRINT_DPI = 200

INK, GREY, WARNING = "#1a1a1a", "#8c8c8c", "#c00000"
STRONG = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MUTED = ("#332288", "#e69f00", "#56b4e9", "#882255", "#44aa99", "#999933", "#aa4499", "#117733")
"""Okabe and Ito's palette for what a figure is about, Tol's muted one (and two more) for what it is compared with."""
OWN = ("#ee3377", "#004488", "#bb5566", "#000000", "#994f00")
"""For code that is named by its file: colours of no registered algorithm."""
_HOLLOW = ("o", "s", "D", "^", "v", "p", "h")
_SPARE_MARKERS = ("d", "*", "8", "1", "2", "3")


_COMMENTS = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_SIZES = re.compile(r' (?:width|height|version|xmlns(?::\w+)?)="[^"]*"')
"""Attributes of an SVG that only a file of its own needs."""
_ENLARGED = 1.4
"""Times the size at which a figure is drawn, on a page at most."""


class Look(NamedTuple):
    """Look of an algorithm in all figures.

    Attributes:
        color: of line and marker.
        width: of the line, points, on screens.
        line: style of the line.
        marker: empty for what does not learn: a level line.
        order: what is drawn later covers what came before.
        label: what people call it.
        face: inside of the marker; white for an algorithm with options.
    """

    color: str
    width: float
    line: str
    marker: str
    order: int
    label: str
    face: str

    @property
    def kwargs(self) -> dict[str, Any]:
        """Arguments of `Axes.errorbar` and `Line2D` in print: thin line, marker."""
        width = {"linewidth": 0.55 * self.width, "elinewidth": 0.6, "markersize": 3.4}
        return width | self._common

    @property
    def handle(self) -> Line2D:
        """An entry of a legend."""
        return Line2D([], [], linewidth=0.55 * self.width, markersize=3.6, **self._common)

    @property
    def _common(self) -> dict[str, Any]:
        own = {"color": self.color, "linestyle": self.line, "marker": self.marker or "None", "zorder": self.order}
        strokes = self.marker and self.marker in "x+1234_"
        return own | {"markerfacecolor": self.face, "markeredgewidth": 0.6 * self.width if strokes else 0.6}


_FIXED: dict[str, tuple[str, str, str]] = {
    "psst": ("#0072b2", "o", "PSST"),
    "psst+k1": ("#d55e00", "^", "PSST+K1"),
    "psst+k4": ("#009e73", "s", "PSST+K4"),
    "psst+k8": ("#cc79a7", "D", "PSST+K8"),
    "prompt-halving": ("#661100", "*", "prompt halving"),
    "prompt-halving-n8": ("#ee8866", "8", "prompt halving, n = 8"),
    "mixture-racing": ("#cc3311", "x", "mixture racing"),
    "proven-racing": ("#994455", "|", "proven racing"),
    "uniform": ("#999933", "v", "uniform"),
    "epsilon-greedy": ("#e69f00", "<", "epsilon-greedy"),
    "softmax": ("#882255", ">", "softmax"),
    "ucb": ("#56b4e9", "P", "UCB"),
    "ucb-e": ("#4477aa", "d", "UCB-E"),
    "triple-n1": ("#117733", "X", "TRIPLE, N = 1"),
    "triple-random": ("#aa4499", "p", "TRIPLE, random N"),
    "sequential-halving": ("#332288", "h", "halving, no sharing"),
    "successive-rejects": ("#44aa99", "H", "successive rejects"),
    "correlated-halving": ("#bbbbbb", "1", "correlated halving"),
    "paired-racing": ("#ddaa33", "+", "racing, paired test"),
    "surrogate": ("#225522", "2", "linear surrogate"),
    "top-two": ("#885577", "3", "top-two"),
    "almost-tracking": ("#666633", "4", "almost tracking"),
    "until-sure": ("#b2182b", "_", "until sure"),
}
"""Name -> colour, marker, label: add a line for a new algorithm."""
_SAID = {
    "budget_rule=reference": "reference budget",
    "queries=common-wor,estimator=subsets": "common queries, all subsets",
}
"""Options -> what people call them."""
_ENVIRONMENTS = {
    "synth-bernoulli": "#ee6677",
    "MATH": "#4477aa",
    "CQA": "#66ccee",
    "synth-categorical": "#228833",
    "HH": "#aa3377",
    "Summarization": "#ccbb44",
}
"""Environment -> colour, of Tol's bright palette."""


def look(name: str) -> Look:
    """The look of an algorithm, by its name with options.

    PSST, its kin and mixture racing are thick; options keep the colour and hollow a marker of their own; the oracle,
    which is exact, is a plain line, and what is random dotted. A name that is not known here gets a colour of its own
    from the palette by a checksum; code that is named by its file or module one that no registered algorithm has.
    """
    found = plugins.split(name, (*_FIXED, "oracle", "random"))
    base, options = found.base, found.options
    said = f", {_SAID.get(options, options)}" if options else ""
    if base == "oracle":
        return Look(INK, 1.4, "-", "", 2, f"best on train{said}", INK)
    if base == "random":
        return Look(GREY, 1.4, ":", "", 1, f"random{said}", GREY)
    draw = crc32(name.encode())
    known = (MUTED[draw % len(MUTED)], _SPARE_MARKERS[draw // 8 % len(_SPARE_MARKERS)], base)
    if found.place:
        own = crc32(base.encode())
        known = (OWN[own % len(OWN)], _HOLLOW[own // 8 % len(_HOLLOW)], plugins.label(base))
    color, marker, label = _FIXED.get(base, known)
    strong = base.startswith("psst") or base == "mixture-racing"
    if options:
        marker = _HOLLOW[draw // 2 % len(_HOLLOW)]
    line = ("-.", ":")[draw % 2] if options else "-"
    face = "white" if options else color
    return Look(color, 2.0 if strong else 1.0, line, marker, 4 if strong else 3, label + said, face)


def looks(names: list[str]) -> dict[str, Look]:
    """The look of each of these algorithms; two of one name are told apart by more of where their code lies."""
    found = {name: look(name) for name in names}
    longer, others = plugins.labels(names), {found[name].label for name in names if not _place(name)}
    for name, one in found.items():
        if _place(name):
            own = plugins.split(name)
            told = own.base if longer[name] in others else longer[name]
            found[name] = one._replace(label=told + one.label.removeprefix(plugins.label(own.base)))
    taken: set[tuple[str, str, str]] = set()
    for name, one in found.items():
        places = [(color, marker, one.face) for marker in (one.marker, *_HOLLOW) for color in (one.color, *OWN)]
        at = next((place for place in places if place not in taken), places[0])
        if _place(name) and one.face != "white":
            found[name] = one._replace(color=at[0], marker=at[1], face=at[0])
        taken.add((found[name].color, found[name].marker, one.face))
    return found


def _place(name: str) -> str:
    """Where the code of an algorithm lies that is named by it; empty for a registered one."""
    return plugins.split(name, (*_FIXED, "oracle", "random")).place


def environments(names: Sequence[str]) -> dict[str, str]:
    """The colours of environments: the same in every figure; those that are not known here have one by their order."""
    others = [name for name in names if name not in _ENVIRONMENTS]
    return _ENVIRONMENTS | {name: MUTED[i % len(MUTED)] for i, name in enumerate(others)}


class Picture(Figure):
    """A figure that a notebook shows, and that is drawn once where it is saved.

    IPython asks a plain `Figure` for a picture only where `pyplot` was imported.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self._made_with = {key: mpl.rcParams[key] for key in PAPER}

    def draw(self, renderer: RendererBase) -> None:
        """Draw, or only lay out: saving draws twice where there is a layout, and of the first looks at that alone."""
        layout = self.get_layout_engine()
        if isinstance(layout, ConstrainedLayoutEngine) and self.canvas.is_saving():
            layout.execute(self)
        else:
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with mpl.rc_context(self._made_with):
            self.savefig(content, format="png", dpi=DPI)
        return content.getvalue()


def paper(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """A figure for print and its panels, shape (row, column); call inside `mpl.rc_context(style.PAPER)`.

    Args:
        width: inches, usually `COLUMN` or `PAGE`.
        height: inches.
        **grid: arguments of `Figure.subplots`.
    """
    figure = Picture(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(squeeze=False, **grid)


def legend(figure: Figure, names: list[str], columns: int, extra: dict[str, Line2D] | None = None) -> None:
    """A legend of algorithms above all panels."""
    handles = {one.label: one.handle for one in looks(names).values()} | (extra or {})
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=columns)


def thousands(axes: Any, budgets: list[int]) -> None:
    """A logarithmic axis of budgets that names each as 500, 1k, 20k."""
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{t / 1000:g}k" if t >= 1000 else f"{t}" for t in budgets])
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", visible=False)


def plain_log(axis: Any, powers: bool = False) -> None:
    """Labels of a logarithmic axis at 1, 2, 5 times powers of ten as plain numbers, or at powers of ten only.

    Args:
        axis: `Axes.xaxis` or `Axes.yaxis`.
        powers: label powers of ten, as such.
    """
    axis.set_major_locator(LogLocator(10, subs=(1.0,) if powers else (1.0, 2.0, 5.0), numticks=20 if not powers else 6))
    axis.set_minor_locator(NullLocator())
    if not powers:
        axis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}")
        )


def shades(levels: Sequence[Any]) -> dict[Any, Any]:
    """Colours of ordered levels, such as budgets, from dark to light."""
    return dict(zip(levels, mpl.colormaps["viridis"](np.linspace(0.05, 0.8, len(levels))), strict=True))


def save(figure: Figure, path: Path, rc: dict[Any, Any] = RC, dpi: int = DPI) -> Path:
    """Write a figure as .pdf, or as .png of 256 colours.

    Equal figures give equal files, which appear whole or not at all.
    """
    metadata = {"CreationDate": None, "ModDate": None} if path.suffix == ".pdf" else {}
    kind, content = path.suffix.removeprefix("."), io.BytesIO()
    with mpl.rc_context(rc):
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    if kind == "png":
        picture, content = Image.open(content).convert("RGB"), io.BytesIO()
        picture.quantize(256, dither=Image.Dither.NONE).save(content, kind, dpi=(dpi, dpi), optimize=True)
    write_whole(path, lambda file: file.write(content.getvalue()))
    return path


def svg(figure: Figure, rc: dict[Any, Any] = RC) -> str:
    """A figure as an SVG element for a page of HTML: text as outlines, as wide as its place, but not much enlarged.

    Equal figures give equal elements.
    """
    content = io.StringIO()
    with mpl.rc_context(rc):
        figure.savefig(content, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    element = content.getvalue()
    element = _COMMENTS.sub("", element[element.index("<svg ") :])
    head, end, rest = element.partition(">")
    widest = f' style="max-width: {_ENLARGED * 72 * figure.get_figwidth():.0f}pt"'
    return _SIZES.sub("", head) + widest + end + rest.strip().replace("xlink:href=", "href=")


def plain(name: object) -> str:
    """A name from a file as a picture can show it: signs that cannot be printed are blanks.

    Args:
        name: of a prompt, a context or an environment.
    """
    return "".join(sign if sign.isprintable() else " " for sign in str(name))
