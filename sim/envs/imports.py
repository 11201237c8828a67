"""Logs of other tools to rows of completions, as `sim.envs.logs.from_log` takes them.

* OpenAI batch output (.jsonl: custom_id, response), of chat completions or responses, with its input file for what
  was asked;
* logs of Inspect, lm-evaluation-harness and promptfoo, as `sim.envs.eval_logs` says;
* any other .jsonl, a row per line, and any other .json that is a list of rows.

All of these may be packed by gzip (.jsonl.gz). A request that failed has no completions to tell: such logs are refused,
because leaving it out would favour prompts that fail on hard queries.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.envs import eval_logs
from sim.envs.log_files import filled, json_lines, kind, message_text, object_at, part, text_of, tokens, whole
from sim.envs.replies import as_asked, as_chat, billed, broken_off
from sim.envs.rows import of_json

if TYPE_CHECKING:
    import pandas as pd

KINDS = (".jsonl", ".json", ".eval")
Split = Callable[[list[str]], Sequence[Sequence[str] | None]]
"""Prompt and query of every custom_id; None where it tells none."""


def read(
    path: Path,
    prompt: str | None = None,
    asked: Path | None = None,
    split: Split | None = None,
    wanted: str | None = None,
    say: eval_logs.Say = lambda sentence: None,
) -> "pd.DataFrame":
    """The completions of a log, a row each; what the log is, its content says.

    Args:
        path: the log.
        prompt: name of the prompt, where the log names none; None adds none.
        asked: the input file of a batch output.
        split: takes prompt and query of a batch output from its ids instead.
        wanted: the filter of lm-evaluation-harness whose scores are taken; the first one where this is None.
        say: is told what was guessed.

    Raises:
        ValueError: it cannot be read, or holds requests without completions; the sentence names the file and the line.
    """
    rows = list(_rows(path, asked, split, wanted, say))
    if not rows:
        raise ValueError(f"{path}: holds no completions")
    if prompt is not None and not any("prompt" in row for row in rows):
        rows = [{"prompt": prompt} | row for row in rows]
    return of_json(rows)


def _rows(
    path: Path, asked: Path | None, split: Split | None, wanted: str | None, say: eval_logs.Say
) -> Iterator[dict[str, Any]] | list[dict[str, Any]]:
    if kind(path) == ".eval":
        return eval_logs.inspect(path)
    if kind(path) == ".jsonl":
        lines = json_lines(path)
    else:
        log = whole(path)
        if isinstance(log, dict) and "samples" not in log and isinstance(log.get("results"), dict | list):
            return eval_logs.promptfoo(path, log)
        if not isinstance(log, list):
            return eval_logs.inspect(path)
        lines = [object_at(row, f"{path}: row {place}") for place, row in enumerate(log, start=1)]
        if not lines:
            raise ValueError(f"{path}: is empty")
    if "custom_id" in lines[0]:
        return _batch(path, lines, asked, split)
    if "doc_id" in lines[0]:
        return eval_logs.harness(path, lines, wanted, say)
    return lines


def _batch(
    path: Path, lines: Sequence[dict[str, Any]], asked: Path | None, split: Split | None
) -> Iterator[dict[str, Any]]:
    """Rows of a batch output: prompt and query by the custom_id, or by the request that it answers."""
    requests = {} if asked is None else _requests(asked)
    if asked is None and split is None:
        raise ValueError(f"{path}: is a batch output; name its input file, or a pattern of its ids, too")
    names = [str(line.get("custom_id")) for line in lines]
    told = None if split is None else dict(zip(names, split(names), strict=True))
    seen = set()
    for number, line in enumerate(lines, start=1):
        where, name = f"{path}: line {number}", str(line.get("custom_id"))
        if name in seen:
            raise ValueError(f"{where} repeats the custom_id {name!r}")
        seen.add(name)
        response = line.get("response")
        _check_kind(line, where)
        if not isinstance(response, dict) or response.get("status_code") != 200 or not _body(response):
            said = json.dumps(line.get("error") or response)[:160]
            raise ValueError(f"{where}: the request {name!r} failed ({said}); ask for it again and add its line")
        body = as_chat(response["body"])
        choices, usage = body["choices"], part(body, "usage", where)
        if told is None:
            shared = _split(requests.get(name), f"{where}: {name!r}", asked)
        else:
            shared = _told(told[name], f"{where}: the custom_id {name!r}")
        shared |= tokens(*billed(usage), len(choices))
        if any(isinstance(choice, dict) and broken_off(choice) for choice in choices):
            raise ValueError(f"{where}: a choice of {name!r} broke off on the server; ask for it again, add its line")
        for choice in choices:
            yield shared | {"completion": text_of(choice, where, {}), "finish": choice.get("finish_reason")}
    missing = sorted(set(requests) - seen)
    if missing:
        raise ValueError(
            f"{path}: lacks {len(missing)} of {len(requests)} requests of {asked}, among them {missing[0]!r}; add "
            "their lines"
        )


def _check_kind(line: dict[str, Any], where: str) -> None:
    """Refuse good replies of interfaces that are not read: to say that they failed would have them paid for twice."""
    response = line.get("response")
    body = response.get("body") if isinstance(response, dict) and response.get("status_code") == 200 else None
    if response is None and isinstance(line.get("result"), dict):
        raise ValueError(
            f"{where} is of a batch of Anthropic's (result), which is not read; write rows of it as .jsonl"
        )
    if isinstance(body, dict) and not line.get("error") and not body.get("error") and not _body({"body": body}):
        form = str(body.get("object") or ", ".join(body))[:60]
        raise ValueError(f"{where} holds {form!r}, which is not read; chat completions and responses are")


def _body(response: dict[str, Any]) -> bool:
    body = as_chat(response.get("body"))
    return isinstance(body, dict) and filled(body, "choices")


def _requests(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(json_lines(path), start=1):
        body = line.get("body")
        body = as_asked(body)
        if not isinstance(line.get("custom_id"), str) or not isinstance(body, dict) or not filled(body, "messages"):
            raise ValueError(f"{path}: line {number} is no chat request of a batch (custom_id, body.messages)")
        if line["custom_id"] in found:
            raise ValueError(f"{path}: line {number} repeats the custom_id {line['custom_id']!r}")
        found[line["custom_id"]] = body
    return found


def _told(found: Sequence[str] | None, where: str) -> dict[str, Any]:
    if found is None:
        raise ValueError(f"{where} does not match the pattern of ids, or lacks its prompt or query")
    return dict(zip(("prompt", "query"), found, strict=True))


def _split(body: dict[str, Any] | None, where: str, asked: Path | None) -> dict[str, Any]:
    """The last user message is the query, all else of the request but `n` and `seed` the prompt."""
    if body is None:
        raise ValueError(f"{where} is no request of {asked}")
    messages = list(body["messages"])
    places = [place for place, one in enumerate(messages) if isinstance(one, dict) and one.get("role") == "user"]
    if not places:
        raise ValueError(f"{where} asks without a user message, so that its query is not known")
    query = message_text(messages.pop(places[-1]).get("content"), where, {})
    rest = {key: value for key, value in body.items() if key not in ("n", "seed", "messages")} | {"messages": messages}
    return {"prompt": json.dumps(rest, sort_keys=True, ensure_ascii=False), "query": query}
