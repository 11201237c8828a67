"""Policy files as a run writes them."""

import json
from pathlib import Path
from typing import Any


def write(folder: Path, url: str = "http://127.0.0.1:9/v1", **changes: Any) -> Path:
    """A policy of one prompt and context; changes of its prompt, arm and context by their names."""
    prompt = {"name": "a", "text": "[0.75] {query}", "system": "", "model": "m", "max_tokens": 10}
    prompt |= {"temperature": None, "top_p": None, "cost": None} | changes.get("prompt", {})
    arm = {"prompt": "a", "scale": 2, "value": None, "low": None, "high": None, "pulls": 0} | changes.get("arm", {})
    context = {"weights": [1.0], "cost_weight": 0.0, "probability": 1.0} | changes.get("context", {})
    source: dict[str, Any] = {
        "strategy": "mv",
        "endpoint": {"base_url": url, "model": "m", "key_variable": "LIVE_TEST_KEY"},
        "objectives": [{"name": "right", "scorer": "number"}],
    }
    source["endpoint"] |= {key: changes[key] for key in ("timeout", "deadline") if key in changes}
    content = {
        "schema": "iapo-policy",
        "version": 2,
        "name": "x",
        "config": "/nowhere/run.toml",
        "source": source,
        "prices": {"m": [0, 0]},
        "contexts": {"c": context},
        "prompts": {"a": prompt},
        "policy": {"c": {"chosen": arm}},
        "spent": {},
    } | changes.get("top", {})
    file = folder / "policy.json"
    file.write_text(json.dumps(content))
    return file
