"""Rows of tables: what a file holds, or one sentence that names it."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from sim.adapters.run_file import queries
from sim.adapters.run_file.settings import QueryFile
from sim.cli import app
from sim.comparison import tables
from sim.envs import imports, rows

OPTIONS = ["--objective", "answer:mv", "--gold", "gold", "--context", "1,0", "--max-scale", "4"]


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        rows.frame(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_csv_file_holds_text(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\n007,NA\n\x00,"x\r\ny"\n')
    assert rows.frame(path).to_dict("list") == {"a": ["007", "\x00"], "b": ["NA", "x\r\ny"]}
    for content, said in ((b"", "No columns"), (b"\xff\xfe", "utf-8"), (b"a\n1,2\n1,2,3\n", "Expected 2 fields")):
        path.write_bytes(content)
        assert said in refused(path)
    assert "no such file" in refused(tmp_path / "absent.csv")


def test_what_a_parquet_file_says_about_pandas_may_be_damaged(tmp_path: Path):
    """One letter changed, as a bad disk would: pyarrow raises a KeyError."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": ["x", "y"], "n": [1, 2]}).to_parquet(path)
    table = parquet.read_table(path)
    about = table.schema.metadata[b"pandas"]
    for damaged in (
        about.replace(b'"pandas_type"', b'"pandas_typf"'),
        about.replace(b"index_columns", b"index_columnt"),
    ):
        parquet.write_table(table.replace_schema_metadata({b"pandas": damaged}), path)
        assert "cannot be read as a table" in refused(path)
    assert queries.read(QueryFile(path, "a", None, None, None))[0].text == "x"  # which asks pandas nothing


def test_text_of_a_parquet_file_that_is_no_utf8_is_refused(tmp_path: Path):
    """Seen to be an ArrowException, and only once the cell was used."""
    path, cells = tmp_path / "t.parquet", pa.array([b"7", b"\xfe\xff"], pa.binary())
    parquet.write_table(pa.table({"a": pa.Array.from_buffers(pa.string(), 2, cells.buffers())}), path)
    assert "Invalid UTF8 sequence at string index 1" in refused(path)
    with pytest.raises(ValueError, match="cannot be read as a table"):
        queries.read(QueryFile(path, "a", None, None, None))


def test_a_small_parquet_file_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "t.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 10_000]))
    parquet.write_table(pa.table({"a": text.dictionary_decode()}), path)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(rows, "MAX_UNPACKED", 10**8)
    assert "unpacks to more than 100000000 bytes" in refused(path)
    monkeypatch.setattr(rows, "MAX_UNPACKED", 10**9)
    assert len(rows.frame(path)) == 20_000


def test_damaged_parquet_files_are_refused(tmp_path: Path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": ["x", "y"]}).to_parquet(path)
    content = path.read_bytes()
    for damaged in (b"", content[:-9], b"PAR1" + content[20:], b"text"):
        path.write_bytes(damaged)
        refused(path)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_bad_log_ends_the_import_with_one_sentence(ending: str, tmp_path: Path):
    """A parquet file with damaged metadata; rows of JSON with a key that UTF-8 cannot hold in the place of one."""
    path = tmp_path / f"log.{ending}"
    log = [{"prompt": "a", "query": f"q{k}", "answer": "2", "gold": "2"} for k in range(3)]
    if ending == "parquet":
        pd.DataFrame(log).to_parquet(path)
        table = parquet.read_table(path)
        about = {key: value.replace(b"pandas_type", b"pandas_typf") for key, value in table.schema.metadata.items()}
        parquet.write_table(table.replace_schema_metadata(about), path)
        said = "cannot be read as a table"
    else:
        log[1] = {"prompt": "a", "query": "q1", "\ud83dnswer": "2", "gold": "2"}
        path.write_text("".join(json.dumps(row) + "\n" for row in log))
        said = "column 'answer' is empty in row 2"
    result = CliRunner().invoke(app, ["env", "import", str(path), "--out", str(tmp_path / "w.npz"), *OPTIONS])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "w.npz").exists()


def test_names_that_utf_8_cannot_hold_become_escapes(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"\\ud83da": "\\ud83d"}\n')
    frame = imports.read(path)
    assert list(frame.columns) == ["\\ud83da"]
    assert frame.iloc[0, 0] == "\ud83d"


HOSTILE = [
    "=1+1",
    "+1",
    "-5",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    "'tis",
    "\uff1d1",
    '=HYPERLINK("http://x","y")',
]


def test_no_cell_of_text_is_a_formula_and_every_one_comes_back(tmp_path: Path):
    """Numbers stay numbers, negative ones too; what Python's own csv module reads is what a spreadsheet gets."""
    harmless = ["a=b", "2", " =1", "a\r=1+1", ""]
    texts = HOSTILE + harmless
    table = pd.DataFrame(
        {"=name": texts, "n": -np.arange(float(len(texts))), "k": pd.array([-1] * len(texts), "Int64")}
    )
    path = tables.save(table, tmp_path / "t.csv")
    with path.open(newline="", encoding="utf-8") as file:
        head, *cells = csv.reader(file)
    assert head == ["'=name", "n", "k"]
    assert [row[0] for row in cells] == [f"'{text}" for text in HOSTILE] + harmless
    assert [float(row[1]) for row in cells] == table["n"].tolist()
    assert {row[2] for row in cells} == {"-1"}
    again = tables.load(path)
    assert again["=name"].fillna("").tolist() == texts
    assert again["n"].tolist() == table["n"].tolist()
    assert [rows.unquoted(rows.quoted(text)) for text in texts] == texts
    kept = tables.save(table, tmp_path / "t.parquet")
    assert tables.load(kept)["=name"].tolist() == texts  # which no spreadsheet opens by itself
