"""Draws of a model, each asked for once: journal first, then requests under caps, retried, checked and topped up.

Draw j of a pull has the seed (its pull's first seed) + j, whichever request it comes with. A server that gives choice
i of a request the sub-seed s + i thus returns the same draws however they are cut into requests, and no two draws of a
run ever share a seed. Servers that return fewer choices than asked are asked for the rest, and remembered the second
time. Choices that failed on the server are asked for again, under their numbers and so with their seeds: where failures
have to do with what a choice would have said, another one in its place would favour what does not fail.
"""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sim.adapters.paid.entries import AMBIGUOUS, SETTLED, VOID, Asked, Attempt, Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.run_file.settings import Endpoint, Prices, Prompt
from sim.adapters.scoring import Item
from sim.adapters.wire.concurrency import Pace
from sim.adapters.wire.protocol import (
    Ambiguous,
    CallError,
    Client,
    Completion,
    Excessive,
    Fatal,
    Refused,
    Reply,
    Request,
    Transient,
)
from sim.adapters.wire.redact import Secrets
from sim.adapters.wire.retry import Clock, Rule, Stopped, persist

REFUSED = "refused"
"""How a draw ended whose prompt a filter refused."""
MESSAGE_TOKENS = 8
"""Tokens that the frame of a message may take, in the worst case."""


class Want(NamedTuple):
    """Draws first, .., first + count - 1 of a cell, with seeds seed, .., seed + count - 1, or without seeds."""

    prompt: Prompt
    cell: Asked
    first: int
    count: int
    seed: int | None


def cell_of(
    stream: str, endpoint: Endpoint, prompt: Prompt, query: str, fields: Sequence[tuple[str, str]] = ()
) -> Asked:
    """The cell of a prompt on a query and its fields."""
    decoding = {
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "max_tokens": prompt.max_tokens,
        "extra": endpoint.extra,
    }
    text = json.dumps(decoding, sort_keys=True)
    messages = prompt.messages(query, fields)
    return Asked(stream, endpoint.base_url, prompt.model, text, messages, prompt.name, query)


def consecutive(
    stream: str,
    endpoints: Mapping[str, Endpoint],
    prompts: Sequence[Prompt],
    items: Sequence[Item],
    count: int,
    seed: int,
) -> list[Want]:
    """The first `count` draws of every prompt on every query, prompts in the outer loop; seeds go on from `seed`."""
    cells = [
        (prompt, cell_of(stream, endpoints[prompt.endpoint], prompt, one.text, one.fields))
        for prompt in prompts
        for one in items
    ]
    return [Want(prompt, cell, 0, count, seed + place * count) for place, (prompt, cell) in enumerate(cells)]


@dataclass
class _Pull:
    """A want whose requests have one deadline together.

    Attributes:
        began: when its first request had its turn, and later by the time that it only waited for more turns since.
        active: requests that have their turn.
        idle: when `active` fell to 0 last.
    """

    want: Want
    began: float | None = None
    active: int = 0
    idle: float = 0.0

    @contextmanager
    def turn(self, asked: float, now: Callable[[], float], deadline: float) -> Iterator[None]:
        """A request has its turn, for which it asked some time ago.

        Raises:
            Stopped: there is no time left.
        """
        moment = now()
        if self.began is None:
            self.began = moment
        elif not self.active:
            self.began += moment - max(asked, self.idle)
        if moment - self.began > deadline:
            raise Stopped(
                f"a pull is not complete after {deadline:g} s (endpoint.deadline); what came is kept, and the same "
                "command asks for the rest"
            )
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self.idle = now()


