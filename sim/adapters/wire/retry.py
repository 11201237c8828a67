"""The one retry loop: full jitter (Brooker, "Exponential backoff and jitter", 2015), Retry-After, a deadline.

Clock, sleep and randomness are handed in, so that tests need no time.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from sim.adapters.wire.protocol import Ambiguous, Transient

T = TypeVar("T")


class Stopped(ValueError):
    """The run cannot go on; the text says why and what to do. What was paid for is kept."""


class Clock(NamedTuple):
    """Time and chance as the retry loop sees them.

    Attributes:
        now: seconds since some moment.
        sleep: waits so many seconds.
        rng: draws the jitter.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: random.Random


class Rule(NamedTuple):
    """Limits of patience with failing requests.

    Attributes:
        deadline: seconds from the start after which no attempt is begun.
        base, longest: the k-th wait is uniform on (0, min(longest, base * 2**k)).
        longest_asked: a server that asks for a longer wait than this is not waited for.
        ambiguous: attempts that may have been billed before giving up.
    """

    deadline: float
    base: float = 0.5
    longest: float = 30.0
    longest_asked: float = 120.0
    ambiguous: int = 8


def real_clock(loop: asyncio.AbstractEventLoop, seed: int) -> Clock:
    """An event loop's time, and jitter that a seed decides."""
    return Clock(loop.time, asyncio.sleep, random.Random(seed))


async def persist(
    attempt: Callable[[], Awaitable[T]],
    rule: Rule,
    clock: Clock,
    stopping: Callable[[], bool],
    since: Callable[[], float | None] = lambda: None,
) -> T:
    """Repeat an attempt until it succeeds.

    Args:
        attempt: one whole attempt; accounts for itself.
        rule: how patient to be.
        clock: time and chance.
        stopping: whether the run is over, so that nothing more may be tried.
        since: when what the attempt is part of began; None for the first attempt here.

    Raises:
        Fatal: no repetition helps.
        Stopped: patience is at an end, or the run is over.
    """
    first, tries, billed = clock.now(), 0, 0
    while True:
        if stopping():
            raise Stopped("the run is stopping")
        try:
            return await attempt()
        except Transient as error:
            last, asked = error, error.retry_after
        except Ambiguous as error:
            last, asked, billed = error, None, billed + 1
        if asked is not None and asked > rule.longest_asked:
            raise Stopped(f"the server asks to wait {asked:g} s ({last}); start again then, nothing is lost")
        wait = clock.rng.uniform(0.0, min(rule.longest, rule.base * 2.0 ** min(tries, 30)))
        wait += asked or 0.0
        tries += 1
        if billed >= rule.ambiguous:
            raise Stopped(f"{billed} attempts in a row may have been billed without a reply (the last: {last})")
        began = since()
        if clock.now() + wait - (first if began is None else began) > rule.deadline:
            raise Stopped(f"no reply within {rule.deadline:g} s and {tries} attempts (the last: {last})")
        await clock.sleep(wait)
