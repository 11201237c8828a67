"""One connection for every request under way, the one that came free last first.

The pool that comes with `openai` looks at all of its connections, and asks the system about every idle one, for every
request: with 64 under way that is most of the time that a request takes here.
"""

from typing import Any
from urllib.request import getproxies


def http_client(openai: Any, httpx: Any) -> Any:
    """What `openai.AsyncOpenAI` takes as `http_client`, from the packages `openai` and that which it builds on.

    None, which is its own, where the environment names proxies: a client with a transport of its own ignores them.
    """
    return None if getproxies() else openai.DefaultAsyncHttpxClient(transport=Lanes(httpx))


class Lanes:
    """An `httpx` transport made of transports with one connection each; there are as many as were ever in use at once.

    A response is read to its end before its connection takes another request.
    """

    def __init__(self, httpx: Any):
        self._httpx, self._ssl = httpx, httpx.create_ssl_context()
        self._free: list[Any] = []
        self._all: list[Any] = []

    async def handle_async_request(self, request: Any) -> Any:
        """The response to a request, with its whole content."""
        lane = self._free.pop() if self._free else self._new()
        try:
            response = await lane.handle_async_request(request)
            await response.aread()
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

    async def __aenter__(self) -> "Lanes":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
