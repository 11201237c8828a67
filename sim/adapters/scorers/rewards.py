"""Reward models over HTTP: vLLM's /classify and OpenRLHF's /get_reward.

A reward must be the model's raw number. vLLM answers /classify with a sigmoid under the name `probs` unless told
otherwise, and servers that do not know `use_activation` ignore it: at the start two texts are scored both ways, and a
server whose "raw" answers are activated is refused.
"""

import asyncio
import json
import math
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Annotated, Any, TypeVar

from sim.adapters.run_file.kinds import FLAG, TEXT, VARIABLE, finite, number, whole
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.run_file.urls import ADDRESS
from sim.adapters.scorers.threads import apart
from sim.adapters.scoring import OK, Item, Requests, Scored, Scorer
from sim.adapters.wire.openai_client import retry_after
from sim.adapters.wire.protocol import Ambiguous, CallError, Fatal, Transient, failure
from sim.adapters.wire.redact import Redactor, Secrets
from sim.adapters.wire.retry import Rule, persist, real_clock

R = TypeVar("R", bound="RewardModel")


class _Direct(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would send the key to whatever host it names."""

    def redirect_request(self, *args: Any) -> None:
        """None."""


_OPENER = urllib.request.build_opener(_Direct)
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
    """

    url: Annotated[str, ADDRESS]
    template: Annotated[str, TEXT]
    key_variable: Annotated[str, VARIABLE] = ""
    timeout: Annotated[float, number(0, 3600, above=True)] = 120.0
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
        return Requests(servers=((self.url, self.key_variable),))

    def texts(self, query: str, completions: Sequence[str]) -> list[str]:
        """Texts that are scored. Slots are filled at once: braces inside a query or a completion mean nothing."""
        before, _, rest = self.template.partition("{query}")
        between, _, after = rest.partition("{completion}")
        return [before + query + between + text + after for text in completions]

    def attach(self, sampler: Any) -> None:
        """Keys are looked for where the run has its own."""
        self._secrets[:] = [sampler.secrets]

    def _known(self) -> Secrets:
        return self._secrets[0] if self._secrets else Secrets()

    def _key(self) -> str:
        return self._known().key(self.key_variable, "key_variable")

    async def start(self) -> Sequence[float]:
        """Look for the key."""
        self._key()
        return ()

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """One reward per completion, by one request."""
        return [Scored(OK, None, value) for value in await self.rewards(item, texts)]

    async def rewards(self, item: Item, completions: Sequence[str]) -> list[float]:
        """The model's numbers."""
        raise NotImplementedError

    async def post(self, body: dict[str, Any]) -> Any:
        """The JSON answer to a JSON body, with retries.

        Raises:
            ValueError: there is none.
        """
        clock = real_clock(asyncio.get_running_loop(), 0)
        try:
            return await persist(lambda: self._attempt(body), Rule(5 * self.timeout), clock, lambda: False)
        except (CallError, ValueError) as error:
            raise ValueError(f"reward model at {self.url}: {error}") from None

    async def _attempt(self, body: dict[str, Any]) -> Any:
        if not self._limit:
            self._limit.append(asyncio.Semaphore(_AT_ONCE))
        try:
            async with self._limit[0]:
                return await apart(lambda: self._once(body), self.timeout)
        except TimeoutError:
            raise Ambiguous(f"no whole answer within {self.timeout:g} s") from None

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
            raise ValueError(
                f"reward model at {self.url}: answered {repr(values)[:120]} where {count} numbers were due"
            )
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
        raw, activated = [await self._outputs(query, texts, activation) for activation in (False, True)]
        close = [math.isclose(a, b, rel_tol=_SAME, abs_tol=_SAME) for a, b in zip(raw, activated, strict=True)]
        if all(close):
            raise ValueError(
                f"reward model at {self.url}: ignores use_activation, so that its numbers may be activated ones; start "
                "it with an identity activation and say raw = false, or use a newer server"
            )
        return raw

    async def rewards(self, item: Item, completions: Sequence[str]) -> list[float]:
        """One output of every completion."""
        return await self._outputs(item.text, completions, not self.raw)

    async def _outputs(self, query: str, completions: Sequence[str], activation: bool) -> list[float]:
        body = {"model": self.model, "input": self.texts(query, completions), "use_activation": activation}
        answer = await self.post(body)
        rows = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"reward model at {self.url}: answered {repr(answer)[:120]}, without data")
        rows = sorted(rows, key=lambda row: row.get("index", 0))
        outputs = [row.get("probs") for row in rows]
        if not all(isinstance(one, list) and len(one) > self.head for one in outputs):
            raise ValueError(f"reward model at {self.url}: has no output number {self.head} (head)")
        return self.numbers([one[self.head] for one in outputs if isinstance(one, list)], len(completions))


@dataclass(frozen=True)
class GetReward(RewardModel):
    """OpenRLHF's POST /get_reward."""

    async def rewards(self, item: Item, completions: Sequence[str]) -> list[float]:
        """The rewards of one request; labels are the query's reference, else its right answer."""
        size, label = len(completions), item.reference_text or item.gold or ""
        body = {"query": self.texts(item.text, completions), "prompts": [item.text] * size, "labels": [label] * size}
        answer = await self.post(body)
        return self.numbers(answer.get("rewards") if isinstance(answer, dict) else answer, size)
