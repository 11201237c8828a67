"""The Python of docs/live.md, run as it stands there: a tuning, an answer, and a service of twenty lines."""

import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from live_runs import RUN, digit, write
from live_server import Model, serving

pytest.importorskip("openai", reason="the extra [llm] is not installed")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "live.md"


def blocks() -> list[str]:
    """Blocks of Python on the page."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """A model that a run file in the current folder names."""
    monkeypatch.chdir(folder)
    made = Model(answer=lambda prompt, number: digit(prompt if "digit" in prompt else f"{prompt} 7", number))
    with serving(made) as url:
        write(folder, url, RUN.replace('out = "out"', 'out = "results/run"'))
        yield made


def test_a_service_of_twenty_lines_answers_many_at_a_time(
    folder: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail with a name of the page's that is none of ours, and with answers one after the other."""
    tuning, service = blocks()
    assert len(list(filter(None, service.splitlines()))) <= 20
    exec(compile(tuning, str(PAGE), "exec"), {"__name__": "page"})
    told = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in told[:-1]] == [2] * 4, "completions and money of every round"
    assert told[-1].startswith("It is ")
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(service, str(PAGE), "exec"), names)
    scale = names["policy"].policy.choices[names["policy"].contexts[0]].chosen.scale
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threading.Thread(target=names["serve"], args=(port,), daemon=True).start()
    meeting = threading.Barrier(4, timeout=20)
    calm = model.answer

    def together(prompt: str, number: int) -> str:
        if number % scale == 0:
            meeting.wait()
        return calm(prompt, number)

    model.answer, before = together, model.completions
    queries = [f"query {k} has the digit {k}" for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: post(port, one), queries))
    assert [one[0] for one in answers] == [200] * 4
    assert all(one[1].startswith(("It is ", "no idea")) for one in answers)
    assert model.completions == before + 4 * scale
    assert post(port, queries[0]) == answers[0]
    assert model.completions == before + 4 * scale, "kept by the journal"
    assert post(port, " ") == (503, "the query is ' '; expected text")
    names["policy"].close()


def post(port: int, query: str) -> tuple[int, str]:
    """Status and text of the service's reply."""
    until = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", query.encode(), timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
