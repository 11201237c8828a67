"""A run whose completions and judgements are the tiny model's, and a server that keeps account of them."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from batch_server import BatchModel

from sim.adapters.tiny import server, weights
from sim.adapters.tiny.server import Engine

RUN = """
name = "judged"
out = "out"
strategy = "bon"
[endpoint]
base_url = "URL"
model = "tiny"
key_variable = "LIVE_TEST_KEY"
concurrency = { start = 8, most = 8 }
timeout = 900
deadline = 1800
[prices]
prompt = 1.0
completion = 2.0
[cost]
probe_queries = 2
probe_completions = 2
[[prompts]]
name = "direct"
system = "answer at once"
temperature = 1.8
max_tokens = 4
[[prompts]]
name = "steps"
system = "work step by step"
temperature = 1.8
max_tokens = 12
[queries]
file = "q.jsonl"
[[objectives]]
scorer = "judge"
model = "tiny"
template = "{completion}\\n{query}"
marked = false
max_tokens = 2
high = 9
[contexts]
cost_weights = [0.0, 0.01]
[tune]
algorithm = "psst"
budget = 96
max_scale = 4
"""
"""The model adds up, so that its judgement of an answer is a sum too: a number that the answer decides."""


@cache
def engine() -> Engine:
    """The tiny model at work, one for all tests of a process."""
    return Engine(weights.load()[0])


@dataclass
class TinyModel(BatchModel):
    """The tiny model behind the tests' server: faults, kills, batches and the account are that server's."""

    made: Engine = field(default_factory=engine)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Generate, and bill."""
        found = server.reply(self.made, body)
        with self.lock:
            self.completions += len(found["choices"])
            self.tokens += found["usage"]["total_tokens"]
        return found


def queries(folder: Path, count: int = 12) -> None:
    """Write sums that the model can read."""
    rows = [{"query": f"{k % 7}+{k // 7}+{k * 3 % 7}"} for k in range(count)]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
