"""Reward models over HTTP: raw numbers, checked answers, and servers that do what they were not asked."""

import asyncio
import math
import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
from live_runs import MINIMAL
from live_server import running
from reward_server import serving

from sim.adapters import config
from sim.adapters.paid.journal import Journal
from sim.adapters.run_file.settings import Objective
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import registry
from sim.adapters.scorers.reader import Reader
from sim.adapters.scorers.rewards import Classify, GetReward, RewardModel
from sim.adapters.scoring import Item, Scored
from sim.adapters.wire.retry import Clock

TEMPLATE = "<u>{query}</u><a>{completion}</a>"


def logit(text: str) -> float:
    return len(text) / 10 - 4


def vllm(body: dict[str, Any], number: int) -> Any:
    """/classify as vLLM has it: activated unless told otherwise, rows in any order."""
    raw = [[logit(text), -1.0] for text in body["input"]]
    rows = [row if body.get("use_activation") is False else [1 / (1 + math.exp(-x)) for x in row] for row in raw]
    return {"data": [{"index": i, "probs": row} for i, row in enumerate(rows)][::-1]}


def start_and_score(scorer: RewardModel, query: str | Item, texts: Sequence[str]) -> list[Scored]:
    async def go() -> list[Scored]:
        await scorer.start()
        return await scorer.score(query if isinstance(query, Item) else Item(query), "p", texts)

    return asyncio.run(go())


def test_classify_gives_raw_numbers_in_order():
    seen: list[Any] = []
    with serving(vllm, seen) as url:
        scorer = Classify(f"{url}/classify", TEMPLATE, model="rm")
        found = start_and_score(scorer, "a {completion}?", ["x", "{query} yy"])
        other = start_and_score(Classify(f"{url}/classify", TEMPLATE, model="rm", head=1), "a", ["x"])
    texts = ["<u>a {completion}?</u><a>x</a>", "<u>a {completion}?</u><a>{query} yy</a>"]
    assert [one.value for one in found] == [logit(text) for text in texts]
    assert seen[2][2] == {"model": "rm", "input": texts, "use_activation": False}
    assert other[0].value == -1.0


def test_a_redirect_is_refused_and_takes_the_key_nowhere(monkeypatch: pytest.MonkeyPatch):
    """Seen to be followed, key and all."""
    monkeypatch.setenv("REWARD_TEST_KEY", "sk-reward-sentinel")
    reached: list[Any] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            reached.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            reached.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"rewards": [0.5]}')

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)) as url:
        scorer = GetReward(f"{url}/get_reward", TEMPLATE, "REWARD_TEST_KEY")
        said = r"^reward model at .*: HTTP 302: redirects are not followed; .* along to /elsewhere\."
        with pytest.raises(ValueError, match=said):
            start_and_score(scorer, "q", ["x"])
    assert reached == ["/get_reward"]


def test_a_server_that_ignores_the_flag_is_refused():
    """Also where its numbers differ in their last bits from call to call, with which it was seen to be accepted."""
    rounding: list[float] = []

    def ignoring(body: dict[str, Any], number: int) -> Any:
        answer = vllm(body | {"use_activation": True}, number)
        factor = rounding.pop() if rounding else 1.0
        return {"data": [row | {"probs": [factor * one for one in row["probs"]]} for row in answer["data"]]}

    with serving(ignoring, []) as url:
        with pytest.raises(ValueError, match="ignores use_activation"):
            start_and_score(Classify(f"{url}/classify", TEMPLATE, model="rm"), "q", ["x"])
        rounding[:] = [1 + 2**-9, 1.0]
        with pytest.raises(ValueError, match="ignores use_activation"):
            start_and_score(Classify(f"{url}/classify", TEMPLATE, model="rm"), "q", ["x"])
        accepted = start_and_score(Classify(f"{url}/classify", TEMPLATE, model="rm", raw=False), "q", ["x"])
    assert 0 < (accepted[0].value or 0) < 1


