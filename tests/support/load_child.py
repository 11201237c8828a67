"""Measures itself and prints milliseconds and megabytes as JSON: a tuning run, or requests by the client alone.

python load_child.py RUN, or python load_child.py URL COUNT: so many requests as the run would send.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from sim.adapters.live import Live
from sim.cli import app


def main(file: str) -> None:
    """The run; only asking is timed, not compiling."""
    found: dict[str, float] = {}
    real = Live._ask

    async def ask(self: Live, wants: list, *rest: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        await real(self, wants, *rest)
        found["requests"] = len(wants)
        found["wall"] = 1000 * (time.perf_counter() - wall) / len(wants)
        found["cpu"] = 1000 * (time.process_time() - cpu) / len(wants)

    Live._ask = ask
    code = app(["tune", file, "--yes"], standalone_mode=False)
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that began this one
    found["memory"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps(found | {"code": code or 0}))


async def bare(url: str, count: int) -> None:
    """What the official client takes by itself, 64 requests under way, for the same requests."""
    from openai import AsyncOpenAI

    left = iter(range(count))
    client = AsyncOpenAI(api_key="none", base_url=url, max_retries=0)

    async def worker() -> None:
        for number in left:
            messages: Any = [{"role": "user", "content": f"[{number % 10}] query {number % 200}"}]
            await client.chat.completions.create(messages=messages, model="m", n=16, max_tokens=10, seed=16 * number)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(64)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await client.close()
    print(json.dumps({"wall": 1000 * wall / count, "cpu": 1000 * cpu / count}))


if __name__ == "__main__":
    asyncio.run(bare(sys.argv[1], int(sys.argv[2]))) if len(sys.argv) > 2 else main(sys.argv[1])
