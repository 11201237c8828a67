"""A batch interface around the tests' model: files, batches and their quirks, and kills before or after any request.

A batch is worked off, and billed, when it is created; what a client sees of it later depends on its quirks.
"""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from live_server import Model, _Handler, _Server, running

PREFIX = "/v1"


@dataclass
class BatchModel(Model):
    """A model behind a batch interface.

    Attributes:
        quirks: number of a batch -> names of quirks: "expire" (the last half is not begun), "late" (the output is named
            three looks after completion), "errors" (every fifth request fails with 500), "filter" (every fifth is
            refused), "bad" (the first is malformed), "repeat" (every line twice), "missing" (every fourth line is left
            out), "strange" (lines that are not ours), "failed", "cancelled", "one" (one choice whatever n), "nothing"
            (never any output).
        line: body of a request in a batch -> None, or what is wrong with its line: a status to fail with; "undone"
            (not begun); or, once the work is done, "gone" (no line), "half" (cut off), "garbled" (no JSON), "null" (no
            response), "text", "empty", "nomessage" or "error200" (no reply in the body).
        moment: (number of the request, "METHOD path") -> "before", "after" or None: when to break off without a reply;
            a status to fail with; or "half", "html" or "null": what is sent in place of the reply.
        looks: polls until a batch is over.
        log: all requests, as "METHOD path".
    """

    quirks: Callable[[int], set[str]] = lambda number: set()
    line: Callable[[dict[str, Any]], str | None] = lambda body: None
    moment: Callable[[int, str], str | None] = lambda number, path: None
    broken: Callable[[], None] = lambda: None
    looks: int = 2
    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def handle(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        """Status and content of the reply."""
        parts = path.split("?")[0].removeprefix(PREFIX).strip("/").split("/")
        if parts == ["files"]:
            name = f"file-{sum(one.startswith('file') for one in self.files)}"
            self.files[name] = _uploaded(kind, body)
            return 200, json.dumps({"id": name, "object": "file"}).encode()
        if parts == ["batches"] and method == "POST":
            return 200, json.dumps(self._create(json.loads(body))).encode()
        if parts == ["batches"]:
            return 200, json.dumps(
                {"data": [self._seen(one) for one in self.batches[::-1]], "has_more": False}
            ).encode()
        if parts[0] == "batches":
            found = [one for one in self.batches if one["id"] == parts[1]]
            if not found:
                return 404, b'{"error": {"message": "no such batch"}}'
            found[0]["looked"] += 1
            return 200, json.dumps(self._seen(found[0])).encode()
        return (200, self.files[parts[1]]) if parts[1] in self.files else (404, b"{}")

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        number = len(self.batches)
        batch = {"id": f"batch_{number}", "looked": 0, "number": number, **asked}
        self.batches.append(batch)
        quirks, rng = self.quirks(number), random.Random(number)
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        assert len({line["body"]["model"] for line in lines}) == 1, "one model a file"
        good, bad, worked, faulty = [], [], {}, set()
        for place, line in enumerate(lines):
            name, before, fault = line["custom_id"], self.completions, self.line(line["body"])
            status, content, error = self._work(place, len(lines), line["body"], quirks, fault)
            worked[name] = self.completions - before
            response = None if status is None else {"status_code": status, "request_id": str(place), "body": content}
            made = json.dumps({"id": f"r{place}", "custom_id": name, "response": response, "error": error})
            if worked[name] and fault is not None:
                faulty.add(name)
                made = {"gone": "", "half": made[: len(made) // 2], "garbled": "no json {"}.get(fault, made)
            (good if worked[name] else bad).append((name, made))
        if "repeat" in quirks:
            good *= 2
        if "strange" in quirks:
            strange = ['{"custom_id": "elsewhere", "response": {"status_code": 200, "body": {}}}', "no json {", "[]"]
            good += [("", one) for one in strange]
        if "missing" in quirks:
            good = [line for place, line in enumerate(good) if place % 4]
        rng.shuffle(good)
        if "nothing" in quirks:
            good = []
        came = {name for name, _ in good} - faulty
        self.wasted += sum(size for name, size in worked.items() if name not in came)
        for name, content in [("output", good), ("error", bad)]:
            if content:
                batch[name] = f"{name}-{number}"
                self.files[batch[name]] = "\n".join(made for _, made in content).encode() + b"\n"
        batch["counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        batch["quirks"] = quirks
        return self._seen(batch)

    def _work(
        self, place: int, size: int, body: dict[str, Any], quirks: set[str], fault: str | None
    ) -> tuple[int | None, Any, Any]:
        late = "expire" in quirks and place >= size // 2
        if quirks & {"failed", "cancelled"} or late or fault == "undone":
            return None, None, {"code": "batch_expired", "message": "not begun in time"}
        if fault is not None and fault.isdigit():
            return int(fault), {"error": {"message": f"injected {fault}"}}, None
        if "errors" in quirks and place % 5 == 0:
            return 500, {"error": {"message": "upstream"}}, None
        if "filter" in quirks and place % 5 == 0:
            return 400, {"error": {"message": "filtered", "code": "content_filter"}}, None
        if "bad" in quirks and place == 0:
            return 400, {"error": {"message": "temperature is too high"}}, None
        choices, self.choices = self.choices, "one" if "one" in quirks else self.choices
        try:
            made = self.reply(body)
        finally:
            self.choices = choices
        odd = {"text": "<html>", "empty": {"choices": []}, "nomessage": {"choices": [{}]}, "error200": {"error": "?"}}
        return (None, None, None) if fault == "null" else (200, odd.get(fault or "", made), None)

    def _seen(self, batch: dict[str, Any]) -> dict[str, Any]:
        quirks, over = batch.get("quirks", set()), batch["looked"] >= self.looks
        ends = {"expire": "expired", "failed": "failed", "cancelled": "cancelled"}
        status = next((ends[one] for one in ends if one in quirks), "completed") if over else "in_progress"
        shown = {"id": batch["id"], "object": "batch", "status": status, "input_file_id": batch["input_file_id"]}
        shown |= {"metadata": batch.get("metadata"), "request_counts": batch.get("counts")}
        if over and "failed" in quirks:
            shown["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "too many tokens are queued"}]}
        elif over:
            if "late" not in quirks or batch["looked"] >= self.looks + 3:
                shown["output_file_id"] = batch.get("output")
            shown["error_file_id"] = batch.get("error")
        return shown


def _uploaded(kind: str, body: bytes) -> bytes:
    """The file in a multipart form."""
    form = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    (found,) = [part for part in form.iter_parts() if part.get_filename()]  # type: ignore[attr-defined]
    return found.get_payload(decode=True)


class _BatchHandler(_Handler):
    model: BatchModel

    def do_GET(self) -> None:
        self._batch("GET")

    def do_POST(self) -> None:
        if self.path.endswith("/chat/completions"):
            super().do_POST()
        else:
            self._batch("POST")

    def _batch(self, method: str) -> None:
        model, body = self.model, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = f"{method} {self.path.split('?')[0]}"
        with model.lock:
            number = len(model.log)
            model.log.append(said)
        if self.headers["Authorization"] != f"Bearer {model.key}":
            return self._send(401, {"error": {"message": "wrong key", "code": "invalid_api_key"}})
        moment = model.moment(number, said)
        if moment and moment.isdigit():
            return self._send(int(moment), {"error": {"message": f"injected {moment}"}})
        if moment != "before":
            with model.lock:
                status, content = model.handle(method, self.path, body, self.headers.get("Content-Type", ""))
        if moment in ("before", "after"):
            model.broken()
            self.close_connection = True
            return None
        if moment == "half":
            self.close_connection = True
            return self._raw(status, content[: len(content) // 2], len(content))
        content = {"html": b"<html>gateway</html>", "null": b"null"}.get(moment or "", content)
        return self._raw(status, content, len(content))


@contextmanager
def batching(model: BatchModel) -> Iterator[str]:
    """Serve a model with its batch interface; gives the base URL."""
    model.lock = threading.RLock()  # a batch is worked off under it
    with running(_Server(("127.0.0.1", 0), type("Handler", (_BatchHandler,), {"model": model}))) as url:
        yield f"{url}{PREFIX}"
