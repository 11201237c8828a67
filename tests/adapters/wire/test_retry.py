"""The one retry loop and the pace of requests, without a clock."""

import asyncio
import random
from collections.abc import Callable

import pytest

from sim.adapters.wire.concurrency import COOLDOWN, Pace
from sim.adapters.wire.protocol import Ambiguous, CallError, Fatal, Transient
from sim.adapters.wire.retry import Clock, Rule, Stopped, persist


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now, self.waits = 0.0, []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def clock(self, seed: int = 0) -> Clock:
        return Clock(lambda: self.now, self.sleep, random.Random(seed))


def attempts(*outcomes: CallError | str) -> Callable:
    """An attempt that fails or answers as listed; its last outcome repeats."""
    left = list(outcomes)

    async def attempt() -> str:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, CallError):
            raise outcome
        return outcome

    return attempt


def run(attempt: Callable, rule: Rule, time: Time, stopping: bool = False) -> str:
    return asyncio.run(persist(attempt, rule, time.clock(), lambda: stopping))


def test_waits_are_full_jitter_and_grow_to_a_limit():
    time = Time()
    assert run(attempts(*[Transient("busy")] * 12, "done"), Rule(1e6, base=1.0, longest=8.0), time) == "done"
    rng = random.Random(0)
    assert time.waits == [rng.uniform(0.0, min(8.0, 2.0**k)) for k in range(12)]


def test_the_server_is_waited_for_as_long_as_it_asks():
    time = Time()
    assert run(attempts(Transient("busy", 7.0), "done"), Rule(100.0), time) == "done"
    assert 7.0 <= time.waits[0] <= 7.5
    with pytest.raises(Stopped, match="asks to wait 600 s"):
        run(attempts(Transient("later", 600.0), "done"), Rule(1e6), Time())


def test_a_fatal_error_is_not_repeated():
    time = Time()
    with pytest.raises(Fatal, match="no key"):
        run(attempts(Fatal("no key"), "done"), Rule(100.0), time)
    assert time.waits == []


def test_an_outage_of_five_minutes_is_survived_and_one_beyond_the_deadline_is_not():
    time = Time()

    async def back_after_five_minutes() -> str:
        if time.now < 300:
            raise Transient("no connection")
        return "done"

    assert run(back_after_five_minutes, Rule(900.0), time) == "done"
    time = Time()
    with pytest.raises(Stopped, match="no reply within 100 s"):
        run(attempts(Transient("no connection")), Rule(100.0), time)
    assert time.now <= 100.0


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_jumps_ends_in_a_reply_or_in_one_sentence(jump: float):
    """Forward (the machine slept) the reply that came counts, a further wait does not begin; backward more is tried."""
    time = Time()

    def jumping(last: CallError | str) -> Callable:
        left = [Transient("no connection"), last, "done"]

        async def attempt() -> str:
            outcome = left.pop(0)
            time.now += jump if len(left) == 1 else 0.0
            if isinstance(outcome, CallError):
                raise outcome
            return outcome

        return attempt

    assert run(jumping("slept"), Rule(100.0), time) == "slept"
    if jump < 0:
        assert run(jumping(Transient("no connection")), Rule(100.0), time) == "done"
    else:
        with pytest.raises(Stopped, match=r"no reply within 100 s and 2 attempts \(the last: no connection\)"):
            run(jumping(Transient("no connection")), Rule(100.0), time)


def test_attempts_that_may_be_billed_are_few():
    time = Time()
    with pytest.raises(Stopped, match="8 attempts in a row may have been billed"):
        run(attempts(Ambiguous("reset")), Rule(1e9), time)
    assert len(time.waits) == 7


def test_nothing_is_tried_when_the_run_is_over():
    with pytest.raises(Stopped, match="stopping"):
        run(attempts("done"), Rule(100.0), Time(), stopping=True)


def work(pace: Pace, tasks: int, each: Callable[[int], None]) -> int:
    """Run tasks that hold a slot for one turn of the loop; the most that held one together."""
    most = 0

    async def one(number: int) -> None:
        nonlocal most
        async with pace.slot():
            most = max(most, pace.active)
            await asyncio.sleep(0)
            each(number)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(tasks)))

    asyncio.run(all_of_them())
    assert pace.active == 0
    return most


def test_no_more_requests_than_the_limit():
    assert work(Pace(3, 1, 3, lambda: 0.0), 50, lambda number: None) == 3


def test_the_limit_falls_once_per_episode_and_never_below_the_least():
    now = 0.0
    pace = Pace(20, 10, 100, lambda: now)
    for _ in range(5):
        pace.throttled()
    assert pace.limit == 16
    for _ in range(5):
        now += COOLDOWN
        pace.throttled()
    assert pace.limit == 10


def test_the_limit_grows_only_while_it_is_used():
    pace = Pace(4, 1, 6, lambda: 0.0)
    for _ in range(100):
        pace.served()
    assert pace.limit == 4
    assert work(pace, 200, lambda number: pace.served()) == 6
    assert pace.limit == 6


@pytest.mark.parametrize("seed", range(20))
def test_cancelled_tasks_leave_no_slot_behind(seed: int):
    rng = random.Random(seed)
    pace = Pace(2, 1, 2, lambda: 0.0)

    async def one() -> None:
        async with pace.slot():
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

    async def storm() -> None:
        tasks = [asyncio.create_task(one()) for _ in range(30)]
        for _ in range(40):
            await asyncio.sleep(0)
            rng.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(storm())
    assert pace.active == 0
    assert work(pace, 5, lambda number: None) == 2
