"""Self-contained pages of HTML: a sentence, pictures, tables that can be sorted, settings and provenance.

A page asks for nothing outside itself, and says so to the browser (Content-Security-Policy). All text is escaped by the
template (jinja2); pictures are SVG that this project drew. Tables are whole without the script, which adds the sorting.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.writing import escape, write_whole

if TYPE_CHECKING:
    from jinja2 import Template

ENDINGS = (".html", ".htm")
_INNER = re.compile(r'(\bid="|href="#|url\(#)')
"""Places of an SVG that name one of its own parts."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Controls, which no page of HTML may hold."""


class Shown(NamedTuple):
    """An entry of a table: its text, and the number by which its column is sorted.

    Attributes:
        text: as it is shown.
        key: number behind it; None where it is text, or missing.
    """

    text: str
    key: float | None = None


class ReportTable(NamedTuple):
    """A table of a report. Columns of which some entry has a number are sorted by it, others by their text.

    Attributes:
        title: what it is of.
        columns: names.
        rows: entries, as many as columns in each row.
        caption: what its marks mean.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]
    caption: str = ""


class ReportPicture(NamedTuple):
    """A picture of a report.

    Attributes:
        title: what it shows; read aloud in place of it.
        svg: the element, of trusted origin: it is not escaped.
        caption: more about it.
    """

    title: str
    svg: str
    caption: str = ""


class Report(NamedTuple):
    """A report: what it says, in the order of the page.

    Attributes:
        title: of the page.
        sentences: the result in words, first of all.
        pictures: drawn results.
        tables: results in numbers.
        notes: what the results stand on.
        settings: name -> value, nested as it may be.
        provenance: versions, machine, files and time, likewise.
    """

    title: str
    sentences: tuple[str, ...]
    pictures: tuple[ReportPicture, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = {}
    provenance: Mapping[str, Any] = {}


def number(value: float | None, text: str) -> Shown:
    """An entry that is sorted by a number; what is no number, or not finite, comes last."""
    return Shown(text, float(value) if value is not None and math.isfinite(value) else None)


def entry(value: object) -> Shown:
    """An entry for what needs no format: whole numbers and text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Shown(f"{value:,}", value)
    return Shown("" if value is None else str(value))


def render(report: Report) -> str:
    """Page of a report as HTML text. Equal reports give equal pages.

    Args:
        report: the report.

    Raises:
        ValueError: a row of a table has fewer or more entries than the table has columns.

    Example:
        >>> from sim.reports.page import Report, ReportTable, entry, render
        >>> table = ReportTable("costs", ("prompt", "N"), ((entry("<b>"), entry(4)),))
        >>> "&lt;b&gt;" in render(Report("tiny", ("b is best.",), tables=(table,)))
        True
    """
    for table in report.tables:
        for row in table.rows:
            if len(row) != len(table.columns):
                raise ValueError(
                    f"the table {table.title!r} has a row of {len(row)} entries; it has {len(table.columns)} columns"
                )
    pictures = [
        one._replace(svg=_INNER.sub(rf"\g<1>p{place}-", one.svg)) for place, one in enumerate(report.pictures, start=1)
    ]
    facts = [("Settings", list(_facts(report.settings))), ("Provenance", list(_facts(report.provenance)))]
    text = _template().render(report=report, pictures=pictures, tables=report.tables, facts=facts)
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", escape(text))


def save(report: Report, path: Path) -> Path:
    """Write the page of a report; the file appears whole or not at all.

    Args:
        report: the report.
        path: the file.

    Raises:
        ValueError: the file cannot be written.
    """
    content = render(report).encode()
    write_whole(path, lambda file: file.write(content))
    return path


def check_place(path: Path | None, made: Path | None = None) -> None:
    """Refuse a place where no page can be written, before the work whose results it shows.

    Args:
        path: the file; None where no page is asked for.
        made: a folder that the work makes if need be.

    Raises:
        ValueError: its name ends otherwise than a page's, it is a folder, or its folder is missing or closed.
    """
    if path is None:
        return
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"--report is {path}; a report is a page of HTML: its name ends with .html")
    if path.is_dir():
        raise ValueError(f"--report is {path}, which is a folder; name a file in it, as {path / 'report.html'}")
    folder = path.parent
    if made is not None and not folder.exists() and folder.absolute() == made.absolute():
        return
    if not folder.is_dir():
        raise ValueError(f"--report is {path}, but the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"--report is {path}, but nothing can be written into the folder {folder}")


def _facts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as lines: the path of names, and the value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _facts(inner, f"{name} / {key}" if name else str(key))
    elif _listed(value) and any(isinstance(one, Mapping) or _listed(one) for one in value):
        for place, inner in enumerate(value, start=1):
            yield from _facts(inner, f"{name} {place}")
    elif name:
        yield name, _text(value)


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: Any) -> str:
    """A value of a setting in words."""
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(_text, value)) if _listed(value) else str(value)


@cache
def _template() -> "Template":
    import jinja2

    options: dict[str, Any] = {"autoescape": True, "undefined": jinja2.StrictUndefined}
    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True, **options
    )
    return room.get_template("report.html.jinja")
