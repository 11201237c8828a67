"""Logs of other tools, small: two queries, two prompts, four completions each."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from sim.cli import app

TEXTS = {("q1", "plain"): ["It is 4.", "5", "so 4", "no idea"], ("q1", "steps"): ["4", "4", "4", "4"]}
TEXTS |= {("q2", "plain"): ["7", "7", "8", "1"], ("q2", "steps"): ["8", "8", "7", "9"]}
GOLD = {"q1": "4", "q2": "8"}
TOKENS = {"plain": 12, "steps": 40}
RIGHT = np.array([[2 / 4, 1 / 4], [4 / 4, 2 / 4]])
"""Shares of right completions, shape (prompt, query)."""
COMMON = ("--gold", "gold", "--answers", "number", "--objective", "answer:mv", "--cost", "completion_tokens")
COMMON += ("--context", "free=1,0", "--context", "dear=1,0.01", "--max-scale", 4)


def iapo(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def messages(prompt: str, query: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": f"Answer {prompt}."}, {"role": "user", "content": query}]


def batch_in(path: Path) -> Path:
    rows = [
        {"custom_id": f"{p}/{x}", "method": "POST", "url": "/v1/chat/completions"}
        | {"body": {"model": "m", "n": 4, "seed": k, "messages": messages(p, x)}}
        for k, (x, p) in enumerate(TEXTS)
    ]
    return lines(path, rows)


def batch_line(x: str, p: str, status: int = 200, texts: list[str] | None = None) -> dict[str, Any]:
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in texts or TEXTS[x, p]]
    body = {"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 4 * TOKENS[p]}}
    return {"custom_id": f"{p}/{x}", "response": {"status_code": status, "body": body}, "error": None}


def batch_out(path: Path) -> Path:
    return lines(path, [batch_line(x, p) for x, p in reversed(TEXTS)])


def inspect_samples(prompt: str) -> list[dict[str, Any]]:
    found = []
    for (x, p), texts in TEXTS.items():
        for epoch, text in enumerate(texts, start=1):
            if p == prompt:
                parts: Any = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": text}]
                usage = {"input_tokens": 9, "output_tokens": TOKENS[p]}
                choice = {
                    "message": {"role": "assistant", "content": parts if epoch % 2 else text},
                    "stop_reason": "stop",
                }
                score = {"value": "C" if GOLD[x] in text else "I", "answer": text}
                sample = {"id": x, "epoch": epoch, "input": x, "target": GOLD[x], "scores": {"match": score}}
                found.append(sample | {"output": {"model": "m", "choices": [choice], "usage": usage}})
    return found


RAN = {"eval": {}, "status": "success"}
"""An Inspect log without its samples."""


def inspect_json(path: Path, prompt: str) -> Path:
    log = {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": inspect_samples(prompt)}
    path.write_text(json.dumps(log))
    return path


def inspect_eval(path: Path, prompt: str, status: str = "success") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"version": 2, "status": status}))
        for sample in inspect_samples(prompt):
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    return path


def harness(path: Path, prompt: str) -> Path:
    """Every document once per filter, as the harness writes them."""
    rows = [
        {"doc_id": k, "doc": {"question": x}, "target": GOLD[x], "arguments": {"gen_args_0": {"arg_0": x}}}
        | {"resps": [texts], "filtered_resps": [texts[0]], "filter": kind, "metrics": ["exact_match"]}
        | {"exact_match": 1.0}
        for kind in ("strict", "flexible")
        for k, ((x, p), texts) in enumerate(TEXTS.items())
        if p == prompt
    ]
    for row in rows:
        row["doc_id"] = 1 + int(row["doc"]["question"] == "q2")
    return lines(path, rows)


ROW = {"prompt": "p", "query": "q", "completion": "4", "gold": 4, "completion_tokens": 1}


def plain_log(folder: Path, column: str) -> Path:
    """A row for every completion, whose text is in this column."""
    rows = [
        {"prompt": p, "query": x, column: text, "gold": GOLD[x], "completion_tokens": TOKENS[p]}
        for (x, p), texts in TEXTS.items()
        for text in texts
    ]
    return lines(folder / "log.jsonl", rows)
