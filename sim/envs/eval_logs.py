"""Rows of completions from the logs of tools that evaluate models: Inspect, lm-evaluation-harness, promptfoo.

Columns: `query`, `question` (what the query asks, to find one id of two questions), `completion`, and as far as a log
has them `gold` (a text, or a list of accepted answers), `finish`, token counts and the tool's own `score NAME`. Only
promptfoo says which `prompt` it was.

Formats: Inspect's EvalLog version 2; `samples_*.jsonl` of lm-evaluation-harness 0.4, which has a row per document and
filter, not per draw; promptfoo's results, version 3 (a list of results, in `results` or in `results.results`).
"""

import ast
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sim.envs.archives import check_directory
from sim.envs.log_files import (
    filled,
    kind,
    number,
    object_at,
    parse,
    part,
    text_of,
    tokens,
    whole,
)
from sim.envs.replies import billed

Say = Callable[[str], None]
"""Is told, in a sentence, what was guessed."""
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's letters: correct, partial, incorrect, no answer."""
_LIST = re.compile(r"""\s*\[\s*['"].*['"]\s*,?\s*\]\s*""", re.DOTALL)
_FAILED = 2
"""Failure reason of promptfoo for a result whose request failed."""


def inspect(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of an Inspect log."""
    seen: dict[tuple[str, str], str] = {}
    for where, sample in _samples(path):
        drawn = (str(sample.get("id")), str(sample.get("epoch", 1)))
        if seen.setdefault(drawn, where) != where:
            raise ValueError(
                f"{where} repeats the sample id {drawn[0]!r} of epoch {drawn[1]}, which {seen[drawn]} has; a log has "
                "each once"
            )
        if sample.get("error"):
            raise ValueError(f"{where} ended with an error; run it again (inspect eval-retry) and import that log")
        output = sample.get("output")
        if "id" not in sample or not isinstance(output, dict) or not filled(output, "choices"):
            raise ValueError(f"{where} has no id or no output; a log with its samples is needed")
        usage, attachments = part(output, "usage", where), part(sample, "attachments", where)
        row: dict[str, Any] = {"query": str(sample["id"]), "epoch": sample.get("epoch", 1)}
        if sample.get("input") is not None:
            row["question"] = _plain(sample["input"])
        if sample.get("target") is not None:
            row["gold"] = _accepted(sample["target"], where)
        row |= tokens(*billed(usage), len(output["choices"]))
        if len(output["choices"]) == 1:  # with more the scores are not of one completion
            for scorer, score in part(sample, "scores", where).items():
                row |= _score(str(scorer), score, where)
        for choice in output["choices"]:
            yield row | {"completion": text_of(choice, where, attachments), "finish": choice.get("stop_reason")}


def _plain(value: Any) -> str:
    """Text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _accepted(target: Any, where: str) -> str | list[str]:
    """The right answer, or several that count each."""
    texts = [target] if isinstance(target, str) else target
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise ValueError(f"{where} has a target that is neither text nor a list of texts")
    return texts[0] if len(texts) == 1 else texts


def _score(scorer: str, score: Any, where: str) -> dict[str, Any]:
    """Inspect's value as a number where it is one, and the answer that the scorer read."""
    found: dict[str, Any] = {}
    if isinstance(score, dict):
        value = score.get("value")
        value = _GRADES.get(value, value) if isinstance(value, str) else value
        if isinstance(value, int | float | bool):
            found[f"score {scorer}"] = number(value, f"{where}: score {scorer!r}")
        if isinstance(score.get("answer"), str):
            found[f"answer {scorer}"] = score["answer"]
    return found


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Samples of an Inspect log, each with where it is."""
    if kind(path) == ".json":
        log = whole(path)
        if not isinstance(log, dict) or "eval" not in log or not isinstance(log.get("samples"), list):
            raise ValueError(
                f"{path}: is no Inspect log with samples (eval, samples), no promptfoo output (results) and no list of "
                "rows"
            )
        _check_status(log, path)
        for place, sample in enumerate(log["samples"]):
            yield f"{path}: samples[{place}]", object_at(sample, f"{path}: samples[{place}]")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(one for one in archive.namelist() if re.fullmatch(r"samples/.*\.json", one))
            if not names:
                raise ValueError(f"{path}: holds no samples (samples/*.json), so it is no Inspect log")
            try:
                check_directory(path, archive)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            head = (
                parse(archive.read("header.json"), f"{path}: header.json")
                if "header.json" in archive.namelist()
                else {}
            )
            _check_status(object_at(head, f"{path}: header.json"), path)
            for one in names:
                yield f"{path}: {one}", object_at(parse(archive.read(one), f"{path}: {one}"), f"{path}: {one}")
    except NotImplementedError:
        raise ValueError(
            f"{path}: is compressed in a way that Python's zipfile cannot read; make it .json (inspect log convert)"
        ) from None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
        raise ValueError(f"{path}: is no whole .eval file ({error})") from None


def _check_status(log: dict[str, Any], path: Path) -> None:
    """Refuse a run that did not end: only samples that finished first are in its log, which favours short ones."""
    if log.get("status") != "success":
        said = repr(log.get("status", "started"))[:40]
        raise ValueError(
            f"{path}: the run's status is {said}, not 'success'; let it end (inspect eval-retry) and import that log"
        )


def harness(path: Path, lines: Sequence[dict[str, Any]], wanted: str | None, say: Say) -> Iterator[dict[str, Any]]:
    """Rows of a sample file, of one filter: it repeats every document, with the same draws, for each of its filters.

    Filters without a name, as in files of old, are called 1, 2, .. in their order.

    Args:
        path: the file.
        lines: its objects.
        wanted: the filter; the first one where this is None.
        say: is told which one was taken of several.
    """
    filters = _filters(path, lines)
    names = list(dict.fromkeys(filters))
    if wanted is not None and wanted not in names:
        raise ValueError(f"{path}: has no filter {wanted!r}; it has {', '.join(names)}")
    taken = names[0] if wanted is None else wanted
    if len(names) > 1:
        say(f"{path.name}: of the filters {', '.join(names)}, {taken} is taken (--filter chooses)")
    for place, (line, filtered_by) in enumerate(zip(lines, filters, strict=True), start=1):
        if filtered_by == taken:
            yield from _documents(f"{path}: line {place}", line)


def _filters(path: Path, lines: Sequence[dict[str, Any]]) -> list[str]:
    """The filter of every line."""
    if any(line.get("filter") is not None for line in lines):
        return _named_filters(path, lines)
    seen: dict[str, tuple[int, str]] = {}
    times: dict[str, int] = {}
    found = []
    for place, line in enumerate(lines, start=1):
        document, drawn = str(line.get("doc_id")), _plain([_question(line), line.get("resps")])
        first, before = seen.setdefault(document, (place, drawn))
        if before != drawn:
            raise ValueError(
                f"{path}: line {place} names no filter and repeats the doc_id {document!r} of line {first} with "
                "another document or other completions; give runs and subtasks a file each"
            )
        times[document] = times.get(document, 0) + 1
        found.append(str(times[document]))
    return found


def _named_filters(path: Path, lines: Sequence[dict[str, Any]]) -> list[str]:
    """The filter that every line names; each has every document once."""
    places: dict[tuple[str, str], int] = {}
    for place, line in enumerate(lines, start=1):
        document, filtered_by = str(line.get("doc_id")), str(line.get("filter"))
        first = places.setdefault((document, filtered_by), place)
        if first != place:
            raise ValueError(
                f"{path}: line {place} repeats the doc_id {document!r} of line {first} with the same filter "
                f"{filtered_by!r}; give runs and subtasks a file each"
            )
    filters, documents = (list(dict.fromkeys(part)) for part in zip(*((f, d) for d, f in places), strict=True))
    for document in documents:
        for filtered_by in filters:
            if (document, filtered_by) not in places:
                raise ValueError(
                    f"{path}: the doc_id {document!r} has no line of the filter {filtered_by!r}, as others have; every "
                    "document needs one of each filter"
                )
    return [str(line.get("filter")) for line in lines]


def _question(line: dict[str, Any]) -> str | None:
    document = line.get("doc")
    if isinstance(document, dict) and len(document) == 1:
        (document,) = document.values()
    return line.get("doc_hash") if document is None else _plain(document)


def _documents(where: str, line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    resps = line.get("resps")
    if "doc_id" not in line or not isinstance(resps, list) or not resps or not isinstance(resps[0], list):
        raise ValueError(f"{where} has no doc_id or no resps; it is no sample of lm-evaluation-harness")
    if len(resps) > 1 or not all(isinstance(one, str) for one in resps[0]):
        raise ValueError(f"{where} holds log-likelihoods of choices, no completions; use a task that generates")
    row: dict[str, Any] = {"query": str(line["doc_id"])}
    if (question := _question(line)) is not None:
        row["question"] = question
    target = line.get("target")
    if isinstance(target, int | float) and not isinstance(target, bool):
        row["gold"] = str(target)
    elif target is not None:  # the harness writes a list of accepted answers as Python does
        row["gold"] = _accepted((listed(target) or target) if isinstance(target, str) else target, where)
    filtered = line.get("filtered_resps")
    own = filtered[0] if isinstance(filtered, list) and len(filtered) == 1 else None
    read = own if isinstance(own, list) else [own]
    if len(resps[0]) == 1:  # a metric of several completions is not that of one
        metrics = {key: value for key, value in line.items() if isinstance(value, float | bool) or key in _named(line)}
        row |= {
            f"score {key}": number(value, f"{where}: score {key!r}")
            for key, value in metrics.items()
            if isinstance(value, int | float)
        }
    for place, text in enumerate(resps[0]):
        answer = read[place] if len(read) == len(resps[0]) else None
        yield row | {"completion": text} | ({"filtered": answer} if isinstance(answer, str) else {})


def listed(text: str) -> list[str] | None:
    """Texts that a text lists as Python or JSON writes them; None for any other text."""
    if not _LIST.fullmatch(text):
        return None
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None


def _named(line: dict[str, Any]) -> Sequence[str]:
    metrics = line.get("metrics")
    return metrics if isinstance(metrics, list) else ()


def promptfoo(path: Path, log: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of promptfoo's results: prompts by label, and provider where there are several; queries by vars.

    The right answer is the value of an assertion `equals`, where a test has just one of these; each var has a column
    `var NAME`.
    """
    results = log["results"].get("results") if isinstance(log["results"], dict) else log["results"]
    if not isinstance(results, list) or not results:
        raise ValueError(f"{path}: is promptfoo output without results; `promptfoo eval --output x.json` writes them")
    found = [
        (f"{path}: results[{place}]", object_at(one, f"{path}: results[{place}]")) for place, one in enumerate(results)
    ]
    providers = [_label(one.get("provider"), "id") for _, one in found]
    for (where, one), provider in zip(found, providers, strict=True):
        prompt, test = _label(one.get("prompt"), "raw"), part(one, "testCase", where)
        given = part(one, "vars", where) or part(test, "vars", where)
        response = part(one, "response", where)
        if one.get("failureReason") == _FAILED or response.get("error") or not isinstance(response.get("output"), str):
            said = str(one.get("error") or response.get("error") or "its output is no text")[:160]
            raise ValueError(f"{where} has no completion ({said}); run it again (promptfoo eval --retry-errors)")
        if prompt is None or not given:
            raise ValueError(f"{where} has no prompt or no vars, so that its query is not known")
        row: dict[str, Any] = {
            "prompt": f"{prompt} ({provider})" if len(set(providers)) > 1 else prompt,
            "query": _plain(next(iter(given.values())) if len(given) == 1 else given),
        } | {f"var {key}": _plain(value) for key, value in given.items()}
        asserted = test["assert"] if isinstance(test.get("assert"), list) else []
        rights = [rule["value"] for rule in asserted if isinstance(rule, dict) and rule.get("type") == "equals"]
        if len(rights) == 1 and isinstance(rights[0], str | int | float):
            row["gold"] = rights[0]
        usage = part(response, "tokenUsage", where)
        names = {"prompt": "prompt_tokens", "completion": "completion_tokens", "total": "total_tokens"}
        row |= tokens(*billed({theirs: usage.get(own) for own, theirs in names.items()}), 1)
        for score in ("success", "score"):
            if isinstance(one.get(score), int | float):
                row[f"score {score}"] = number(one[score], f"{where}: {score}")
        yield row | {"completion": response["output"]}


def _label(value: Any, other: str) -> str | None:
    """How promptfoo calls a prompt or a provider."""
    found = (value.get("label") or value.get(other)) if isinstance(value, dict) else value
    return found if isinstance(found, str) and found else None
