"""Batches of requests as OpenAI's batch interface has them, and the lines of their files.

An input line is {"custom_id", "method", "url", "body"}; an output line {"custom_id", "response": {"status_code",
"body"}, "error"}, in any order, in an output file or an error file. `vllm run-batch` reads and writes the same lines.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sim.adapters.wire.protocol import Ambiguous, CallError, Reply, Request, Transient, read_reply

URL = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")
"""Statuses of a batch that nothing follows."""
_UNDONE = ("batch_expired", "batch_cancelled")
"""Errors of requests that were never begun."""


class BatchState(NamedTuple):
    """A batch as the server tells it.

    Attributes:
        input: name of the uploaded file.
        output, errors: names of the files that hold replies and failures; None where there is none, or not yet.
        metadata: what the batch was created with.
        failed: requests that failed, as the server counts; None where it does not say.
        problem: why the whole batch failed, in words.
    """

    id: str
    status: str
    input: str | None
    output: str | None
    errors: str | None
    metadata: dict[str, str]
    failed: int | None
    problem: str


@runtime_checkable
class BatchClient(Protocol):
    """Uploads, creates, polls and downloads, each once; failures are `CallError`."""

    async def upload(self, name: str, content: bytes, timeout: float) -> str:
        """Upload requests; the server's name of the file."""
        ...

    async def create(self, file: str, window: str, metadata: dict[str, str], timeout: float) -> BatchState:
        """Create a batch of uploaded requests."""
        ...

    async def find(self, file: str, metadata: dict[str, str], timeout: float) -> BatchState | None:
        """The batch that was created from a file or with some metadata; None where there is none."""
        ...

    async def state(self, batch: str, timeout: float) -> BatchState:
        """Progress of a batch."""
        ...

    async def content(self, file: str, timeout: float) -> bytes:
        """A file."""
        ...


def read_state(body: Any) -> BatchState:
    """A batch from the server's JSON; `Ambiguous` where it makes no sense."""
    if not isinstance(body, dict) or not isinstance(body.get("id"), str) or not isinstance(body.get("status"), str):
        raise Ambiguous("the server answered with something that is no batch")

    def text(key: str) -> str | None:
        value = body.get(key)
        return value if isinstance(value, str) and value else None

    counts, metadata, errors = body.get("request_counts"), body.get("metadata"), body.get("errors")
    failed = counts.get("failed") if isinstance(counts, dict) else None
    listed = errors.get("data") if isinstance(errors, dict) else None
    said = [str(one.get("message") or one.get("code")) for one in listed or [] if isinstance(one, dict)]
    return BatchState(
        body["id"],
        body["status"],
        text("input_file_id"),
        text("output_file_id"),
        text("error_file_id"),
        metadata if isinstance(metadata, dict) else {},
        failed if isinstance(failed, int) else None,
        " ".join("; ".join(said).split())[:300] or "no reason given",
    )


def input_line(custom_id: str, request: Request) -> bytes:
    """A request as a line of an input file."""
    line = {"custom_id": custom_id, "method": "POST", "url": URL, "body": request.body()}
    return json.dumps(line).encode() + b"\n"


class Lines(NamedTuple):
    """Lines of output and error files.

    Attributes:
        known: (response, error) of every line, by its custom_id.
        strange: lines that are none of ours or make no sense.
    """

    known: dict[str, list[tuple[Any, Any]]]
    strange: int


def read_lines(contents: Iterable[bytes], ours: Sequence[str]) -> Lines:
    """Sort the lines of files by custom_id."""
    known: dict[str, list[tuple[Any, Any]]] = {one: [] for one in ours}
    strange = 0
    for content in contents:
        for raw in filter(bytes.strip, content.split(b"\n")):
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError):
                line = None
            name = line.get("custom_id") if isinstance(line, dict) else None
            if isinstance(line, dict) and isinstance(name, str) and name in known:
                known[name].append((line.get("response"), line.get("error")))
            else:
                strange += 1
    return Lines(known, strange)


def result_of(lines: Sequence[tuple[Any, Any]], status: str) -> Reply | CallError:
    """The end of a request, from its lines in a batch that ended with some status.

    A reply that is there twice counts once; different replies to one request were all worked for, so that their choices
    and tokens are added up.
    """
    replies: dict[str, Reply] = {}
    problem: CallError = Ambiguous(f"the batch ended ({status}) without a line for this request")
    if status == "failed":
        problem = Transient("the whole batch failed before any request was begun")
    for response, error in lines:
        one = _read_line(response, error)
        if isinstance(one, Reply):
            replies[json.dumps(response.get("body"), sort_keys=True)] = one
        else:
            problem = one
    if not replies:
        return problem
    first, *others = replies.values()
    for other in others:
        usage = None
        if first.usage is not None and other.usage is not None:
            usage = type(first.usage)(*(mine + its for mine, its in zip(first.usage, other.usage, strict=True)))
        first = Reply(first.choices + other.choices, usage)
    return first


def _read_line(response: Any, error: Any) -> Reply | CallError:
    code = error.get("code") if isinstance(error, dict) else None
    if code in _UNDONE:
        return Transient(f"not begun ({code})")
    if not isinstance(response, dict) or not isinstance(response.get("status_code"), int):
        said = error.get("message") if isinstance(error, dict) else error
        return Ambiguous(f"a line without a response ({' '.join(str(said).split())[:200]})")
    status, body = response["status_code"], response.get("body")
    try:
        return read_reply(status, json.dumps(body).encode())
    except CallError as found:
        return found
