"""kill -9 at random moments: nothing acknowledged is lost, nothing but what was under way is asked twice.

The end is the same as without a kill.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kill_child import PULLS
from live_server import Model, serving

ROOT = Path(__file__).resolve().parents[1]
UNDER_WAY = 8 * 4
"""Completions that may be under way at a kill: requests at a time, times choices of a request."""

pytest.importorskip("openai", reason="the extra [llm] is not installed")


def child(url: str, path: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, str(ROOT / "tests" / "kill_child.py"), url, str(path)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def query(path: Path, sql: str) -> list[Any]:
    base = sqlite3.connect(path)
    try:
        return base.execute(sql).fetchall()
    finally:
        base.close()


def campaign(chance: int, kills: int, path: Path) -> None:
    """Kill the child at a random request of the server, billed or not, `kills` times; then let it end."""
    rng, model, acknowledged = random.Random(chance), Model(), set()
    kill_at, victim = -1, None

    def fault(number: int, body: dict) -> str | None:
        if number == kill_at:
            os.kill(victim.pid, signal.SIGKILL)
            return rng.choice(["reset", "billed-reset"])
        return None

    model.fault = fault
    with serving(model) as url:
        for _ in range(kills):
            kill_at = len(model.requests) + rng.randrange(1, 12)
            victim = child(url, path)
            ended = victim.communicate()[1]
            if victim.returncode == 0:
                break
            assert victim.returncode == -signal.SIGKILL, ended.decode()
            rows = set(query(path, "SELECT cell, draw, text FROM draws"))
            assert acknowledged <= rows
            acknowledged = rows
        kill_at = -1
        victim = child(url, path)
        assert (victim.communicate()[1], victim.returncode) == (b"", 0)
    rows = query(path, "SELECT seed, text FROM draws ORDER BY seed")
    expected = []
    for asked, scale in PULLS:
        first = 1000 + len(expected)
        expected += [(seed, model.answer(f"{asked}?", seed).encode()) for seed in range(first, first + scale)]
    assert rows == expected
    lost, charged = query(path, "SELECT sum(state = 'lost'), sum(completions) FROM attempts")[0]
    again = query(path, "SELECT coalesce(sum(completions), 0) FROM attempts WHERE state = 'lost'")[0][0]
    assert model.completions <= charged == len(rows) + again
    assert again <= kills * UNDER_WAY
    assert lost <= kills * 8
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_two_kills_lose_nothing(tmp_path: Path):
    campaign(0, 2, tmp_path / "j.sqlite")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_two_hundred_kills_lose_nothing(seed: int, tmp_path: Path):
    campaign(seed, 10, tmp_path / "j.sqlite")
