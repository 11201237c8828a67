"""A server that answers at once, in a process of its own: python load_server.py; it prints its port."""

import asyncio
import json


class Answering(asyncio.Protocol):
    """Requests of one connection, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            size = int(head[head.find(b"content-length:") + 15 :].split(b"\r\n")[0])
            if len(self._data) < end + 4 + size:
                return
            body, self._data = self._data[end + 4 : end + 4 + size], self._data[end + 4 + size :]
            reply = _reply(json.loads(body))
            head = b"HTTP/1.1 200 said\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(reply)
            self._transport.write(head + reply)  # type: ignore[attr-defined]


def _reply(body: dict) -> bytes:
    n, seed = body["n"], body["seed"]
    texts = [f"The answer is {(seed + k) * 7919 % 10}." for k in range(n)]
    choices = [{"finish_reason": "stop", "message": {"role": "assistant", "content": text}} for text in texts]
    return json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 6 * n}}).encode()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
