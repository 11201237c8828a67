"""Servers that mean harm, or might as well: every reply has an end, and nothing goes where it was not meant to go."""

import asyncio
import gc
import gzip
import json
import re
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from live_runs import RUN, iapo, write
from live_server import KEY, running

from sim.adapters.paid.journal import Journal
from sim.adapters.run_file.settings import BatchOptions, Concurrency, Endpoint
from sim.adapters.scorers import rewards
from sim.adapters.scorers.rewards import GetReward
from sim.adapters.scoring import Item
from sim.adapters.wire import connections
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.protocol import Ambiguous, CallError, Excessive, Fatal, Request
from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")

MB = 2**20
ASK = Request(model="m", messages=(("user", "hello"),), n=1, max_tokens=20)
USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
GOOD = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "1"}}], "usage": USAGE}


class Evil(BaseHTTPRequestHandler):
    """What `answer` of the server's class makes of a request; the class remembers who asked."""

    protocol_version = "HTTP/1.1"
    answer: Callable[["Evil"], None]
    asked: list[tuple[str, str | None]]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.close_connection = True
        with suppress(OSError):  # whoever asked has gone
            type(self).answer(self)

    def head(self, status: int = 200, **headers: Any) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, content: bytes, **headers: Any) -> None:
        self.head(Content_Length=len(content), **headers)
        self.wfile.write(content)


@contextmanager
def evil(answer: Callable[[Evil], None]) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server's base URL, and who asked it what: path and key."""
    asked: list[tuple[str, str | None]] = []
    handler = type("Handler", (Evil,), {"answer": answer, "asked": asked})
    server = type("Server", (ThreadingHTTPServer,), {"daemon_threads": True})
    with running(server(("127.0.0.1", 0), handler)) as url:
        yield f"{url}/v1", asked


