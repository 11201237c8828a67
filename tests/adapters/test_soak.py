"""Soak: tens of thousands of pulls, and of answers, in one process; memory, files and work per pull do not grow."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import policy_files
import pytest
from many_pulls import write_many
from nursery import ROOT

pytest.importorskip("openai", reason="the extra [llm] is not installed")
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")

TUNED = (14.0, 1500.0, 8e6)
"""Most that a pull of a tuning run may leave: numbers of its draws, what was read in them, its row of the evidence.

The slack is for programs that are still compiled: 9 MB a round would be one for every number of pulls.
"""
ANSWERED = (0.5, 300.0)
"""Most that an answer may leave: nothing, but for what the system's allocator makes of many threads."""
TOLERANCE = 1.1
"""How much more a pull may do late than early: retries are random."""


def marks(*arguments: object) -> list[SimpleNamespace]:
    """Marks of `soak_child` after the first fifth of what was done: what is compiled and cached is there by then."""
    command = [sys.executable, str(ROOT / "tests" / "support" / "soak_child.py"), *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [SimpleNamespace(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith('{"done"')]
    return [one for one in found if one.done >= found[-1].done / 5]


def steady(found: list[SimpleNamespace], blocks: float, bytes_: float, slack: float = 0.0) -> None:
    """Nothing grows but so much memory per pull, in blocks of Python's and in bytes of the system's, and a slack."""
    first, last = found[0], found[-1]
    pulls = last.done - first.done
    grown = {
        "blocks a pull": (last.blocks - first.blocks) / pulls,
        "bytes a pull": (1024 * (last.kilobytes - first.kilobytes) - slack) / pulls,
    }
    third = max(len(found) // 3, 1)
    for name in ("statements", "steps", "calls"):
        rates = [getattr(one, name) / one.requests for one in found[1:]]
        early, late = statistics.median(rates[:third]), statistics.median(rates[-third:])
        grown[name] = late / early
        print(f"{name}: {early:.1f} early, {late:.1f} late")
    print(f"{pulls} pulls, {first.kilobytes / 1024:.0f} to {last.kilobytes / 1024:.0f} MB: {grown}")
    assert grown["blocks a pull"] <= blocks
    assert grown["bytes a pull"] <= bytes_
    assert max(grown[name] for name in ("statements", "steps", "calls")) <= TOLERANCE
    assert max(one.files for one in found) <= first.files
    assert max(one.threads for one in found) <= first.threads
    assert max(one.log for one in found) <= 2**23, "bytes of the write-ahead log"


def run(folder: Path, budget: int, queries: int) -> Path:
    """A run of mixture racing on eight prompts; `soak_child` puts the model in its process."""
    tune = f'algorithm = "mixture-racing"\nanswers = 11\nbudget = {budget}\nmax_scale = 8'
    return write_many(folder, prompts=8, queries=queries, port=9, pace=8, tune=tune)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy whose model has no key."""
    file = policy_files.write(tmp_path)
    file.write_text(file.read_text().replace("LIVE_TEST_KEY", ""))
    return file


@pytest.fixture
def port() -> Iterator[int]:
    """A model in another process that answers at once."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "support" / "load_server.py")], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


@pytest.mark.slow
def test_a_tuning_run_holds_little_of_its_pulls(tmp_path: Path):
    """Seen to fail where evidence is estimated in shapes of as many rows as there are pulls: each is compiled."""
    steady(marks("tune", run(tmp_path, 12_000, 600)), *TUNED)


@pytest.mark.slow
def test_fifty_thousand_pulls_of_a_tuning_run(tmp_path: Path):
    """Three hours of the virtual clock."""
    found = marks("tune", run(tmp_path, 400_000, 6000))
    assert found[-1].done > 49_000
    steady(found, *TUNED)


@pytest.mark.slow
def test_a_policy_that_answers_holds_nothing_of_its_answers(policy: Path):
    """Seen to fail with answers left in the journal in memory."""
    steady(marks("answer", policy, 3000), *ANSWERED)


@pytest.mark.slow
def test_fifty_thousand_answers_of_a_policy(policy: Path, port: int):
    """Through the official client, over real connections."""
    policy.write_text(policy.read_text().replace("127.0.0.1:9/", f"127.0.0.1:{port}/"))
    steady(marks("SERVED", "answer", policy, 50_000), *ANSWERED)


@pytest.mark.slow
def test_fifty_thousand_answers_that_a_journal_keeps(policy: Path):
    """All are on disk, none in memory."""
    steady(marks("answer", policy, 50_000, policy.parent / "answers.sqlite"), *ANSWERED)
