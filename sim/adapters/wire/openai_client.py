"""Requests by the official `openai` package, with its own retries off and its validation replaced by ours.

The package is imported when a client is made: the extra `[llm]` is needed only by live runs.
"""

import asyncio
import importlib
import json
import math
from collections.abc import Awaitable, Sequence
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from sim.adapters.run_file.settings import BatchOptions, Endpoint
from sim.adapters.wire import connections
from sim.adapters.wire.batch_api import URL, BatchState, read_state
from sim.adapters.wire.protocol import Ambiguous, Excessive, Fatal, Reply, Request, Transient, failure, read_reply
from sim.adapters.wire.redact import Redactor

BULK = 10
"""A file may take so many times as long as a reply."""


class OpenAIClient:
    """A `Client` and `BatchClient` for any OpenAI-compatible server.

    Args:
        endpoint: the server.
        key: goes along with every request.
        secrets: further texts that show nowhere.
    """

    def __init__(self, endpoint: Endpoint, key: str, secrets: Sequence[str] = ()):
        try:
            self._package: Any = importlib.import_module("openai")
        except ImportError:
            raise ValueError("live models need the package openai; install iapo-testbed[llm]") from None
        self._httpx: Any = importlib.import_module("httpx2")  # what openai is built on
        self._redactor = Redactor(key, *secrets)
        most_file = BatchOptions.max_output_bytes if endpoint.batch is None else endpoint.batch.max_output_bytes
        bounds = connections.Bounds(self._httpx, endpoint.max_reply_bytes, most_file)
        http = connections.http_client(self._package, self._httpx, bounds)
        self._client = self._package.AsyncOpenAI(
            api_key=key or "none", base_url=endpoint.base_url, max_retries=0, http_client=http
        )

    def __repr__(self) -> str:
        return f"OpenAIClient({self._client.base_url})"

    def __reduce__(self) -> str:
        raise TypeError("a client holds a key and cannot be pickled")

    async def complete(self, request: Request, timeout: float) -> Reply:
        """Send one request once; see `Client.complete`.

        The package's own `chat.completions.create` rewrites the body by the types of its arguments, which takes as
        long as sending it; ours is what it should be.
        """
        limits = self._httpx.Timeout(timeout, connect=timeout / 2)  # no connection is told apart from no answer
        call = self._client.post(
            "/chat/completions", cast_to=self._httpx.Response, body=request.body(), options={"timeout": limits}
        )
        status, headers, content = await self._send(call, timeout)
        return read_reply(status, content, retry_after(headers), headers.get("location", ""))

    async def upload(self, name: str, content: bytes, timeout: float) -> str:
        """Upload requests; see `BatchClient.upload`."""
        files = self._client.files.with_raw_response
        call = files.create(file=(name, content), purpose="batch", timeout=timeout)
        body = await self._json(call, timeout, BULK * timeout)
        if not isinstance(body.get("id"), str):
            raise Ambiguous("the server answered an upload without a name of the file")
        return body["id"]

    async def create(self, file: str, window: str, metadata: dict[str, str], timeout: float) -> BatchState:
        """Create a batch; see `BatchClient.create`."""
        batches = self._client.batches.with_raw_response
        call = batches.create(
            input_file_id=file, endpoint=URL, completion_window=window, metadata=metadata, timeout=timeout
        )
        return read_state(await self._json(call, timeout))

    async def find(self, file: str, metadata: dict[str, str], timeout: float) -> BatchState | None:
        """Look through all batches of the account; see `BatchClient.find`."""
        after: dict[str, str] = {}
        while True:
            call = self._client.batches.with_raw_response.list(limit=100, timeout=timeout, **after)
            page = await self._json(call, timeout)
            found = [read_state(one) for one in page.get("data") or []]
            for one in found:
                if one.input == file or (metadata and metadata.items() <= one.metadata.items()):
                    return one
            if not found or not page.get("has_more"):
                return None
            after = {"after": found[-1].id}

    async def state(self, batch: str, timeout: float) -> BatchState:
        """Progress of a batch."""
        return read_state(
            await self._json(self._client.batches.with_raw_response.retrieve(batch, timeout=timeout), timeout)
        )

    async def content(self, file: str, timeout: float) -> bytes:
        """Download a file."""
        call = self._client.files.with_raw_response.content(file, timeout=timeout)
        status, headers, content = await self._send(call, timeout, BULK * timeout)
        if status != 200:
            raise failure(status, _parsed(content), retry_after(headers), content, headers.get("location", ""))
        return content

    async def _json(self, call: Awaitable[Any], timeout: float, whole: float | None = None) -> dict[str, Any]:
        """The JSON object that a call brings."""
        status, headers, content = await self._send(call, timeout, whole)
        body = _parsed(content)
        if status != 200:
            raise failure(status, body, retry_after(headers), content, headers.get("location", ""))
        if not isinstance(body, dict):
            raise Ambiguous("the server answered 200 with something that is no JSON object")
        return body

    async def _send(self, call: Awaitable[Any], timeout: float, whole: float | None = None) -> tuple[int, Any, bytes]:
        """Status, headers and content of the response to a call, without the key.

        Args:
            call: makes the request.
            timeout: seconds without a byte, and seconds in all where `whole` is None.
            whole: seconds in all.

        Raises:
            CallError: there is no response.
        """
        failed: Exception | None = None
        whole = timeout if whole is None else whole
        try:
            async with asyncio.timeout(whole):  # the package's own limit starts anew with every byte
                response = await call
            response = getattr(response, "http_response", response)
            status, headers, content = response.status_code, response.headers, response.content
        except self._package.APIStatusError as error:
            status, headers, content = error.status_code, error.response.headers, error.response.content
        except connections.TooLarge as error:
            failed = Excessive(str(error))
        except TimeoutError:
            failed = Ambiguous(f"no answer within {whole:g} s")
        except self._package.APITimeoutError as error:
            failed = self._unconnected(error) or Ambiguous(f"no answer within {timeout:g} s")
        except self._package.APIConnectionError as error:
            cause = f"{type(error.__cause__).__name__} {error.__cause__ or error}"
            failed = self._unconnected(error) or Ambiguous(f"the connection broke ({self._redactor.text(cause)[:200]})")
        except self._package.OpenAIError as error:
            failed = Fatal(f"the request could not be made ({self._redactor.text(str(error))[:200]})")
        if failed is not None:
            raise failed  # outside the handler: no chained exception carries request headers along
        return status, headers, self._redactor.clean(content)

    def _unconnected(self, error: Exception) -> Transient | None:
        """The failure, where no connection came about and so nothing was sent."""
        cause = error.__cause__
        names = {kind.__name__ for kind in type(cause).__mro__}
        if names & {"ConnectError", "ConnectTimeout", "PoolTimeout"}:
            return Transient(f"no connection to the server ({self._redactor.text(str(cause))[:200] or 'timeout'})")
        return None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def retry_after(headers: Any) -> float | None:
    """Seconds that a response asks to wait, from its headers."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time()
            except ValueError:
                continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    return None
