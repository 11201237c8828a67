"""Ctrl-C and kill -9 of live commands at any moment: one sentence, nothing lost, and an end as of a calm run."""

import asyncio
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from journal_files import query
from live_server import KEY
from nursery import Nursery
from tune_runs import CAPS, DRAWS, PRICED, Run

from sim.adapters import live
from sim.adapters.run_file.settings import Concurrency

pytest.importorskip("openai", reason="the extra [llm] is not installed")

SECONDS = 2.0
"""Seconds that a command may go on after Ctrl-C."""
KILLS = 10
"""Signals of a test."""


class Ended(Run):
    """A live command that is sent SIGINT, three times of four, or SIGKILL, and begun again until it ends.

    Attributes:
        took: seconds that each SIGINT took.
    """

    def __init__(self, nursery: Nursery, command: str, folder: Path, memory: Path | str = "", chance: int = 0):
        super().__init__(nursery, "sync", folder, memory, chance)
        self.command, self.took, self._number = command, list[float](), signal.SIGKILL
        self.model.delay = 0.01

    def _fault(self, number: int, body: dict[str, Any]) -> str | None:
        if number == self._kill_at:
            self._nursery.kill(self._number)
        return None

    def _once(self, url: str, kill: bool, caps: Any, seconds: float) -> str | None:
        file, errors, rng = self._folder / "run.toml", self._folder / "errors.txt", self._rng
        file.write_text(PRICED.replace("URL", url) + f"[caps]\ncompletions = {CAPS.completions}\n")
        more = ["--out", str(self._folder / "made.npz"), "-n", "4"] if self.command == "record" else []
        at = rng.choice(["request", "time"]) if kill else ""
        self._number = rng.choice([signal.SIGINT, signal.SIGINT, signal.SIGINT, signal.SIGKILL])
        self._kill_at = len(self._begun) + rng.randrange(16) if at == "request" else -1
        after = rng.uniform(0.0, seconds) if at == "time" else None
        arguments = [self.command, str(file), *more, "--yes"]
        self._nursery.begin(errors, arguments, self._memory, seconds=after, number=int(self._number))
        code, said = self._nursery.end(), errors.read_text()
        self._check(CAPS)
        if code == 0:
            return None
        assert at, said
        if "Traceback" in said and "cli.main()" not in said:  # the process had not come to the command yet
            return ""
        self.killed += 1
        if self._number == signal.SIGKILL:
            assert code == -signal.SIGKILL, said
            return ""
        assert code == 130, said
        told = [line for line in said.splitlines() if not re.fullmatch(r"round \d+ of .*|[\d,]+ pulls done", line)]
        assert len(told) == 1, said
        assert told[0].startswith("stopped"), said
        self.took.append(self._nursery.took)
        return ""

    def left(self) -> Any:
        """What no signal may change."""
        if self.command == "tune":
            return self.end()
        return (self._folder / "made.npz").read_bytes(), query(self._base, DRAWS)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")), "LIVE_TEST_KEY": KEY}
    with Nursery("live_child", cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}) as made:
        yield made


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("command", ["tune", "record"])
def test_a_command_that_is_ended_at_any_moment_goes_on(
    nursery: Nursery, memory: Path, command: str, seed: int, tmp_path: Path
):
    """Two hundred signals each, ten each time, spread over requests and over the time of a calm run."""
    calm, place = Ended(nursery, command, tmp_path / "calm", memory), memory if seed > 1 else ""
    calm.go()
    began = time.monotonic()
    Ended(nursery, command, tmp_path / "again", place).go()
    seconds, killed, number, took = time.monotonic() - began, 0, 0, list[float]()
    while killed < KILLS:
        run = Ended(nursery, command, tmp_path / str(number), place, 1000 * seed + number)
        run.go(KILLS - killed, CAPS, seconds)
        assert run.left() == calm.left()
        killed, number, took = killed + run.killed, number + 1, took + run.took
    print(f"{command} {seed}: {killed} signals, {len(took)} of them SIGINT, {max(took, default=0):.2f} s at most")
    assert max(took, default=0.0) <= SECONDS


def test_replies_under_way_are_kept_when_the_user_ends_a_run():
    """Those that come within `PARTING`; the others are cut off then. Seen to be cut off at once."""
    ended: list[str] = []

    async def job(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended.append(name)
        except asyncio.CancelledError:
            ended.append(f"cut off: {name}")
            raise

    one = SimpleNamespace(endpoint=SimpleNamespace(concurrency=Concurrency(2, 1, 1)))
    stopping: Any = SimpleNamespace(stopping=None, at=lambda name: one)
    stopping.stop = lambda why: setattr(stopping, "stopping", why)

    async def run() -> float:
        jobs = iter([lambda: job("soon", 0.1), lambda: job("late", 60.0), lambda: job("never begun", 0.0)])
        task = asyncio.create_task(live.in_parallel({"": jobs}, stopping))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    assert asyncio.run(run()) >= live.PARTING
    assert ended == ["soon", "cut off: late"]