def test_get_reward_speaks_its_protocol():
    seen: list[Any] = []
    with serving(lambda body, number: {"rewards": [logit(text) for text in body["query"]]}, seen) as url:
        found = start_and_score(GetReward(f"{url}/get_reward", TEMPLATE), "q", ["x", "yy"])
    assert [one.value for one in found] == [logit("<u>q</u><a>x</a>"), logit("<u>q</u><a>yy</a>")]
    assert seen[0][2]["prompts"] == ["q", "q"]
    assert seen[0][2]["labels"] == ["", ""]
    for item, label in ((Item("q", "g"), "g"), (Item("q", "g", "r"), "r")):
        with serving(lambda body, number: {"rewards": [0.0]}, seen) as url:
            start_and_score(GetReward(f"{url}/get_reward", TEMPLATE), item, ["x"])
        assert seen[-1][2]["labels"] == [label]


@pytest.mark.parametrize(
    "answer", [{"rewards": [1.0]}, {"rewards": [1.0, None]}, {"rewards": [1.0, True]}, {"reward": []}, [], 400, 404]
)
def test_answers_that_are_not_rewards_are_errors(answer: Any):
    with serving(lambda body, number: answer, []) as url, pytest.raises(ValueError, match="reward model at http"):
        start_and_score(GetReward(f"{url}/get_reward", TEMPLATE), "q", ["x", "yy"])
    for odd in ("NaN", "1" + "0" * 400):
        sent = f'{{"rewards": [{odd}, 1]}}'
        due = pytest.raises(ValueError, match="where 2 numbers were due")
        with serving(lambda body, number, sent=sent: sent, []) as url, due:
            start_and_score(GetReward(f"{url}/get_reward", TEMPLATE), "q", ["x", "yy"])


def test_an_answer_that_comes_byte_by_byte_ends_with_the_timeout():
    """Seen to be waited for to its end: no pause between two bytes was as long as the timeout."""
    slow = lambda body, number: (b'{"rewards": [1.0]}', 0.1)  # noqa: E731
    with serving(slow, []) as url, pytest.raises(ValueError, match=r"no whole answer within 0.2 s"):
        start_and_score(GetReward(f"{url}/get_reward", TEMPLATE, timeout=0.2), "q", ["x"])


def test_a_busy_server_is_asked_again_and_the_key_is_sent_and_not_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RM_KEY", "sk-secret")
    seen: list[Any] = []
    with serving(lambda body, number: 503 if number == 0 else {"rewards": [1.0]}, seen) as url:
        scorer = GetReward(f"{url}/get_reward", TEMPLATE, key_variable="RM_KEY")
        assert start_and_score(scorer, "q", ["x"])[0].value == 1.0
    assert [key for _, key, _ in seen] == ["Bearer sk-secret"] * 2
    assert "sk-secret" not in repr(scorer)
    told = r"answered '\*\*\*'"
    with serving(lambda body, number: {"rewards": "sk-secret"}, []) as url, pytest.raises(ValueError, match=told):
        start_and_score(GetReward(f"{url}/get_reward", TEMPLATE, key_variable="RM_KEY"), "q", ["x"])


