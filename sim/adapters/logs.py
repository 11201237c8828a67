"""What a journal holds, as tables: completions, and spending by stream and prompt; export and compact."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.adapters.journal import Journal, decode
from sim.envs.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

_DRAWS = """
SELECT c.stream, c.model, c.prompt, c.query, c.decoding, hex(c.cell), d.draw, d.seed, d.finish, d.text
FROM draws d JOIN cells c ON c.cell = d.cell ORDER BY c.stream, c.prompt, c.query, c.cell, d.draw
"""
_COLUMNS = ("stream", "model", "prompt", "query", "decoding", "cell", "draw", "seed", "finish", "text")
_SPENT = """
SELECT c.stream, c.model, c.prompt, count(*), sum(a.state = 'settled'), sum(a.state IN ('ambiguous', 'lost')),
       sum(a.state = 'void'), sum(a.completions), sum(a.tokens), sum(a.money)
FROM attempts a JOIN cells c ON c.cell = a.cell GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


class Spent(NamedTuple):
    """What one prompt cost in one stream.

    Attributes:
        requests: sent in all, of which settled, maybe billed without a reply, and refused unbilled.
        copies: completions whose text another of the same cell has.
    """

    stream: str
    model: str
    prompt: str
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
    """Spending and completions, by stream, model and prompt."""
    counts = {
        row[:3]: row[3:]
        for row in journal.rows(
            "SELECT c.stream, c.model, c.prompt, count(*), count(*) - count(DISTINCT hex(d.cell) || hex(d.text)) "
            "FROM draws d JOIN cells c ON c.cell = d.cell GROUP BY 1, 2, 3"
        )
    }
    return [Spent(*row, *counts.get(row[:3], (0, 0))) for row in journal.rows(_SPENT)]


def completions(journal: Journal, stream: str | None = None) -> "pd.DataFrame":
    """Every completion, one row each, in an order that does not depend on how requests were sent."""
    import pandas as pd

    rows = [
        (*row[:3], decode(row[3]), *row[4:9], decode(row[9]))
        for row in journal.rows(_DRAWS)
        if stream is None or row[0] == stream
    ]
    return pd.DataFrame(rows, columns=pd.Index(_COLUMNS))


def export(journal: Journal, path: Path) -> int:
    """Write every completion to a .jsonl or .parquet file; how many there are.

    JSONL keeps any text; Parquet holds UTF-8, so that lone surrogates become question marks there.
    """
    frame = completions(journal)
    if path.suffix == ".jsonl":
        lines: Sequence[dict[str, Any]] = frame.to_dict("records")
        text = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines)
        write_whole(path, lambda file: file.write(text.encode()))
    elif path.suffix == ".parquet":
        for column in ("query", "text"):
            frame[column] = [text.encode("utf-8", "replace").decode() for text in frame[column]]
        write_whole(path, lambda file: frame.to_parquet(file, index=False))
    else:
        raise ValueError(f"{path}: the name of an export ends in .jsonl or .parquet, not in {path.suffix!r}")
    return len(frame)


def compact(journal: Journal) -> tuple[int, int]:
    """Forget requests that cost nothing and give room back; bytes before and after."""
    path = Path(journal.path)
    before = path.stat().st_size
    journal.rows("DELETE FROM attempts WHERE state = 'void' AND id NOT IN (SELECT attempt FROM draws)")
    journal.rows("VACUUM")
    journal.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    return before, path.stat().st_size


def open_existing(path: Path) -> Journal:
    """A journal that must be there already; PATH may be its folder."""
    file = path / "journal.sqlite" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{file}: no such journal")
    return Journal(file)
