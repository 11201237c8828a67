"""Entries of a journal: questions, completions, attempts and batches, and their text as bytes on disk."""

import functools
import hashlib
import json
from typing import Any, NamedTuple

OPEN, SETTLED, AMBIGUOUS, LOST, VOID = "open", "settled", "ambiguous", "lost", "void"
"""Under way; replied; perhaps billed without a reply; cut off by the end of its process; refused unbilled."""
BATCHED = "batched"
"""Under way as part of a batch, which outlives the process."""
PREPARED, CREATING, RUNNING, DONE = "prepared", "creating", "running", "done"
"""States of a batch: on disk here; perhaps created on the server; created there; over, with all its attempts ended."""


class Asked(NamedTuple):
    """A question: all of a request but seed and number. Two are the same if all but `prompt` and `query` agree.

    Attributes:
        stream: what the draws are for ("tune", "record", ..): streams share no draws.
        decoding: JSON of everything else in the request.
        prompt, query: for people.
    """

    stream: str
    endpoint: str
    model: str
    decoding: str
    messages: tuple[tuple[str, str], ...]
    prompt: str
    query: str

    @property
    def digest(self) -> bytes:
        """The name of its cell in the journal."""
        return _digest(self[:5])


class Draw(NamedTuple):
    """A completion and why it ended."""

    text: str
    finish: str


class Attempt(NamedTuple):
    """A request: draws first, .., first + n - 1 of a cell."""

    id: int
    cell: Asked
    first: int
    n: int
    seed: int | None


class Batch(NamedTuple):
    """A batch of requests.

    Attributes:
        state: `PREPARED`, `CREATING`, `RUNNING` or `DONE`.
        file, remote: the server's names of the uploaded requests and of the batch, None while there is none.
    """

    id: int
    state: str
    file: str | None = None
    remote: str | None = None


def encode(text: str) -> bytes:
    """Any Python text as bytes, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


@functools.lru_cache(512)
def _digest(content: tuple[Any, ...]) -> bytes:
    return hashlib.sha256(json.dumps(content).encode()).digest()[:16]


def decode(content: bytes, path: Any) -> str:
    """Text that was written as bytes; a ValueError names the file where it was damaged since."""
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is damaged: a text in it is no UTF-8") from None


def parsed(content: str, path: Any) -> Any:
    """JSON that was written as text; a ValueError names the file where it was damaged since."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: is damaged: a request in it is no JSON") from None
