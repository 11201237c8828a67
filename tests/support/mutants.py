"""Damaged and hostile inputs of every kind that the project reads, and a process that says what became of them.

python mutants.py WAY SEED FIRST COUNT [KEEP], WAY "functions" or "command", prints a JSON line before and after every
input. Input k is the same in every run: of reader k modulo their number, changed in ways that random numbers of
(SEED, k) choose. Those that are neither read nor refused as they should are kept in the folder KEEP.
"""

import json
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tool_logs
from live_runs import MINIMAL, iapo
from live_server import KEY
from mutations import (
    eval_change,
    flipped,
    json_odd,
    lines_odd,
    npz_change,
    parquet_change,
    pickle_change,
    sqlite_change,
    text_odd,
    zip_change,
)
from released_files import Authors

from sim.adapters import config, policy
from sim.adapters.paid import journal, journal_tables
from sim.adapters.run_file import queries
from sim.adapters.run_file.settings import QueryFile
from sim.cli import common
from sim.comparison import store
from sim.envs import files, imports, rows
from sim.envs.logs import Columns, Contexts, from_log

MEMORY = 3 * 2**30
"""Bytes of address space that reading may take on top of what the process has: readers refuse above 1 GiB."""


@dataclass
class Reader:
    """One kind of input.

    Attributes:
        name: what it is called, whose file endings its name may hold.
        ending: of its files.
        make: writes a good one.
        read: reads one, or refuses.
        command: arguments of a command that reads one; none where no command does.
        change: changes a good one's bytes as only this kind can be changed.
    """

    name: str
    ending: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    command: Callable[[Path], tuple[object, ...]] | None
    change: Callable[[bytes, random.Random], bytes]


def world(path: Path) -> object:
    from made_worlds import world as made

    return files.save(made(("mv", "bon")), path)


def released(path: Path) -> None:
    patch = pytest.MonkeyPatch()
    authors = Authors(patch)
    path.write_bytes(authors.dumps([authors.best_of_n()], 5))
    patch.undo()


def log_frame() -> pd.DataFrame:
    cells = [(p, f"q{x}", f"{(x + k) % 3}", f"{x}", 1.5 + k) for p in ("a", "b") for x in range(3) for k in range(3)]
    return pd.DataFrame(cells, columns=["prompt", "query", "answer", "gold", "cost"])


def jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in records))


def made_journal(path: Path) -> None:
    from journal_files import kept

    kept(path)


def made_policy(path: Path) -> None:
    from policy_files import write

    made_run(path.parent / "run.toml")
    arms = {"chosen": {"prompt": "a", "scale": 2}, "single": {"prompt": "a", "scale": 1}}
    write(path.parent, top={"config": str(path.parent / "run.toml"), "policy": {"c": arms}}).rename(path)


def from_table(path: Path, frame: pd.DataFrame, votes: str = "answer") -> object:
    columns, contexts = Columns((votes,), ("mv",), gold="gold"), Contexts(np.ones((1, 1)), np.zeros(1))
    return from_log(frame, columns, contexts, max_scale=4, name=str(path))


def read_journal(path: Path) -> None:
    held = journal.Journal(path)
    try:
        journal_tables.spending(held)
        journal_tables.export(held, path.with_suffix(".jsonl"))
        journal_tables.export(held, path.with_suffix(".parquet"))
        held.batch_attempts(journal.Batch(1, journal.PREPARED))
        held.charged()
    finally:
        held.close()


def made_cell(path: Path) -> None:
    store.save(path, {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(4)}, {"seconds": 1.5})


def import_(path: Path, *more: object) -> tuple[object, ...]:
    made = ("--objective", "answer:mv", "--gold", "gold", "--context", "1,0", "--max-scale", 4)
    return ("env", "import", path, "--out", path.parent / "made.npz", *(more or made))


READ = ("--answers", "number", "--objective", "answer:mv", "--gold", "gold", "--context", "1,0", "--max-scale", 4)


def with_golds(path: Path) -> tuple[object, ...]:
    jsonl(path.parent / "golds.jsonl", [{"query": query, "gold": gold} for query, gold in tool_logs.GOLD.items()])
    return import_(path, "--golds", path.parent / "golds.jsonl", "--asked", path.parent / "in.jsonl", *READ)


def read_batch(path: Path) -> object:
    return imports.read(path, "p", asked=path.parent / "in.jsonl")


def made_batch(path: Path) -> None:
    tool_logs.batch_in(path.parent / "in.jsonl")
    tool_logs.batch_out(path)


def made_run(path: Path) -> None:
    jsonl(path.parent / "q.jsonl", [{"query": f"q{k}", "gold": k} for k in range(4)])
    path.write_text(MINIMAL)


def plan(path: Path) -> tuple[object, ...]:
    return ("record", path, "-n", 1, "--out", path.parent / "made.npz", "--plan")


def plan_with(path: Path) -> tuple[object, ...]:
    made_run(path.parent / "run.toml")
    run = path.parent / "run.toml"
    run.write_text(run.read_text().replace('"q.jsonl"', f'"{path.name}"'))
    return plan(run)


def query_rows() -> list[dict[str, Any]]:
    return [{"query": f"q{k}", "gold": str(k), "ref": [k]} for k in range(4)]


def query_file(path: Path) -> QueryFile:
    return QueryFile(path, "query", "gold", None, "ref")


def log(path: Path) -> object:
    return from_table(path, rows.frame(path) if path.suffix in (".csv", ".parquet") else imports.read(path, "p"))


def log_of_tool(path: Path) -> object:
    return imports.read(path, "p")


