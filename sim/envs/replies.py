"""Replies of language models' servers, however they are dressed: text, tokens billed, other interfaces.

Shared by live replies, batch output and the logs of other tools.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

MOST_TOKENS = 2**40
_TEXT = ("text", "output_text")
"""Types of parts that are the answer."""
_BESIDE = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "tool_calls", "function_call", "audio")
"""Fields of a message that hold what a model said where its content holds nothing."""

_CACHED = ("input_tokens_cache_read", "input_tokens_cache_write")
_CACHED += ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Prompt tokens that Inspect and Anthropic count beside `input_tokens`, not always, and their totals with them."""
_BROKEN = ("error", "abort", "cancelled")
"""Finish reasons of choices that did not come to an end."""


class MessageText(NamedTuple):
    """The text of a message.

    Attributes:
        text: the answer, empty where there is none.
        missing: None where the server gave a text, an empty one too; else where what it said is instead, "" for
            nowhere.
    """

    text: str
    missing: str | None = None


def content_of(message: Mapping[str, Any]) -> MessageText:
    """The text of a chat message: as it stands, or in parts, of which thoughts are no part of the answer."""
    content = message.get("content")
    if isinstance(content, str) and content:
        return MessageText(content)
    texts, other = _parts(content)
    if texts and (text := "".join(texts)):
        return MessageText(text)
    beside = [name for name in _BESIDE if message.get(name)]
    if isinstance(content, str) or (texts and not other):  # an empty answer is an answer, where nothing is beside it
        return MessageText("", ", ".join(beside) or None)
    if other:
        beside.insert(0, f"content ({', '.join(other)})")
    return MessageText("", ", ".join(beside))


def _parts(content: Any) -> tuple[list[str], list[str]]:
    """Texts among the parts of a message, and what its other parts are, each kind once."""
    if content is None or isinstance(content, str):
        return [], []
    texts: list[str] = []
    other: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            other.append(f"JSON {type(part).__name__}")
        elif isinstance(part.get("text"), str) and part.get("type", "text") in _TEXT:
            texts.append(part["text"])
        else:
            kind = part.get("type")
            known = isinstance(kind, str) and kind.isascii() and kind.isprintable()
            other.append(str(kind)[:40] if known else "a part without a type")
    return texts, list(dict.fromkeys(other))


def billed(usage: Mapping[str, Any]) -> tuple[Any, Any]:
    """Prompt and completion tokens that a server bills, from its report; what is missing is None, what is odd stays.

    Some servers count reasoning tokens beside `completion_tokens`; their `total_tokens` holds them, and is what they
    bill. Where there is no total, more reasoning tokens than completion tokens say the same.
    """
    prompt = _first(usage, "prompt_tokens", "input_tokens")
    completion = _first(usage, "completion_tokens", "output_tokens")
    total = usage.get("total_tokens")
    total = total if is_count(total) else None
    if prompt is None and total is not None and is_count(completion) and completion <= total:
        prompt = total - completion
    if not is_count(prompt):
        return prompt, completion
    if completion is None and total is not None and total >= prompt:
        return prompt, total - prompt
    if not is_count(completion):
        return prompt, completion
    cached = sum(usage[name] for name in _CACHED if is_count(usage.get(name)))
    if total is not None and cached:
        prompt = max(prompt, min(prompt + cached, total - completion))
    if total is not None:
        return prompt, max(completion, total - prompt)
    details = _first(usage, "completion_tokens_details", "output_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, dict) else usage.get("reasoning_tokens")
    return prompt, completion + thought if is_count(thought) and thought > completion else completion


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value can be a number of tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS


def _first(owner: Mapping[str, Any], *names: str) -> Any:
    return next((owner[name] for name in names if owner.get(name) is not None), None)


def as_chat(body: Any) -> Any:
    """A reply of /v1/responses as one of /v1/chat/completions would be; any other body as it is."""
    if not isinstance(body, dict) or body.get("object") != "response" or not isinstance(body.get("output"), list):
        return body
    said = [one for one in body["output"] if isinstance(one, dict) and one.get("type") == "message"]
    parts = [part for one in said if isinstance(one.get("content"), list) for part in one["content"]]
    others = sorted({str(one.get("type"))[:40] for one in body["output"] if isinstance(one, dict)} - {"message"})
    texts, _ = _parts(parts)
    message: dict[str, Any] = {"content": "".join(texts)} if texts else {"content": parts or None}
    message |= {"reasoning": others} if others and not texts else {}
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    finish = "stop" if body.get("status") == "completed" else {"max_output_tokens": "length"}.get(str(reason), reason)
    failed = body.get("error") or (body.get("status") in ("failed", "cancelled") and {"message": body["status"]})
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "message": message}
    if failed:
        choice["error"] = failed
    return {"choices": [choice], "usage": body.get("usage")}


def broken_off(choice: dict[str, Any]) -> bool:
    """Whether a choice of a chat completion failed on the server: what it says is no draw of the model."""
    return bool(choice.get("error")) or choice.get("finish_reason") in _BROKEN


def as_asked(body: Any) -> Any:
    """A request of /v1/responses as one of /v1/chat/completions would be; any other body as it is."""
    if not isinstance(body, dict) or "messages" in body or "input" not in body:
        return body
    given, system = body["input"], body.get("instructions")
    asked = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(asked, list):
        return body
    said = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
    rest = {key: value for key, value in body.items() if key not in ("input", "instructions")}
    return rest | {"messages": said + asked}
