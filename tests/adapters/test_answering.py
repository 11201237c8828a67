"""A policy that answers inside a program: many at a time, from threads and event loops, within caps, and let go of."""

import asyncio
import builtins
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from journal_files import query
from live_runs import digit, iapo
from live_server import KEY, Model, serving
from policy_files import write

from sim import live
from sim.adapters.wire.retry import Stopped

pytest.importorskip("openai", reason="the extra [llm] is not installed")

ROOT = Path(__file__).resolve().parents[2]
QUERIES = [f"query {k} has the digit {k % 10}" for k in range(40)]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)


def two_contexts(folder: Path, url: str) -> Path:
    """A policy whose contexts ask for 1 and 4 completions."""
    file = write(folder, url)
    content = json.loads(file.read_text())
    content["contexts"] = {name: content["contexts"]["c"] for name in ("cheap", "good")}
    arm = content["policy"]["c"]["chosen"]
    content["policy"] = {"cheap": {"chosen": arm | {"scale": 1}}, "good": {"chosen": arm | {"scale": 4}}}
    file.write_text(json.dumps(content))
    return file


def test_an_answer_is_that_of_the_command(tmp_path: Path) -> None:
    """Seen to fail with requests whose seeds began one later."""
    with serving(Model(answer=digit)) as url:
        file = write(tmp_path, url, arm={"scale": 8})
        said = [iapo("ask", file, one, "--seed", 3) for one in QUERIES[:5]]
        with live.Policy.load(file) as policy:
            found = [policy.answer(one, seed=3) for one in QUERIES[:5]]
    assert [f"{one.text}\n" for one in found] == [one.stdout for one in said]
    for one, told in zip(found, said, strict=True):
        assert f"a, N = 8; votes: {', '.join(f'{x} ({n})' for x, n in one.votes.items())}; " in told.stderr
        assert (one.context, one.prompt, one.scale, len(one.completions), one.problem) == ("c", "a", 8, 8, "")


def test_many_are_asked_at_a_time_and_come_in_their_order(tmp_path: Path) -> None:
    """The server waits until eight requests are under way at once. Seen to hang with one answer after the other."""
    meeting, together = threading.Barrier(8, timeout=20), 8

    def answer(prompt: str, number: int) -> str:
        meeting.wait()
        return digit(prompt, number)

    with serving(Model(answer=answer)) as url, live.Policy.load(write(tmp_path, url, arm={"scale": 1})) as policy:
        found = policy.answers(QUERIES[: 2 * together])
        assert [one.text for one in found] == [digit(f"[0.75] {one}", 0) for one in QUERIES[: 2 * together]]

        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*(policy.aanswer(one) for one in QUERIES[:together]))

        assert asyncio.run(all_at_once()) == found[:together]
        with ThreadPoolExecutor(together) as pool:
            assert list(pool.map(policy.answer, QUERIES[:together])) == found[:together]


def test_contexts_have_arms_of_their_own(tmp_path: Path) -> None:
    with serving(Model(answer=digit)) as url, live.Policy.load(two_contexts(tmp_path, url)) as policy:
        assert policy.contexts == ("cheap", "good")
        assert [policy.answer(QUERIES[0], name).scale for name in policy.contexts] == [1, 4]
        assert policy.spent["completions"] == 5
        for wrong, said in ((None, "context is needed; "), ("best", "context is 'best'; ")):
            with pytest.raises(ValueError, match=f"{said}.*has 'cheap', 'good'"):
                policy.answer(QUERIES[0], wrong)


def test_a_query_that_fails_ends_alone(tmp_path: Path) -> None:
    """One of four is refused for good. Seen to end all four with the sampler of a run, which stops with the first."""
    model = Model(answer=digit)

    def fault(number: int, body: dict[str, Any]) -> str | None:
        return "422" if "digit 1" in body["messages"][-1]["content"] else None

    model.fault = fault
    with serving(model) as url, live.Policy.load(write(tmp_path, url)) as policy:

        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*(policy.aanswer(one) for one in QUERIES[:4]), return_exceptions=True)

        found = asyncio.run(all_at_once())
        assert isinstance(found[1], Stopped)
        assert "HTTP 422" in str(found[1])
        assert [type(one).__name__ for one in found] == ["LiveAnswer", "Stopped", "LiveAnswer", "LiveAnswer"]
        assert policy.answer(QUERIES[5]).text
        with pytest.raises(Stopped):
            policy.answers(QUERIES[:3])


def test_caps_hold_for_all_together_and_an_answer_that_fits_still_comes(tmp_path: Path) -> None:
    """Seen to fail with a cap that every query had to itself."""
    model = Model(answer=digit)
    with serving(model) as url, live.Policy.load(write(tmp_path, url), caps={"completions": 7}) as policy:

        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*(policy.aanswer(one) for one in QUERIES[:9]), return_exceptions=True)

        found = asyncio.run(all_at_once())
        assert sum(isinstance(one, live.Answer) for one in found) == 3
        assert all("caps.completions is 7" in str(one) for one in found if isinstance(one, Stopped))
        assert policy.spent["completions"] == model.completions == 6
    wrongs = {"did you mean 'completions'": {"completion": 7}, "caps.money is -1": {"money": -1}, "0, so": {"money": 1}}
    for said, wrong in wrongs.items():
        with pytest.raises(ValueError, match=said):
            live.Policy.load(write(tmp_path, url), caps=wrong)


def test_a_journal_answers_again_for_nothing_and_counts_against_the_caps(tmp_path: Path) -> None:
    """Also where the same query comes twice at a time. Seen to ask twice without turns, and to begin anew at 0."""
    model, file = Model(answer=digit), tmp_path / "answers.sqlite"
    with serving(model) as url:
        with live.Policy.load(write(tmp_path, url), journal=file) as policy:
            twice = policy.answers([QUERIES[0], QUERIES[0], QUERIES[1]])
            assert twice[0] == twice[1]
            assert model.completions == 4
            assert policy.answer(QUERIES[0], seed=1).completions[0] == twice[0].completions[1], "the draw of seed 1"
            assert model.completions == 5
        caps = {"completions": 6, "tokens": 10**6}
        with live.Policy.load(write(tmp_path, url), journal=file, caps=caps) as policy:
            assert policy.answer(QUERIES[0]) == twice[0]
            assert policy.spent["completions"] == model.completions == 5
            with pytest.raises(Stopped, match=r"caps\.completions is 6"):
                policy.answer(QUERIES[2])
    assert query(file, "SELECT key FROM meta WHERE key = 'config'") == [], "a run's journal keeps its configuration"


def test_nothing_grows_without_a_journal(tmp_path: Path) -> None:
    """Judgements included. Seen to keep 20 rows of draws, and with the judge's cells left out."""
    judge = {"scorer": "judge", "model": "m", "template": "{query}|{completion}", "marked": False}
    source = {"strategy": "bon", "endpoint": {"model": "m", "key_variable": "LIVE_TEST_KEY"}, "objectives": [judge]}
    model = Model(answer=lambda prompt, number: "0.5" if "|" in prompt else f"It is {number}.")
    with serving(model) as url:
        source["endpoint"] = {"model": "m", "key_variable": "LIVE_TEST_KEY", "base_url": url}
        with live.Policy.load(write(tmp_path, top={"source": source})) as policy:
            assert {one.score for one in policy.answers(QUERIES[:5])} == {0.5}
            assert policy.spent["completions"] == 5 * (2 + 2)
            journal = policy._service.ready.result().journal  # type: ignore[union-attr]
            for table in ("draws", "attempts", "cells", "scores"):
                assert journal.rows(f"SELECT count(*) FROM {table}") == [(0,)], table


def test_who_stops_waiting_has_nothing_more_sent(tmp_path: Path) -> None:
    """What was under way is charged, room under caps comes back. Seen to wait for ever for room."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(prompt: str, number: int) -> str:
        begun.set()
        go_on.wait(20)
        return digit(prompt, number)

    model = Model(answer=slow, choices="one")
    with serving(model) as url, live.Policy.load(write(tmp_path, url), caps={"completions": 8}) as policy:

        async def impatient() -> None:
            waiting = asyncio.create_task(policy.aanswer(QUERIES[0]))
            await asyncio.to_thread(begun.wait, 20)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(impatient())
        go_on.set()
        assert policy.answer(QUERIES[1]).scale == 2
        assert len(model.requests) == 1 + 2, "one completion each; the second of the first query was not asked for"


@pytest.mark.parametrize("how", ["close", "with", "garbage"])
def test_closing_ends_the_thread(how: str, tmp_path: Path) -> None:
    """Seen to leave it running with no finalizer, and with one that held the policy itself."""
    before = threading.active_count()

    def closed(done: Callable[[], Any]) -> None:
        until = time.monotonic() + 20
        while threading.active_count() > before and time.monotonic() < until:
            done()
            time.sleep(0.01)

    with serving(Model(answer=digit)) as url:
        before = threading.active_count()
        policy = live.Policy.load(write(tmp_path, url))
        assert threading.active_count() == before, "loading opens nothing"
        policy.answer(QUERIES[0])
        thread = policy._service.thread  # type: ignore[union-attr]
        assert thread.is_alive()
        if how == "garbage":
            del policy
            gc.collect()
        elif how == "close":
            policy.close()
            policy.close()
            with pytest.raises(ValueError, match=r"policy\.json'\) is closed"):
                policy.answer(QUERIES[0])
            assert policy.spent["completions"] == 2
        else:
            with policy:
                pass
        thread.join(20)
        assert not thread.is_alive()
    closed(gc.collect)


def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    model = Model(answer=digit, fault=lambda number, body: "hang")
    with serving(model) as url:
        policy = live.Policy.load(write(tmp_path, url))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(policy.answer, QUERIES[0])
            while not model.requests:
                time.sleep(0.01)
            policy.close()
            with pytest.raises(Stopped, match="closed before the answer came"):
                waiting.result(20)


def test_a_journal_that_another_holds_is_said_and_tried_again(tmp_path: Path) -> None:
    with serving(Model(answer=digit)) as url:
        first, second = (live.Policy.load(write(tmp_path, url), journal=tmp_path / "j.sqlite") for _ in range(2))
        with first, second:
            first.answer(QUERIES[0])
            for _ in range(2):
                with pytest.raises(ValueError, match=r"j\.sqlite: cannot be opened as a journal \(another run holds"):
                    second.answer(QUERIES[0])
            first.close()
            assert second.answer(QUERIES[0]).text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("",), "the query is ''; expected text"),
        ((" ",), "the query is ' '; expected text"),
        (("q", "c", {"place": "x"}), "fields names 'place', but the prompt 'a' has slots for the query alone"),
        (("q", "c", {}, -1), "seed is -1; expected a whole number from 0 to"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(given: tuple[Any, ...], said: str, tmp_path: Path) -> None:
    policy = live.Policy.load(write(tmp_path))
    text, context, fields, seed = (*given, None, None, 0)[:4] if len(given) == 1 else (*given, 0)[:4]
    with pytest.raises(ValueError, match=said):
        policy.answer(text, context, fields=fields, seed=seed)
    with pytest.raises(ValueError, match="a list of texts"):
        policy.answers("text")


def test_a_policy_without_its_key_is_refused_when_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVE_TEST_KEY")
    with pytest.raises(ValueError, match=r"LIVE_TEST_KEY \(endpoint.key_variable\) holds no key"):
        live.Policy.load(write(tmp_path))


def own_code(folder: Path) -> Path:
    """A policy whose scorer is a function of a module that leaves a mark when it is imported."""
    (folder / "own_marks.py").write_text(
        "from pathlib import Path\n(Path(__file__).parent / 'imported').touch()\n"
        "def score(query, gold, completion):\n    return completion\n"
    )
    scorer = {"name": "right", "scorer": "callable", "function": "own_marks:score"}
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "key_variable": "LIVE_TEST_KEY"}
    return write(folder, top={"source": {"strategy": "mv", "endpoint": endpoint, "objectives": [scorer]}})


def test_code_is_imported_where_it_is_trusted_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sits at a terminal is asked. Seen to import it as soon as the policy was read."""
    file, asked = own_code(tmp_path), []
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    for trust in (False, ["another"], "another"):
        with pytest.raises(ValueError, match=r"imports own_marks from .*; read it, then allow .*in Python: trust"):
            live.Policy.load(file, trust=trust)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for reply in ("", "n", EOFError(), NotImplementedError()):

        def refuse(question: str, reply: Any = reply) -> str:
            asked.append(question)
            if isinstance(reply, Exception):
                raise reply
            return reply

        monkeypatch.setattr(builtins, "input", refuse)
        with pytest.raises(ValueError, match="imports own_marks from"):
            live.Policy.load(file)
    assert len(asked) == 4
    assert f"'own_marks', from '{tmp_path / 'own_marks.py'}'" in asked[0]
    assert not (tmp_path / "imported").exists()
    monkeypatch.setattr(builtins, "input", lambda question: "y")
    assert live.Policy.load(file).contexts == ("c",)
    monkeypatch.setattr(builtins, "input", refuse)
    for trust in (True, "own_marks", ["own_marks"]):
        assert live.Policy.load(file, trust=trust).contexts == ("c",)


def test_a_program_that_ends_without_closing_says_nothing(tmp_path: Path) -> None:
    """And a program that imports `live` alone imports nothing heavy. Seen to fail with a thread that is no daemon."""
    program = (
        "import sys\nfrom sim import live\nassert 'sim.adapters' not in sys.modules\n"
        "policy = live.Policy.load(sys.argv[1])\nprint(policy.answer('has the digit 7').text)\n"
        "assert 'jax' not in sys.modules\n"
    )
    with serving(Model(answer=digit)) as url:
        line = [sys.executable, "-c", program, str(write(tmp_path, url))]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("It is 7.\n", "", 0)