def test_a_server_that_asks_to_wait_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    """Seen to be asked again at once."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("sim.adapters.scorers.rewards.real_clock", lambda *_: Clock(lambda: 0.0, sleep, Random(0)))
    busy = (429, "{}", {"Retry-After": "17"})
    with serving(lambda body, number: busy if number == 0 else {"rewards": [1.0]}, []) as url:
        assert start_and_score(GetReward(f"{url}/get_reward", TEMPLATE), "q", ["x"])[0].value == 1.0
    assert len(waits) == 1
    assert 17.0 <= waits[0] < 18.0
    long = (503, "{}", {"Retry-After": "4000"})
    with serving(lambda body, number: long, []) as url, pytest.raises(ValueError, match="asks to wait 4000 s"):
        start_and_score(GetReward(f"{url}/get_reward", TEMPLATE), "q", ["x"])


def test_raw_numbers_out_of_bounds_are_found_at_the_start():
    """Seen to stop the run at the first completion that was paid for."""

    async def start(url: str, low: float, high: float) -> None:
        scorer = Classify(f"{url}/classify", TEMPLATE, model="rm")
        with closing(Journal(":memory:")) as journal:
            await Reader([Objective("liked", "bon", scorer, low, high, low)], journal).start()

    seen: list[Any] = []
    with serving(vllm, seen) as url:
        said = r"objective 'liked', a text tried at the start: the score .* lies outside the declared bounds \[0, 1\]"
        with pytest.raises(ValueError, match=said):
            asyncio.run(start(url, 0.0, 1.0))
        asyncio.run(start(url, -20.0, 20.0))
    assert len(seen) == 4


def test_a_reply_that_breaks_off_is_asked_for_again():
    """Seen to end in a traceback."""
    replies = [b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"rew', b"no HTTP\r\n\r\n"]
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"rewards": [1]}'
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for reply in [*replies, whole]:
                with listening.accept()[0] as one:
                    one.recv(65536)
                    one.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/get_reward"
        assert start_and_score(GetReward(url, TEMPLATE), "q", ["x"])[0].value == 1.0
        thread.join()


@pytest.mark.parametrize(("key", "said"), [("", "holds no key"), ("none", "has fewer than 8 signs")])
def test_a_key_that_cannot_be_is_refused_at_the_start(key: str, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RM_KEY", key)
    for scorer in (GetReward("http://x", TEMPLATE, "RM_KEY"), Classify("http://x", TEMPLATE, "RM_KEY", raw=False)):
        with pytest.raises(ValueError, match=said):
            asyncio.run(scorer.start())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://me:SECRET@x/classify", "holds a user, a password or a query"),
        ("http://SECRET@x/classify", "holds a user, a password or a query"),
        ("ftp://me:SECRET@x/v1", "holds a user, a password or a query"),
        ("me:SECRET@x/v1", "cannot be shown here; expected http"),
        ("http:/me:SECRET@x/v1", "cannot be shown here; expected http"),
        ("http://me:SECRET/1@x/v1", "cannot be shown here, which is no URL"),
        ("http://me:SECRET#1@x/v1", "cannot be shown here, which is no URL"),
        ("http://x/classify?api_key=SECRET", "holds a user, a password or a query"),
        ("http://x/classify#SECRET", "holds a user, a password or a query"),
        ("http://[::1/classify?key=SECRET", "cannot be shown here, which is no URL"),
        ("http://[::1/classify", r"is 'http://\[::1/classify', which is no URL"),
        ("http://h:99999/classify", "is 'http://h:99999/classify', which is no URL"),
        ("http://h:0/classify", "is 'http://h:0/classify'; expected http"),
        ("http://h/a b", "is 'http://h/a b'; expected http"),
        ("http:///classify", "is 'http:///classify'; expected http"),
    ],
)
def test_a_bad_address_is_refused_and_no_secret_in_it_repeated(url: str, said: str, tmp_path: Path):
    """That of a reward model and of the endpoint. Seen to be repeated with its password, or accepted."""
    options = {"scorer": "classify", "url": url, "template": TEMPLATE, "model": "rm"}
    with pytest.raises(ValueError, match=rf"^run.toml: objectives\[0\].url {said}") as refused:
        registry.read(TomlTable(Path("run.toml"), "objectives[0]", options))
    (tmp_path / "run.toml").write_text(MINIMAL.replace("http://localhost:1/v1", url))
    with pytest.raises(ValueError, match=rf"run.toml: endpoint.base_url {said}") as other:
        config.load(tmp_path / "run.toml")
    assert "SECRET" not in f"{refused.value} {other.value}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "ftp://x"}, "url is 'ftp://x'"),
        ({"template": "{query}"}, "template must hold {query} and {completion}, once each"),
        ({"template": "{completion}{query}"}, "template must hold {query} before"),
        ({"model": None}, "model is missing"),
        ({"head": -1}, "head is -1"),
    ],
)
def test_bad_options_are_refused(change: dict[str, Any], said: str):
    options = {"scorer": "classify", "url": "http://x/classify", "template": TEMPLATE, "model": "rm"} | change
    content = {key: value for key, value in options.items() if value is not None}
    with pytest.raises(ValueError, match=said):
        registry.read(TomlTable(Path("run.toml"), "objectives[0]", content))
