"""Tables of rows from files, whatever is in them: CSV, Parquet and JSON; and text that no spreadsheet computes.

A spreadsheet takes a cell of a CSV file that begins with = + - or @ for a formula, whoever wrote it there. Text cells
that do, or that begin with an apostrophe, get an apostrophe in front; taking off one leading apostrophe of text gives
what was there. Numbers stay numbers.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.envs.archives import MAX_UNPACKED, readable_file
from sim.envs.log_files import content
from sim.writing import escape

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_FORMULAS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
"""Signs that a formula begins with, also of full width; and the apostrophe, so that quoting can be undone."""
_AT_ONCE = 4096
"""Rows of a Parquet file that are unpacked before their size is looked at."""


def csv(path: Path) -> "pd.DataFrame":
    """The rows of a CSV file, all cells text: "NA" and "None" are answers, and "007" is not the number 7.

    Raises:
        ValueError: it cannot be read as such; the sentence names the file.
    """
    import pandas as pd

    text = content(path)
    try:
        return pd.read_csv(io.StringIO(text.decode("utf-8-sig")), keep_default_na=False, dtype=str)
    except Exception as error:  # whatever a malformed table makes its reader raise
        raise _unreadable(path, error) from None


def parquet(path: Path) -> "pa.Table":
    """The rows of a Parquet file, which may unpack to `MAX_UNPACKED` bytes at most.

    Raises:
        ValueError: it cannot be read as such; the sentence names the file.
    """
    import pyarrow as pa
    from pyarrow import parquet as reader

    readable_file(path, MAX_UNPACKED)
    try:
        with reader.ParquetFile(path) as file:
            batches, size = [], 0
            for batch in file.iter_batches(_AT_ONCE):
                size += batch.nbytes
                if size > MAX_UNPACKED:
                    raise ValueError(f"unpacks to more than {MAX_UNPACKED} bytes")
                batch.validate(full=True)  # text that is no UTF-8 would only be noticed where a cell is used
                batches.append(batch)
            return pa.Table.from_batches(batches, file.schema_arrow)
    except Exception as error:  # whatever a malformed file makes its reader raise
        raise _unreadable(path, error) from None


def frame(path: Path) -> "pd.DataFrame":
    """The rows of a CSV or Parquet file as pandas has them."""
    if path.suffix != ".parquet":
        return csv(path)
    table = parquet(path)
    try:
        return table.to_pandas()
    except Exception as error:  # what the file says about pandas may be damaged, too
        raise _unreadable(path, error) from None


def of_json(rows: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """Rows of JSON as a table, every cell as it is; names that UTF-8 cannot hold become escapes."""
    import pandas as pd

    named = [{escape(key): value for key, value in row.items()} for row in rows]
    return pd.DataFrame(named, dtype=object)  # as the file has it: pandas would make 4.0 of 4 beside 2.5


def quoted(cell: Any) -> Any:
    """A cell for a CSV file: text that a spreadsheet would compute gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell


def unquoted(cell: Any) -> Any:
    """Undo `quoted`."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") else cell


def to_csv(table: "pd.DataFrame", digits: str | None = None) -> bytes:
    """A table as CSV in UTF-8, text quoted for spreadsheets.

    Lines end in a line feed, or in carriage return and line feed where a cell holds a carriage return: Python's writer
    otherwise leaves such a cell bare, and readers take it for two rows.
    """
    made = each_text(table, quoted)
    returns = any("\r" in cell for cell in _texts(made))
    text = made.to_csv(index=False, lineterminator="\r\n" if returns else "\n", float_format=digits)
    return text.encode("utf-8", "backslashreplace")


def _texts(table: "pd.DataFrame") -> Iterator[str]:
    """The names of columns and all cells that are text."""
    yield from (name for name in table.columns if isinstance(name, str))
    for place in range(table.shape[1]):
        if not _is_numeric(table.dtypes.iloc[place]):
            yield from (cell for cell in table.iloc[:, place] if isinstance(cell, str))


def _is_numeric(kind: Any) -> bool:
    return getattr(kind, "kind", "O") in "biufcmM"  # the others: text, objects, categories


def each_text(table: "pd.DataFrame", change: Callable[[Any], Any]) -> "pd.DataFrame":
    """A table with its names of columns and its columns of text changed cell by cell."""
    made = table.rename(columns=change)
    for place, kind in enumerate(made.dtypes):
        if _is_numeric(kind):
            continue
        cells = list(made.iloc[:, place])
        changed = [change(cell) for cell in cells]
        if any(new is not old for new, old in zip(changed, cells, strict=True)):
            made.isetitem(place, changed)
    return made


def _unreadable(path: Path, error: Exception) -> ValueError:
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    problem = " ".join(f"{kind}{error}".split())[:200]
    return ValueError(f"{path}: cannot be read as a table ({problem})")
