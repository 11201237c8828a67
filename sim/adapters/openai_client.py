"""Requests by the official `openai` package, with its own retries off and its validation replaced by ours.

The package is imported when a client is made: the extra `[llm]` is needed only by live runs.
"""

import importlib
import math
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from sim.adapters.protocol import Ambiguous, Fatal, Reply, Request, Transient, read_reply
from sim.adapters.redact import Redactor
from sim.adapters.settings import Endpoint


class OpenAIClient:
    """A `Client` for any OpenAI-compatible server."""

    def __init__(self, endpoint: Endpoint, key: str):
        try:
            self._package: Any = importlib.import_module("openai")
        except ImportError:
            raise ValueError("live models need the package openai; install iapo-testbed[llm]") from None
        self._redactor = Redactor(key)
        self._client = self._package.AsyncOpenAI(api_key=key or "none", base_url=endpoint.base_url, max_retries=0)

    def __repr__(self) -> str:
        return f"OpenAIClient({self._client.base_url})"

    def __reduce__(self) -> str:
        raise TypeError("a client holds a key and cannot be pickled")

    async def complete(self, request: Request, timeout: float) -> Reply:
        """Send one request once; see `Client.complete`."""
        known = request.body()
        messages, model = known.pop("messages"), known.pop("model")
        failed: Exception | None = None
        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                messages=messages, model=model, extra_body=known, timeout=timeout
            )
            response = raw.http_response
            status, headers, content = response.status_code, response.headers, response.content
        except self._package.APIStatusError as error:
            status, headers, content = error.status_code, error.response.headers, error.response.content
        except self._package.APITimeoutError as error:
            failed = self._unconnected(error) or Ambiguous(f"no answer within {timeout:g} s")
        except self._package.APIConnectionError as error:
            cause = f"{type(error.__cause__).__name__} {error.__cause__ or error}"
            failed = self._unconnected(error) or Ambiguous(f"the connection broke ({self._redactor.text(cause)[:200]})")
        except self._package.OpenAIError as error:
            failed = Fatal(f"the request could not be made ({self._redactor.text(str(error))[:200]})")
        if failed is not None:
            raise failed  # outside the handler: no chained exception carries request headers along
        return read_reply(status, self._redactor.clean(content), retry_after(headers))

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
