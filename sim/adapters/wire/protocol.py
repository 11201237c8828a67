"""One request for completions and its reply, and how failures are told apart.

* `Fatal`: no repetition helps (key, model, quota, malformed request, redirect). The run stops. `Excessive`, of a reply
  that is too large, counts as billed in full.
* `Refused`: this one request's content was refused by a filter; a scored outcome. Some providers bill it: counted as
  billed in full.
* `Transient`: the server did no work (rate limit, overload, no connection). Repeat; nothing was billed.
* `Ambiguous`: the server may have worked and billed (timeout, 408, reset, 5xx, a body that makes no sense). Repeat, but
  count the attempt as billed in full.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sim.adapters.wire import complaints
from sim.envs.replies import billed, broken_off, content_of, is_count

NO_TEXT = "; no text"
"""Words after the end of a completion without a text, which where the server's own words are may follow."""
_FILTER_CODES = ("content_filter", "content_policy_violation", "responsible_ai_policy_violation")
_UNBILLED = (409, 425, 429, 503, 529)


class CallError(Exception):
    """A request without a usable reply; the text says what happened and holds no secret."""


class Fatal(CallError):
    """No repetition helps."""


class Excessive(Fatal):
    """The server's reply broke a limit: no repetition helps, and it counts as billed."""


class Refused(CallError):
    """A filter refused the prompt; counted as billed."""


class Transient(CallError):
    """Nothing was done; worth repeating.

    Attributes:
        retry_after: seconds that the server asked to wait, None if it did not.
        throttled: whether the server said that requests come too fast.
    """

    def __init__(self, text: str, retry_after: float | None = None, throttled: bool = False):
        super().__init__(text)
        self.retry_after, self.throttled = retry_after, throttled


class Ambiguous(CallError):
    """The server may have done the work; worth repeating, and counted as billed."""


class Request(NamedTuple):
    """A request for completions.

    Attributes:
        messages: role and content.
        n: completions wanted.
        seed: None where seeds are not sent.
        extra: further fields of the body.
        seed_field: how the server calls the seed.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    n: int
    max_tokens: int
    max_tokens_field: str = "max_tokens"
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    extra: Mapping[str, Any] = {}
    seed_field: str = "seed"

    def body(self) -> dict[str, Any]:
        """The JSON object of /chat/completions."""
        body: dict[str, Any] = dict(self.extra) | {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in self.messages],
            "n": self.n,
            self.max_tokens_field: self.max_tokens,
        }
        decided = {"temperature": self.temperature, "top_p": self.top_p, self.seed_field: self.seed}
        return body | {name: value for name, value in decided.items() if value is not None}


class Usage(NamedTuple):
    """Tokens that a reply reports, checked; the completions' tokens are those of all choices together."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Completion(NamedTuple):
    """One completion.

    Attributes:
        finish: why it ended: "stop", "length", "content_filter" or the server's own word.
        broken: whether it failed on the server: its text is a part at most, and no completion.
    """

    text: str
    finish: str
    broken: bool = False


class Reply(NamedTuple):
    """A reply with completions.

    Attributes:
        choices: as many as the server returned, which need not be as many as were wanted.
        usage: None where the report makes no sense or is missing.
        numbers: of the choices, ascending; None where the server did not give every choice its own.
    """

    choices: tuple[Completion, ...]
    usage: Usage | None
    numbers: tuple[int, ...] | None = None

    def placed(self, n: int) -> tuple[Completion, ...]:
        """The choices, each at its number where these fit a request for n: one that did not come counts as broken."""
        if self.numbers is None or self.numbers[0] != 0 or self.numbers[-1] >= n:
            return self.choices
        came = dict(zip(self.numbers, self.choices, strict=True))
        return tuple(came.get(number, Completion("", "missing", broken=True)) for number in range(self.numbers[-1] + 1))


