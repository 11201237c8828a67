"""Parts that pages of several commands share: pictures, whole data frames as tables, provenance."""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from sim.cli import common
from sim.reports import page

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def picture(title: str, drawn: "Figure", caption: str = "") -> page.ReportPicture:
    """A figure as a picture of a page."""
    from figures import style

    return page.ReportPicture(title, style.svg(drawn), caption)


def frame(
    title: str,
    rows: "pd.DataFrame",
    names: Mapping[str, str],
    caption: str = "",
    formats: Mapping[str, Callable[[float], str]] = MappingProxyType({}),
) -> page.ReportTable:
    """Columns of a data frame as a table, with enough digits to tell its numbers apart.

    Args:
        title: of the table.
        rows: what it shows.
        names: column -> its head, in the order in which they are shown.
        caption: below it.
        formats: column -> how its numbers are written, where their sizes count.
    """
    columns = [_column(list(rows[name]), formats.get(name)) for name in names]
    return page.ReportTable(title, tuple(names.values()), tuple(zip(*columns, strict=True)), caption)


def _column(values: Sequence[Any], form: Callable[[float], str] | None) -> list[page.Shown]:
    from sim.cli.digits import shown

    if not any(isinstance(value, float) for value in values):
        return [page.entry(value if isinstance(value, str) else int(value)) for value in values]
    text = shown([float(value) for value in values]) if form is None else form
    return [page.number(value, "-" if value != value else text(value)) for value in map(float, values)]


def settled(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and provenance of results, as the file provenance.json beside them has them.

    Args:
        folder: of the results.
    """
    kept = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    return kept.pop("settings"), dated(kept)


def dated(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance of a page, with the day on which it is written."""
    return {"written": datetime.datetime.now(datetime.UTC).date().isoformat()} | dict(provenance)


def write(report: page.Report, path: Path) -> None:
    """Write a page and say so; text of files is shown and not obeyed."""
    page.save(report, path)
    typer.echo(f"wrote {common.plain(path)}")
