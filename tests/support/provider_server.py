"""Servers that answer as providers' documentation and reports say: what they refuse, reply, limit and complain.

The sources are those of `sim/adapters/run_file/presets.toml`. Where a shape is unknown there, OpenAI's stands here.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

from live_server import KEY, running

Body = dict[str, Any]
SAID = "the server's own words"


class Said(NamedTuple):
    """An HTTP response."""

    status: int
    content: Any
    headers: Mapping[str, str] = MappingProxyType({})


def openai_error(message: str, kind: str = "invalid_request_error", code: Any = None) -> Body:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def takes_all(body: Body) -> Said | None:
    return None


def wants_completion_tokens(body: Body) -> Said | None:
    """As reasoning models of OpenAI."""
    if "max_tokens" not in body:
        return None
    return Said(400, openai_error("Unsupported parameter: 'max_tokens' is not supported with this model."))


def one_of_anthropic(body: Body) -> Said | None:
    return None if body["n"] == 1 else Said(400, {"type": "error", "error": {"message": "n: must be 1"}})


def strict_gemini(body: Body) -> Said | None:
    if "seed" in body:
        text = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
    elif body["n"] > 1:
        text = f"Unable to submit request because candidateCount must be 1 but the entered value was {body['n']}."
    else:
        return None
    return Said(400, [{"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}])


def strict_mistral(body: Body) -> Said | None:
    known = {"model", "messages", "n", "max_tokens", "temperature", "top_p", "random_seed"}
    found = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": body[name]}
        for name in body
        if name not in known
    ]
    return Said(422, {"detail": found}) if found else None


def one_of_llama_cpp(body: Body) -> Said | None:
    text = {"code": 500, "message": "Only one completion choice is allowed", "type": "server_error"}
    return None if body["n"] == 1 else Said(500, {"error": text})


def text_of(text: str) -> Any:
    return text


def parts_of(text: str) -> Any:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    return [thought, {"type": "text", "text": text}]


def usage(n: int) -> Body:
    return {"prompt_tokens": 20, "completion_tokens": 6 * n, "total_tokens": 20 + 6 * n}


def usage_beside(n: int) -> Body:
    """With reasoning beside the completion tokens."""
    return {"prompt_tokens": 20, "completion_tokens": 6 * n, "total_tokens": 20 + 16 * n}


@dataclass
class Provider:
    """A provider.

    Attributes:
        final: an error after which nothing is repeated.
        limit: how it says that requests come too fast; None where it does not.
        refuses: what it says to a request that it does not take.
        many: whether it honours n; else it gives one choice whatever was asked.
        content: the content of a message with this text.
        usage: of a reply of so many choices.
        each: tokens that a choice is billed.
        seed_field: where it looks for a seed.
    """

    final: Said
    limit: Said | None = None
    refuses: Callable[[Body], Said | None] = takes_all
    many: bool = False
    content: Callable[[str], Any] = text_of
    usage: Callable[[int], Body] = usage
    each: int = 6
    seed_field: str = "seed"


PROVIDERS = {
    "openai": Provider(
        final=Said(429, openai_error(SAID, "insufficient_quota", "insufficient_quota")),
        limit=Said(429, openai_error("Rate limit reached", "requests", "rate_limit_exceeded"), {"Retry-After": "1"}),
        refuses=wants_completion_tokens,
        many=True,
    ),
    "azure": Provider(
        final=Said(401, {"error": {"code": "401", "message": SAID}}),
        limit=Said(429, {"error": {"code": "429", "message": "Rate limit is exceeded."}}, {"Retry-After": "7"}),
        refuses=wants_completion_tokens,
        many=True,
    ),
    "openrouter": Provider(
        final=Said(402, {"error": {"code": 402, "message": SAID}}),
        limit=Said(200, {"error": {"code": 429, "message": "Provider is busy", "metadata": {"provider_name": "p"}}}),
    ),
    "anthropic": Provider(
        final=Said(401, {"type": "error", "error": {"type": "authentication_error", "message": SAID}}),
        limit=Said(
            429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Later"}, "request_id": "r"}
        ),
        refuses=one_of_anthropic,
    ),
    "gemini": Provider(
        final=Said(400, [{"error": {"code": 400, "message": SAID, "status": "INVALID_ARGUMENT"}}]),
        limit=Said(429, [{"error": {"code": 429, "message": "Exhausted", "status": "RESOURCE_EXHAUSTED"}}]),
        refuses=strict_gemini,
    ),
    "mistral": Provider(
        final=Said(422, {"detail": [{"type": "value_error", "loc": ["body", "model"], "msg": SAID}]}),
        limit=Said(429, {"object": "error", "message": "Rate limit", "type": "rate", "param": None, "code": "1300"}),
        refuses=strict_mistral,
        many=True,
        content=parts_of,
        seed_field="random_seed",
    ),
    "deepseek": Provider(final=Said(402, openai_error(SAID)), limit=Said(429, openai_error("Rate Limit Reached"))),
    "xai": Provider(
        final=Said(429, {"code": "exhausted", "error": f"{SAID}: your team has either used all available credits .."}),
        limit=Said(429, {"code": "exhausted", "error": "Too many requests for team t and model grok"}),
        many=True,
        usage=usage_beside,
        each=16,
    ),
    "vllm": Provider(final=Said(404, openai_error(SAID, "NotFoundError", 404)), many=True),
    "ollama": Provider(final=Said(404, openai_error(SAID, "not_found_error"))),
    "lmstudio": Provider(final=Said(404, {"error": SAID})),
    "llama.cpp": Provider(
        final=Said(400, {"error": {"code": 400, "message": SAID, "type": "invalid_request_error"}}),
        limit=Said(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        refuses=one_of_llama_cpp,
    ),
}


@dataclass
class Asked:
    """What a server was asked.

    Attributes:
        requests: bodies, in order of arrival.
        keys: of each, from the header; "" for none.
        refused: those that the provider does not take.
    """

    requests: list[Body] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    refused: list[Body] = field(default_factory=list)


@contextmanager
def provider(name: str, first: Said | None = None, always: bool = False) -> Iterator[tuple[str, Asked]]:
    """Serve as a provider does; the first reply, or every one, is `first` where there is one."""
    its, asked, lock = PROVIDERS[name], Asked(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(asked.requests)
                asked.requests.append(body)
                asked.keys.append((self.headers["Authorization"] or "").removeprefix("Bearer "))
            said = its.refuses(body)
            if said is not None:
                asked.refused.append(body)
            elif first is not None and (always or number == 0):
                said = first
            else:
                said = Said(200, reply(its, body))
            self._send(said)

        def _send(self, said: Said) -> None:
            content = json.dumps(said.content).encode()
            self.send_response(said.status)
            for name, value in {**said.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield f"{url}/v1", asked


def reply(its: Provider, body: Body) -> Body:
    """A reply whose texts name the seeds that choices have."""
    n = body["n"] if its.many else 1
    seed = body.get(its.seed_field)
    texts = [f"It is {k if seed is None else seed + k}." for k in range(n)]
    choices = [
        {"index": k, "finish_reason": "stop", "message": {"role": "assistant", "content": its.content(text)}}
        for k, text in enumerate(texts)
    ]
    return {"id": "x", "object": "chat.completion", "model": body["model"], "choices": choices, "usage": its.usage(n)}


__all__ = ["KEY", "PROVIDERS", "SAID", "Asked", "Provider", "Said", "provider"]
