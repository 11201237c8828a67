"""Ctrl-C and kill -9 of whole commands at moments spread over the run: the end is that of a run nobody disturbed.

Processes that are interrupted say so in one sentence, leave nothing running and no file half-written. The time that
they take to end counts from the signal on, whatever they are doing: those that are compiling too.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from commands import Command, alive, group, running
from live_server import words
from nursery import Nursery

from sim.comparison import store

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")

SOON = 2.0
"""Seconds in which an interrupted run ends."""
COMMANDS = {
    "compare": (
        *("compare", "--env", "two-arm", "--algorithm", "uniform", "--algorithm", "random", "--budget", "20"),
        *("--budget", "50", "--trials", "12", "--reference", "uniform", "--out", "out"),
    ),
    "verify": ("verify", "--quick", "--family", "two-arm", "--out", "out"),
    "figures": ("figures", "exploration", "--smoke", "--trials", "4", "--out", "out"),
}
RESULTS = {
    "compare": ("trials.parquet", "summary.csv", "contexts.csv"),
    "verify": ("verify.parquet", "verify.csv", "verdicts.csv"),
    "figures": ("tables/exploration.csv",),
}


class Calm(NamedTuple):
    """A run that nobody disturbed: what it wrote, and the seconds that it took."""

    files: dict[str, bytes]
    seconds: float


class Tally:
    """What a campaign did: kills, and the seconds from each interrupt to the end."""

    def __init__(self) -> None:
        self.kills, self.waits = 0, list[float]()


def results(name: str, folder: Path) -> dict[str, bytes]:
    """What the command wrote, without times and versions."""
    return {file: (folder / "out" / file).read_bytes() for file in RESULTS[name]}


class Bench:
    """Runs one command again and again, in processes that begin at once."""

    def __init__(self, nursery: Nursery, name: str):
        self.nursery, self.name = nursery, name

    def begin(self, folder: Path, workers: int) -> int:
        """Begin a run in a folder; the number of its first process."""
        arguments = (*COMMANDS[self.name], "--workers", str(workers))
        self.nursery.begin(folder / "errors.txt", str(folder), *arguments)
        return self.nursery.child

    def calm(self, folder: Path) -> Calm:
        """A run to the end."""
        folder.mkdir(exist_ok=True)
        start = time.monotonic()
        self.begin(folder, 1)
        code, seconds = self.nursery.end(), time.monotonic() - start
        assert code == 0, (folder / "errors.txt").read_text()
        return Calm(results(self.name, folder), seconds)

    def disturbed(self, folder: Path, rng: random.Random, seconds: float, workers: int, tally: Tally) -> bool:
        """A run that is sent a signal after so many seconds; whether it came to its end all the same."""
        first = self.begin(folder, workers)
        time.sleep(seconds)
        number = rng.choice([signal.SIGINT, signal.SIGKILL])
        children = [one for one in running() if group(one) == first and works(one)] if workers > 1 else []
        victim = rng.choice(children) if children and rng.random() < 0.5 else first
        start = time.monotonic()
        with suppress(ProcessLookupError):  # it is over
            if victim != first:
                number = signal.SIGKILL
                os.kill(victim, number)
            elif number == signal.SIGINT:
                os.killpg(first, number)  # as a terminal does
            else:
                os.kill(first, number)
        code, waited = self.nursery.end(), time.monotonic() - start
        said = (folder / "errors.txt").read_text()
        assert "Traceback" not in said, said
        assert "Warning" not in said, said
        nobody_is_left(first)
        nothing_is_half_written(folder)
        if victim != first:
            tally.kills += 1
            assert code == 0, said  # another process took its place
            return True
        if code == 0:
            return True
        tally.kills += 1
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL, said
            return False
        assert code == 130, said
        assert said.splitlines()[-1].startswith("stopped"), said
        assert said.count("stopped") == 1, said
        assert waited < SOON
        tally.waits.append(waited)
        return False


def works(process: int) -> bool:
    """Whether it is a worker: neither the first process nor that in which Python keeps account of semaphores."""
    with suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


def nobody_is_left(first: int) -> None:
    """No process of the group goes on; those that lose their parent notice it at once."""
    end = time.monotonic() + 10
    while left := [one for one in running() if group(one) == first and alive(one)]:
        assert time.monotonic() < end, f"{left} go on"
        time.sleep(0.01)


def nothing_is_half_written(folder: Path) -> None:
    """Every file that can be seen is whole, and no folder of programs is left."""
    for path in folder.rglob("*.npz"):
        assert path.name.startswith(".") or store.load(path) is not None, path
    assert list((folder.parent / "temporary").glob("iapo-*")) == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs are, with a folder of temporary files."""
    made = tmp_path_factory.mktemp("kills")
    (made / "temporary").mkdir()
    return made


