"""Runs of many pulls, whose memory and work are measured: prompts that cost alike, a keyless server on this machine."""

import json
from pathlib import Path

RUN = """
out = "out"
strategy = "mv"
[endpoint]
base_url = "http://127.0.0.1:PORT/v1"
model = "m"
key_variable = ""
concurrency = { start = PACE, least = PACE, most = PACE }
PROMPTS
[queries]
file = "q.jsonl"
gold = "gold"
[[objectives]]
scorer = "number"
[contexts]
cost_weights = [0.0, 0.001]
[tune]
TUNE
"""


def write_many(folder: Path, *, prompts: int, queries: int, port: int, pace: int, tune: str) -> Path:
    """Write the run file and its queries.

    Args:
        folder: of both.
        prompts: how many.
        queries: how many.
        port: of the server.
        pace: requests under way.
        tune: the table [tune].
    """
    rows = [json.dumps({"query": f"query {k}", "gold": k % 10}) for k in range(queries)]
    (folder / "q.jsonl").write_text("\n".join(rows))
    tables = [
        f'[[prompts]]\nname = "p{k}"\ntext = "[{k}] {{query}}"\nmax_tokens = 10\ncost = 6' for k in range(prompts)
    ]
    text = RUN.replace("PORT", str(port)).replace("PACE", str(pace)).replace("TUNE", tune)
    file = folder / "run.toml"
    file.write_text(text.replace("PROMPTS", "\n".join(tables)))
    return file
