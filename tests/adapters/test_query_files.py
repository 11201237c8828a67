"""Query files of live runs: what a row must hold, references in every format, and refusals by file and row."""

import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from sim.adapters.run_file import queries
from sim.adapters.run_file.settings import QueryFile


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.jsonl", "", "holds no query"),
        ("q.jsonl", '{"query": 1}\n[]', "line 2 is no JSON object"),
        ("q.jsonl", '{"query": 1', "line 1 is no JSON"),
        pytest.param("q.jsonl", "[" * 10**5 + "]" * 10**5, "line 1 is nested too deeply", id="deep"),
        ("q.jsonl", '{"text": 1}', "row 1 has no 'query'"),
        ("q.jsonl", '{"query": null}', "row 1 holds None as 'query'"),
        ("q.jsonl", '{"query": "a"}\n{"query": "a"}', "row 2 repeats the query of row 1"),
        ("q.jsonl", '{"query": "a\\ud800"}', "which is no valid Unicode"),
        ("q.csv", "query,gold\na,1\n ,2\n", "row 2 holds ' ' as 'query'"),
        ("q.parquet", "no table", "cannot be read as a table"),
    ],
)
def test_bad_queries_are_refused_by_file_and_row(name: str, content: str, said: str, tmp_path: Path):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        queries.read(QueryFile(file, "query", None, None))
    assert str(file) in str(refused.value)


def test_queries_keep_their_text(tmp_path: Path):
    file = tmp_path / "q.csv"
    file.write_text('query,gold\n"NA, 007",007\nb,NA\n')
    items = queries.read(QueryFile(file, "query", "gold", None))
    assert [(item.text, item.gold) for item in items] == [("NA, 007", "007"), ("b", "NA")]
    assert len(queries.read(QueryFile(file, "query", "gold", 1))) == 1


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_references_come_as_the_file_has_them(kind: str, tmp_path: Path):
    """Lists and all; empty cells are none. Seen to end in a traceback for lists of a Parquet file."""
    file, notes = tmp_path / f"q.{kind}", [["a", "b"], None] if kind != "csv" else ["a, b", ""]
    frame = pd.DataFrame({"query": ["x", "y"], "notes": notes})
    if kind == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        (frame.to_csv if kind == "csv" else frame.to_parquet)(file, index=False)
    items = queries.read(QueryFile(file, "query", None, None, "notes"))
    assert [item.reference for item in items] == [notes[0], None]
    assert items[0].reference_text == ('["a", "b"]' if kind != "csv" else "a, b")
    assert queries.read(QueryFile(file, "query", None, None))[0].reference is None
    with pytest.raises(ValueError, match=r"row 1 has no 'note' \(queries.text, queries.gold, queries.reference\)"):
        queries.read(QueryFile(file, "query", None, None, "note"))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_nested_references_are_json_in_every_format(kind: str, tmp_path: Path):
    """Lists of lists, structs with lists. Seen to reach judges as NumPy's text from Parquet."""
    notes = [{"steps": [["a", "b"], ["c"]], "of": {"k": [1, 2]}}, {"steps": [], "of": {"k": None}}]
    rows = [{"query": f"q{k}", "gold": (7, None)[k], "notes": note} for k, note in enumerate(notes)]
    file = tmp_path / f"q.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), file)
    items = queries.read(QueryFile(file, "query", None, None, "notes"))
    assert [item.reference for item in items] == notes
    assert [item.reference_text for item in items] == [json.dumps(note) for note in notes]
    (first,) = queries.read(QueryFile(file, "query", "gold", 1))
    assert first.gold == "7", "whole numbers stay whole beside an empty cell"
