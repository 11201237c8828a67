"""Whatever a file holds, it is read or refused in one sentence that names it, soon and in bounded memory."""

import json
import os
import queue
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mutations import flipped

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 2.0
"""Of computing, for one input."""
PATIENCE = 120.0
"""Seconds without a word of the reading process, on however busy a machine, after which it hangs."""
MEGABYTES = 1500
"""That reading may take at most, the process and its libraries included."""


class Outcome(NamedTuple):
    """What became of an input: "read", "refused", "failed" or "hangs"."""

    input: int
    reader: str
    found: str
    seconds: float
    kilobytes: int
    said: str


def outcomes(
    way: str, seed: int, count: int, program: tuple[str, ...] = ("tests/support/mutants.py",)
) -> Iterator[Outcome]:
    """Have inputs read in another process; one that hangs there, or ends the process, is told and left behind."""
    first = 0
    while first < count:
        command = [sys.executable, *program, way, str(seed), str(first), str(count - first)]
        paths = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
        surroundings = os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
        with subprocess.Popen(
            command, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            said: queue.Queue[str] = queue.Queue()
            assert process.stdout is not None
            assert process.stderr is not None
            reading = threading.Thread(target=_hand_on, args=(process.stdout, said))
            complaining = threading.Thread(target=process.stderr.read)
            reading.start()
            complaining.start()
            under_way: dict[str, Any] = {}
            while line := _next(said):
                told = json.loads(line)
                if "input" in told:
                    under_way = told
                else:
                    yield Outcome(**{"said": ""} | under_way | told)
                    first, under_way = under_way["input"] + 1, {}
            process.kill()
            reading.join()
            complaining.join()
        if not under_way and first < count:
            raise RuntimeError(f"the reading process ended before input {first}")
        if under_way:
            yield Outcome(
                **under_way, found="hangs", seconds=PATIENCE, kilobytes=0, said="no word, or the process ended"
            )
            first = under_way["input"] + 1


def _hand_on(stream: Any, to: "queue.Queue[str]") -> None:
    for line in stream:
        to.put(line)
    to.put("")


def _next(said: "queue.Queue[str]") -> str:
    try:
        return said.get(timeout=PATIENCE)
    except queue.Empty:
        return ""


def check(found: list[Outcome], count: int) -> None:
    """All inputs are read or refused, some of every kind each, within time and memory."""
    assert len(found) == count
    wrong = [one for one in found if one.found not in ("read", "refused") or one.seconds > SECONDS]
    assert not wrong, "\n\n".join(
        f"{one.reader}, input {one.input}: {one.found} in {one.seconds:.1f} s\n{one.said}" for one in wrong
    )
    assert max(one.kilobytes for one in found) < MEGABYTES * 1024
    kinds = Counter((one.reader, one.found) for one in found)
    for reader in {one.reader for one in found}:
        assert kinds[reader, "refused"] > 0, f"no damage to {reader} was noticed"
        print(f"{reader}: {kinds[reader, 'read']} read, {kinds[reader, 'refused']} refused")


def test_some_hundred_damaged_inputs_are_read_or_refused():
    """Seen to fail with the readers as they were: KeyError of a Parquet file, TypeError of a journal, and others."""
    check(list(outcomes("functions", 0, 480)), 480)


@pytest.mark.slow
def test_ten_thousand_damaged_inputs_are_read_or_refused():
    check(list(outcomes("functions", 16, 10_000)), 10_000)


@pytest.mark.slow
def test_damaged_inputs_of_commands_are_read_or_refused_without_a_traceback():
    check(list(outcomes("command", 16, 400)), 400)


STUBBORN = """
import json, sys, time
way, seed, first, count = sys.argv[1:]
for k in range(int(first), int(first) + int(count)):
    print(json.dumps({"input": k, "reader": "r"}), flush=True)
    if k == 1:
        time.sleep(600)
    if k == 3:
        sys.exit(1)
    print(json.dumps({"found": "read", "seconds": 0.0, "kilobytes": 1}), flush=True)
"""


def test_the_harness_tells_a_reader_that_hangs_or_ends_its_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(globals(), "PATIENCE", 2.0)
    found = list(outcomes("functions", 0, 5, ("-c", STUBBORN)))
    assert [(one.input, one.found) for one in found] == [
        (0, "read"),
        (1, "hangs"),
        (2, "read"),
        (3, "hangs"),
        (4, "read"),
    ]


def test_damage_is_the_same_in_every_run():
    content = bytes(range(256))
    made = [[flipped(content, random.Random(f"{seed} {k}")) for k in range(50)] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert sum(one != content for one in made[0]) > 40
