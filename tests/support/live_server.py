"""A language model's server for tests: deterministic answers, faults on demand, and its own record of what it billed.

Personalities: servers differ in what they make of `n`, of seeds and of usage; each is a value of a field.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-sentinel-9f3b+7/Zq=="
"""The key that the server accepts; the tests look for it everywhere. Its signs differ raw and encoded."""


def words(*parts: object) -> int:
    """A number that its parts decide, uniform on 64 bits."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def echo(prompt: str, number: int) -> str:
    """An answer that names what decided it."""
    return f"answer {words(prompt, number) % 10} <{prompt[:40]}|{number}>"


@dataclass
class Model:
    """What the server does.

    Attributes:
        answer: (prompt, number) -> text; two completions with one number are copies.
        choices: "n" as asked, "one" whatever was asked, "half" of what was asked, "more" by one.
        seeds: "sub" choice i has the seed s + i; "reseed" it is the i-th draw after seeding with s; "ignored".
        usage: "true", "none", "negative", "text", "low" or "huge".
        fault: (number of the request, its body) -> name of a fault, or None.
        breaks: (prompt, text, how often it broke before) -> how a choice breaks off after a few words: with
            the finish reason "error", "abort" or "cancelled", or an "object" that says what was wrong; None for not.
        dress: what becomes of a whole reply before it is sent.
        delay: seconds of work per request.
        requests: bodies, in order of arrival.
        completions, tokens: what was billed.
        wasted: completions that were billed and did not reach the client.
    """

    answer: Callable[[str, int], str] = echo
    choices: str = "n"
    seeds: str = "sub"
    usage: str = "true"
    fault: Callable[[int, dict[str, Any]], str | None] = lambda number, body: None
    breaks: Callable[[str, str, int], str | None] = lambda prompt, text, before: None
    broke: Counter[tuple[str, int]] = field(default_factory=Counter)
    dress: Callable[[dict[str, Any]], dict[str, Any]] = lambda reply: reply
    delay: float = 0.0
    key: str = KEY
    requests: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    completions: int = 0
    tokens: int = 0
    wasted: int = 0
    free: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Generate, and bill."""
        asked = body.get("n", 1)
        n = {"n": asked, "one": 1, "half": max(1, asked // 2), "more": asked + 1}[self.choices]
        prompt = "\n".join(message["content"] for message in body["messages"])
        numbers = [self._number(body, i) for i in range(n)]
        texts = [self.answer(prompt, number) for number in numbers]
        longest = body.get("max_tokens") or body["max_completion_tokens"]
        sizes = [min(max(1, len(text) // 4), longest) for text in texts]
        prompt_tokens = max(1, len(prompt.encode("utf-8", "replace")) // 4)
        with self.lock:
            self.completions += n
            self.tokens += prompt_tokens + sum(sizes)
        usage: Any = {"prompt_tokens": prompt_tokens, "completion_tokens": sum(sizes)}
        lies = {
            "none": None,
            "negative": {"prompt_tokens": -3, "completion_tokens": 2},
            "text": {"prompt_tokens": "x", "completion_tokens": None},
            "low": {"prompt_tokens": 1, "completion_tokens": 0},
            "huge": {"prompt_tokens": 1, "completion_tokens": 10**6},
        }
        choices: list[dict[str, Any]] = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ]
        for choice, text, number in zip(choices, texts, numbers, strict=True):
            how = self.breaks(prompt, text, self.broke[prompt, number])
            if how is not None:
                with self.lock:
                    self.broke[prompt, number] += 1
                choice["message"]["content"] = "upstream broke: 0"
                choice |= {"error": {"code": 502, "message": "upstream"}} if how == "object" else {"finish_reason": how}
        return self.dress({"model": body["model"], "choices": choices, "usage": lies.get(self.usage, usage)})

    def _number(self, body: dict[str, Any], choice: int) -> int:
        seed = body.get("seed")
        if self.seeds == "ignored" or seed is None:
            with self.lock:
                self.free += 1
                return words("free", self.free)
        return seed + choice if self.seeds == "sub" else words(seed, choice)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        model = self.model
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with model.lock:
            number = len(model.requests)
            model.requests.append(body)
        if self.headers["Authorization"] != f"Bearer {model.key}":
            said = self.headers["Authorization"]
            return self._send(401, {"error": {"message": f"wrong key {said}", "code": "invalid_api_key"}})
        fault = model.fault(number, body)
        if fault is not None:
            with model.lock:
                model.faults.append(fault)
            return self._fail(fault, body)
        time.sleep(model.delay)
        return self._send(200, model.reply(body))

    def _fail(self, fault: str, body: dict[str, Any]) -> None:
        """Faults whose name begins with "billed" do the work first."""
        model, kind = self.model, fault.removeprefix("billed-")
        if kind != fault or kind == "half":
            whole = model.reply(body)
            with model.lock:
                model.wasted += len(whole["choices"])
        if kind.isdigit():
            self._send(int(kind), {"error": {"message": f"injected {kind}"}}, {"Retry-After": "0"})
        elif kind == "quota":
            self._send(429, {"error": {"message": "no money left", "code": "insufficient_quota"}})
        elif kind == "wait":
            self._send(429, {"error": {"message": "later"}}, {"Retry-After": "600"})
        elif kind == "filter":
            self._send(400, {"error": {"message": "filtered", "code": "content_filter"}})
        elif kind == "timeout":
            time.sleep(0.6)
            self.close_connection = True
        elif kind == "hang":  # until the server stops
            model.over.wait(600)
            self.close_connection = True
        elif kind == "drip":  # a byte now and then: no pause between two is as long as a timeout
            self.wfile.write(b"HTTP/1.1 200 said\r\nContent-Length: 100\r\n\r\n")
            for _ in range(60):
                time.sleep(0.02)
                self.wfile.write(b" ")
            self.close_connection = True
        elif kind == "reset":
            self.close_connection = True
        elif kind == "half":
            data = json.dumps(whole).encode()
            self._raw(200, data[: len(data) // 2], len(data))
            self.close_connection = True
        else:
            contents = {
                "html": b"<html>gateway</html>",
                "null": b"null",
                "error200": b'{"error": {"code": 502, "message": "upstream"}}',
                "empty": b'{"choices": []}',
                "nomessage": b'{"choices": [{}]}',
                "echo": json.dumps({"choices": self.headers["Authorization"]}).encode(),
            }
            self._raw(200, contents[kind], len(contents[kind]))

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self._raw(status, data, len(data), headers)

    def _raw(self, status: int, data: bytes, length: int, headers: dict[str, str] | None = None) -> None:
        head = [f"HTTP/1.1 {status} said", "Content-Type: application/json", f"Content-Length: {length}"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.wfile.write("\r\n".join([*head, "", ""]).encode() + data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed are part of the tests."""


@contextmanager
def serving(model: Model) -> Iterator[str]:
    """Serve a model; gives the base URL."""
    with running(_Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"model": model}))) as url:
        try:
            yield f"{url}/v1"
        finally:
            model.over.set()


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server in a thread; gives its URL."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