@pytest.fixture(scope="module")
def bench(place: Path) -> Iterator[Callable[[str], Bench]]:
    """Benches of commands; their processes share what is compiled."""
    more = {"JAX_COMPILATION_CACHE_DIR": str(place / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    with Nursery("command_child", more | {"TMPDIR": str(place / "temporary")}) as nursery:
        yield lambda name: Bench(nursery, name)


@pytest.fixture(scope="module")
def calm(place: Path, bench: Callable[[str], Bench]) -> Callable[[str], Calm]:
    """The calm run of a command: the second one, for which all is compiled, writes the same as the first."""
    known: dict[str, Calm] = {}

    def of(name: str) -> Calm:
        if name not in known:
            first, known[name] = (bench(name).calm(place / f"{name}-calm-{number}") for number in range(2))
            assert known[name].files == first.files
        return known[name]

    return of


def campaign(bench: Bench, calm: Calm, place: Path, seed: int, kills: int, workers: int = 1) -> Tally:
    """Kill runs into one folder up to so many times, then let one come to its end.

    What a killed run kept the next one need not do, so moments are drawn from what is left of a calm run.
    """
    rng, tally, folder = random.Random(words(bench.name, seed, workers)), Tally(), place / f"{bench.name}-{seed}"
    folder.mkdir()
    least = calm.seconds / 4
    left = calm.seconds * (3 if workers > 1 else 1)  # workers import everything
    over = False
    while tally.kills < kills and not over:
        moment = rng.uniform(0.0, left)
        over = bench.disturbed(folder, rng, moment, workers, tally)
        left = max(left - moment, least)
    end = results(bench.name, folder) if over else bench.calm(folder).files
    assert end == calm.files
    return tally


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("workers", "most"), [(1, 170), (2, 30)])
def test_two_hundred_kills_change_nothing(
    name: str, workers: int, most: int, bench: Callable[[str], Bench], calm: Callable[[str], Calm], place: Path, capsys
):
    """A hundred and seventy in one process, ten or fewer a folder, and thirty of runs with workers."""
    waits, kills, seed = [], 0, 100 * workers
    while kills < most:
        found = campaign(bench(name), calm(name), place, seed, min(10, most - kills), workers)
        waits, kills, seed = waits + found.waits, kills + found.kills, seed + 1
    took = f"{np.median(waits):.3f} s (median) to {max(waits):.3f} s" if waits else "no time"
    with capsys.disabled():
        print(
            f"\n{name}, {workers} workers: {kills} kills in {seed - 100 * workers} folders, {len(waits)} of them "
            f"interrupts that took {took}; a calm run {calm(name).seconds:.1f} s"
        )


def test_three_kills_change_nothing(bench: Callable[[str], Bench], calm: Callable[[str], Calm], place: Path):
    """Three of the two hundred."""
    assert campaign(bench("compare"), calm("compare"), place, 1000, 3).kills > 0


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.8])
def test_imports_are_interrupted(seconds: float, tmp_path: Path):
    """The process is interrupted while it imports what every command needs, before anything can be kept."""
    begun = Command(*COMMANDS["compare"], cwd=tmp_path, ready=True)
    time.sleep(seconds)
    begun.send(signal.SIGINT, to_all=True)
    code, out, err, waited = begun.end()
    assert (code, out) == (130, "")
    assert err == "stopped\n"
    assert waited < SOON
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_first_seconds_are_interrupted(tmp_path: Path):
    """Forty moments of the first four seconds."""
    for number in range(40):
        begun = Command(*COMMANDS["compare"], "--workers", 1 + number % 2, cwd=tmp_path, ready=True)
        time.sleep(number / 10)
        begun.send(signal.SIGINT, to_all=True)
        code, _, err, waited = begun.end()
        assert code == 130, err
        assert err.startswith("stopped"), err
        assert err.count("\n") == 1, err
        assert waited < SOON
        nobody_is_left(begun.pid)
