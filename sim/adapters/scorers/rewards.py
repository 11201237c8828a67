"""Reward models over HTTP: vLLM's /classify and OpenRLHF's /get_reward.

A reward must be the model's raw number. vLLM answers /classify with a sigmoid under the name `probs` unless told
otherwise, and servers that do not know `use_activation` ignore it: at the start two texts are scored both ways, and a
server whose "raw" answers are activated is refused.

Every text that is scored counts as a completion: it is reserved under the caps and written to the journal before it is
sent, with its tokens, and its number is kept there. The two texts at the start are not counted.
"""

import asyncio
import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Annotated, Any, TypeVar

from sim.adapters.paid.entries import AMBIGUOUS, SETTLED, VOID, Asked, Draw
from sim.adapters.paid.ledger import Amount
from sim.adapters.paid.sampler import MESSAGE_TOKENS
from sim.adapters.run_file.kinds import FLAG, TEXT, VARIABLE, finite, number, whole
from sim.adapters.run_file.settings import PRICE
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.run_file.urls import ADDRESS
from sim.adapters.scorers.threads import apart
from sim.adapters.scoring import OK, Item, Requests, Scored, Scorer
from sim.adapters.wire.openai_client import retry_after
from sim.adapters.wire.protocol import Ambiguous, CallError, Excessive, Fatal, Transient, Usage, failure
from sim.adapters.wire.redact import Redactor, Secrets
from sim.adapters.wire.retry import Rule, persist, real_clock
from sim.envs.replies import is_count

R = TypeVar("R", bound="RewardModel")


