"""Tables of what a journal holds: completions, and spending by stream and prompt; export and compact."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from sim.adapters.paid.journal import Journal
from sim.writing import escape, write_whole

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("stream", "model", "prompt", "query", "decoding", "endpoint", "cell", "draw", "seed", "finish", "text")


class Spent(NamedTuple):
    """Requests and charges of one prompt in one stream.

    Attributes:
        endpoint: its address.
        requests: sent in all, of which settled, maybe billed without a reply, and refused unbilled.
        copies: completions whose text another of the same cell has.
    """

    stream: str
    model: str
    prompt: str
    endpoint: str
    requests: int
    settled: int
    ambiguous: int
    void: int
    completions: int
    tokens: int
    money: int
    draws: int
    copies: int


def spending(journal: Journal) -> list[Spent]:
    """Spending and completions, by stream, model, prompt and endpoint."""
    copies = journal.copies()
    return [Spent(*row, *copies.get(row[:4], (0, 0))) for row in journal.charges()]


def _each(journal: Journal, stream: str | None) -> Iterator[tuple[Any, ...]]:
    """Every completion, in an order that does not depend on how requests were sent; one cell in memory at a time."""
    for *told, cell in journal.cells():
        if stream is None or told[0] == stream:
            for draw in journal.draws_of(cell):
                yield *told, cell.hex().upper(), *draw


def completions(journal: Journal, stream: str | None = None) -> "pd.DataFrame":
    """Every completion, one row each, in an order that does not depend on how requests were sent."""
    import pandas as pd

    # Objects: lone surrogates, which answers may hold, do not fit into pandas' own text.
    return pd.DataFrame(list(_each(journal, stream)), columns=pd.Index(_COLUMNS), dtype=object)


def export(journal: Journal, path: Path) -> int:
    r"""Write every completion to a .jsonl or .parquet file; how many there are.

    JSONL keeps any text; Parquet holds UTF-8, so that lone surrogates become escapes there, the six characters of
    `\ud83d`.
    """
    if path.suffix == ".jsonl":
        return write_whole(path, lambda file: _write_lines(journal, file))
    if path.suffix == ".parquet":
        frame = completions(journal)
        for column in ("query", "text"):
            frame[column] = [escape(text) for text in frame[column]]
        write_whole(path, lambda file: frame.to_parquet(file, index=False))
        return len(frame)
    raise ValueError(f"{path}: the name of an export ends in .jsonl or .parquet, not in {path.suffix!r}")


def _write_lines(journal: Journal, file: BinaryIO) -> int:
    written = 0
    for row in _each(journal, None):
        file.write(json.dumps(dict(zip(_COLUMNS, row, strict=True)), ensure_ascii=True).encode() + b"\n")
        written += 1
    return written


def compact(journal: Journal) -> tuple[int, int]:
    """Forget requests that cost nothing and give room back; bytes before and after."""
    path = Path(journal.path)
    before = path.stat().st_size
    journal.compact()
    return before, path.stat().st_size


def open_existing(path: Path) -> Journal:
    """A journal that must be there already; PATH may be its folder."""
    file = path / "journal.sqlite" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{file}: no such journal")
    return Journal(file)
