"""Soaks this process and prints what it holds and does, at every mark, as JSON lines.

python soak_child.py tune RUN, or python soak_child.py answer POLICY COUNT [JOURNAL]: the rounds of a tuning run, or so
many queries answered by a policy. A model inside the process answers at once; with SERVED before the others, the server
that the file names. The clock is virtual: a request takes `SECONDS` of it, so that 50,000 are three hours.
"""

import asyncio
import gc
import json
import os
import random
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sim.adapters import live_policy, session
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.protocol import Ambiguous, Client, Completion, Reply, Request, Transient, Usage
from sim.adapters.wire.retry import Clock

SECONDS = 0.216
"""Seconds of the virtual clock that a request takes."""
PART = 64
"""Queries that are answered at a time, at least."""
STEPS = 10
"""Steps of SQLite's machine that are counted as one."""


class Mark(NamedTuple):
    """What the process holds now, and has done since the mark before.

    Attributes:
        done: pulls, or answers, so far.
        requests: sent since the mark before.
        blocks: of memory that Python holds, after a collection.
        kilobytes: of memory that the system has given.
        files: that are open.
        threads: that run.
        statements: of SQL since the mark before.
        steps: of SQLite's machine since the mark before, in tens.
        calls: of functions in the thread that asks, since the first request after the mark before.
        log: bytes of the journal's write-ahead log.
    """

    done: int
    requests: int
    blocks: int
    kilobytes: int
    files: int
    threads: int
    statements: int
    steps: int
    calls: int
    log: int


class Gauge:
    """Counts, and takes marks."""

    def __init__(self) -> None:
        self.requests = self.statements = self.steps = self.calls = 0
        self._before = (0, 0, 0)
        self.log: Path | None = None

    def connect(self, real: Any) -> Any:
        """`sqlite3.connect` whose connections are counted."""

        def connected(*arguments: Any, **more: Any) -> sqlite3.Connection:
            base = real(*arguments, **more)
            base.set_trace_callback(self._statement)
            base.set_progress_handler(self._step, STEPS)
            return base

        return connected

    def _statement(self, text: str) -> None:
        self.statements += 1

    def _step(self) -> int:
        self.steps += 1
        return 0

    def _call(self, frame: Any, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")

    def request(self) -> None:
        """A request is sent, by the thread whose calls count."""
        self.requests += 1
        sys.setprofile(self._call)

    def mark(self, done: int) -> None:
        """Print a mark."""
        sys.setprofile(None)
        gc.collect()
        counted = (self.requests, self.statements, self.steps)
        requests, statements, steps = (now - then for now, then in zip(counted, self._before, strict=True))
        assert requests, "no request was counted: another client asks"
        status = Path("/proc/self/status").read_text()
        found = Mark(
            done,
            requests,
            sys.getallocatedblocks(),
            int(status.split("VmRSS:")[1].split()[0]),
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            statements,
            steps,
            self.calls,
            self.log.stat().st_size if self.log is not None and self.log.exists() else 0,
        )
        print(json.dumps(found._asdict()), flush=True)
        self._before, self.calls = counted, 0


class Counted:
    """A client whose requests are counted."""

    def __init__(self, client: Client, gauge: Gauge):
        self._client, self._gauge = client, gauge

    async def complete(self, request: Request, timeout: float) -> Reply:
        """Count, and send."""
        self._gauge.request()
        return await self._client.complete(request, timeout)

    async def close(self) -> None:
        """Close."""
        await self._client.close()


class Instant:
    """A model that answers at once; now and then it throttles, or breaks off."""

    def __init__(self) -> None:
        self._requests = 0

    async def complete(self, request: Request, timeout: float) -> Reply:
        """A digit that the seed decides."""
        self._requests += 1
        await asyncio.sleep(0)
        if self._requests % 40 == 0:
            raise Transient("busy", 1.0, throttled=True)
        if self._requests % 97 == 0:
            raise Ambiguous("broke off")
        said = [f"The answer is {((request.seed or 0) + k) * 7919 % 10}." for k in range(request.n)]
        return Reply(tuple(Completion(text, "stop") for text in said), Usage(9, 6 * request.n))

    async def close(self) -> None:
        """Nothing is open."""


def main(what: str, file: str, *rest: str) -> None:
    """Soak, as the command line says."""
    served = what == "SERVED"
    if served:
        what, file, *rest = file, *rest  # type: ignore[assignment]
    gauge = Gauge()
    sqlite3.connect = gauge.connect(sqlite3.connect)

    def clock(loop: object, seed: int) -> Clock:
        async def sleep(seconds: float) -> None:
            await asyncio.sleep(0)

        return Clock(lambda: SECONDS * gauge.requests, sleep, random.Random(seed))

    def connect(*arguments: Any) -> Counted:
        return Counted(OpenAIClient(*arguments) if served else Instant(), gauge)

    session.real_clock = clock
    if what == "tune":
        soak_rounds(gauge, Path(file), connect)
    else:
        session.OpenAIClient = connect  # type: ignore[misc, assignment]
        soak_answers(gauge, Path(file), int(rest[0]), Path(rest[1]) if len(rest) > 1 else None)


def soak_rounds(gauge: Gauge, file: Path, connect: Callable[..., Client]) -> None:
    """A mark at the end of every round."""
    from sim.adapters import config, tune  # which take JAX along

    run = config.load(file)
    items = tune.load_items(run)
    gauge.log = Path(f"{run.journal}-wal")
    done = 0

    def report(step: Any) -> None:
        nonlocal done
        done += 1
        if step.done == step.pulls:
            gauge.mark(done)

    with session.session(run, lambda endpoint: connect(endpoint, "none")) as live:
        spec, strategy = tune.world(run, tune.unmeasured(run), items)
        tune.rounds_of(live, items, spec, strategy, report)


def soak_answers(gauge: Gauge, file: Path, count: int, journal: Path | None) -> None:
    """A mark after every fiftieth part of the queries, all of which differ."""
    part = max(count // 50, PART)
    gauge.log = None if journal is None else Path(f"{journal}-wal")
    with live_policy.LivePolicy.load(file, caps={"completions": 10**9}, journal=journal) as policy:
        for first in range(0, count, part):
            policy.answers([f"query {number} of them all" for number in range(first, first + part)])
            gauge.mark(first + part)


if __name__ == "__main__":
    main(*sys.argv[1:])