class _Direct(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would send the key to whatever host it names."""

    def redirect_request(self, *args: Any) -> None:
        """None."""


_OPENER = urllib.request.build_opener(_Direct)
REWARDED = "reward"
"""Stream of rewards in a journal."""
Read = Callable[[Any], list[float]]
"""The numbers in a server's answer; a ValueError where it holds none."""
_MOST = 2**24
"""Bytes of an answer, at most."""
_AT_ONCE = 16
"""Requests under way at most."""
_SAME = 0.01
"""Numbers this close are the same: two calls of a server may differ in their last bits, of which bfloat16 has eight."""
_PROBE = ("What is two and two?", ("Two and two is four.", "I do not want to say."))


@dataclass(frozen=True)
class RewardModel(Scorer):
    """A reward model behind HTTP: the part that both protocols share.

    Attributes:
        url: the whole address of the method.
        template: the text that is scored, with {query} and {completion} slots: the model's own chat template.
        key_variable: environment variable with the key; empty for none.
        timeout: seconds for one request, from its start to the last byte of the answer.
        price: money per million tokens, in units per token.
    """

    url: Annotated[str, ADDRESS]
    template: Annotated[str, TEXT]
    key_variable: Annotated[str, VARIABLE] = ""
    timeout: Annotated[float, number(0, 3600, above=True)] = 120.0
    price: Annotated[int, PRICE] = field(default=0, repr=False, kw_only=True)
    _sampler: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _asked: dict[bytes, asyncio.Task[list[float]]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _limit: list[asyncio.Semaphore] = field(default_factory=list, init=False, repr=False, compare=False)
    _secrets: list[Secrets] = field(default_factory=list, init=False, repr=False, compare=False)
    votes = False
    needs_gold = False
    kept = True

    @classmethod
    def read(cls: type[R], table: TomlTable) -> R:
        """From a table of the configuration."""
        made = table.options(cls)
        if made.template.count("{query}") != 1 or made.template.count("{completion}") != 1:
            held = "must hold {query} and {completion}, once each: the model's own chat template"
            raise table.wrong("template", held)
        if made.template.index("{query}") > made.template.index("{completion}"):
            raise table.wrong("template", "must hold {query} before {completion}")
        return made

    @property
    def requests(self) -> Requests:
        """Those to the server of the reward model."""
        return Requests(servers=((self.url, self.key_variable),), texts=1)

    def texts(self, query: str, completions: Sequence[str]) -> list[str]:
        """Texts that are scored. Slots are filled at once: braces inside a query or a completion mean nothing."""
        before, _, rest = self.template.partition("{query}")
        between, _, after = rest.partition("{completion}")
        return [before + query + between + text + after for text in completions]

    def attach(self, sampler: Any) -> None:
        """Keys are looked for where the run has its own; caps and journal are the run's."""
        self._secrets[:], self._sampler[:] = [sampler.secrets], [sampler]

    def _known(self) -> Secrets:
        return self._secrets[0] if self._secrets else Secrets()

    def _key(self) -> str:
        return self._known().key(self.key_variable, "key_variable")

    async def start(self) -> Sequence[float]:
        """Look for the key."""
        self._key()
        return ()

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """One reward per completion, by one request; none where the journal has them."""
        cell = self.cell(item, texts)
        kept = await self._sampler[0].journal.draws(cell, 0, len(texts)) if self._sampler else {}
        if len(kept) == len(texts):
            return [Scored(OK, None, float(kept[place].text)) for place in range(len(texts))]
        task = self._asked.get(cell.digest)
        if task is None:  # equal completions of a query share a request, also while it is under way
            task = asyncio.create_task(self.rewards(item, texts, cell))
            self._asked[cell.digest] = task
            task.add_done_callback(lambda _: self._asked.pop(cell.digest, None))
        return [Scored(OK, None, value) for value in await asyncio.shield(task)]

    def cell(self, item: Item, completions: Sequence[str]) -> Asked:
        """The cell of the rewards of completions to a query in a journal: draw k is the reward of the k-th."""
        told = json.dumps(self.options(item), sort_keys=True)
        texts = tuple(("text", text) for text in self.texts(item.text, completions))
        return Asked(REWARDED, self.url, getattr(self, "model", ""), told, texts, "(reward)", item.text)

    def options(self, item: Item) -> dict[str, Any]:
        """Options that decide the rewards of a query's completions besides the texts."""
        return {}

    def worst(self, texts: Sequence[str]) -> Amount:
        """The most that scoring texts can cost: a token for every byte."""
        tokens = sum(len(text.encode("utf-8", "replace")) + MESSAGE_TOKENS for text in texts)
        return Amount(len(texts), tokens, tokens * self.price)

    async def rewards(self, item: Item, completions: Sequence[str], cell: Asked | None = None) -> list[float]:
        """The model's numbers, paid for and kept under a cell of the journal; None keeps no account."""
        raise NotImplementedError

    async def post(self, body: dict[str, Any], read: Read, cell: Asked | None) -> list[float]:
        """The numbers in the answer to a JSON body, with retries.

        Raises:
            Stopped: a cap does not allow it.
            ValueError: there is no answer, or none with such numbers.
        """
        clock, sampler = real_clock(asyncio.get_running_loop(), 0), next(iter(self._sampler), None)
        stopping = lambda: sampler is not None and sampler.stopping is not None  # noqa: E731
        try:
            return await persist(lambda: self._attempt(body, read, cell), Rule(5 * self.timeout), clock, stopping)
        except (CallError, ValueError) as error:
            if sampler is not None and (stopping() or (sampler.ledger.met or "none is met") in str(error)):
                raise
            raise ValueError(f"reward model at {self.url}: {error}") from None

    async def _attempt(self, body: dict[str, Any], read: Read, cell: Asked | None) -> list[float]:
        if not self._limit:
            self._limit.append(asyncio.Semaphore(_AT_ONCE))
        async with self._limit[0]:
            if cell is None or not self._sampler:
                return read(await self._sent(body))
            return await self._bought(body, read, cell)

    async def _sent(self, body: dict[str, Any]) -> Any:
        try:
            return await apart(lambda: self._once(body), self.timeout)
        except TimeoutError:
            raise Ambiguous(f"no whole answer within {self.timeout:g} s") from None

    async def _bought(self, body: dict[str, Any], read: Read, cell: Asked) -> list[float]:
        """One request from reservation to settlement."""
        journal, ledger = self._sampler[0].journal, self._sampler[0].ledger
        worst = self.worst([text for _, text in cell.messages])
        await ledger.reserve(worst)
        attempt = await journal.begin(cell, 0, len(cell.messages), None, worst)
        state, charged, usage, values = AMBIGUOUS, worst, None, list[float]()
        problem: Exception | None = None
        try:
            answer = await self._sent(body)
            charged, usage = self._bill(answer, worst)
            values, state = read(answer), SETTLED
            if charged.tokens > worst.tokens:
                told = f"{charged.tokens:,} tokens for texts of at most {worst.tokens:,}"
                problem = ValueError(f"the server reports {told}; caps cannot be kept with it")
        except (CallError, ValueError) as error:
            problem = error
            if isinstance(error, Transient) or (isinstance(error, Fatal) and not isinstance(error, Excessive)):
                state, charged = VOID, Amount()
        note = "" if problem is None else str(problem)
        await journal.end(attempt, state, charged, [Draw(repr(value), "stop") for value in values], usage, note)
        await ledger.settle(worst, charged)
        if problem is not None:
            raise problem
        return values

    def _bill(self, answer: Any, worst: Amount) -> tuple[Amount, Usage | None]:
        """The charge of an answer, by its own count of tokens; else at its worst."""
        told = answer.get("usage") if isinstance(answer, dict) else None
        tokens = told.get("prompt_tokens") if isinstance(told, dict) else None
        if not is_count(tokens) or tokens < 1:
            return worst, None
        return Amount(worst.completions, tokens, tokens * self.price), Usage(tokens, 0)

    async def close(self) -> None:
        """Forget this event loop."""
        self._limit.clear()

    def _once(self, body: dict[str, Any]) -> Any:
        headers, key = {"Content-Type": "application/json"}, self._key()
        redactor = Redactor(key, *self._known().values)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        problem: Exception
        try:
            with _OPENER.open(request, timeout=self.timeout) as response:
                return json.loads(redactor.clean(_read(response)))
        except urllib.error.HTTPError as error:
            content = redactor.clean(error.read(_MOST))
            error.close()
            where = redactor.text(str(error.headers.get("location") or ""))
            problem = failure(error.code, _json(content), retry_after(error.headers), content, where)
        except urllib.error.URLError as error:
            problem = Transient(f"no connection ({redactor.text(str(error.reason))})")
        except Fatal as error:
            problem = error
        except (ValueError, RecursionError):
            problem = Ambiguous("the answer is no JSON")
        except (OSError, HTTPException) as error:
            problem = Ambiguous(f"the connection broke ({redactor.text(str(error))})")
        raise problem

    def numbers(self, values: Any, count: int) -> list[float]:
        """Finite numbers, as many as were asked for."""
        fits = isinstance(values, list) and len(values) == count
        if not fits or not all(map(finite, values)):
            raise ValueError(f"answered {repr(values)[:120]} where {count} numbers were due")
        return [float(value) for value in values]


def _read(response: Any) -> bytes:
    """A whole answer.

    Raises:
        Fatal: it is larger than any answer may be.
    """
    content = response.read(_MOST + 1)
    if len(content) > _MOST:
        raise Fatal(f"an answer has more than {_MOST:,} bytes")
    return content


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Classify(RewardModel):
    """vLLM's POST /classify.

    Attributes:
        model: its name on the server.
        head: which of the model's outputs is the reward.
        raw: whether the raw number is wanted; False takes what the server's activation makes of it.
    """

    model: Annotated[str, TEXT] = ""
    head: Annotated[int, whole(0)] = 0
    raw: Annotated[bool, FLAG] = True

    @classmethod
    def read(cls, table: TomlTable) -> "Classify":
        """From a table of the configuration, which must name the model."""
        table.value("model", TEXT)
        return super().read(table)

    async def start(self) -> Sequence[float]:
        """Score two texts both ways; refuse a server that activates what it should not."""
        await super().start()
        if not self.raw:
            return ()
        query, texts = _PROBE
        raw, activated = [await self._outputs(query, texts, activation, None) for activation in (False, True)]
        close = [math.isclose(a, b, rel_tol=_SAME, abs_tol=_SAME) for a, b in zip(raw, activated, strict=True)]
        if all(close):
            raise ValueError(
                f"reward model at {self.url}: ignores use_activation, so that its numbers may be activated ones; start "
                "it with an identity activation and say raw = false, or use a newer server"
            )
        return raw

    def options(self, item: Item) -> dict[str, Any]:
        """Number of the output, raw or not."""
        return {"head": self.head, "raw": self.raw}

    async def rewards(self, item: Item, completions: Sequence[str], cell: Asked | None = None) -> list[float]:
        """One output of every completion."""
        return await self._outputs(item.text, completions, not self.raw, cell)

    async def _outputs(
        self, query: str, completions: Sequence[str], activation: bool, cell: Asked | None
    ) -> list[float]:
        body = {"model": self.model, "input": self.texts(query, completions), "use_activation": activation}

        def read(answer: Any) -> list[float]:
            rows = answer.get("data") if isinstance(answer, dict) else None
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ValueError(f"answered {repr(answer)[:120]}, without data")
            rows = sorted(rows, key=lambda row: row.get("index", 0))
            outputs = [row.get("probs") for row in rows]
            if not all(isinstance(one, list) and len(one) > self.head for one in outputs):
                raise ValueError(f"has no output number {self.head} (head)")
            return self.numbers([one[self.head] for one in outputs if isinstance(one, list)], len(completions))

        return await self.post(body, read, cell)


@dataclass(frozen=True)
class GetReward(RewardModel):
    """OpenRLHF's POST /get_reward."""

    def options(self, item: Item) -> dict[str, Any]:
        """The label."""
        return {"label": item.reference_text or item.gold or ""}

    async def rewards(self, item: Item, completions: Sequence[str], cell: Asked | None = None) -> list[float]:
        """The rewards of one request; labels are the query's reference, else its right answer."""
        size, label = len(completions), self.options(item)["label"]
        body = {"query": self.texts(item.text, completions), "prompts": [item.text] * size, "labels": [label] * size}
        read = lambda answer: self.numbers(answer.get("rewards") if isinstance(answer, dict) else answer, size)  # noqa: E731
        return await self.post(body, read, cell)
