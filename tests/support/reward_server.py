"""A reward model behind HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from live_server import running


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Any], seen: list[Any]) -> Iterator[str]:
    """A server that answers a body, and its number, with JSON; text goes as it is, an integer is a status.

    Bytes with a pause, in seconds, are sent one by one. A status may have a text, in which {key} is the header, and
    headers.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, self.headers["Authorization"], body))
            found, pause, status = answer(body, len(seen) - 1), 0.0, 200
            headers: dict[str, str] = {}
            if isinstance(found, tuple) and isinstance(found[0], int):
                headers = found[2] if len(found) > 2 else {}
                status, found = found[0], found[1].replace("{key}", str(self.headers["Authorization"]))
            elif isinstance(found, tuple):
                found, pause = found[0].decode(), found[1]
            elif isinstance(found, int):
                status = found
            data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):
                for place in range(len(data)) if pause else ():
                    self.wfile.write(data[place : place + 1])
                    time.sleep(pause)
                self.wfile.write(b"" if pause else data)

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url
