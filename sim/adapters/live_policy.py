"""Queries answered with a policy inside a program: from any thread or event loop, many at a time.

All that a policy holds open (connections, scorers, a journal) lives in one thread of its own with one event loop, which
begins with the first query. A query that fails ends alone. A caller that stops waiting has nothing more sent for it;
what is under way is waited for there, and charged.
"""

import asyncio
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sim.adapters import policy as files
from sim.adapters import session as sessions
from sim.adapters import trust
from sim.adapters.answering import STREAM, LiveAnswer, Question, answered, question, settings, want_of
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.entries import Asked
from sim.adapters.paid.ledger import Amount
from sim.adapters.policy import PolicyFile
from sim.adapters.run_file.settings import MONEY, Asking, Caps, CapsTable
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers.reader import blank
from sim.adapters.scorers.rewards import RewardModel
from sim.adapters.session import Session
from sim.adapters.trust import Trust
from sim.adapters.wire.redact import Secrets
from sim.adapters.wire.retry import Stopped

_PARTING = 1.0
"""Seconds that answers under way have to end when a policy is closed."""


class LivePolicy:
    """A policy that answers queries, for a program to hold: `sim.live.Policy`.

    Safe to use from many threads and event loops at once. Nothing is opened before the first query; `close`, or the
    end of a `with` block, lets go of everything. A process that was forked opens its own connections.

    Attributes:
        policy: the file as it was read.
    """

    def __init__(self, policy: PolicyFile, run: Asking, journal: Path | None):
        self.policy, self._run, self._journal = policy, run, journal
        self._lock, self._closed = threading.Lock(), False
        self._service: _Service | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        trust: bool | str | Collection[str] = False,
        caps: Mapping[str, float | int] | None = None,
        journal: str | Path | None = None,
    ) -> "LivePolicy":
        """Read and check a policy file, and the key that it needs. Nothing is sent.

        Args:
            path: a policy.json that `iapo tune` or `sim.live.tune` wrote.
            trust: whether modules of Python code that the file names may be imported, all of them or those of these
                names. Who sits at a terminal or a notebook is asked for every other; where nobody can be asked, it is
                refused.
            caps: the most that may be spent, some of `completions`, `tokens` and `money`. None for no caps.
            journal: a file that keeps every completion: the same query with the same seed is then answered from it,
                and what it holds counts against the caps. None keeps nothing; caps then hold for this object.

        Raises:
            ValueError: something in the file is wrong, it names code that is not trusted, or there is no key.
        """
        policy = files.load(Path(path))
        run = replace(settings(policy, _trusted(trust)), caps=_caps(policy, caps))
        sessions.connector(run, Secrets(run.dot_env))
        return cls(policy, run, None if journal is None else Path(journal))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.policy.file)!r})"

    @property
    def contexts(self) -> tuple[str, ...]:
        """Names of its contexts."""
        return tuple(self.policy.choices)

    @property
    def spent(self) -> dict[str, float | int]:
        """Completions, tokens and money charged so far, by this object or by all that its journal holds."""
        spent = Amount() if self._service is None else self._service.spent
        return {"completions": spent.completions, "tokens": spent.tokens, "money": spent.money / MONEY}

    def answer(
        self, query: str, context: str | None = None, *, fields: Mapping[str, str] | None = None, seed: int = 0
    ) -> LiveAnswer:
        """Answer a query with the arm that the policy has for a context.

        Args:
            query: its text.
            context: name of the context; the only one where there is one.
            fields: names and texts of further columns that the prompt has slots for.
            seed: of the first completion; the others have those after it.

        Raises:
            ValueError: an argument does not fit, or (`Stopped`) a cap or the server does not allow an answer.
        """
        begun = self._begin(self._asked(query, context, fields, seed))
        try:
            return begun.result()
        except BaseException:
            begun.cancel()
            raise

    def answers(
        self,
        queries: Sequence[str],
        context: str | None = None,
        *,
        fields: Sequence[Mapping[str, str]] | None = None,
        seed: int = 0,
    ) -> list[LiveAnswer]:
        """Answer many queries at a time, in their order; `fields` has an entry for each.

        Raises:
            ValueError: as `answer`, of the first query that cannot be answered; the others have ended by then.
        """
        given = [None] * len(queries) if fields is None else fields
        if isinstance(queries, str) or len(given) != len(queries):
            raise ValueError("queries are a list of texts, and fields an entry for each of them")
        asked = [self._asked(query, context, own, seed) for query, own in zip(queries, given, strict=True)]
        begun: list[Future[LiveAnswer]] = []
        try:
            begun += map(self._begin, asked)
            wait(begun)
        except BaseException:
            for one in begun:
                one.cancel()
            raise
        return [one.result() for one in begun]

    async def aanswer(
        self, query: str, context: str | None = None, *, fields: Mapping[str, str] | None = None, seed: int = 0
    ) -> LiveAnswer:
        """Answer a query as `answer` does, without holding up the caller's event loop."""
        asked = self._asked(query, context, fields, seed)
        await asyncio.wrap_future(self._opened().ready)
        return await asyncio.wrap_future(self._begin(asked))

    def close(self) -> None:
        """End what is under way, and let go of everything. Waits for it for a moment."""
        with self._lock:
            service, self._closed = self._service, True
        if service is not None:
            service.stop()
            service.thread.join(2 * _PARTING)

    async def aclose(self) -> None:
        """Close as `close` does, without holding up the caller's event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> "LivePolicy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "LivePolicy":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _asked(self, query: str, context: str | None, fields: Mapping[str, str] | None, seed: int) -> Question:
        """The question that arguments stand for."""
        if not isinstance(query, str) or not query.strip():
            raise ValueError(f"the query is {query!r}; expected text")
        return question(self.policy, self._run, query, files.named(self.policy, context), fields or {}, seed)

    def _opened(self) -> "_Service":
        """The service, begun if there is none, or none of this process."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            if self._service is None or not self._service.usable:
                self._service = _Service(self._run, self._journal)
                weakref.finalize(self, self._service.stop)
            return self._service

    def _begin(self, asked: Question) -> "Future[LiveAnswer]":
        """Begin to answer."""
        service = self._opened()
        live = service.ready.result()
        with self._lock:  # else the loop might end with this at its door
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            return asyncio.run_coroutine_threadsafe(service.answer(live, asked), live.loop.get_loop())


class _Service:
    """The thread of a policy, with its event loop and its session.

    Attributes:
        ready: the session once it is open, or what was wrong.
    """

    def __init__(self, run: Asking, journal: Path | None):
        self._run, self._journal, self._process = run, journal, os.getpid()
        self._over, self._numbers = asyncio.Event(), itertools.count()
        self._turns: weakref.WeakValueDictionary[bytes, asyncio.Lock] = weakref.WeakValueDictionary()
        self._pulls: set[asyncio.Task[LiveAnswer]] = set()
        self.ready: Future[Session] = Future()
        self.ready.set_running_or_notify_cancel()  # who stops waiting for it does not cancel it
        self.thread = threading.Thread(target=self._work, name="iapo policy", daemon=True)
        self.thread.start()

    @property
    def usable(self) -> bool:
        """Whether it is this process's, and nothing was wrong."""
        return self._process == os.getpid() and not (self.ready.done() and self.ready.exception())

    @property
    def spent(self) -> Amount:
        """Charged so far."""
        open_ = self.ready.done() and not self.ready.exception()
        return self.ready.result().ledger.spent if open_ else Amount()

    def stop(self) -> None:
        """Let everything end, from any thread; waits for nothing."""
        self.ready.add_done_callback(self._halt)

    def _halt(self, ready: "Future[Session]") -> None:
        if ready.exception() is None:
            with suppress(RuntimeError):  # it has ended
                ready.result().loop.get_loop().call_soon_threadsafe(self._over.set)

    def _work(self) -> None:
        run = self._run
        journal = ":memory:" if self._journal is None else str(self._journal)
        try:
            connect = sessions.connector(run, Secrets(run.dot_env))
            with sessions.session(run, connect, journal, run.caps is not None) as live:
                live.loop.run(self._serve(live))
        except BaseException as error:
            if self.ready.done():
                raise
            self.ready.set_exception(error)

    async def _serve(self, live: Session) -> None:
        self.ready.set_result(live)
        await self._over.wait()
        for task in self._pulls:
            task.cancel()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=_PARTING)

    async def answer(self, live: Session, asked: Question) -> LiveAnswer:
        """Answer; where the caller stops waiting, no request is begun any more.

        Raises:
            Stopped: it cannot be answered.
        """
        live.sampler.ending.why = None  # a judgement that failed was one query's own
        own = live.sampler.apart()
        task = asyncio.create_task(self._pull(live, own, asked))
        self._pulls.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            own.stop("nobody waits for the answer any more")
            raise
        if task.cancelled():
            raise Stopped("the policy was closed before the answer came")
        return task.result()

    def _ended(self, task: "asyncio.Task[LiveAnswer]") -> None:
        self._pulls.discard(task)
        if not task.cancelled():
            task.exception()  # which nobody may be there to look at

    async def _pull(self, live: Session, sampler: EndpointSamplers, asked: Question) -> LiveAnswer:
        if self._journal is not None:  # draws have the numbers of their seeds: the same ones are asked for once
            want = want_of(self._run, asked, first=asked.seed)
            async with self._turns.setdefault(want.cell.digest, asyncio.Lock()):
                return await answered(live, sampler, asked, want)
        want = want_of(self._run, asked, f"{STREAM} {next(self._numbers)}")
        found: LiveAnswer | None = None
        try:
            found = await answered(live, sampler, asked, want)
            return found
        finally:
            draws = [] if found is None else (await live.journal.draws(want.cell, want.first, want.count)).values()
            texts = [draw.text for draw in draws if not blank(draw)]
            await live.journal.forget([want.cell, *self._judged(asked, texts)])

    def _judged(self, asked: Question, texts: Sequence[str]) -> Iterator[Asked]:
        """Cells of the judgements and rewards of completions."""
        for one in self._run.objectives:
            if isinstance(one.scorer, RewardModel):
                yield one.scorer.cell(asked.item, texts)
            for text in texts if one.scorer.requests.models else ():
                yield from (want.cell for want in one.scorer.wants(asked.item, text))


def _trusted(given: bool | str | Collection[str]) -> Trust:
    """Trust as `LivePolicy.load` takes it."""
    if given is True:
        return trust.all_modules
    return trust.asking({given} if isinstance(given, str) else given or ())


def _caps(policy: PolicyFile, given: Mapping[str, float | int] | None) -> Caps | None:
    """Caps from a table as in a run file; completions have none where it names none."""
    if given is None:
        return None
    table = TomlTable(policy.file, "caps", dict(given))
    made = table.fill(CapsTable)
    if made.money is not None and not any(any(pair) for own in policy.prices.values() for pair in own.values()):
        raise table.wrong("money", "is set, but the policy's prices are 0, so that nothing would count against the cap")
    return Caps(sys.maxsize if made.completions is None else made.completions, made.tokens, made.money)
