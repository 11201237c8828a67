"""The client against a server that misbehaves: every fault has one meaning, every request is sent once."""

import asyncio
import base64
import json
import logging
import pickle
import traceback
from urllib.parse import quote

import pytest
from live_server import KEY, Model, serving

from sim.adapters.run_file.settings import Concurrency, Endpoint
from sim.adapters.wire.openai_client import OpenAIClient, retry_after
from sim.adapters.wire.protocol import (
    Ambiguous,
    CallError,
    Fatal,
    Refused,
    Reply,
    Request,
    Transient,
    Usage,
    failure,
    read_reply,
)
from sim.adapters.wire.redact import Redactor

pytest.importorskip("openai", reason="the extra [llm] is not installed")

ASK = Request(model="m", messages=(("user", "hello"),), n=3, max_tokens=20, temperature=0.5, seed=7)


def endpoint(url: str) -> Endpoint:
    return Endpoint(url, "", 5.0, 10.0, 16, "max_tokens", True, 64, Concurrency(4, 1, 4))


def ask(model: Model, request: Request = ASK, timeout: float = 5.0, key: str = KEY, url: str | None = None) -> Reply:
    async def once(url: str) -> Reply:
        client = OpenAIClient(endpoint(url), key)
        try:
            return await client.complete(request, timeout)
        finally:
            await client.close()

    with serving(model) as served:
        return asyncio.run(once(url or served))


def test_a_request_says_what_was_asked_and_the_reply_is_read():
    model = Model()
    reply = ask(model, ASK._replace(extra={"reasoning_effort": "low"}))
    assert [choice.text for choice in reply.choices] == [model.answer("hello", 7 + i) for i in range(3)]
    assert reply.usage == Usage(1, sum(len(choice.text) // 4 for choice in reply.choices), 0)
    assert model.requests == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "n": 3,
            "max_tokens": 20,
            "temperature": 0.5,
            "seed": 7,
            "reasoning_effort": "low",
        }
    ]


FAULTS = {
    "401": Fatal,
    "403": Fatal,
    "404": Fatal,
    "400": Fatal,
    "quota": Fatal,
    "filter": Refused,
    "429": Transient,
    "wait": Transient,
    "408": Ambiguous,
    "503": Transient,
    "500": Ambiguous,
    "502": Ambiguous,
    "timeout": Ambiguous,
    "drip": Ambiguous,
    "reset": Ambiguous,
    "half": Ambiguous,
    "html": Ambiguous,
    "null": Ambiguous,
    "error200": Ambiguous,
    "empty": Ambiguous,
    "nomessage": Ambiguous,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_meaning_and_is_not_repeated(fault: str):
    """Seen to fail for "drip", a broken connection after 1.2 s, where no limit holds for the whole request."""
    model = Model(fault=lambda number, body: fault)
    with pytest.raises(CallError) as raised:
        ask(model, timeout=0.25 if fault in ("timeout", "drip") else 5.0)
    if fault in ("timeout", "drip"):
        assert str(raised.value) == "no answer within 0.25 s"
    assert type(raised.value) is FAULTS[fault], raised.value
    assert len(model.requests) == 1
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_a_connection_whose_request_failed_serves_no_other():
    """Seen to fail where it was taken again."""

    async def two() -> int:
        client = OpenAIClient(endpoint(url), KEY)
        lanes = client._client._client._transport
        try:
            with pytest.raises(Ambiguous):
                await client.complete(ASK, 0.25)
            failed = len(lanes._all)
            await client.complete(ASK, 5.0)
            return failed
        finally:
            await client.close()

    with serving(Model(fault=lambda number, body: "drip" if number == 0 else None)) as url:
        assert asyncio.run(two()) == 0


def test_no_connection_costs_nothing():
    with pytest.raises(Transient, match="no connection"):
        ask(Model(), url="http://127.0.0.1:9/v1")
    with pytest.raises(Transient, match="no connection"):
        ask(Model(), url="http://no-such-host.invalid/v1")


@pytest.mark.parametrize("lie", ["none", "negative", "text", "low"])
def test_usage_that_cannot_be_true_is_none(lie: str):
    assert ask(Model(usage=lie)).usage is None


def test_retry_after_is_read_in_all_its_forms():
    assert retry_after({"retry-after": "3"}) == 3.0
    assert retry_after({"retry-after-ms": "250", "retry-after": "3"}) == 0.25
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None
    with pytest.raises(Transient) as raised:
        ask(Model(fault=lambda number, body: "wait"))
    assert raised.value.retry_after == 600.0
    assert raised.value.throttled


def forms(secret: str) -> list[str]:
    """How a secret might show: raw, quoted, escaped, encoded."""
    encoded = base64.b64encode(secret.encode()).decode()
    return [secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1], encoded[:-4]]


