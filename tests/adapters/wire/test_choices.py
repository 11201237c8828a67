"""Choices of a reply keep their numbers, which their seeds go by."""

import asyncio
import json
import random
from collections.abc import Sequence

import pytest

pytest.importorskip("openai", reason="the extra [llm] is not installed")

from draw_runs import FREE, PRICES, endpoint, wants

from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Ledger
from sim.adapters.paid.sampler import Sampler
from sim.adapters.wire.protocol import Completion, Reply, Request, read_reply
from sim.adapters.wire.retry import Clock


class Gappy:
    """A server whose first reply has choices with some numbers only, and every later one all that were asked for."""

    def __init__(self, numbers: Sequence[int]):
        self.numbers, self.requests = numbers, []

    async def complete(self, request: Request, timeout: float) -> Reply:
        self.requests.append((request.n, request.seed))
        numbers = self.numbers if len(self.requests) == 1 else range(request.n)
        texts = [(k, f"seed {(request.seed or 0) + k - min(numbers)}") for k in numbers]
        choices = [{"index": k, "finish_reason": "stop", "message": {"content": text}} for k, text in texts]
        usage = {"prompt_tokens": 5, "completion_tokens": len(choices)}
        return read_reply(200, json.dumps({"choices": choices, "usage": usage}).encode())

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("numbers", "requests"),
    [
        ((3, 0, 2), [(4, 1000), (1, 1001)]),
        ((0, 2), [(4, 1000), (1, 1001), (1, 1003)]),
        ((0, 1, 2), [(4, 1000), (1, 1003)]),
        ((1, 2, 3, 4), [(4, 1000)]),
    ],
)
def test_a_choice_whose_number_did_not_come_is_asked_for_again(numbers: Sequence[int], requests: list):
    """Seen to have 1003 twice and not 1001 where choices 0, 2, 3 were draws 0, 1, 2. Some servers count from 1."""

    async def go() -> list[str]:
        where, clock = endpoint("http://x"), Clock(lambda: 0.0, asyncio.sleep, random.Random(0))
        journal = Journal(":memory:")
        sampler = Sampler(client, where, PRICES, journal, Ledger(FREE), clock)
        try:
            return [draw.text for draw in await sampler.draws(wants(where, [("a", 4)])[0])]
        finally:
            journal.close()

    client = Gappy(numbers)
    assert asyncio.run(go()) == [f"seed {1000 + k}" for k in range(4)]
    assert client.requests == requests


def test_numbers_beyond_the_request_leave_choices_in_their_order():
    """Seen to be five choices, and so to exceed the limits of a request for four."""
    one, two = Completion("x", "stop"), Completion("y", "stop")
    for numbers in ((0, 4), (0, 2**60), (-1, 0), (2, 3), None):
        assert Reply((one, two), None, numbers).placed(4) == (one, two)
    assert [choice.broken for choice in Reply((one, two), None, (0, 3)).placed(4)] == [False, True, True, False]
