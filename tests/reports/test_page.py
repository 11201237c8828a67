"""Pages of reports: whole without a network, escaped, complete tables, refused places."""

import os
from pathlib import Path

import numpy as np
import pytest
from html_pages import whole
from matplotlib.figure import Figure

from figures import style
from figures.results import values as figure
from sim.reports import page
from sim.reports.page import Report, ReportPicture, ReportTable, Shown

HOSTILE = "</td></script><script>alert(1)</script><img src=https://a.test/x.png onerror=alert(2)>&amp;\"'"


def hostile() -> Report:
    """Text that would be code, an address or another row, in every place of a report."""
    rows = ((Shown(HOSTILE), Shown("2.0", 2.0)), (page.entry("b"), page.number(float("nan"), "-")))
    drawn = Figure()
    drawn.subplots().set_title(HOSTILE.replace("$", ""))
    return Report(
        HOSTILE,
        (HOSTILE, "second"),
        (ReportPicture(HOSTILE, style.svg(drawn), HOSTILE), ReportPicture("again", style.svg(drawn))),
        (ReportTable(HOSTILE, (HOSTILE, "value"), rows, HOSTILE), ReportTable("empty", ("a", "b"), ())),
        (HOSTILE,),
        {HOSTILE: [{"a": 1}, {"b": None}], "budgets": [500, 10000], "quick": True},
        {"versions": {"python": HOSTILE}},
    )


def test_text_is_shown_and_never_obeyed() -> None:
    text = page.render(hostile())
    read = whole(text)
    assert [name for name, _ in read.tags].count("script") == 1
    assert "img" not in [name for name, _ in read.tags]
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert read.text.count(HOSTILE) == 13
    assert read.tables == [
        [[HOSTILE, "value"], [HOSTILE, "2.0"], ["b", "-"]],
        [["a", "b"]],
    ]


def test_numbers_are_sorted_by_what_is_behind_them() -> None:
    table = ReportTable("t", ("name", "n", "x"), ((page.entry("a"), page.entry(12_000), page.number(0.5, ".50")),))
    empty = (*table.rows[0][:2], page.number(float("inf"), "-"))
    read = whole(page.render(Report("r", ("s",), tables=(table._replace(rows=(*table.rows, empty)),))))
    cells = [(name, tag.get("class"), tag.get("data-key")) for name, tag in read.tags if name in ("td", "th")]
    assert cells[:3] == [("th", None, None), ("th", "number", None), ("th", "number", None)]
    assert cells[3:6] == [("th", None, None), ("td", "number", "12000"), ("td", "number", "0.5")]
    assert cells[6:] == [("th", None, None), ("td", "number", "12000"), ("td", None, None)]
    assert read.tables[0][1] == ["a", "12,000", ".50"]


def test_settings_are_lines_however_they_are_nested() -> None:
    settings = {"environments": [{"name": "a"}, {"name": "b"}], "options": {}, "chunk": None, "budgets": [5, 1000]}
    read = whole(page.render(Report("r", ("s",), settings=settings)))
    lines = [line for line in read.text.split("Settings")[1].split("\n") if line]
    assert lines == ["environments 1 / namea", "environments 2 / nameb", "optionsnone", "chunknone", "budgets5, 1,000"]


def test_a_row_of_another_length_is_refused() -> None:
    table = ReportTable("t", ("a", "b"), ((page.entry("x"),),))
    with pytest.raises(ValueError, match=r"the table 't' has a row of 1 entries; it has 2 columns"):
        page.render(Report("r", ("s",), tables=(table,)))


def test_equal_reports_are_equal_pages_and_hold_what_utf_8_can(tmp_path: Path) -> None:
    report = hostile()._replace(sentences=("nul \x00, half \ud800, fine \u00e9",))
    first, second = (page.save(report, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    assert "nul \N{REPLACEMENT CHARACTER}, half \\ud800, fine \u00e9" in first.decode()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("report.pdf", r"its name ends with \.html"),
        ("folder.html", r"which is a folder; name a file in it"),
        ("missing/report.html", r"the folder .*missing does not exist"),
        ("file.txt/report.html", r"the folder .*file\.txt does not exist"),
    ],
)
def test_places_where_no_page_can_be_are_refused(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(ValueError, match=sentence):
        page.check_place(tmp_path / name, tmp_path / "results")
    assert not (tmp_path / "missing").exists()


def test_a_page_may_go_into_the_folder_that_the_work_makes(tmp_path: Path) -> None:
    page.check_place(tmp_path / "results" / "report.html", tmp_path / "results")
    page.check_place(tmp_path / "report.HTML")
    page.check_place(None)
    with pytest.raises(ValueError, match="does not exist"):
        page.check_place(tmp_path / "results" / "report.html")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_closed_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="nothing can be written into the folder"):
        page.check_place(tmp_path / "report.html")
    tmp_path.chmod(0o700)


def test_values_are_drawn_where_they_are_known() -> None:
    """Of seven prompts six are named, those that are best first; a context without intervals has no band."""
    value = np.linspace(0, 1, 7)[None, :, None] * np.array([0.5, 0.8, 1.0, np.nan])
    value = np.concatenate([value, value[:, ::-1]])
    low, high = value - 0.1, value + 0.1
    low[1] = high[1] = np.nan
    drawn = figure.draw(value, low, high, ["up", "down"], [f"p{p}" for p in range(7)])
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["p6", "p0", "p5", "p1", "p4", "p2"]
    first, second = drawn.axes
    assert first.get_title(loc="left") == "up"
    assert [line.get_xdata().tolist() for line in first.lines] == [[1, 2, 3]] * 7
    bands = [[len(band.get_paths()) for band in panel.collections] for panel in (first, second)]
    assert bands == [[1] * 6, [0] * 6]