@dataclass
class Ending:
    """The end of a run, which its samplers share.

    Attributes:
        why: the run is over; None while it is not.
    """

    why: str | None = None

    def stop(self, reason: str) -> str:
        """Let nothing more be sent. The first reason is the one that is told."""
        if self.why is None:
            self.why = reason
        return self.why

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Nothing is sent: what the journal lacks raises `Stopped`."""
        before, self.why = self.why, self.why or "nothing is sent here"
        try:
            yield
        finally:
            self.why = before


class Sampler:
    """Draws from one endpoint.

    Attributes:
        ending: whether the run is over, and why.
        secrets: keys of servers that scorers ask.
        fetch: brings the draws of many wants into the journal by batches; None where every request is sent on its own.
    """

    fetch: Callable[[Sequence[Want]], Awaitable[None]] | None = None

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        prices: dict[str, Prices],
        journal: Journal,
        ledger: Ledger,
        clock: Clock,
        secrets: Secrets | None = None,
        ending: Ending | None = None,
    ):
        self.client, self.endpoint, self.prices = client, endpoint, prices
        self.journal, self.ledger, self.clock = journal, ledger, clock
        pace = endpoint.concurrency
        self.pace = Pace(pace.start or pace.least, pace.least, pace.most, clock.now)
        self.rule, self.secrets = Rule(endpoint.deadline), secrets or Secrets()
        self.ending = ending or Ending()
        self._most: dict[str, int] = {}
        self._suspected: dict[str, int] = {}

    @property
    def stopping(self) -> str | None:
        """Reason why the run is over, None while it is not."""
        return self.ending.why

    def apart(self, ending: Ending) -> "Sampler":
        """The same sampler with another end."""
        made = copy.copy(self)
        made.ending = ending
        return made

    async def gather(self, wants: Sequence[Want]) -> None:
        """In batch mode, bring all draws of these wants into the journal at once; `draws` then asks for nothing.

        Raises:
            Stopped: the run cannot go on.
        """
        if self.fetch is not None:
            await self.fetch(wants)

    async def draws(self, want: Want) -> list[Draw]:
        """All draws of a want, in order; every one has ended. In batch mode nothing is asked that was in no batch.

        Raises:
            Stopped: the run cannot go on.
        """
        have = await self.journal.draws(want.cell, want.first, want.count)
        gaps = self._gaps(want, have)
        if gaps and self.fetch is not None:
            asked = f"{want.prompt.model!r} is asked what was in no batch, {want.cell.query[:60]!r}"
            raise Stopped(self.stop(f"{asked}: in batch mode a scorer's `wants` must name all that it asks"))
        have |= await self._parts(_Pull(want), gaps)
        return [have[number] for number in range(want.first, want.first + want.count)]

    def worst(self, prompt: Prompt, cell: Asked, n: int) -> Amount:
        """The most that a request can cost: a token for every byte of the prompt, the longest completions."""
        size = sum(len(content.encode("utf-8", "replace")) + MESSAGE_TOKENS for _, content in cell.messages)
        size += self.endpoint.template_tokens
        longest, price = n * prompt.max_tokens, self.prices[prompt.model]
        return Amount(n, size + longest, size * price.prompt + longest * price.completion)

    def seed(self, want: Want, first: int) -> int | None:
        """The seed of a request whose first draw is `first`; None where seeds are not sent."""
        return want.seed + first - want.first if self.endpoint.send_seed and want.seed is not None else None

    async def missing(self, want: Want) -> list[tuple[int, int]]:
        """Runs of draws (first, length) that the journal lacks, each as long as a request may ask for."""
        return self._gaps(want, await self.journal.draws(want.cell, want.first, want.count))

    def _gaps(self, want: Want, have: Container[int]) -> list[tuple[int, int]]:
        numbers = [number for number in range(want.first, want.first + want.count) if number not in have]
        return runs(numbers, self.most_choices(want.prompt.model))

    async def _parts(self, pull: "_Pull", parts: Sequence[tuple[int, int]]) -> dict[int, Draw]:
        """Runs of draws (first, length), side by side; when one fails the others end first."""
        found: dict[int, Draw] = {}
        if not parts:
            return found
        for one in await asyncio.gather(*(self._part(pull, *part) for part in parts), return_exceptions=True):
            if isinstance(one, BaseException):
                raise one
            found |= one
        return found

    async def _part(self, pull: "_Pull", first: int, count: int) -> dict[int, Draw]:
        """Draws first, .., first + count - 1: one request, and more for what it did not bring."""
        want = pull.want
        try:
            got = await persist(
                lambda: self._attempt(pull, first, count),
                self.rule,
                self.clock,
                lambda: self.stopping is not None,
                lambda: pull.began,
            )
        except (Fatal, Stopped) as error:
            where = f"(prompt {want.prompt.name!r}, query {want.cell.query[:60]!r})"
            raise Stopped(self.stop(f"{error} {where}")) from None
        found = {first + place: draw for place, draw in enumerate(got) if draw is not None}
        missing = [number for number in range(first, first + count) if number not in found]
        return found | await self._parts(pull, runs(missing, self.most_choices(want.prompt.model)))

    async def _attempt(self, pull: "_Pull", first: int, n: int) -> Sequence[Draw | None]:
        """One request from reservation to settlement."""
        want = pull.want
        worst, asked = self.worst(want.prompt, want.cell, n), self.clock.now()
        async with self.pace.slot():
            if self.stopping is not None:
                raise Stopped(self.stopping)
            with pull.turn(asked, self.clock.now, self.rule.deadline):
                await self.ledger.reserve(worst)
                if self.stopping is not None:  # the run ended while this waited for room
                    await self.ledger.settle(worst, Amount())
                    raise Stopped(self.stopping)
                attempt = await self.journal.begin(want.cell, first, n, self.seed(want, first), worst)
                try:
                    result = await self.client.complete(request_of(attempt, self.endpoint), self.endpoint.timeout)
                except CallError as error:
                    result = error
                draws, problem = await self.book(attempt, worst, result)
        if isinstance(problem, Transient) and problem.throttled:
            self.pace.throttled()
        if problem is not None:
            raise problem
        self.pace.served()
        return draws

    def stop(self, reason: str) -> str:
        """Let nothing more be sent. The first reason is the one that is told."""
        return self.ending.stop(reason)

    async def book(
        self, attempt: Attempt, worst: Amount, result: Reply | CallError
    ) -> tuple[Sequence[Draw | None], CallError | None]:
        """Write down how an attempt ended and settle it.

        Returns:
            Its draws, None in the place of one that failed on the server, and what is wrong with it if anything is.
        """
        state, charged, usage, note = VOID, Amount(), None, ""
        draws: Sequence[Draw | None] = ()
        problem: CallError | None = None
        if isinstance(result, Refused):
            state, charged, draws, note = AMBIGUOUS, worst, [Draw("", REFUSED)] * attempt.n, str(result)
        elif isinstance(result, Ambiguous | Excessive):
            state, charged, note, problem = AMBIGUOUS, worst, str(result), result
        elif isinstance(result, CallError):
            note, problem = str(result), result
        else:
            state, usage, placed = SETTLED, result.usage, result.placed(attempt.n)
            choices = placed[: attempt.n]
            draws = [None if one.broken else Draw(one.text, one.finish) for one in choices]
            charged, note, problem = self._bill(attempt, result._replace(choices=placed), worst)
            if problem is None and any(one.broken for one in choices):
                note, problem = self._broken(choices, note)
        await self.journal.end(attempt, state, charged, draws, usage, note)
        await self.ledger.settle(worst, charged)
        if problem is None and isinstance(result, Reply) and None not in draws:
            self._learn(attempt.cell.model, attempt.n, len(draws))
        return draws, problem

    def _broken(self, choices: Sequence[Completion], note: str) -> tuple[str, CallError | None]:
        """A note on choices of which some failed, and what is wrong with the reply where all did."""
        broken = [one.finish for one in choices if one.broken]
        text = f"{len(broken)} of {len(choices)} choices failed on the server (finish_reason {broken[0][:40]!r})"
        if len(broken) < len(choices):
            return "; ".join(filter(None, (note, text))), None
        if self.endpoint.send_seed:
            text += "; where the same seeds fail again and again, endpoint.send_seed = false asks without"
        return text, Ambiguous(text)

    def _bill(self, attempt: Attempt, reply: Reply, worst: Amount) -> tuple[Amount, str, CallError | None]:
        """The charge of a reply, a note, and why the run must stop if the server broke its limits."""
        n, returned, price = attempt.n, len(reply.choices), self.prices[attempt.cell.model]
        if reply.usage is None and returned <= n:
            lacking = (n - max(returned, 1)) * json.loads(attempt.cell.decoding)["max_tokens"]
            charged = Amount(max(returned, 1), worst.tokens - lacking, worst.money - lacking * price.completion)
            return charged, "usage missing or impossible; what came is charged at its worst case", None
        if reply.usage is None:
            text = (
                f"the server exceeded the limits of a request: {returned} choices for n = {n}, without usable token "
                "counts; caps cannot be kept with it"
            )
            return Amount(returned, *(-(-part * returned // n) for part in worst[1:])), text, Fatal(text)
        prompt_tokens, completion_tokens, _ = reply.usage
        money = prompt_tokens * price.prompt + completion_tokens * price.completion
        charged = Amount(returned, prompt_tokens + completion_tokens, money)
        if any(mine > most for mine, most in zip(charged, worst, strict=True)):
            text = (
                f"the server exceeded the limits of a request: {returned} choices for n = {n}, {prompt_tokens} prompt "
                f"and {completion_tokens} completion tokens where at most {worst.tokens} in all were possible; caps "
                "cannot be kept with it (does it honour max_tokens? are reasoning tokens billed beside? a larger "
                "max_tokens in [[prompts]] leaves them room; is endpoint.template_tokens large enough?)"
            )
            return charged, text, Fatal(text)
        return charged, "", None

    def most_choices(self, model: str) -> int:
        """Choices that a request may ask for, as far as the server is known."""
        if model not in self._most:
            noted = self.journal.note(_choices_key(self.endpoint, model))
            self._most[model] = min(self.endpoint.max_n, int(noted) if noted else self.endpoint.max_n)
        return self._most[model]

    def _learn(self, model: str, asked: int, returned: int) -> None:
        """Two short replies, and no larger one between them, show a limit of the server; one may be an accident."""
        suspected = self._suspected.pop(model, None)
        if returned < asked and suspected is not None:
            self._remember(model, min(suspected, returned))
        elif returned < asked:
            self._suspected[model] = returned
        elif suspected is not None and returned <= suspected:
            self._suspected[model] = suspected

    def _remember(self, model: str, returned: int) -> None:
        if returned < self.most_choices(model):
            self._most[model] = returned
            self.journal.note(_choices_key(self.endpoint, model), str(returned))


def request_of(attempt: Attempt, endpoint: Endpoint) -> Request:
    """The request of an attempt."""
    cell, decoding = attempt.cell, json.loads(attempt.cell.decoding)
    return Request(
        model=cell.model,
        messages=cell.messages,
        n=attempt.n,
        max_tokens=decoding["max_tokens"],
        max_tokens_field=endpoint.max_tokens_field,
        temperature=decoding["temperature"],
        top_p=decoding["top_p"],
        seed=attempt.seed,
        extra=decoding["extra"],
        seed_field=endpoint.seed_field,
    )


def _choices_key(endpoint: Endpoint, model: str) -> str:
    return f"choices per request: {endpoint.base_url} {model}"


def runs(numbers: Sequence[int], longest: int) -> list[tuple[int, int]]:
    """Runs of neighbours (first, length), none longer than `longest`."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and sum(runs[-1]) == number and runs[-1][1] < longest:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs
