"""Rounds as batches: written down, uploaded, created, waited for, downloaded, each step so that a crash loses nothing.

The worst case of a whole round is reserved, and its requests are in the journal with that charge, before anything is
sent. A batch that a process left behind is adopted by the next one: found by its name, or, where the process ended
between asking for it and writing its name down, by its metadata or its input file among the server's batches. Only then
is what is still missing sent anew.

Offline, the requests are written to a file for a program such as `vllm run-batch`, and the run stops; started again, it
reads what the program wrote.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TypeVar

from sim.adapters.paid.entries import CREATING, DONE, RUNNING, Attempt, Batch
from sim.adapters.paid.ledger import Amount
from sim.adapters.paid.sampler import Sampler, Want, request_of
from sim.adapters.run_file.settings import BatchOptions
from sim.adapters.wire.batch_api import OVER, BatchClient, BatchState, input_line, read_lines, result_of
from sim.adapters.wire.protocol import Ambiguous, CallError, Fatal, Transient
from sim.adapters.wire.retry import Stopped, persist
from sim.writing import write_whole

T = TypeVar("T")
MOST_ROUNDS = 8
"""Batches one after another that may be sent for one round, before giving up on requests that keep failing."""
LATE = 10
"""Further looks at a completed batch that does not name its output yet."""
DOWNLOADS = 5
"""Downloads of a batch's files, while they lack requests: what broke on the way would be paid for again."""
PATIENCE = 86400.0
"""Seconds from when the server is first seen to lack a batch or its output, after which that counts as lost."""
LINE_OVERHEAD = 160
"""Bytes of an input line besides its body, at most."""


class Waiting(Stopped):
    """Nothing is wrong: requests wait for a program that the user runs."""


@dataclass(frozen=True)
class _Part:
    """A request to be sent, with its worst case and the bytes of its line."""

    want: Want
    first: int
    n: int
    worst: Amount
    size: int


class Batches:
    """Fetch all draws by batches: `Sampler.fetch` in batch mode."""

    def __init__(
        self,
        sampler: Sampler,
        client: BatchClient,
        options: BatchOptions,
        folder: Path,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.sampler, self.client, self.options, self.folder, self.say = sampler, client, options, folder, say
        self._adopted = False
        journal = sampler.journal
        self._own = journal.note("name") or journal.note("name", secrets.token_hex(6))

    async def fetch(self, wants: Sequence[Want]) -> None:
        """Bring all draws of these wants into the journal.

        Raises:
            Stopped: the run cannot go on, or, offline, the requests wait for a program.
        """
        if not self._adopted:
            await self._adopt()
            self._adopted = True
        for _ in range(MOST_ROUNDS):
            parts = [part for want in wants for part in await self._parts(want)]
            if not parts:
                return
            await self._finish_all(await self._prepare(parts))
        if any([await self.sampler.missing(want) for want in wants]):
            raise Stopped(
                self.sampler.stop(f"{MOST_ROUNDS} batches in a row left requests without a reply; see the journal")
            )

    async def _adopt(self) -> None:
        """Finish what earlier processes began."""
        left = self.sampler.journal.unfinished(self.sampler.endpoint.base_url)
        for batch in left:
            for _, worst in self.sampler.journal.batch_attempts(batch):
                self.sampler.ledger.resume(worst)
            self.say(f"batch {batch.id}: taken up again ({batch.remote or batch.state})")
        await self._finish_all(left)

    async def _parts(self, want: Want) -> list[_Part]:
        found = []
        for first, n in await self.sampler.missing(want):
            attempt = Attempt(0, want.cell, first, n, self.sampler.seed(want, first))
            size = LINE_OVERHEAD + len(input_line("", request_of(attempt, self.sampler.endpoint)))
            if size > self.options.max_bytes:
                raise ValueError(
                    f"endpoint.batch.max_bytes is {self.options.max_bytes:,}; the request for prompt "
                    f"{want.prompt.name!r}, query {want.cell.query[:60]!r} alone takes {size:,}"
                )
            found.append(_Part(want, first, n, self.sampler.worst(want.prompt, want.cell, n), size))
        return found

    async def _prepare(self, parts: Sequence[_Part]) -> list[Batch]:
        """Reserve the worst case of all parts and write them down, cut into batches of one model each."""
        total = Amount()
        for part in parts:
            total = total.plus(part.worst)
        await self.sampler.ledger.reserve(total, "batch")
        batches = []
        for group in _groups(parts, self.options):
            rows = [
                (part.want.cell, part.first, part.n, self.sampler.seed(part.want, part.first), part.worst)
                for part in group
            ]
            batches.append(await self.sampler.journal.begin_batch(self.sampler.endpoint.base_url, rows))
        return batches

    async def _finish_all(self, batches: Sequence[Batch]) -> None:
        """See batches to their end, side by side. When one fails the others are left to the next process."""
        finish = self._finish_offline if self.options.offline else self._finish

        async def one(batch: Batch) -> None:
            try:
                await finish(batch)
            except ValueError as error:
                self.sampler.stop(str(error))
                raise

        found = await asyncio.gather(*map(one, batches), return_exceptions=True)
        failed = [error for error in found if isinstance(error, BaseException)]
        for error in failed:
            if not isinstance(error, Stopped):
                raise error
        waiting = [str(error) for error in failed if isinstance(error, Waiting)]
        if len(waiting) == len(failed) > 0:
            raise Waiting(" ".join(waiting))
        if failed:
            raise Stopped(self.sampler.stopping)

    async def _finish(self, batch: Batch) -> None:
        attempts = self.sampler.journal.batch_attempts(batch)
        if batch.remote is None:
            try:
                batch = await self._create(batch, attempts)
            except Fatal as error:  # it was never created
                await self._close(batch, attempts, Transient(str(error)))
                raise Stopped(str(error)) from None
        try:
            state = await self._wait(batch, len(attempts))
            contents = await self._download(state, attempts)
        except Fatal as error:
            if not str(error).startswith("HTTP 404") or self._may_come(batch):
                raise Stopped(f"{error}; batch {batch.remote} goes on, and the same command takes it up") from None
            await self._close(batch, attempts, Ambiguous(str(error)))
            raise Stopped(
                f"the server no longer has batch {batch.remote} or its files ({error}); its requests count as billed, "
                "and the same command asks for them anew"
            ) from None
        await self._settle(batch, attempts, contents, state.status)
        if state.status in ("failed", "cancelled"):
            why = f"failed ({state.problem})" if state.status == "failed" else "was cancelled"
            raise Stopped(f"batch {state.id} {why}; what it holds is kept, and the same command asks for the rest")

    async def _create(self, batch: Batch, attempts: Sequence[tuple[Attempt, Amount]]) -> Batch:
        """Upload and create, or find what an earlier attempt created."""
        journal, name = self.sampler.journal, f"{self._name(batch)}.jsonl"
        if batch.file is None:
            content = self._content(batch, attempts)
            file = await self._call(lambda: self.client.upload(name, content, self._timeout))
            batch = await journal.mark_batch(batch._replace(file=file))
        file, metadata = str(batch.file), {"iapo": self._name(batch)}
        unsure = batch.state == CREATING
        batch = await journal.mark_batch(batch._replace(state=CREATING))

        async def attempt() -> BatchState:
            nonlocal unsure
            if unsure:
                found = await self.client.find(file, metadata, self._timeout)
                if found is None:  # a list may lag behind
                    await self.sampler.clock.sleep(self.options.poll)
                    found = await self.client.find(file, metadata, self._timeout)
                if found is not None:
                    return found
            unsure = True
            try:
                return await self.client.create(file, self.options.window, metadata, self._timeout)
            except (Transient, Fatal):
                unsure = False
                raise

        try:
            state = await self._call(attempt)
        except Fatal as error:
            if unsure:
                raise Stopped(
                    f"{error}; whether batch {batch.id} exists is not known, the same command looks"
                ) from None
            raise
        self.say(f"batch {batch.id}: {len(attempts):,} requests are under way as {state.id}")
        return await journal.mark_batch(batch._replace(state=RUNNING, remote=state.id))

    async def _wait(self, batch: Batch, size: int) -> BatchState:
        """The batch when it is over and names its files."""
        late, told = 0, ""
        while True:
            state = await self._call(lambda: self.client.state(str(batch.remote), self._timeout))
            if state.status != told:
                told = state.status
                self.say(f"batch {batch.id}: {told}")
            named = state.output is not None or (state.errors is not None and state.failed == size)
            if state.status in OVER and (named or state.status != "completed"):
                return state
            if late >= LATE:
                if not self._may_come(batch):
                    return state
                raise Stopped(f"batch {state.id} is completed and does not name its output yet; the same command looks")
            late += state.status in OVER
            await self.sampler.clock.sleep(self.options.poll)

    async def _download(self, state: BatchState, attempts: Sequence[tuple[Attempt, Amount]]) -> list[bytes]:
        """All that the files of a batch hold; downloaded again where requests lack lines, for some break on the way."""
        files = [file for file in (state.output, state.errors) if file is not None]
        contents: list[bytes] = []
        for number in range(DOWNLOADS if files else 0):
            if number:
                await self.sampler.clock.sleep(self.options.poll)
            for file in files:
                content = await self._call(lambda file=file: self.client.content(file, self._timeout))
                contents += [content] if content not in contents else []
            if all(read_lines(contents, [self._custom_id(attempt) for attempt, _ in attempts]).known.values()):
                break
        return contents

    def _may_come(self, batch: Batch) -> bool:
        """Whether to wait for what the server lacks of a batch: it may be slow to show what it has."""
        journal, key = self.sampler.journal, f"lacking since: {batch.id}"
        return time() - float(journal.note(key) or journal.note(key, str(time())) or 0) < PATIENCE

    async def _finish_offline(self, batch: Batch) -> None:
        """Read what a program wrote, or write what it shall read and stop."""
        attempts = self.sampler.journal.batch_attempts(batch)
        source, target = (self.folder / f"{self._name(batch)}{end}.jsonl" for end in ("", "-output"))
        if not target.is_file():
            content = self._content(batch, attempts)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(source, lambda file: file.write(content))
            model = attempts[0][0].cell.model
            raise Waiting(
                f"{len(attempts):,} requests wait in {source}; run them, as by: vllm run-batch -i {source} -o {target} "
                f"--model {model} ; then give the same command again."
            )
        content = target.read_bytes()
        lines = read_lines([content], [self._custom_id(attempt) for attempt, _ in attempts])
        missing = sum(not found for found in lines.known.values())
        if missing:
            raise Stopped(
                f"{target} lacks {missing:,} of {len(attempts):,} requests of {source}; let the program end, or delete "
                "it and run it again"
            )
        await self._settle(batch, attempts, [content], "completed")

    async def _settle(
        self, batch: Batch, attempts: Sequence[tuple[Attempt, Amount]], contents: Sequence[bytes], status: str
    ) -> None:
        """Write every reply and failure down.

        Raises:
            Stopped: no repetition of some request helps.
        """
        lines = read_lines(contents, [self._custom_id(attempt) for attempt, _ in attempts])
        results = [(*one, result_of(lines.known[self._custom_id(one[0])], status)) for one in attempts]
        booked = await asyncio.gather(*(self.sampler.book(*one) for one in results))
        problems = [problem for _, problem in booked if problem is not None]
        note = f"{status}; {len(attempts) - len(problems)} of {len(attempts)} requests have a reply"
        if lines.strange:
            note += f"; {lines.strange} lines are none of ours"
        await self.sampler.journal.mark_batch(batch._replace(state=DONE), note)
        self.say(f"batch {batch.id}: {note}")
        for problem in problems:
            if isinstance(problem, Fatal):
                raise Stopped(str(problem))

    async def _close(self, batch: Batch, attempts: Sequence[tuple[Attempt, Amount]], result: CallError) -> None:
        """End a batch without replies, all its requests in the same way."""
        await asyncio.gather(*(self.sampler.book(*one, result) for one in attempts))
        await self.sampler.journal.mark_batch(batch._replace(state=DONE), str(result))

    async def _call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await persist(attempt, self.sampler.rule, self.sampler.clock, lambda: self.sampler.stopping is not None)

    @property
    def _timeout(self) -> float:
        return self.sampler.endpoint.timeout

    def _content(self, batch: Batch, attempts: Sequence[tuple[Attempt, Amount]]) -> bytes:
        endpoint = self.sampler.endpoint
        return b"".join(input_line(self._custom_id(one), request_of(one, endpoint)) for one, _ in attempts)

    def _name(self, batch: Batch) -> str:
        return f"iapo-{self._own}-{batch.id}"

    def _custom_id(self, attempt: Attempt) -> str:
        return f"iapo-{self._own}-request-{attempt.id}"


def _groups(parts: Sequence[_Part], options: BatchOptions) -> list[list[_Part]]:
    """Parts by model, in order, cut where a batch would be too large."""
    models: dict[str, list[list[_Part]]] = {}
    sizes: dict[str, int] = {}
    for part in parts:
        model = part.want.prompt.model
        own = models.setdefault(model, [])
        if not own or len(own[-1]) >= options.max_requests or sizes[model] + part.size > options.max_bytes:
            own.append([])
            sizes[model] = 0
        own[-1].append(part)
        sizes[model] += part.size
    return [group for own in models.values() for group in own]
