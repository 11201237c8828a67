"""One connection for every request under way, the one that came free last first; and replies that have an end.

The pool that comes with `openai` looks at all of its connections, and asks the system about every idle one, for every
request: with 64 under way that is most of the time that a request takes here.

A reply is read up to a limit of bytes, as they come and unpacked: a small one may unpack to any size, or never end.
Redirects are not followed: prompts would go to whatever host they name, and on the same host the key along.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import getproxies

_SMALL = 2**20
"""Bytes of a reply that are read at once; what is larger waits for its turn, so that memory stays bounded."""
_LARGE_AT_ONCE = 2
_OF_WIRE = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that say how a body came; what is read has none of that."""


class TooLarge(Exception):
    """A reply has more bytes than it may."""


class Bounds:
    """Reads whole replies, up to a limit.

    Args:
        httpx: the package.
        most: bytes of a reply.
        most_file: bytes of a file that is downloaded.
    """

    def __init__(self, httpx: Any, most: int, most_file: int):
        self._httpx, self._most, self._most_file = httpx, most, most_file
        self._turn = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def whole(self, request: Any, response: Any) -> Any:
        """The response with its whole content, unpacked.

        Raises:
            TooLarge: it is larger than it may be.
        """
        is_file = request.method == "GET" and request.url.path.endswith("/content")
        most, name = self._most, "endpoint.max_reply_bytes"
        if is_file:
            most, name = self._most_file, "endpoint.batch.max_output_bytes"
        excess = TooLarge(f"a reply of the server has more than {most:,} bytes; {name} is that limit")
        response.stream = _stream(self._httpx, response.stream, most, excess)
        content, waited = bytearray(), False
        try:
            async for part in response.aiter_bytes():
                content += part
                if len(content) > most:
                    raise excess
                if len(content) > _SMALL and not waited:
                    await self._turn.acquire()
                    waited = True
        except BaseException:
            content.clear()  # the error's traceback would keep it, for every request under way
            raise
        finally:
            if waited:
                self._turn.release()
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _OF_WIRE]
        return self._httpx.Response(
            response.status_code, headers=headers, content=bytes(content), extensions=response.extensions
        )


def _stream(httpx: Any, inner: Any, most: int, excess: TooLarge) -> Any:
    """The bytes of a response as they come, up to a limit."""

    class Counted(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            count = 0
            async for part in inner:
                count += len(part)
                if count > most:
                    raise excess
                yield part

        async def aclose(self) -> None:
            await inner.aclose()

    return Counted()


def http_client(openai: Any, httpx: Any, bounds: Bounds) -> Any:
    """The `http_client` of `openai.AsyncOpenAI`, from the packages `openai` and that which it builds on.

    Where the environment names proxies it is that package's own, with our bounds: a client with a transport of its own
    ignores them.
    """
    if not getproxies():
        return openai.DefaultAsyncHttpxClient(transport=Connections(httpx, bounds), follow_redirects=False)

    class Bounded(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, *, stream: bool = False, **more: Any) -> Any:
            found = await bounds.whole(request, await super().send(request, stream=True, **more))
            found.request = request
            return found

    return Bounded(follow_redirects=False)


class Connections:
    """An `httpx` transport made of transports with one connection each; there are as many as were ever in use at once.

    A response is read to its end before its connection takes another request.
    """

    def __init__(self, httpx: Any, bounds: Bounds):
        self._httpx, self._ssl, self._bounds = httpx, httpx.create_ssl_context(), bounds
        self._free: list[Any] = []
        self._all: list[Any] = []

    async def handle_async_request(self, request: Any) -> Any:
        """The response to a request, with its whole content.

        Raises:
            TooLarge: it is larger than it may be.
        """
        lane = self._free.pop() if self._free else self._new()
        try:
            response = await self._bounds.whole(request, await lane.handle_async_request(request))
        except BaseException:  # what is left of the connection must not serve another request
            self._all.remove(lane)
            await lane.aclose()
            raise
        self._free.append(lane)
        return response

    def _new(self) -> Any:
        limits = self._httpx.Limits(max_connections=1, max_keepalive_connections=1)
        lane = self._httpx.AsyncHTTPTransport(verify=self._ssl, limits=limits)
        self._all.append(lane)
        return lane

    async def aclose(self) -> None:
        """Close all connections."""
        for lane in self._all:
            await lane.aclose()

    async def __aenter__(self) -> "Connections":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
