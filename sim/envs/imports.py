"""Logs of other tools to rows of completions, as `sim.envs.logs.from_log` takes them.

* OpenAI batch output (.jsonl: custom_id, response), with its input file for what was asked;
* Inspect logs (.json, or .eval, a zip with a file per sample);
* lm-evaluation-harness sample files (samples_*.jsonl: doc_id, resps);
* any other .jsonl: a row per line.

Columns: `prompt`, `query`, `completion`, and as far as the log has them `gold`, `finish`, `prompt_tokens` (of a
request), `completion_tokens` (a completion's share of its request), and the tool's own scores. A request that failed
has no completions to tell: such logs are refused, because leaving it out would favour prompts that fail on hard
queries.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.envs.files import MAX_UNPACKED, check_directory
from sim.envs.rows import of_json
from sim.envs.unpickle import readable_file

if TYPE_CHECKING:
    import pandas as pd

KINDS = (".jsonl", ".json", ".eval")
Split = Callable[[list[str]], Sequence[Sequence[str] | None]]
"""Prompt and query of every custom_id; None where it tells none."""
_MOST_TOKENS = 2**40
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's letters: correct, partial, incorrect, no answer."""
_BROKEN = ("error", "abort", "cancelled")
"""Finish reasons of choices that did not come to an end."""


def read(path: Path, prompt: str, asked: Path | None = None, split: Split | None = None) -> "pd.DataFrame":
    """The completions of a log, a row each; what the log is, its content says.

    Args:
        path: the log.
        prompt: name of the prompt, where the log holds one prompt only (Inspect, lm-evaluation-harness).
        asked: the input file of a batch output.
        split: takes prompt and query of a batch output from its ids instead.

    Raises:
        ValueError: it cannot be read, or holds requests without completions; the sentence names the file and the line.
    """
    readable_file(path, MAX_UNPACKED)
    if path.suffix in (".json", ".eval"):
        rows = list(_inspect(path, prompt))
    else:
        lines = json_lines(path)
        if "custom_id" in lines[0]:
            rows = list(_batch(path, lines, asked, split))
        elif "doc_id" in lines[0]:
            rows = list(_harness(path, lines, prompt))
        else:
            rows = lines
    if not rows:
        raise ValueError(f"{path}: holds no completions")
    return of_json(rows)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = _json(line, f"{path}: line {number}")
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number} is no JSON object")
            rows.append(row)
    if not rows:
        raise ValueError(f"{path}: is empty")
    return rows


