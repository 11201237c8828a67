"""Group commit: writes of many tasks go to disk together, and each is awaited until it is there."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

W = TypeVar("W")


class GroupCommit(Generic[W]):
    """A queue of writes. While a group of them is being written, the next group gathers.

    Attributes:
        thread: where groups are written, one at a time.
        commit: writes a group, each of its writes whole or not at all; what was wrong with each, None for nothing.
        refusal: the exception for whoever awaits a write, made of what was wrong with it.
    """

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        commit: Callable[[Sequence[W]], Sequence[Exception | None]],
        refusal: Callable[[Exception], Exception],
    ):
        self.thread, self.commit, self.refusal = thread, commit, refusal
        self._queue: list[tuple[W, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def put(self, write: W) -> None:
        """Write; returns when it is on disk."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.append((write, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = loop.create_task(self._flush())
        await done

    def take(self) -> list[W]:
        """The writes that an interrupted run left waiting; the queue is empty then."""
        left, self._queue = self._queue, []
        return [write for write, _ in left]

    async def _flush(self) -> None:
        while self._queue:
            group, self._queue = self._queue, []
            try:
                under_way = asyncio.wrap_future(self.thread.submit(self.commit, [write for write, _ in group]))
                problems = await asyncio.shield(under_way)  # who interrupts the run does not interrupt the write
            except Exception as error:
                problems = [error] * len(group)
            for (_, done), problem in zip(group, problems, strict=True):
                if done.done():
                    continue
                if problem is None:
                    done.set_result(None)
                else:
                    done.set_exception(self.refusal(problem))