@runtime_checkable
class Client(Protocol):
    """Sends one request, once."""

    async def complete(self, request: Request, timeout: float) -> Reply:
        """The reply.

        Raises:
            CallError: there is none; the class says what that means.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class Offline:
    """A `Client` of any endpoint that sends nothing, for what reads journals."""

    def __init__(self, endpoint: object = None):
        pass

    async def complete(self, request: Request, timeout: float) -> Reply:
        """Refuse."""
        raise Fatal("nothing is sent here; the journal lacks a completion")

    async def close(self) -> None:
        """Nothing is open."""


def read_reply(status: int, content: bytes, retry_after: float | None = None, where: str = "") -> Reply:
    """The reply in an HTTP response, or the `CallError` that it amounts to; see `failure`."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if status != 200:
        raise failure(status, body, retry_after, content, where)
    if complaints.is_error(body):
        raise failure(complaints.status_in(body) or 500, body, retry_after, content)
    if not isinstance(body, dict):
        raise Ambiguous(f"the server answered 200 with {_start(content)}, which is no JSON object")
    raw = body.get("choices")
    if not isinstance(raw, list) or not raw:
        raise Ambiguous(f"the server answered 200 without choices: {_start(content)}")
    numbers = tuple(sorted(one["index"] for one in raw if isinstance(one, dict) and type(one.get("index")) is int))
    own = len(set(numbers)) == len(raw)
    if own:
        raw = sorted(raw, key=lambda one: one["index"])  # by which a server seeds them
    choices = tuple(_completion(one) for one in raw)
    return Reply(choices, read_usage(body.get("usage"), choices), numbers if own else None)


def _completion(raw: Any) -> Completion:
    finish = raw.get("finish_reason") if isinstance(raw, dict) else None
    if isinstance(raw, dict) and broken_off(raw):
        return Completion("", finish if isinstance(finish, str) else "error", broken=True)
    message = raw.get("message") if isinstance(raw, dict) else None
    if not isinstance(message, dict):
        raise Ambiguous("the server answered 200 with a choice that holds no message")
    finish = finish if isinstance(finish, str) else "unknown"
    said = content_of(message)
    if not said.text and (refusal := _refusal(message)) is not None:
        return Completion(refusal, "refusal")
    if said.missing is None:
        return Completion(said.text, finish)
    return Completion("", f"{finish}{NO_TEXT}{said.missing and f', but {said.missing}'}")


def _refusal(message: dict[str, Any]) -> str | None:
    """Words of a model that refuses, in a field or a part of its own."""
    content = message.get("content")
    parts = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    found = [one.get("refusal") for one in (message, *parts)]
    return next((one for one in found if isinstance(one, str) and one), None)


def read_usage(raw: Any, choices: tuple[Completion, ...]) -> Usage | None:
    """Billed tokens where they can be true: whole, not negative, at least one for every choice with text."""
    if not isinstance(raw, dict):
        return None
    details = raw.get("prompt_tokens_details")
    cached = (details.get("cached_tokens") if isinstance(details, dict) else None) or 0
    numbers = [*billed(raw), cached]
    if not all(map(is_count, numbers)):
        return None
    usage = Usage._make(numbers)
    if usage.prompt_tokens < 1 or usage.completion_tokens < sum(bool(choice.text) for choice in choices):
        return None
    return usage


def failure(status: int, body: Any, retry_after: float | None, content: bytes = b"", where: str = "") -> CallError:
    """The failure that an HTTP error means, with all that the server says and the setting that may help.

    Args:
        status: of the response.
        body: what its content is as JSON, None for nothing.
        retry_after: seconds that it asks to wait.
        content: of the response.
        where: it redirects to.
    """
    if 300 <= status < 400:
        to = where and f" to {complaints.visible(where, 200)}"
        return Fatal(
            f"HTTP {status}: redirects are not followed; the prompts and the key would go along{to}. Where that is "
            "right, put the new address into the configuration"
        )
    words = complaints.codes(body)
    said = complaints.sentence(body, content)
    advice = complaints.advice(status, said)
    text = f"HTTP {status}: {said}" + (f" ({advice})" if advice else "")
    if any(one in word for one in _FILTER_CODES for word in words) and status in (400, 403):
        return Refused(text)
    if complaints.is_fatal(words, said):
        return Fatal(text)
    if status in _UNBILLED:
        return Transient(text, retry_after, throttled=status in (429, 503, 529))
    if status == 408 or status >= 500:
        return Ambiguous(text)
    return Fatal(text)


def _start(content: bytes) -> str:
    return repr(content[:120].decode("utf-8", "replace")) if content else "an empty body"