def import_read(path: Path) -> tuple[object, ...]:
    return import_(path, *READ)


def ask_queries(path: Path) -> object:
    return queries.read(query_file(path))


def evaluate(path: Path) -> tuple[object, ...]:
    jsonl(path.parent / "new.jsonl", [{"query": f"new {k}", "gold": k} for k in range(4)])
    return ("evaluate", path, "--queries", path.parent / "new.jsonl", "--plan")


def write_log(path: Path) -> object:
    if path.suffix == ".jsonl":
        return jsonl(path, log_frame().to_dict("records"))
    return log_frame().to_csv(path, index=False) if path.suffix == ".csv" else log_frame().to_parquet(path)


def write_queries(path: Path) -> object:
    if path.suffix == ".jsonl":
        return jsonl(path, query_rows())
    frame = pd.DataFrame(query_rows()).astype({"ref": str})
    return frame.to_csv(path) if path.suffix == ".csv" else frame.to_parquet(path)


READERS = [
    Reader("pickle", ".pkl", released, files.read, lambda path: import_(path, "--name", ""), pickle_change),
    Reader("npz", ".npz", world, files.read, lambda path: import_(path, "--tie", "half"), npz_change),
    Reader("CSV log", ".csv", write_log, log, import_, text_odd),
    Reader("Parquet log", ".parquet", write_log, log, import_, parquet_change),
    Reader("JSONL log", ".jsonl", write_log, log, import_, lines_odd),
    Reader("batch output", ".jsonl", made_batch, read_batch, with_golds, lines_odd),
    Reader(
        "lm-eval samples", ".jsonl", lambda path: tool_logs.harness(path, "plain"), log_of_tool, import_read, lines_odd
    ),
    Reader(
        "Inspect .json", ".json", lambda path: tool_logs.inspect_json(path, "plain"), log_of_tool, import_read, json_odd
    ),
    Reader(
        "Inspect .eval",
        ".eval",
        lambda path: tool_logs.inspect_eval(path, "plain"),
        log_of_tool,
        import_read,
        eval_change,
    ),
    Reader("queries .jsonl", ".jsonl", write_queries, ask_queries, plan_with, lines_odd),
    Reader("queries .csv", ".csv", write_queries, ask_queries, plan_with, text_odd),
    Reader("queries .parquet", ".parquet", write_queries, ask_queries, plan_with, parquet_change),
    Reader("run file", ".toml", made_run, config.load, plan, text_odd),
    Reader("policy", ".json", made_policy, lambda path: config.of_tuning(policy.load(path)), evaluate, json_odd),
    Reader("journal", ".sqlite", made_journal, read_journal, lambda path: ("journal", "list", path), sqlite_change),
    Reader("kept cell", ".npz", made_cell, store.load, None, zip_change),
]


def by_function(reader: Reader, path: Path) -> tuple[str, str]:
    """What became of an input, "read", "refused" or "failed", and what was said."""
    try:
        found = reader.read(path)
    except (ValueError, OSError) as error:
        if common._is_ours(error):
            return "refused" if str(path.parent) in str(error) else "failed", str(error)
        return "failed", "".join(traceback.format_exception(error))
    except BaseException as error:
        return "failed", "".join(traceback.format_exception(error))
    return "refused" if found is None and reader.name == "kept cell" else "read", ""


def by_command(reader: Reader, path: Path) -> tuple[str, str]:
    """The same through the command line."""
    assert reader.command is not None
    result = iapo(*reader.command(path))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return "failed", "".join(traceback.format_exception(result.exception))
    if result.exit_code == 0:
        return "read", ""
    *notes, said = result.stderr.splitlines() or [""]
    one = said.startswith("error: ") and len(said) <= 2100 and all(note.startswith("note: ") for note in notes)
    return "refused" if result.exit_code == common.USER_ERROR and one else "failed", result.output


def peak() -> int:
    """Most memory that this process has had, in kB; `ru_maxrss` would begin with that of the process that began it."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1])


def main(way: str, seed: int, first: int, count: int) -> None:
    """Make and read inputs first, .., first + count - 1."""
    os.environ["LIVE_TEST_KEY"] = KEY  # the policy's; nothing is asked
    with tempfile.TemporaryDirectory() as place:
        readers = [reader for reader in READERS if way == "functions" or reader.command is not None]
        read = by_function if way == "functions" else by_command
        good = {}
        for place_of, reader in enumerate(readers):
            folder = Path(place) / f"{place_of}"
            folder.mkdir()
            path = folder / f"input{reader.ending}"
            reader.make(path)
            good[reader.name] = (path, path.read_bytes())
            if (found := read(reader, path))[0] != "read":
                raise SystemExit(f"{reader.name}: the good one is not read: {found[1]}")
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        for k in range(first, first + count):
            reader, rng = readers[k % len(readers)], random.Random(f"{seed} {k}")
            path, content = good[reader.name]
            print(json.dumps({"input": k, "reader": reader.name}), flush=True)
            change = reader.change if rng.random() < 0.6 else flipped
            try:
                made = change(content, rng)
            except Exception:  # what cannot be written as such a file at all
                made = flipped(content, rng)
            for old in path.parent.glob("input*"):
                old.unlink()
            path.write_bytes(made)
            started = time.process_time()
            found, said = read(reader, path)
            seconds = time.process_time() - started
            most = peak()
            told = {"said": said[-1500:]} if found == "failed" else {}
            print(json.dumps({"found": found, "seconds": seconds, "kilobytes": most} | told), flush=True)
            if found == "failed" and len(sys.argv) > 5:
                (Path(sys.argv[5]) / f"{k}{reader.ending}").write_bytes(made)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
