"""Tables of rows from files, whatever is in them: CSV and Parquet, and rows of JSON as a table."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.envs.files import MAX_UNPACKED, escape
from sim.envs.log_files import content
from sim.envs.unpickle import readable_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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


def _unreadable(path: Path, error: Exception) -> ValueError:
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    problem = " ".join(f"{kind}{error}".split())[:200]
    return ValueError(f"{path}: cannot be read as a table ({problem})")
