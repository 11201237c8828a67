"""Runs of live models that several test files share: configurations, queries, a model that answers with digits."""

import json
import random
import re
from pathlib import Path

from live_server import words
from typer.testing import CliRunner, Result

from sim.adapters.wire.retry import Clock
from sim.cli import app

MINIMAL = """
strategy = "mv"
[endpoint]
base_url = "http://localhost:1/v1"
model = "m"
key_variable = ""
[[prompts]]
name = "a"
text = "{query}?"
[[prompts]]
name = "b"
text = "{query}!"
[queries]
file = "q.jsonl"
gold = "gold"
[[objectives]]
scorer = "number"
[contexts]
cost_weights = [0.0, 0.1]
[tune]
budget = 100
max_scale = 4
"""
"""No more than a configuration needs; it asks nobody."""
RUN = """
name = "digits"
out = "out"
strategy = "mv"
[endpoint]
base_url = "URL"
model = "m"
key_variable = "LIVE_TEST_KEY"
concurrency = { start = 8, most = 8 }
timeout = 900
deadline = 1800
[prices]
prompt = 1.0
completion = 2.0
[[prompts]]
name = "weak"
text = "[0.45] {query}"
max_tokens = 10
[[prompts]]
name = "strong"
text = "[0.75] {query}"
max_tokens = 10
[[prompts]]
name = "wrong"
text = "[0.10] {query}"
max_tokens = 10
[queries]
file = "q.jsonl"
gold = "gold"
[[objectives]]
name = "right"
scorer = "number"
[contexts]
cost_weights = [0.0, 1.0]
[tune]
algorithm = "psst"
budget = 400
max_scale = 4
"""
"""A vote over three prompts for `digit`; URL is to be replaced."""
TUNE = '[tune]\nalgorithm = "psst"\nbudget = 400\nmax_scale = 4'
RACING = '[tune]\nalgorithm = "mixture-racing"\nanswers = 11\nbudget = 1000\nmax_scale = 8'
"""By hand: 250 completions of 3 prompts are pulls of 8 on 31 queries, the 30 and one again; all go on with ten more."""
SCORED = """
strategy = "bon"
out = "out"
[endpoint]
base_url = "URL"
model = "m"
key_variable = "LIVE_TEST_KEY"
timeout = 900
deadline = 1800
[[prompts]]
name = "short"
text = "short {query}"
cost = 1
max_tokens = 20
[[prompts]]
name = "long"
text = "long {query}"
cost = 1
max_tokens = 20
[queries]
file = "q.jsonl"
[[objectives]]
SCORER
[contexts]
cost_weights = [0.0]
[tune]
algorithm = "psst"
budget = 60
max_scale = 2
"""
"""Best of N over two prompts by one objective; URL is to be replaced, and SCORER by its keys."""
JUDGE = """scorer = "judge"
model = "j"
template = "Q: {query} A: {completion} Score 0 to 1."
max_tokens = 9
marked = false"""
"""A judge as the scorer of `SCORED`."""


def digit(prompt: str, number: int) -> str:
    """Right with the probability that the prompt names; else another digit, now and then none."""
    chance, gold = re.match(r"\[(.*)\] .*(\d)", prompt).groups()  # type: ignore[union-attr]
    draw = words(prompt, number)
    if draw % 1000 < 1000 * float(chance):
        return f"It is {gold}."
    return "no idea" if draw % 7 == 0 else f"It is {(int(gold) + 1 + draw % 9) % 10}."


def queries(folder: Path, count: int = 30, first: int = 0, name: str = "q.jsonl") -> None:
    """Write queries that `digit` can answer."""
    rows = [{"query": f"query {k} has the digit {k % 10}", "gold": k % 10} for k in range(first, first + count)]
    (folder / name).write_text("\n".join(map(json.dumps, rows)))


def iapo(*arguments: object, said: str | None = None) -> Result:
    """Run the command; `said` is typed."""
    return CliRunner().invoke(app, list(map(str, arguments)), input=said)


def write(folder: Path, url: str, text: str = RUN) -> Path:
    file = folder / "run.toml"
    file.write_text(text.replace("URL", url))
    return file


def batch_run(url: str, batch: str = "poll = 0.001", text: str = RUN) -> str:
    text = text.replace("URL", url).replace("timeout = 900", 'mode = "batch"\ntimeout = 900')
    return text.replace("[prices]", f"[endpoint.batch]\n{batch}\n[prices]")


def quick(loop: object, seed: int) -> Clock:
    """A clock whose waits take no time; in place of `retry.real_clock`."""

    async def sleep(seconds: float) -> None:
        pass

    return Clock(lambda: 0.0, sleep, random.Random(seed))
