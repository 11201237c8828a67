"""Replies as servers really send them: what they bill, where their text is, how they complain."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import draw_runs
import pytest
from draw_runs import FREE, PROMPT, sample
from hypothesis import given
from hypothesis import strategies as st
from live_server import Model

from sim.adapters.paid.entries import Draw
from sim.adapters.paid.ledger import Amount
from sim.adapters.run_file.settings import Caps
from sim.adapters.wire.complaints import advice
from sim.adapters.wire.protocol import (
    Ambiguous,
    CallError,
    Completion,
    Fatal,
    Refused,
    Reply,
    Transient,
    Usage,
    read_reply,
)
from sim.adapters.wire.retry import Stopped
from sim.envs import imports
from sim.envs.replies import as_chat, billed, content_of

DETAILS = "completion_tokens_details"
INSPECT = {"input_tokens": 20, "output_tokens": 10}


def body(message: dict[str, Any], usage: dict[str, Any] | None = None, finish: str = "stop") -> bytes:
    return json.dumps({"choices": [{"index": 0, "finish_reason": finish, "message": message}], "usage": usage}).encode()


def reply(message: dict[str, Any], usage: dict[str, Any] | None = None, finish: str = "stop") -> Reply:
    return read_reply(200, body(message, usage, finish))


def complaint(status: int, said: Any) -> CallError:
    with pytest.raises(CallError) as raised:
        read_reply(status, said if isinstance(said, bytes) else json.dumps(said).encode())
    return raised.value


def test_reasoning_tokens_beside_the_completion_are_billed():
    """20 tokens in, 6 said, 300 thought, 326 in all: 306 are a completion's. Seen to count 6."""
    usage = {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 326}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 300}}
    assert reply({"role": "assistant", "content": "The answer is 4."}, usage).usage == Usage(20, 306)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}, (20, 30)),
        ({"prompt_tokens": 20, "completion_tokens": 30}, (20, 30)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 40}, (20, 30)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": None}, (20, 30)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": "90"}, (20, 30)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": -1}, (20, 30)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": True}, (20, 30)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 2**60}, (20, 30)),
        ({"prompt_tokens": 20, "total_tokens": 90}, (20, 70)),
        ({"completion_tokens": 30, "total_tokens": 90}, (60, 30)),
        ({"input_tokens": 12, "output_tokens": 90, "total_tokens": 102}, (12, 90)),
        (
            {"prompt_tokens": 20, "completion_tokens": 6, "completion_tokens_details": {"reasoning_tokens": 300}},
            (20, 306),
        ),
        ({"prompt_tokens": 20, "completion_tokens": 6, "completion_tokens_details": {"reasoning_tokens": 5}}, (20, 6)),
        ({"prompt_tokens": 20, "completion_tokens": 6, "completion_tokens_details": "none"}, (20, 6)),
    ],
)
def test_what_is_billed_is_held_against_the_total(usage: dict[str, Any], expected: tuple[int, int]):
    assert billed(usage) == expected


COUNTS = st.one_of(st.none(), st.booleans(), st.integers(-5, 400), st.just("7"), st.just(2.5))


@given(COUNTS, COUNTS, COUNTS)
def test_no_report_is_read_below_what_it_names(prompt: Any, completion: Any, total: Any):
    """Neither below its parts nor below its total; and a report without sense is none."""
    raw = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    found = reply({"content": "x"}, raw).usage
    if any(one is not None and (type(one) is not int or one < 0) for one in (prompt, completion)):
        assert found is None
    if found is not None:
        numbers = [one if type(one) is int and one >= 0 else 0 for one in (prompt, completion, total)]
        assert found.prompt_tokens >= numbers[0]
        assert found.completion_tokens >= numbers[1]
        assert found.prompt_tokens + found.completion_tokens >= numbers[2]


def test_thoughts_are_no_part_of_the_answer():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "two and two"}]},
        {"type": "text", "text": "The answer "},
        {"type": "text", "text": "is 4."},
    ]
    found = reply({"content": parts}, {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50})
    assert found == Reply((Completion("The answer is 4.", "stop"),), Usage(20, 30), (0,))


@pytest.mark.parametrize(
    ("message", "text", "finish"),
    [
        ({"content": None, "reasoning_content": "Hm. 4."}, "", "stop; no text, but reasoning_content"),
        ({"content": "", "reasoning_content": "Hm. 4."}, "", "stop; no text, but reasoning_content"),
        ({"content": "", "reasoning_content": ""}, "", "stop"),
        ({"content": ""}, "", "stop"),
        ({"content": [{"type": "text", "text": ""}]}, "", "stop"),
        ({"content": None}, "", "stop; no text"),
        ({}, "", "stop; no text"),
        ({"content": []}, "", "stop; no text"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "", "stop; no text, but tool_calls"),
        ({"content": 3}, "", "stop; no text, but content (JSON int)"),
        ({"content": [{"type": "image_url"}, {"type": "x"}]}, "", "stop; no text, but content (image_url, x)"),
        ({"content": [5, {}]}, "", "stop; no text, but content (JSON int, a part without a type)"),
        ({"content": [{"type": "thinking", "thinking": "4"}]}, "", "stop; no text, but content (thinking)"),
        ({"content": [{"type": "text", "text": 4}]}, "", "stop; no text, but content (text)"),
        ({"content": {"type": "text", "text": "4"}}, "4", "stop"),
        ({"content": ["The ", "answer"]}, "The answer", "stop"),
        ({"content": [{"type": "output_text", "text": "4"}, {"type": "image_url"}]}, "4", "stop"),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, "I will not.", "refusal"),
        ({"content": "", "refusal": "I will not."}, "I will not.", "refusal"),
    ],
)  # fmt: skip
def test_content_of_any_form_is_a_completion(message: dict[str, Any], text: str, finish: str):
    """No form is a fault of the server. Seen to be bought seven times."""
    assert reply(message).choices == (Completion(text, finish),)


def test_truncation_is_told_of_a_completion_without_text_too():
    assert reply({"content": None}, finish="length").choices == (Completion("", "length; no text"),)


N_IS_ONE = "Unable to submit request because candidateCount must be 1 but the entered value was 8."
MARKED = b"<!DOCTYPE html><html><head><style>p{}</style><title>502 Bad</title></head><p>nginx &amp; co</p></html>"


@pytest.mark.parametrize(
    ("status", "said", "kind", "text"),
    [
        (
            400,
            [{"error": {"code": 400, "message": N_IS_ONE, "status": "INVALID_ARGUMENT"}}],
            Fatal,
            f"HTTP 400: {N_IS_ONE} (endpoint.max_n = 1 helps: every completion is then asked for on its own)",
        ),
        (429, [{"error": {"code": "insufficient_quota", "message": "no credit"}}], Fatal, "HTTP 429: no credit"),
        (429, {"error": {"code": "insufficient_quota", "message": "no credit"}}, Fatal, "HTTP 429: no credit"),
        (429, {"detail": {"code": "insufficient_quota", "msg": "no credit"}}, Fatal, "HTTP 429: no credit"),
        (429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}], Transient, "HTTP 429: RESOURCE_EXHAUSTED"),
        (422, {"detail": "Input is odd"}, Fatal, "HTTP 422: Input is odd"),
        (
            422,
            {"detail": [{"loc": ["body", "n"], "msg": "Input should be less than or equal to 1", "type": "less"}]},
            Fatal,
            "HTTP 422: body.n: Input should be less than or equal to 1 (endpoint.max_n = 1 helps: every completion is "
            "then asked for on its own)",
        ),
        (400, {"message": "bad", "code": 7}, Fatal, "HTTP 400: bad"),
        (400, {"object": "error", "message": "too hot", "code": 400}, Fatal, "HTTP 400: too hot"),
        (400, {"error": {"errors": [{"message": "one"}, {"message": "two"}]}}, Fatal, "HTTP 400: one; two"),
        (400, {"error": "words"}, Fatal, "HTTP 400: words"),
        (400, {"error": {"code": "content_filter", "message": "no"}}, Refused, "HTTP 400: no"),
        (400, [{"error": {"code": "content_filter", "message": "no"}}], Refused, "HTTP 400: no"),
        (500, b"upstream\x1b[31m died\n", Ambiguous, "HTTP 500: upstream\\x1b[31m died"),
        (502, MARKED, Ambiguous, "HTTP 502: 502 Bad nginx & co"),
        (503, b"", Transient, "HTTP 503: an empty body"),
        (400, b"[" * 100_000, Fatal, "HTTP 400: " + "[" * 1000 + " .."),
        (418, {"odd": 1}, Fatal, 'HTTP 418: {"odd": 1}'),
        (200, [{"error": {"code": "insufficient_quota", "message": "none"}}], Fatal, "HTTP 500: none"),
        (200, [{"error": {"code": 429, "message": "slow"}}], Transient, "HTTP 429: slow"),
        (200, {"object": "error", "message": "slow", "code": "429"}, Transient, "HTTP 429: slow"),
        (200, {"error": {"message": "x" * 700}}, Ambiguous, "HTTP 500: " + "x" * 700),
    ],
)  # fmt: skip
def test_complaints_of_any_shape_are_told_whole_and_classified(status: int, said: Any, kind: type, text: str):
    found = complaint(status, said)
    assert (type(found), str(found)) == (kind, text)