@pytest.mark.parametrize("fault", ["echo", "401", "reset", "html", None])
def test_the_key_shows_nowhere(fault: str | None, caplog: pytest.LogCaptureFixture):
    """Not in errors, chained errors, logs at DEBUG, reprs, or a body that echoes the header."""
    caplog.set_level(logging.DEBUG)
    model = Model(fault=lambda number, body: fault, key=KEY if fault != "401" else "another")
    shown = []
    try:
        shown.append(repr(ask(model)))
    except CallError as error:
        shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
    shown += [caplog.text, repr(OpenAIClient(endpoint("http://127.0.0.1:9/v1"), KEY)), repr(Redactor(KEY))]
    assert len(model.requests) == 1
    for form in forms(KEY):
        assert not any(form in text for text in shown), form


def test_what_holds_the_key_cannot_be_pickled():
    for thing in (OpenAIClient(endpoint("http://127.0.0.1:9/v1"), KEY), Redactor(KEY)):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)


def test_a_redactor_finds_every_form():
    redactor = Redactor(KEY)
    for form in forms(KEY)[:3]:
        assert KEY not in redactor.text(f"a {form} b")
        assert redactor.text(f"a {form} b") == "a *** b"
    assert redactor.text(base64.b64encode(f"Bearer {KEY}".encode()).decode()) == "***"
    clean = b"nothing here"
    assert redactor.clean(clean) is clean
    assert Redactor("").text("abc") == "abc"


@pytest.mark.parametrize(
    "spelt",
    [
        KEY.replace("/", "\\/"),
        KEY.replace("/", "\\\\\\/"),
        KEY.replace("=", "\\u003d"),
        KEY.replace("+", "\\u002B"),
        "".join(f"\\u{ord(sign):04x}" for sign in KEY),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-le"])
def test_a_key_that_json_spells_otherwise_is_found(spelt: str, encoding: str):
    content = f'{{"choices": [{{"message": {{"content": "a \\n {spelt} \\u00e9"}}, "finish_reason": "stop"}}]}}'
    for held in (content, json.dumps({"inner": content})):
        assert KEY not in held
        cleaned = Redactor(KEY).clean(held.encode(encoding))
        assert b"***" in cleaned
        found = json.loads(cleaned)
        found = json.loads(found["inner"]) if "inner" in found else found
        assert found["choices"][0]["message"]["content"] == "a \n *** \u00e9"
    assert Redactor('a"b\\cdefgh').text(json.dumps('x a"b\\cdefgh y')) == '"x *** y"'


def test_replies_are_read_strictly():
    """What the server may send inside a 200."""
    good = {"message": {"content": "x"}, "finish_reason": "length"}
    assert read_reply(200, json.dumps({"choices": [good]}).encode()).choices[0].finish == "length"
    silent = {"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}
    assert read_reply(200, json.dumps({"choices": [silent]}).encode()).choices[0] == ("no", "refusal", False)
    for broken in ({"finish_reason": "error"}, good | {"finish_reason": "abort"}, good | {"error": {"code": 502}}):
        reply = read_reply(200, json.dumps({"choices": [good, broken]}).encode())
        assert [choice.broken for choice in reply.choices] == [False, True]
        assert reply.choices[1].text == ""
    last = good | {"index": 2, "message": {"content": "z"}}
    apart = [last, good | {"index": 0}, {"index": 1, "error": {"code": 502}}]
    reply = read_reply(200, json.dumps({"choices": apart}).encode())
    assert [choice.text for choice in reply.choices] == ["x", "", "z"], "by their numbers, for they have seeds by them"
    for choices in ([{"text": "x"}], [None], {}, "x", None):
        with pytest.raises(Ambiguous):
            read_reply(200, json.dumps({"choices": choices}).encode())
    with pytest.raises(Transient):
        read_reply(200, b'{"error": {"code": 429, "message": "slow down"}}')
    assert isinstance(failure(429, {"error": {"code": "project_spend_limit_exceeded"}}, None), Fatal)
    assert isinstance(failure(429, {"error": {"code": "429", "type": "insufficient_quota"}}, None), Fatal)
    assert isinstance(failure(400, {"error": {"code": "400", "type": "content_filter"}}, None), Refused)
    assert isinstance(failure(429, {"error": "words"}, None), Transient)
    with pytest.raises(Ambiguous):
        read_reply(200, b"[" * 100_000)
    cached = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
    assert read_reply(200, json.dumps({"choices": [good], "usage": cached}).encode()).usage == Usage(9, 4, 8)
