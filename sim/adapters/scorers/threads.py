"""Blocking work beside the event loop that may never come back."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def apart(work: Callable[[], T], seconds: float, turn: AbstractContextManager[Any] | None = None) -> T:
    """Do work in a thread of its own, which is left behind where it takes too long: it ends with the process.

    Args:
        work: what blocks.
        seconds: how long it may take, once it has its turn.
        turn: a lock of threads that it is done under.

    Raises:
        TimeoutError: it took too long.
    """
    loop = asyncio.get_running_loop()
    begun, done = loop.create_future(), loop.create_future()

    def tell(future: "asyncio.Future[Any]", value: Any, error: BaseException | None = None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def run() -> None:
        with suppress(RuntimeError), turn or nullcontext():  # RuntimeError: the loop is closed
            loop.call_soon_threadsafe(tell, begun, None)
            try:
                found = work()
            except BaseException as error:
                loop.call_soon_threadsafe(tell, done, None, error)
            else:
                loop.call_soon_threadsafe(tell, done, found)

    threading.Thread(target=run, name="apart", daemon=True).start()
    await begun
    async with asyncio.timeout(seconds):
        return await done