@pytest.mark.parametrize(
    ("said", "setting"),
    [
        ("Invalid value: 'n' must be 1 for this model.", "endpoint.max_n = 1"),
        ("n must be less than or equal to 4", "endpoint.max_n = 1"),
        ("Unknown parameter: n", "endpoint.max_n = 1"),
        ("Only one completion choice is allowed", "endpoint.max_n = 1"),
        (
            "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
            'endpoint.max_tokens_field = "max_completion_tokens"',
        ),
        ("Unrecognized request argument supplied: max_completion_tokens", 'endpoint.max_tokens_field = "max_tokens"'),
        ("max_tokens is too large: 99999. This model supports at most 16384", "a smaller max_tokens in [[prompts]]"),
        ("This model's maximum context length is 8192 tokens", "a shorter prompt or a smaller max_tokens"),
        ("Unsupported value: 'temperature' does not support 0.5 with this model.", "leave temperature out"),
        ("`top_p` must be in (0, 1]", "leave top_p out"),
        ("Extra inputs are not permitted: seed", "endpoint.send_seed = false"),
        ("The model is overloaded; invitation is not an option", ""),
    ],
)  # fmt: skip
def test_the_setting_that_helps_is_named(said: str, setting: str):
    found = advice(400, said)
    assert setting in found if setting else not found


def test_a_wrong_key_and_a_wrong_address_say_which_setting_is_meant():
    assert "endpoint.key_variable" in str(complaint(401, {"error": {"message": "no"}}))
    assert "endpoint.base_url" in str(complaint(404, {"detail": "Not Found"}))


def test_output_of_responses_reads_as_a_chat():
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "The answer is 4."}]}
    usage = {"input_tokens": 12, "output_tokens": 90, "total_tokens": 102}
    whole = {"object": "response", "status": "completed", "output": [{"type": "reasoning"}, said], "usage": usage}
    found = read_reply(200, json.dumps(as_chat(whole)).encode())
    assert found == Reply((Completion("The answer is 4.", "stop"),), Usage(12, 90), (0,))
    cut = whole | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}
    assert read_reply(200, json.dumps(as_chat(cut)).encode()).choices == (Completion("", "length; no text"),)
    failed = read_reply(200, json.dumps(as_chat(whole | {"status": "failed", "error": {"code": "x"}})).encode())
    assert failed.choices[0].broken
    assert as_chat({"choices": []}) == {"choices": []}
    assert content_of({"content": None}).missing == ""