def packed(size: int, wbits: int) -> bytes:
    """The start of a reply that goes on for so many bytes, packed by zlib."""
    packer = zlib.compressobj(1, zlib.DEFLATED, wbits)
    parts = [packer.compress(b'{"id":"')]
    parts += [packer.compress(b"a" * MB) for _ in range(size // MB)]
    return b"".join([*parts, packer.flush()])


BOMBS = {"gzip": packed(256 * MB, 31), "deflate": packed(256 * MB, 15)}


def bomb(encoding: str) -> Callable[[Evil], None]:
    return lambda self: self.whole(BOMBS[encoding], Content_Encoding=encoding)


def endless(self: Evil) -> None:
    """A reply without an end."""
    self.head(Transfer_Encoding="chunked")
    for _ in range(40_000):
        self.wfile.write(b"10000\r\n" + b"a" * 65536 + b"\r\n")


def hollow(self: Evil) -> None:
    """A packed reply without an end that unpacks to nothing."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    part = packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    self.head(Transfer_Encoding="chunked", Content_Encoding="gzip")
    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    block = b"\x00\x00\x00\xff\xff" * 13107  # stored blocks of no bytes
    for _ in range(40_000):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))


def headers(self: Evil) -> None:
    self.head(200, **{f"X-{k}": "a" * 8000 for k in range(200)})


def drip(self: Evil) -> None:
    self.head(Content_Length=1000)
    for _ in range(1000):
        self.wfile.write(b" ")
        time.sleep(0.02)


def endpoint(url: str, **more: Any) -> Endpoint:
    return Endpoint(url, "", 5.0, 10.0, 16, "max_tokens", True, 64, Concurrency(4, 1, 4), **more)


def failed(answer: Callable[[Evil], None], timeout: float = 20.0, **more: Any) -> tuple[CallError, int]:
    """What a request ends with, and the bytes of memory that it took at most."""

    async def once(url: str) -> CallError:
        client = OpenAIClient(endpoint(url, **more), KEY)
        try:
            with pytest.raises(CallError) as raised:
                await client.complete(ASK, timeout)
            return raised.value
        finally:
            await client.close()

    with evil(answer) as (url, asked):
        tracemalloc.start()
        try:
            found = asyncio.run(once(url))
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(asked) == 1
    return found, most


@pytest.mark.parametrize("answer", [bomb("gzip"), bomb("deflate"), endless, hollow], ids=[*BOMBS, "endless", "hollow"])
def test_a_reply_has_an_end(answer: Callable[[Evil], None]):
    """Of its bytes as they come and unpacked; it counts as billed. Seen to take six gigabytes."""
    found, most = failed(answer, max_reply_bytes=8 * MB)
    assert type(found) is Excessive
    assert str(found) == f"a reply of the server has more than {8 * MB:,} bytes; endpoint.max_reply_bytes is that limit"
    assert most < 40 * MB


def test_a_reply_up_to_the_limit_is_read():
    content = json.dumps(GOOD | {"id": "a" * 3 * MB}).encode()

    async def once(url: str, most: int) -> Any:
        client = OpenAIClient(endpoint(url, max_reply_bytes=most), KEY)
        try:
            return await client.complete(ASK, 20.0)
        finally:
            await client.close()

    for pack in (lambda one: one, gzip.compress):
        encoding = {} if pack(b"") == b"" else {"Content_Encoding": "gzip"}
        with evil(lambda self, pack=pack, more=encoding: self.whole(pack(content), **more)) as (url, _):
            assert asyncio.run(once(url, len(content))).choices[0].text == "1"
            with pytest.raises(Excessive):
                asyncio.run(once(url, len(content) - 1))


def test_replies_that_are_large_wait_for_each_other():
    """Sixteen at once hold little more than two of them. Seen to hold all."""
    content = json.dumps(GOOD | {"id": "a" * 3 * MB}).encode()

    async def several(url: str) -> int:
        client = OpenAIClient(endpoint(url, max_reply_bytes=8 * MB), KEY)
        try:

            async def one() -> None:
                assert (await client.complete(ASK, 60.0)).choices[0].text == "1"

            await asyncio.gather(*(one() for _ in range(16)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            await client.close()

    with evil(lambda self: self.whole(content)) as (url, _):
        tracemalloc.start()
        try:
            most = asyncio.run(several(url))
        finally:
            tracemalloc.stop()
    assert most < 40 * MB


@pytest.mark.parametrize("answer", [headers, drip])
def test_headers_without_an_end_and_drops_of_a_reply_are_faults(answer: Callable[[Evil], None]):
    found, most = failed(answer, 0.3 if answer is drip else 20.0)
    assert type(found) is Ambiguous
    assert most < 20 * MB


@pytest.mark.parametrize("proxied", [False, True])
def test_a_redirect_is_followed_nowhere(proxied: bool, monkeypatch: pytest.MonkeyPatch):
    """Neither prompts nor the key go elsewhere. Seen to be followed with both to any port of the same host."""
    if proxied:  # a proxy for other hosts: the client is another
        monkeypatch.setattr(connections, "getproxies", lambda: {"http": "http://127.0.0.1:9"})
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    with evil(lambda self: self.whole(json.dumps(GOOD).encode())) as (other, reached):
        for status in (301, 302, 303, 307, 308):

            def answer(self: Evil, status: int = status) -> None:
                self.head(status, Location=f"{other}/chat/completions", Content_Length=0)

            found, _ = failed(answer)
            assert type(found) is Fatal
            assert str(found) == (
                f"HTTP {status}: redirects are not followed; the prompts and the key would go along to "
                f"{other}/chat/completions. Where that is right, put the new address into the configuration"
            )
    assert reached == []


def test_a_proxied_reply_has_an_end_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "getproxies", lambda: {"http": "http://127.0.0.1:9"})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found, most = failed(bomb("gzip"), max_reply_bytes=8 * MB)
    assert type(found) is Excessive
    assert most < 40 * MB


def test_a_file_has_a_limit_of_its_own():
    async def once(url: str) -> bytes:
        batch = BatchOptions("24h", 1.0, False, 9, 9, max_output_bytes=4 * MB)
        client = OpenAIClient(endpoint(url, batch=batch, max_reply_bytes=MB), KEY)
        try:
            return await client.content("file-1", 20.0)
        finally:
            await client.close()

    with evil(lambda self: self.whole(b"a" * 3 * MB)) as (url, _):
        assert len(asyncio.run(once(url))) == 3 * MB
    for answer in (bomb("gzip"), endless):
        with evil(answer) as (url, _), pytest.raises(Excessive, match="max_output_bytes is that limit"):
            asyncio.run(once(url))


def test_a_reward_model_has_a_limit_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rewards, "_MOST", 4 * MB)
    scorer = GetReward("URL", "{query}{completion}", "")
    with evil(endless) as (url, asked):
        scorer = GetReward(f"{url}/get_reward", "{query}{completion}", "")
        with pytest.raises(ValueError, match=r"reward model at .*: an answer has more than 4,194,304 bytes"):
            asyncio.run(scorer.rewards(Item("q"), ["a"]))
    assert len(asked) == 1


def test_replies_that_are_too_large_are_let_go():
    """At once, and not when the collector comes by. Seen to keep what was read of each: 558 MB for eight of 16 MiB."""

    async def several(url: str) -> int:
        client = OpenAIClient(endpoint(url, max_reply_bytes=4 * MB), KEY)
        try:
            for _ in range(12):
                with pytest.raises(Excessive):
                    await client.complete(ASK, 60.0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            await client.close()

    with evil(endless) as (url, _):
        gc.disable()
        tracemalloc.start()
        try:
            most = asyncio.run(several(url))
        finally:
            tracemalloc.stop()
            gc.enable()
    assert most < 24 * MB


@pytest.mark.parametrize("name", ["gzip", "redirect"])
def test_a_run_against_such_a_server_ends_with_one_sentence(name: str, folder: Path):
    """What was sent counts as billed where a reply came that was not read, and as unbilled where none did."""
    with evil(lambda self: None) as (other, reached):
        away = {"Location": f"{other}/chat/completions", "Content_Length": 0}
        text = RUN.replace("timeout = 900", "max_reply_bytes = 2_000_000\ntimeout = 900")
        answer = bomb("gzip") if name == "gzip" else lambda self: self.head(307, **away)
        with evil(answer) as (url, asked):
            result = iapo("tune", write(folder, url, text), "--yes")
    assert result.exit_code == common.USER_ERROR
    said = "a reply of the server has more than" if name == "gzip" else "HTTP 307: redirects are not followed"
    assert re.fullmatch(rf"error: {said}.*\n", result.stderr)
    assert reached == []
    assert 1 <= len(asked) <= 8, "those under way at once"
    journal = Journal(folder / "out" / "journal.sqlite")
    states = {state for (state,) in journal.rows("SELECT state FROM attempts")}
    journal.close()
    assert states == {"ambiguous" if name == "gzip" else "void"}