def _json(content: str | bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON ({error})") from None


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
        if not isinstance(response, dict) or response.get("status_code") != 200 or not _body(response):
            said = json.dumps(line.get("error") or response)[:160]
            raise ValueError(f"{where}: the request {name!r} failed ({said}); ask for it again and add its line")
        body = response["body"]
        choices, usage = body["choices"], _part(body, "usage", where)
        if told is None:
            shared = _split(requests.get(name), f"{where}: {name!r}", asked)
        else:
            shared = _told(told[name], f"{where}: the custom_id {name!r}")
        shared |= _tokens(usage.get("prompt_tokens"), usage.get("completion_tokens"), len(choices))
        if any(isinstance(choice, dict) and broken_off(choice) for choice in choices):
            raise ValueError(f"{where}: a choice of {name!r} broke off on the server; ask for it again, add its line")
        for choice in choices:
            yield shared | {"completion": _text(choice, where, {}), "finish": choice.get("finish_reason")}
    missing = sorted(set(requests) - seen)
    if missing:
        raise ValueError(
            f"{path}: lacks {len(missing)} of {len(requests)} requests of {asked}, among them {missing[0]!r}; add "
            "their lines"
        )


def broken_off(choice: dict[str, Any]) -> bool:
    """Whether a choice of a chat completion failed on the server: what it says is no draw of the model."""
    return bool(choice.get("error")) or choice.get("finish_reason") in _BROKEN


def _body(response: dict[str, Any]) -> bool:
    body = response.get("body")
    return isinstance(body, dict) and _filled(body, "choices")


def _filled(owner: dict[str, Any], key: str) -> bool:
    """Whether there is a list that holds something."""
    return isinstance(owner.get(key), list) and len(owner[key]) > 0


def _part(owner: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """An object inside another one; empty where it may be absent and is."""
    value = owner.get(key)
    return {} if value is None else _object(value, f"{where}: {key}")


def _requests(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(json_lines(path), start=1):
        body = line.get("body")
        if not isinstance(line.get("custom_id"), str) or not isinstance(body, dict) or not _filled(body, "messages"):
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
    query = _content(messages.pop(places[-1]).get("content"), where, {})
    rest = {key: value for key, value in body.items() if key not in ("n", "seed", "messages")} | {"messages": messages}
    return {"prompt": json.dumps(rest, sort_keys=True, ensure_ascii=False), "query": query}


def _inspect(path: Path, prompt: str) -> Iterator[dict[str, Any]]:
    for where, sample in _samples(path):
        if sample.get("error"):
            raise ValueError(f"{where} ended with an error; run it again (inspect eval-retry) and import that log")
        output = sample.get("output")
        if "id" not in sample or not isinstance(output, dict) or not _filled(output, "choices"):
            raise ValueError(f"{where} has no id or no output; a log with its samples is needed")
        target, usage, attachments = (
            sample.get("target"),
            _part(output, "usage", where),
            _part(sample, "attachments", where),
        )
        row = {"prompt": prompt, "query": str(sample["id"]), "epoch": sample.get("epoch", 1)}
        if target is not None:
            texts = [target] if isinstance(target, str) else target
            if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
                raise ValueError(f"{where} has a target that is neither text nor a list of texts")
            row["gold"] = "; ".join(texts)
        row |= _tokens(usage.get("input_tokens"), usage.get("output_tokens"), len(output["choices"]))
        if len(output["choices"]) == 1:  # with more the scores are not of one completion
            for name, score in _part(sample, "scores", where).items():
                row |= _score(str(name), score, where)
        for choice in output["choices"]:
            yield row | {"completion": _text(choice, where, attachments), "finish": choice.get("stop_reason")}


def _score(name: str, score: Any, where: str) -> dict[str, Any]:
    """Inspect's value as a number where it is one, and the answer that the scorer read."""
    found: dict[str, Any] = {}
    if isinstance(score, dict):
        value = score.get("value")
        value = _GRADES.get(value, value) if isinstance(value, str) else value
        if isinstance(value, int | float | bool):
            found[f"score {name}"] = _float(value, f"{where}: score {name!r}")
        if score.get("answer") is not None:
            found[f"answer {name}"] = str(score["answer"])
    return found


def _float(value: float | int, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{where} is larger than any number of 64 bits") from None


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Samples of an Inspect log, each with where it is."""
    if path.suffix == ".json":
        try:
            log = _json(path.read_bytes(), str(path))
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
        if not isinstance(log, dict) or "eval" not in log or not isinstance(log.get("samples"), list):
            raise ValueError(f"{path}: is no Inspect log with samples (eval, samples)")
        _check_status(log, path)
        for place, sample in enumerate(log["samples"]):
            yield f"{path}: samples[{place}]", _object(sample, f"{path}: samples[{place}]")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if re.fullmatch(r"samples/.*\.json", name))
            if not names:
                raise ValueError(f"{path}: holds no samples (samples/*.json), so it is no Inspect log")
            try:
                check_directory(path, archive)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            head = (
                _json(archive.read("header.json"), f"{path}: header.json")
                if "header.json" in archive.namelist()
                else {}
            )
            _check_status(_object(head, f"{path}: header.json"), path)
            for name in names:
                yield f"{path}: {name}", _object(_json(archive.read(name), f"{path}: {name}"), f"{path}: {name}")
    except NotImplementedError:
        raise ValueError(
            f"{path}: is compressed in a way that Python's zipfile cannot read; make it .json (inspect log convert)"
        ) from None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:  # the fourth of encrypted ones
        raise ValueError(f"{path}: is no whole .eval file ({error})") from None


def _check_status(log: dict[str, Any], path: Path) -> None:
    """Refuse a run that did not end: only samples that finished first are in its log, which favours short ones."""
    if log.get("status") != "success":
        said = repr(log.get("status", "started"))[:40]
        raise ValueError(
            f"{path}: the run's status is {said}, not 'success'; let it end (inspect eval-retry) and import that log"
        )


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no JSON object")
    return value


def one_prompt(path: Path) -> bool:
    """Whether a log is one of a single prompt, which it does not name."""
    if path.suffix in (".json", ".eval"):
        return True
    first = json_lines(path)[0] if path.suffix == ".jsonl" else {}
    return "custom_id" not in first and "doc_id" in first


def _harness(path: Path, lines: Sequence[dict[str, Any]], prompt: str) -> Iterator[dict[str, Any]]:
    """Rows of a sample file. It repeats every document for each of its filters: the first one's are taken."""
    first = lines[0].get("filter")
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        if line.get("filter") != first:
            continue
        resps = line.get("resps")
        if "doc_id" not in line or not isinstance(resps, list) or not resps or not isinstance(resps[0], list):
            raise ValueError(f"{where} has no doc_id or no resps; it is no sample of lm-evaluation-harness")
        if len(resps) > 1 or not all(isinstance(one, str) for one in resps[0]):
            raise ValueError(f"{where} holds log-likelihoods of choices, no completions; use a task that generates")
        row = {"prompt": prompt, "query": str(line["doc_id"])}
        if line.get("target") is not None:
            row["gold"] = str(line["target"])
        filtered = line.get("filtered_resps")
        own = filtered[0] if isinstance(filtered, list) and len(filtered) == 1 else None
        read = own if isinstance(own, list) else [own]
        if len(resps[0]) == 1:  # a metric of several completions is not that of one
            metrics = {
                key: value for key, value in line.items() if isinstance(value, float | bool) or key in _named(line)
            }
            row |= {
                f"score {key}": _float(value, f"{where}: score {key!r}")
                for key, value in metrics.items()
                if isinstance(value, int | float)
            }
        for place, text in enumerate(resps[0]):
            answer = read[place] if len(read) == len(resps[0]) else None
            yield row | {"completion": text} | ({"filtered": answer} if isinstance(answer, str) else {})


def _named(line: dict[str, Any]) -> Sequence[str]:
    metrics = line.get("metrics")
    return metrics if isinstance(metrics, list) else ()


def _tokens(prompt: Any, completion: Any, choices: int) -> dict[str, float]:
    """Token counts where they make sense; a completion's are its share of the request's."""
    found = {}
    for name, value, parts in (("prompt_tokens", prompt, 1), ("completion_tokens", completion, choices)):
        if isinstance(value, int) and 0 <= value <= _MOST_TOKENS:
            found[name] = value / parts
    return found


def _text(choice: Any, where: str, attachments: dict[str, str]) -> str:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise ValueError(f"{where} has a choice without a message")
    return _content(message.get("content"), where, attachments)


def _content(content: Any, where: str, attachments: dict[str, str]) -> str:
    """The text of a message: as it stands, in parts, or kept apart as an attachment."""
    if isinstance(content, list):
        texts = [one.get("text") for one in content if isinstance(one, dict) and one.get("type") == "text"]
        return "".join(_content(text, where, attachments) for text in texts)
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError(f"{where} has a message whose content is no text")
    return (
        attachments.get(content.removeprefix("attachment://"), content) if "attachment://" in content[:13] else content
    )