def test_a_batch_of_responses_is_imported(tmp_path: Path):
    """With 90 and 70 tokens. Seen to be called failed, and to be asked for again."""
    asked, out = tmp_path / "asked.jsonl", tmp_path / "out.jsonl"
    lines, replies = [], []
    for name, query, text, tokens in (("q1", "2+2?", "The answer is 4.", 90), ("q2", "3+4?", "The answer is 7.", 70)):
        request = {"model": "m", "instructions": "Answer.", "input": query}
        lines.append({"custom_id": name, "method": "POST", "url": "/v1/responses", "body": request})
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        usage = {"input_tokens": 12, "output_tokens": tokens, "total_tokens": 12 + tokens}
        whole = {"object": "response", "status": "completed", "output": [{"type": "reasoning"}, said], "usage": usage}
        replies.append({"custom_id": name, "response": {"status_code": 200, "body": whole}, "error": None})
    asked.write_text("\n".join(map(json.dumps, lines)))
    out.write_text("\n".join(map(json.dumps, replies)))
    found = imports.read(out, "p", asked)
    assert found["completion"].tolist() == ["The answer is 4.", "The answer is 7."]
    assert found["completion_tokens"].tolist() == [90, 70]
    assert found["prompt_tokens"].tolist() == [12, 12]
    assert found["query"].tolist() == ["2+2?", "3+4?"]
    assert len(set(found["prompt"])) == 1


def test_a_log_is_charged_what_was_billed(tmp_path: Path):
    choice = {"message": {"content": "4"}, "stop_reason": "stop"}
    usage = {"input_tokens": 20, "output_tokens": 6, "total_tokens": 326, "reasoning_tokens": 300}
    sample = {"id": "q", "epoch": 1, "output": {"choices": [choice], "usage": usage}}
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"status": "success", "eval": {}, "samples": [sample]}))
    assert imports.read(log, "p")["completion_tokens"].tolist() == [306]


def served(message: dict[str, Any], usage: dict[str, Any], caps: Caps = FREE, pulls: int = 3) -> tuple[Model, Any]:
    """Draws, one a request, of a server that answers every time with this message and this usage."""
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    model = Model(dress=lambda reply: reply | {"choices": [choice], "usage": usage})
    found: Any
    try:
        found = sample(model, [(str(k), 1) for k in range(pulls)], caps=caps, most=1)
    except Stopped as error:
        found = str(error)
    return model, found


GROK = {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 326}


def test_tokens_are_charged_as_they_are_billed_and_caps_hold_against_that(monkeypatch: pytest.MonkeyPatch):
    """Three requests at 326 tokens, where ten at 26 would fit. Seen to ask on: a cap was exceeded six times over."""
    monkeypatch.setattr(draw_runs, "PROMPT", replace(PROMPT, max_tokens=310))
    model, found = served({"content": "4"}, GROK)
    assert found.spent == Amount(3, 3 * 326, 3 * (20 * 3 + 306 * 7))
    worst = 310 + len("0?") + 8 + 64
    caps = (Caps(99, 3 * 326 + worst - 1, None), Caps(99, None, 3 * (20 * 3 + 306 * 7) + 310 * 7 + 74 * 3 - 1))
    for name, cap in zip(("tokens", "money"), caps, strict=True):
        model, found = served({"content": "4"}, GROK, cap, 10)
        assert f"caps.{name} is" in found
        assert len(model.requests) == 3


def test_a_server_that_bills_more_than_was_possible_ends_the_run():
    """A completion has 30 tokens at most: reasoning beside them is not bounded by that."""
    model, found = served({"content": "4"}, GROK)
    assert "20 prompt and 306 completion tokens where at most 104 in all were possible" in found
    assert "a larger max_tokens in [[prompts]] leaves them room" in found
    assert len(model.requests) == 1


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "2 + 2"}]}, {"type": "text", "text": "It is 4."}]


@pytest.mark.parametrize(
    ("content", "draw"),
    [
        (PARTS, Draw("It is 4.", "stop")),
        (None, Draw("", "stop; no text")),
        ([{"type": "image_url"}], Draw("", "stop; no text, but content (image_url)")),
    ],
)
def test_a_billed_reply_of_any_form_is_bought_once_and_charged(content: Any, draw: Draw):
    model, found = served({"content": content}, {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50})
    assert len(model.requests) == 3
    assert found.draws == [[draw]] * 3
    assert found.spent[:2] == (3, 150)
