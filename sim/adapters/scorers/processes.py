"""Processes that read completions, killed when they take too long: a JSON line in, a JSON line out."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

_START = 300.0
"""Seconds that the first answer of a process may take: it imports what it needs."""
_LONGEST_LINE = 2**26


class Pool:
    """Workers of one script, started when they are needed."""

    def __init__(self, size: int, script: Callable[[], str], first: dict[str, Any], name: str):
        """No more than `size` at a time.

        Args:
            size: how many.
            script: gives the path of the script that they run.
            first: a task that every worker can do, once it is up.
            name: what they are, for people.
        """
        self._script, self._first, self._name = script, first, name
        self._limit, self._idle = asyncio.Semaphore(size), list[_Process]()

    async def ask(self, task: dict[str, Any], timeout: float) -> dict[str, Any] | None:
        """The answer to a task; None where it took too long or ended its worker.

        Raises:
            ValueError: workers do not start.
        """
        return (await self.each([task], timeout))[0]

    async def each(self, tasks: Sequence[dict[str, Any]], timeout: float) -> list[dict[str, Any] | None]:
        """The answers to tasks, each with its own time; who fails one gives way to others before it goes on.

        Raises:
            ValueError: workers do not start.
        """
        found: list[dict[str, Any] | None] = []
        while len(found) < len(tasks):
            found += await self.some(tasks[len(found) :], timeout)
        return found

    async def some(self, tasks: Sequence[dict[str, Any]], timeout: float) -> list[dict[str, Any] | None]:
        """The answers to tasks, up to the first that took too long or ended its worker, which is None.

        Raises:
            ValueError: workers do not start.
        """
        async with self._limit:
            process = self._idle.pop() if self._idle else await self._start()
            try:
                found = await process.ask(tasks, timeout)
            except BaseException:
                await process.kill()
                raise
            if None in found:
                await process.kill()
            else:
                self._idle.append(process)
        return found

    async def _start(self) -> "_Process":
        process = await _Process.start(self._script())
        try:
            up = await process.ask([self._first], _START)  # what it imports first is no part of reading
        except BaseException:
            await process.kill()
            raise
        if up[0] is None:
            await process.kill()
            raise ValueError(f"{self._name} does not start")
        return process

    async def close(self) -> None:
        """End all workers."""
        while self._idle:
            await self._idle.pop().kill()


class _Process:
    """A worker and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process):
        self._process = process

    @classmethod
    async def start(cls, script: str) -> "_Process":
        """A new worker; -P keeps its folder, whose names are those of standard modules, out of the path."""
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-P", script, stdin=pipe, stdout=pipe, stderr=nowhere, limit=_LONGEST_LINE
        )
        return cls(made)

    async def ask(self, tasks: Sequence[dict[str, Any]], timeout: float) -> list[dict[str, Any] | None]:
        """Its answers up to the first one that took too long, was too long or ended it, which is None."""
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        into.write(b"".join(json.dumps(task).encode() + b"\n" for task in tasks))
        found: list[dict[str, Any] | None] = []
        while len(found) < len(tasks) and None not in found[-1:]:
            try:
                async with asyncio.timeout(timeout):
                    answer = await out.readline()
                found.append(json.loads(answer))
            except (TimeoutError, ConnectionError, ValueError):  # ValueError: it ended, or the line is too long
                found.append(None)
        return found

    async def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
