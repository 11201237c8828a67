"""An OpenAI-compatible HTTP server around a tiny model: /v1/chat/completions and /v1/models.

n is honoured; choice i of a request with seed s is drawn with seed s + i, as vLLM does; usage is what was computed.
Requests that are under way together share batches. What is not supported is refused, never ignored.
"""

import json
import secrets
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from sim.adapters.tiny.generate import CONTEXT, MAX_PROMPT, PROMPTS, ROWS, Draft, Generated, complete
from sim.adapters.tiny.model import Params
from sim.adapters.tiny.tasks import SUMS, TinyTask
from sim.adapters.tiny.tokenizer import Vocabulary

MAX_CHOICES, MAX_BODY = 1024, 2**20
"""Most choices of a request; most bytes of its body."""
FIELDS = {"model", "messages", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stream"}


class Refusal(Exception):
    """A request that is answered with an error: HTTP status, what is wrong, code."""

    def __init__(self, status: int, message: str, code: str = "invalid_request_error"):
        super().__init__(message)
        self.status, self.code = status, code


class Queued(NamedTuple):
    """A completion that somebody waits for."""

    row: Draft
    found: "Future[Generated]"


class Engine:
    """Makes completions in batches, on a thread of its own."""

    def __init__(self, params: Params, task: TinyTask = SUMS):
        self.params, self.task = params, task
        self.waiting: deque[Queued] = deque()
        self.changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, rows: list[Draft]) -> list[Generated]:
        """Completions of rows, in order; waits for them."""
        asked = [Queued(row, Future()) for row in rows]
        with self.changed:
            self.waiting.extend(asked)
            self.changed.notify()
        return [one.found.result() for one in asked]

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting)
                batch = self._next()
            try:
                made = complete(self.params, [one.row for one in batch], self.task.vocabulary)
                for one, found in zip(batch, made, strict=True):
                    one.found.set_result(found)
            except Exception as error:
                for one in batch:
                    one.found.set_exception(error)

    def _next(self) -> list[Queued]:
        batch: list[Queued] = []
        prompts: set[tuple[int, ...]] = set()
        while self.waiting and len(batch) < ROWS and len(prompts | {self.waiting[0].row.prompt}) <= PROMPTS:
            batch.append(self.waiting.popleft())
            prompts.add(batch[-1].row.prompt)
        return batch


def read(body: Any, task: TinyTask) -> list[Draft]:
    """The completions that a request to the model of a task asks for.

    Raises:
        Refusal: it asks for something wrong or unsupported.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be a JSON object")
    for name in sorted(set(body) - FIELDS):
        raise Refusal(400, f"{name} is not supported")
    if body.get("model") != task.model:
        raise Refusal(404, f"model is {body.get('model')!r}; the only model is {task.model!r}", "model_not_found")
    if body.get("stream"):
        raise Refusal(400, "stream must be false; replies come whole")
    prompt = _prompt(body.get("messages"), task.vocabulary)
    n = _number(body, "n", 1, 1, MAX_CHOICES, int)
    seed = _number(body, "seed", secrets.randbits(62), 0, 2**63, int)
    temperature = _number(body, "temperature", 1.0, 0, 10, float)
    top_p = _number(body, "top_p", 1.0, 1e-6, 1, float)
    longest = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    limit = _number(body, longest, CONTEXT, 1, 2**31, int)
    return [Draft(prompt, seed + choice, temperature, top_p, limit) for choice in range(n)]


def _number(body: dict[str, Any], name: str, default: Any, low: float | int, high: int, kind: type) -> Any:
    value = body.get(name)
    if value is None:
        return default
    kinds = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        whole = "whole " if kind is int else ""
        raise Refusal(400, f"{name} is {value!r}; expected a {whole}number, {low:g} to {high:g}")
    return kind(value)


def _prompt(messages: Any, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Tokens of the messages: at most one of the system, then one of the user."""
    try:
        roles = [message["role"] for message in messages]
        texts = {message["role"]: message["content"] for message in messages}
    except (TypeError, KeyError):
        raise Refusal(400, "messages must be a list of objects with role and content") from None
    if roles not in (["user"], ["system", "user"]) or not all(isinstance(text, str) for text in texts.values()):
        raise Refusal(400, "messages must be texts of the system, if any, and then of the user")
    tokens = tuple(vocabulary.chat(texts.get("system", ""), texts["user"]))
    if len(tokens) > MAX_PROMPT:
        said = f"the prompt has {len(tokens)} tokens; the model reads up to {MAX_PROMPT}"
        raise Refusal(400, said, "context_length_exceeded")
    return tokens


def reply(engine: Engine, body: Any) -> dict[str, Any]:
    """The chat completion that answers a request; raises `Refusal`."""
    rows = read(body, engine.task)
    found = engine.submit(rows)
    choices = [
        {"index": i, "message": {"role": "assistant", "content": one.text}, "finish_reason": one.finish}
        for i, one in enumerate(found)
    ]
    asked, written = len(rows[0].prompt), sum(one.tokens for one in found)
    usage = {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
    return {
        "id": f"chatcmpl-{secrets.token_hex(8)}",
        "object": "chat.completion",
        "created": 0,
        "model": engine.task.model,
        "choices": choices,
        "usage": usage,
    }


class Handler(BaseHTTPRequestHandler):
    """Routes requests; `engine` is set by `serve`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    engine: Engine

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        """The list of models."""
        if self.path != "/v1/models":
            return self._send(404, _error(f"no such path: {self.path}", "not_found"))
        model = {"id": self.engine.task.model, "object": "model", "created": 0, "owned_by": "iapo-testbed"}
        return self._send(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        """A chat completion."""
        try:
            size = int(self.headers.get("Content-Length") or -1)
            if not 0 <= size <= MAX_BODY:
                self.close_connection = True
                raise Refusal(413, f"Content-Length must be given, 0 to {MAX_BODY}")
            content = self.rfile.read(size)
            if self.path != "/v1/chat/completions":
                raise Refusal(404, f"no such path: {self.path}", "not_found")
            try:
                body = json.loads(content)
            except (ValueError, RecursionError):
                raise Refusal(400, "the body is no JSON") from None
            self._send(200, reply(self.engine, body))
        except Refusal as refusal:
            self._send(refusal.status, _error(str(refusal), refusal.code))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


class Server(ThreadingHTTPServer):
    """One thread per connection."""

    daemon_threads = True
    request_queue_size = 128


def serve(params: Params, host: str = "127.0.0.1", port: int = 0, task: TinyTask = SUMS) -> Server:
    """A server that listens; `serve_forever` answers. Port 0 takes any free port."""
    handler = type("TinyHandler", (Handler,), {"engine": Engine(params, task)})
    return Server((host, port), handler)


def url(server: Server) -> str:
    """Address of the server, the `base_url` of clients."""
    host, port = server.server_address[:2]
    return f"http://{host}:{port}/v1"
