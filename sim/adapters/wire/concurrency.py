"""Number of requests under way: additive increase, multiplicative decrease.

After a throttled reply the limit falls to four fifths, once per cooldown; it grows by one for every `limit` replies
that came while at least four fifths of it were in use.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

DECREASE, SATURATED = 0.8, 0.8
COOLDOWN = 15.0
"""Seconds in which further throttling belongs to the same episode."""


class Pace:
    """A limit on requests under way that adapts itself between two bounds.

    Attributes:
        limit: requests that may be under way now.
        active: requests under way.
    """

    def __init__(self, start: int, least: int, most: int, now: Callable[[], float]):
        self.limit, self.active = start, 0
        self._least, self._most, self._now = least, most, now
        self._good, self._episode = 0, -COOLDOWN
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Holds one of the places, in the order of asking."""
        if self.active >= self.limit or self._waiting:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._admit()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                else:
                    with suppress(ValueError):  # it may have been taken out as cancelled
                        self._waiting.remove(turn)
                raise
        else:
            self.active += 1
        try:
            yield
        finally:
            self._leave()

    def throttled(self) -> None:
        """The server said that requests come too fast."""
        self._good = 0
        if self._now() - self._episode >= COOLDOWN:
            self._episode = self._now()
            self.limit = max(self._least, int(self.limit * DECREASE))

    def served(self) -> None:
        """A reply came."""
        if self.active >= SATURATED * self.limit:
            self._good += 1
            if self._good >= self.limit and self.limit < self._most:
                self.limit, self._good = self.limit + 1, 0
                self._admit()

    def _leave(self) -> None:
        self.active -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.active < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)
