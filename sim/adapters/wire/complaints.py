"""Errors of servers, whatever their shape: what is said, which codes it carries, and which setting of ours may help.

Seen: {"error": {"message", "code", "type", "param"}} (OpenAI), [{"error": ..}] (Gemini), {"detail": text or a list of
{"loc", "msg"}} (FastAPI), {"message", "code"} (proxies), {"object": "error", ..} (vLLM), plain text and HTML.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

LONGEST = 1000
"""Signs of a server's words that are shown."""
FATAL_CODES = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "invalid_api_key",
    "model_not_found",
)
_SPENT = re.compile(r"(?i)used all available credits|monthly spending limit")
"""Said by xAI with the code of a rate limit."""
_CODES = ("code", "type", "status", "reason")
_WORDS = ("message", "msg", "detail", "error", "errors", "error_message", "title", "description")
_DEEPEST = 4
_MARKUP = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^<>]*>")


def is_error(body: Any) -> bool:
    """Whether the body of a reply that counts as a success says that something went wrong."""
    if isinstance(body, list):
        return bool(body) and is_error(body[0])
    return isinstance(body, dict) and (bool(body.get("error")) or body.get("object") == "error")


def status_in(body: Any) -> int | None:
    """The HTTP status that an error's own code names."""
    for word in codes(body):
        if re.fullmatch(r"[45]\d\d", word):
            return int(word)
    return None


def codes(body: Any) -> list[str]:
    """All codes, types and statuses of an error in lower case, from the outside in."""
    return [str(one[key]).lower() for one in _objects(body) for key in _CODES if isinstance(one.get(key), str | int)]


def is_fatal(words: Sequence[str], said: str = "") -> bool:
    """Whether some code, or the sentence, says that no repetition helps."""
    told = any(word in FATAL_CODES or word.endswith("_spend_limit_exceeded") for word in words)
    return told or _SPENT.search(said) is not None


def _objects(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value[:100]:
            yield from _objects(one, depth + 1)


def sentence(body: Any, content: bytes) -> str:
    """All that an error says, in one line of at most `LONGEST` signs; what does not print becomes an escape."""
    said = "; ".join(dict.fromkeys(filter(None, _said(body)))) or _plain(content) or "an empty body"
    return visible(said, LONGEST)


def visible(text: str, longest: int) -> str:
    """Text in one line, cut after so many signs; what does not print becomes an escape."""
    line = " ".join(text[: 8 * longest].split())
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
    return shown if len(shown) <= longest else f"{shown[:longest]} .."


def _said(value: Any, depth: int = 0) -> Iterator[str]:
    """Messages, each with the place that it is about."""
    if isinstance(value, str) and depth:
        yield value.strip()
    elif isinstance(value, list) and depth <= _DEEPEST:
        for one in value[:20]:
            yield from _said(one, depth + 1)
    elif isinstance(value, dict) and depth <= _DEEPEST:
        loc = value.get("loc")
        where = ".".join(map(str, loc[:10])) + ": " if isinstance(loc, list) and loc else ""
        found = [said for key in _WORDS if key in value for said in _said(value[key], depth + 1)]
        if not found and depth:
            found = [str(value[key]) for key in _CODES if isinstance(value.get(key), str) and value[key]]
        for said in found:
            yield where + said


def _plain(content: bytes) -> str:
    """A body that is no JSON we know as text; the text of a page without its mark-up."""
    text = content[: 64 * LONGEST].decode("utf-8", "backslashreplace")
    if re.search(r"(?i)<(!doctype|html|head|body|title|h1|p)\b", text):
        text = html.unescape(_MARKUP.sub(" ", text))
    return text.strip()


_ONE = re.compile(r"(?i)candidate_?count|only (one|1|single) (completion |response )?(choice|candidate|completion)")
_N = re.compile(
    r"""['"`]n['"`]|\bn (must|should|is|has|can|cannot|[<>=])|\.n: |\b[Pp]arameters?:? n\b|\bn ?(=|>|<|!=) ?\d"""
)
_LIMIT = re.compile(r"(?i)too (large|high|big|long|many)|at most|exceed|maximum|less than|range|greater than")
_LENGTH = re.compile(r"(?i)\bmax_(completion_)?tokens\b|maxOutputTokens")


def advice(status: int, said: str) -> str:
    """The setting that helps against an error, in words; empty where none is known to."""
    if status in (401, 403):
        return "is the key in the variable that endpoint.key_variable names the one of this server and model?"
    if re.search(r"(?i)context (length|window|size)|too many (input |prompt )?tokens", said):
        return "a shorter prompt or a smaller max_tokens in [[prompts]] fits"
    if (found := _LENGTH.search(said)) is not None:
        if _LIMIT.search(said) and len(set(match[0] for match in _LENGTH.finditer(said))) < 2:
            return "a smaller max_tokens in [[prompts]] helps"
        other = "max_tokens" if found[0] == "max_completion_tokens" else "max_completion_tokens"
        return f'endpoint.max_tokens_field = "{other}" helps'
    for name in ("temperature", "top_p"):
        if re.search(rf"(?i)\b{name}\b", said):
            return f"leave {name} out of [[prompts]], or give it a value that the server takes"
    if re.search(r"(?i)\bseed\b", said):
        return "endpoint.send_seed = false helps"
    if _ONE.search(said) or _N.search(said):
        return "endpoint.max_n = 1 helps: every completion is then asked for on its own"
    if status == 404:
        return "are endpoint.base_url and the model's name right?"
    if status == 413:
        return "a shorter prompt fits"
    return ""
